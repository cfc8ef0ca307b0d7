"""One bilinear resize as the kernel sees it: which inputs each output lies between."""

from __future__ import annotations

import ctypes
from ctypes import byref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from atrous.operators.kernels.layer import checked
from atrous.operators.kernels.library import ResizeStruct, library

__all__ = ["ResizeLayer", "between", "run_resize"]


@dataclass(frozen=True, slots=True)
class ResizeLayer:
    """`planes` of `input` rows and columns, resized to `output`, in float32.

    A position has `channels` numbers: 1 in planes, all of a map's with channels last. Those of the
    result lie `step` apart, where that is given: then it is a part of a map of so many channels.
    With `corners` the first and last positions of both lie on one another; else positions are
    halves, `scales` apart (inputs for an output), or `input / output` where that is not given.
    """

    planes: int
    input: tuple[int, int]
    output: tuple[int, int]
    corners: bool = False
    scales: tuple[float, float] | None = None
    channels: int = 1
    step: int = 0
    threads: int = 1


def between(
    size: int, made: int, corners: bool, scale: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """The first of the two inputs of each output, and the weight of the second, in float32.

    As PyTorch computes them (`area_pixel_compute_source_index`): in float32, a product and a
    difference rounded once.

    >>> [array.tolist() for array in between(2, 4, False, None)]
    [[0, 0, 0, 1], [0.0, 0.25, 0.75, 0.25]]
    """
    one = np.float32
    at = np.arange(made, dtype=one)
    if corners:
        real = at * (one(size - 1) / one(made - 1) if made > 1 else one(0))
    else:
        step = one(size) / one(made) if scale is None else one(scale)
        real = np.maximum((float(step) * (at.astype(float) + 0.5) - 0.5).astype(one), one(0))
    first = np.minimum(real.astype(np.int64), size - 1)
    return first, np.clip(real - first.astype(one), one(0), one(1))


class _Resizing:
    """The structure and the memory that it points at."""

    def __init__(self, layer: ResizeLayer, lanes: int) -> None:
        if layer.planes < 0 or min(*layer.input, *layer.output) < 1:
            raise ValueError(f"resize: no map of {layer.input} can become one of {layer.output}.")
        if layer.channels < 1 or 0 < layer.step < layer.channels:
            raise ValueError(f"resize: no map of {layer.channels} channels, {layer.step} apart.")
        scales = layer.scales or (None, None)
        rows, lower = between(layer.input[0], layer.output[0], layer.corners, scales[0])
        columns, right = between(layer.input[1], layer.output[1], layer.corners, scales[1])
        starts = np.flatnonzero(np.diff(columns, prepend=-1))
        none = np.zeros(lanes, np.float32)
        one = np.float32(1)
        self._held = (
            rows,
            np.ascontiguousarray(columns[starts]),
            np.append(starts, layer.output[1]).astype(np.int64),
            np.concatenate([one - lower, lower]).astype(np.float32),
            np.concatenate([one - right, none, right, none]).astype(np.float32),
        )
        at = [ctypes.c_void_p(array.ctypes.data) for array in self._held]
        sizes = [(ctypes.c_int64 * 2)(*pair) for pair in (layer.input, layer.output)]
        apart = layer.channels, layer.step or layer.channels
        self.struct = ResizeStruct(
            layer.planes, *sizes, len(starts), *at, *apart, threads=layer.threads, reserved=0
        )


@lru_cache(maxsize=256)
def _resizing(layer: ResizeLayer) -> _Resizing:
    return _Resizing(layer, int(library().atrous_vector_lanes()))


def run_resize(layer: ResizeLayer, x: int, out: int) -> None:
    """Writes the maps at `x`, resized, to the memory at `out`; both are addresses."""
    made: Any = _resizing(layer)
    checked(library().atrous_resize(byref(made.struct), x, out), "resize")
