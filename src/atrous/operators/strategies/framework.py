"""The framework's own convolution, in the layout at hand or with the channels last."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn import functional

from atrous.geometry import symmetric
from atrous.operators.convolution import Convolution
from atrous.operators.strategies.channels_last import is_channels_last, padded, to_channels_last
from atrous.operators.strategies.registry import ConvStrategy, strategy

__all__ = ["ChannelsLast", "Framework", "convolve"]

_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    call: Convolution,
) -> Tensor:
    """PyTorch's convolution with any padding: what both sides share is its own, the rest is added.

    Channels that lie side by side in `x` do so in the result. PyTorch needs positions to convolve,
    so that an empty axis is padded beforehand altogether; and it makes no channels of none, where
    the sum is zero.
    """
    if x.shape[1] == 0:
        made = replace(call, batch=x.shape[0], sizes=tuple(x.shape[2:])).shape
        zeros = x.new_zeros(made) + 0 * weight.sum()
        return zeros if bias is None else zeros + bias.reshape(-1, *(1,) * call.rank)
    last = is_channels_last(x)
    within = [lo for lo, hi in call.padding if lo == hi >= 0]
    if len(within) < call.rank or 0 in x.shape:
        none = (0,) * call.rank
        shared, rest = (none, call.padding) if 0 in x.shape else symmetric(call.padding)
        x, within = padded(x, rest), list(shared)
    stride, dilation = call.stride, call.dilation
    if not last or call.rank > 1:
        y = _CONVOLUTIONS[call.rank - 1](x, weight, bias, stride, within, dilation, call.groups)
    else:  # PyTorch knows the layout from two axes on.
        x, weight = to_channels_last(x).unsqueeze(2), weight.unsqueeze(2)
        options = (1, *stride), (0, *within), (1, *dilation), call.groups
        y = functional.conv2d(x, weight, bias, *options).squeeze(2)
    # It keeps the layout, unless it falls back to a slow kernel.
    return to_channels_last(y) if last else y


@strategy("framework")
class Framework(ConvStrategy):
    """PyTorch's own call, in the layout of `x`.

    Applies to every convolution that is not transposed. Exact by definition; padding that differs
    between the sides is made of zeros in front of the call.
    """

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
        """PyTorch's result."""
        return convolve(x, weight, bias, call)


@strategy("channels_last")
class ChannelsLast(ConvStrategy):
    """PyTorch's own call with the channels of each position side by side; so is its result.

    Applies to every convolution that is not transposed. Exact: a layout changes no value, only
    which of PyTorch's kernels runs. A tensor that has the layout already is not copied.
    """

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
        """PyTorch's result, channels last."""
        return to_channels_last(convolve(to_channels_last(x), to_channels_last(weight), bias, call))
