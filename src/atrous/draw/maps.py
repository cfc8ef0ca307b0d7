"""A result of any size as a small picture: classes in colours, numbers in grey."""

from __future__ import annotations

import colorsys
import io
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.draw.needs import drawing_needs
from atrous.errors import ArgumentError

__all__ = ["map_png"]

_SIDE = 1024
_BAND = 4 << 20
"""How many numbers are read at a time."""
_GOLDEN = 0.618033988749895


def map_png(array: Any) -> bytes:
    """A PNG of at most 1024 pixels a side: the last two dimensions, of others the first place.

    Whole numbers of at most 8 bits are classes, and get colours far from each other (0 is black);
    others go from black at the lowest to white at the highest. Every nth row and column is read, a
    band at a time.
    """
    if len(array.shape) < 2:
        raise ArgumentError("a preview is a picture, and the result has one dimension.")
    height, width = (int(n) for n in array.shape[-2:])
    every = max(1, ceil(max(height, width) / _SIDE))
    first = (0,) * (len(array.shape) - 2)
    rows = max(every, _BAND // max(width, 1) // every * every)
    bands = [
        np.asarray(array[(*first, slice(top, min(top + rows, height)), slice(0, width))])[
            ::every, ::every
        ]
        for top in range(0, height, rows)
    ]
    small = np.concatenate(bands)
    with drawing_needs("a preview"):
        from PIL import Image as Picture

        out = io.BytesIO()
        Picture.fromarray(_classes(small) if small.dtype.itemsize == 1 else _grey(small)).save(
            out, "PNG"
        )
    return out.getvalue()


def _classes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return _palette()[values.astype(np.uint8)]


def _palette() -> NDArray[np.uint8]:
    """256 colours: hues a golden section apart, so that neighbours never look alike."""
    hues = [colorsys.hsv_to_rgb(i * _GOLDEN % 1, (0.55, 0.85)[i % 2], 0.95) for i in range(1, 256)]
    return (np.array([(0.0, 0.0, 0.0), *hues]) * 255).astype(np.uint8)


def _grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    held = values.astype(np.float64)
    finite = held[np.isfinite(held)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    share = (np.nan_to_num(held, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return np.asarray(share * 255).astype(np.uint8)
