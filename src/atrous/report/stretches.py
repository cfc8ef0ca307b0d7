"""Where each output looks, as a short table: the first outputs and the last."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.analysis.stretches import Boxes, Stretches
from atrous.report.lines import Column, Line, Look, Span, line, table, wrapped_text
from atrous.report.view import LinesView
from atrous.shown import view

_SHOWN = 4
"""Outputs at either end."""
_ENDS = "each reads from start up to stop - 1, as the slice [start:stop]"
_ENDS_IN_UNITS = "each reads from start up to stop, where the last position that it reads ends"


@view.register(Stretches)
@dataclass(frozen=True, slots=True)
class StretchesView(LinesView):
    """The stretches of the first and the last outputs."""

    record: Stretches

    def lines(self, look: Look) -> list[Line]:
        return [*_stretch_lines(self.record, look), *_about_stop(self.record, look)]


@view.register(Boxes)
@dataclass(frozen=True, slots=True)
class BoxesView(LinesView):
    """The stretches along each axis."""

    record: Boxes

    def lines(self, look: Look) -> list[Line]:
        shape = "x".join(map(str, self.record.shape))
        out = [line(Span(f"{shape} boxes", "bold"), ", one stretch of each axis")]
        for stretch in self.record.axes:
            out += [(), *_stretch_lines(stretch, look)]
        return [*out, *_about_stop(self.record.axes[0], look)]


def _stretch_lines(found: Stretches, look: Look) -> list[Line]:
    """What output reads what, and how far apart outputs lie."""
    count = len(found)
    places = list(range(count))
    if count > 2 * _SHOWN + 1:
        places = [*places[:_SHOWN], -1, *places[-_SHOWN:]]
    hop = found.hop if found.scale is None else found.scale.of(found.hop)
    noun = "output" if count == 1 else "outputs"
    head = f": {count} {noun} along {found.axis}, one in {_hop(found, float(hop))}"
    unit = "" if found.scale is None else f" {found.unit}"
    columns = [Column("output", tuple(Span(str(i) if i >= 0 else "...") for i in places))]
    for title, values in (("start", found.start), ("stop", found.stop), ("center", found.center)):
        cells = tuple(Span(f"{values[i]:.6g}" if i >= 0 else "") for i in places)
        columns.append(Column(f"{title}{unit}", cells))
    return [line(Span(found.layer, "bold"), head), *table(columns, look)]


def _about_stop(found: Stretches, look: Look) -> list[Line]:
    """What `stop` is."""
    text = _ENDS if found.scale is None else _ENDS_IN_UNITS
    return [line(Span(row, "dim")) for row in wrapped_text(text, look.width, look)]


def _hop(found: Stretches, hop: float) -> str:
    unit = "position" if hop == 1 and found.scale is None else found.unit
    return f"{hop:.6g} {unit}"
