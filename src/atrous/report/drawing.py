"""A footprint drawn with characters: exact where it fits, else as the share that is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import ceil, log1p
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.analysis import Footprint
from atrous.report.lines import Line, Look, Span, line
from atrous.report.units import share_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ASCII_HALVES", "BRAILLE_DOTS", "HALVES", "drawing"]

HALVES = " ▀▄█"
"""One character for two positions, one above the other: bit 0 is the upper one, bit 1 the lower."""

ASCII_HALVES = " '.:"
"""The same without Unicode."""

BRAILLE_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille character, by row and column."""

_SHADES = " ░▒▓█"
_ASCII_SHADES = " .+*#"
# From few paths to many; readable on black and on white.
_RAMP = ("#3f5fa8", "#3a7fb5", "#2f9ea6", "#3fae7f", "#7fb04a", "#c9a227", "#f08030")
_MOST_PLANES = 3


@dataclass(frozen=True, slots=True)
class _Picture:
    """Rows of spans, all equally wide, and how to read them."""

    rows: list[Line]
    width: int
    key: str


def drawing(footprint: Footprint, look: Look) -> list[Line]:
    """The footprint in words and as a picture, no larger than `look` where that can be."""
    out = _words(footprint)
    box = footprint.box
    if not box.size or not box.ndim:
        return out
    if box.ndim == 1:
        return [*out, *_framed(_strip(box, footprint.origin[0], look), look)]
    for title, plane in _planes(footprint):
        if title:
            out.append(line(title))
        out.extend(_framed(_picture(plane, look), look))
    return out


def _words(footprint: Footprint) -> list[Line]:
    at = ", ".join(map(str, footprint.at))
    if not footprint.taps:
        return [line(f"output ({at}) reads no position of the input.")]
    spans = ", ".join(
        f"{axis} {low} to {low + size - 1}"
        for axis, low, size in zip(
            footprint.axes, footprint.origin, footprint.box.shape, strict=True
        )
    )
    text = f"output ({at}) reads {spans}: {footprint.taps:,} of {footprint.box.size:,} positions"
    text += f" ({share_text(footprint.coverage)})"
    counts = footprint.box[footprint.box > 0]
    low, high = counts.min(), counts.max()
    paths = f"{_count(low)} to {_count(high)}" if low != high else _count(low)
    return [line(text), line(Span(f"paths to each position read: {paths}", "dim"))]


def _count(value: Any) -> str:
    return f"{int(value):,}" if value < 1e6 else f"{float(value):.2e}"


def _planes(footprint: Footprint) -> Iterator[tuple[str, NDArray[Any]]]:
    """The box, or beyond two axes a slice for each pair of them through a position that is read."""
    box = footprint.box
    if box.ndim == 2:
        yield f"{footprint.axes[0]} downwards, {footprint.axes[1]} across", box
        return
    middle = [(size - 1) / 2 for size in box.shape]
    read = np.argwhere(box > 0)
    center = read[np.abs(read - middle).sum(axis=1).argmin()]
    names, ranks = footprint.axes, range(box.ndim)
    for pair in list(combinations(ranks, 2))[:_MOST_PLANES]:
        others = [axis for axis in ranks if axis not in pair]
        index = tuple(slice(None) if axis in pair else int(center[axis]) for axis in ranks)
        fixed = ", ".join(
            f"{names[axis]} {footprint.origin[axis] + int(center[axis])}" for axis in others
        )
        title = f"slice at {fixed}: {names[pair[0]]} downwards, {names[pair[1]]} across"
        yield title, box[index]


def _picture(plane: NDArray[Any], look: Look) -> _Picture:
    rows, columns = plane.shape
    width, height = max(look.width - 2, 1), max(look.height, 2)
    if columns <= width and ceil(rows / 2) <= height:
        key = "each character is two positions, one above the other"
        return _Picture(_halves(plane, look), columns, key)
    if look.unicode and ceil(columns / 2) <= width and ceil(rows / 4) <= height:
        return _Picture(_braille(plane, look), ceil(columns / 2), "each dot is one position")
    scale = max(ceil(columns / width), ceil(rows / (2 * height)))
    if look.colour:
        shrunk = _blocks(plane, scale, scale).mean(axis=(1, 3))
        key = f"scale 1:{scale}; each half of a character is {scale}x{scale} positions"
        return _Picture(_halves(shrunk, look), shrunk.shape[1], key)
    share = _shares(plane, 2 * scale, scale)
    if plane.all():
        # With no hole to show, show where the paths concentrate.
        paths = _blocks(plane, 2 * scale, scale).max(axis=(1, 3))
        share = np.log1p(paths.astype(float)) / log1p(float(plane.max()))
        key = (
            f"scale 1:{scale}; each character is {scale} positions wide and {2 * scale} tall; "
            "all are read, denser where more paths lead"
        )
        return _Picture([line(_shades(row, look)) for row in share], share.shape[1], key)
    key = (
        f"scale 1:{scale}; each character is {scale} positions wide and {2 * scale} tall, "
        "denser where more are read"
    )
    return _Picture([line(_shades(row, look)) for row in share], share.shape[1], key)


