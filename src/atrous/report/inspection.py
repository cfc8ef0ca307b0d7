"""The report of a network: the summary first, then the table of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from atrous.analysis import Inspection
from atrous.analysis.inspection import Colouring, Kind
from atrous.draw.rows import Sort, listing
from atrous.report.html import escaped, grid, inline
from atrous.report.layers import layer_columns, layer_notes, layer_table
from atrous.report.lines import Line, Look, Span, plain
from atrous.report.summary import opening, statements, summary
from atrous.report.view import LinesView
from atrous.shown import view

__all__ = ["InspectionView", "Listed"]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the table of layers lists; see `rows.listing`."""

    every: bool = False
    depth: int | None = None
    sort: Sort = "order"
    top: int | None = None


@view.register(Inspection)
@dataclass(frozen=True, slots=True)
class InspectionView(LinesView):
    """The summary, and the table of those layers that are `listed`."""

    record: Inspection
    listed: Listed = Listed()

    def lines(self, look: Look) -> list[Line]:
        listed = self.listed
        found = listing(
            self.record, every=listed.every, depth=listed.depth, sort=listed.sort, top=listed.top
        )
        return [*summary(self.record, look), (), *layer_table(found, look, listed.sort)]

    def html(self) -> str:
        """The summary and the table of layers, with every column."""
        facts = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{escaped(label)}</th>'
            f'<td style="text-align:left">{inline(Span(text, style))}</td></tr>'
            for label, text, style in statements(self.record)
        )
        found = listing(self.record)
        notes = "".join(
            f'<div style="opacity:.65">{escaped(note)}</div>' for note in layer_notes(found)
        )
        rows = grid(layer_columns(found)) if found.rows else ""
        title = escaped(plain(opening(self.record)))
        return (
            f'<div style="font-variant-numeric:tabular-nums"><div><b>{title}</b></div>'
            f"<table>{facts}</table>"
            f'<div style="max-height:32em;overflow:auto">{rows}</div>{notes}</div>'
        )

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.charts import inspection_chart
        from atrous.draw.offline import offline

        return offline(inspection_chart(self._sides(beside), cast(Kind, kind)))

    def page(self, *, image: object = None, beside: object = None) -> str:
        from atrous.report.pages import report_page

        return report_page(self._sides(beside), image)

    def graph(self, module: str, colour: str) -> str:
        from atrous.draw.graph import graph_svg

        return graph_svg(self.record, module, cast(Colouring, colour))

    def _sides(self, beside: object) -> dict[str, Inspection]:
        """One report, or the other one first: what changed stands on the right."""
        name = self.record.network.name or "network"
        if not isinstance(beside, Inspection):
            return {name: self.record}
        other = beside.network.name or "network"
        return {f"{other} (before)" if other == name else other: beside, name: self.record}
