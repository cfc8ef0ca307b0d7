"""A dilated convolution as undilated ones of the phases, in one batch."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Literal

import torch
from torch import Tensor

from atrous.geometry import Window, phased
from atrous.operators.convolution import Convolution
from atrous.operators.strategies.channels_last import is_channels_last, padded, to_channels_last
from atrous.operators.strategies.framework import convolve
from atrous.operators.strategies.phase_run import PhaseRun, from_phases, to_phases
from atrous.operators.strategies.registry import ConvStrategy, strategy
from atrous.refusal import Refusal

__all__ = ["Phases"]


@strategy("phases")
class Phases(ConvStrategy):
    """The phases of the map as a batch through the undilated convolution, and put together again.

    Applies where some axis has a dilation that its stride does not divide away. Exact: an output
    reads positions that are `dilation` apart, so only one phase of them, and neighbouring outputs
    of one phase read neighbours there (`geometry.phased` states it with strides). Each phase is
    padded to the same length, and what that adds is cropped.
    """

    def applies(self, call: Convolution) -> Literal[True] | Refusal:
        """Where some axis has more than one tap and a dilation above 1."""
        if all(window.kernel == 1 or window.dilation == 1 for window in call.windows):
            return self.refused(
                f"dilation {call.dilation} leaves one phase; use the framework's call."
            )
        return super().applies(call)

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
        """The convolution, in the layout of `x`."""
        if max(call.stride) == 1:
            rates = tuple(phased(window).rate for window in call.windows)
            # What is no multiple of the rate goes in front while the map is split.
            lead = [w.pad_lo % rate for w, rate in zip(call.windows, rates, strict=True)]
            sizes = tuple(n + more for n, more in zip(x.shape[2:], lead, strict=True))
            run = PhaseRun(to_phases(x, rates, lead), rates, sizes)
            windows = tuple(
                replace(w, pad_lo=w.pad_lo - more)
                for w, more in zip(call.windows, lead, strict=True)
            )
            return run.conv(weight, bias, replace(call, windows=windows)).map()
        return _strided(x, weight, bias, call)


def _strided(x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
    """The phases that a strided window reads, each cut out of the padded map."""
    last = is_channels_last(x)
    made = [w.output_length(n) for w, n in zip(call.windows, x.shape[2:], strict=True)]
    splits = [phased(window) for window in call.windows]
    pads = [
        (window.pad_lo, split.reach(outputs) - window.pad_lo - size)
        for window, split, outputs, size in zip(
            call.windows, splits, made, x.shape[2:], strict=True
        )
    ]
    maps = padded(x, pads)
    # From the last axis on, so that the phases of the first one end up in front.
    for axis in reversed(range(call.rank)):
        split, dim = splits[axis], maps.dim() - call.rank + axis
        length = split.length(made[axis])
        starts = [split.start(phase) * split.common for phase in range(split.rate)]
        step = split.rate * split.common
        index = [slice(None)] * maps.dim()
        parts = []
        for start in starts:
            index[dim] = slice(start, start + (length - 1) * step + 1, step)
            parts.append(maps[tuple(index)])
        maps = torch.stack(parts, 1)
    rates = [split.rate for split in splits]
    maps = maps.reshape(x.shape[0] * prod(rates), *maps.shape[1 + call.rank :])
    if last:
        maps = to_channels_last(maps)
    windows = tuple(Window(split.kernel, split.step) for split in splits)
    maps = convolve(maps, weight, bias, replace(call, windows=windows))
    return from_phases(maps, rates, made)
