"""Our own kernels for depthwise layers and pools, and the exact strategies for dense ones."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from atrous.operators.convolution import Convolution
from atrous.operators.kernels import native
from atrous.operators.kernels.pool import PoolLayer
from atrous.operators.kernels.resize import ResizeLayer
from atrous.operators.kernels.torch_depthwise import prepare
from atrous.operators.kernels.torch_pointwise import prepare_pointwise
from atrous.operators.kernels.torch_pool import prepare_pool
from atrous.operators.kernels.torch_resize import prepare_resize
from atrous.operators.strategies import STRATEGIES, Strategy
from atrous.optimization.layer.activations import by_kernels
from atrous.optimization.layer.call import LayerCall, laid_out
from atrous.optimization.layer.ways import Runs, Way, register
from atrous.optimization.slow_path import FEW
from atrous.refusal import Refusal

__all__: list[str] = []

_MOST_INSIDE = 0.6
_LEAST_PRODUCTS = 100_000
"""Layers of fewer products take as long as their call."""
_OTHERS = ("framework", "channels_last")
"""PyTorch's own call, which is tried anyway: prepared for one shape, it has nothing to look up."""


def _runs_kernel(call: LayerCall) -> bool | Refusal:
    if not call.is_depthwise:
        return False
    found = native()
    return True if found.available else Refusal("depthwise kernel", "", f"{found.reason}.")


def _kernel(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    stride, dilation, padding = call.stride, call.dilation, call.padding
    name = call.activation.kernel
    if call.rank == 1 and call.layout == "channels_last":
        # The kernels know this layout of one axis as that of two, the first of one position.
        line = prepare(
            weight.unsqueeze(2), bias, (1, *stride), (1, *dilation), ((0, 0), *padding), name
        )
        return lambda x: line(x.unsqueeze(2)).squeeze(2)
    runs: Runs = prepare(weight, bias, stride, dilation, padding, name)
    return runs


register(Way("depthwise kernel", _runs_kernel, _kernel, by_kernels))


def _is_on_planes(call: LayerCall) -> bool | Refusal:
    usual = call.is_pointwise and set(call.stride) == {1} and call.layout == "contiguous"
    if not usual or call.dtype != "float32" or _products_of(call) < _LEAST_PRODUCTS:
        return False
    found = native()
    return True if found.available else Refusal("product kernel", "", f"{found.reason}.")


def _products_of(call: LayerCall) -> int:
    return call.input[0] * prod(call.weight[:2]) * prod(call.input[2:])


def _product_kernel(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    return prepare_pointwise(weight, bias, call.convolution, call.activation.kernel)


register(Way("product kernel", _is_on_planes, _product_kernel, by_kernels, adds=True))


def _not_worth_it(name: str, call: LayerCall) -> str:
    """Why a strategy is not even tried: it never won such layers, and trying takes time."""
    if name == "slices" and set(call.stride) == {1}:
        return "there is nothing between its positions to leave out."
    usual = call.groups == 1 and call.rank == 2 and call.dtype == "float32"
    usual = usual and torch.backends.mkldnn.is_available()
    if not usual or prod(call.input) <= FEW:  # where PyTorch leaves oneDNN
        return ""
    if name == "phases":
        return "oneDNN runs dense layers of two axes at any rate alike."
    if name == "taps" and (share := _share_inside(call)) > _MOST_INSIDE:
        return f"{share:.0%} of its products are inside the map."
    return ""


def _share_inside(call: LayerCall) -> float:
    """Of the products of the definition, those with values and not with padding."""
    axes = zip(call.windows, call.input[2:], call.convolution.outputs, strict=True)
    return prod(
        sum(len(window.reached(tap, size)) for tap in range(window.kernel))
        / (window.kernel * outputs)
        for window, size, outputs in axes
    )


def _pools(call: LayerCall) -> bool | Refusal:
    if call.pooling is None:
        return False
    found = native()
    return True if found.available else Refusal("pool kernel", "", f"{found.reason}.")


def _pool_kernel(_weight: Any, _bias: Any, call: LayerCall) -> Runs:
    pooling = call.pooling
    if pooling is None:
        raise ValueError("pool kernel: this layer is no pool.")
    last = call.layout == "channels_last" and call.rank > 1
    pool = PoolLayer(
        batch=call.input[0],
        channels=call.input[1],
        input=call.input[2:],
        output=pooling.outputs,
        kernel=call.kernel,
        stride=call.stride,
        dilation=call.dilation,
        pad=tuple(lo for lo, _ in call.padding),
        average=call.op == "average pool",
        divisor=pooling.divisor,
        counts_padding=pooling.counts_padding,
        wide=call.dtype == "float64",
        channels_last=last,
        threads=torch.get_num_threads(),
    )
    return prepare_pool(pool)


register(Way("pool kernel", _pools, _pool_kernel))


def _resizes(call: LayerCall) -> bool | Refusal:
    if call.resizing is None or call.dtype != "float32":
        return False
    found = native()
    return True if found.available else Refusal("resize kernel", "", f"{found.reason}.")


def _resize_kernel(_weight: Any, _bias: Any, call: LayerCall) -> Runs:
    resize = call.resizing
    if resize is None:
        raise ValueError("resize kernel: this layer is no resize.")
    batch, channels, high, wide = call.input
    last = call.layout == "channels_last"
    layer = ResizeLayer(
        planes=batch if last else batch * channels,
        channels=channels if last else 1,
        input=(high, wide),
        output=resize.outputs,
        corners=resize.corners,
        scales=resize.scales,
        threads=torch.get_num_threads(),
    )
    return prepare_resize(layer, call.input, last=last)


register(Way("resize kernel", _resizes, _resize_kernel, places=True))


def _for_layers(strategy: Strategy[Convolution]) -> Way:
    """A strategy for convolutions as one for the calls of layers, in the layout of the call."""

    def applies(call: LayerCall) -> bool | Refusal:
        if call.op != "conv" or (call.is_depthwise and native().available):
            return False
        if reason := _not_worth_it(strategy.name, call):
            return Refusal(strategy.name, "", reason)
        return strategy.applies(call.convolution)

    def prepare(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
        return strategy.prepare(laid_out(weight, call.layout), bias, call.convolution)

    return Way(strategy.name, applies, prepare)


for _strategy in STRATEGIES.values():
    if _strategy.name not in _OTHERS:
        register(_for_layers(_strategy))
