"""A footprint, drawn in characters or as a chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atrous.analysis import Footprint
from atrous.errors import MissingDependencyError, UnsupportedError
from atrous.report.html import escaped
from atrous.report.lines import Line, Look
from atrous.report.view import LinesView
from atrous.shown import view

__all__ = ["FootprintView"]


@view.register(Footprint)
@dataclass(frozen=True, slots=True)
class FootprintView(LinesView):
    """A footprint, drawn: a picture with its axes in notebooks, characters in terminals."""

    record: Footprint

    def lines(self, look: Look) -> list[Line]:
        # Only drawings need numpy.
        from atrous.report.drawing import drawing

        return drawing(self.record, look)

    def html(self) -> str:
        """What is read in words, and the picture; characters where nothing is there to draw it."""
        from atrous.draw.images import svg_bundle
        from atrous.report.drawing import words

        try:
            from atrous.draw.offline import chart_svg

            svg = chart_svg(self.plot())
        except (MissingDependencyError, UnsupportedError):
            return LinesView.html(self)
        said = words(self.record)
        text = "".join(f"<div>{escaped(one)}</div>" for one in said)
        return text + svg_bundle(svg, said[0], "")["text/html"]

    def moving(self, seconds: float) -> str:
        from atrous.draw.animation import animation, footprints_scene

        shape = "x".join(map(str, self.record.map))
        title = f"what the outputs of a map of {shape} read"
        scene = footprints_scene(self.record.moved(), self.record.map, title)
        return animation([scene], seconds)

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.footprints import footprint_chart
        from atrous.draw.offline import offline

        return offline(footprint_chart(self.record, image))
