"""Dense layers by minimal filtering on PyTorch tensors, float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from threading import local
from typing import Any

import torch

from atrous.geometry import symmetric
from atrous.operators.convolution import Convolution
from atrous.operators.kernels import winograd
from atrous.operators.kernels.threads import on_threads, share_threads
from atrous.operators.kernels.winograd import Spread, Winograd, dense_layer
from atrous.operators.strategies import is_channels_last, padded, to_channels_last
from atrous.operators.tiles import Tiling, tiled

__all__ = ["conv_filtered", "prepare_winograd"]

share_threads()

_ALIGNED = 64
_own = local()
"""Memory for weights that are packed for one call; new memory would cost more than packing."""


def prepare_winograd(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    call: Convolution,
    tiling: Tiling,
    activation: str = "none",
    spread: Spread | None = None,
) -> Callable[..., torch.Tensor]:
    """`run(x)` or `run(x, other)`: `activation(bias + x * weight + other)`, channels last.

    For one or two spatial axes, one group, and the sizes of `call`; `ValueError` for others. With
    `spread` the filters of `call` are phases, whole vectors of them, which lie side by side.
    Neither input is written to; what has another layout is copied.
    """
    layer = dense_layer(call, tiling, activation, spread)
    held, packed = _packed(layer, weight.detach().resolve_neg().contiguous())
    bias = None if bias is None else bias.detach().resolve_neg().contiguous()
    made = call.shape
    if spread is not None:
        made = (call.batch, call.out_channels // prod(spread.step), *spread.sizes)
    shapes = (call.batch, call.in_channels, *call.sizes), made
    now = on_threads(layer)

    def run(x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        for one, shape in zip((x, other), shapes, strict=True):
            if one is not None and (one.shape != shape or one.dtype != torch.float32):
                raise ValueError(f"winograd: prepared for {shape} in float32, not for this input.")
        return _onto(now(), x, packed, bias, other, made)

    # The tensors behind the addresses live as long as the function.
    run.tensors = (held, bias)  # type: ignore[attr-defined]
    return run


def conv_filtered(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, call: Convolution, level: int
) -> torch.Tensor:
    """The convolution `call` by tiles of that level, in the layout of `x`; differentiable.

    Its gradients take as few products, each by tiles of the same level: by the data where the
    stride is 1, by the weights where they are in one part too. The others, and second derivatives,
    are PyTorch's own. Raises `ValueError` where there are no tiles for it.
    """
    made: torch.Tensor = _Filtered.apply(x, weight, bias, call, level)
    return made


class _Filtered(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        call: Convolution,
        level: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call, ctx.level, ctx.biased = call, level, bias is not None
        layer = _layer(call, level)
        bias = None if bias is None else bias.detach().resolve_neg().contiguous()
        return _as(_onto(layer, x.detach(), _repacked(layer, weight), bias, None, call.shape), x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled():  # somebody wants the derivative of this derivative
            return (*_by_framework(grad, x, weight, ctx.call, wanted), None, None)
        by_bias = grad.sum((0, *range(2, grad.dim()))) if wanted[2] else None
        last = to_channels_last(grad.resolve_neg())
        by_x = by_w = None
        if unstrided := max(ctx.call.stride) == 1:
            by_x = _data_gradient(last, weight, ctx.call, ctx.level) if wanted[0] else None
        if here := _tiles(ctx.call, ctx.level).parts == 1:
            by_w = _weight_gradient(x, last, weight, ctx.call, ctx.level) if wanted[1] else None
        rest = (wanted[0] and not unstrided, wanted[1] and not here, False)
        if any(rest):
            others = _by_framework(grad, x, weight, ctx.call, rest)
            by_x, by_w = by_x if unstrided else others[0], by_w if here else others[1]
        return None if by_x is None else _as(by_x, x), by_w, by_bias, None, None


def _data_gradient(
    grad: torch.Tensor, weight: torch.Tensor, call: Convolution, level: int
) -> torch.Tensor:
    """The convolution of the gradient with the taps turned around."""
    windows = tuple(
        replace(
            w,
            pad_lo=w.extent - 1 - w.pad_lo,
            pad_hi=size - made + w.pad_lo,
        )
        for w, size, made in zip(call.windows, call.sizes, call.outputs, strict=True)
    )
    back = replace(
        call,
        in_channels=call.out_channels,
        out_channels=call.in_channels,
        sizes=call.outputs,
        windows=windows,
    )
    layer = replace(_layer(back, level), turned=True)
    return _onto(layer, grad, _repacked(layer, weight), None, None, back.shape)


def _weight_gradient(
    x: torch.Tensor, grad: torch.Tensor, weight: torch.Tensor, call: Convolution, level: int
) -> torch.Tensor:
    layer = _layer(call, level)
    x = to_channels_last(x.detach().resolve_neg())
    out = torch.empty(weight.shape, dtype=torch.float32)
    winograd.by_weight(layer, x.data_ptr(), grad.data_ptr(), out.data_ptr())
    return out


def _by_framework(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    call: Convolution,
    wanted: tuple[bool, ...],
) -> tuple[Any, ...]:
    """PyTorch's gradients, which can be differentiated again."""
    both, rest = symmetric(call.padding)
    with torch.enable_grad():
        found = torch.ops.aten.convolution_backward(
            grad,
            padded(x, rest),
            weight,
            [call.out_channels],
            list(call.stride),
            list(both),
            list(call.dilation),
            False,
            [0] * call.rank,
            1,
            list(wanted[:3]),
        )
        by_x = None if found[0] is None else padded(found[0], [(-lo, -hi) for lo, hi in rest])
    return by_x, found[1] if wanted[1] else None, found[2] if wanted[2] else None


def _layer(call: Convolution, level: int) -> Winograd:
    return dense_layer(call, _tiles(call, level))


def _tiles(call: Convolution, level: int) -> Tiling:
    found = tiled(call, level)
    if found is None:
        raise ValueError("winograd: there are no tiles for this convolution.")
    return found


def _packed(layer: Winograd, weight: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The packed weights and their address, which holds as long as the tensor."""
    held = torch.empty(winograd.packed_size(layer) + _ALIGNED // 4, dtype=torch.float32)
    address = held.data_ptr() + -held.data_ptr() % _ALIGNED
    winograd.pack(layer, weight.data_ptr(), address)
    return held, address


def _repacked(layer: Winograd, weight: torch.Tensor) -> int:
    """The address of the packed weights, in memory that this thread's next call overwrites."""
    size = winograd.packed_size(layer) + _ALIGNED // 4
    held = getattr(_own, "held", None)
    if held is None or held.numel() < size:
        held = _own.held = torch.empty(size, dtype=torch.float32)
    address = int(held.data_ptr() + -held.data_ptr() % _ALIGNED)
    winograd.pack(layer, weight.detach().resolve_neg().contiguous().data_ptr(), address)
    return address


def _onto(
    layer: Winograd,
    x: torch.Tensor,
    packed: int,
    bias: torch.Tensor | None,
    other: torch.Tensor | None,
    shape: tuple[int, ...],
) -> torch.Tensor:
    x = to_channels_last(x.resolve_neg())
    other = None if other is None else to_channels_last(other.resolve_neg())
    out = torch.empty((shape[0], *shape[2:], shape[1]), dtype=torch.float32)
    at = [None if one is None else one.data_ptr() for one in (bias, other)]
    winograd.filtered(layer, x.data_ptr(), packed, at[0], at[1], out.data_ptr())
    return out.movedim(-1, 1)


def _as(made: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """In the layout of the other tensor."""
    return made if is_channels_last(like) else made.contiguous()
