"""Findings about how far a network sees: beyond its input, everywhere, or not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from atrous.analysis.causality import one_side, reorders
from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.record import Finding
from atrous.analysis.findings.registry import finder
from atrous.analysis.scale import in_units
from atrous.network.layout import ROWS
from atrous.network.ops import Conv, Pool


@finder("opaque")
def opaque(evidence: Evidence) -> Iterator[Finding]:
    """Ops that are not understood."""
    for node in evidence.network.nodes:
        if node.opaque:
            yield Finding(
                "opaque",
                "error",
                node.name,
                f"{node.opaque}; what is read through it is not known.",
                "Inspect a part without it, with output= set to a layer before it.",
            )


@finder("as-it-ran")
def as_it_ran(evidence: Evidence) -> Iterator[Finding]:
    """A source that goes by values, of which one run is reported."""
    if evidence.network.ran:
        yield Finding(
            "as-it-ran",
            "warning",
            evidence.network.name or "network",
            f"control flow is taken as it ran on {evidence.network.ran}; other inputs may go "
            "another way, and what decides is in no field.",
            "Give example tensors to have it run on those, or inspect a part without decisions.",
        )


@finder("global")
def mixing(evidence: Evidence) -> Iterator[Finding]:
    """The op that made an output global which still has positions."""
    for output in evidence.outputs:
        positions = evidence.positions(output)
        rows = positions.get(ROWS, 1)
        axes = [a for a in output.global_axes if positions.get(a, rows) > 1]
        if not axes:
            continue
        names = list(dict.fromkeys(name for a in axes for name in output.global_axes[a]))
        side = one_side(evidence.network, names, axes)
        if side:
            yield Finding(
                "global",
                "info",
                names[0],
                f"reads every position {side} its own along {', '.join(axes)}: a position of "
                f"{output.name} depends on all of the input {side} it.",
                "Streams can be exact in that direction where its state is carried on; tiles "
                "cannot; fields are the local ones.",
            )
            continue
        after = len(names) - 1
        more = f", as {after} ops after it do" if after > 1 else ", as one op after it does"
        more = more if after else ""
        if reorders(evidence.network, names):
            yield Finding(
                "global",
                "info",
                names[0],
                f"lays positions along {', '.join(axes)} in another order{more}: what a position "
                f"of {output.name} reads lies elsewhere, as its footprint shows.",
                "Tiles and streams need what is far away; fields are those before it.",
            )
            continue
        yield Finding(
            "global",
            "info",
            names[0],
            f"mixes all positions along {', '.join(axes)}{more}: every position of {output.name} "
            "depends on the whole input.",
            "Tiles and streams cannot be exact; fields are the local ones.",
        )


@finder("field-exceeds-input")
def field_exceeds_input(evidence: Evidence) -> Iterator[Finding]:
    """The first window from which on the field is larger than the input along every axis."""
    lengths = evidence.source_lengths
    first = None
    later = 0
    for layer in evidence.layers:
        if layer.node is None or not isinstance(layer.node.op, Conv | Pool) or layer.opaque:
            continue
        if layer.field and all(f.size > lengths.get(f.axis, f.size) for f in layer.field):
            if first is None:
                first = layer
            later += 1
    if first is None:
        return
    sizes = _sizes_in_units({field.axis: field.size for field in first.field}, evidence)
    given = _sizes_in_units({field.axis: lengths[field.axis] for field in first.field}, evidence)
    count = "the last layer" if later == 1 else f"the first of {later} layers"
    yield Finding(
        "field-exceeds-input",
        "info",
        first.name,
        f"sees {sizes} of an input of {given}; it is {count} with a field beyond the input.",
        "A larger input gives these layers more to see; at this one, fewer or lower rates see "
        "as much.",
    )


def _sizes_in_units(found: Mapping[str, int], evidence: Evidence) -> str:
    """Lengths along axes in positions, and in units where they have one."""
    said = in_units(found, evidence.scales)
    return "x".join(map(str, found.values())) + (f" ({said})" if said else "")
