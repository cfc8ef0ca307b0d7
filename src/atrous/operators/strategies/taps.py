"""One product for each tap, over the outputs at which the tap lies on the map."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

import torch
from torch import Tensor

from atrous.operators.convolution import Convolution
from atrous.operators.strategies.channels_last import is_channels_last
from atrous.operators.strategies.registry import ConvStrategy, strategy

__all__ = ["Taps", "multiplied"]


@strategy("taps")
class Taps(ConvStrategy):
    """The sum over taps of one matrix product each, `y[reached] += weight[tap] @ x[read]`.

    Applies to every convolution that is not transposed; worth it where rates are large against the
    map. Exact: it is the definition with the sum over taps outermost, and what is left out are
    products with the zeros of the padding. A tap that reaches no output costs nothing, and padding
    takes no memory. 16-bit elements are summed in float32.
    """

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
        """The sum, in the layout of `x` where there is one group."""
        element = x.dtype
        if element in (torch.float16, torch.bfloat16):
            x, weight = x.float(), weight.float()
            bias = None if bias is None else bias.float()
        call = replace(call, batch=x.shape[0], sizes=tuple(x.shape[2:]))
        every = {tap: call.reached(tap) for tap in product(*map(range, call.kernel))}
        reaching = [(tap, cut) for tap, cut in every.items() if all(cut)]
        # The first product is the sum's start, if it reaches every output.
        whole = tuple(map(range, call.outputs))
        reaching.sort(key=lambda one: one[1] != whole)
        y: Tensor | None = None
        for tap, cut in reaching:
            part = multiplied(x[(..., *call.read(tap, cut))], weight[(..., *tap)], call.groups)
            if y is None and cut == whole:
                y = part
                continue
            if y is None:
                y = _zeros(x, call)
            y[(..., *(slice(one.start, one.stop) for one in cut))] += part
        if y is None:
            # No tap reads anything: the gradients are zero, and not absent.
            y = _zeros(x, call) + x[:0].sum() + weight[:0].sum()
        if bias is not None:
            y = y + bias.reshape(-1, *(1,) * call.rank)
        return y.to(element)


def multiplied(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """`weight @ x` at every position: `(out, in / groups)` times `(batch, in, *sizes)`."""
    batch, sizes = x.shape[0], x.shape[2:]
    if groups == 1 and x.stride(1) == 1 and x.dim() > 2:
        # Channels side by side, also in a slice of a map.
        return torch.matmul(x.movedim(1, -1), weight.t()).movedim(-1, 1)
    flat = x.reshape(batch, groups, x.shape[1] // groups, prod(sizes))
    matrix = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1])
    return torch.matmul(matrix, flat).reshape(batch, weight.shape[0], *sizes)


def _zeros(x: Tensor, call: Convolution) -> Tensor:
    if is_channels_last(x) and call.groups == 1:
        return x.new_zeros(call.batch, *call.outputs, call.out_channels).movedim(-1, 1)
    return x.new_zeros(call.shape)
