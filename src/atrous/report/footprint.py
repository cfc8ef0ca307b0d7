"""A footprint, drawn in characters or as a chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atrous.analysis import Footprint
from atrous.report.lines import Line, Look
from atrous.report.view import LinesView
from atrous.shown import view

__all__ = ["FootprintView"]


@view.register(Footprint)
@dataclass(frozen=True, slots=True)
class FootprintView(LinesView):
    """A footprint, drawn."""

    record: Footprint

    def lines(self, look: Look) -> list[Line]:
        # Only drawings need numpy.
        from atrous.report.drawing import drawing

        return drawing(self.record, look)

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.footprints import footprint_chart

        return footprint_chart(self.record, image)
