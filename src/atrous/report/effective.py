"""An effective field in words: its box against the whole field, its shape, how it was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from atrous.analysis.effective import Effective
from atrous.analysis.effective_field import EffectiveField, Spread
from atrous.analysis.scale import Scale, in_units
from atrous.draw.units import shape_text, share_text, shortened
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import PictureView
from atrous.shown import some, view

__all__ = ["EffectiveFieldView"]

_INDENT = 17
_GAUSSIAN, _FLAT = 0.67, 0.87
"""Half of a density, in deviations from its mean."""


@view.register(EffectiveField)
@dataclass(frozen=True, slots=True)
class EffectiveFieldView(PictureView):
    """One line for each thing that is known of the density."""

    record: EffectiveField

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        at = f" at ({', '.join(map(str, found.at))})" if found.at else ""
        words = f"effective field of {found.layer}{at}"
        room = max(look.width - len(words) - 2, 8)
        named = f", {shortened(found.network, room, look.ellipsis)}"
        out = [line(Span(words, "bold"), named)]
        for label, text in _said_of(found):
            out += wrapped(Span(label, "bold"), text, _INDENT, look)
        return out

    def words(self) -> list[str]:
        return self.text(Look(width=100)).split("\n")

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.effective import effective_chart
        from atrous.draw.offline import offline

        return offline(effective_chart(self.record))


def _said_of(found: EffectiveField) -> Iterator[tuple[str, str]]:
    whole = f"{shape_text(found.size)} positions ({', '.join(found.axes)})"
    if found.mixed:
        every = found.size == found.density.shape
        whole += ", the whole input" if every else ""
        whole += f": {some(found.mixed)} mixed {'all ' * every}positions"
    yield "whole field", whole + _units(found, found.size, "; ")
    if not found.density.any():
        yield "effective", "none: on these inputs the output depends on no position"
    else:
        box = found.box
        yield (
            _percent(found),
            f"within {shape_text(box.size)}, {share_text(found.ratio)} of the field"
            + _parts_along(found)
            + _units(found, box.size, "; "),
        )
        halves = "; ".join(_half_of(spread, found.scales) for spread in found.spreads)
        yield "half of it", f"{halves}; a Gaussian has {_GAUSSIAN}, a flat field {_FLAT}"
    if found.paths is not None and found.roots is not None:
        inner, outer = (
            shape_text(b.size) + _bracketed(found, b) for b in (found.paths, found.roots)
        )
        roots = (
            ""
            if found.weights == "counted"
            else f", {outer} {_percent(found).replace('it', 'their roots')}"
        )
        share = _percent(found).replace("it", "all paths")
        yield "by paths", f"{inner} holds {share}{roots}"
    yield ("counted" if found.weights == "counted" else "measured"), _how(found)
    for note in found.notes:
        yield "note", note


def _percent(found: EffectiveField) -> str:
    return f"{100 * found.share:.4g}% of it"


def _parts_along(found: EffectiveField) -> str:
    """The box's part of the field along each axis, where there are several."""
    shares = [share_text(b / n) for b, n in zip(found.box.size, found.size, strict=True)]
    if len(shares) < 2:
        return ""
    if len(set(shares)) == 1:
        return f", {shares[0]} along each axis"
    return "".join(f", {s} along {axis}" for s, axis in zip(shares, found.axes, strict=True))


def _half_of(spread: Spread, scales: Mapping[str, Scale]) -> str:
    half, mean = (
        in_units({spread.axis: Fraction(value)}, scales) for value in (spread.half, spread.mean)
    )
    return (
        f"within {spread.half:.3g} positions{f' ({half})' if half else ''} of {spread.mean:.4g}"
        f"{f' ({mean})' if mean else ''} along {spread.axis}, {spread.ratio:.2f} deviations"
    )


def _how(found: EffectiveField) -> str:
    if found.weights == "counted":
        return (
            "roots of path counts: the root mean square of the gradient where weights are "
            "independent with mean 0, activations aside"
        )
    of = {"images": "image", "given": "given input", "random": "random input"}
    inputs = of.get(found.inputs, "input") + ("" if found.samples == 1 else "s")
    weights = "the model's own weights" if found.weights == "given" else "weights drawn anew"
    return f"mean size of the gradient on {found.samples} {inputs}, {weights}, seed {found.seed}"


def _bracketed(found: EffectiveField, box: Effective) -> str:
    text = _units(found, box.size, "")
    return f" ({text})" if text else ""


def _units(found: EffectiveField, size: Sequence[int], mark: str) -> str:
    text = in_units(dict(zip(found.axes, size, strict=True)), found.scales)
    return f"{mark}{text}" if text else ""
