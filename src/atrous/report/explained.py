"""What each layer adds, as a table: field, holes, sub-grids and cost beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atrous.analysis.explained import Explained, ExplainedAxis, ExplainedLayer
from atrous.draw.units import at_least, bytes_text, per_axis, quantity, share_text
from atrous.report.lines import Column, Line, Look, Span, line, table, wrapped, wrapped_text
from atrous.report.view import LinesView
from atrous.shown import how_many, some, view

__all__ = ["ExplainedView"]

_INDENT = 12
_MOST = 60
_NAME = 14


@view.register(Explained)
@dataclass(frozen=True, slots=True)
class ExplainedView(LinesView):
    """A row for each layer that changes what is seen or costs MACs, and what comes of them.

    Where `every` is True a row for each layer.
    """

    record: Explained
    every: bool = False

    def lines(self, look: Look) -> list[Line]:
        told = self.record
        name = told.report.network.name or "network"
        out = [line(Span(row, "bold")) for row in wrapped_text(name, look.width, look)]
        rows = [one for one in told if self.every or one.changes or one.macs]
        shown = rows if self.every else rows[:_MOST]
        if shown:
            out += [(), *table(_added_columns(shown), look), ()]
        if len(shown) < len(rows):
            more = how_many(len(rows) - len(shown), "more layer")
            out.append(line(Span(f"and {more}: see --all", "dim")))
        if len(rows) < len(told.layers):
            left = how_many(len(told.layers) - len(rows), "layer")
            text = f"left out, as no MACs are spent and nothing else is seen: {left}; see --all"
            out += [line(Span(row, "dim")) for row in wrapped_text(text, look.width, look)]
        for title, text in _summary(told):
            out += wrapped(Span(title, "bold"), text, _INDENT, look)
        return out


def _added_columns(rows: Sequence[ExplainedLayer]) -> list[Column]:
    def column(title: str, told: Callable[[ExplainedLayer], str], style: str = "") -> Column:
        return Column(title, tuple(Span(told(one), style) for one in rows))

    holes = tuple(Span(_holes_word(one), "yellow" if _opens(one) else "") for one in rows)
    return [
        Column("layer", tuple(Span(one.name) for one in rows), right=False, shrink=_NAME),
        Column("op", tuple(Span(_op(one), "dim") for one in rows), right=False, shrink=8),
        column("field", lambda one: _each(one, lambda axis: f"{axis.size[1]:,}")),
        column("adds", lambda one: _each(one, lambda axis: f"{axis.added:+,}")),
        column("cover", lambda one: _each(one, lambda axis: share_text(axis.coverage[1]))),
        Column("holes", holes, right=False),
        column("grid", lambda one: _each(one, lambda axis: str(axis.grid))),
        column("MACs", lambda one: quantity(one.macs) if one.macs else "-"),
        column("share", lambda one: share_text(one.share) if one.macs else "-"),
        column("alive", lambda one: bytes_text(one.alive_bytes)),
    ]


def _op(one: ExplainedLayer) -> str:
    return f"{one.layer.op} {one.layer.detail}".strip()


def _each(one: ExplainedLayer, told: Callable[[ExplainedAxis], str]) -> str:
    return per_axis([told(axis) for axis in one.axes]) if one.axes else "?"


def _opens(one: ExplainedLayer) -> bool:
    return any(axis.holes == "opens" for axis in one.axes)


def _holes_word(one: ExplainedLayer) -> str:
    words = {"none": "", "opens": "opens", "closes": "closes", "keeps": "has"}
    kinds = dict.fromkeys(words[axis.holes] for axis in one.axes)
    return ", ".join(filter(None, kinds))


def _summary(told: Explained) -> list[tuple[str, str]]:
    report = told.report
    found = []
    for output in report.outputs:
        text = "; ".join(map(str, output.field)) or "not known"
        found.append(("output", f"{output.name} sees {text}"))
    if told.opened:
        found.append(("holes", f"opened for good by {some(told.opened)}"))
    elif any(axis.holes != "none" for one in told for axis in one.axes):
        found.append(("holes", "what some layers open others close"))
    grids = [one.name for one in told if any(axis.grid > 1 for axis in one.axes)]
    if grids:
        text = f"neighbouring outputs read disjoint sub-grids of what {some(grids)} read"
        found.append(("grids", f"{text}: one position in `grid`"))
    widest = max(told, key=lambda one: max((a.added for a in one.axes), default=0), default=None)
    if widest is not None and any(axis.added > 0 for axis in widest.axes):
        added = _each(widest, lambda axis: f"{axis.added:+,}")
        found.append(("widest", f"{widest.name} adds most: {added}"))
    dearest = max(told, key=lambda one: one.macs, default=None)
    if dearest is not None and dearest.macs:
        total = at_least(quantity(report.macs, "MAC"), report.uncounted.get("macs"))
        found.append(("dearest", f"{dearest.name} takes {share_text(dearest.share)} of {total}"))
    fullest = max(told, key=lambda one: one.alive_bytes, default=None)
    if fullest is not None:
        held = at_least(bytes_text(fullest.alive_bytes), report.uncounted.get("memory"))
        found.append(("fullest", f"{held} are alive while {fullest.name} runs, by the graph"))
    return found
