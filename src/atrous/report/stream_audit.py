"""A chunking beside the offline run, in words: what differs first, what is lost, what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atrous.certification.stream_audit import StreamAudit, StreamedOutput
from atrous.draw.units import share_text
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.shown import how_many, some, view

__all__ = ["StreamAuditView"]

_INDENT = 12
_MEANS = {
    "exact": "what the whole clip gives, at every position",
    "interior": "what the whole clip gives, but not at its ends",
    "approximate": "another result around the edges of chunks",
    "broken": "another result",
}
_COLOURS_OF = {"exact": "green", "interior": "yellow", "approximate": "yellow", "broken": "red"}


@view.register(StreamAudit)
@dataclass(frozen=True, slots=True)
class StreamAuditView(LinesView):
    """The verdict, then for each output what differs first, what is lost, and what is lacking."""

    record: StreamAudit

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        verdict = Span(found.verdict, f"bold {_COLOURS_OF[found.verdict]}")
        out = [line(Span(f"{found.network} in chunks: "), verdict, f": {_MEANS[found.verdict]}")]
        for output in found.outputs:
            if len(found.outputs) > 1:
                out.append(line(Span(f"{output.name}: {output.verdict}", "bold")))
            for label, text in _said_of_stream(output):
                out += wrapped(Span(label, "bold"), text, _INDENT, look)
        if found.verdict != "exact":
            for label, text in _needs_said(found):
                out += wrapped(Span(label, "bold"), text, _INDENT, look)
        for note in found.notes:
            out += wrapped(Span("note", "bold"), note, _INDENT, look)
        return out


def _said_of_stream(output: StreamedOutput) -> Iterator[tuple[str, str]]:
    offline, chunked = output.lengths
    if output.verdict == "exact":
        yield "difference", f"at most {output.max_error:.2g}: rounding"
        return
    if offline != chunked:
        yield "length", f"{chunked:,}, and the offline run gives {offline:,}"
    if output.first is not None:
        yield "first", f"position {output.first:,} differs, at input sample {output.first_input:,}"
    for count, what in ((output.lost, "lost"), (output.doubled, "too many")):
        if not count:
            continue
        text = f"{how_many(count, 'position')}"
        inside = [one for one in output.slips if (one.lost > 0) == (what == "lost")]
        if inside:
            sizes = sorted({abs(one.lost) for one in inside})
            at = some([str(one.at) for one in inside])
            text += f", {' or '.join(map(str, sizes))} at {at}"
            text += f", every {output.every}" if output.every is not None else ""
        elif output.stays:
            continue
        else:
            text += " at the end"
        yield what, text
    if output.stays:
        yield "state", "nothing agrees from there on: a state is lost, or begins anew, at an edge"
        return
    seams = output.seams
    if seams is None:
        return
    error = f"{output.max_error:.3g}, {share_text(output.relative_error)} of the largest value"
    yield "difference", error
    if seams.everywhere:
        yield "edges", "everywhere: chunks begin at places that are no multiples of the hop"
        return
    if seams.seams:
        every = "" if seams.period is None else f", every {seams.period}"
        before, behind = seams.reach
        reach = f"positions differ up to {before} before and {behind} behind them"
        yield "edges", f"at {some([str(one) for one in seams.seams])}{every}; {reach}"
        left, right = seams.lacks
        yield "lacks", f"{left} input samples before a chunk and {right} behind, or more"
    if any(seams.ends):
        yield "ends", f"{seams.ends[0]} positions at the begin and {seams.ends[1]} at the end"


def _needs_said(found: StreamAudit) -> Iterator[tuple[str, str]]:
    if found.carries:
        names = some(list(found.carries))
        yield "needs", f"the state of {names}, kept from chunk to chunk: no context is long enough"
    elif found.left is not None:
        hop = "" if found.hop == 1 else f", and chunks that begin at multiples of {found.hop}"
        yield "needs", f"{found.left} input samples before a chunk and {found.right} behind{hop}"
