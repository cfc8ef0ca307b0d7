"""A footprint, drawn in characters or as a chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atrous.analysis import Footprint
from atrous.report.lines import Line, Look
from atrous.report.view import PictureView
from atrous.shown import view

__all__ = ["FootprintView"]


@view.register(Footprint)
@dataclass(frozen=True, slots=True)
class FootprintView(PictureView):
    """A footprint, drawn: a picture with its axes in notebooks, characters in terminals."""

    record: Footprint

    def lines(self, look: Look) -> list[Line]:
        # Only drawings need numpy.
        from atrous.report.drawing import drawing

        return drawing(self.record, look)

    def words(self) -> list[str]:
        from atrous.report.drawing import words

        return words(self.record)

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
