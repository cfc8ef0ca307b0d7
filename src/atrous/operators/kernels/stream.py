"""Programs of streams as the kernels see them: structs of native/abi.h, and weights in panels."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from atrous.operators.kernels.layer import checked
from atrous.operators.kernels.library import library

__all__ = [
    "COMBINE",
    "FUNCTIONS",
    "OPS",
    "SLACK",
    "PortStruct",
    "ProgramStruct",
    "StepStruct",
    "TurnStruct",
    "ValueStruct",
    "lanes_and_panel",
    "panels_of",
    "run_program",
    "streams_natively",
]

# The version in native/abi.h that the structures below are written for.
_VERSION = 3
SLACK = 64
"""Floats that an arena and the constants have beyond what is used."""

OPS = {
    name: i
    for i, name in enumerate(
        [
            "take",
            "give",
            "product",
            "depthwise",
            "unary",
            "binary",
            "norm",
            "copy",
            "largest",
            "mean",
            "sum",
            "so_far",
            "count",
            "shuffle",
            "grid",
            "grid_depthwise",
            "grid_largest",
            "grid_mean",
            "arrange",
            "lstm",
            "gru",
            "recurrent",
            "softmax",
        ]
    )
}
FUNCTIONS = {
    name: i
    for i, name in enumerate(
        [
            "none",
            "relu",
            "relu6",
            "silu",
            "hardswish",
            "gelu",
            "tanh",
            "sigmoid",
            "leaky",
            "elu",
            "scaled",
            "exp",
            "square",
            "sine",
            "root",
            "reciprocal",
            "absolute",
            "clamped",
            "root_below",
            "cosine",
            "logarithm",
            "leaky_each",
            "scaled_each",
            "snake_each",
        ]
    )
}
"""Functions of one number; those named `each` have constants for each channel."""
COMBINE = {"plus": 0, "minus": 1, "times": 2, "over": 3, "more": 4, "less": 5}


class ValueStruct(ctypes.Structure):
    """`atrous_stream_value`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("offset", "step", "rows", "kept", "head")),
        ("ring", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class StepStruct(ctypes.Structure):
    """`atrous_stream_step`."""

    _fields_ = (
        *(
            (name, ctypes.c_int32)
            for name in [
                "op",
                "function",
                "left_function",
                "right_function",
                "left",
                "right",
                "out",
                "combine",
                "one",
                "add",
                "port",
                "reserved",
            ]
        ),
        *(
            (name, ctypes.c_int64)
            for name in [
                "left_column",
                "right_column",
                "out_column",
                "channels",
                "filters",
                "taps",
                "dilation",
                "stride",
                "spread",
                "weight",
                "bias",
                "left_places",
                "out_places",
                "left_jump",
                "out_jump",
                "side_taps",
                "side_dilation",
                "side_stride",
                "side_pad",
                "units",
                "carry_weight",
                "carry_bias",
            ]
        ),
        *((name, ctypes.c_float) for name in ("alpha", "beta", "left_alpha", "right_alpha")),
    )


class TurnStruct(ctypes.Structure):
    """`atrous_stream_turn`."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("rows", "left", "right", "out"))


class PortStruct(ctypes.Structure):
    """`atrous_stream_port`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        *(
            (name, ctypes.c_int64)
            for name in ("rows", "columns", "batch_step", "row_step", "column_step")
        ),
    )


class ProgramStruct(ctypes.Structure):
    """`atrous_stream_program`."""

    _fields_ = (
        ("steps", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("arena", ctypes.c_void_p),
        ("constants", ctypes.c_void_p),
        *(
            (name, ctypes.c_int64)
            for name in [
                "step_count",
                "value_count",
                "arena_floats",
                "constant_floats",
                "batch",
                "panel",
                "periods",
            ]
        ),
        ("threads", ctypes.c_int32),
        ("port_count", ctypes.c_int32),
    )


@cache
def streams_natively() -> bool:
    """Whether there is a library, and it runs programs of streams of this version."""
    loaded = library()
    if loaded is None or not hasattr(loaded, "atrous_stream_version"):
        return False
    loaded.atrous_stream_panel.restype = loaded.atrous_stream_lanes.restype = ctypes.c_int64
    pointers = [ctypes.POINTER(ProgramStruct), *[ctypes.c_void_p] * 3]
    loaded.atrous_stream_run.argtypes = pointers
    return int(loaded.atrous_stream_version()) == _VERSION


def lanes_and_panel() -> tuple[int, int]:
    """Floats of a vector, and columns of a full panel of weights."""
    loaded = library()
    return int(loaded.atrous_stream_lanes()), int(loaded.atrous_stream_panel())


def panels_of(weight: Any) -> Any:
    """Weights (taps, channels, filters) as products read them: panel by panel, padded to vectors.

    >>> import numpy as np
    >>> from atrous.operators.kernels import native
    >>> width = lanes_and_panel()[0] if streams_natively() else 4
    >>> packed = panels_of(np.ones((2, 3, 1), np.float32)) if streams_natively() else np.ones(24)
    >>> packed.size == 6 * width
    True
    """
    lanes, panel = lanes_and_panel()
    filters = weight.shape[2]
    parts = []
    for first in range(0, filters, panel):
        part = weight[:, :, first : first + panel]
        more = -part.shape[2] % lanes
        parts.append(np.pad(part, ((0, 0), (0, 0), (0, more))).ravel())
    return np.concatenate(parts).astype(np.float32)


def run_program(program: Any, turns: Any, grown: Any, ports: Any) -> None:
    """One push. Raises where the kernels find that it would leave its memory."""
    code = library().atrous_stream_run(program, turns, grown, ports)
    if code:
        checked(code, "stream")
