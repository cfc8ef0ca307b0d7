"""oneDNN's fused operations, which PyTorch's own inductor uses: packed weights, sum, activation.

Their results are channels-last for two and three spatial axes, whatever comes in, so they apply in
that layout only; a convolution along one axis runs as one of height 1.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch

from atrous.geometry import symmetric
from atrous.operators.strategies import padded
from atrous.optimization.layer import activations
from atrous.optimization.layer.activations import Activation
from atrous.optimization.layer.call import LayerCall, laid_out
from atrous.optimization.layer.ways import Runs, Way, register
from atrous.refusal import Refusal

__all__: list[str] = []

_ops: Any = torch.ops.mkldnn
_MANY = 4000
"""Positions of outputs for each of which every weight is read: laying them out anew is nothing."""


def _has(*names: str) -> bool:
    return torch.backends.mkldnn.is_available() and all(hasattr(_ops, name) for name in names)


def _fuses_conv(call: LayerCall) -> bool | Refusal:
    if call.op != "conv" or call.dtype != "float32":
        return False
    if not _has("_convolution_pointwise", "_reorder_convolution_weight"):
        return Refusal("onednn", "", "this build of PyTorch has no oneDNN.")
    if call.layout != "channels_last":
        return Refusal("onednn", "", "oneDNN's fused convolutions are channels-last.")
    return True


def _fuses_unpacked(call: LayerCall) -> bool | Refusal:
    fits = _fuses_conv(call)
    if fits is True and call.input[0] * prod(call.convolution.outputs) > _MANY:
        return Refusal("onednn unpacked", "", "so many outputs do not notice how weights lie.")
    return fits


def _activates(activation: Activation, call: LayerCall) -> bool:
    if call.adds:
        return call.op == "conv" and activation.name == "relu"
    return activations.onednn(activation) is not None


def _onednn_conv(packs: bool) -> Callable[[torch.Tensor, torch.Tensor | None, LayerCall], Runs]:
    def prepare(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
        is_line = call.rank == 1
        flat = (0,) if is_line else ()
        ones = (1,) if is_line else ()
        both, rest = symmetric(call.padding)
        pads, strides = [*flat, *both], [*ones, *call.stride]
        rates, groups = [*ones, *call.dilation], call.groups
        weight = laid_out(weight.unsqueeze(2) if is_line else weight, "channels_last")
        if packs:
            sizes = [n + lo + hi for n, (lo, hi) in zip(call.input[2:], rest, strict=True)]
            shape = [*call.input[:2], *ones, *sizes]
            weight = _ops._reorder_convolution_weight(weight, pads, strides, rates, groups, shape)
        runs = _runs(weight, bias, call, (pads, strides, rates, groups))
        if is_line:
            return _lined(runs, rest, adds=call.adds)
        if not any(map(any, rest)):
            return runs
        if call.adds:
            return lambda x, other: runs(padded(x, rest), other)
        return lambda x: runs(padded(x, rest))

    return prepare


def _runs(
    weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall, window: tuple[Any, ...]
) -> Runs:
    attribute, scalars, algorithm = activations.onednn(call.activation) or ("none", [], "")
    if call.adds:
        binary = _ops._convolution_pointwise.binary
        unary = attribute if call.activation else None
        if call.overwrites:
            over = _ops._convolution_pointwise_.binary
            return lambda x, other: over(
                other, x, weight, bias, *window, "add", 1.0, unary, scalars, algorithm
            )
        return lambda x, other: binary(
            x, other, weight, bias, *window, "add", 1.0, unary, scalars, algorithm
        )
    pointwise = _ops._convolution_pointwise.default
    return lambda x: pointwise(x, weight, bias, *window, attribute, scalars, algorithm)


def _lined(runs: Runs, rest: tuple[tuple[int, int], ...], *, adds: bool) -> Runs:
    if adds:
        return lambda x, other: runs(padded(x, rest).unsqueeze(2), other.unsqueeze(2)).squeeze(2)
    return lambda x: runs(padded(x, rest).unsqueeze(2)).squeeze(2)


def _fuses_linear(call: LayerCall) -> bool | Refusal:
    if call.op != "linear" or call.dtype != "float32":
        return False
    if not _has("_linear_pointwise", "_reorder_linear_weight"):
        return Refusal("onednn", "", "this build of PyTorch has no oneDNN.")
    return True


def _onednn_linear(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    rows = 1
    for size in call.input[:-1]:
        rows *= size
    packed = _ops._reorder_linear_weight(weight.contiguous(), rows)
    if call.adds:
        binary = _ops._linear_pointwise.binary
        return lambda x, other: binary(x, other, packed, bias, "add")
    attribute, scalars, algorithm = activations.onednn(call.activation) or ("none", [], "")
    pointwise = _ops._linear_pointwise.default
    return lambda x: pointwise(x, packed, bias, attribute, scalars, algorithm)


register(Way("onednn", _fuses_conv, _onednn_conv(packs=True), _activates, adds=True))
register(Way("onednn unpacked", _fuses_unpacked, _onednn_conv(packs=False), _activates, adds=True))
register(Way("onednn linear", _fuses_linear, _onednn_linear, _activates, adds=True))
