"""A tiler beside the whole run, in words: how far off, where the seams are, which halo it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from atrous.certification.tile_audit import Seams, TileAudit, TiledOutput
from atrous.draw.units import shape_text, share_text
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView, PictureView
from atrous.shown import some, view

__all__ = ["SeamsView", "TileAuditView", "TiledOutputView"]

_INDENT = 12
_MEANINGS = {
    "exact": "what the whole image gives, at every position",
    "interior": "what the whole image gives, but not at its ends",
    "approximate": "another result around seams",
    "broken": "another result",
}
_COLOURS = {"exact": "green", "interior": "yellow", "approximate": "yellow", "broken": "red"}


@view.register(TileAudit)
@dataclass(frozen=True, slots=True)
class TileAuditView(PictureView):
    """The verdict, then for each output how large the difference is, where, and what is lacking."""

    record: TileAudit

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        verdict = Span(found.verdict, f"bold {_COLOURS[found.verdict]}")
        out = [line(Span(f"{found.network} by tiles: "), verdict, Span(f": {_meaning(found)}"))]
        for output in found.outputs:
            if len(found.outputs) > 1:
                out.append(line(Span(f"{output.name}: {output.verdict}", "bold")))
            for label, text in _said_of_output(output):
                out += wrapped(Span(label, "bold"), text, _INDENT, look)
        for note in found.notes:
            out += wrapped(Span("note", "bold"), note, _INDENT, look)
        return out

    def words(self) -> list[str]:
        return self.text(Look(width=100)).split("\n")

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.differences import difference_chart
        from atrous.draw.offline import offline

        output = self.record.worst_output
        title = f"{self.record.network} by tiles, {output.name}: off by"
        off = f"{title} up to {output.max_error or 0.0:.3g}"
        return offline(difference_chart(output.difference, tuple(a.axis for a in output.axes), off))


@view.register(TiledOutput)
@dataclass(frozen=True, slots=True)
class TiledOutputView(LinesView):
    """One output of a tiler."""

    record: TiledOutput

    def lines(self, look: Look) -> list[Line]:
        out = [line(Span(f"{self.record.name}: {self.record.verdict}", "bold"))]
        for label, text in _said_of_output(self.record):
            out += wrapped(Span(label, "bold"), text, _INDENT, look)
        return out


@view.register(Seams)
@dataclass(frozen=True, slots=True)
class SeamsView(LinesView):
    """What differs along one axis."""

    record: Seams

    def lines(self, look: Look) -> list[Line]:
        return wrapped(
            Span(f"along {self.record.axis}", "bold"), _seams_said(self.record), _INDENT, look
        )


def _meaning(found: TileAudit) -> str:
    return _MEANINGS[found.verdict]


def _said_of_output(output: TiledOutput) -> Iterator[tuple[str, str]]:
    whole, tiled = output.shapes
    if whole != tiled:
        yield "shape", f"{shape_text(tiled)}, and the whole run gives {shape_text(whole)}"
        return
    error, relative = output.max_error or 0.0, output.relative_error or 0.0
    if output.verdict == "exact":
        yield "difference", f"at most {error:.2g} ({relative:.1g} of the largest value): rounding"
        return
    at = ", ".join(map(str, output.at))
    yield "difference", f"{error:.3g} at ({at}), {share_text(relative)} of the largest value"
    yield "differ", f"{share_text(output.differs)} of all positions"
    for seams in output.axes:
        yield f"along {seams.axis}", _seams_said(seams)


def _seams_said(one: Seams) -> str:
    if one.everywhere:
        return (
            "everywhere: tiles begin at places that are no multiples of the stride, lack more "
            "than half their size, or statistics are a tile's own"
        )
    parts: list[str] = []
    if one.seams:
        where = f"seams at {some([str(seam) for seam in one.seams])}"
        if one.period is not None:
            where += f", every {one.period}"
        before, behind = one.reach
        parts.append(f"{where}; positions differ up to {before} before and {behind} behind them")
        lacks = f"lacks {one.lacks[0]} px before a tile and {one.lacks[1]} behind, or more"
        if one.needed is not None:
            lacks += f"; it needs {one.needed[0]} and {one.needed[1]}"
        if one.blended:
            lacks += ", and may lack all of that, since blending hides it at a window's rim"
        parts.append(lacks)
    if any(one.ends):
        parts.append(f"{one.ends[0]} and {one.ends[1]} positions at the image's ends differ")
    return "; ".join(parts) or "no seams"
