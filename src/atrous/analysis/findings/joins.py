"""Branches that do not line up where they join."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fractions import Fraction

from atrous.analysis.field import Field
from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.record import Finding
from atrous.analysis.findings.registry import finder
from atrous.analysis.findings.words import cells, lengths
from atrous.analysis.scale import TIME_LIKE
from atrous.network import Node
from atrous.network.ops import Concat, Elementwise

HALF = Fraction(1, 2)


@finder("misaligned-join")
def misaligned_join(evidence: Evidence) -> Iterator[Finding]:
    """Joins that do not line up along some axis, as `misaligned_along` has them."""
    yield from misaligned_along(evidence, None)


def misaligned_along(evidence: Evidence, axes: Collection[str] | None) -> Iterator[Finding]:
    """Joins whose branches are centred half a cell or more apart somewhere on the map.

    A branch is where the middle of its read is, on the mean over its phases; along time or depth
    branches that end at the same last position line up as well (causal ones). Of branches with
    different strides the ends of the map are compared. Only the join where a shift arises is
    named, not those that inherit it. With `axes`, along these alone.
    """
    shifted: dict[str, frozenset[str]] = {}
    for node in evidence.network.nodes:
        inherited = [shifted.get(name, frozenset()) for name in node.inputs]
        taint = frozenset().union(*inherited)
        joins = len(node.inputs) > 1 and isinstance(node.op, Elementwise | Concat)
        if joins and all(one == inherited[0] for one in inherited[1:]):
            found = _apart(node, evidence, axes)
            if found is not None:
                taint |= {node.name}
                yield found
        if taint:
            shifted[node.output.name] = taint


def _apart(node: Node, evidence: Evidence, axes: Collection[str] | None) -> Finding | None:
    worst: tuple[Fraction, Fraction, str, str, str] | None = None
    for axis, length in node.output.grid.items():
        if axes is not None and axis not in axes:
            continue
        branches = _branches(node, axis, length, evidence)
        if len(branches) < 2 or length < 2:
            continue
        cell = min(field.stride for _, field in branches)
        first_name, first = branches[0]
        for name, field in branches[1:]:
            if field is first or _read_alike(field, first):
                continue
            ends = (0, length - 1)
            centers = max(abs(_middle(field, o) - _middle(first, o)) for o in ends)
            lasts = max(abs(_last(field, o) - _last(first, o)) for o in ends)
            shift = min(centers, lasts) if axis in TIME_LIKE else centers
            if shift >= HALF * cell and (worst is None or shift / cell > worst[0]):
                worst = (shift / cell, shift, axis, first_name, name)
    if worst is None:
        return None
    apart, shift, axis, one, other = worst
    return Finding(
        "misaligned-join",
        "warning" if apart >= 1 else "info",
        node.name,
        f"{one} and {other} lie up to {lengths({axis: shift}, evidence.scales)} apart along "
        f"{axis}, {cells(apart)}.",
        "Give both branches the same padding and one way of resampling, or an input size that "
        "the total stride divides.",
    )


def _read_alike(one: Field, other: Field) -> bool:
    """True where both are periodic alike and centred alike, which needs no fractions."""
    return (
        len(one.phases) == len(other.phases)
        and one.stride == other.stride
        and all(
            2 * a.start + a.size == 2 * b.start + b.size
            for a, b in zip(one.phases, other.phases, strict=True)
        )
    )


def _branches(node: Node, axis: str, length: int, evidence: Evidence) -> list[tuple[str, Field]]:
    """The operands that come with all positions of the axis, seen locally, and their fields."""
    mixed = []
    found = []
    for name, moves in zip(node.inputs, node.moves, strict=True):
        layer = evidence.by_tensor.get(name)
        if axis in moves or evidence.network.tensor(name).grid.get(axis) != length:
            continue
        if layer is not None and layer.opaque:
            continue
        field = evidence.field(name, axis)
        if field is None or not field.size or any(not phase.size for phase in field.phases):
            continue
        found.append((name, field))
        mixed.append(frozenset(layer.global_axes.get(axis, ()) if layer else ()))
    if not mixed:
        return []
    least = min(mixed, key=len)
    return [branch for branch, ops in zip(found, mixed, strict=True) if ops == least]


def _middle(field: Field, output: int) -> Fraction:
    """Where the read of `output` is centred, on the mean over the phases."""
    if len(field.phases) == 1:
        return field.center + output * field.stride
    doubled = sum(2 * phase.start + phase.size - 1 for phase in field.phases)
    return _mean(field, Fraction(doubled, 2)) + output * field.stride


def _last(field: Field, output: int) -> Fraction:
    if len(field.phases) == 1:
        return field.start + field.size - 1 + output * field.stride
    ends = sum(phase.start + phase.size - 1 for phase in field.phases)
    return _mean(field, Fraction(ends)) + output * field.stride


def _mean(field: Field, places: Fraction) -> Fraction:
    """The mean over the phases of what adds up to `places`, each counted from its own place."""
    count = len(field.phases)
    return places / count - field.stride * Fraction(count - 1, 2)
