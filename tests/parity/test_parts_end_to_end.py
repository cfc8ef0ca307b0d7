"""Parts laid end to end: each keeps what it reads, in both frameworks, against the models run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

import atrous
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
