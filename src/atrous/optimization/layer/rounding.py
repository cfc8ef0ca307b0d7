"""What a layer's sums round off: its outputs against the same sums in float64, on a sample of them.

May import: `layer.activations`, `layer.call`, PyTorch.
"""

from __future__ import annotations

import math
from math import prod

import torch
from torch.nn import functional

from atrous.operators.strategies import padded
from atrous.optimization.layer.activations import activated
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.records import Rounding

__all__ = ["ALLOWED", "Rounded", "allowed_by"]

ALLOWED = 8.0
"""Other sums may round off this many times as much as PyTorch's own, unless asked for."""
_BY_NAME = {None: ALLOWED, "direct": 0.0, "winograd": math.inf}


def allowed_by(rounding: Rounding) -> float:
    """How many times as much as PyTorch's own sums others may round off; 0 for no others."""
    return _BY_NAME[rounding]


_FILTERS = 16
_LINES = {1: 512, 2: 8, 3: 4}


class Rounded:
    """Some outputs of a convolution in float64, which say how far results are from them.

    Of the channels 16, of the first axis 8 positions (512 where it is the only one, 4 of three),
    evenly spread; of the other axes all. So each place within a tile is met. Of a transposed one
    the outputs that the first 8 (512) positions make alone. Of a linear map, 512 rows.
    """

    def __init__(
        self,
        call: LayerCall,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        operands: tuple[torch.Tensor, ...],
    ) -> None:
        self._rows = call.op == "linear"
        if self._rows:
            self._filters = _evenly(call.weight[0], _FILTERS)
            self._lines = _evenly(prod(call.input[:-1]), _LINES[1])
            found = operands[0].reshape(-1, call.input[-1])[self._lines].double()
            exact = found @ weight[self._filters].double().t()
            if bias is not None:
                exact += bias[self._filters].double()
            self._keep(call, exact, operands)
            return
        whole = call.convolution
        self._filters = _evenly(whole.out_channels, _FILTERS)
        if call.op == "transposed":
            exact = _first_lines(call, operands[0], weight[:, self._filters].double())
            self._lines = torch.arange(exact.shape[2])
        else:
            self._lines = _evenly(whole.outputs[0], _LINES[call.rank])
            exact = _summed(call, operands[0], weight[self._filters].double(), self._lines)
        if bias is not None:
            exact += bias[self._filters].double().reshape(1, -1, *(1,) * call.rank)
        self._keep(call, exact, operands)

    def _keep(
        self, call: LayerCall, exact: torch.Tensor, operands: tuple[torch.Tensor, ...]
    ) -> None:
        if call.adds:
            exact += self._of(operands[1]).double()
        self._exact = activated(exact, call.activation)
        self._largest = float(self._exact.abs().max()) if exact.numel() else 0.0

    def error(self, made: torch.Tensor) -> float:
        """The largest error in the sample, as a share of its largest value."""
        apart = (self._of(made).double() - self._exact).abs()
        far = float(apart.max()) if apart.numel() else 0.0
        if math.isnan(far):
            return math.inf
        return far / self._largest if self._largest else (0.0 if far == 0 else math.inf)

    def _of(self, made: torch.Tensor) -> torch.Tensor:
        if self._rows:
            return made.reshape(-1, made.shape[-1])[self._lines][:, self._filters]
        return made[:, self._filters][:, :, self._lines]


def _evenly(size: int, most: int) -> torch.Tensor:
    return torch.linspace(0, size - 1, min(size, most)).round().long().unique()


def _first_lines(call: LayerCall, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The sums that the first positions of the first axis make alone, in one group."""
    lines = min(x.shape[2], _LINES[call.rank])
    conv = functional.conv_transpose1d if call.rank == 1 else functional.conv_transpose2d
    cut = [lo for lo, _ in call.padding]
    more = call.output_padding or (0,) * call.rank
    made = conv(x[:, :, :lines].double(), weight, None, call.stride, cut, more, 1, call.dilation)
    # Behind these lie outputs that later positions reach as well.
    first = call.windows[0]
    alone = max(lines * first.stride - first.pad_lo, 0) if lines < x.shape[2] else made.shape[2]
    return made[:, :, :alone]


def _summed(
    call: LayerCall, x: torch.Tensor, weight: torch.Tensor, lines: torch.Tensor
) -> torch.Tensor:
    """The sums for these lines of the first axis, every tap's line of `x` beside the other's."""
    first, *rest = call.windows
    batch, channels, size = x.shape[:3]
    taps = [first.dilation * tap - first.pad_lo for tap in range(first.kernel)]
    read = lines.reshape(-1, 1) * first.stride + torch.tensor(taps)
    inside = (read >= 0) & (read < size)
    found = x[:, :, read.clamp(0, size - 1)].double()
    found = found * inside.reshape(*inside.shape, *(1,) * len(rest))
    # (batch, channels, lines, taps, ...) to one map for each line, of channels times taps.
    found = found.movedim(2, 1).reshape(batch * len(lines), channels * len(taps), *found.shape[4:])
    kernel = weight.reshape(weight.shape[0], channels * len(taps), *weight.shape[3:])
    if rest:
        conv = functional.conv1d if len(rest) == 1 else functional.conv2d
        found = padded(found, [one.padding for one in rest])
        strides, rates = [one.stride for one in rest], [one.dilation for one in rest]
        made = conv(found, kernel, None, strides, 0, rates)
    else:
        made = found @ kernel.t()
    return made.reshape(batch, len(lines), *made.shape[1:]).movedim(1, 2)
