"""Element-wise operations in a row as the kernels see them, factors of norms, and sums."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from atrous.operators.kernels.layer import checked
from atrous.operators.kernels.library import library
from atrous.operators.kernels.stream import COMBINE, FUNCTIONS

__all__ = [
    "MOST_VALUES",
    "AxisSums",
    "ElementStep",
    "ElementwiseRun",
    "GroupNorm",
    "elementwise_natively",
    "group_norm_factors",
    "held_run",
    "norm_parts",
    "run_elementwise",
    "sum_parts",
    "summed_up",
]

# The version in native/abi.h that the structures below are written for.
_VERSION = 1
MOST_VALUES = 24
"""Inputs and scratch values together."""


@dataclass(frozen=True, slots=True)
class ElementStep:
    """`out = function(left combine right)`, or `function(left)` where `right` is -1.

    Values have numbers: the inputs come first, then scratch. The last step writes the result.
    `function` is one of `stream.FUNCTIONS` with its parameters, but none of those of each channel.
    """

    left: int
    right: int = -1
    combine: str = "plus"
    function: str = "none"
    alpha: float = 0.0
    beta: float = 0.0
    out: int = -1


@dataclass(frozen=True, slots=True)
class ElementwiseRun:
    """Steps on `images` of `lines` of `columns`, float32; the result is dense.

    `inputs` says of each how many numbers it is from one image, one line and one column to the
    next: 0 where these share a number. Columns are 0 or 1 apart.
    """

    images: int
    lines: int
    columns: int
    inputs: tuple[tuple[int, int, int], ...]
    steps: tuple[ElementStep, ...]
    scratch: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class GroupNorm:
    """A group norm of (images, channels, positions), or with `channels_last` the other way."""

    images: int
    channels: int
    groups: int
    positions: int
    epsilon: float
    channels_last: bool = False
    threads: int = 1


@dataclass(frozen=True, slots=True)
class AxisSums:
    """Sums of (images, lines, columns) along one axis, times `scale`; `squared`: of squares.

    Of the columns of each line, or `along_lines` of the lines of each column.
    """

    images: int
    lines: int
    columns: int
    along_lines: bool = False
    squared: bool = False
    scale: float = 1.0
    threads: int = 1


class _StepStruct(ctypes.Structure):
    """`atrous_elementwise_step` of native/abi.h, field by field."""

    _fields_ = (
        *(
            (name, ctypes.c_int32)
            for name in ("left", "right", "combine", "function", "out", "reserved")
        ),
        ("alpha", ctypes.c_float),
        ("beta", ctypes.c_float),
    )


class _InputStruct(ctypes.Structure):
    """`atrous_elementwise_input`."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("image", "line", "column"))


class _RunStruct(ctypes.Structure):
    """`atrous_elementwise`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "lines", "columns")),
        ("inputs", ctypes.POINTER(_InputStruct)),
        ("steps", ctypes.POINTER(_StepStruct)),
        *((name, ctypes.c_int32) for name in ("input_count", "scratch", "step_count", "threads")),
    )


class _NormStruct(ctypes.Structure):
    """`atrous_norm`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "channels", "groups", "positions")),
        ("epsilon", ctypes.c_double),
        ("threads", ctypes.c_int32),
        ("channels_last", ctypes.c_int32),
    )


class _SumsStruct(ctypes.Structure):
    """`atrous_sums`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "lines", "columns")),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("along_lines", "squared", "threads", "reserved")),
    )


@cache
def _map_calls() -> Any:
    """The library that has these kernels in this version; None where there is none."""
    loaded = library()
    if loaded is None or not hasattr(loaded, "atrous_elementwise_version"):
        return None
    data = ctypes.c_void_p
    loaded.atrous_elementwise_run.argtypes = [ctypes.POINTER(_RunStruct), data, data]
    loaded.atrous_norm_parts.argtypes = [ctypes.POINTER(_NormStruct)]
    loaded.atrous_norm_parts.restype = ctypes.c_int64
    loaded.atrous_norm_factors.argtypes = [ctypes.POINTER(_NormStruct), *[data] * 5]
    loaded.atrous_sum_parts.argtypes = [ctypes.POINTER(_SumsStruct)]
    loaded.atrous_sum_parts.restype = ctypes.c_int64
    loaded.atrous_sum.argtypes = [ctypes.POINTER(_SumsStruct), *[data] * 3]
    return loaded if int(loaded.atrous_elementwise_version()) == _VERSION else None


def elementwise_natively() -> bool:
    """Whether the native kernels are there, and have these."""
    return _map_calls() is not None


class _HeldRun:
    """The structure, and the arrays that it points at."""

    def __init__(self, run: ElementwiseRun) -> None:
        self._inputs = (_InputStruct * len(run.inputs))(*(_InputStruct(*one) for one in run.inputs))
        self._steps = (_StepStruct * len(run.steps))(
            *(
                _StepStruct(
                    one.left,
                    one.right,
                    COMBINE[one.combine],
                    FUNCTIONS[one.function],
                    one.out,
                    0,
                    one.alpha,
                    one.beta,
                )
                for one in run.steps
            )
        )
        self.struct = _RunStruct(
            run.images,
            run.lines,
            run.columns,
            self._inputs,
            self._steps,
            len(run.inputs),
            run.scratch,
            len(run.steps),
            run.threads,
        )


@lru_cache(maxsize=1024)
def _held_run(run: ElementwiseRun) -> _HeldRun:
    return _HeldRun(run)


def held_run(run: ElementwiseRun) -> Any:
    """`atrous_elementwise`; what it points at lives as long as it does."""
    return _held_run(run).struct


def run_elementwise(run: ElementwiseRun, inputs: Sequence[int], out: int) -> None:
    """Writes the result of the last step to the memory at `out`; all are addresses.

    `out` may be the address of an input that lies as the result does.
    """
    given = (ctypes.c_void_p * len(inputs))(*inputs)
    checked(_map_calls().atrous_elementwise_run(held_run(run), given, out), "element-wise")


@lru_cache(maxsize=1024)
def _norm_struct(norm: GroupNorm) -> Any:
    return _NormStruct(
        norm.images,
        norm.channels,
        norm.groups,
        norm.positions,
        norm.epsilon,
        norm.threads,
        norm.channels_last,
    )


def norm_parts(norm: GroupNorm) -> int:
    """How many float64 of scratch memory `group_norm_factors` needs; 0 for what it refuses."""
    return int(_map_calls().atrous_norm_parts(_norm_struct(norm)))


def group_norm_factors(
    norm: GroupNorm, x: int, weight: int | None, bias: int | None, factors: int, parts: int
) -> None:
    """Writes (2, images, channels): what each channel is multiplied by, and what is added then."""
    code = _map_calls().atrous_norm_factors(_norm_struct(norm), x, weight, bias, factors, parts)
    checked(code, "norm")


@lru_cache(maxsize=1024)
def _sums_struct(sums: AxisSums) -> Any:
    return _SumsStruct(
        sums.images,
        sums.lines,
        sums.columns,
        sums.scale,
        sums.along_lines,
        sums.squared,
        sums.threads,
    )


def sum_parts(sums: AxisSums) -> int:
    """How many float64 of scratch memory `summed_up` needs; 0 for what it refuses."""
    return int(_map_calls().atrous_sum_parts(_sums_struct(sums)))


def summed_up(sums: AxisSums, x: int, out: int, parts: int) -> None:
    """Writes the sums, (images, lines) or along lines (images, columns); all are addresses."""
    checked(_map_calls().atrous_sum(_sums_struct(sums), x, out, parts), "sums")
