"""Where a resize looks, and with which weights, for a stretch of its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import UnsupportedError
from atrous.geometry import Rounding
from atrous.network.ops import Resize

__all__ = ["Taps", "taps_at", "taps_of"]

Taps = tuple[NDArray[np.int64], NDArray[np.float64]]
"""For each output the positions it reads, and their weights: two arrays of outputs by taps."""

_CUBIC = -0.75
"""The free parameter of cubic convolution as PyTorch has it (Keys 1981 has -0.5)."""


def taps_of(
    op: Resize, index: int, inputs: int, outputs: range, length: int, *, double: bool
) -> Taps:
    """What `outputs` read along dimension `index` of those resized, of `inputs` to `length`.

    Places are worked out in float32 unless `double`, as PyTorch does for maps of that type.

    >>> from atrous.network.ops import Resize
    >>> op = Resize((65,), "linear", "half_pixel")
    >>> places, weights = taps_of(op, 0, 33, range(1, 3), 65, double=True)
    >>> places.tolist(), weights.round(3).tolist()
    ([[0, 1], [0, 1]], [[0.738, 0.262], [0.231, 0.769]])
    """
    if op.antialias:
        raise UnsupportedError("an antialiased resize to a size of its own; give it a factor.")
    dtype: Any = np.float64 if double else np.float32
    at = np.arange(outputs.start, outputs.stop).astype(dtype)
    scale = op.scales[index] if op.scales else None
    if op.coordinates == "align_corners":
        step = dtype(inputs - 1) / dtype(length - 1) if length > 1 else dtype(0)
        where = at * step
    else:
        step = dtype(inputs) / dtype(length) if scale is None else dtype(1 / scale)
        half = op.coordinates == "half_pixel" or (
            op.coordinates == "pytorch_half_pixel" and length > 1
        )
        where = (at + dtype(0.5)) * step - dtype(0.5) if half else at * step
    return taps_at(op, where, inputs)


def taps_at(
    op: Resize,
    where: NDArray[Any],
    inputs: int,
    *,
    cubic: float = _CUBIC,
    exclude_outside: bool = False,
) -> Taps:
    """The taps around the points `where`, in input positions; beyond the ends the ends repeat.

    `cubic` is the free parameter of cubic convolution; with `exclude_outside` its taps beyond the
    ends weigh nothing, and the others are scaled to make up for it.
    """
    if op.how == "nearest":
        places = _rounded(where, op.rounding).astype(np.int64)[:, None]
        return np.clip(places, 0, inputs - 1), np.ones(places.shape)
    if op.how == "linear":
        where = np.clip(where, 0, inputs - 1)
        low = np.floor(where).astype(np.int64)
        part = (where - low).astype(np.float64)
        places = np.stack([low, np.minimum(low + 1, inputs - 1)], 1)
        return places, np.stack([1 - part, part], 1)
    low = np.floor(where).astype(np.int64)
    part = (where - low).astype(np.float64)
    places = np.stack([low + tap for tap in (-1, 0, 1, 2)], 1)
    weights = np.stack([_cubic(part - tap, cubic) for tap in (-1, 0, 1, 2)], 1)
    if exclude_outside:
        weights *= (places >= 0) & (places < inputs)
        weights /= weights.sum(1, keepdims=True)
    return np.clip(places, 0, inputs - 1), weights


def _rounded(where: NDArray[Any], rounding: Rounding) -> NDArray[Any]:
    half = where.dtype.type(0.5)
    found: dict[Rounding, NDArray[Any]] = {
        "floor": np.floor(where),
        "ceil": np.ceil(where),
        "round_prefer_floor": np.ceil(where - half),
        "round_prefer_ceil": np.floor(where + half),
    }
    return found[rounding]


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    far = np.abs(distance)
    near = ((a + 2) * far - (a + 3)) * far * far + 1
    rest = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    return np.where(far <= 1, near, np.where(far < 2, rest, 0.0))
