"""Where a tiler differs from the whole run, as a picture: bright where it is farthest off."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.draw.charts import altair_module
from atrous.draw.colours import SERIES
from atrous.draw.effective import heat
from atrous.draw.images import data_url
from atrous.errors import UnsupportedError

__all__ = ["difference_chart"]

_SIDE = 420
_MOST = 512
"""Pixels a side; of what is larger, each pixel has the largest of several positions."""


def difference_chart(difference: NDArray[Any], axes: tuple[str, ...], title: str) -> Any:
    """The largest difference at each position, as a curve or as a heat map of the last two axes.

    Brightness goes with the root of the difference, so that small ones show beside large ones.
    Raises `UnsupportedError` where there is no position to draw.
    """
    alt = altair_module()
    if not difference.size or not axes:
        raise UnsupportedError("the shapes differ, so there is no difference to draw.")
    finite = np.nan_to_num(difference, posinf=_largest(difference), neginf=0.0)
    if finite.ndim == 1:
        small = _shrunk(finite, 0)
        every = ceil(len(finite) / len(small))
        rows = [{"at": i * every, "off": float(v)} for i, v in enumerate(small)]
        return (
            alt.Chart(alt.Data(values=rows), title=title)
            .mark_line(color=SERIES[0], interpolate="step-after")
            .encode(
                x=alt.X("at:Q", title=f"{axes[0]}, output positions"),
                y=alt.Y("off:Q", title="difference"),
            )
            .properties(width=2 * _SIDE, height=_SIDE // 2)
        )
    flat = finite.max(axis=tuple(range(finite.ndim - 2)))
    height, width = flat.shape
    picture = np.sqrt(_shrunk(_shrunk(flat, 0), 1))
    down, across = (max(side / max(height, width) * _SIDE, 24) for side in (height, width))
    middle = {"a": height / 2 - 0.5, "c": width / 2 - 0.5, "url": data_url(heat(picture))}

    def axis(kind: Any, name: str, index: int, length: int) -> Any:
        scale = alt.Scale(
            domain=[-0.5, length - 0.5], reverse=kind is alt.Y, nice=False, zero=False
        )
        shown = alt.Axis(format="d", tickMinStep=1, grid=False)
        return kind(f"{name}:Q", title=f"{axes[index]}, output positions", scale=scale, axis=shown)

    return (
        alt.Chart(alt.Data(values=[middle]), title=title)
        .mark_image(width=across, height=down, aspect=False, smooth=False)
        .encode(y=axis(alt.Y, "a", -2, height), x=axis(alt.X, "c", -1, width), url="url:N")
        .properties(width=across, height=down)
    )


def _largest(values: NDArray[Any]) -> float:
    return float(np.max(values[np.isfinite(values)], initial=0)) or 1.0


def _shrunk(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """At most 512 along an axis, each the largest of those that it stands for."""
    every = ceil(values.shape[axis] / _MOST)
    starts = np.arange(0, values.shape[axis], every)
    result: NDArray[Any] = np.maximum.reduceat(values, starts, axis=axis)
    return result
