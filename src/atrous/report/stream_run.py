"""A stream over a sound, in words: how fast it ran, how late it is, whether it is exact."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.certification.stream_run import StreamRun
from atrous.draw.units import ms_text
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.shown import how_many, view

__all__ = ["StreamRunView"]


@view.register(StreamRun)
@dataclass(frozen=True, slots=True)
class StreamRunView(LinesView):
    """Lengths, the real-time factor, the slowest block, and the difference from the offline run."""

    record: StreamRun

    def lines(self, look: Look) -> list[Line]:
        run = self.record
        head = f": {how_many(run.samples, 'sample')} in, {run.outputs:,} out"
        out = [line(Span(run.network, "bold"), head)]
        latency = f"{run.latency} samples"
        if run.rate is not None:
            latency += f" ({ms_text(float(1000 * run.latency / run.rate))})"
        rows = [("latency", f"{latency}; hop {run.hop}")]
        if run.real_time is not None:
            faster = f", {1 / run.real_time:.3g} times as fast as it sounds" if run.seconds else ""
            rows.append(("real time", f"{run.real_time:.3g} seconds a second{faster}"))
        else:
            rows.append(("time", f"{run.seconds:.3g} s; give --rate for the real-time factor"))
        blocks = f"{how_many(run.blocks, 'block')} of {run.block}"
        if run.rate is not None:
            blocks += f" ({ms_text(float(1000 * run.block / run.rate))})"
        slow = f"the first {ms_text(run.first_ms)}, the slowest other {ms_text(run.slowest_ms)}"
        rows.append(("blocks", f"{blocks}; {slow}"))
        if run.error is not None:
            verdict = "the same as offline" if run.equal else "NOT what the offline run gives"
            rows.append(("check", f"{verdict}: off by {run.error:.2g} of the largest value"))
        for label, text in rows:
            out += wrapped(Span(label, "bold"), text, 12, look)
        return out
