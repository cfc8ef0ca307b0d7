"""Certificates in words: the verdict first, then why, and the price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from atrous.analysis.scale import Scale, in_units
from atrous.certification.certificate import Certificate, OutputCertificate, Price
from atrous.certification.verdicts import Verdict
from atrous.draw.units import at_least, bytes_text, fraction_text, per_axis, shape_text
from atrous.draw.units import quantity as count_text
from atrous.report.lines import Line, Look, Span, line, wrapped, wrapped_text
from atrous.report.view import LinesView
from atrous.shown import how_many, ordinal, view

__all__ = [
    "INDENT",
    "CertificateView",
    "costs_text",
    "facts",
    "opening",
    "output_text",
    "strides_text",
]

INDENT = 14
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


@view.register(Certificate)
@dataclass(frozen=True, slots=True)
class CertificateView(LinesView):
    """Verdict, causes, outputs and price."""

    record: Certificate

    def lines(self, look: Look) -> list[Line]:
        names = f"{self.record.candidate} against {self.record.reference}: "
        return [*opening(self.record, look, names), *facts(self.record, look)]


def opening(certificate: Certificate, look: Look, names: str = "") -> Iterator[Line]:
    """The verdict, and what it means; the names of both behind it where they are long."""
    verdict = certificate.verdict
    meaning = _MEANING[verdict]
    unclear = [output for output in certificate.outputs if output.verdict == "approximate"]
    if verdict == "approximate" and all(c.same for o in unclear for c in o.checks):
        meaning = "not all in between is understood"
        if certificate.state == "measured":
            meaning += "; where both were run, the values are the same"
    if certificate.not_run:
        # Of some output, only who reads what is known.
        meaning = meaning.replace("the values are kept", "the same positions are read")
    long = len(names) + len(verdict) + len(meaning) + 2 > look.width
    names, below = ("", names) if long else (names, "")
    room = max(look.width - len(names) - len(verdict) - 2, 20)
    first, *rest = wrapped_text(meaning, room, look)
    yield line(Span(names), Span(verdict, _STYLES[verdict]), Span(f": {first}", "bold"))
    yield from (line(Span(row, "bold")) for row in rest)
    if below:
        yield from wrapped(Span("compared", "bold"), below.removesuffix(": "), INDENT, look)


def facts(certificate: Certificate, look: Look) -> Iterator[Line]:
    """Causes, outputs, price, and what was checked."""
    for cause in certificate.causes[:8]:
        yield from wrapped(Span("because", "bold"), cause.said(certificate.scales), INDENT, look)
    if len(certificate.causes) > 8:
        more = f"and {how_many(len(certificate.causes) - 8, 'more cause')} of the same kinds"
        yield from wrapped(Span(""), more, INDENT, look)
    some_ran = any(output.state != "not run" for output in certificate.outputs)
    for output in certificate.outputs:
        label = Span("output", "bold")
        text = output_text(output, certificate.scales, alone=some_ran)
        yield from wrapped(label, text, INDENT, look)
    before, after = certificate.before, certificate.after
    yield from wrapped(
        Span("output stride", "bold"),
        f"{strides_text(before.output_stride)} -> {strides_text(after.output_stride)} "
        f"(coarsest map){_strides_in_units(certificate)}",
        INDENT,
        look,
    )
    yield from wrapped(
        Span("compute", "bold"),
        costs_text(before, after, "macs"),
        INDENT,
        look,
    )
    yield from wrapped(
        Span("peak memory", "bold"),
        f"{costs_text(before, after, 'memory')} of activations, by the graph",
        INDENT,
        look,
    )
    yield from wrapped(Span("checked", "bold"), _checked(certificate), INDENT, look)
    for note in certificate.notes:
        yield from wrapped(Span("note", "bold"), note, INDENT, look)


def costs_text(before: Price, after: Price, quantity: Literal["macs", "memory"]) -> str:
    """A cost before and after; no factor where one of them is only a lower bound."""
    both = [side.macs if quantity == "macs" else side.peak_memory_bytes for side in (before, after)]
    texts = [count_text(n, "MAC") if quantity == "macs" else bytes_text(n) for n in both]
    left_out = [dict(side.uncounted).get(quantity, ()) for side in (before, after)]
    bounds = [at_least(text, names) for text, names in zip(texts, left_out, strict=True)]
    return " -> ".join(bounds) + ("" if any(left_out) else _growth(*both))


def _strides_in_units(certificate: Certificate) -> str:
    texts = [
        in_units(dict(zip(side.axes, side.output_stride, strict=False)), certificate.scales)
        for side in (certificate.before, certificate.after)
    ]
    return f"; {' -> '.join(texts)}" if all(texts) else ""


def output_text(
    output: OutputCertificate, scales: Mapping[str, Scale] | None = None, *, alone: bool = True
) -> str:
    """One output in a sentence; that it was not run is said where it is `alone` in that."""
    scales = scales or {}
    parts = [f"{output.name}: {output.verdict}"]
    if output.shape_before == output.shape_after:
        parts.append(f"{shape_text(output.shape_after)} as before")
    else:
        parts.append(f"{shape_text(output.shape_after)}, was {shape_text(output.shape_before)}")
    if output.factor and output.verdict != "broken":
        where = _where(output, scales)
        if where:
            parts.append(where)
    if any(lo + hi for lo, hi in output.margin):
        texts = [f"{lo} low, {hi} high" for lo, hi in output.margin]
        parts.append(
            f"margin of {per_axis(texts)} (positions of the original{_margins(output, scales)})"
        )
    if output.axes and any(output.fields):
        parts.append(_field_kept(output, scales))
    if output.relative_error is not None:
        parts.append(f"relative error {_error_text(output.relative_error)}")
    if alone and output.why and output.shape_before:
        parts.append(f"not run: {output.why}")
    return "; ".join(parts)


def _error_text(error: float) -> str:
    """One digit behind the first; powers of ten only where the number is small."""
    return "0" if not error else f"{error:.1e}" if error < 0.01 else f"{error:.2g}"


def _margins(output: OutputCertificate, scales: Mapping[str, Scale]) -> str:
    """The margins of axes that have a scale, in its unit."""
    strides = output.strides[0]
    known = [(a, m) for a, m in zip(output.axes, output.margin, strict=False) if a in strides]
    ends = [in_units({a: m[end] * strides[a] for a, m in known}, scales) for end in (0, 1)]
    return f"; {ends[0]} low, {ends[1]} high" if all(ends) else ""


def _field_kept(output: OutputCertificate, scales: Mapping[str, Scale]) -> str:
    """What an output sees of the input, before and after."""
    before, after = ({f.axis: f.size for f in side} for side in output.fields)
    texts = []
    for sizes in (after, before):
        units = in_units(sizes, scales)
        texts.append("x".join(map(str, sizes.values())) + (f" ({units})" if units else ""))
    word = "local field" if output.mixed else "field"
    return f"{word} {texts[0]}" + (" as before" if before == after else f", was {texts[1]}")


def _where(output: OutputCertificate, scales: Mapping[str, Scale]) -> str:
    if all(f == 1 for f in output.factor) and not any(output.phase):
        return ""
    finer = all(f >= 1 for f in output.factor)
    steps = [f if finer else 1 / f for f in output.factor]
    words = list(map(_every, steps))
    every = words[0]
    if len(set(words)) > 1:
        axes = output.axes or tuple(map(str, range(len(words))))
        every = ", ".join(f"{w} along {a}" for w, a in zip(words, axes, strict=True)) + ","
    if finer:
        first = dict(zip(output.axes, output.phase, strict=False))
        strides = output.strides[1]
        lengths = {a: n * strides[a] for a, n in first.items() if a in strides}
        units = in_units(lengths, scales) if any(lengths.values()) else ""
        start = per_axis([str(p) for p in output.phase]) + (f" ({units})" if units else "")
        return f"{every} from {start} on is the original's"
    return f"{every} of the original is left"


def _every(step: Fraction) -> str:
    """Which positions, counted from one that is among them.

    >>> _every(Fraction(1)), _every(Fraction(4)), _every(Fraction(3, 2))
    ('every position', 'every 4th position', 'every 1.5 positions one')
    """
    if step == 1:
        return "every position"
    if step.denominator > 1:
        return f"every {fraction_text(step)} positions one"
    return f"every {ordinal(step.numerator)} position"


def strides_text(strides: Sequence[Fraction]) -> str:
    """Output strides by axis."""
    return per_axis([fraction_text(stride) for stride in strides]) or "none"


def _growth(before: int, after: int) -> str:
    return f" (x{after / before:.3g})" if before and after and before != after else ""


def _checked(certificate: Certificate) -> str:
    """What was looked at and run at which sizes, and where the two halves do not meet."""
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
    return f"{text}; THE TWO DISAGREE" if certificate.state == "disagrees" else text
