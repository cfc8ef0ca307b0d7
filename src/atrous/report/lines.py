"""Styled lines and the tables made of them: one layout for plain text, terminals and HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from atrous.draw.labels import labels
from atrous.draw.units import shortened
from atrous.errors import clean
from atrous.shown import ELLIPSES

__all__ = [
    "Column",
    "Line",
    "Look",
    "Span",
    "folded",
    "line",
    "pieces",
    "plain",
    "table",
    "text_of",
    "wrapped",
    "wrapped_text",
]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text in one style, written as Rich writes styles; the text is printable."""

    text: str
    style: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What can be shown: columns, rows, characters beyond ASCII, colour.

    `spelling` writes arguments in messages as whoever reads them gives them.
    """

    width: int = 80
    height: int = 40
    unicode: bool = True
    colour: bool = False
    spelling: Callable[[str], str] = str

    @property
    def ellipsis(self) -> str:
        """What stands for letters left out."""
        return ELLIPSES[0] if self.unicode else ELLIPSES[1]

    @property
    def dash(self) -> str:
        """What horizontal rules are made of."""
        return "─" if self.unicode else "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, its cells, and where they stand.

    A column with `shrink` gives way, down to that width: its cells lose their middle, and are still
    told apart, from the names in `among` as well.
    """

    title: str
    cells: tuple[Span, ...]
    right: bool = True
    shrink: int = 0
    among: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """The width that the column wants."""
        return max([len(self.title), *(len(cell.text) for cell in self.cells)])

    @property
    def least(self) -> int:
        """The width that the column cannot go below."""
        return min(self.width, max(self.shrink, len(self.title))) if self.shrink else self.width

    def within(self, width: int, look: Look) -> Column:
        """The column in that width, or in the least beyond it in which its cells are told apart."""
        if self.width <= width:
            return self
        texts = labels([cell.text for cell in self.cells], width, look.ellipsis, self.among)
        cells = tuple(Span(t, cell.style) for t, cell in zip(texts, self.cells, strict=True))
        return replace(self, cells=cells)


GAP = 2


def line(*parts: str | Span) -> Line:
    """A line of spans; bare text has no style."""
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


def plain(text: Line) -> str:
    """The letters of a line."""
    return "".join(span.text for span in text)


def text_of(lines: Iterable[Line]) -> str:
    """Plain text of lines, without blanks at their ends."""
    return "\n".join(plain(text).rstrip() for text in lines)


def table(columns: Sequence[Column], look: Look) -> list[Line]:
    """Titles, a rule and rows, every cell in its column.

    Columns that shrink do so together until the table fits; one that still does not fit stands
    over the edge rather than lose a number, or what tells one name from another.
    """
    widths = [column.width for column in columns]
    over = sum(widths) + GAP * (len(columns) - 1) - look.width
    for index, column in enumerate(columns):
        if over > 0 and column.shrink:
            # Names that would not be told apart in the least width keep more.
            taken = min(over, widths[index] - column.within(column.least, look).width)
            widths[index] -= taken
            over -= taken
    columns = [column.within(width, look) for column, width in zip(columns, widths, strict=True)]
    widths = [
        max(column.width, width) if column.shrink else width
        for column, width in zip(columns, widths, strict=True)
    ]
    out = [_row([Span(column.title, "bold") for column in columns], columns, widths)]
    out.append((Span(look.dash * (sum(widths) + GAP * (len(columns) - 1)), "dim"),))
    rows = zip(*(column.cells for column in columns), strict=True)
    out.extend(_row(cells, columns, widths) for cells in rows)
    return out


def folded(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns in `width`: those that give way have their words in as many lines as it takes."""
    over = sum(column.width + GAP for column in columns) - GAP - width
    room = {}
    for column in reversed(columns):
        taken = min(max(over, 0), column.width - column.least)
        over -= taken
        if taken:
            room[column.title] = column.width - taken
    rows = [
        [pieces(column.cells[row], room.get(column.title)) for column in columns]
        for row in range(len(columns[0].cells))
    ]
    tall = [max(map(len, row)) for row in rows]
    return [
        Column(
            column.title,
            tuple(
                row[place][at] if at < len(row[place]) else Span("")
                for row, height in zip(rows, tall, strict=True)
                for at in range(height)
            ),
            column.right,
        )
        for place, column in enumerate(columns)
    ]


def pieces(cell: Span, room: int | None) -> list[Span]:
    """A cell in lines of at most `room`; a word that is longer goes on in the next."""
    if room is None or len(cell.text) <= room:
        return [cell]
    lines = [""]
    for word in cell.text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if len(joined) <= room:
            lines[-1] = joined
            continue
        lines += [word[at : at + room] for at in range(0, len(word), room)] or [word]
    return [Span(text, cell.style) for text in lines if text]


def _row(cells: Sequence[Span], columns: Sequence[Column], widths: Sequence[int]) -> Line:
    out: list[Span] = []
    for index, (cell, column, width) in enumerate(zip(cells, columns, widths, strict=True)):
        text = cell.text
        out.append(Span((text.rjust if column.right else text.ljust)(width), cell.style))
        if index + 1 < len(columns):
            out.append(Span(" " * GAP))
    return tuple(out)


def wrapped(label: Span, text: str, indent: int, look: Look, style: str = "") -> list[Line]:
    """`label`, and `text` beside it from column `indent` on, in as many lines as it takes."""
    rows = wrapped_text(text, max(look.width - indent, 20), look)
    first = (Span(label.text.ljust(indent), label.style), Span(rows[0], style))
    return [first, *((Span(" " * indent), Span(row, style)) for row in rows[1:])]


_UNIT = re.compile(r"(?:[kMGTPE]|[kMGTPE]?(?:MAC|FLOP)s?|[kMGTPE]?B|[KMGTPE]iB|ms)[;,.:)]*")


def _unbroken(text: str) -> list[str]:
    """The words of a text; a number and its unit are one."""
    found: list[str] = []
    for word in text.split(" "):
        if found and found[-1][-1:].isdigit() and _UNIT.fullmatch(word):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def wrapped_text(text: str, room: int, look: Look) -> list[str]:
    """Words in lines of at most `room`; a word that is longer loses its middle."""
    rows: list[str] = []
    current = ""
    for word in _unbroken(clean(look.spelling(text))):
        joined = f"{current} {word}" if current else word
        if len(joined) > room and current:
            rows.append(current)
            joined = word
        current = shortened(joined, room, look.ellipsis)
    rows.append(current)
    return rows
