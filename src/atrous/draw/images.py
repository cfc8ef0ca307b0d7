"""Footprints as images: a pixel is a position of the input, brightness the number of paths."""

from __future__ import annotations

import io
import math
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atrous.analysis.effective import Effective
from atrous.draw.colours import ramp
from atrous.draw.needs import drawing_needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atrous.analysis import Footprint

__all__ = ["SHADES", "Cut", "Ground", "cuts", "data_url", "levels", "png", "svg_bundle"]

Ground = Literal["solid", "shade", "ink"]
SHADES = 32


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Two axes of a footprint: path counts inside the box, and where the box lies.

    A footprint of one axis is one row. Of three axes there are three cuts, each through the middle
    of the third one, `through` says where.
    """

    axes: tuple[str, str]
    counts: NDArray[Any]
    origin: tuple[int, int]
    shape: tuple[int, int]
    effective: tuple[int, int, int, int]
    """Top, left, height and width of the box of 95% of paths, in positions of the input."""
    through: tuple[str, int] | None = None

    @property
    def holes(self) -> int:
        """Positions of the box that are not read."""
        return int(self.counts.size - np.count_nonzero(self.counts))


def cuts(footprint: Footprint, middle: Effective | None = None) -> list[Cut]:
    """A footprint as pictures of two axes; none where nothing is read.

    `middle` is its box of 95%, where it is known already.

    >>> import atrous
    >>> [cut] = cuts(atrous.inspect("stack:k3d2", (1, 1, 9, 9)).footprint())
    >>> cut.counts.shape, cut.origin, cut.holes
    ((5, 5), (2, 2), 16)
    """
    box, rank = footprint.box, footprint.box.ndim
    if not box.size or not rank:
        return []
    middle = middle or footprint.effective()
    if rank == 1:
        return [_cut(footprint, middle, (0,), None)]
    if rank == 2:
        return [_cut(footprint, middle, (0, 1), None)]
    return [
        _cut(footprint, middle, pair, rest)
        for pair, rest in (((1, 2), 0), ((0, 2), 1), ((0, 1), 2))
    ]


def _cut(
    footprint: Footprint, middle: Effective, kept: tuple[int, ...], through: int | None
) -> Cut:
    counts, place = footprint.box, None
    if through is not None:
        at = middle.origin[through] - footprint.origin[through] + middle.size[through] // 2
        counts = counts.take(at, axis=through)
        place = (footprint.axes[through], footprint.origin[through] + at)
    if len(kept) == 1:
        # One axis lies across; the row above it is no axis.
        (axis,) = kept
        across, row = footprint.axes[axis], ""
        return Cut(
            (row, across),
            counts[None, :],
            (0, footprint.origin[axis]),
            (1, footprint.shape[axis]),
            (0, middle.origin[axis], 1, middle.size[axis]),
        )
    down, across_axis = kept
    return Cut(
        (footprint.axes[down], footprint.axes[across_axis]),
        counts,
        (footprint.origin[down], footprint.origin[across_axis]),
        (footprint.shape[down], footprint.shape[across_axis]),
        (
            middle.origin[down],
            middle.origin[across_axis],
            middle.size[down],
            middle.size[across_axis],
        ),
        place,
    )


def levels(counts: NDArray[Any], shades: int = SHADES) -> NDArray[np.uint8]:
    """0 where nothing is read, else 1 to `shades`, by the logarithm of the number of paths.

    >>> import numpy as np
    >>> levels(np.array([0, 1, 10, 100]), 3).tolist()
    [0, 1, 2, 3]
    """
    out = np.zeros(counts.shape, dtype=np.uint8)
    read = counts > 0
    if not read.any():
        return out
    if counts.dtype == object:
        # Whole numbers may lie beyond float64: their logarithms do not.
        logs = np.array([math.log(count) for count in counts[read].tolist()])
    else:
        logs = np.log(counts[read].astype(np.float64))
    low, high = logs.min(), logs.max()
    share = (logs - low) / (high - low) if high > low else np.ones_like(logs)
    out[read] = 1 + np.round(share * (shades - 1)).astype(np.uint8)
    return out


def png(counts: NDArray[Any], ground: Ground = "solid", shades: int = SHADES) -> bytes:
    """A PNG file with a pixel for each position; what is not read stays dark.

    `solid` colours positions by their paths on a dark plate; `shade` lies over an image: black, the
    thicker the fewer paths, and thickest where nothing is read. `ink` is for pages, which colour it
    for light and for dark: grey from 0 (few paths) to 255 (many), and clear where nothing is read.
    """
    with drawing_needs("drawing a footprint"):
        from PIL import Image
    image = Image.fromarray(levels(counts, shades), mode="P")
    extra: dict[str, Any] = {}
    if ground == "solid":
        colours = [(24, 24, 27), *ramp(shades)]
        image.putpalette([part for colour in colours for part in colour])
    elif ground == "ink":
        greys = [0, *(round(255 * step / max(shades - 1, 1)) for step in range(shades))]
        image.putpalette([part for grey in greys for part in (grey,) * 3])
        extra = {"transparency": 0}
    else:
        image.putpalette([0] * 3 * (shades + 1))
        dark = [round(130 * (1 - step / (shades - 1))) for step in range(shades)]
        extra = {"transparency": bytes([190, *dark])}
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **extra)
    return file.getvalue()


def data_url(content: bytes, kind: str = "image/png") -> str:
    """The content as an address that needs no file."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def svg_bundle(svg: str, words: str, text: str) -> dict[str, str]:
    """A picture for notebooks, with words for who does not see it and text for terminals.

    As an image in HTML it also shows in notebooks that are not trusted, where JupyterLab draws no
    SVG by itself; converters to paper take the SVG.
    """
    url = data_url(svg.encode(), "image/svg+xml")
    image = f'<img alt="{escape(words)}" style="max-width:100%;height:auto" src="{url}">'
    return {"text/html": image, "image/svg+xml": svg, "text/plain": text}
