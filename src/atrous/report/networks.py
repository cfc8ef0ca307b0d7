"""The list of known networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atrous.analysis import Inspection
from atrous.analysis.resampled import resampled_strides
from atrous.draw.units import per_axis, quantity, shape_text, share_text
from atrous.report.lines import (
    GAP,
    Column,
    Line,
    Look,
    Span,
    folded,
    line,
    table,
    wrapped,
    wrapped_text,
)
from atrous.report.view import LinesView
from atrous.shown import some

__all__ = ["NetworksView"]

_TEXT = 30
_BELOW = 4


@dataclass(frozen=True, slots=True)
class NetworksView(LinesView):
    """One line for each known network: its name, what it is, and what its report sees."""

    known: Sequence[tuple[str, str, Inspection]]

    def lines(self, look: Look) -> list[Line]:
        reports = [report for _, _, report in self.known]
        name = Column(
            "network", tuple(Span(name, "bold") for name, _, _ in self.known), right=False
        )
        inputs = Column("input", tuple(Span(_input_shape(report)) for report in reports))
        coarsest = Column("coarsest", tuple(Span(_coarsest(report)) for report in reports))
        numbers = [
            Column("params", tuple(Span(quantity(report.params)) for report in reports)),
            Column("stride ", tuple(Span(_output_stride(report)) for report in reports)),
            Column("field ", tuple(Span(_field(report)) for report in reports)),
            Column("cover", tuple(_cover(report) for report in reports)),
        ]
        # Saying what it is comes before its usual size.
        choices = ([name, inputs, coarsest, *numbers], [name, coarsest, *numbers], [name, *numbers])
        columns = next((c for c in choices if _left(c, look) >= _TEXT), choices[-1])
        texts = tuple(Span(text, "dim") for _, text, _ in self.known)
        if _left(columns, look) >= _TEXT:
            columns.append(Column("what it is", texts, right=False, shrink=_TEXT))
            out = table(folded(columns, look.width), look)
        else:
            title, rule, *rows = table(columns, look)
            out = [title, rule]
            for row, (_, text, _) in zip(rows, self.known, strict=True):
                out += [row, *wrapped(Span(""), text, _BELOW, look, "dim")]
        if any(report.outputs[-1].is_global for report in reports):
            note = "* after an op that mixed all positions; the field is the local one"
            out.append(line(Span(note, "dim")))
        if any(resampled_strides(report, report.outputs[-1]) for report in reports):
            note = "~ by sizes, where a map is resampled; inspect has the exact stride"
            out.extend(line(Span(row, "dim")) for row in wrapped_text(note, look.width, look))
        return out


def _left(columns: Sequence[Column], look: Look) -> int:
    return look.width - sum(column.width + GAP for column in columns)


def _input_shape(report: Inspection) -> str:
    return some([shape_text(tensor.shape) for tensor in report.network.inputs], 1)


def _output_stride(report: Inspection) -> str:
    layer = report.outputs[-1]
    sized = resampled_strides(report, layer)
    strides = [
        f"{sized[axis.axis].by_sizes}~" if axis.axis in sized else str(axis.stride)
        for axis in layer.field
    ]
    text = per_axis(strides) or "-"
    return text if text.endswith("~") else f"{text} "


def _field(report: Inspection) -> str:
    layer = report.outputs[-1]
    if layer.opaque:
        return "? "
    return (per_axis([str(axis.size) for axis in layer.field]) or "-") + "* "[not layer.is_global]


def _cover(report: Inspection) -> Span:
    layer = report.outputs[-1]
    shares = [share_text(axis.coverage) for axis in layer.field]
    style = "yellow" if any(axis.coverage < 1 for axis in layer.field) else ""
    return Span(per_axis(shares).replace("%x", "x") or "-", style)


def _coarsest(report: Inspection) -> str:
    """The largest stride of any layer; an output that was made larger again does not show it."""
    strides = [axis.stride for layer in report.layers for axis in layer.field]
    return str(max(strides)) if strides else "-"
