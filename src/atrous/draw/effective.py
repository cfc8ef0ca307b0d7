"""An effective field as a chart: the density, the whole field, and the box that holds most."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.analysis.effective_field import EffectiveField
from atrous.analysis.scale import in_units
from atrous.draw.charts import altair_module
from atrous.draw.colours import MARK, SERIES, ramp
from atrous.draw.images import data_url
from atrous.draw.needs import drawing_needs
from atrous.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["effective_chart", "heat"]

_SIDE = 360
_SHADES = 128

Rectangle = tuple[int, int, int, int]
"""Top, left, height and width, in positions of the input."""


def effective_chart(found: EffectiveField) -> Any:
    """The density in positions of the input, with frames around the field and the box.

    Brightness is in proportion to the density. One axis is a curve; of three axes there is a
    picture for each two, the third summed up. Raises `UnsupportedError` where nothing is read.
    """
    alt = altair_module()
    if not found.density.any() or not found.axes:
        raise UnsupportedError("the output depends on no position, so there is nothing to draw.")
    rank = len(found.axes)
    if rank == 1:
        drawn = [_curve(alt, found)]
    else:
        drawn = [_heat_map(alt, found, pair) for pair in combinations(range(rank), 2)]
    box = found.box
    size, whole = ("x".join(map(str, s)) for s in (box.size, found.size))
    title = alt.TitleParams(
        f"{found.layer}: {box.held:.0%} within {size} of {whole} positions",
        subtitle=f"solid frame: that box{_size_said(found, box.size)}; "
        f"dashed frame: the whole field{_size_said(found, found.size)}",
    )
    return alt.hconcat(*drawn, title=title)


def _size_said(found: EffectiveField, size: Sequence[int]) -> str:
    """A size in the units of the axes that have a scale."""
    text = in_units(dict(zip(found.axes, size, strict=True)), found.scales)
    return f" ({text})" if text else ""


def heat(density: NDArray[Any]) -> bytes:
    """A PNG file with a pixel for each position, dark where it is 0, bright where it is largest."""
    with drawing_needs("drawing an effective field"):
        from PIL import Image
    most = float(density.max()) or 1.0
    image = Image.fromarray(np.round(density / most * (_SHADES - 1)).astype(np.uint8), mode="P")
    image.putpalette([part for colour in ramp(_SHADES) for part in colour])
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _curve(alt: Any, found: EffectiveField) -> Any:
    (axis,), (start,), (length,) = found.axes, found.origin, found.size
    title = f"{axis}, input positions"
    # Position 3 covers 2.5 to 3.5; the last one needs its other end.
    values = [*found.inside.tolist(), found.inside[-1].item()]
    rows = [{"at": start + i - 0.5, "density": density} for i, density in enumerate(values)]
    curve = (
        alt.Chart(alt.Data(values=rows))
        .mark_area(interpolate="step-after", color=SERIES[0], opacity=0.8)
        .encode(
            x=alt.X("at:Q", title=title, axis=alt.Axis(format="d", grid=False)),
            y=alt.Y("density:Q", title="share of the gradient"),
        )
    )
    (low,), (size,) = found.box.origin, found.box.size
    frames = [(low, low + size, [1, 0]), (start, start + length, [4, 3])]
    ends = [
        alt.Chart(alt.Data(values=[{"at": a - 0.5}, {"at": b - 0.5}]))
        .mark_rule(color=MARK, strokeDash=dash)
        .encode(x="at:Q")
        for a, b, dash in frames
    ]
    return alt.layer(curve, *ends).properties(width=2 * _SIDE, height=_SIDE // 2)


def _heat_map(alt: Any, found: EffectiveField, pair: tuple[int, int]) -> Any:
    rest = tuple(i for i in range(len(found.axes)) if i not in pair)
    seen = found.inside.sum(axis=rest)
    field = _rectangle(found.origin, found.size, pair)
    top, left, height, width = field
    pad = max(1, round(0.04 * max(height, width)))
    view = (top - pad, left - pad, height + 2 * pad, width + 2 * pad)
    longest = max(view[2], view[3])
    down, across = (max(side / longest * _SIDE, 24) for side in view[2:])

    def axis(kind: Any, name: str, index: int, start: int, length: int) -> Any:
        # Positions are drawn around whole numbers: position 3 covers 2.5 to 3.5.
        scale = alt.Scale(
            domain=[start - 0.5, start + length - 0.5],
            reverse=kind is alt.Y,
            nice=False,
            zero=False,
        )
        shown = alt.Axis(format="d", tickMinStep=1, grid=False)
        title = f"{found.axes[pair[index]]}, input positions"
        return kind(f"{name}:Q", title=title, scale=scale, axis=shown)

    y, x = axis(alt.Y, "a", 0, view[0], view[2]), axis(alt.X, "c", 1, view[1], view[3])
    middle = {
        "a": top + height / 2 - 0.5,
        "c": left + width / 2 - 0.5,
        "url": data_url(heat(seen)),
    }
    ground = (
        alt.Chart(alt.Data(values=[middle]))
        .mark_image(
            width=width / view[3] * across,
            height=height / view[2] * down,
            aspect=False,
            smooth=False,
        )
        .encode(y=y, x=x, url="url:N")
    )
    frames = [(field, [4, 3]), (_rectangle(found.box.origin, found.box.size, pair), [1, 0])]
    outlines = [
        alt.Chart(alt.Data(values=[_corners(frame)]))
        .mark_rect(fillOpacity=0, stroke=MARK, strokeWidth=1.5, strokeDash=dash)
        .encode(y=y, y2="b:Q", x=x, x2="d:Q")
        for frame, dash in frames
    ]
    return alt.layer(ground, *outlines).properties(width=across, height=down)


def _rectangle(origin: Any, size: Any, pair: tuple[int, int]) -> Rectangle:
    return origin[pair[0]], origin[pair[1]], size[pair[0]], size[pair[1]]


def _corners(frame: Rectangle) -> dict[str, float]:
    top, left, height, width = frame
    return {
        "a": top - 0.5,
        "b": top + height - 0.5,
        "c": left - 0.5,
        "d": left + width - 0.5,
    }
