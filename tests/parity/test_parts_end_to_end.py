"""Parts laid end to end: each keeps what it reads, in both frameworks, against the models run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

import atrous
from atrous.analysis.check import check_report
from atrous.analysis.requirements import parse_rules
from atrous.analysis.unread import read_mask
from atrous.errors import UnsupportedError
from atrous.refusal import ConversionError
from tests.nan_probe import read_by
from tests.onnx_probe import assert_reads_agree, ints, model, weights

KERNEL = 5


def _streamed(front: str, shape: tuple[int, ...]) -> object:
    """Frames (1, 20, 4) through a matrix, a cache in front of them, and a depthwise convolution."""
    four = front == "four"
    axes, perm = (ints(3), [0, 2, 1, 3]) if four else (None, [0, 2, 1])
    nodes = [helper.make_node("MatMul", ["x", "m"], ["a"], name="in")]
    if axes is not None:
        nodes.append(helper.make_node("Unsqueeze", ["a", "axes"], ["b"]))
    nodes += [
        helper.make_node("Transpose", ["b" if four else "a"], ["frames"], perm=perm),
        helper.make_node("Concat", ["cache", "frames"], ["all"], axis=2),
        helper.make_node("Conv", ["all", "w"], ["made"], group=4, name="conv"),
        helper.make_node("Add", ["made", "frames"], ["y"]),
    ]
    held = {"m": weights(4, 4), "w": weights(4, 1, KERNEL, *((1,) if four else ()))}
    if axes is not None:
        held["axes"] = axes
    return model(nodes, {"x": (1, 20, 4), "cache": shape}, held)


@pytest.mark.parametrize(("front", "shape"), [("three", (1, 4, 4)), ("four", (1, 4, 4, 1))])
def test_a_cache_of_any_rank_in_front_of_the_frames_keeps_the_field_along_time(
    front: str, shape: tuple[int, ...]
) -> None:
    network = assert_reads_agree(_streamed(front, shape))
    report = atrous.inspect(network)
    assert [f.size for f in report.outputs[0].field] == [KERNEL]
    assert not report.outputs[0].is_global
    cache = report.seen_from("cache").outputs[0]
    assert not cache.is_global
    assert [f.size for f in cache.field if f.axis == "t"] == [KERNEL]


class Cached(nn.Module):
    """Frames by a linear layer behind a cache of rank 4, then a convolution along time."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(4, 4)
        self.conv = nn.Conv2d(4, 4, (KERNEL, 1), groups=4)

    def forward(self, x: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
        frames = self.front(x).transpose(1, 2).unsqueeze(3)
        return self.conv(torch.cat([cache, frames], dim=2)) + frames


def test_a_cache_of_another_rank_in_torch_keeps_the_field_along_time() -> None:
    model = Cached().eval()
    report = atrous.inspect(model, ((1, 20, 4), (1, 4, KERNEL - 1, 1)))
    assert report.complete
    assert not report.outputs[0].is_global
    assert [f.size for f in report.outputs[0].field] == [KERNEL]
    for at in (0, 3, 19):
        seen = np.flatnonzero(report.footprint(at=(at, 0)).mask)
        truth = []
        for frame in range(20):
            x = torch.zeros(1, 20, 4)
            x[:, frame] = float("nan")
            with torch.no_grad():
                y = model(x, torch.zeros(1, 4, KERNEL - 1, 1))
            if y[:, :, at].isnan().any():
                truth.append(frame)
        assert seen.tolist() == truth


def test_inputs_that_are_joined_share_the_names_of_their_axes() -> None:
    nodes = [
        helper.make_node("Add", ["x", "t"], ["s"]),
        helper.make_node("Conv", ["s", "w"], ["y"]),
    ]
    network = atrous.read(
        model(nodes, {"x": (1, 2, 9, 8), "t": (1, 2, 9, 8)}, {"w": weights(2, 2, 3, 3)})
    )
    assert [tuple(t.grid) for t in network.inputs] == [("h", "w"), ("h", "w")]


def _levels(grids: int, anchors: int, last: str) -> object:
    """Maps of falling size, each flattened and laid end to end, as detectors put them out."""
    nodes, rows = [], []
    before = "x"
    for level in range(grids):
        window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        nodes.append(
            helper.make_node("Conv", [before, f"w{level}"], [f"m{level}"], f"conv{level}", **window)
        )
        made = f"m{level}"
        if last == "first":
            nodes.append(helper.make_node("Reshape", [made, "last"], [f"r{level}"]))
        else:
            nodes.append(helper.make_node("Transpose", [made], [f"t{level}"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"t{level}", "rows"], [f"r{level}"]))
        rows.append(f"r{level}")
        before = made
    nodes.append(helper.make_node("Concat", rows, ["y"], axis=2 if last == "first" else 1))
    held = {f"w{i}": weights(2 * anchors, 2 * anchors if i else 1, 3, 3) for i in range(grids)}
    held |= {"last": ints(1, 2 * anchors, -1), "rows": ints(1, -1, 2)}
    return model(nodes, {"x": (1, 1, 16, 16)}, held)


@pytest.mark.parametrize(
    ("grids", "anchors", "last"), [(3, 1, "first"), (2, 3, "behind"), (4, 2, "behind")]
)
def test_a_row_of_a_detector_reads_the_window_of_its_level_and_cell(
    grids: int, anchors: int, last: str
) -> None:
    network = assert_reads_agree(_levels(grids, anchors, last))
    report = atrous.inspect(network)
    output = report.outputs[0]
    assert not output.is_global
    assert report.complete
    sizes = [2 ** (level + 2) - 1 for level in range(grids)]
    assert [p.field[0].size for p in output.parts] == sizes
    assert [p.field[0].stride for p in output.parts] == [2 ** (level + 1) for level in range(grids)]
    assert [p.source for p in output.parts] == [n.name for n in network.nodes if n.kind == "conv"]
    assert sum(p.length for p in output.parts) == network.tensor(output.tensor).grid["rows"]
    text = str(report)
    assert all(f"{size}x{size}" in text for size in sizes)


Step = Callable[[nn.Module, torch.Tensor], torch.Tensor]


class Made(nn.Module):
    """Layers beside a function of them."""

    def __init__(self, run: Step, **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def _tokens(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    tokens = m.patches(x).flatten(2).transpose(1, 2)
    return torch.cat([m.token.expand(x.shape[0], -1, -1), tokens], dim=1)


def _as_map(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, 4, 3)


def _token_layers() -> dict[str, nn.Module | nn.Parameter]:
    return {
        "patches": nn.Conv2d(2, 4, 2, stride=2),
        "token": nn.Parameter(torch.randn(1, 1, 4)),
        "norm": nn.LayerNorm(4),
        "linear": nn.Linear(4, 4),
        "conv": nn.Conv2d(4, 4, 3, padding=1),
        "attend": nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
    }


def _summary_beside(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A mean as one more token, then two registers, then a layer over each token."""
    tokens = _tokens(m, x)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
    tokens = torch.cat([tokens, m.token.expand(-1, 2, -1)], dim=1)
    return m.linear(m.norm(tokens)).transpose(1, 2)


def _both_axes(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Coordinate attention: means along each axis end to end, a layer on both, and apart again."""
    map_ = m.patches(x)
    along = torch.cat([map_.mean(3, keepdim=True), map_.mean(2, keepdim=True).mT], dim=2)
    h, w = torch.sigmoid(nn.functional.conv2d(along, m.point.weight)).split([4, 3], dim=2)
    return map_ * h * w.mT


def _residual(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    tokens = _tokens(m, x)
    tokens = tokens + m.linear(tokens)
    return m.conv(_as_map(tokens[:, 1:]))


def _wide(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Windows that reach across the parts."""
    return nn.functional.avg_pool1d(_tokens(m, x).transpose(1, 2), 3, 2)


STEPS: dict[str, Step] = {
    "a class token in front": lambda m, x: _tokens(m, x).transpose(1, 2),
    "tokens taken out again": _residual,
    "some of the tokens": lambda m, x: _tokens(m, x)[:, 3:9].transpose(1, 2),
    "every other token": lambda m, x: _tokens(m, x)[:, ::2].transpose(1, 2),
    "tokens beside their mean": _summary_beside,
    "means along both axes": _both_axes,
    "windows across parts": _wide,
    "a class token after attention": lambda m, x: m.attend(_tokens(m, x))[:, :1].mT,
    "tokens flattened": lambda m, x: _tokens(m, x).flatten(1)[:, None],
}


@pytest.mark.parametrize("name", STEPS)
def test_what_lies_beside_tokens_reads_what_the_model_shows(name: str) -> None:
    torch.manual_seed(0)
    made = Made(STEPS[name], **_token_layers(), point=nn.Conv2d(4, 4, 1)).eval()
    shape = (1, 2, 8, 6)
    report = atrous.inspect(made, shape)
    truth = read_by(made, shape, batch=1)
    grid = report.network.tensor(report.outputs[0].tensor).grid
    every = list(np.ndindex(*grid.values()))
    assert len(every) == truth.shape[1] or name == "tokens flattened"
    for at, expected in zip(every, truth.T, strict=True):
        assert (report.footprint(at=at).mask.ravel() == expected).all(), at


def test_attention_is_named_and_not_the_class_token_laid_in_front() -> None:
    made = Made(STEPS["a class token after attention"], **_token_layers()).eval()
    report = atrous.inspect(made, (1, 2, 8, 6))
    assert report.outputs[0].globals
    assert not any("cat" in name for name in report.outputs[0].globals)
    assert all("attend" in name for name in report.outputs[0].globals)


def test_rules_hold_for_each_part() -> None:
    report = atrous.inspect(atrous.read(_levels(3, 1, "first")))
    check = check_report(report, parse_rules("receptive-field", ">=7"))
    broken = list(check.broken)
    assert {outcome.layer for outcome in broken} == {f"{report.outputs[0].name}, rows 0 to 63"}
    assert {outcome.got for outcome in broken} == {3}


def test_a_report_has_each_part_as_data_and_on_its_page(tmp_path: Path) -> None:
    report = atrous.inspect(atrous.read(_levels(3, 1, "first")))
    parts = json.loads(report.to_json())["outputs"][0]["parts"]
    assert [(p["start"], p["length"]) for p in parts] == [(0, 64), (64, 16), (80, 4)]
    report.to_html(tmp_path / "report.html")
    assert "rows 64 to 79" in (tmp_path / "report.html").read_text()


def test_what_is_not_worked_out_for_parts_is_refused_and_says_what_to_ask_for() -> None:
    report = atrous.inspect(atrous.read(_levels(3, 1, "first")))
    with pytest.raises(UnsupportedError, match="trace one of"):
        report.trace()
    with pytest.raises(UnsupportedError, match="ask for the layers that make the parts"):
        report.information()
    with pytest.raises(UnsupportedError, match="ask for one of conv0, conv1, conv2"):
        report.boxes()


def test_unread_positions_of_parts_are_those_that_no_row_reads() -> None:
    """A level of every other cell and one of the first cells: all others are never read."""

    def run(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[..., ::2, ::2].flatten(2), x[..., :3, 1:2].flatten(2)], dim=2)

    made = Made(run).eval()
    network = atrous.read(made, (1, 2, 6, 8))
    truth = read_by(made, (1, 2, 6, 8)).any(axis=1).reshape(6, 8)
    assert (read_mask(network, network.inputs[0].name) == truth).all()


def test_rows_that_are_picked_again_are_unread_elsewhere() -> None:
    def run(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([x.flatten(2), x.mT.flatten(2)], dim=2)
        return torch.cat([rows[..., 5:9], rows[..., 48:].unflatten(2, (8, 6))[..., 2]], dim=2)

    made = Made(run).eval()
    network = atrous.read(made, (1, 2, 6, 8))
    truth = read_by(made, (1, 2, 6, 8)).any(axis=1).reshape(6, 8)
    assert (read_mask(network, network.inputs[0].name) == truth).all()


def test_parts_end_to_end_are_not_converted_and_their_maps_are() -> None:
    network = _levels(3, 1, "first")
    with pytest.raises(ConversionError, match="lays parts that hold different positions"):
        atrous.convert(network, 4)
    names = [n.name for n in atrous.read(network).nodes if n.kind == "conv"]
    assert atrous.convert(network, 4, outputs=[names[-1]]).certificate.verdict == "exact"


def test_windows_with_a_class_token_are_unlike_in_length_and_say_so() -> None:
    """A network whose token stands behind is not the one whose token stands in front."""

    def behind(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        tokens = m.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([tokens, m.token.expand(x.shape[0], -1, -1)], dim=1).transpose(1, 2)

    layers = _token_layers()
    front = Made(STEPS["a class token in front"], **layers).eval()
    certificate = atrous.audit(front, Made(behind, **layers).eval(), input=(1, 2, 8, 6))
    assert certificate.verdict != "exact"
    assert atrous.audit(front, front, input=(1, 2, 8, 6)).verdict == "exact"


class Positional(nn.Module):
    """Tokens of a map behind one for the class; the map filtered, then padded for all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 4, 2, 2)
        self.first = nn.Parameter(torch.randn(1, 1, 4))
        self.values = nn.Linear(4, 8)
        self.near = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.patches(x)
        b, c, h, w = maps.shape
        tokens = torch.cat([self.first.expand(b, -1, -1), maps.flatten(2).mT], 1)
        parts = self.values(tokens).reshape(b, h * w + 1, 2, c).permute(2, 0, 1, 3)
        queries, values = parts.unbind(0)
        moved = self.near(values[:, 1:].mT.reshape(b, c, h, w)).flatten(2).mT
        return tokens + nn.functional.pad(queries[:, 1:] * moved, (0, 0, 1, 0))


def test_tokens_of_a_map_padded_for_the_one_of_the_class_keep_their_places() -> None:
    torch.manual_seed(0)
    model = Positional().eval()
    report = atrous.inspect(model, (1, 2, 10, 12))
    assert report.complete
    assert not report.outputs[0].is_global
    reached = np.zeros((31, 10, 12), dtype=bool)
    for row in range(10):
        for column in range(12):
            x = torch.zeros(1, 2, 10, 12)
            x[..., row, column] = torch.nan
            with torch.no_grad():
                reached[:, row, column] = model(x).isnan().any(-1)[0].numpy()
    for at in range(31):
        assert np.array_equal(report.footprint(at=(at,)).mask, reached[at]), at
