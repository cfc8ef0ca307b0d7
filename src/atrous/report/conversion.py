"""Conversions in words: the verdict and the price first, then the diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from atrous.analysis import Inspection
from atrous.analysis.inspection import Kind
from atrous.analysis.scale import in_units
from atrous.certification.certificate import Certificate
from atrous.certification.conversion import Conversion
from atrous.conversion.edits import Edit
from atrous.conversion.plan import Head
from atrous.draw.units import per_axis
from atrous.errors import UnsupportedError
from atrous.report.certificate import INDENT, facts, opening, strides_text
from atrous.report.findings import kinds_found
from atrous.report.lines import Line, Look, Span, line, wrapped, wrapped_text
from atrous.report.view import LinesView
from atrous.shown import how_many, view

__all__ = ["ConversionView", "edits_lines", "edits_text"]

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
        out = [*opening(certificate, look)]
        out += facts(certificate, look)
        for head in conversion.heads:
            text = _head(head, certificate)
            out += wrapped(Span("head", "bold"), text, INDENT, look)
        for severity, text in kinds_found(conversion.findings, fixes=False):
            out += wrapped(Span(severity, "bold"), text, INDENT, look)
        if not conversion.edits:
            out += wrapped(
                Span("edits", "bold"), "none: it has that output stride already", INDENT, look
            )
            return out
        out.append(())
        out += _edits(conversion, look, None if self.every else _MOST)
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


def _head(head: Head, certificate: Certificate) -> str:
    def said(reach: int) -> str:
        texts = [in_units({axis: reach}, certificate.scales) for axis in head.axes]
        units = " by ".join(dict.fromkeys(filter(None, texts)))
        return f" ({units})" if units else ""

    after = head.reach_after
    along = "" if set(head.axes) >= set(certificate.axes) else f" along {', '.join(head.axes)}"
    text = (
        f"{head.layer}: rate {head.rate_before} -> {head.rate_after}; its taps lie "
        f"{how_many(after, 'input position')}{said(after)} apart{along}"
    )
    if after == head.reach_before:
        return text + ", as before"
    return text + f", were {head.reach_before}{said(head.reach_before)}, as its rate is kept"


def _edits(conversion: Conversion, look: Look, top: int | None) -> Iterator[Line]:
    """The diff: one line for each layer, in words."""
    before, after = conversion.certificate.before, conversion.certificate.after
    yield line(Span(f"--- output stride {strides_text(before.output_stride)}", "red"))
    yield line(Span(f"+++ output stride {strides_text(after.output_stride)}", "cyan"))
    yield from edits_lines(conversion.edits, look, top)


def edits_lines(edits: Sequence[Edit], look: Look, top: int | None) -> Iterator[Line]:
    """One line for each layer that changes, of at most `top` of them."""
    by_layer: dict[str, list[Edit]] = {}
    for edit in edits:
        by_layer.setdefault(edit.layer, []).append(edit)
    shown = list(by_layer.items())[:top]
    for layer, found in shown:
        first, *more = wrapped_text(f"{layer}: {edits_text(found)}", max(look.width - 2, 20), look)
        name = first[: len(layer) + 1]
        yield line(Span(name, "bold"), first[len(name) :])
        yield from (line(f"  {row}") for row in more)
    if len(shown) < len(by_layer):
        left = how_many(len(by_layer) - len(shown), "more layer")
        yield line(Span(f"and {left}: see --all", "dim"))


def edits_text(edits: Sequence[Edit]) -> str:
    """What changes of one layer: `stride 2 -> 1, dilation 1 -> 2`.

    An average pool whose window PyTorch's cannot have is said to need this package where it runs.
    """
    parts, replaced = [], False
    for edit in edits:
        before, after = _per_axis_value(edit.before), _per_axis_value(edit.after)
        if edit.attribute == "class" and edit.after == "AvgPool":
            replaced = True
        elif before != after:
            parts.append(f"{edit.attribute} {before} -> {after}")
    text = ", ".join(parts)
    if replaced:
        text += (
            "; it becomes an average pool of atrous, as PyTorch has none with such a window: "
            "a saved module needs atrous where it is loaded, an exported program does not"
        )
    return text.removeprefix("; ")


def _per_axis_value(value: object) -> str:
    """A value of an attribute: once where all axes agree, and the two ends of a padding by +."""
    if value is None:
        return "none"
    if not isinstance(value, tuple | list):
        return str(value)
    ends = ["+".join(map(str, one)) if isinstance(one, tuple | list) else str(one) for one in value]
    return per_axis(ends)
