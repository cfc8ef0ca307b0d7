"""Maps as their phases, side by side in the batch, and runs of layers that stay there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Literal

import torch
from torch import Tensor

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.strategies.channels_last import is_channels_last, padded
from atrous.operators.strategies.framework import convolve
from atrous.refusal import Refusal

__all__ = ["PhaseRun", "from_phases", "to_phases"]


def to_phases(x: Tensor, rates: Sequence[int], lead: Sequence[int] = ()) -> Tensor:
    """Every `rate`-th position of `x` as a map of its own, `prod(rates)` for each of the batch.

    `(batch, channels, *sizes)` becomes `(batch * prod(rates), channels, *ceil(sizes / rates))`:
    position `rate * u + v` is position `u` of phase `v`, the last axis' phase counting fastest.
    Where a size is no multiple, the last position of the phases from `size % rate` on is zero.
    `lead` positions of zeros come in front, along each axis. The layout is that of `x`.

    >>> to_phases(torch.arange(1.0, 6.0).reshape(1, 1, 5), [2]).tolist()
    [[[1.0, 3.0, 5.0]], [[2.0, 4.0, 0.0]]]
    """
    rank = len(rates)
    lead = lead or (0,) * rank
    last = is_channels_last(x)
    sizes = [size + more for size, more in zip(x.shape[2:], lead, strict=True)]
    lengths = [-(-size // rate) for size, rate in zip(sizes, rates, strict=True)]
    pads = [
        (more, length * rate - size)
        for more, length, rate, size in zip(lead, lengths, rates, sizes, strict=True)
    ]
    split = padded(x, pads).reshape(*x.shape[:2], *chain(*zip(lengths, rates, strict=True)))
    phases, places = range(3, 3 + 2 * rank, 2), range(2, 2 + 2 * rank, 2)
    batch = x.shape[0] * prod(rates)
    if last:
        moved = split.permute(0, *phases, *places, 1).contiguous()
        return moved.reshape(batch, *lengths, x.shape[1]).movedim(-1, 1)
    moved = split.permute(0, *phases, 1, *places).contiguous()
    return moved.reshape(batch, x.shape[1], *lengths)


def from_phases(maps: Tensor, rates: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """The map of these sizes whose phases are `maps`: `to_phases` taken back, the rest cropped.

    >>> from_phases(torch.tensor([[[1.0, 3.0, 5.0]], [[2.0, 4.0, 0.0]]]), [2], [5]).tolist()
    [[[1.0, 2.0, 3.0, 4.0, 5.0]]]
    """
    rank = len(rates)
    lengths = maps.shape[2:]
    batch, channels = maps.shape[0] // prod(rates), maps.shape[1]
    whole = [length * rate for length, rate in zip(lengths, rates, strict=True)]
    if is_channels_last(maps):
        split = maps.movedim(1, -1).reshape(batch, *rates, *lengths, channels)
        pairs = chain(*((1 + rank + axis, 1 + axis) for axis in range(rank)))
        x = split.permute(0, *pairs, 1 + 2 * rank).reshape(batch, *whole, channels).movedim(-1, 1)
    else:
        split = maps.reshape(batch, *rates, channels, *lengths)
        pairs = chain(*((2 + rank + axis, 1 + axis) for axis in range(rank)))
        x = split.permute(0, 1 + rank, *pairs).reshape(batch, channels, *whole)
    return x[(..., *map(slice, sizes))]


@dataclass(frozen=True, slots=True)
class PhaseRun:
    """A map of `sizes`, held as its phases, on which layers of one rate run undilated.

    A position reads only positions of its own phase, wherever a layer has stride 1 and dilation
    `rates`; so a run of such layers shuffles once in front and once behind, and elementwise layers
    stay in between. What a layer makes behind the end of the map, in the phases that are shorter,
    is set to zero before the next window reads it: there the next layer reads its padding.

    >>> x = torch.arange(1.0, 6.0).reshape(1, 1, 5)
    >>> layer = Convolution(1, 1, 1, (5,), (Window(3, 1, 2, 2, 2),))
    >>> run = PhaseRun.of(x, [2])
    >>> for _ in range(2):
    ...     run = run.conv(torch.ones(1, 1, 3), None, layer).pointwise(torch.relu)
    >>> run.map().tolist()
    [[[13.0, 12.0, 21.0, 12.0, 17.0]]]
    """

    maps: Tensor
    rates: tuple[int, ...]
    sizes: tuple[int, ...]
    clean: bool = True
    """Whether the positions behind the end of the map are zero."""

    @classmethod
    def of(cls, x: Tensor, rates: Sequence[int]) -> PhaseRun:
        """The map `x`, split."""
        return cls(to_phases(x, rates), tuple(rates), tuple(x.shape[2:]))

    def map(self) -> Tensor:
        """The map, put together."""
        return from_phases(self.maps, self.rates, self.sizes)

    def pointwise(self, function: Callable[[Tensor], Tensor]) -> PhaseRun:
        """The run after a function that treats all positions of all maps alike.

        Activations, batch norms in evaluation and convolutions of one tap and stride 1 without
        padding do. A batch norm in training does not: its means would count the positions behind
        the end.
        """
        return replace(self, maps=function(self.maps), clean=False)

    def join(self, other: PhaseRun, function: Callable[[Tensor, Tensor], Tensor]) -> PhaseRun:
        """The run after an elementwise function of two maps of the same sizes and rates."""
        assert (self.rates, self.sizes) == (other.rates, other.sizes)
        return replace(self, maps=function(self.maps, other.maps), clean=False)

    def fits(self, call: Convolution) -> Literal[True] | Refusal:
        """Whether `conv` takes such a layer: stride 1 and these rates, with any padding."""
        if call.transposed or max(call.stride) > 1:
            return Refusal(
                "phases", "", f"stride {call.stride} leaves the phases; end the run first."
            )
        for window, rate in zip(call.windows, self.rates, strict=True):
            if window.kernel > 1 and window.dilation != rate:
                return Refusal(
                    "phases",
                    "",
                    f"dilation {call.dilation} is not the run's {self.rates}; end the run first.",
                )
        return True

    def conv(self, weight: Tensor, bias: Tensor | None, call: Convolution) -> PhaseRun:
        """The run after a convolution that `fits`."""
        made = tuple(w.output_length(n) for w, n in zip(call.windows, self.sizes, strict=True))
        # Padding of `rate * a + b` moves each phase by `a` and the phases among themselves by `b`.
        turns = [w.pad_lo // rate for w, rate in zip(call.windows, self.rates, strict=True)]
        lead = [w.pad_lo % rate for w, rate in zip(call.windows, self.rates, strict=True)]
        padded_or_wide = max(call.kernel) > 1 or any(map(any, call.padding))
        run = self.cleaned() if padded_or_wide else self
        maps = run._led(lead)
        windows = []
        for axis, (window, turn) in enumerate(zip(call.windows, turns, strict=True)):
            wanted, length = -(-made[axis] // self.rates[axis]), maps.shape[2 + axis]
            reach = Window(window.kernel).extent + wanted - 1
            windows.append(Window(window.kernel, 1, 1, turn, reach - turn - length))
        maps = convolve(maps, weight, bias, replace(call, windows=tuple(windows)))
        return PhaseRun(maps, self.rates, made, clean=False)

    def cleaned(self) -> PhaseRun:
        """The same run with zeros behind the end of the map."""
        rests = [n % rate for n, rate in zip(self.sizes, self.rates, strict=True)]
        if self.clean or not any(rests):
            return self
        rank = len(self.rates)
        maps = self.maps
        if maps.requires_grad:
            maps = maps.clone()
        split = maps.unflatten(0, (-1, *self.rates))
        for axis, rest in enumerate(rests):
            if rest:
                split.narrow(1 + axis, rest, self.rates[axis] - rest).select(
                    2 + rank + axis, -1
                ).zero_()
        return replace(self, maps=maps, clean=True)

    def _led(self, lead: Sequence[int]) -> Tensor:
        """The phases of the map with `lead` zeros in front, along each axis."""
        maps = self.maps
        rank = len(self.rates)
        for axis, (more, rate) in enumerate(zip(lead, self.rates, strict=True)):
            if not more:
                continue
            split = maps.unflatten(0, (-1, *self.rates)).movedim(1 + axis, 0)
            wanted = -(-(self.sizes[axis] + more) // rate)
            grown = [(0, 0)] * rank
            parts = []
            for phases, front in ((split[rate - more :], 1), (split[: rate - more], 0)):
                grown[axis] = (front, wanted - front - maps.shape[2 + axis])
                parts.append(padded(phases, grown))
            maps = torch.cat(parts).movedim(0, 1 + axis).flatten(0, rank)
        return maps
