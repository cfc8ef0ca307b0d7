"""Findings about the sets that outputs read: holes, and sub-grids that never meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

from atrous.analysis.field import Field, Phase
from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.record import Finding
from atrous.analysis.findings.registry import finder
from atrous.analysis.findings.words import lengths, units
from atrous.analysis.trace import Seen
from atrous.geometry import Local, Taps, rises_by_kernels
from atrous.network import Node
from atrous.shown import how_many

if TYPE_CHECKING:
    from atrous.analysis.layer import Layer

NEARLY_FULL = 0.95


@finder("gridding")
def gridding(evidence: Evidence) -> Iterator[Finding]:
    """Holes in what an output reads of the input, at the layer that opens them.

    Walking up from the output, reads are whole until a layer spreads them further than the layers
    behind it fill. That layer is named; of several, the one that leaves the longest gap.
    """
    for output in evidence.ends:
        opened: dict[str, tuple[Node, str, list[tuple[tuple[str, ...], Phase]]]] = {}
        for fields in _with_holes(output, evidence):
            phases, axis = fields[0].phases, fields[0].axis
            worst = min(range(len(phases)), key=lambda i: phases[i].coverage)
            opener = _opener(
                evidence, evidence.trace(output, {f.axis: worst for f in fields}), axis
            )
            if opener is not None:
                axes = tuple(field.axis for field in fields)
                of_node = opened.setdefault(opener.name, (opener, axis, []))
                of_node[2].append((axes, phases[worst]))
        for node, axis, found in opened.values():
            first, *rest = [(f"{p.taps} of ", p, axes) for axes, p in found]
            shares = f"{first[0]}the {how_many(first[1].size, 'input position')} in its field "
            shares += f"along {_axes_and_length(first[2], first[1].size, evidence)}"
            shares += "".join(
                f", {taps}{p.size} along {_axes_and_length(axes, p.size, evidence)}"
                for taps, p, axes in rest
            )
            yield Finding(
                "gridding",
                "warning" if min(p.coverage for _, p in found) < NEARLY_FULL else "info",
                node.name,
                f"opens holes that no layer before it fills: {output.name} reads {shares}, with "
                f"gaps of up to {_gaps(found, evidence)}.",
                _filled(node, axis, evidence),
            )


def _axes_and_length(axes: Sequence[str], size: int, evidence: Evidence) -> str:
    """These axes, and how long so many positions along them are."""
    said = units(dict.fromkeys(axes, size), evidence.scales)
    return ", ".join(axes) + (f" ({said})" if said else "")


def _gaps(found: Sequence[tuple[tuple[str, ...], Phase]], evidence: Evidence) -> str:
    """The longest gap; in units that of each axis, since positions differ in length."""
    if not evidence.scales:
        return str(max(p.max_gap for _, p in found))
    return lengths({a: p.max_gap for axes, p in found for a in axes}, evidence.scales)


@finder("subgrids")
def subgrids(evidence: Evidence) -> Iterator[Finding]:
    """Neighbouring outputs that read disjoint sub-grids of what some layer reads.

    It takes two dilated windows in a row: with one alone the next layer joins the grids. Along a
    single axis it is only worth knowing, and not said of sequence models, whose rates double.
    """
    for output in reversed(evidence.ends):
        positions = evidence.positions(output)
        for field in output.field:
            if positions.get(field.axis, 1) < 2 or output.opaque:
                continue
            found = grids_met(evidence, output, field)
            if len(found) < 2 or (len(positions) == 1 and _by_design(evidence, field.axis)):
                continue
            node, step = found[0]
            farthest, widest = max(found, key=lambda pair: pair[1])
            reached = _one_in(farthest, widest, field.axis, evidence) if widest > step else ""
            reached = f" ({reached} further on)" if reached else ""
            yield Finding(
                "subgrids",
                "warning" if len(positions) > 1 else "info",
                node.name,
                f"from here on neighbouring positions of {output.name} share nothing: each reads a "
                f"sub-grid of its own, {_one_in(node, step, field.axis, evidence, 'position ')} of "
                f"this layer's input{reached}, through {how_many(len(found), 'layer')}.",
                "End with a window of rate 1, or with rates that have no common factor.",
            )


def _one_in(node: Node, step: int, axis: str, evidence: Evidence, noun: str = "") -> str:
    """Which positions of a layer's input are read, and how far apart in the unit of the axis."""
    said = units(evidence.apart(node.inputs[0], {axis: step}), evidence.scales)
    return f"one {noun}in {step}" + (f" ({said})" if said else "")


