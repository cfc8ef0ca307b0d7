"""Streams against the model on the whole input: chunks of random lengths, in float64."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

import atrous

__all__ = [
    "Written",
    "assert_runs_natively",
    "assert_streams",
    "chunks_of",
    "noise",
    "off",
    "pushed",
    "whole_of",
]


class Written(torch.nn.Module):
    """A function of the input and some layers."""

    def __init__(self, function: Callable[..., Any], *layers: torch.nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, torch.nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> Any:
        """What the function makes of them."""
        return self.function(x, *self.layers)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """Numbers from the normal distribution, the same each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def off(found: torch.Tensor, whole: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    assert found.shape == whole.shape
    return float((found - whole).abs().max() / whole.abs().max())


@torch.no_grad()
def whole_of(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a copy in float64 makes of the whole input."""
    made: torch.Tensor = copy.deepcopy(model).double()(x.double())
    return made


def chunks_of(length: int, draw: random.Random, most: int) -> list[int]:
    """Lengths that add up to `length`, many of them 0, 1 or 2."""
    found, left = [], length
    while left:
        count = min(left, draw.choice([0, 1, 1, 2, 3, draw.randint(1, most)]))
        found.append(count)
        left -= count
    return found


def pushed(live: Any, x: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """All that a stream gives for an input in chunks of these lengths, in one piece."""
    pieces = [live.push(chunk) for chunk in x.split(list(lengths), live.axis)] if lengths else []
    return torch.cat([*pieces, live.flush()], live.output_axis)


def assert_streams(
    model: torch.nn.Module,
    shape: Sequence[int],
    lengths: Iterable[int],
    *,
    axis: int | None = None,
    chunkings: int = 2,
    most: int = 40,
    tolerance: float = 1e-12,
) -> Any:
    """A stream gives what the model makes of the whole, for each length that the model takes.

    Where the model takes none of that length, the stream does not end there either.
    """
    model = model.double().eval()
    live = atrous.stream(model, torch.empty(*shape, dtype=torch.float64), axis=axis)
    draw = random.Random(1)
    done = 0
    for length in lengths:
        sized = [length if d == live.axis else n for d, n in enumerate(shape)]
        x = torch.randn(sized, dtype=torch.float64, generator=torch.Generator().manual_seed(length))
        try:
            with torch.no_grad():
                whole = model(x.clone())
        except (RuntimeError, ValueError):
            continue
        for _ in range(chunkings):
            live.reset()
            found = pushed(live, x, chunks_of(length, draw, most))
            assert found.shape == whole.shape, length
            worst = (found - whole).abs().max() if whole.numel() else 0
            assert worst <= tolerance * max(1, whole.abs().max() if whole.numel() else 1), length
            done += 1
    assert done
    return live


def assert_runs_natively(layout: Any, bound: float) -> None:
    """A layout in float32 by native kernels is within `bound` of itself in float64, as a whole."""
    live = atrous.stream(layout.model(dtype=torch.float32), layout.shape, axis=layout.time)
    assert live.engine == "native", live.refusal
    length, draw = layout.length + 7, random.Random(1)
    x = noise(*layout.resized(length))
    with torch.no_grad():
        whole = layout.model()(x.double())
    for most in (3, length):
        live.reset()
        assert off(pushed(live, x, chunks_of(length, draw, most)), whole) < bound
