"""PyTorch's own operations: the convolution in the graph's layout, and products for kernel 1."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from atrous.geometry import symmetric
from atrous.operators.strategies import padded
from atrous.optimization.layer.call import LayerCall, Pooling, Resizing, laid_out
from atrous.optimization.layer.ways import PLAIN, Runs, Way, register
from atrous.refusal import Refusal

__all__: list[str] = []

_CONVS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}

_aten: Any = torch.ops.aten
_MAX_POOLS = {1: _aten.max_pool1d, 2: _aten.max_pool2d, 3: _aten.max_pool3d}
_AVERAGE_POOLS = {1: _aten.avg_pool1d, 2: _aten.avg_pool2d, 3: _aten.avg_pool3d}


def _always(_call: LayerCall) -> bool:
    return True


def _as_in_torch(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    if call.op == "linear":
        return lambda x: functional.linear(x, weight, bias)
    if call.op == "transposed":
        return _as_transposed(weight, bias, call)
    if call.pooling is not None:
        return _pool_in_torch(call, call.pooling)
    if call.resizing is not None:
        return _resize_in_torch(call.resizing)
    conv = _CONVS[call.rank]
    weight = laid_out(weight, call.layout) if call.rank > 1 else weight.contiguous()
    stride, dilation, groups = call.stride, call.dilation, call.groups
    both, rest = symmetric(call.padding)
    if any(map(any, rest)):
        return lambda x: conv(padded(x, rest), weight, bias, stride, both, dilation, groups)
    return lambda x: conv(x, weight, bias, stride, both, dilation, groups)


def _as_transposed(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    conv = _TRANSPOSED[call.rank]
    cut, _ = symmetric(call.padding)
    more = call.output_padding or (0,) * call.rank
    window = call.stride, cut, more, call.groups, call.dilation
    return lambda x: conv(x, weight, bias, *window)


def _pool_in_torch(call: LayerCall, pool: Pooling) -> Runs:
    kernel, stride, pads = call.kernel, call.stride, tuple(lo for lo, _ in call.padding)
    if call.op == "max pool":
        most, rates = _MAX_POOLS[call.rank], call.dilation
        return lambda x: most(x, kernel, stride, pads, rates, pool.ceil)
    mean, counts = _AVERAGE_POOLS[call.rank], pool.counts_padding
    if call.rank == 1:
        return lambda x: mean(x, kernel, stride, pads, pool.ceil, counts)
    divisor = pool.divisor or None
    return lambda x: mean(x, kernel, stride, pads, pool.ceil, counts, divisor)


def _resize_in_torch(resize: Resizing) -> Runs:
    sizes, corners = list(resize.outputs), resize.corners
    # By how much the sizes grow, of which one is the input's share of an output.
    rates = (None, None) if resize.scales is None else tuple(1 / one for one in resize.scales)
    return lambda x: _aten.upsample_bilinear2d(x, sizes, corners, *rates)


def _is_product(call: LayerCall) -> bool | Refusal:
    if not (call.is_pointwise and set(call.stride) == {1}):
        return False
    if call.layout == "contiguous" and call.input[0] != 1 and call.rank > 1:
        return Refusal("product", "", "in the contiguous layout a batch is one product per image.")
    return True


def _as_product(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    out, channels = call.weight[:2]
    matrix = weight.reshape(out, channels).contiguous()
    if call.layout == "channels_last":
        last = (0, *range(2, call.rank + 2), 1)
        first = (0, call.rank + 1, *range(1, call.rank + 1))
        return lambda x: functional.linear(x.permute(last), matrix, bias).permute(first)
    column = None if bias is None else bias.reshape(1, out, 1)
    batched = matrix.unsqueeze(0).expand(call.input[0], out, channels)
    shape = (call.input[0], out, *call.input[2:])
    if column is None:
        return lambda x: torch.bmm(batched, x.flatten(2)).view(shape)
    return lambda x: torch.baddbmm(column, batched, x.flatten(2)).view(shape)


register(Way(PLAIN, _always, _as_in_torch))
register(Way("product", _is_product, _as_product))
