"""Whole random networks: footprints against NaN probing, and fields against footprints."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

import atrous
from tests.nan_probe import changed_by, read_by

Step = Callable[[torch.Tensor], torch.Tensor]


class RandomNetwork(nn.Module):
    """A chain of random layers over 1 or 2 dimensions, with skips wherever two shapes meet."""

    def __init__(self, seed: int, rank: int, depth: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.rank = rank
        self.layers = nn.ModuleList()
        self.steps: list[tuple[str, tuple[int, ...]]] = []
        for _ in range(depth):
            kind = self.rng.choice(
                ["conv", "conv", "conv", "depthwise", "max", "average", "up", "nearest", "linear",
                 "split", "roll", "circular"]
            )  # fmt: skip
            self.steps.append((kind, self._numbers()))
            self.layers.append(self._layer(*self.steps[-1]))

    def _numbers(self) -> tuple[int, ...]:
        kernel, stride = self.rng.randint(1, 4), self.rng.choice([1, 1, 1, 2, 3])
        rate = self.rng.choice([1, 2, 3])
        extent = (kernel - 1) * rate + 1
        lo, hi = self.rng.randint(0, extent), self.rng.randint(0, extent)
        return kernel, stride, rate, lo, hi

    def _layer(self, kind: str, numbers: tuple[int, ...]) -> nn.Module:
        kernel, stride, rate, _, _ = numbers
        conv = (nn.Conv1d, nn.Conv2d)[self.rank - 1]
        back = (nn.ConvTranspose1d, nn.ConvTranspose2d)[self.rank - 1]
        if kind == "depthwise":
            return conv(4, 4, kernel, stride, dilation=rate, groups=4)
        if kind == "split":
            return conv(2, 2, kernel, dilation=rate, padding="same")
        if kind == "up":
            return back(4, 4, kernel, stride, dilation=rate)
        return conv(4, 4, kernel, stride, dilation=rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = [x]
        for (kind, numbers), layer in zip(self.steps, self.layers, strict=True):
            x = self._step(kind, numbers, layer, x)
            for earlier in reversed(seen):
                if earlier.shape == x.shape:
                    x = x + earlier
                    break
            seen.append(x)
        return x

    def _step(
        self, kind: str, numbers: tuple[int, ...], layer: nn.Module, x: torch.Tensor
    ) -> torch.Tensor:
        kernel, stride, _, lo, hi = numbers
        pool = ((F.max_pool1d, F.max_pool2d), (F.avg_pool1d, F.avg_pool2d))
        if kind in ("conv", "depthwise"):
            return layer(F.pad(x, (lo, hi) * self.rank))
        if kind in ("max", "average"):
            how = pool[kind == "average"][self.rank - 1]
            return how(x, kernel, stride, min(lo, kernel // 2), ceil_mode=hi % 2 == 0)
        if kind == "up":
            return layer(x)
        if kind in ("nearest", "linear"):
            mode = kind if kind == "nearest" or self.rank == 1 else "bilinear"
            sizes = [max(2, n + lo - hi) for n in x.shape[2:]]
            return F.interpolate(x, size=sizes, mode=mode)
        if kind == "split":
            a, b = x.chunk(2, dim=1)
            return torch.cat([a, layer(b)], dim=1)
        if kind == "roll":
            return torch.roll(x, lo, dims=-1)
        around = min(lo, x.shape[-1])
        return torch.cat([x[..., x.shape[-1] - around :], x], dim=-1) if around else x


def _network(seed: int, rank: int) -> tuple[nn.Module, tuple[int, ...]]:
    for attempt in range(100):
        torch.manual_seed(seed)
        model = RandomNetwork(1000 * seed + attempt, rank, depth=8 if rank == 1 else 5).eval()
        shape = (1, 4, 41) if rank == 1 else (1, 4, 17, 14)
        try:
            with torch.no_grad():
                y = model(torch.zeros(shape))
        except (RuntimeError, IndexError, ValueError):
            continue
        if 1 < y[0, 0].numel() <= 4000:
            return model, shape
    raise AssertionError("no network that runs was drawn")


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_every_output_of_a_random_network_reads_what_the_footprint_says(
    seed: int, rank: int
) -> None:
    model, shape = _network(seed, rank)
    report = atrous.inspect(model, shape)
    assert report.complete, report.opaque
    # A sample of weight 0 is not read, which NaN cannot see: then a change has to be explained, and
    # what turns NaN is all there can be.
    most = read_by(model, shape)
    weighed = any(kind == "linear" for kind, _ in model.steps)
    least = changed_by(model, shape) if weighed else most
    grid = report.outputs[0].output_shape[2:]
    every = list(np.ndindex(*grid))
    for at in every if len(every) <= 120 else random.Random(seed).sample(every, 120):
        mask = report.footprint(at=at).mask.ravel()
        place = np.ravel_multi_index(at, grid)
        assert (least[:, place] <= mask).all(), f"output {at}: {model.steps}"
        assert (mask <= most[:, place]).all(), f"output {at}: {model.steps}"


TOO_RARE = {8}
"""Seeds of two resamplings whose sizes share no factor: the field repeats too rarely to be kept."""


@pytest.mark.parametrize("seed", range(20))
def test_fields_of_random_networks_hold_wherever_the_border_is_out_of_reach(seed: int) -> None:
    model, _ = _network(seed, 1)
    length = 1501
    model(torch.zeros(1, 4, length))
    report = atrous.inspect(model, (1, 4, length))
    assert report.complete == (seed not in TOO_RARE), report.opaque
    if seed in TOO_RARE:
        assert "more phases" in report.opaque[0]
        assert report.footprint().taps > 0
        return
    field = report.outputs[0].field[0]
    outputs = report.outputs[0].output_shape[2]
    middle = outputs // 2
    checked = 0
    for at in range(middle, min(middle + 2 * len(field.phases), outputs, middle + 40)):
        phase = field.phases[at % len(field.phases)]
        moved = int((at - at % len(field.phases)) * field.stride) if len(field.phases) else 0
        read = np.flatnonzero(report.footprint(at=at).mask)
        if read.size == 0 or read[0] == 0 or read[-1] == length - 1:
            continue
        assert (read[-1] - read[0] + 1, read.size) == (phase.size, phase.taps)
        if len(field.phases) < outputs:
            assert read[0] == phase.start + moved
        checked += 1
    assert checked >= 2, "the border is in reach of every output that was tried"
