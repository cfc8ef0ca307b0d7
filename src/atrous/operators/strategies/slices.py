"""Windows of a single tap: take every `stride`-th position, then multiply."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.strategies.channels_last import is_channels_last, to_channels_last
from atrous.operators.strategies.framework import convolve
from atrous.operators.strategies.registry import ConvStrategy, strategy
from atrous.refusal import Refusal

__all__ = ["Slices"]


@strategy("slices")
class Slices(ConvStrategy):
    """`x[::stride]` and then a convolution with one tap and no stride: one product.

    Applies where every kernel is 1 and nothing is padded, so that each output reads one position
    of the map; cropping moves the first one. Exact: the positions between are read by no output.
    """

    def applies(self, call: Convolution) -> Literal[True] | Refusal:
        """Where there is one tap and no padding."""
        if max(call.kernel) > 1:
            return self.refused(f"kernel {call.kernel} has more than one tap; use taps.")
        if max(max(pads) for pads in call.padding) > 0:
            return self.refused(f"padding {call.padding} is read by outputs; use taps.")
        return super().applies(call)

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
        """The product, in the layout of `x`."""
        last = is_channels_last(x)
        call = replace(call, batch=x.shape[0], sizes=tuple(x.shape[2:]))
        tap = (0,) * call.rank
        x = x[(..., *call.read(tap, call.reached(tap)))]
        x = to_channels_last(x) if last else x.contiguous()
        return convolve(x, weight, bias, replace(call, windows=(Window(1),) * call.rank))
