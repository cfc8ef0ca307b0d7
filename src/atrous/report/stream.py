"""A stream, in words: what it takes, how late it is, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.draw.units import bytes_text, fraction_text
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.runners.stream.stream import Stream, with_time
from atrous.shown import how_many, view

__all__ = ["StreamView"]


@view.register(Stream)
@dataclass(frozen=True, slots=True)
class StreamView(LinesView):
    """What chunks look like, latency and hop, what was pushed and is kept at this moment."""

    record: Stream

    def _each(self) -> str:
        """How late it is for each of several inputs."""
        if len(self.record.axes) == 1:
            return ""
        return f" of the first; {' and '.join(map(fraction_text, self.record.latencies))} of each"

    def lines(self, look: Look) -> list[Line]:
        live = self.record
        pairs = zip(live.shapes, live.axes, strict=True)
        sizes = ["x".join(with_time(shape, axis)) for shape, axis in pairs]
        *first, last = live.counts
        stood = f"{how_many(last, 'sample')} pushed"
        stood = " and ".join([*(f"{n:,}" for n in first), stood])
        if live.ended:
            stood += ", and ended: reset it to begin another"
        rows = [
            ("latency", f"{fraction_text(live.latency)} input samples{self._each()}"),
            ("hop", f"{live.hop}; {how_many(int(live.hop / live.stride), 'output')} for each"),
            ("stands at", stood),
            ("state", bytes_text(live.state.nbytes)),
        ]
        out = [line(Span(live.name, "bold"), f": a stream of {' and '.join(sizes)}")]
        for label, text in rows:
            out += wrapped(Span(label, "bold"), text, 12, look)
        return out
