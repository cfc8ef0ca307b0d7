"""A stream, in words: what it takes, how late it is, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.draw.units import bytes_text, fraction_text
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.runners.stream.stream import Stream
from atrous.shown import how_many, view

__all__ = ["StreamView"]


@view.register(Stream)
@dataclass(frozen=True, slots=True)
class StreamView(LinesView):
    """What chunks look like, latency and hop, what was pushed and is kept at this moment."""

    record: Stream

    def lines(self, look: Look) -> list[Line]:
        live = self.record
        size = ["time" if d == live.axis else str(n) for d, n in enumerate(live.shape)]
        stood = f"{how_many(live.count, 'sample')} pushed"
        if live.ended:
            stood += ", and ended: reset it to begin another"
        rows = [
            ("latency", f"{fraction_text(live.latency)} input samples"),
            ("hop", f"{live.hop}; {how_many(int(live.hop / live.stride), 'output')} for each"),
            ("stands at", stood),
            ("state", bytes_text(live.state.nbytes)),
        ]
        out = [line(Span(live.name, "bold"), f": a stream of {'x'.join(size)}")]
        for label, text in rows:
            out += wrapped(Span(label, "bold"), text, 12, look)
        return out
