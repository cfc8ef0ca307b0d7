"""What each tensor's positions read of one input: the reads composed down the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atrous.errors import GeometryError
from atrous.geometry import Local, Reads, Table, union
from atrous.network import Network, Node
from atrous.network.ops import Concat

__all__ = ["Flow", "flows"]

Bundle = tuple[Reads, ...]
"""The local reads of one axis: one rule for each stride that its branches have."""


@dataclass(frozen=True, slots=True)
class Flow:
    """How a tensor sees the input: local reads by axis, ops that made an axis global, and gaps.

    `reads` keeps the local reads of an axis that a global op took away, as of one position before
    it. `mixed` names, for each global axis, the ops that made it so. `opaque` names the ops behind
    which nothing is known; `reads` then means nothing.
    """

    reads: Mapping[str, Bundle]
    mixed: Mapping[str, tuple[str, ...]]
    opaque: tuple[str, ...] = ()


_NOTHING: dict[str, tuple[str, ...]] = {}


def flows(network: Network, source: str) -> dict[str, Flow]:
    """The flow from the input `source` to every tensor that depends on it, by tensor name.

    Shared work is done once: equal windows over equal reads give one object, so a square network
    costs one axis.
    """
    algebra = _Algebra()
    tensor = network.tensor(source)
    start = Flow({axis: (Reads.identity(),) for axis in tensor.grid}, _NOTHING)
    found: dict[str, Flow] = {source: start}
    grids = {t.name: t.grid for t in network.inputs}
    for node in network.nodes:
        grids[node.output.name] = node.output.grid
        operands = [(i, found[name]) for i, name in enumerate(node.inputs) if name in found]
        if operands:
            found[node.output.name] = _step(node, operands, grids, tuple(tensor.grid), algebra)
    return found


def _step(
    node: Node,
    operands: list[tuple[int, Flow]],
    grids: Mapping[str, Mapping[str, int]],
    axes: tuple[str, ...],
    algebra: _Algebra,
) -> Flow:
    if len(operands) == 1:
        index, only = operands[0]
        if not node.moves[index] and not node.opaque and not node.mixes:
            return only
    gaps: tuple[str, ...] = (node.name,) if node.opaque else ()
    for _, operand in operands:
        if operand.opaque:
            gaps = _merged(operand.opaque, gaps)
    mixed = _mixed_after(node, operands)
    if gaps:
        return Flow({}, mixed, gaps)
    if isinstance(node.op, Concat) and not _parts_alike(node, operands):
        return Flow({}, mixed, (f"{node.name} (parts that read differently lie end to end)",))
    reads: dict[str, Bundle] = {}
    try:
        for axis in axes:
            here: list[Bundle] = []
            passed: list[Bundle] = []
            for index, operand in operands:
                before = operand.reads.get(axis)
                if before is None:
                    continue
                step = node.moves[index].get(axis)
                if axis not in grids[node.inputs[index]]:
                    passed.append(before)
                elif step is None:
                    here.append(before)
                elif isinstance(step, Local):
                    target = here if axis in node.output.grid else passed
                    target.append(algebra.after(step.reads, before))
                else:
                    passed.append(before)
            branches = here or passed
            if branches:
                reads[axis] = algebra.union(branches)
    except GeometryError as error:
        return Flow({}, mixed, (f"{node.name} ({error})",))
    return Flow(reads, mixed)


def _parts_alike(node: Node, operands: list[tuple[int, Flow]]) -> bool:
    """True where the parts laid end to end along an axis see alike, as in a circular pad."""
    for axis in node.output.grid:
        steps = [(operand, node.moves[index].get(axis)) for index, operand in operands]
        if any(isinstance(step, Table) for _, step in steps):
            parts = [
                sorted(
                    (reads.stride, taps.mask)
                    for reads in operand.reads.get(axis, ())
                    for taps in reads.phases
                )
                for operand, _ in steps
            ]
            if any(part != parts[0] for part in parts):
                return False
    return True


def _mixed_after(node: Node, operands: list[tuple[int, Flow]]) -> Mapping[str, tuple[str, ...]]:
    first = operands[0][1].mixed
    if not node.mixes and all(operand.mixed is first for _, operand in operands):
        return first
    out = dict(first)
    for _, operand in operands[1:]:
        for axis, names in operand.mixed.items():
            out[axis] = _merged(out.get(axis, ()), names)
    for axis in node.mixes:
        out[axis] = _merged(out.get(axis, ()), (node.name,))
    return out


def _merged(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    if a is b or not b:
        return a
    if not a or b[: len(a)] == a:
        return b
    return tuple(dict.fromkeys(a + b))


class _Algebra:
    """Composition and union as sets, each pair of objects worked out once."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, int], tuple[Reads, Bundle, Bundle]] = {}
        self._union: dict[tuple[int, ...], tuple[list[Bundle], Bundle]] = {}

    def after(self, outer: Reads, inner: Bundle) -> Bundle:
        key = (id(outer), id(inner))
        known = self._after.get(key)
        if known is None:
            if len(inner) == 1:
                result: Bundle = (outer.after(inner[0], counted=False),)
            else:
                result = union([outer.after(part, counted=False) for part in inner], counted=False)
            # The operands are kept so that their ids stay theirs.
            known = self._after[key] = (outer, inner, result)
        return known[2]

    def union(self, branches: list[Bundle]) -> Bundle:
        first = branches[0]
        if len(branches) == 1 or (len(branches) == 2 and branches[1] is first):
            return first
        key = tuple(map(id, branches))
        known = self._union.get(key)
        if known is None:
            result = union([part for branch in branches for part in branch], counted=False)
            for branch in branches:
                if branch == result:
                    result = branch
                    break
            known = self._union[key] = (branches, result)
        return known[1]
