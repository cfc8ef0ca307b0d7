"""PyTorch modules for what PyTorch has no argument for: average pools with a rate, phase padding.

They have no parameters, so no key of a state dict changes, and they say which operation they are
(`as_op`), so that a report shows one layer and not the steps that it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from atrous.frameworks.torch import OneOp
from atrous.geometry import Dense, Window, fold_back
from atrous.network.ops import Op, Pad, PadMode, Pool

__all__ = [
    "AvgPool",
    "Count",
    "DensePad",
    "PadInput",
    "PhasePad",
    "Resample",
    "ResampleList",
    "padded",
]

Count = Literal["inside", "padded", "all"]
"""Which taps an average divides by: those inside the map, those inside the map and its padding, or
all of them."""


class PadInput:
    """A forward pre-hook that pads a module's input as the dense window of each axis needs.

    Used as `module.register_forward_pre_hook(PadInput(dense, value))`; the module itself then pads
    nothing. How much is padded on the high side follows from the size of what comes in, so that
    the result is exact at every size.
    """

    def __init__(self, dense: Sequence[Dense], value: float = 0.0) -> None:
        self.dense = tuple(dense)
        self.value = value

    def __call__(self, _module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[object, ...]:
        """The arguments with the first one padded."""
        return (padded(args[0], self.dense, self.value), *args[1:])

    def __repr__(self) -> str:
        return f"PadInput({self.dense}, value={self.value})"


def padded(x: torch.Tensor, dense: Sequence[Dense], value: float = 0.0) -> torch.Tensor:
    """`x` with the padding of the dense windows along its last axes; negative padding crops."""
    pads: list[int] = []
    for one, length in zip(reversed(dense), reversed(x.shape), strict=False):
        window = one.at(int(length))
        pads += [window.pad_lo, window.pad_hi]
    return functional.pad(x, pads, value=value) if any(pads) else x


class DensePad(nn.Module):
    """The padding of dense windows as a module of its own, for code that calls functions."""

    def __init__(self, dense: Sequence[Dense], value: float = 0.0) -> None:
        super().__init__()
        self.dense = tuple(dense)
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, padded along its last axes."""
        return padded(x, self.dense, self.value)

    def extra_repr(self) -> str:
        """The windows that are padded for."""
        return f"{self.dense}, value={self.value}"