def _strip(counts: NDArray[Any], origin: int, look: Look) -> _Picture:
    """One axis, laid out in rows like a text."""
    label = len(str(origin + counts.size)) + 1
    width = max(look.width - 2 - label, 10)
    width = width // 10 * 10
    scale = max(ceil(counts.size / (width * max(look.height // 2, 1))), 1)
    width = min(width, ceil(counts.size / scale))
    rows: list[Line] = []
    if scale == 1:
        read, unread = ("█", "·") if look.unicode else ("#", ".")
        key = f"each {read} is a position read, each {unread} one that is not"
        cells = [
            Span(read, _shade(count, counts.max()) if look.colour else "")
            if count
            else Span(unread, "dim")
            for count in counts
        ]
    else:
        share = _shares(counts[np.newaxis], 1, scale)[0]
        key = f"scale 1:{scale}; each character is {scale} positions, denser where more are read"
        cells = [Span(_shades([value], look)) for value in share]
    for start in range(0, len(cells), width):
        row = cells[start : start + width]
        first = Span(str(origin + start * scale).rjust(label - 1) + " ", "dim")
        rows.append((first, *row, Span(" " * (width - len(row)))))
    return _Picture(rows, label + width, key)


def _framed(picture: _Picture, look: Look) -> list[Line]:
    corners = "┌┐└┘│" if look.unicode else "++++|"
    rule = look.dash * picture.width
    side = Span(corners[4], "dim")
    return [
        line(Span(corners[0] + rule + corners[1], "dim")),
        *((side, *row, side) for row in picture.rows),
        line(Span(corners[2] + rule + corners[3], "dim")),
        line(Span(picture.key, "dim")),
    ]


def _halves(plane: NDArray[Any], look: Look) -> list[Line]:
    letters = HALVES if look.unicode else ASCII_HALVES
    padded = np.pad(plane, ((0, plane.shape[0] % 2), (0, 0)))
    upper, lower = padded[::2], padded[1::2]
    if not look.colour:
        codes = (upper > 0) + 2 * (lower > 0)
        return [line("".join(letters[code] for code in row)) for row in codes]
    most = plane.max()
    return [
        tuple(_pair(above, below, most, letters) for above, below in zip(*pair, strict=True))
        for pair in zip(upper, lower, strict=True)
    ]


def _pair(above: Any, below: Any, most: Any, letters: str) -> Span:
    if above and below and letters == HALVES:
        return Span(letters[1], f"{_shade(above, most)} on {_shade(below, most)}")
    if not above and not below:
        return Span(" ")
    return Span(letters[bool(above) + 2 * bool(below)], _shade(above or below, most))


def _braille(plane: NDArray[Any], look: Look) -> list[Line]:
    blocks = _blocks(plane, 4, 2)
    dots = np.array(BRAILLE_DOTS)
    codes = ((blocks > 0).transpose(0, 2, 1, 3) * dots).sum(axis=(2, 3))
    if not look.colour:
        return [line("".join(chr(0x2800 + int(code)) for code in row)) for row in codes]
    peaks, most = blocks.max(axis=(1, 3)), plane.max()
    return [
        tuple(
            Span(chr(0x2800 + int(code)), _shade(peak, most) if peak else "")
            for code, peak in zip(row, values, strict=True)
        )
        for row, values in zip(codes, peaks, strict=True)
    ]


def _shades(shares: Any, look: Look) -> str:
    letters = _SHADES if look.unicode else _ASCII_SHADES
    # The first and the last letter say none and all, exactly.
    return "".join(
        letters[0] if share == 0 else letters[4] if share == 1 else letters[1 + int(share * 3)]
        for share in shares
    )


def _shade(count: Any, most: Any) -> str:
    # Path counts spread over many powers of ten.
    place = log1p(float(count)) / log1p(float(most)) if most else 0.0
    return _RAMP[min(int(place * len(_RAMP)), len(_RAMP) - 1)]


def _blocks(plane: NDArray[Any], down: int, across: int) -> NDArray[Any]:
    """The plane cut into blocks, with zeros past its ends: (rows, down, columns, across)."""
    rows, columns = (ceil(plane.shape[0] / down), ceil(plane.shape[1] / across))
    padded = np.pad(
        plane, ((0, rows * down - plane.shape[0]), (0, columns * across - plane.shape[1]))
    )
    return padded.reshape(rows, down, columns, across)


def _shares(plane: NDArray[Any], down: int, across: int) -> NDArray[Any]:
    """Of the positions that each block has, the share that is read."""
    read = (_blocks(plane, down, across) > 0).sum(axis=(1, 3))
    share: NDArray[Any] = read / _blocks(np.ones_like(plane), down, across).sum(axis=(1, 3))
    return share
