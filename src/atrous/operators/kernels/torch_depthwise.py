"""The depthwise kernels on PyTorch tensors, without autograd; `torch_ops` registers them.

float32 and float64 on the CPU run in the native kernels, and so do float16 and bfloat16, computed
in float32 and rounded once; for their gradients everything is converted before and after. Where
the kernels are not available, or a tensor lies elsewhere, PyTorch runs the same layer, dilated ones
as phases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from atrous.errors import ArgumentError
from atrous.operators.kernels import layer as kernels
from atrous.operators.kernels.fallback import by_framework, data_by_framework, weight_by_framework
from atrous.operators.kernels.layer import (
    Depthwise,
    activation_code,
    layer_of,
    output_size,
)
from atrous.operators.kernels.library import library
from atrous.operators.kernels.threads import share_threads

__all__ = [
    "activate",
    "depthwise",
    "depthwise_data_gradient",
    "depthwise_weight_gradient",
    "prepare",
]

Pairs = Sequence[tuple[int, int]]

share_threads()

_NATIVE = (torch.float32, torch.float64)
_SMALL = (torch.float16, torch.bfloat16)
_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_FUNCTIONS = {
    "relu": torch.nn.functional.relu,
    "relu6": torch.nn.functional.relu6,
    "silu": torch.nn.functional.silu,
    "hardswish": torch.nn.functional.hardswish,
    "gelu": torch.nn.functional.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def activate(x: torch.Tensor, activation: str) -> torch.Tensor:
    """The activation of that name, of `layer.ACTIVATIONS`, by PyTorch."""
    if activation.startswith("leaky_relu"):
        return torch.nn.functional.leaky_relu(x, activation_code(activation)[1])
    return x if activation == "none" else _FUNCTIONS[activation](x)


def depthwise(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
    activation: str = "none",
) -> torch.Tensor:
    """`activation(bias + x * weight)` for `x` (N, C, *sizes) and `weight` (C m, 1, *kernel).

    The result has the dtype and the layout of `x`. No gradient is recorded.
    """
    _assert_fit(x, weight, bias, weight.shape[0] % max(x.shape[1], 1) == 0)
    is_small = x.dtype in _SMALL and x.device.type == "cpu"
    if is_small and library() is None:
        wide = None if bias is None else bias.float()
        out = depthwise(x.float(), weight.float(), wide, stride, dilation, padding, activation)
        return out.to(x.dtype)
    if not (is_small or _runs_here(x)):
        out = by_framework(x, weight, bias, stride, dilation, padding)
        return _contiguous(activate(out, activation), _is_last(x))
    channels, last = weight.shape[0], _is_last(x)
    if channels != x.shape[1]:
        x = x.repeat_interleave(channels // x.shape[1], dim=1)
    x = _contiguous(x, last)
    kernel = tuple(weight.shape[2:])
    sizes = output_size(x.shape[2:], kernel, stride, dilation, padding)
    out = _new_map(x, (x.shape[0], channels, *sizes), last)
    layer = layer_of(x, sizes, kernel, stride, dilation, padding, last, activation)
    weight, bias = _plain(weight), None if bias is None else _plain(bias)
    kernels.forward(layer, x.data_ptr(), weight.data_ptr(), _address(bias), out.data_ptr())
    return out


def depthwise_data_gradient(
    grad: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
    sizes: Sequence[int],
) -> torch.Tensor:
    """The gradient by an input of spatial `sizes`; with a bias, the transposed convolution.

    `grad` is (N, C m, *output sizes); the result (N, C, *sizes) has its layout and dtype.
    """
    _assert_fit(grad, weight, bias, weight.shape[0] == grad.shape[1])
    if grad.dtype in _SMALL and grad.device.type == "cpu":
        wide = None if bias is None else bias.float()
        out = depthwise_data_gradient(
            grad.float(), weight.float(), wide, stride, dilation, padding, sizes
        )
        return out.to(grad.dtype)
    if not _runs_here(grad):
        out = data_by_framework(grad, weight, stride, dilation, padding, sizes)
        if bias is not None:
            out = out + bias.reshape(-1, *(1,) * len(sizes))
        return _contiguous(out, _is_last(grad))
    last = _is_last(grad)
    grad = _contiguous(grad, last)
    kernel = tuple(weight.shape[2:])
    out = _new_map(grad, (*grad.shape[:2], *sizes), last)
    layer = layer_of(out, grad.shape[2:], kernel, stride, dilation, padding, last)
    weight, bias = _plain(weight), None if bias is None else _plain(bias)
    kernels.data_gradient(layer, grad.data_ptr(), weight.data_ptr(), _address(bias), out.data_ptr())
    return out


def depthwise_weight_gradient(
    x: torch.Tensor,
    grad: torch.Tensor,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
    kernel: Sequence[int],
) -> torch.Tensor:
    """The gradient by the weights, (C m, 1, *kernel), in the dtype of `x`."""
    _assert_fit(x, grad, None, grad.shape[1] % max(x.shape[1], 1) == 0, maps=True)
    if x.dtype in _SMALL and x.device.type == "cpu":
        out = depthwise_weight_gradient(x.float(), grad.float(), stride, dilation, padding, kernel)
        return out.to(x.dtype)
    if not _runs_here(x):
        return weight_by_framework(x, grad, stride, dilation, padding, kernel).contiguous()
    channels, last = grad.shape[1], _is_last(x)
    if channels != x.shape[1]:
        x = x.repeat_interleave(channels // x.shape[1], dim=1)
    # Both maps in one layout: that of the input.
    x, grad = _contiguous(x, last), _contiguous(grad, last)
    out = x.new_empty((channels, 1, *kernel))
    layer = layer_of(x, grad.shape[2:], kernel, stride, dilation, padding, last)
    kernels.weight_gradient(layer, x.data_ptr(), grad.data_ptr(), out.data_ptr())
    return out


def prepare(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
    activation: str = "none",
) -> Any:
    """A function of `x` alone, with the weights packed for both layouts.

    It computes what `depthwise` computes, and costs less for small maps: nothing is packed or
    looked up again while shapes stay the same.
    """
    weight, bias = _plain(weight.detach()), None if bias is None else _plain(bias.detach())
    channels, kernel = weight.shape[0], tuple(weight.shape[2:])
    packed = weight.reshape(channels, -1).t().contiguous()
    known: dict[Any, tuple[Depthwise, tuple[int, ...]]] = {}
    here = weight.device.type == "cpu"
    plain, bias_at = (weight.data_ptr(), packed.data_ptr()), _address(bias)

    def run(x: torch.Tensor) -> torch.Tensor:
        runs = x.dtype == weight.dtype and (_runs_here(x) or (x.dtype in _SMALL and here))
        if not (runs and here) or x.shape[1] != channels or library() is None:
            return depthwise(x, weight, bias, stride, dilation, padding, activation)
        last = _is_last(x)
        x = _contiguous(x, last)
        key = (x.shape, last, torch.get_num_threads())
        if key not in known:
            sizes = output_size(x.shape[2:], kernel, stride, dilation, padding)
            known[key] = (
                layer_of(
                    x, sizes, kernel, stride, dilation, padding, last, activation, packed=last
                ),
                (x.shape[0], channels, *sizes),
            )
        layer, shape = known[key]
        out = _new_map(x, shape, last)
        kernels.forward(layer, x.data_ptr(), plain[last], bias_at, out.data_ptr())
        return out

    # The tensors behind the addresses live as long as the function.
    run.tensors = (weight, packed, bias)  # type: ignore[attr-defined]
    return run


def _assert_fit(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    channels: bool,
    *,
    maps: bool = False,
) -> None:
    """Raises where the kernels would read what is not there, or as what it is not."""
    right = channels and x.dim() == weight.dim() and 3 <= x.dim() <= 5
    right = right and (maps or weight.shape[1] == 1)
    right = right and (bias is None or tuple(bias.shape) == (weight.shape[0],))
    if not right:
        raise ArgumentError(
            f"depthwise: shapes {tuple(x.shape)} and {tuple(weight.shape)} with bias "
            f"{None if bias is None else tuple(bias.shape)} do not fit; give x (N, C, sizes), "
            "weight (C m, 1, kernel) and bias (C m,)."
        )
    for one in (weight, bias):
        if one is not None and (one.dtype != x.dtype or one.device != x.device):
            raise ArgumentError(
                f"depthwise: {x.dtype} on {x.device} and {one.dtype} on {one.device} do not mix; "
                "convert one of them."
            )


def _runs_here(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in _NATIVE and library() is not None


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    # A negated view has other values than its memory.
    return tensor.resolve_neg().contiguous()


def _is_last(x: torch.Tensor) -> bool:
    form = _LAST.get(x.dim())
    return form is not None and not x.is_contiguous() and x.is_contiguous(memory_format=form)


def _contiguous(x: torch.Tensor, last: bool) -> torch.Tensor:
    return x.resolve_neg().contiguous(memory_format=_LAST[x.dim()]) if last else _plain(x)


def _new_map(like: torch.Tensor, shape: Sequence[int], last: bool) -> torch.Tensor:
    form = _LAST[len(shape)] if last else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=like.dtype, memory_format=form)


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
