"""The first lines of a report: what needs attention, what the output sees, what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction

from atrous.analysis import Field, Inspection, Layer
from atrous.analysis.causality import one_side, reorders, scans_back
from atrous.analysis.ends import looks_at_ends
from atrous.analysis.rates import Pyramid
from atrous.analysis.resampled import resampled_strides
from atrous.analysis.scale import TIME_LIKE, Scale, in_units
from atrous.draw.units import at_least, bytes_text, per_axis, quantity, shape_text, share_text
from atrous.network import Network
from atrous.report.findings import SEVERITIES, kinds_found
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.rates import pyramid_text
from atrous.report.training import training_statements
from atrous.shown import how_many, ordinal, some

__all__ = [
    "field_text",
    "global_text",
    "opening",
    "parts_text",
    "statements",
    "summary",
]

_INDENT = 17
_MOST_OUTPUTS = 4
_MOST_PYRAMIDS = 2
_SAID_ELSEWHERE = frozenset({"global", "opaque"})


def summary(inspection: Inspection, look: Look) -> list[Line]:
    """What the report says first."""
    out: list[Line] = [opening(inspection)]
    for label, text, style in statements(inspection):
        out.extend(wrapped(Span(label, style or "bold"), text, _INDENT, look, style))
    return out


def opening(inspection: Inspection) -> Line:
    """The network's name, how many layers it has, and whether all of them are understood."""
    layers = how_many(len(inspection.layers), "layer")
    name = Span(inspection.network.name or "network", "bold")
    if inspection.complete:
        return line(name, Span(f": {layers}, all understood", ""))
    return line(name, f": {layers}, ", Span("results are partial", "bold red"))


def field_text(layer: Layer) -> str:
    """The receptive field in words: sizes, coverage, gaps, phases.

    Axes that agree in everything are said once.
    """
    if layer.opaque:
        return f"not known behind {some(layer.opaque)}"
    if not layer.field:
        return "none: it does not depend on the input's positions"
    return sizes_text(layer.field)


def sizes_text(fields: Sequence[Field]) -> str:
    """Fields in words, those that agree in everything said once."""
    facts = [_axis_facts(axis) for axis in fields]
    sizes = "x".join(str(axis.size) for axis in fields)
    names = ", ".join(axis.axis for axis in fields)
    if all(fact == facts[0] for fact in facts):
        named = f" ({names})" if len(facts) > 1 or names else ""
        return f"{sizes}{named}, {facts[0]}" + (" along each axis" if len(facts) > 1 else "")
    parts = [f"{axis.axis}: {fact}" for axis, fact in zip(fields, facts, strict=True)]
    return f"{sizes} ({names}); {'; '.join(parts)}"


def parts_text(layer: Layer, most: int = 6) -> list[str]:
    """What each part of a layer sees whose parts lie end to end; nothing where there is but one."""
    if len(layer.parts) < 2:
        return []
    kept = _with_deepest([part.field for part in layer.parts], most)
    shown = [
        f"{part.name}, of {part.source}: {sizes_text(part.field)}, "
        f"stride {per_axis([str(axis.stride) for axis in part.field])}"
        if part.field
        else f"{part.name}, of {part.source}: no positions"
        for part in (layer.parts[at] for at in kept)
    ]
    if len(layer.parts) > most:
        shown.append(f"and {how_many(len(layer.parts) - most, 'more part')}")
    return shown


def _with_deepest(fields: Sequence[Sequence[Field]], most: int) -> list[int]:
    """The places of the first of them, and of the last one with the largest field."""
    if len(fields) <= most:
        return list(range(len(fields)))
    sizes = [math.prod(axis.size for axis in own) if own else 0 for own in fields]
    deepest = max(range(len(sizes)), key=lambda at: (sizes[at], at))
    first = [at for at in range(len(sizes)) if at != deepest][: most - 1]
    return sorted((*first, deepest))