class AvgPool(OneOp):
    """An average pool with a rate: `dense` says for each axis which window it takes, at any size.

    The mean of `kernel` taps, `rate` apart. `count` says what it divides by at the border. The
    padding that a dense window adds beyond its original's counts neither as value nor as tap.
    Input `(..., *sizes)`, as many sizes as `dense` has entries.

    >>> pool = AvgPool([Dense(Window(2, stride=2), factor=2)], count="inside")
    >>> pool(torch.arange(8.0).reshape(1, 1, 8)).tolist()
    [[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0, 7.0]]]
    """

    def __init__(
        self,
        dense: Sequence[Dense],
        count: Count = "all",
        divisor: int | None = None,
        original: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.dense = tuple(dense)
        self.count = count
        self.divisor = divisor
        # Held in a tuple, so that it is no submodule.
        self.original = (original,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The pooled map."""
        rank = len(self.dense)
        # Tracers hand out sizes as tensors.
        sizes = [int(size) for size in x.shape[-rank:]]
        windows = [one.at(size) for one, size in zip(self.dense, sizes, strict=True)]
        x = padded(x, self.dense)
        for axis, (window, size) in enumerate(zip(windows, sizes, strict=True)):
            dim = x.dim() - rank + axis
            x = self._summed(x, dim, window, size)
            if self.divisor is None:
                x = x / self._taps(x, dim, axis, window, size)
        return x if self.divisor is None else x / self.divisor

    def _summed(self, x: torch.Tensor, dim: int, window: Window, size: int) -> torch.Tensor:
        reach = (window.output_length(size) - 1) * window.stride + 1
        total: torch.Tensor | None = None
        for tap in range(window.kernel):
            first = tap * window.dilation
            index = [slice(None)] * x.dim()
            index[dim] = slice(first, first + reach, window.stride)
            part = x[tuple(index)]
            total = part if total is None else total + part
        assert total is not None
        return total

    def _taps(
        self, x: torch.Tensor, dim: int, axis: int, window: Window, size: int
    ) -> torch.Tensor | int:
        """How many taps count at each output, shaped to divide by."""
        low, high = 0, size
        if self.count == "padded":
            one = self.dense[axis]
            was = one.original(size)
            low, high = -one.factor * was.pad_lo, size + one.factor * was.pad_hi
        counts = [
            sum(low <= p < high for p in window.taps(o)) for o in range(window.output_length(size))
        ]
        if self.count == "all" or min(counts) == window.kernel:
            return window.kernel
        shape = [1] * x.dim()
        shape[dim] = len(counts)
        return torch.tensor(counts, dtype=x.dtype, device=x.device).clamp(min=1).reshape(shape)

    def as_op(self, sizes: Sequence[int]) -> Op:
        """The operation that this is, on a map of these sizes."""
        windows = tuple(one.at(size) for one, size in zip(self.dense, sizes, strict=True))
        was = [one.original(size) for one, size in zip(self.dense, sizes, strict=True)]
        held = tuple(
            (one.factor * w.pad_lo, one.factor * w.pad_hi)
            for one, w in zip(self.dense, was, strict=True)
        )
        if self.count == "inside" or held == tuple(w.padding for w in windows):
            held = ()
        return Pool(windows, "average", False, self.count != "inside", held)

    def extra_repr(self) -> str:
        """The window of each axis, and what the mean divides by."""
        return f"{self.dense}, count={self.count!r}"


class PhasePad(OneOp):
    """Padding of maps of which every `factor`-th position is a map of its own.

    `pads` are those of the original, `(lo, hi)` for each of the last axes, and `factors` say how
    far apart its positions lie now. Reflected, replicated and circular padding then reads what the
    original reads, at every phase.

    >>> pad = PhasePad([(1, 1)], [2], "reflect")
    >>> pad(torch.arange(7.0).reshape(1, 1, 7)).tolist()
    [[[2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 3.0, 4.0]]]
    """

    def __init__(
        self,
        pads: Sequence[tuple[int, int]],
        factors: Sequence[int],
        mode: PadMode,
        value: float = 0,
    ) -> None:
        super().__init__()
        self.pads = tuple((int(lo), int(hi)) for lo, hi in pads)
        self.factors = tuple(factors)
        self.mode = mode
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, padded along its last axes."""
        rank = len(self.pads)
        if self.mode == "constant":
            flat = [
                f * n for (lo, hi), f in zip(self.pads, self.factors, strict=True) for n in (lo, hi)
            ]
            pairs = [flat[i : i + 2] for i in range(0, len(flat), 2)]
            return functional.pad(
                x, [n for pair in reversed(pairs) for n in pair], value=self.value
            )
        for axis, ((lo, hi), factor) in enumerate(zip(self.pads, self.factors, strict=True)):
            if not (lo or hi):
                continue
            dim = x.dim() - rank + axis
            x = x.index_select(dim, self._places(int(x.shape[dim]), lo, hi, factor, x.device))
        return x

    def _places(
        self, size: int, lo: int, hi: int, factor: int, device: torch.device
    ) -> torch.Tensor:
        border = {"reflect": "reflect", "replicate": "clamp", "circular": "wrap"}[self.mode]
        place = fold_back(border, size, phases=factor)  # type: ignore[arg-type]
        return torch.tensor(
            [place(p) for p in range(-factor * lo, size + factor * hi)], device=device
        )

    def as_op(self, _sizes: Sequence[int]) -> Op:
        """The operation that this is, on a map of any size."""
        pads = tuple((f * lo, f * hi) for (lo, hi), f in zip(self.pads, self.factors, strict=True))
        phases = self.factors if self.mode != "constant" and max(self.factors) > 1 else ()
        return Pad(pads, self.mode, phases)

    def extra_repr(self) -> str:
        """Pads, factors and mode."""
        return f"{self.pads}, factors={self.factors}, mode={self.mode!r}"


class Resample(nn.Module):
    """A map resampled linearly to the size of another: pixels are areas, `align_corners=False`."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.mode = ("linear", "bilinear", "trilinear")[rank - 1]

    def forward(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """`x` with the spatial size of `like`."""
        size = like.shape[2:]
        return functional.interpolate(x, size=size, mode=self.mode, align_corners=False)

    def extra_repr(self) -> str:
        """The kind of interpolation."""
        return self.mode


class ResampleList(nn.Module):
    """Some maps of a list resampled to the size of others: `places` says which to which."""

    def __init__(self, rank: int, places: Mapping[int, int]) -> None:
        super().__init__()
        self.places = dict(places)
        self.resample = Resample(rank)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The list, the other maps as they are."""
        found = self.places
        return [
            self.resample(x, maps[found[place]]) if place in found else x
            for place, x in enumerate(maps)
        ]

    def extra_repr(self) -> str:
        """Which map gets the size of which."""
        return f"{self.places}"
