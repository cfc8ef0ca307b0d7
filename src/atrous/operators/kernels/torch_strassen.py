"""Products of rows by constant weights by the kernels, on PyTorch tensors: float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from atrous.operators.kernels.elementwise import ElementStep
from atrous.operators.kernels.strassen import (
    RowProduct,
    multiplied_rows,
    multiplied_rows_behind,
    pack_rows,
    packed_rows_size,
)
from atrous.operators.kernels.threads import on_threads, share_threads
from atrous.operators.kernels.torch_elementwise import LinesRead, lines_read, refuse_others
from atrous.operators.kernels.torch_layouts import in_channels_last, part_of

__all__ = ["prepare_rows", "prepare_rows_behind"]

share_threads()

_ALIGNED = 64


def _packed(layer: RowProduct, weight: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The weights as the kernel reads them, and their address, which lives as they do."""
    matrix = weight.detach().resolve_neg().reshape(layer.filters, layer.channels).contiguous()
    held = torch.empty(packed_rows_size(layer) + _ALIGNED // 4, dtype=torch.float32)
    packed = held.data_ptr() + -held.data_ptr() % _ALIGNED
    pack_rows(layer, matrix.data_ptr(), packed)
    return held, packed


def _rows_of(x: torch.Tensor, axis: int) -> torch.Tensor:
    x = x.resolve_neg()
    return in_channels_last(x) if axis == 1 else x.contiguous()


def prepare_rows(
    layer: RowProduct,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    given: tuple[int, ...],
    made: tuple[int, ...],
    *,
    axis: int,
) -> Callable[..., torch.Tensor]:
    """`run(x)` or `run(x, other)`: `activation(bias + weight * x + other)`, channels last.

    `given` and `made` are the shapes of `x` and the result, whose channels lie along `axis`, 1 or
    -1. Neither input is written to; what has another layout is copied. Where the channels come
    second, `run.into(whole, at, x)` writes the result to those of `whole` from `at` on.
    """
    held, packed = _packed(layer, weight)
    shift = None if bias is None else bias.detach().resolve_neg().contiguous()
    now = on_threads(layer)
    shape = (made[0], *made[2:], made[1]) if axis == 1 else made

    def multiplied(
        layer: RowProduct, out: int, x: torch.Tensor, other: torch.Tensor | None
    ) -> None:
        for one, wanted in ((x, given), (other, made)):
            if one is not None and (one.shape != wanted or one.dtype != torch.float32):
                raise ValueError(f"strassen: prepared for {wanted} in float32, not this input.")
        x = _rows_of(x, axis)
        other = None if other is None else _rows_of(other, axis)
        at, beside = (None if one is None else one.data_ptr() for one in (shift, other))
        multiplied_rows(layer, x.data_ptr(), packed, at, beside, out)

    def run(x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        out = torch.empty(shape, dtype=torch.float32)
        multiplied(now(), out.data_ptr(), x, other)
        return out.movedim(-1, 1) if axis == 1 else out

    def into(
        whole: torch.Tensor, at: int, x: torch.Tensor, other: torch.Tensor | None = None
    ) -> torch.Tensor:
        apart = replace(now(), step=whole.shape[1])
        out = part_of(whole, at, made)
        multiplied(apart, out.data_ptr(), x, other)
        return out

    # The tensor behind the address lives as long as each of the functions.
    run.tensors = into.tensors = held  # type: ignore[attr-defined]
    if axis == 1:
        run.into = into  # type: ignore[attr-defined]
    return run


def prepare_rows_behind(
    layer: RowProduct,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    given: tuple[int, ...],
    made: tuple[int, ...],
    inputs: Sequence[tuple[int, ...]],
    steps: tuple[ElementStep, ...],
    scratch: int,
    *,
    axis: int,
) -> Callable[..., torch.Tensor]:
    """`run(inputs)` or `run(inputs, other)`: the same of what `steps` make of some inputs.

    That would be of the shape `given`, to which those of the shapes `inputs` broadcast (see
    `prepare_elementwise`), and is made a block of rows at a time. They may lie in any way; those
    are copied whose channels lie apart. Raises `ValueError` for others.
    """
    held, packed = _packed(layer, weight)
    shift = None if bias is None else bias.detach().resolve_neg().contiguous()
    at = None if shift is None else shift.data_ptr()
    now = on_threads(layer)
    shape = (made[0], *made[2:], made[1]) if axis == 1 else made
    known: dict[Any, LinesRead] = {}
    wanted = tuple(map(tuple, inputs))

    def run(entering: tuple[torch.Tensor, ...], other: torch.Tensor | None = None) -> torch.Tensor:
        entering = tuple([x.resolve_neg() for x in entering])
        key = tuple([(x.shape, x.stride(), x.dtype, x.is_cpu) for x in entering])
        read = known.get(key)
        if read is None:
            refuse_others(entering, wanted)
            read = known[key] = lines_read(given, steps, scratch, axis, entering)
        if other is not None:
            if other.shape != made or other.dtype != torch.float32 or not other.is_cpu:
                raise ValueError(f"strassen: prepared for {made} in float32, not this sum.")
            other = _rows_of(other, axis)
        lying = read.at(entering)
        out = torch.empty(shape, dtype=torch.float32)
        multiplied_rows_behind(
            now(),
            read.run,
            [x.data_ptr() for x in lying],
            packed,
            at,
            None if other is None else other.data_ptr(),
            out.data_ptr(),
        )
        return out.movedim(-1, 1) if axis == 1 else out

    # The tensors behind the addresses live as long as the function.
    run.tensors = held, shift  # type: ignore[attr-defined]
    return run
