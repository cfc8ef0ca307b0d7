"""Tensors outside as rows: in the order of a value's columns, where they have another one."""

from __future__ import annotations

from math import prod

import torch

from atrous.runners.stream.native.written import Written
from atrous.runners.stream.rules.base import Value

__all__ = ["laid_out", "room_for"]


def _by_columns(written: Written, value: Value) -> list[int] | None:
    """The dimensions of a value as its rows have them; None where it may lie as it does.

    A tensor may where its channels are one step apart, on one side of time.
    """
    first = 1 if written.batch > 1 else 0
    sides = prod(value.shape[first : value.dim]), prod(value.shape[value.dim + 1 :])
    if min(sides) == 1 and written.is_plain(value):
        return None
    strides = written.strides[value.index]
    inner = sorted(written.fixed(value), key=lambda d: (value.shape[d] == 1, -strides[d]))
    return [*range(first), value.dim, *inner]


def _turned_back(x: torch.Tensor, dims: list[int]) -> torch.Tensor:
    return x.permute([dims.index(d) for d in range(len(dims))])


def laid_out(written: Written, value: Value, x: torch.Tensor) -> torch.Tensor:
    """A tensor whose channels are one step apart, in the order of the value's columns."""
    dims = _by_columns(written, value)
    if dims is not None:
        return _turned_back(x.permute(dims).contiguous(), dims)
    wide = sum(value.shape[d] > 1 for d in written.fixed(value))
    return x.contiguous() if wide > 1 or x.is_neg() else x


def room_for(written: Written, value: Value, count: int) -> torch.Tensor:
    """Memory for so many positions of a value, its channels in the order of its columns."""
    shape = [count if d == value.dim else n for d, n in enumerate(value.shape)]
    dims = _by_columns(written, value)
    if dims is None:
        return torch.empty(shape, dtype=torch.float32, device="cpu")
    rows = torch.empty([shape[d] for d in dims], dtype=torch.float32, device="cpu")
    return _turned_back(rows, dims)
