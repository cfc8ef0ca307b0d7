"""Conversions in words: the verdict and the price first, then the diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from atrous.analysis import Inspection
from atrous.analysis.inspection import Kind
from atrous.certification.certificate import Certificate
from atrous.certification.conversion import Conversion
from atrous.conversion.edits import Edit
from atrous.conversion.plan import Head
from atrous.errors import UnsupportedError
from atrous.report.certificate import INDENT, facts, opening, strides_text
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.shown import counted, view

__all__ = ["ConversionView"]

_MOST = 20


@view.register(Conversion)
@dataclass(frozen=True, slots=True)
class ConversionView(LinesView):
    """Verdict, outputs, price, what a head and findings say, and the diff.

    Where `every` is False at most 20 layers of the diff are shown.
    """

    record: Conversion
    every: bool = True

    def lines(self, look: Look) -> list[Line]:
        conversion = self.record
        certificate = conversion.certificate
        out = [opening(certificate, "")]
        out += facts(certificate, look)
        for head in conversion.heads:
            out += wrapped(Span("head", "bold"), _head(head), INDENT, look)
        for finding in conversion.findings:
            text = f"{finding.code}, {finding.layer}: {finding.message}"
            out += wrapped(Span(finding.severity, "bold"), text, INDENT, look)
        if not conversion.edits:
            out += wrapped(
                Span("edits", "bold"), "none: it has that output stride already", INDENT, look
            )
            return out
        out.append(())
        out += _edits(conversion.edits, certificate, look, None if self.every else _MOST)
        return out

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.charts import inspection_chart
        from atrous.draw.offline import offline

        return offline(inspection_chart(self._sides(), cast(Kind, kind)))

    def page(self, *, image: object = None, beside: object = None) -> str:  # noqa: ARG002
        """Verdict, certificate and diff, then before and after side by side."""
        from atrous.report.html import classed
        from atrous.report.pages import report_page

        words = classed(self.lines(Look(width=92, colour=True)))
        verdict = self.record.certificate.verdict
        return report_page(self._sides(), image, verdict=verdict, words=words)

    def _sides(self) -> dict[str, Inspection]:
        before, after = self.record.before, self.record.after
        if before is None or after is None:
            raise UnsupportedError(
                "this conversion does not hold its reports; make it by `convert`."
            )
        return {"before": before, "after": after}


def _head(head: Head) -> str:
    text = (
        f"{head.layer}: rate {head.rate_before} -> {head.rate_after}, a reach of "
        f"{head.reach_before} input pixels between taps "
    )
    if head.reach_after == head.reach_before:
        return text + "as before"
    return text + f"becomes {head.reach_after} (heads='keep')"


def _edits(
    edits: Sequence[Edit], certificate: Certificate, look: Look, top: int | None
) -> Iterator[Line]:
    by_layer: dict[str, list[Edit]] = {}
    for edit in edits:
        by_layer.setdefault(edit.layer, []).append(edit)
    before, after = certificate.before, certificate.after
    yield line(Span(f"--- output stride {strides_text(before.output_stride)}", "red"))
    yield line(Span(f"+++ output stride {strides_text(after.output_stride)}", "cyan"))
    shown = list(by_layer.items())[:top]
    for layer, found in shown:
        yield line(Span(f"@@ {layer}", "bold"))
        for sign, style, values in (
            ("-", "red", [(e.attribute, e.before) for e in found]),
            ("+", "cyan", [(e.attribute, e.after) for e in found]),
        ):
            held = ", ".join(f"{name}={value}" for name, value in values if value is not None)
            if held:
                yield from wrapped(Span(sign, style), held, 2, look, style)
    if len(shown) < len(by_layer):
        yield line(
            Span(f"and {counted(len(by_layer) - len(shown), 'more layer')}: see --all", "dim")
        )
