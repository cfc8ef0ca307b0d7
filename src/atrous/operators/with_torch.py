"""Convolutions of torch tensors: native kernels for depthwise ones, exact strategies for the rest.

The result has the layout of `x` and its element. 16-bit elements are summed in float32: by the
device's own kernels where it has them, else by computing in float32. Everything is differentiable.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from atrous.frameworks.torch import is_transformed, is_watched
from atrous.geometry import symmetric
from atrous.operators.arguments import Sums
from atrous.operators.convolution import Convolution
from atrous.operators.directions import conv_filtered
from atrous.operators.kernels import native
from atrous.operators.kernels.torch_ops import conv_depthwise
from atrous.operators.strategies import STRATEGIES, is_channels_last, padded, to_channels_last
from atrous.operators.tiles import LEVELS, saving

__all__ = ["cast", "conv", "conv_transpose"]

_TRANSPOSED = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)
_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
_KNOWN: dict[int, tuple[Convolution, tuple[Any, ...] | None]] = {}
_MOST_KNOWN = 1024
_HALVES = (torch.float16, torch.bfloat16)
_LEAST_IN_BLOCKS = 1 << 14
"""Numbers of a map from which on blocks of channels pay for being made."""
_MOST_PADDED = 6
"""The padding on a side up to which oneDNN has a depthwise kernel of its own."""


def cast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """The tensors with the element that autocast asks for, if it is on; float64 stays."""
    if not torch.amp.is_autocast_available(device := x.device.type):
        return x, weight, bias
    if not torch.is_autocast_enabled(device):
        return x, weight, bias
    wanted = torch.get_autocast_dtype(device)
    lower = (torch.float32, *_HALVES)

    def one(array: Tensor) -> Tensor:
        return array.to(wanted) if isinstance(array, Tensor) and array.dtype in lower else array

    return one(x), one(weight), None if bias is None else one(bias)


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution, rounding: Sums = "direct"
) -> Tensor:
    """The convolution, in the layout and of the elements of `x`."""
    if rounding == "winograd" and _has_fewer_products(x, call):
        return _in_layout(conv_filtered(x, weight, bias, call, LEVELS[0]), x)
    if x.dtype == torch.float32 and x.is_contiguous() and not torch.compiler.is_compiling():
        options = _options_of(call)
        if options is not None:
            return _CONVOLUTIONS[x.dim() - 3](x, weight, bias, *options).contiguous()
    if call.depthwise and x.device.type == "cpu" and 0 not in x.shape:
        made = conv_depthwise(x, weight, bias, call.stride, call.dilation, call.padding, "none")
        return _in_layout(made, x)
    run = STRATEGIES[_chosen(call, is_channels_last(x))].run
    wide = _summed_in(x)
    if wide == x.dtype:
        return _in_layout(run(x, weight, bias, call), x)
    bias = None if bias is None else bias.to(wide)
    return _in_layout(run(x.to(wide), weight.to(wide), bias, call).to(x.dtype), x)


def _has_fewer_products(x: Tensor, call: Convolution) -> bool:
    here = x.device.type == "cpu" and x.dtype == torch.float32 and type(x) is Tensor
    return here and not is_watched() and native().available and saving(call) is not None


def _options_of(call: Convolution) -> tuple[Any, ...] | None:
    """`_direct`, remembered by the record itself: its hash would take longer than small layers."""
    known = _KNOWN.get(id(call))
    if known is None or known[0] is not call:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        known = _KNOWN[id(call)] = (call, _direct(call))
    return known[1]


def _direct(call: Convolution) -> tuple[Any, ...] | None:
    """The arguments of PyTorch's own call where that is all there is to do for maps in planes.

    Of depthwise layers these are the undilated ones whose maps are narrow, or whose kernels are
    large: oneDNN runs them over blocks of 16 channels, and wants little and equal padding. Then
    planes leave most of a vector empty, or read their taps again and again.
    """
    if any(type(n) is not int or not n for n in (call.batch, call.in_channels, *call.sizes)):
        return None
    if any(lo != hi or lo < 0 for lo, hi in call.padding):
        return None
    if call.depthwise:
        blocks = call.rank == 2 and call.out_channels == call.in_channels
        blocks = blocks and call.in_channels % 16 == 0 and max(call.dilation) == 1
        narrow = call.sizes[-1] <= 16 or max(call.kernel) >= 5
        small = call.in_channels * prod(call.sizes) < _LEAST_IN_BLOCKS
        if not blocks or not narrow or small or max(map(max, call.padding)) > _MOST_PADDED:
            return None
    elif _chosen(call, False) != "framework":
        return None
    return call.stride, tuple(lo for lo, _ in call.padding), call.dilation, call.groups


def conv_transpose(x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
    """The transposed convolution, in the layout and of the elements of `x`.

    PyTorch cuts the same off both sides. What is left is cut afterwards, or filled with zeros.
    """
    one_each = call.depthwise and call.out_channels == call.groups and x.device.type == "cpu"
    known_elsewhere = torch.onnx.is_in_onnx_export() or is_transformed()
    if one_each and not known_elsewhere and 0 not in x.shape and 0 not in call.outputs:
        return _in_layout(_depthwise_transposed(x, weight, bias, call), x)
    wide = _summed_in(x)
    cut, rest = symmetric(call.padding)
    if call.in_channels:
        function = _TRANSPOSED[call.rank - 1]
        more, groups = call.output_padding, call.groups
        y = function(
            x.to(wide), weight.to(wide), None, call.stride, cut, more, groups, call.dilation
        )
        y = padded(y, [(-lo, -hi) for lo, hi in rest])
    else:  # PyTorch makes no channels of none.
        y = x.new_zeros(call.shape, dtype=wide) + 0 * weight.to(wide).sum()
    if bias is not None:
        y = y + bias.to(wide).reshape(-1, *(1,) * call.rank)
    return _in_layout(y.to(x.dtype), x)


def _depthwise_transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution
) -> Tensor:
    """The data gradient of the convolution that reads the result and gives maps like `x`."""
    more = call.output_padding or (0,) * call.rank
    # Less padding behind is what `output_padding` means.
    pad_lo = [lo for lo, _ in call.padding]
    pad_hi = [hi - extra for (_, hi), extra in zip(call.padding, more, strict=True)]
    wide = torch.float32 if x.dtype in _HALVES else x.dtype
    y: Tensor = torch.ops.atrous.depthwise_data_gradient(
        x.to(wide), weight.to(wide), call.stride, call.dilation, pad_lo, pad_hi, call.outputs
    )
    if bias is not None:
        y = y + bias.to(wide).reshape(-1, *(1,) * call.rank)
    return y.to(x.dtype)


def _chosen(call: Convolution, last: bool) -> str:
    """The framework's own, unless it would read or hold much more than the layer needs.

    That is a strided layer of one tap in planes, of which it reads all of the map, and padding much
    larger than the map itself.
    """
    traced = any(type(size) is not int for size in call.sizes)
    if not traced and not last and max(call.stride) > 1 and STRATEGIES["slices"].applies(call):
        return "slices"
    if traced or max(map(max, call.padding)) <= min(call.sizes):
        return "framework"
    held = work = 1
    for size, outputs, (lo, hi) in zip(call.sizes, call.outputs, call.padding, strict=True):
        held *= max(size + max(lo, 0) + max(hi, 0), 1)
        work *= max(size, outputs)
    return "taps" if held > 16 * work else "framework"


def _summed_in(x: Tensor) -> torch.dtype:
    """The element to compute with, so that sums are in float32 or wider."""
    if x.device.type != "cpu" or x.dtype not in _HALVES:
        return x.dtype
    mkldnn = torch.ops.mkldnn
    known = (
        mkldnn._is_mkldnn_bf16_supported()
        if x.dtype == torch.bfloat16
        else mkldnn._is_mkldnn_fp16_supported()
    )
    return x.dtype if known and 0 not in x.shape else torch.float32


def _in_layout(y: Tensor, x: Tensor) -> Tensor:
    return to_channels_last(y) if is_channels_last(x) else y.contiguous()
