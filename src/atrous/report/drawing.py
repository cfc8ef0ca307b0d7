"""A footprint drawn with characters: exact where it fits, else as the share that is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import ceil, log
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.analysis import Footprint
from atrous.analysis.scale import in_units
from atrous.draw.units import share_text
from atrous.report.lines import Line, Look, Span, line, wrapped_text
from atrous.shown import how_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ASCII_HALVES",
    "ASCII_SQUARES",
    "BRAILLE_DOTS",
    "HALVES",
    "SQUARES",
    "drawing",
    "words",
]

SQUARES = ("██", "··")
"""A position that is read, and one that is not."""

ASCII_SQUARES = ("##", "..")
"""The same without Unicode."""

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
_LARGEST_SQUARES = 24


@dataclass(frozen=True, slots=True)
class _Picture:
    """Rows of spans, all equally wide, and how to read them."""

    rows: list[Line]
    width: int
    key: str


def drawing(footprint: Footprint, look: Look) -> list[Line]:
    """The footprint in words and as a picture, no larger than `look` where that can be."""
    out = _wrapped_spans(_what_is_read(footprint), look)
    box = footprint.box
    if not box.size or not box.ndim:
        return out
    if box.ndim == 1:
        return [*out, *_framed(_strip(box, footprint.origin[0], look), look)]
    pictures = [(title, _drawn(plane, look)) for title, plane in _planes(footprint)]
    for index, (title, picture) in enumerate(pictures):
        out.append(line(title))
        # Slices that are read alike are explained once.
        last = index + 1 == len(pictures) or pictures[index + 1][1].key != picture.key
        out.extend(_framed(picture, look, keyed=last))
    return out


def words(footprint: Footprint) -> list[str]:
    """What is read, in sentences: where, how much of it, and over how many paths."""
    return [span.text for span in _what_is_read(footprint)]


def _wrapped_spans(texts: list[Span], look: Look) -> list[Line]:
    return [
        line(Span(row, span.style))
        for span in texts
        for row in wrapped_text(span.text, look.width, look)
    ]


def _what_is_read(footprint: Footprint) -> list[Span]:
    at = f"output ({', '.join(map(str, footprint.at))})" if footprint.at else "the output"
    if not footprint.taps:
        return [Span(f"{at} reads no position of the input")]
    spans = ", ".join(
        f"{axis} {low} to {low + size - 1}"
        for axis, low, size in zip(
            footprint.axes, footprint.origin, footprint.box.shape, strict=True
        )
    )
    sizes = dict(zip(footprint.axes, footprint.box.shape, strict=True))
    units = in_units(sizes, footprint.scales)
    spans += f" ({units})" if units else ""
    text = f"{at} reads {spans}: {footprint.taps:,} of {how_many(footprint.box.size, 'position')}"
    text += f" ({share_text(footprint.coverage)})"
    counts = footprint.box[footprint.box > 0]
    low, high = counts.min(), counts.max()
    paths = f"{_count(low)} to {_count(high)}" if low != high else _count(low)
    return [Span(text), Span(f"paths to each position read: {paths}", "dim")]


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


def _drawn(plane: NDArray[Any], look: Look) -> _Picture:
    rows, columns = plane.shape
    width, height = max(look.width - 2, 1), max(look.height, 2)
    if 2 * columns <= width and rows <= min(height, _LARGEST_SQUARES):
        read, unread = SQUARES if look.unicode else ASCII_SQUARES
        key = f"each {read} is a position read, each {unread} one that is not"
        return _Picture(_squares(plane, look), 2 * columns, key)
    if columns <= width and ceil(rows / 2) <= height:
        key = "each character is two positions, one above the other"
        return _Picture(_halves(plane, look), columns, key)
    if look.unicode and ceil(columns / 2) <= width and ceil(rows / 4) <= height:
        return _Picture(_braille(plane, look), ceil(columns / 2), "each dot is one position")
    scale = max(ceil(columns / width), ceil(rows / (2 * height)))
    if look.colour:
        shrunk = _blocks(plane, scale, scale).mean(axis=(1, 3))
        key = f"scale 1:{scale}; each half of a character is {scale}x{how_many(scale, 'position')}"
        return _Picture(_halves(shrunk, look), shrunk.shape[1], key)
    wide = how_many(scale, "position")
    size = f"scale 1:{scale}; each character is {wide} wide and {2 * scale} tall"
    if plane.all():
        # With no hole to show, show where the paths concentrate.
        peaks = _blocks(plane, 2 * scale, scale).max(axis=(1, 3))
        bright = _Brightness.of(plane)
        share = np.clip(np.vectorize(bright.place, otypes=[float])(peaks), 1e-9, 1)
        key = f"{size}; all are read, denser where more paths lead"
    else:
        share = _shares(plane, 2 * scale, scale)
        key = f"{size}, denser where more are read"
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
        read, unread = (pair[0] for pair in (SQUARES if look.unicode else ASCII_SQUARES))
        key = f"each {read} is a position read, each {unread} one that is not"
        cells = _count_cells(counts, _Brightness.of(counts), read, unread, look)
    else:
        share = _shares(counts[np.newaxis], 1, scale)[0]
        key = (
            f"scale 1:{scale}; each character is {how_many(scale, 'position')}, denser "
            "where more are read"
        )
        cells = [Span(_shades([value], look)) for value in share]
    for start in range(0, len(cells), width):
        row = cells[start : start + width]
        first = Span(str(origin + start * scale).rjust(label - 1) + " ", "dim")
        rows.append((first, *row, Span(" " * (width - len(row)))))
    return _Picture(rows, label + width, key)


def _framed(picture: _Picture, look: Look, *, keyed: bool = True) -> list[Line]:
    corners = "┌┐└┘│" if look.unicode else "++++|"
    rule = look.dash * picture.width
    side = Span(corners[4], "dim")
    return [
        line(Span(corners[0] + rule + corners[1], "dim")),
        *((side, *row, side) for row in picture.rows),
        line(Span(corners[2] + rule + corners[3], "dim")),
        *(_wrapped_spans([Span(picture.key, "dim")], look) if keyed else ()),
    ]


def _squares(plane: NDArray[Any], look: Look) -> list[Line]:
    read, unread = SQUARES if look.unicode else ASCII_SQUARES
    bright = _Brightness.of(plane)
    return [tuple(_count_cells(row, bright, read, unread, look)) for row in plane]


def _count_cells(
    counts: NDArray[Any], bright: _Brightness, read: str, unread: str, look: Look
) -> list[Span]:
    return [
        Span(read, bright.style(count) if look.colour else "") if count else Span(unread, "dim")
        for count in counts
    ]


def _halves(plane: NDArray[Any], look: Look) -> list[Line]:
    letters = HALVES if look.unicode else ASCII_HALVES
    padded = np.pad(plane, ((0, plane.shape[0] % 2), (0, 0)))
    upper, lower = padded[::2], padded[1::2]
    if not look.colour:
        codes = (upper > 0) + 2 * (lower > 0)
        return [line("".join(letters[code] for code in row)) for row in codes]
    bright = _Brightness.of(plane)
    return [
        tuple(_pair(above, below, bright, letters) for above, below in zip(*pair, strict=True))
        for pair in zip(upper, lower, strict=True)
    ]


def _pair(above: Any, below: Any, bright: _Brightness, letters: str) -> Span:
    if not above and not below:
        return Span(" ")
    upper, lower = bright.style(above or below), bright.style(below or above)
    if upper != lower and letters == HALVES:
        return Span(letters[1], f"{upper} on {lower}")
    return Span(letters[bool(above) + 2 * bool(below)], upper)


def _braille(plane: NDArray[Any], look: Look) -> list[Line]:
    blocks = _blocks(plane, 4, 2)
    dots = np.array(BRAILLE_DOTS)
    codes = ((blocks > 0).transpose(0, 2, 1, 3) * dots).sum(axis=(2, 3))
    if not look.colour:
        return [line("".join(chr(0x2800 + int(code)) for code in row)) for row in codes]
    peaks, bright = blocks.max(axis=(1, 3)), _Brightness.of(plane)
    return [
        tuple(
            Span(chr(0x2800 + int(code)), bright.style(peak) if peak else "")
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


@dataclass(frozen=True, slots=True)
class _Brightness:
    """Path counts from the fewest to the most, by their logarithm: they span powers of ten."""

    low: float
    high: float

    @classmethod
    def of(cls, counts: NDArray[Any]) -> _Brightness:
        read = counts[counts > 0]
        return cls(log(read.min()), log(read.max())) if read.size else cls(0.0, 0.0)

    def place(self, count: Any) -> float:
        """Where a count stands, from 0 to 1."""
        if self.high <= self.low:
            return 1.0
        return min(max((log(count) - self.low) / (self.high - self.low), 0.0), 1.0)

    def style(self, count: Any) -> str:
        """The colour of a count."""
        return _RAMP[min(int(self.place(count) * len(_RAMP)), len(_RAMP) - 1)]


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
