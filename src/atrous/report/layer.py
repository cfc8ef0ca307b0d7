"""One layer in depth: every number of every axis, and every phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from fractions import Fraction

from atrous.analysis import Field, Footprint, Layer, Phase
from atrous.analysis.rates import Pyramid
from atrous.analysis.scale import Scale
from atrous.draw.units import bytes_text, fraction_text, quantity, shape_text, share_text
from atrous.report.footprint import FootprintView
from atrous.report.lines import Column, Line, Look, Span, line, table, wrapped
from atrous.report.rates import PyramidView
from atrous.report.summary import field_text, global_text, parts_text
from atrous.report.view import LinesView
from atrous.shown import how_many, view

__all__ = ["FieldView", "LayerView"]

_INDENT = 17
_MOST_PHASES = 32
_MOST_TAPS = 12

_FACTS: tuple[tuple[str, Callable[[Field], str]], ...] = (
    ("size", lambda axis: str(axis.size)),
    ("taps", lambda axis: str(axis.taps)),
    ("coverage", lambda axis: share_text(axis.coverage)),
    ("max gap", lambda axis: str(axis.max_gap)),
    ("step", lambda axis: str(axis.step)),
    ("stride", lambda axis: str(axis.stride)),
    ("start", lambda axis: str(axis.start)),
    ("center", lambda axis: fraction_text(axis.center)),
    ("phases", lambda axis: str(max(len(axis.phases), 1))),
)

_LENGTHS: Mapping[str, Callable[[Field], Fraction | int]] = {
    "size": lambda axis: axis.size,
    "max gap": lambda axis: axis.max_gap,
    "step": lambda axis: axis.step,
    "stride": lambda axis: axis.stride,
    "start": lambda axis: axis.start,
    "center": lambda axis: axis.center,
}

_PHASE: tuple[tuple[str, Callable[[Phase], str]], ...] = (
    ("size", lambda phase: str(phase.size)),
    ("taps", lambda phase: str(phase.taps)),
    ("coverage", lambda phase: share_text(phase.coverage)),
    ("max gap", lambda phase: str(phase.max_gap)),
    ("step", lambda phase: str(phase.step)),
    ("start", lambda phase: str(phase.start)),
    ("center", lambda phase: fraction_text(phase.center)),
)


@view.register(Layer)
@dataclass(frozen=True, slots=True)
class LayerView(LinesView):
    """What one layer is, costs and sees; with its pyramid, footprint and notes where given."""

    record: Layer
    footprint: Footprint | None = None
    pyramid: Pyramid | None = None
    notes: tuple[str, ...] = ()
    scales: Mapping[str, Scale] = dataclass_field(default_factory=dict)

    def lines(self, look: Look) -> list[Line]:
        out = _layer_lines(self.record, look, self.scales)
        for note in self.notes:
            out += wrapped(Span("stride", "bold"), note, _INDENT, look)
        if self.pyramid is not None:
            out += [(), *PyramidView(self.pyramid).lines(look)]
        if self.footprint is not None:
            out += [(), *FootprintView(self.footprint).lines(look)]
        return out


@view.register(Field)
@dataclass(frozen=True, slots=True)
class FieldView(LinesView):
    """The numbers of one axis."""

    record: Field

    def lines(self, look: Look) -> list[Line]:
        return _field_lines((self.record,), look)


def _layer_lines(layer: Layer, look: Look, scales: Mapping[str, Scale]) -> list[Line]:
    """What one layer is, costs and sees."""
    detail = f" {layer.detail}" if layer.detail and layer.detail != layer.op else ""
    out: list[Line] = [line(Span(layer.name, "bold"), f": {layer.op}{detail}")]
    facts = []
    if layer.module and layer.module != layer.name:
        facts.append(("module", layer.module))
    size = bytes_text(layer.activation_bytes)
    shape = shape_text(layer.output_shape, known=layer.sized)
    facts.append(("output", f"{shape}, {size}" if layer.sized else shape))
    if layer.uncounted:
        facts.append(("compute", "not known"))
    if layer.macs:
        exact = f" ({layer.macs:,} MACs)"
        cost = f"{quantity(layer.macs, 'MAC')} = {quantity(layer.flops, 'FLOP')}"
        facts.append(("compute", cost + exact))
        moved = bytes_text(layer.bytes_moved)
        facts.append(("intensity", f"{layer.intensity:.3g} FLOP/byte, {moved} moved"))
    if layer.params:
        exact = f" ({layer.params:,})" if layer.params >= 1000 else ""
        facts.append(("parameters", quantity(layer.params) + exact))
    if layer.unread_taps:
        facts.append(("not read", zero_text(layer)))
    if not layer.field:
        facts.append(("receptive field", field_text(layer)))
    if layer.is_global:
        facts.append(("global", f"{global_text(layer)}; the field is the local one"))
    for label, text in facts:
        out.extend(wrapped(Span(label, "bold"), text, _INDENT, look))
    for index, text in enumerate(parts_text(layer)):
        label = "" if index else "receptive field"
        out.extend(wrapped(Span(label, "bold"), text, _INDENT, look))
    if layer.field and len(layer.parts) < 2:
        out.append(())
        out.extend(_field_lines(layer.field, look, scales))
    return out


def zero_text(layer: Layer) -> str:
    """Which taps are left out of the reads, and why."""
    taps = layer.unread_taps
    single = len(taps[0]) == 1
    shown = ", ".join(str(tap[0]) if single else str(tap) for tap in taps[:_MOST_TAPS])
    more = f" and {len(taps) - _MOST_TAPS} more" if len(taps) > _MOST_TAPS else ""
    word = "tap" if len(taps) == 1 else "taps"
    return f"{len(taps)} {word}, where the weight is 0 for all channels: {shown}{more}"


def _field_lines(
    fields: tuple[Field, ...], look: Look, scales: Mapping[str, Scale] | None = None
) -> list[Line]:
    """The numbers of each axis in a column of its own, and those of its phases below.

    An axis that has a scale has a second column, with what are lengths in its unit.
    """
    columns = [Column("axis", tuple(Span(name) for name, _ in _FACTS), right=False)]
    for axis in fields:
        cells = tuple(Span(value(axis), _style(name, axis)) for name, value in _FACTS)
        columns.append(Column(axis.axis or "axis", cells))
        scale = (scales or {}).get(axis.axis)
        if scale is not None:
            texts = (
                scale.text(_LENGTHS[name](axis)).removesuffix(f" {scale.unit}")
                if name in _LENGTHS
                else ""
                for name, _ in _FACTS
            )
            columns.append(Column(f"{axis.axis} {scale.unit}", tuple(map(Span, texts))))
    out = table(columns, look)
    seen: dict[tuple[Phase, ...], list[str]] = {}
    for axis in fields:
        if len(axis.phases) > 1:
            seen.setdefault(axis.phases, []).append(axis.axis)
    for phases, names in seen.items():
        out.append(())
        out.append(line(_phase_words(phases, names)))
        out.extend(_phase_table(phases, look))
    return out


def _phase_words(phases: tuple[Phase, ...], names: list[str]) -> str:
    sizes = Counter(phase.size for phase in phases)
    if len(sizes) == 1:
        return f"{', '.join(names)}: {how_many(len(phases), 'phase')} of the output"
    parts = (f"{size} at {count}" for size, count in sorted(sizes.items(), reverse=True)[:4])
    more = " and other sizes at the rest" if len(sizes) > 4 else ""
    return (
        f"{', '.join(names)}: {how_many(len(phases), 'phase')} of the output; size "
        f"{', '.join(parts)}{more}"
    )


def _phase_table(phases: tuple[Phase, ...], look: Look) -> list[Line]:
    shown = phases[:_MOST_PHASES]
    columns = [Column("phase", tuple(Span(str(index)) for index in range(len(shown))))]
    columns += [
        Column(title, tuple(Span(value(phase)) for phase in shown)) for title, value in _PHASE
    ]
    out = table(columns, look)
    if len(phases) > len(shown):
        out.append(line(Span(f"{how_many(len(phases) - len(shown), 'more phase')}", "dim")))
    return out


def _style(name: str, axis: Field) -> str:
    return "yellow" if name in {"coverage", "max gap"} and axis.coverage < 1 else ""
