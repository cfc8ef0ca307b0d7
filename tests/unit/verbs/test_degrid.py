"""`degrid` on models that run: what they read by NaN, files beside modules, and what is refused."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import atrous
from atrous import ConversionError, ReadError, UnsupportedError
from tests.exporting import export


class Block(nn.Module):
    """A residual block with a rate, its activation in code."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.norm(self.conv(x)))


class Branches(nn.Module):
    """A strided stem, then two branches that join, and a layer behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.near = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.far = nn.Conv2d(4, 4, 3, padding=5, dilation=5)
        self.last = nn.Conv2d(8, 4, 3, padding=4, dilation=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        return self.last(torch.cat([self.near(x), self.far(x)], 1))


def residual() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 1), Block(4, 2), Block(4, 2), Block(4, 4), Block(4, 4))


def branched() -> nn.Module:
    torch.manual_seed(2)
    return Branches()


def chain() -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=r, dilation=r) for i, r in
              enumerate((2, 2, 3))]  # fmt: skip
    return nn.Sequential(*layers)


MODELS = {"residual": residual, "branches": branched, "chain": chain}
SIZE = 61


def read_at_centre(model: nn.Module, places: list[tuple[int, int]]) -> Any:
    """Whether a NaN at each of these input positions turns the middle output into NaN."""
    model = model.double().eval()
    base = torch.rand(1, 3, SIZE, SIZE, dtype=torch.double)
    found = []
    with torch.no_grad():
        middle = tuple(n // 2 for n in model(base).shape[2:])
        for first in range(0, len(places), 64):
            here = places[first : first + 64]
            batch = base.repeat(len(here), 1, 1, 1)
            for image, (row, column) in zip(batch, here, strict=True):
                image[:, row, column] = float("nan")
            found.append(model(batch)[:, :, middle[0], middle[1]].isnan().any(1).numpy())
    return np.concatenate(found)


def field_of(model: nn.Module) -> tuple[Any, int]:
    """What is read along the row through the middle, from the first to the last; where it starts.

    On that row every layer reads its centre along the other axis, so that it has all that is read
    along its own.
    """
    row = SIZE // 2 // 2 * 2  # the middle of a map of stride 2 lies on an even row
    found = read_at_centre(model, [(row, column) for column in range(SIZE)])
    read = np.flatnonzero(found)
    return found[read[0] : read[-1] + 1], int(read[0])


@pytest.mark.parametrize("method", ["rates", "front", "tail"])
@pytest.mark.parametrize("name", MODELS)
def test_no_hole_is_left_in_what_the_middle_output_reads_by_nan(name: str, method: Any) -> None:
    before, _ = field_of(MODELS[name]())
    assert not before.all()
    done = atrous.degrid(MODELS[name](), (1, 3, SIZE, SIZE), method=method)
    after, start = field_of(done.model)
    assert after.all()
    assert [grid.size for grid in done.grids[1]] == [after.size, after.size]
    assert (after.size >= before.size) is done.kept
    if name == "chain":
        # Without branches the field is a box, which is read whole.
        box = range(start, start + after.size, 3)
        assert read_at_centre(done.model, [(h, w) for h in box for w in box]).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_source_is_left_and_the_copy_has_its_weights_and_keys(name: str) -> None:
    model = MODELS[name]()
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    rates = [m.dilation for m in model.modules() if isinstance(m, nn.Conv2d)]
    done = atrous.degrid(model, (1, 3, SIZE, SIZE))
    assert [m.dilation for m in model.modules() if isinstance(m, nn.Conv2d)] == rates
    state = done.model.state_dict()
    assert state.keys() == kept.keys()
    assert all(torch.equal(state[key], value) for key, value in kept.items())
    x = torch.rand(1, 3, 40, 43)
    assert done.model(x).shape == model(x).shape
    assert done.trained_again
    assert done.certificate.verdict == "broken"
    assert "something else" in str(done)


@pytest.mark.parametrize("method", ["front", "tail"])
@pytest.mark.parametrize("name", MODELS)
def test_layers_put_in_start_as_the_identity_and_add_their_keys(name: str, method: Any) -> None:
    model = MODELS[name]().eval()
    done = atrous.degrid(model, (1, 3, SIZE, SIZE), method=method)
    x = torch.rand(1, 3, 40, 43)
    torch.testing.assert_close(done.model(x), model(x), rtol=0, atol=1e-6)
    added = done.model.state_dict().keys() - model.state_dict().keys()
    assert done.inserted is not None
    assert len(added) == len(done.inserted.layers)
    assert all(".degrid." in f".{key}" for key in added)
    assert done.params[1] - done.params[0] == done.inserted.params
    assert done.after is not None
    assert done.after.macs == done.certificate.after.macs > done.certificate.before.macs


@pytest.mark.parametrize("method", ["rates", "front", "tail"])
@pytest.mark.parametrize("name", MODELS)
def test_a_file_becomes_what_its_module_becomes(name: str, method: Any, tmp_path: Path) -> None:
    model = MODELS[name]().eval()
    path = export(model, torch.rand(1, 3, SIZE, SIZE), tmp_path / "m.onnx", external_data=False)
    of_file = atrous.degrid(path, method=method)
    of_module = atrous.degrid(model, (1, 3, SIZE, SIZE), method=method)
    assert [(g.size, g.taps) for g in of_file.grids[1]] == [
        (g.size, g.taps) for g in of_module.grids[1]
    ]
    onnx.checker.check_model(of_file.model)
    session = onnxruntime.InferenceSession(of_file.model.SerializeToString())
    x = torch.rand(1, 3, SIZE, SIZE)
    (made,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(made, of_module.model(x).numpy(), atol=1e-5)


def test_a_converted_network_is_joined_by_one_change_and_said_to_be_the_fewest() -> None:
    dense = atrous.convert("zoo:resnet50", 8, outputs="layer4", measure=False)
    assert {"subgrids"} <= {finding.code for finding in atrous.inspect(dense.model).findings}
    done = atrous.degrid(dense.model)
    assert (done.changes, done.least, done.fewest, done.kept) == (1, 1, True, True)
    codes = {finding.code for finding in atrous.inspect(done.model).findings}
    assert not codes & {"gridding", "subgrids"}


def test_a_network_that_is_whole_is_given_back_as_it_is() -> None:
    done = atrous.degrid("stack:k3 k3d2 k3d5", (1, 4, 64, 64))
    assert (done.edits, done.changes, done.certificate.verdict) == ((), 0, "exact")
    assert str(done).startswith("nothing to change")


def test_rates_that_double_along_time_are_left_but_for_strict() -> None:
    stack = "stack:k2causal k2d2causal k2d4causal"
    left = atrous.degrid(stack, (1, 4, 64))
    assert (left.by_design, left.edits) == (("t",), ())
    joined = atrous.degrid(stack, (1, 4, 64), strict=True)
    assert joined.edits
    assert not joined.grids[1][0].subgrids
    assert all(f.ahead == 0 for f in joined.after.outputs[0].field)  # type: ignore[union-attr]


def test_layers_whose_rate_cannot_change_are_named_with_the_reason() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(3, 3, 3, padding=2, dilation=2)
            self.mirrored = nn.Conv2d(3, 3, 3, padding=2, dilation=2, padding_mode="reflect")
            self.bare = nn.Conv2d(3, 3, 3, dilation=2)
            self.point = nn.Conv2d(3, 3, 1)
            self.free = nn.Conv2d(3, 3, 3, padding=2, dilation=2)
            self.last = nn.Conv2d(3, 3, 3, padding=2, dilation=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.shared(self.shared(x))
            return self.last(self.free(self.point(self.bare(self.mirrored(x)))))

    done = atrous.degrid(Odd(), (1, 3, 64, 64))
    why = {one.layer.removesuffix(".conv2d"): one.reason for one in done.fixed}
    shared = [reason for layer, reason in why.items() if layer.startswith("shared")]
    assert len(shared) == 2
    assert all("share" in reason for reason in shared)
    assert "repeats" in why["mirrored"]
    assert "pads nothing" in why["bare"]
    assert "kernel is 1" in why["point"]
    assert {edit.layer for edit in done.edits} <= {"free", "last"}


def test_what_no_rate_closes_is_refused_with_the_limit_and_the_nearest() -> None:
    with pytest.raises(ConversionError, match=r"conv1 reads with kernel 1 and stride 2.*no rate"):
        atrous.degrid("stack:k1s2 k3d2 k3d2", (1, 4, 64, 64))
    with pytest.raises(ConversionError, match=r"reads 5 of 9 positions"):
        atrous.degrid("stack:k1s2 k3d2 k3d2", (1, 4, 64, 64))
    with pytest.raises(ConversionError, match="no layer has a rate to change"):
        atrous.degrid("stack:maxk3d2 k1", (1, 4, 64, 64))


def test_a_single_dilated_layer_keeps_no_field_and_the_nearest_is_said() -> None:
    done = atrous.degrid("stack:k3d2", (1, 4, 64, 64))
    assert (done.kept, done.fewest) == (False, True)
    assert "no set keeps the field" in str(done)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "sides"}, "use 'rates', 'front' or 'tail'"),
        ({"largest": 0}, "whole number from 1 to 4,096"),
        ({"at": "conv1"}, "it goes with method="),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ReadError, match=message):
        atrous.degrid("stack:k3d2*3", (1, 4, 64, 64), **given)


def test_a_layer_is_put_where_it_is_asked_for() -> None:
    done = atrous.degrid("stack:k3 k3d4 k3d4", (1, 4, 64, 64), method="tail", at="conv3")
    assert done.inserted is not None
    assert (done.inserted.behind, done.inserted.rates) == ("conv3", (2, 1))
    with pytest.raises(ConversionError, match="no layer is dilated"):
        atrous.degrid("stack:k1s2 k3", (1, 4, 64, 64), method="front")


def test_what_cannot_be_rewritten_is_refused_with_a_way_out() -> None:
    program = torch.export.export(chain().eval(), (torch.rand(1, 3, 40, 40),))
    with pytest.raises(UnsupportedError, match="PyTorch modules, ONNX files and Keras models can"):
        atrous.degrid(program)


def test_every_set_of_rates_that_the_record_counts_was_there_to_try() -> None:
    done = atrous.degrid("stack:k3d2*3", (1, 4, 64, 64), largest=4)
    # None, one and two changes: 1 + 3 * 3 + 3 * 3 * 3.
    assert done.tried == len([r for r in product(range(1, 5), repeat=3)
                              if sum(x != 2 for x in r) <= 2])  # fmt: skip


def test_a_tail_goes_behind_a_block_whose_activation_runs_again_and_again() -> None:
    class Twice(nn.Module):
        def __init__(self, rate: int) -> None:
            super().__init__()
            self.one = nn.Conv2d(4, 4, 3, padding=rate, dilation=rate)
            self.two = nn.Conv2d(4, 4, 3, padding=rate, dilation=rate)
            self.act = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.two(self.act(self.one(x))) + x)

    model = nn.Sequential(Twice(2), Twice(4)).eval()
    done = atrous.degrid(model, (1, 4, 60, 60), method="tail")
    x = torch.rand(1, 4, 60, 60)
    torch.testing.assert_close(done.model(x), model(x), rtol=0, atol=1e-6)
    assert list(done.model.state_dict())[-2:] == ["1.degrid.0.weight", "1.degrid.1.weight"]


def test_a_layer_in_front_is_refused_where_there_are_no_holes_to_fill() -> None:
    with pytest.raises(ConversionError, match="no holes to fill"):
        atrous.degrid("stack:k3 k3d2 k3d4", (1, 4, 64, 64), method="front")


def test_too_many_sets_are_followed_change_by_change_and_the_bound_is_said() -> None:
    stack = "stack:" + " ".join(f"k2d{2**i}causal" for i in range(10))
    done = atrous.degrid(stack, (1, 4, 2048), strict=True)
    assert (done.changes, done.least, done.fewest, done.kept) == (2, 2, True, True)
    hard = atrous.degrid("stack:k3s2 k3 [k3d6 | k3d12 | k3d18] k1", (1, 4, 128, 128))
    assert hard.least <= hard.changes
    assert not hard.fewest
    assert "then single changes followed" in " ".join(str(hard).split())
    assert all(grid.taps == grid.size for grid in hard.grids[1])


def test_a_model_that_does_not_read_what_was_planned_is_not_given_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from atrous.writers.torch import model as writer

    real = writer.rewrite_torch

    def wrong(source: nn.Module, plan: Any) -> Any:
        made, edits = real(source, plan)  # type: ignore[misc]
        made[2].dilation, made[2].padding = (2, 2), (2, 2)
        return made, edits

    monkeypatch.setattr(writer, "rewrite_torch", wrong)
    with pytest.raises(ConversionError, match=r"and not .* as planned"):
        atrous.degrid(chain(), (1, 3, 60, 60))


def test_the_part_that_is_named_is_degridded_and_needs_no_other_input() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
            self.b = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
            self.c = nn.Conv2d(4, 4, 3, padding=4, dilation=4)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            x = self.b(self.a(x))
            return x, self.c(x) + y.mean()

    shapes = [(1, 3, 40, 40), (1, 4, 40, 40)]
    done = atrous.degrid(Two(), shapes, outputs="b")
    assert {edit.layer for edit in done.edits} == {"a", "b"}
    both = atrous.degrid(Two(), shapes)
    assert {grid.end for grid in both.grids[0]} == {"add"}
    assert all(grid.taps == grid.size for grid in both.grids[1])
    tail = atrous.degrid(Two(), shapes, outputs="b", method="tail")
    assert tail.inserted is not None
    assert tail.inserted.behind == "b"


def test_rates_in_code_are_changed_where_they_are_called() -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.rand(3, 3, 3, 3))
            self.two = nn.Parameter(torch.rand(3, 3, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.conv2d(x, self.one, padding=2, dilation=2)
            return nn.functional.conv2d(x, self.two, padding=2, dilation=2)

    done = atrous.degrid(Called(), (1, 3, 40, 40))
    field = atrous.inspect(done.model, (1, 3, 40, 40)).outputs[0].field[0]
    assert (field.size, field.coverage) == (9, 1.0)
    assert done.model(torch.rand(1, 3, 33, 35)).shape == (1, 3, 33, 35)


def test_the_rates_of_dense_aspp_are_full_behind_a_layer_of_rate_1_and_with_two_rates_changed() -> (
    None
):
    stack, shape = "stack:k3d3 k3d6 k3d12 k3d18 k3d24", (1, 2, 140, 140)
    front = atrous.degrid(stack, shape, method="front")
    before, after = front.grids
    assert (before[0].taps, before[0].size) == (43, 127)
    assert (after[0].taps, after[0].size) == (129, 129)
    rates = atrous.degrid(stack, shape)
    assert (rates.changes, rates.fewest, rates.kept) == (2, True, True)
    assert rates.grids[1][0].taps == 127
