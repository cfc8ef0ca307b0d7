"""Finds and loads the native kernels; says why where there are none.

The library is plain C (`native/abi.h`), so one build serves every Python and every PyTorch. In an
installed package it lies in the folder `lib` beside this file. A checkout takes it from the package
that is installed as well, whose interface must have the number that this file expects.

`ATROUS_ISA` chooses the instruction set (`baseline`, `avx2`, `avx512`, `neon`) or turns the kernels
`off`; `ATROUS_LIBRARY` is the path of another build.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

__all__ = [
    "ABI_VERSION",
    "LayerStruct",
    "MatricesStruct",
    "Native",
    "PointwiseStruct",
    "PoolStruct",
    "ResizeStruct",
    "WinogradStruct",
    "library",
    "native",
]

# The number of native/abi.h that the structures and the calls below are written for.
ABI_VERSION = 13

_NAMES = ("libatrous_kernels.so", "libatrous_kernels.dylib", "atrous_kernels.dll")
_FOLDER = Path("atrous", "operators", "kernels", "lib")


_AXES = ("input", "output", "kernel", "stride", "dilation", "pad")
_WINDOWED: tuple[tuple[str, Any], ...] = (
    ("batch", ctypes.c_int64),
    ("channels", ctypes.c_int64),
    *((name, ctypes.c_int64 * 3) for name in _AXES),
)


class LayerStruct(ctypes.Structure):
    """`atrous_depthwise_layer` of native/abi.h, field by field."""

    _fields_ = (
        *_WINDOWED,
        ("dtype", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("packed_weight", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("slope", ctypes.c_double),
    )


class WinogradStruct(ctypes.Structure):
    """`atrous_winograd_layer` of native/abi.h, field by field."""

    _fields_ = (
        ("batch", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("filters", ctypes.c_int64),
        ("input", ctypes.c_int64 * 2),
        ("output", ctypes.c_int64 * 2),
        ("kernel", ctypes.c_int64 * 2),
        ("stride", ctypes.c_int64 * 2),
        ("dilation", ctypes.c_int64 * 2),
        ("pad", ctypes.c_int64 * 2),
        ("tile", ctypes.c_int64 * 2),
        ("taps", ctypes.c_int64 * 2),
        ("spread", ctypes.c_int64 * 2),
        ("cut", ctypes.c_int64 * 2),
        ("whole", ctypes.c_int64 * 2),
        ("activation", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("turned", ctypes.c_int32),
        ("mixed", ctypes.c_int32),
        ("rest", ctypes.c_int64 * 2),
        ("rests", (ctypes.c_int64 * 2) * 2),
        ("closed", ctypes.c_int64 * 2),
        ("slope", ctypes.c_float),
        ("reserved", ctypes.c_int32),
    )


class PoolStruct(ctypes.Structure):
    """`atrous_pool_layer` of native/abi.h, field by field."""

    _fields_ = (
        *_WINDOWED,
        ("divisor", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("average", ctypes.c_int32),
        ("include_pad", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class MatricesStruct(ctypes.Structure):
    """`atrous_matrices` of native/abi.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "rows", "columns")),
        *((name, ctypes.c_int32) for name in ("threads", "reserved")),
    )


