"""Schemes side by side: one table, what they agree in, and what to know before choosing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from atrous.analysis import Comparison, Scheme
from atrous.draw.units import at_least, bytes_text, per_axis, quantity, shape_text, share_text
from atrous.report.findings import SEVERITIES, kinds_found
from atrous.report.html import escaped, grid
from atrous.report.lines import (
    GAP,
    Column,
    Line,
    Look,
    Span,
    folded,
    line,
    pieces,
    table,
    wrapped,
)
from atrous.report.view import LinesView
from atrous.shown import how_many, view

__all__ = ["ComparisonView", "comparison_columns", "comparison_notes", "comparison_title"]

_RATIO = Fraction(21, 20)
_MOST_FIELDS = 12
_MOST_RISKS = 3


@view.register(Comparison)
@dataclass(frozen=True, slots=True)
class ComparisonView(LinesView):
    """Title, table, which schemes see equally far, and each scheme's risks.

    What a narrow terminal has no room for, it leaves out: the stacks first, then parameters, growth
    in words and stride. What it shows it shows whole: names, stacks and fields go on in the lines
    below.
    """

    record: Comparison

    def lines(self, look: Look) -> list[Line]:
        out = [line(Span(comparison_title(self.record), "bold")), ()]
        columns = comparison_columns(self.record, look.width)
        if _least(columns) > look.width and not any(s.unread for s in self.record.schemes):
            # A column of 0% says least.
            columns = [column for column in columns if column.title != "unread"]
        fits = _least(columns) <= look.width
        out += table(folded(columns, look.width), look) if fits else _one_by_one(columns, look)
        notes = list(comparison_notes(self.record))
        if notes:
            out.append(())
        indent = min(max((len(label) for label, _, _ in notes), default=0) + 2, 24, look.width // 3)
        for label, text, style in notes:
            if len(label) + 2 > indent:
                out += [line(piece) for piece in pieces(Span(label, style or "bold"), look.width)]
                label = ""
            out.extend(wrapped(Span(label, style or "bold"), text, indent, look))
        return out

    def moving(self, seconds: float) -> str:
        from atrous.draw.animation import animation, footprints_scene

        scenes = []
        for scheme in self.record:
            seen = scheme.report.footprint()
            scenes.append(footprints_scene(seen.moved(), seen.map, scheme.name))
        return animation(scenes, seconds)

    def html(self) -> str:
        """Schemes side by side, with every column and what to know about each."""
        notes = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{escaped(label)}</th>'
            f'<td style="text-align:left">{escaped(text)}</td></tr>'
            for label, text, _ in comparison_notes(self.record)
        )
        title = escaped(comparison_title(self.record))
        return (
            f'<div style="font-variant-numeric:tabular-nums"><div><b>{title}</b></div>'
            f"{grid(comparison_columns(self.record))}<table>{notes}</table></div>"
        )

    def page(self, *, image: object = None, beside: object = None) -> str:  # noqa: ARG002
        """Footprints at one scale, the table, growth and notes."""
        from atrous.report.schemes import comparison_page

        found = self.record
        return comparison_page(
            found, comparison_title(found), comparison_columns(found), comparison_notes(found)
        )

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.charts import comparison_chart
        from atrous.draw.offline import offline

        return offline(comparison_chart(self.record))


def _least(columns: Sequence[Column]) -> int:
    """The width that a table of these columns cannot go below."""
    return sum(column.least + GAP for column in columns) - GAP


def comparison_title(comparison: Comparison) -> str:
    """What is compared, and on which input."""
    count = len(comparison)
    what = comparison.title or how_many(count, "scheme")
    shape = comparison.input
    return f"{what}, each on its own input" if shape is None else f"{what} on {shape_text(shape)}"


def comparison_columns(comparison: Comparison, width: int | None = None) -> list[Column]:
    """The columns that `width` has room for; all of them where it is None."""
    schemes = comparison.schemes
    names = _cells(schemes, [s.name for s in schemes], "bold")
    name = Column("scheme", names, False, 16)
    output = _column("output", schemes, [shape_text(s.output_shape[1:]) for s in schemes])
    fields = Column(
        "field by layer",
        tuple(Span(_fields(s), "" if s.field else "dim") for s in schemes),
        shrink=14,
    )
    cover = Column(
        "read",
        tuple(
            Span("?" if s.coverage is None else share_text(s.coverage), "yellow" * _holey(s))
            for s in schemes
        ),
    )
    never = Column(
        "unread",
        tuple(
            Span(
                "?" if s.unread is None else share_text(float(s.unread)), "yellow" * bool(s.unread)
            )
            for s in schemes
        ),
    )
    macs = _column("MACs", schemes, [_bound(quantity(s.macs), s, "macs") for s in schemes])
    memory = _column(
        "memory", schemes, [_bound(bytes_text(s.peak_memory_bytes), s, "memory") for s in schemes]
    )
    stride = _column("stride", schemes, [per_axis([*map(str, s.output_stride)]) for s in schemes])
    growth = Column("growth", _cells(schemes, [s.growth or "-" for s in schemes], ""), False)
    params = _column("params", schemes, [quantity(s.params) for s in schemes])
    source = Column("stack", _cells(schemes, [s.source for s in schemes], "dim"), False, 24)
    always = [name, output, fields, cover, never, macs, memory]
    wanted = [(stride, 2), (growth, 4), (params, 7)]
    if any(scheme.source != scheme.name for scheme in schemes):
        wanted.append((source, len(always) + len(wanted)))
    units = dict.fromkeys(x.unit for s in schemes for x in s.report.scales.values())
    always[3:3] = [
        _column(f"field {unit}", schemes, [_field_in(s, unit) for s in schemes]) for unit in units
    ]
    columns = list(always)
    for column, place in wanted:
        longer = [*columns[:place], column, *columns[place:]]
        if width is None or sum(c.least + 2 for c in longer) - 2 <= width:
            columns = longer
    return columns


def comparison_notes(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    """Which schemes see equally far and what they cost, then the risks; with label and style."""
    for group in comparison.alike():
        least = group[0].macs
        parts = []
        for scheme in group:
            ratio = Fraction(scheme.macs, least) if least else Fraction(0)
            times = f" for {_times(ratio)} the MACs" if ratio > _RATIO else ""
            stride = per_axis([*map(str, scheme.output_stride)])
            parts.append(f"{scheme.name} at stride {stride}{times}")
        size = "x".join(str(axis.size) for axis in group[0].field)
        yield f"{size} seen by", "; ".join(parts), "cyan"
    for scheme in comparison.schemes:
        found = list(kinds_found(scheme.risks, fixes=False))
        for place, (severity, text) in enumerate(found[:_MOST_RISKS]):
            yield "" if place else scheme.name, text, SEVERITIES.get(severity, "cyan")
        if len(found) > _MOST_RISKS:
            more = how_many(len(found) - _MOST_RISKS, "more kind")
            yield "", f"and {more} of findings", "dim"


def _one_by_one(columns: Sequence[Column], look: Look) -> list[Line]:
    """Each scheme by itself, its values below one another: for where no table fits."""
    name, *rest = columns
    out: list[Line] = []
    for row, cell in enumerate(name.cells):
        out += [line(piece) for piece in pieces(cell, look.width)]
        for column in rest:
            label, value = column.title.strip(), column.cells[row]
            out += wrapped(Span(f"  {label}", "dim"), value.text, 18, look, value.style)
    return out


def _fields(scheme: Scheme) -> str:
    if not scheme.field:
        return "?"
    last = per_axis([str(axis.size) for axis in scheme.field])
    grown = [size for i, size in enumerate(scheme.fields) if not i or size != scheme.fields[i - 1]]
    shown = [*map(str, grown[:-1]), last]
    if len(shown) > _MOST_FIELDS:
        shown = [shown[0], "to", last, "in", str(len(shown)), "steps"]
    return " ".join(shown) + "*" * scheme.is_global


def _field_in(scheme: Scheme, unit: str) -> str:
    """The field along the axes whose scale is in a unit."""
    held = [(axis, scheme.report.scales.get(axis.axis)) for axis in scheme.field]
    texts = [
        scale.text(axis.size).removesuffix(f" {unit}")
        for axis, scale in held
        if scale is not None and scale.unit == unit
    ]
    return per_axis(texts) or "-"


def _bound(text: str, scheme: Scheme, quantity: str) -> str:
    return at_least(text, scheme.uncounted.get(quantity), short=True)


def _holey(scheme: Scheme) -> bool:
    return scheme.coverage is not None and scheme.coverage < 1


def _times(ratio: Fraction) -> str:
    return f"{float(ratio):.1f} times" if ratio < 10 else f"{float(ratio):.0f} times"


def _column(title: str, schemes: Sequence[Scheme], texts: Sequence[str]) -> Column:
    return Column(title, _cells(schemes, texts, ""))


def _cells(schemes: Sequence[Scheme], texts: Sequence[str], style: str) -> tuple[Span, ...]:
    return tuple(Span(text, style) for _, text in zip(schemes, texts, strict=True))
