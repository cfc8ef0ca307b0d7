"""Where each output looks, as a short table: the first outputs and the last."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.analysis.stretches import Boxes, Stretches
from atrous.report.lines import Column, Line, Look, Span, line, table
from atrous.report.view import LinesView
from atrous.shown import view

_SHOWN = 4
"""Outputs at either end."""


@view.register(Stretches)
@dataclass(frozen=True, slots=True)
class StretchesView(LinesView):
    """The stretches of the first and the last outputs."""

    record: Stretches

    def lines(self, look: Look) -> list[Line]:
        return stretch_lines(self.record, look)


@view.register(Boxes)
@dataclass(frozen=True, slots=True)
class BoxesView(LinesView):
    """The stretches along each axis."""

    record: Boxes

    def lines(self, look: Look) -> list[Line]:
        shape = "x".join(map(str, self.record.shape))
        out = [line(Span(f"{shape} boxes", "bold"), ", one stretch of each axis")]
        for stretch in self.record.axes:
            out += [(), *stretch_lines(stretch, look)]
        return out


def stretch_lines(found: Stretches, look: Look) -> list[Line]:
    """What output reads what, and how far apart outputs lie."""
    count = len(found)
    places = list(range(count))
    if count > 2 * _SHOWN + 1:
        places = [*places[:_SHOWN], -1, *places[-_SHOWN:]]
    hop = found.hop if found.scale is None else found.scale.of(found.hop)
    noun = "output" if count == 1 else "outputs"
    head = f": {count} {noun} along {found.axis}, one in {_hop(found, float(hop))}"
    columns = [Column("output", tuple(Span(str(i) if i >= 0 else "...") for i in places))]
    for title, values in (("from", found.start), ("to", found.stop), ("centre", found.center)):
        cells = tuple(Span(f"{values[i]:.6g}" if i >= 0 else "") for i in places)
        columns.append(Column(title, cells))
    return [line(Span(found.layer, "bold"), head), *table(columns, look)]


def _hop(found: Stretches, hop: float) -> str:
    unit = "position" if hop == 1 and found.scale is None else found.unit
    return f"{hop:.6g} {unit}"