def _by_design(evidence: Evidence, axis: str) -> bool:
    """Whether rates rise from 1 step by step, as those of a causal stack that doubles them do."""
    spans = (span for node in evidence.network.nodes for span in evidence.spans(node))
    windows = [span.window for span in spans if span.axis == axis]
    return rises_by_kernels(
        (w.kernel, w.dilation) for w in windows if w.kernel > 1 and w.stride == 1
    )


def _with_holes(output: Layer, evidence: Evidence) -> list[list[Field]]:
    """The axes of an output with holes, together where they agree in every number."""
    groups: list[list[Field]] = []
    if output.opaque:
        return groups
    positions = evidence.positions(output)
    for field in output.field:
        if positions.get(field.axis, 1) < 2 or field.coverage == 1:
            continue
        for group in groups:
            if group[0].phases == field.phases:
                group.append(field)
                break
        else:
            groups.append([field])
    return groups


def _opener(evidence: Evidence, trace: Mapping[str, Seen], axis: str) -> Node | None:
    """The layer at which holes open that reach the input: its output is read whole, its input not.

    Looked for from the input on, through tensors that are read with holes.
    """
    waiting, met = [evidence.source], {evidence.source}
    found: list[tuple[int, Node]] = []
    while waiting:
        tensor = waiting.pop()
        for node in evidence.consumers.get(tensor, ()):
            name = node.output.name
            seen = trace.get(name, {}).get(axis)
            if seen is None or name in met or not seen.mask:
                continue
            if seen.count < seen.size:
                met.add(name)
                waiting.append(name)
            else:
                operands = zip(node.inputs, node.moves, strict=True)
                steps = [moves.get(axis) for held, moves in operands if held == tensor]
                images = [s.reads.image(seen) for s in steps if isinstance(s, Local)]
                if images:
                    found.append((reduce(Taps.united, images).max_gap, node))
    best = max(found, key=lambda pair: pair[0], default=None)
    return None if best is None or not best[0] else best[1]


def _filled(node: Node, axis: str, evidence: Evidence) -> str:
    for span in evidence.spans(node):
        if span.axis != axis:
            continue
        if span.window.kernel < span.window.stride:
            return "Give it a window at least as wide as its stride."
        if span.window.dilation > 1:
            return (
                "Lower its rate, or put smaller rates beside it: in ascending order each rate is "
                "to be at most 1 + (kernel - 1) x the sum of those before it, as in 1, 2, 5."
            )
    return "Put a layer of rate 1 before it."


def grids_met(evidence: Evidence, output: Layer, field: Field) -> list[tuple[Node, int]]:
    """The windows whose input is read on sub-grids on which neighbouring outputs never meet."""
    axis = field.axis
    trace = evidence.trace(output, {f.axis: 0 for f in output.field})
    found = []
    for node in evidence.network.nodes:
        if node.output.name not in trace:
            continue
        for span in evidence.spans(node):
            if span.axis != axis or span.window.dilation == 1 or span.window.kernel == 1:
                continue
            seen = trace.get(node.inputs[0], {}).get(axis)
            step = 1 if seen is None else seen.step
            before = evidence.field(node.inputs[0], axis)
            if step == 1 or before is None:
                continue
            apart = field.stride / before.stride
            if apart.denominator == 1 and apart.numerator % step:
                found.append((node, step))
    return found
