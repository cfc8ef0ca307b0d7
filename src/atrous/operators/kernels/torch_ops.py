"""The depthwise layer and its gradients as PyTorch operators.

`torch.ops.atrous.depthwise`, `.depthwise_data_gradient` and `.depthwise_weight_gradient` are
linear in each tensor, and the derivative of each is written with the other two, so gradients of
every order exist. Fake kernels give shapes and layouts to `torch.export` and `torch.compile`.

`conv_depthwise` is what a model calls: the operator where gradients or a trace are wanted, the
kernel itself otherwise, and PyTorch's own convolution in an ONNX export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from atrous.frameworks.torch import is_plain, is_transformed
from atrous.operators.kernels import torch_depthwise as kernels
from atrous.operators.kernels.fallback import by_framework, plain
from atrous.operators.kernels.layer import activation_code
from atrous.operators.kernels.torch_depthwise import activate

__all__ = ["conv_depthwise"]

_LIBRARY = torch.library.Library("atrous", "FRAGMENT")
_GEOMETRY = "int[] stride, int[] dilation, SymInt[] pad_lo, SymInt[] pad_hi"

_LIBRARY.define(
    f"depthwise(Tensor x, Tensor weight, Tensor? bias, {_GEOMETRY}, str activation) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
# Both gradients have a channel for each filter: a multiplier m stays, for the caller to sum over.
_LIBRARY.define(
    f"depthwise_data_gradient(Tensor grad, Tensor weight, {_GEOMETRY}, SymInt[] sizes) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    f"depthwise_weight_gradient(Tensor x, Tensor grad, {_GEOMETRY}, SymInt[] kernel) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)

Ints = Sequence[int]


def _low_high(pad_lo: Ints, pad_hi: Ints) -> tuple[tuple[int, int], ...]:
    return tuple(zip(pad_lo, pad_hi, strict=True))


def _forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Ints,
    dilation: Ints,
    pad_lo: Ints,
    pad_hi: Ints,
    activation: str,
) -> torch.Tensor:
    return kernels.depthwise(
        x, weight, bias, stride, dilation, _low_high(pad_lo, pad_hi), activation
    )  # fmt: skip


def _data(
    grad: torch.Tensor,
    weight: torch.Tensor,
    stride: Ints,
    dilation: Ints,
    pad_lo: Ints,
    pad_hi: Ints,
    sizes: Ints,
) -> torch.Tensor:
    return kernels.depthwise_data_gradient(
        grad, weight, None, stride, dilation, _low_high(pad_lo, pad_hi), sizes
    )


def _weight(
    x: torch.Tensor,
    grad: torch.Tensor,
    stride: Ints,
    dilation: Ints,
    pad_lo: Ints,
    pad_hi: Ints,
    kernel: Ints,
) -> torch.Tensor:
    return kernels.depthwise_weight_gradient(
        x, grad, stride, dilation, _low_high(pad_lo, pad_hi), kernel
    )


def _like(x: torch.Tensor, shape: Sequence[Any]) -> torch.Tensor:
    form = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if form is not None and not x.is_contiguous() and x.is_contiguous(memory_format=form):
        return torch.empty(tuple(shape), dtype=x.dtype, device=x.device, memory_format=form)
    return torch.empty(tuple(shape), dtype=x.dtype, device=x.device)


def _fake_forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Ints,
    dilation: Ints,
    pad_lo: Ints,
    pad_hi: Ints,
    activation: str,
) -> torch.Tensor:
    del bias, activation
    # Window.output_length compares sizes, which would fix a symbolic one: the same formula, open.
    sizes = [
        (n + lo + hi - d * (k - 1) - 1) // s + 1
        for n, k, s, d, lo, hi in zip(
            x.shape[2:], weight.shape[2:], stride, dilation, pad_lo, pad_hi, strict=True
        )
    ]
    return _like(x, (x.shape[0], weight.shape[0], *sizes))


def _fake_data(
    grad: torch.Tensor,
    weight: torch.Tensor,
    stride: Ints,
    dilation: Ints,
    pad_lo: Ints,
    pad_hi: Ints,
    sizes: Ints,
) -> torch.Tensor:
    del weight, stride, dilation, pad_lo, pad_hi
    return _like(grad, (*grad.shape[:2], *sizes))


def _fake_weight(
    x: torch.Tensor,
    grad: torch.Tensor,
    stride: Ints,
    dilation: Ints,
    pad_lo: Ints,
    pad_hi: Ints,
    kernel: Ints,
) -> torch.Tensor:
    del stride, dilation, pad_lo, pad_hi
    return x.new_empty((grad.shape[1], 1, *kernel))


def _by_input(grad: torch.Tensor, weight: torch.Tensor, x: Any, geometry: Any) -> torch.Tensor:
    """The gradient by an input like `x`, summed over the multiplier."""
    found = torch.ops.atrous.depthwise_data_gradient(grad, weight, *geometry, x.shape[2:])
    if found.shape[1] != x.shape[1]:
        found = found.reshape(x.shape[0], x.shape[1], -1, *x.shape[2:]).sum(2)
    return found


def _keep(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    x, weight, bias, *geometry, activation = inputs
    # The bias only to find again what went into the activation.
    ctx.save_for_backward(x, weight, bias if activation != "none" else None)
    ctx.geometry, ctx.activation, ctx.has_bias = geometry, activation, bias is not None


def _back(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    x, weight, bias = ctx.saved_tensors
    if ctx.activation != "none":
        before = torch.ops.atrous.depthwise(x, weight, bias, *ctx.geometry, "none")
        grad = _through(grad, before, ctx.activation)
    by_x = by_weight = by_bias = None
    if ctx.needs_input_grad[0]:
        by_x = _by_input(grad, weight, x, ctx.geometry)
    if ctx.needs_input_grad[1]:
        by_weight = torch.ops.atrous.depthwise_weight_gradient(
            x, grad, *ctx.geometry, weight.shape[2:]
        )
    if ctx.has_bias and ctx.needs_input_grad[2]:
        by_bias = grad.sum((0, *range(2, grad.dim())))
    return by_x, by_weight, by_bias, None, None, None, None, None


def _through(grad: torch.Tensor, x: torch.Tensor, activation: str) -> torch.Tensor:
    aten = torch.ops.aten
    if activation == "relu":
        return aten.threshold_backward(grad, x, 0)
    if activation == "relu6":
        return aten.hardtanh_backward(grad, x, 0.0, 6.0)
    if activation.startswith("leaky_relu"):
        return aten.leaky_relu_backward(grad, x, activation_code(activation)[1], False)
    if activation == "hardswish":
        return aten.hardswish_backward(grad, x)
    if activation == "tanh":
        return grad * (1 - torch.tanh(x) ** 2)
    if activation == "sigmoid":
        gate = torch.sigmoid(x)
        return grad * gate * (1 - gate)
    # PyTorch's own operators for these two end at the first derivative.
    if activation == "silu":
        gate = torch.sigmoid(x)
        return grad * gate * (1 + x * (1 - gate))
    below = 0.5 * (1 + torch.erf(x * math.sqrt(0.5)))
    return grad * (below + x * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _keep_two(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    """For either gradient: both are linear in two tensors, and end with sizes."""
    del output
    one, other, *geometry, _ = inputs
    ctx.save_for_backward(one, other)
    ctx.geometry = geometry


def _back_data(ctx: Any, outer: torch.Tensor) -> tuple[Any, ...]:
    grad, weight = ctx.saved_tensors
    by_grad = by_weight = None
    if ctx.needs_input_grad[0]:
        by_grad = torch.ops.atrous.depthwise(outer, weight, None, *ctx.geometry, "none")
    if ctx.needs_input_grad[1]:
        by_weight = torch.ops.atrous.depthwise_weight_gradient(
            outer, grad, *ctx.geometry, weight.shape[2:]
        )
    return by_grad, by_weight, None, None, None, None, None


def _back_weight(ctx: Any, outer: torch.Tensor) -> tuple[Any, ...]:
    x, grad = ctx.saved_tensors
    by_x = by_grad = None
    if ctx.needs_input_grad[0]:
        by_x = _by_input(grad, outer, x, ctx.geometry)
    if ctx.needs_input_grad[1]:
        by_grad = torch.ops.atrous.depthwise(x, outer, None, *ctx.geometry, "none")
    return by_x, by_grad, None, None, None, None, None


for _name, _run, _fake, _backward, _context in (
    ("depthwise", _forward, _fake_forward, _back, _keep),
    ("depthwise_data_gradient", _data, _fake_data, _back_data, _keep_two),
    ("depthwise_weight_gradient", _weight, _fake_weight, _back_weight, _keep_two),
):
    _LIBRARY.impl(_name, _run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"atrous::{_name}", _fake, lib=_LIBRARY)
    torch.library.register_autograd(
        f"atrous::{_name}", _backward, setup_context=_context, lib=_LIBRARY
    )


def conv_depthwise(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
    activation: str = "none",
) -> torch.Tensor:
    """`activation(bias + x * weight)`, differentiable, traceable, and under autocast in its dtype.

    `x` is (N, C, *sizes), `weight` (C m, 1, *kernel), everything else per axis and valid.

    >>> import torch
    >>> x = torch.arange(5.0).reshape(1, 1, 5).requires_grad_()
    >>> y = conv_depthwise(x, torch.ones(1, 1, 2), None, (1,), (3,), ((0, 0),))
    >>> y.sum().backward()
    >>> y.flatten().tolist(), x.grad.flatten().tolist()
    ([3.0, 5.0], [1.0, 1.0, 0.0, 1.0, 1.0])
    """
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    if is_transformed():
        return activate(by_framework(x, weight, bias, stride, dilation, padding), activation)
    if torch.onnx.is_in_onnx_export():
        return activate(plain(x, weight, bias, stride, dilation, padding), activation)
    if is_plain(x, weight, bias):
        return kernels.depthwise(x, weight, bias, stride, dilation, padding, activation)
    pad_lo, pad_hi = [lo for lo, _ in padding], [hi for _, hi in padding]
    out: torch.Tensor = torch.ops.atrous.depthwise(
        x, weight, bias, list(stride), list(dilation), pad_lo, pad_hi, activation
    )
    return out
