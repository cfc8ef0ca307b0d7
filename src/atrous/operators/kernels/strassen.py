"""One product of rows by constant weights as the kernels see it, and the calls on raw memory.

With seven products for eight (Strassen), none, one or two levels deep. Float32, rows of channels:
channels-last layers of one tap, and linear maps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from atrous.operators.kernels.elementwise import ElementwiseRun, held_run
from atrous.operators.kernels.layer import activation_code, checked
from atrous.operators.kernels.library import library

__all__ = [
    "RowProduct",
    "multiplied_rows",
    "multiplied_rows_behind",
    "multiplies_rows_natively",
    "pack_rows",
    "packed_rows_size",
    "products_spent",
]

# The version in native/abi.h that the structure below is written for.
_VERSION = 4
_TILE = 6


class RowStruct(ctypes.Structure):
    """`atrous_strassen_layer` of native/abi.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "channels", "filters", "step")),
        *((name, ctypes.c_int32) for name in ("levels", "activation", "threads")),
        ("slope", ctypes.c_float),
    )


@dataclass(frozen=True, slots=True)
class RowProduct:
    """(rows, channels) times (channels, filters), with (7/8)^levels of the products.

    `levels` is 0, 1 or 2; channels are a multiple of 2^levels, and rows at least 6 times as many.
    Rows of the result lie `step` numbers apart, where that is given: then they are a part of larger
    ones.
    """

    rows: int
    channels: int
    filters: int
    levels: int = 0
    activation: str = "none"
    step: int = 0
    threads: int = 1

    @property
    def fits(self) -> bool:
        """Whether the kernel takes such sizes.

        >>> RowProduct(12, 8, 3, 1).fits, RowProduct(11, 8, 3, 1).fits, RowProduct(48, 6, 3, 2).fits
        (True, False, False)
        """
        return self.rows >= _TILE << self.levels and self.channels % (1 << self.levels) == 0


@cache
def _row_calls() -> Any:
    """The library that has this kernel in this version; None where there is none."""
    loaded = library()
    if loaded is None or not hasattr(loaded, "atrous_strassen_version"):
        return None
    if int(loaded.atrous_strassen_version()) != _VERSION:
        return None
    layer, data = ctypes.POINTER(RowStruct), ctypes.c_void_p
    loaded.atrous_strassen_weights.argtypes = [layer]
    loaded.atrous_strassen_weights.restype = ctypes.c_int64
    loaded.atrous_strassen_pack.argtypes = [layer, data, data]
    loaded.atrous_strassen_forward.argtypes = [layer, data, data, data, data, data]
    loaded.atrous_strassen_forward_behind.argtypes = [layer, *[data] * 6]
    return loaded


def multiplies_rows_natively() -> bool:
    """Whether the native kernels are there, and have this one."""
    return _row_calls() is not None


@lru_cache(maxsize=4096)
def _row_struct(layer: RowProduct) -> Any:
    activation, slope = activation_code(layer.activation)
    return ctypes.byref(
        RowStruct(
            layer.rows,
            layer.channels,
            layer.filters,
            layer.step or layer.filters,
            layer.levels,
            activation,
            layer.threads,
            slope,
        )
    )


def packed_rows_size(layer: RowProduct) -> int:
    """How many floats its packed weights are; they differ between instruction sets."""
    size = int(_row_calls().atrous_strassen_weights(_row_struct(layer)))
    if size < 1:
        checked(1, "strassen")
    return size


def products_spent(layer: RowProduct) -> float:
    """The share of the definition's products that are made, those that fill up vectors included.

    Where it is 1 or more nothing is saved; it differs between instruction sets.
    """
    return packed_rows_size(layer) / ((1 << layer.levels) * layer.channels * layer.filters)


def pack_rows(layer: RowProduct, weight: int, packed: int) -> None:
    """Writes (filters, channels) weights as the kernel reads them to the memory at `packed`."""
    checked(_row_calls().atrous_strassen_pack(_row_struct(layer), weight, packed), "strassen")


def multiplied_rows(
    layer: RowProduct, x: int, packed: int, bias: int | None, other: int | None, out: int
) -> None:
    """Writes `activation(bias + x * weight + other)` to the memory at `out`; all are addresses."""
    code = _row_calls().atrous_strassen_forward(_row_struct(layer), x, packed, bias, other, out)
    checked(code, "strassen")


def multiplied_rows_behind(
    layer: RowProduct,
    before: ElementwiseRun,
    inputs: Sequence[int],
    packed: int,
    bias: int | None,
    other: int | None,
    out: int,
) -> None:
    """The same of the rows that an element-wise run makes of its inputs, a line each.

    They are made a block at a time, where they are multiplied, and never stored as a whole.
    """
    held = held_run(before)
    given = (ctypes.c_void_p * len(inputs))(*inputs)
    code = _row_calls().atrous_strassen_forward_behind(
        _row_struct(layer), ctypes.byref(held), given, packed, bias, other, out
    )
    checked(code, "strassen")
