"""Matrices transposed by the kernel: what lies between planes and channels last."""

from __future__ import annotations

from ctypes import byref

from atrous.operators.kernels.layer import checked
from atrous.operators.kernels.library import MatricesStruct, library

__all__ = ["transpose_natively"]


def transpose_natively(
    images: int, rows: int, columns: int, x: int, out: int, *, threads: int = 1
) -> None:
    """Writes `images` matrices of 4 bytes a number, transposed, to the memory at `out`.

    `x` has rows x columns, `out` columns x rows; both are addresses.
    """
    matrices = MatricesStruct(images, rows, columns, threads, 0)
    checked(library().atrous_transpose(byref(matrices), x, out), "transpose")
