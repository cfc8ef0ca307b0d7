"""What a change did, in words: the totals first, then the outputs, then layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from atrous.analysis.diff import Change, Delta, Diff
from atrous.analysis.scale import Scale, in_units
from atrous.draw.units import bytes_text, per_axis, quantity, shape_text, share_text
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.shown import how_many, some, view

__all__ = ["DiffView"]

Scales = Mapping[str, Scale | None]

_SIGNS = {"added": ("+", "cyan"), "removed": ("-", "red"), "changed": ("~", "yellow")}
# What moves no positions and costs nothing only follows the layers around it.
_QUIET = {"constant", "elementwise", "expand", "permute", "reorder", "reshape"}
_INDENT = 14
_COSTS = {"compute", "macs", "params", "memory", "memory of the graph", "activation"}
_LABELS = {
    "params": "parameters",
    "memory": "peak memory",
    "memory of the graph": "by the graph",
}


@view.register(Diff)
@dataclass(frozen=True, slots=True)
class DiffView(LinesView):
    """What a change did. `every` lists layers that only follow others too; `top` that many."""

    record: Diff
    every: bool = False
    top: int | None = None

    def lines(self, look: Look) -> list[Line]:
        diff = self.record
        out: list[Line] = [line(Span(_opening(diff), "bold"))]
        for delta in diff.totals:
            if delta.what == "macs":
                delta = Delta("compute", delta.old, delta.new)
            out += wrapped(
                Span(_LABELS.get(delta.what, delta.what), "bold"), _delta(delta), _INDENT, look
            )
        for change in diff.outputs:
            out += wrapped(
                Span("output", "bold"),
                f"{change.layer}: {_words(change, diff.scales)}",
                _INDENT,
                look,
            )
        shown = [c for c in diff.layers if self.every or c.op not in _QUIET]
        quiet = len(diff.layers) - len(shown)
        cut = shown if self.top is None else shown[: self.top]
        if cut:
            out.append(())
        for change in cut:
            sign, style = _SIGNS[change.kind]
            out.append(line(Span(f"{sign} {change.layer}", style)))
            out += [
                (Span("    "), *found)
                for found in _indented(_words(change, diff.scales, by_layer=True), look)
            ]
        rest = []
        if len(shown) > len(cut):
            rest.append(f"and {how_many(len(shown) - len(cut), 'more layer')}")
        if quiet:
            rest.append(f"{quiet} more that move no positions and cost no MACs differ: see --all")
        if rest:
            out += [(), line(Span("; ".join(rest), "dim"))]
        return out


def _indented(text: str, look: Look) -> Iterator[Line]:
    narrow = Look(look.width - 4, look.height, look.unicode, look.colour)
    yield from (found[1:] for found in wrapped(Span(""), text, 0, narrow))


def _opening(diff: Diff) -> str:
    if not diff:
        return f"{diff.new or 'network'}: nothing differs"
    counts = {kind: sum(c.kind == kind for c in diff.layers) for kind in _SIGNS}
    parts = [f"{count} {kind}" for kind, count in counts.items() if count]
    names = diff.new if diff.old == diff.new else f"{diff.old} -> {diff.new}"
    return f"{names}: {', '.join([*parts, f'{diff.same} the same'])}"


def _words(change: Change, scales: Scales, *, by_layer: bool = False) -> str:
    if change.kind != "changed":
        wanted = ("op", "output", "field", "coverage", "stride", "macs", "params")
        facts = [
            _prefixed(d.what, _value(d.what, d.new if change.kind == "added" else d.old, scales))
            for d in change.deltas
            if d.what in wanted
        ]
        return ("" if by_layer else f"{change.kind}: ") + "; ".join(facts)
    return "; ".join(f"{_prefix(d.what)}{_delta(d, scales)}" for d in change.deltas)


def _prefixed(what: str, text: str) -> str:
    return f"{_prefix(what)}{text}"


def _prefix(what: str) -> str:
    return {"op": "", "macs": "MACs "}.get(what, f"{what} ")


def _delta(delta: Delta, scales: Scales | None = None) -> str:
    if delta.what in ("findings", "opaque", "global", "not counted"):
        gone = [name for name in delta.old or () if name not in (delta.new or ())]
        come = [name for name in delta.new or () if name not in (delta.old or ())]
        parts = [f"new: {some(come)}"] if come else []
        parts += [f"gone: {some(gone)}"] if gone else []
        return ", ".join(parts) or "in another order"
    text = " -> ".join(_value(delta.what, value, scales) for value in (delta.old, delta.new))
    if delta.what in _COSTS and delta.old and delta.new:
        text += f" ({_ratio(delta.new / delta.old)})"
    return text


def _ratio(ratio: float) -> str:
    if 0.95 < ratio < 1.05:
        # A factor would hide what small changes are.
        return f"{ratio - 1:+.2g}" if abs(ratio - 1) < 1e-4 else f"{ratio - 1:+.2%}"
    return f"x{ratio:.3g}"


def _value(what: str, value: Any, scales: Scales | None = None) -> str:
    if value is None:
        return "none"
    shown: dict[str, Callable[[Any], str]] = {
        "input": _input_shapes,
        "output": shape_text,
        "field": lambda sizes: per_axis([*map(str, sizes)]) or "none",
        "coverage": lambda shares: per_axis([share_text(share) for share in shares]) or "none",
        "stride": lambda strides: per_axis(strides) or "none",
        "compute": lambda count: quantity(count, "MAC"),
        "macs": quantity,
        "params": quantity,
        "memory": bytes_text,
        "memory of the graph": bytes_text,
        "activation": bytes_text,
        "complete": lambda known: "understood" if known else "not understood",
    }
    text = shown[what](value) if what in shown else _plain(value)
    if what in ("field", "stride") and scales and len(value) == len(scales):
        lengths = dict(zip(scales, map(Fraction, value), strict=True))
        text += f" ({in_units(lengths, {a: s for a, s in scales.items() if s is not None})})"
    return text


def _plain(value: Any) -> str:
    return some(value) if isinstance(value, list) else str(value)


def _input_shapes(shapes: dict[str, Sequence[int]]) -> str:
    return some([f"{name} {shape_text(shape)}" for name, shape in shapes.items()])
