"""Dense layers by minimal filtering on PyTorch tensors, float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from threading import local

import torch

from atrous.operators.convolution import Convolution
from atrous.operators.kernels import winograd
from atrous.operators.kernels.threads import on_threads, share_threads
from atrous.operators.kernels.torch_layouts import in_channels_last
from atrous.operators.kernels.winograd import Spread, Winograd, dense_layer
from atrous.operators.strategies import is_channels_last
from atrous.operators.tiles import Tiling, living, tiled

__all__ = [
    "backwards",
    "filtered_by_data",
    "filtered_by_weight",
    "filtered_forward",
    "packed_weights",
    "prepare_winograd",
]

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
    held, packed = packed_weights(layer, weight.detach().resolve_neg().contiguous())
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


def filtered_forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, call: Convolution, level: int
) -> torch.Tensor:
    """The convolution `call` by tiles of that level, in the layout of `x`; no gradient.

    Raises `ValueError` where there are no tiles for it.
    """
    taps, alive = living(call)
    layer = _layer(alive, level)
    bias = None if bias is None else bias.detach().resolve_neg().contiguous()
    packed = _repacked(layer, weight[(..., *_cut_to(taps))])
    return _as(_onto(layer, x.detach(), packed, bias, None, call.shape), x)


def filtered_by_data(
    grad: torch.Tensor, weight: torch.Tensor, call: Convolution, level: int
) -> torch.Tensor:
    """The gradient of `call` by its input, of the stride 1: a convolution with the taps turned."""
    taps, alive = living(backwards(call))
    layer = replace(_layer(alive, level), turned=True)
    # Turned around, the first taps are the last ones.
    cut = [
        slice(size - one.stop, size - one.start)
        for size, one in zip(call.kernel, taps, strict=True)
    ]
    packed = _repacked(layer, weight[(..., *cut)])
    return _as(_onto(layer, grad, packed, None, None, alive.shape), grad)


def filtered_by_weight(
    x: torch.Tensor, grad: torch.Tensor, call: Convolution, level: int
) -> torch.Tensor:
    """The gradient of `call` by its weight, where its tiles are in one part."""
    taps, alive = living(call)
    layer = dense_layer(alive, _tiles(alive, level, by_weight=True))
    x = in_channels_last(x.detach().resolve_neg())
    grad = in_channels_last(grad.resolve_neg())
    shape = (call.out_channels, call.in_channels)
    out = torch.empty((*shape, *map(len, taps)), dtype=torch.float32)
    winograd.by_weight(layer, x.data_ptr(), grad.data_ptr(), out.data_ptr())
    if alive.kernel == call.kernel:
        return out
    whole = out.new_zeros((*shape, *call.kernel))
    whole[(..., *_cut_to(taps))] = out
    return whole


def backwards(call: Convolution) -> Convolution:
    """The convolution of the gradient that gives that of the input, for a stride of 1."""
    windows = tuple(
        replace(w, pad_lo=w.extent - 1 - w.pad_lo, pad_hi=size - made + w.pad_lo)
        for w, size, made in zip(call.windows, call.sizes, call.outputs, strict=True)
    )
    return replace(
        call,
        in_channels=call.out_channels,
        out_channels=call.in_channels,
        sizes=call.outputs,
        windows=windows,
    )


def _cut_to(taps: tuple[range, ...]) -> list[slice]:
    return [slice(one.start, one.stop) for one in taps]


def _layer(call: Convolution, level: int) -> Winograd:
    return dense_layer(call, _tiles(call, level))


def _tiles(call: Convolution, level: int, by_weight: bool = False) -> Tiling:
    found = tiled(call, level, by_weight)
    if found is None:
        raise ValueError("winograd: there are no tiles for this convolution.")
    return found


def packed_weights(layer: Winograd, weight: torch.Tensor) -> tuple[torch.Tensor, int]:
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
    weight = weight.detach().resolve_neg().contiguous()  # held while its address is read
    winograd.pack(layer, weight.data_ptr(), address)
    return address


def _onto(
    layer: Winograd,
    x: torch.Tensor,
    packed: int,
    bias: torch.Tensor | None,
    other: torch.Tensor | None,
    shape: tuple[int, ...],
) -> torch.Tensor:
    x = in_channels_last(x.resolve_neg())
    other = None if other is None else in_channels_last(other.resolve_neg())
    out = torch.empty((shape[0], *shape[2:], shape[1]), dtype=torch.float32)
    at = [None if one is None else one.data_ptr() for one in (bias, other)]
    winograd.filtered(layer, x.data_ptr(), packed, at[0], at[1], out.data_ptr())
    return out.movedim(-1, 1)


def _as(made: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """In the layout of the other tensor."""
    return made if is_channels_last(like) else made.contiguous()
