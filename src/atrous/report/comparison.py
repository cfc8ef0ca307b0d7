"""Schemes side by side: one table, what they agree in, and what to know before choosing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from atrous.analysis import Comparison, Scheme
from atrous.draw.units import at_least, bytes_text, per_axis, quantity, shape_text, share_text
from atrous.report.html import escaped, grid
from atrous.report.lines import Column, Line, Look, Span, line, table, wrapped
from atrous.report.summary import SEVERITIES
from atrous.report.view import LinesView
from atrous.shown import how_many, view

__all__ = ["ComparisonView", "comparison_columns", "comparison_notes", "comparison_title"]

_RATIO = Fraction(21, 20)
_MOST_FIELDS = 5
_WIDE = 120
_MOST_RISKS = 3


@view.register(Comparison)
@dataclass(frozen=True, slots=True)
class ComparisonView(LinesView):
    """Title, table, which schemes see equally far, and each scheme's risks.

    What a narrow page has no room for, it leaves out: the stacks first, then parameters, growth
    in words and stride.
    """

    record: Comparison

    def lines(self, look: Look) -> list[Line]:
        out = [line(Span(comparison_title(self.record), "bold")), ()]
        columns = comparison_columns(self.record, look.width, look.ellipsis)
        out += table(columns, look)
        notes = list(comparison_notes(self.record))
        if notes:
            out.append(())
        indent = min(max((len(label) for label, _, _ in notes), default=0) + 2, 24)
        for label, text, style in notes:
            if len(label) + 2 > indent:
                out.append(line(Span(label, style or "bold")))
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

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.charts import comparison_chart
        from atrous.draw.offline import offline

        return offline(comparison_chart(self.record))


def comparison_title(comparison: Comparison) -> str:
    """What is compared, and on which input."""
    count = len(comparison)
    what = comparison.title or how_many(count, "scheme")
    shape = comparison.input
    return f"{what}, each on its own input" if shape is None else f"{what} on {shape_text(shape)}"


def comparison_columns(
    comparison: Comparison, width: int | None = None, mark: str = "…"
) -> list[Column]:
    """The columns that `width` has room for; all of them where it is None."""
    schemes = comparison.schemes
    wide = width is None or width >= _WIDE
    most = 2 * _MOST_FIELDS if wide else _MOST_FIELDS
    names = _cells(schemes, [s.name for s in schemes], "bold")
    name = Column("scheme", names, False, 0 if wide else 16)
    output = _column("output", schemes, [shape_text(s.output_shape[1:]) for s in schemes])
    fields = Column(
        "field by layer",
        tuple(Span(_fields(s, most, mark), "" if s.field else "dim") for s in schemes),
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
    wanted = [(stride, 2), (growth, 4), (params, 6)]
    if any(scheme.source != scheme.name for scheme in schemes):
        wanted.append((source, len(always) + len(wanted)))
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
        for place, risk in enumerate(scheme.risks[:_MOST_RISKS]):
            label = "" if place else scheme.name
            yield (
                label,
                f"{risk.code}, {risk.layer}: {risk.message}",
                SEVERITIES.get(risk.severity, "cyan"),
            )
        if len(scheme.risks) > _MOST_RISKS:
            yield "", f"and {how_many(len(scheme.risks) - _MOST_RISKS, 'more finding')}", "dim"


def _fields(scheme: Scheme, most: int, mark: str) -> str:
    if not scheme.field:
        return "?"
    last = per_axis([str(axis.size) for axis in scheme.field])
    grown = [size for i, size in enumerate(scheme.fields) if not i or size != scheme.fields[i - 1]]
    shown = [str(size) for size in grown[:-1]]
    if len(shown) >= most:
        shown = [*shown[: most - 3], mark, shown[-1]]
    return " ".join([*shown, last]) + "*" * scheme.is_global


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