def global_text(layer: Layer, network: Network | None = None) -> str:
    """Which ops mixed all positions of which axes, or nothing; scans one way where `network` tells.

    Scans read what lies before their own position, or behind it.
    """
    by_ops: dict[tuple[str, ...], list[str]] = {}
    for axis, names in layer.global_axes.items():
        by_ops.setdefault(tuple(names), []).append(axis)
    parts = []
    for names, axes in by_ops.items():
        side = "" if network is None else one_side(network, names, axes)
        along = f"along {', '.join(axes)}"
        if side:
            verb = "reads" if len(names) == 1 else "read"
            parts.append(f"{some(names)} {verb} every position {side} its own {along}")
            continue
        if network is not None and reorders(network, names):
            verb = "lays" if len(names) == 1 else "lay"
            parts.append(f"{some(names)} {verb} positions {along} in another order")
            continue
        verb = "mixes" if len(names) == 1 else "mix"
        parts.append(f"{some(names)} {verb} all positions {along}")
    return "; ".join(parts)


def _axis_facts(axis: Field) -> str:
    phases = len(axis.phases)
    if axis.coverage == 1:
        text = "100% read"
    else:
        text = f"{share_text(axis.coverage)} read, gaps up to {axis.max_gap}"
    if axis.step > 1:
        text += f", every {ordinal(axis.step)} position"
    if phases > 1:
        smallest = min(phase.size for phase in axis.phases)
        if smallest != axis.size:
            text += f", {smallest} to {axis.size} by the phase of the output"
    return text


def statements(inspection: Inspection) -> Iterator[tuple[str, str, str]]:
    """What the report says first, as labels, texts and styles; what needs attention leads."""
    if not inspection.complete:
        reasons = inspection.opaque
        for reason in reasons[:5]:
            yield "not understood", reason, "red"
        if len(reasons) > 5:
            yield "", f"and {len(reasons) - 5} more", "red"
    worth = [finding for finding in inspection.findings if finding.code not in _SAID_ELSEWHERE]
    for severity, text in kinds_found(worth):
        yield severity, text, SEVERITIES.get(severity, "cyan")
    for note in inspection.network.notes[:5]:
        yield "note", note, ""
    inputs = inspection.network.inputs
    for tensor in inputs[:_MOST_OUTPUTS]:
        text = f"{tensor.name} {shape_text(tensor.shape)}"
        if len(inputs) > 1 and tensor.name == inspection.input:
            text += ", on which fields are measured"
        yield "input", text, ""
    if len(inputs) > _MOST_OUTPUTS:
        yield "", f"and {how_many(len(inputs) - _MOST_OUTPUTS, 'more input')}", ""
    outputs = inspection.outputs
    shown = _with_deepest([layer.field for layer in outputs], _MOST_OUTPUTS)
    for layer in (outputs[at] for at in shown):
        yield "output", f"{layer.name} {shape_text(layer.output_shape, known=layer.sized)}", ""
        yield from _seen(layer, inspection)
    if len(outputs) > _MOST_OUTPUTS:
        left = [layer.name for at, layer in enumerate(outputs) if at not in shown]
        yield "", f"and {how_many(len(left), 'more output')}: {some(left)}", ""
    yield from _pyramids(inspection.pyramids)
    left_out = inspection.uncounted.get("macs", ())
    compute = f"{quantity(inspection.macs, 'MAC')} = {quantity(inspection.flops, 'FLOP')}"
    if whole := inspection.integer_macs:
        all_of_it = whole == inspection.macs
        compute += "; all of them integer" if all_of_it else f"; {quantity(whole)} of them integer"
    yield "compute", _bounded(compute, left_out), "yellow" * bool(left_out)
    held = f"{quantity(inspection.params)}, {bytes_text(inspection.parameter_bytes)}"
    yield "parameters", f"{held}{_of_which(inspection)}", ""
    left_out = inspection.uncounted.get("memory", ())
    yield "peak memory", _bounded(_memory(inspection), left_out), "yellow" * bool(left_out)
    if inspection.training is not None:
        yield from training_statements(inspection.training)


def _memory(inspection: Inspection) -> str:
    """The peak of the eager run, and of the graph; the latter alone where nothing else is there."""
    eager, graph = inspection.eager, inspection.memory
    text = f"{bytes_text(inspection.peak_memory_bytes)} of activations"
    if eager is not None and eager.peak_bytes is not None:
        text += ", run eagerly"
    else:
        text += " by the graph"
    if inspection.peak_memory_layer:
        text += f", while {inspection.peak_memory_layer} runs"
    if eager is None or eager.peak_bytes is None:
        return text
    if graph.peak_bytes == eager.peak_bytes and not inspection.network.unsized:
        return f"{text}; by the graph the same"
    least = at_least(bytes_text(graph.peak_bytes), inspection.network.unsized)
    return f"{text}; {least} by the graph, which a compiler could reach"


