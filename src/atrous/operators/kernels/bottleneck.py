"""One inverted bottleneck as the kernels see it, and the calls on raw memory.

One tap into many hidden channels, a depthwise layer on these or none, one tap out of them, without
the hidden maps in memory. Float32, channels last.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from atrous.operators.kernels.layer import activation_code, checked
from atrous.operators.kernels.library import library

__all__ = [
    "Bottleneck",
    "bottlenecked",
    "bottlenecks_natively",
    "pack_bottleneck",
    "packed_bottleneck_size",
]

# The version in native/abi.h that the structure below is written for.
_VERSION = 2


class BottleneckStruct(ctypes.Structure):
    """`atrous_bottleneck_layer` of native/abi.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "hidden", "filters")),
        *(
            (name, ctypes.c_int64 * 2)
            for name in ("input", "output", "kernel", "stride", "dilation", "pad")
        ),
        ("activation", ctypes.c_int32 * 3),
        ("depthwise", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("slope", ctypes.c_float * 3),
    )


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """`channels` to `hidden`, a depthwise layer where `kernel` is given, and on to `filters`.

    `input` and `output` are the two sizes of the depthwise layer's maps, whose output `o` reads
    inputs `o * stride - pad + dilation * j`: zeros beyond them. Without one they are the same.
    `activations` stand behind each of the three layers.
    """

    batch: int
    channels: int
    hidden: int
    filters: int
    input: tuple[int, int]
    output: tuple[int, int]
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    activations: tuple[str, str, str] = ("none", "none", "none")
    threads: int = 1


@cache
def _declared() -> Any:
    """The library that has this kernel in this version; None where there is none."""
    loaded = library()
    if loaded is None or not hasattr(loaded, "atrous_bottleneck_version"):
        return None
    layer, data = ctypes.POINTER(BottleneckStruct), ctypes.c_void_p
    loaded.atrous_bottleneck_weights.argtypes = [layer]
    loaded.atrous_bottleneck_weights.restype = ctypes.c_int64
    loaded.atrous_bottleneck_pack.argtypes = [layer, data, data, data]
    loaded.atrous_bottleneck_forward.argtypes = [layer, data, data, data, data]
    return loaded if int(loaded.atrous_bottleneck_version()) == _VERSION else None


def bottlenecks_natively() -> bool:
    """Whether the native kernels are there, and have this one."""
    return _declared() is not None


@lru_cache(maxsize=4096)
def _struct_of(layer: Bottleneck) -> Any:
    def two(values: tuple[int, int]) -> Any:
        return (ctypes.c_int64 * 2)(*values)

    codes, slopes = zip(*map(activation_code, layer.activations), strict=True)
    return ctypes.byref(
        BottleneckStruct(
            layer.batch,
            layer.channels,
            layer.hidden,
            layer.filters,
            two(layer.input),
            two(layer.output),
            two(layer.kernel or (1, 1)),
            two(layer.stride),
            two(layer.dilation),
            two(layer.pad),
            (ctypes.c_int32 * 3)(*codes),
            int(layer.kernel is not None),
            layer.threads,
            (ctypes.c_float * 3)(*slopes),
        )
    )


def packed_bottleneck_size(layer: Bottleneck) -> int:
    """How many floats its packed weights are; they differ between instruction sets."""
    size = int(_declared().atrous_bottleneck_weights(_struct_of(layer)))
    if size < 1:
        checked(1, "bottleneck")
    return size


def pack_bottleneck(
    layer: Bottleneck, weights: Sequence[int | None], biases: Sequence[int | None], packed: int
) -> None:
    """Writes weights and biases as the kernel reads them to the memory at `packed`, aligned to 64.

    `weights` are addresses of (hidden, channels), (hidden, taps) or None, (filters, hidden).
    """
    held, shifts = (ctypes.c_void_p * 3)(*weights), (ctypes.c_void_p * 3)(*biases)
    code = _declared().atrous_bottleneck_pack(_struct_of(layer), held, shifts, packed)
    checked(code, "bottleneck")


def bottlenecked(layer: Bottleneck, x: int, packed: int, other: int | None, out: int) -> None:
    """Writes what the three layers make of the map at `x`, plus `other`, to the memory at `out`.

    The last activation stands behind that sum. All are addresses of maps, channels last.
    """
    code = _declared().atrous_bottleneck_forward(_struct_of(layer), x, packed, other, out)
    checked(code, "bottleneck")