class ResizeStruct(ctypes.Structure):
    """`atrous_resize_layer` of native/abi.h, field by field."""

    _fields_ = (
        ("planes", ctypes.c_int64),
        ("input", ctypes.c_int64 * 2),
        ("output", ctypes.c_int64 * 2),
        ("runs", ctypes.c_int64),
        ("row_inputs", ctypes.c_void_p),
        ("run_inputs", ctypes.c_void_p),
        ("run_starts", ctypes.c_void_p),
        ("row_weights", ctypes.c_void_p),
        ("column_weights", ctypes.c_void_p),
        ("channels", ctypes.c_int64),
        ("step", ctypes.c_int64),
        ("threads", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class PointwiseStruct(ctypes.Structure):
    """`atrous_pointwise_layer` of native/abi.h, field by field."""

    _fields_ = (
        ("batch", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("filters", ctypes.c_int64),
        ("positions", ctypes.c_int64),
        ("activation", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("slope", ctypes.c_float),
        ("reserved", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class Native:
    """Whether the native kernels run here, with which instruction set, and if not, why.

    `isas` are the instruction sets that this build has and this machine runs, the best one last.

    >>> from atrous.operators.kernels import native
    >>> found = native()
    >>> found.available or found.reason != ""
    True
    """

    available: bool
    isa: str
    isas: tuple[str, ...]
    path: str
    reason: str

    def __str__(self) -> str:
        if not self.available:
            return f"no native kernels: {self.reason}"
        return f"native kernels, {self.isa} (of {', '.join(self.isas)}), {self.path}"


def native() -> Native:
    """What `library` loads, or the reason why it loads nothing."""
    return _load()[1]


def library() -> Any:
    """The loaded library, or None where the kernels are not available."""
    return _load()[0]


@cache
def _load() -> tuple[Any, Native]:
    wanted = os.environ.get("ATROUS_ISA", "").strip().lower()
    if wanted == "off":
        return None, _absent("ATROUS_ISA=off")
    path = _find()
    if path is None:
        return None, _absent(
            "this installation was built without a C++ compiler; install one and run "
            "`pip install --force-reinstall --no-deps atrous` to build them"
        )
    try:
        loaded = ctypes.CDLL(str(path))
        version = int(loaded.atrous_abi_version())
    except (OSError, AttributeError) as error:
        return None, _warned(f"{path} does not load ({error})")
    if version != ABI_VERSION:
        return None, _warned(
            f"{path} has interface {version}, this package needs {ABI_VERSION}; run `pip install .`"
        )
    _declare(loaded)
    isas = tuple(loaded.atrous_instruction_sets().decode().split())
    if wanted and loaded.atrous_use_instruction_set(wanted.encode()) != 0:
        return None, _warned(
            f"ATROUS_ISA={wanted[:40]!r} is none of those that run here: {', '.join(isas)}, off"
        )
    isa = loaded.atrous_instruction_set().decode()
    return loaded, Native(True, isa, isas, str(path), "")


def _warned(reason: str) -> Native:
    """Absent by mistake rather than by choice: said aloud, once."""
    warnings.warn(f"no native kernels: {reason}", RuntimeWarning, stacklevel=4)
    return _absent(reason)


def _absent(reason: str) -> Native:
    return Native(False, "", (), "", reason)


def _find() -> Path | None:
    given = os.environ.get("ATROUS_LIBRARY")
    if given:
        return Path(given)
    folders = [Path(__file__).parent / "lib"]
    with suppress(PackageNotFoundError):
        folders.append(Path(str(distribution("atrous").locate_file(_FOLDER))))
    for folder in folders:
        for name in _NAMES:
            if (folder / name).is_file():
                return folder / name
    return None


def _declare(loaded: Any) -> None:
    layer, data = ctypes.POINTER(LayerStruct), ctypes.c_void_p
    loaded.atrous_instruction_sets.restype = ctypes.c_char_p
    loaded.atrous_instruction_set.restype = ctypes.c_char_p
    loaded.atrous_use_instruction_set.argtypes = [ctypes.c_char_p]
    loaded.atrous_use_team.argtypes = [data]
    loaded.atrous_depthwise_forward.argtypes = [layer, data, data, data, data]
    loaded.atrous_depthwise_data_gradient.argtypes = [layer, data, data, data, data]
    loaded.atrous_depthwise_weight_gradient.argtypes = [layer, data, data, data]
    dense = ctypes.POINTER(WinogradStruct)
    point = ctypes.POINTER(PointwiseStruct)
    loaded.atrous_pointwise_forward.argtypes = [point, data, data, data, data, data]
    loaded.atrous_winograd_weights.argtypes = [dense]
    loaded.atrous_winograd_weights.restype = ctypes.c_int64
    loaded.atrous_winograd_pack.argtypes = [dense, data, data]
    loaded.atrous_winograd_forward.argtypes = [dense, data, data, data, data, data]
    loaded.atrous_winograd_weight_gradient.argtypes = [dense, data, data, data]
    loaded.atrous_pool.argtypes = [ctypes.POINTER(PoolStruct), data, data]
    loaded.atrous_resize.argtypes = [ctypes.POINTER(ResizeStruct), data, data]
    loaded.atrous_transpose.argtypes = [ctypes.POINTER(MatricesStruct), data, data]
    loaded.atrous_vector_lanes.restype = ctypes.c_int64