def _of_which(inspection: Inspection) -> str:
    """Which of the parameters training leaves as they are, and which nothing reads."""
    kinds = {"frozen": inspection.frozen_params, "not used": inspection.unused_params}
    parts = [
        f"{'all' if count == inspection.params else quantity(count)} {kind}"
        for kind, count in kinds.items()
        if count
    ]
    return f"; {', '.join(parts)}" if parts else ""


def _bounded(text: str, left_out: Sequence[str]) -> str:
    """A total, as a bound where it leaves out what layers need."""
    return f"{at_least(text, left_out)}; not counted: {some(left_out)}" if left_out else text


def _pyramids(found: Sequence[Pyramid]) -> Iterator[tuple[str, str, str]]:
    """Rates side by side, the ones with the fewest taps inside first; alike ones once."""
    texts: dict[str, int] = {}
    for pyramid in sorted(found, key=lambda one: min(branch.inside for branch in one.branches)):
        text = pyramid_text(pyramid)
        texts[text] = texts.get(text, 0) + 1
    for place, (text, times) in enumerate(texts.items()):
        if place == _MOST_PYRAMIDS:
            yield "", f"and {how_many(len(texts) - place, 'more pyramid')}", ""
            return
        yield "" if place else "pyramid", text + (f"; {times} times" if times > 1 else ""), ""


def _seen(layer: Layer, inspection: Inspection) -> Iterator[tuple[str, str, str]]:
    holes = any(axis.coverage < 1 for axis in layer.field)
    parts = parts_text(layer) if not layer.opaque else []
    if parts:
        for index, text in enumerate(parts):
            yield "" if index else "receptive field", text, "yellow" if holes else ""
    else:
        yield from _seen_alike(layer, inspection, "yellow" if holes else "")
    if layer.is_global:
        yield "global", f"{global_text(layer, inspection.network)}; the field is the local one", ""


def _seen_alike(layer: Layer, inspection: Inspection, style: str) -> Iterator[tuple[str, str, str]]:
    scales = inspection.scales
    sizes = _in_units(layer, scales, lambda axis: axis.size)
    yield "receptive field", field_text(layer) + sizes, style
    if layer.field:
        hops = _in_units(layer, scales, lambda axis: axis.stride)
        text = per_axis([str(axis.stride) for axis in layer.field]) + hops
        whys = dict.fromkeys(map(str, resampled_strides(inspection, layer).values()))
        yield "output stride", "; ".join([text, *whys]), ""
        for axis in layer.field:
            if axis.axis == "t" or (axis.axis in TIME_LIKE and axis.axis in scales):
                yield "in time", _in_time(layer, axis, inspection), ""


def _in_units(
    layer: Layer, scales: Mapping[str, Scale], value: Callable[[Field], Fraction | int]
) -> str:
    """What a value comes to along the axes that have a scale."""
    text = in_units({axis.axis: value(axis) for axis in layer.field}, scales)
    return f"; {text}" if text else ""


def _in_time(layer: Layer, axis: Field, inspection: Inspection) -> str:
    """How far an output looks back and ahead of its own place."""
    scale = inspection.scales.get(axis.axis)

    def said(count: int) -> str:
        return f"{count} ({scale.text(count)})" if scale is not None and count else str(count)

    looks = f"looks back {said(axis.back)}, ahead {said(axis.ahead)}"
    mixed = layer.global_axes.get(axis.axis, ())
    if mixed and scans_back(inspection.network, mixed, axis.axis):
        ends = looks_at_ends(inspection.network, inspection.input, layer, axis.axis)
        if ends is not None and ends.ahead > 0:
            looks = f"{looks}; {ends}, ahead {said(ends.ahead)}"
        elif axis.ahead <= 0:
            return f"causal: looks back to the start by {mixed[0]}, ahead 0"
        return f"{looks}, and back to the start by {mixed[0]}"
    if mixed and reorders(inspection.network, mixed):
        return f"in another order by {mixed[0]}; the local window {looks}"
    if mixed:
        return f"reads every position by {mixed[0]}; the local window {looks}"
    ends = looks_at_ends(inspection.network, inspection.input, layer, axis.axis)
    if ends is not None:
        looks += f"; {ends}, back {said(ends.back)}, ahead {said(ends.ahead)}"
    farthest = axis.ahead if ends is None else ends.ahead
    return f"causal: {looks}" if farthest <= 0 else looks
