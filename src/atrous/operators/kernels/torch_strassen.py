"""Products of rows by constant weights by the kernels, on PyTorch tensors: float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from atrous.operators.kernels.strassen import (
    RowProduct,
    multiplied_rows,
    pack_rows,
    packed_rows_size,
)
from atrous.operators.kernels.threads import on_threads, share_threads
from atrous.operators.kernels.torch_layouts import in_channels_last, part_of

__all__ = ["prepare_rows"]

share_threads()

_ALIGNED = 64


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
    matrix = weight.detach().resolve_neg().reshape(layer.filters, layer.channels).contiguous()
    held = torch.empty(packed_rows_size(layer) + _ALIGNED // 4, dtype=torch.float32)
    packed = held.data_ptr() + -held.data_ptr() % _ALIGNED
    pack_rows(layer, matrix.data_ptr(), packed)
    shift = None if bias is None else bias.detach().resolve_neg().contiguous()
    now = on_threads(layer)
    shape = (made[0], *made[2:], made[1]) if axis == 1 else made

    def rows_of(x: torch.Tensor) -> torch.Tensor:
        x = x.resolve_neg()
        return in_channels_last(x) if axis == 1 else x.contiguous()

    def multiplied(
        layer: RowProduct, out: int, x: torch.Tensor, other: torch.Tensor | None
    ) -> None:
        for one, wanted in ((x, given), (other, made)):
            if one is not None and (one.shape != wanted or one.dtype != torch.float32):
                raise ValueError(f"strassen: prepared for {wanted} in float32, not this input.")
        x = rows_of(x)
        other = None if other is None else rows_of(other)
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
