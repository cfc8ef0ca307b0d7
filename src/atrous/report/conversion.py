"""Conversions and certificates in words: the verdict and the price first, then the diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from atrous.convert import Certificate, Edit, OutputCertificate, Verdict
from atrous.convert.records import Head
from atrous.draw.units import bytes_text, fraction_text, per_axis, quantity, shape_text
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.runtime.conversion import Conversion

__all__ = ["certificate_lines", "conversion_lines"]

_INDENT = 14
_STYLES: dict[Verdict, str] = {
    "exact": "bold cyan",
    "interior": "bold yellow",
    "shifted": "bold yellow",
    "approximate": "bold yellow",
    "broken": "bold red",
}
_MEANING: dict[Verdict, str] = {
    "exact": "the values are kept, borders included",
    "interior": "the values are kept beyond a margin at the border",
    "shifted": "the values are kept at another phase",
    "approximate": "layers that mix all positions, or resample, see a map of another size",
    "broken": "something else is computed",
}


def conversion_lines(
    conversion: Conversion, look: Look, *, every: bool = True, top: int = 20
) -> list[Line]:
    """A conversion: verdict, outputs, price, what a head and findings say, and the diff.

    Where `every` is False at most `top` layers of the diff are shown.
    """
    certificate = conversion.certificate
    out = [_opening(certificate, "")]
    out += _facts(certificate, look)
    for head in conversion.heads:
        out += wrapped(Span("head", "bold"), _head(head), _INDENT, look)
    for finding in conversion.findings:
        text = f"{finding.code}, {finding.layer}: {finding.message}"
        out += wrapped(Span(finding.severity, "bold"), text, _INDENT, look)
    if not conversion.edits:
        out += wrapped(
            Span("edits", "bold"), "none: it has that output stride already", _INDENT, look
        )
        return out
    out.append(())
    out += _diff(conversion.edits, certificate, look, None if every else top)
    return out


def certificate_lines(certificate: Certificate, look: Look) -> list[Line]:
    """A certificate: verdict, causes, outputs and price."""
    names = f"{certificate.candidate} against {certificate.reference}: "
    return [_opening(certificate, names), *_facts(certificate, look)]


def _opening(certificate: Certificate, names: str) -> Line:
    verdict = certificate.verdict
    meaning = _MEANING[verdict]
    if not any(check.measured for output in certificate.outputs for check in output.checks):
        # Nothing was run: only who reads what is known.
        meaning = meaning.replace("the values are kept", "the same positions are read")
    return line(Span(names), Span(verdict, _STYLES[verdict]), Span(f": {meaning}", "bold"))


def _facts(certificate: Certificate, look: Look) -> Iterator[Line]:
    for cause in certificate.causes[:8]:
        yield from wrapped(Span("because", "bold"), str(cause), _INDENT, look)
    if len(certificate.causes) > 8:
        more = f"and {len(certificate.causes) - 8} more causes of the same kinds"
        yield from wrapped(Span(""), more, _INDENT, look)
    for output in certificate.outputs:
        label = Span("output", "bold")
        yield from wrapped(label, output_text(output), _INDENT, look)
    before, after = certificate.before, certificate.after
    yield from wrapped(
        Span("output stride", "bold"),
        f"{_strides(before.output_stride)} -> {_strides(after.output_stride)} (coarsest map)",
        _INDENT,
        look,
    )
    yield from wrapped(
        Span("compute", "bold"),
        f"{quantity(before.macs, 'MAC')} -> {quantity(after.macs, 'MAC')}"
        f"{_times(before.macs, after.macs)}",
        _INDENT,
        look,
    )
    yield from wrapped(
        Span("peak memory", "bold"),
        f"{bytes_text(before.peak_memory_bytes)} -> {bytes_text(after.peak_memory_bytes)}"
        f"{_times(before.peak_memory_bytes, after.peak_memory_bytes)} of activations",
        _INDENT,
        look,
    )
    yield from wrapped(Span("checked", "bold"), _checked(certificate), _INDENT, look)
    for note in certificate.notes:
        yield from wrapped(Span("note", "bold"), note, _INDENT, look)


def output_text(output: OutputCertificate) -> str:
    """One output in a sentence."""
    parts = [f"{output.name}: {output.verdict}"]
    if output.shape_before == output.shape_after:
        parts.append(f"{shape_text(output.shape_after)} as before")
    else:
        parts.append(f"{shape_text(output.shape_after)}, was {shape_text(output.shape_before)}")
    if output.factor and output.verdict != "broken":
        where = _where(output)
        if where:
            parts.append(where)
    if any(lo + hi for lo, hi in output.margin):
        texts = [f"{lo} low, {hi} high" for lo, hi in output.margin]
        parts.append(f"margin of {per_axis(texts)} (positions of the original)")
    if output.relative_error is not None:
        parts.append(f"relative error {output.relative_error:.1e}")
    return "; ".join(parts)


def _where(output: OutputCertificate) -> str:
    if all(f == 1 for f in output.factor) and not any(output.phase):
        return ""
    if all(f >= 1 for f in output.factor):
        every = per_axis([f"every {_ordinal(f)} position" for f in output.factor])
        return f"{every} from {per_axis([str(p) for p in output.phase])} on is the original's"
    every = per_axis([f"every {_ordinal(1 / f)} position" for f in output.factor])
    return f"{every} of the original is left"


def _ordinal(value: Fraction) -> str:
    text = fraction_text(value)
    if text in ("1", "2", "3"):
        return {"1": "1st", "2": "2nd", "3": "3rd"}[text]
    return f"{text}th"


def _strides(strides: Sequence[Fraction]) -> str:
    return per_axis([fraction_text(stride) for stride in strides]) or "none"


def _times(before: int, after: int) -> str:
    return f" (x{after / before:.3g})" if before and after and before != after else ""


def _checked(certificate: Certificate) -> str:
    runs: dict[str, list[str]] = {}
    for output in certificate.outputs:
        for check in output.checks:
            size = "x".join(map(str, check.sizes))
            words = runs.setdefault(size, [])
            if check.measured is not None and f"{check.weights} weights" not in words:
                words.append(f"{check.weights} weights")
    measured = [f"{size} ({', '.join(words)})" for size, words in runs.items() if words]
    text = f"by structure at {', '.join(runs)}"
    if measured:
        text += f"; by running both in {certificate.precision} at {', '.join(measured)}"
    else:
        text += f"; {certificate.precision}"
    return text if certificate.agrees else f"{text}; THE TWO DISAGREE"


def _head(head: Head) -> str:
    text = (
        f"{head.layer}: rate {head.rate_before} -> {head.rate_after}, a reach of "
        f"{head.reach_before} input pixels between taps "
    )
    if head.reach_after == head.reach_before:
        return text + "as before"
    return text + f"becomes {head.reach_after} (heads='keep')"


def _diff(
    edits: Sequence[Edit], certificate: Certificate, look: Look, top: int | None
) -> Iterator[Line]:
    by_layer: dict[str, list[Edit]] = {}
    for edit in edits:
        by_layer.setdefault(edit.layer, []).append(edit)
    before, after = certificate.before, certificate.after
    yield line(Span(f"--- output stride {_strides(before.output_stride)}", "red"))
    yield line(Span(f"+++ output stride {_strides(after.output_stride)}", "cyan"))
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
        yield line(Span(f"and {len(by_layer) - len(shown)} more layers: see --all", "dim"))
