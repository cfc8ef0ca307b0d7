"""A lesson in words: what is said, whether it holds, what is exactly true, and what shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from atrous.draw.units import bytes_text, ms_text, quantity, share_text
from atrous.lessons import Lesson, Slide, Statement, Table
from atrous.lessons.record import Cell, Unit, Verdict
from atrous.report.lines import Column, Line, Look, Span, line, table, wrapped, wrapped_text
from atrous.report.view import LinesView
from atrous.shown import Shown, view

__all__ = [
    "LessonView",
    "LessonsView",
    "SlideView",
    "StatementView",
    "TableView",
    "TopicsView",
    "cell_text",
]

VERDICTS: dict[Verdict, tuple[str, str]] = {
    "true": ("true", "green"),
    "if": ("it depends", "yellow"),
    "false": ("not so", "red"),
    "untried": ("not tried", "dim"),
}
_INDENT = 12
_MOST_OUTPUTS = 6


def cell_text(value: Cell, unit: Unit = "") -> str:
    """A cell as a reader wants it.

    >>> cell_text(28_311_552, "MAC"), cell_text(0.25, "share"), cell_text(True), cell_text(31)
    ('28.3 MMAC', '25%', 'yes', '31')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if unit == "MAC":
        return quantity(int(value), "MAC")
    if unit == "bytes":
        return bytes_text(int(value))
    if unit == "share":
        return share_text(float(value))
    if unit == "ms":
        return ms_text(float(value))
    if unit == "times":
        return f"{float(value):.3g}"
    if isinstance(value, Fraction) or not isinstance(value, int):
        return f"{float(value):g}"
    return f"{value:,}" if value >= 10_000 else str(value)


@view.register(Table)
@dataclass(frozen=True, slots=True)
class TableView(LinesView):
    """The title, and the rows."""

    record: Table

    def lines(self, look: Look) -> list[Line]:
        columns = []
        for place, column in enumerate(self.record.columns):
            cells = [row[place] for row in self.record.rows]
            left = any(isinstance(cell, str) for cell in cells) and not place
            texts = tuple(Span(cell_text(cell, column.unit)) for cell in cells)
            columns.append(Column(column.title, texts, right=not left))
        return [line(Span(self.record.title, "dim")), *table(columns, look)]


@view.register(Slide)
@dataclass(frozen=True, slots=True)
class SlideView(LinesView):
    """One row an output: the positions of the input that it reads."""

    record: Slide

    def lines(self, look: Look) -> list[Line]:
        slide = self.record
        read, unread = ("●", "·") if look.unicode else ("#", ".")
        out = [line(Span(slide.title, "dim"))]
        for output in range(min(slide.outputs, _MOST_OUTPUTS)):
            held = set(slide.reads(output))
            spans: list[Span] = [Span(f"output {output}".ljust(_INDENT - 2))]
            spans += [
                Span(f" {read}", "yellow") if at in held else Span(f" {unread}", "dim")
                for at in range(slide.length)
            ]
            out.append(tuple(spans))
        more = slide.outputs - _MOST_OUTPUTS
        if more > 0:
            out.append(line(Span(f"and {more} more", "dim")))
        return out


@view.register(Statement)
@dataclass(frozen=True, slots=True)
class StatementView(LinesView):
    """What is said, the verdict, what is exactly true, and the evidence below."""

    record: Statement

    def lines(self, look: Look) -> list[Line]:
        one = self.record
        word, style = VERDICTS[one.verdict]
        out = wrapped(Span("said", "dim"), one.says, _INDENT, look, "bold")
        out += wrapped(Span(word, style), one.exactly, _INDENT, look)
        for record in one.evidence:
            out += [(), *_lines(record, look)]
        return out


@view.register(Lesson)
@dataclass(frozen=True, slots=True)
class LessonView(LinesView):
    """The title, the numbers tried, and each statement."""

    record: Lesson

    def lines(self, look: Look) -> list[Line]:
        n = self.record.numbers
        shape = ",".join(map(str, n.input))
        tried = (
            f"kernel {n.kernel}, stride {n.stride}, dilation {n.dilation}, depth {n.depth}, "
            f"channels {n.channels}, input {shape}"
        )
        rows = wrapped_text(f"tried with {tried}", look.width, look)
        out = [line(Span(self.record.title, "bold")), *(line(Span(row, "dim")) for row in rows)]
        for one in self.record.statements:
            out += [(), *StatementView(one).lines(look)]
        return out


@dataclass(frozen=True, slots=True)
class LessonsView(LinesView):
    """Lessons one behind the other."""

    lessons: Sequence[Lesson]

    def lines(self, look: Look) -> list[Line]:
        out: list[Line] = []
        for one in self.lessons:
            out += [*([()] if out else []), *LessonView(one).lines(look)]
        return out


@dataclass(frozen=True, slots=True)
class TopicsView(LinesView):
    """The topics that there are, each with what it is about."""

    topics: Sequence[tuple[str, str, int]]

    def lines(self, look: Look) -> list[Line]:
        columns = [
            Column("topic", tuple(Span(name) for name, _, _ in self.topics), right=False),
            Column("statements", tuple(Span(str(count)) for _, _, count in self.topics)),
            Column(
                "about", tuple(Span(title) for _, title, _ in self.topics), right=False, shrink=20
            ),
        ]
        note = (
            "`atrous learn TOPIC` says them with their numbers, `atrous learn all` says every one."
        )
        rows = wrapped_text(note, look.width, look)
        return [*table(columns, look), *(line(Span(row, "dim")) for row in rows)]


def _lines(record: Shown, look: Look) -> Sequence[Line]:
    found = view(record)
    if isinstance(found, LinesView):
        return found.lines(look)
    return [line(text) for text in found.text().splitlines()]
