"""Strides to dilation: every stride past the target goes, and what follows keeps its reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import count
from math import prod

from atrous.conversion.plan import Head, Heads, OpChange, Plan, Resampled
from atrous.conversion.rules import Around, Replacement, dilated
from atrous.errors import AtrousError
from atrous.geometry import Local, Tail
from atrous.network import Network, Node, Tensor
from atrous.network.aside import aside
from atrous.network.layout import has_axes
from atrous.network.ops import (
    Concat,
    Constant,
    Contract,
    Conv,
    Elementwise,
    Op,
    Pool,
    Resize,
    Slice,
)
from atrous.network.walk import Place, pruned, remade, strides
from atrous.refusal import Refusal
from atrous.shown import how_many

__all__ = ["plan_dilation"]

# What ops do that make a map coarser without a stride.
_CUTS = {"reshape": "a reshape that cuts it into frames", "resize": "a resampling to fewer"}


def plan_dilation(
    network: Network,
    target: Mapping[str, int],
    outputs: Sequence[str],
    *,
    heads: Heads = "scale",
    tail: Tail = "crop",
    resample: bool = False,
) -> Plan | Refusal:
    """The plan in which no map that `outputs` need is coarser than `target`, by axis.

    The walk goes from the inputs and carries, for each tensor and axis, the stride removed so far.
    With `resample`, an input of a join that has more positions than another is resampled to the
    size of that one; without, such a join is refused.
    """
    reference = pruned(network, outputs)
    return _Dilation(reference, target, heads, tail, resample).run()


class _Dilation:
    def __init__(
        self,
        reference: Network,
        target: Mapping[str, int],
        heads: Heads,
        tail: Tail,
        resample: bool,
    ) -> None:
        self.reference = reference
        self.target = target
        self.heads_mode = heads
        self.tail = tail
        self.resample = resample
        self.strides = strides(reference)
        self.factors: dict[str, dict[str, int]] = {}
        self.padded: dict[str, dict[str, int]] = {}
        self.made: dict[str, Tensor] = {}
        self.seen: dict[tuple[str, int], tuple[int, int]] = {}
        self.sizes: dict[int, int] = {}
        self.in_head = _behind_heads(reference)
        self.parts = _parts(reference)
        self.aside = aside(reference)
        self.heads: list[Head] = []
        self.tails: list[str] = []
        self.resampled: list[Resampled] = []
        self.nodes: list[Node] = []

    def run(self) -> Plan | Refusal:
        for tensor in self.reference.inputs:
            self.factors[tensor.name] = dict.fromkeys(tensor.grid, 1)
            self.padded[tensor.name] = {}
            self.made[tensor.name] = tensor
            self._note(tensor, tensor)
        changes: list[OpChange] = []
        for node in self.reference.nodes:
            done = self._node(node)
            if isinstance(done, Refusal):
                return done
            made, new = done
            self.nodes.append(new)
            if made.op != node.op:
                changes.append(
                    OpChange(node.name, node.module, node.op, made.op, made.axes, made.dense)
                )
        reference = self.reference
        candidate = replace(reference, nodes=tuple(self.nodes))
        return Plan(
            reference=reference,
            candidate=candidate,
            changes=tuple(changes),
            factors=self.factors,
            direction="dilate" if changes else "none",
            target=tuple(self.target.values()),
            heads=tuple(self.heads),
            notes=tuple(self.tails[:1]),
            resampled=tuple(self.resampled),
        )

    def _node(self, node: Node) -> tuple[Replacement, Node] | Refusal:
        old = tuple(self.reference.tensor(name) for name in node.inputs)
        new = tuple(self.made[name] for name in node.inputs)
        place = self._fitted(Place(node, old, new)) if self.resample else Place(node, old, new)
        node, new = place.node, place.new
        factors = self._joined(place)
        if isinstance(factors, Refusal):
            return factors
        keep = self.heads_mode == "keep" and node.output.name in self.in_head
        around = Around(
            factors=factors,
            strides=self._strides_before(node),
            target=self.target,
            seen=self.seen,
            sizes=self.sizes,
            padded=self.padded[node.inputs[0]] if node.inputs else {},
            axes=self.reference.axes,
            after=self.strides[node.output.name],
            parts=self.parts,
            tail=self.tail,
            keep=keep,
            aside=self.aside[node.output.name],
            coarsened=lambda axis: self._coarsened(node, axis),
        )
        made = dilated(place, around)
        if isinstance(made, Refusal):
            return made
        try:
            after = remade(node, made.op, new)
        except AtrousError as error:
            return Refusal("shapes", node.name, self._why(place, error))
        grid = node.output.grid
        assert after.output.grid.keys() == grid.keys(), f"{node.name}: axes come and go"
        self.factors[node.output.name] = {axis: made.factors.get(axis, 1) for axis in grid}
        self.padded[node.output.name] = made.padded or (
            dict(around.padded) if _passes(node.op) else {}
        )
        self.made[node.output.name] = after.output
        self._note(node.output, after.output)
        self._head(node, made, factors)
        self._tail(place, made)
        return made, after

    def _tail(self, place: Place, made: Replacement) -> None:
        if not isinstance(place.node.op, Conv | Pool):
            return
        for axis, one in zip(made.axes, made.dense, strict=False):
            if axis is None:
                continue
            length = place.length(axis)
            whole, most = -(-(length - one.padded) // one.stride), one.outward * one.kept(length)
            if whole <= most:
                continue
            if self.tail == "crop":
                text = (
                    f"the original drops the end of its map here, so the dense map is cropped to "
                    f"{one.outputs(length)} of {how_many(whole, 'position')} along {axis} "
                    "and borders stay "
                    "exact; tail='keep' keeps its size, and then the border differs"
                )
            else:
                text = (
                    f"the original drops the end of its map here, and the dense map keeps all "
                    f"{how_many(whole, 'position')} along {axis}, so the border behind it differs; "
                    "tail='crop' keeps borders exact"
                )
            self.tails.append(f"{place.node.name}: {text}")
            return

    def _strides_before(self, node: Node) -> dict[str, Fraction]:
        found: dict[str, Fraction] = {}
        for name in node.inputs:
            for axis, stride in self.strides[name].items():
                found.setdefault(axis, stride)
        return found

    def _coarsened(self, node: Node, axis: str) -> str:
        """The op before a node that makes its map coarser than wanted, and what it does."""
        name = node.inputs[0]
        while (maker := self.reference.maker(name)) is not None:
            before = [x for x in maker.inputs if axis in self.strides[x]]
            fine = [x for x in before if self._stride(x, axis) <= self.target[axis]]
            if fine or not before:
                break
            name = before[0]
        # What sums over a frame comes behind what cut it.
        while maker is not None and (before := [x for x in maker.inputs if self._is_cut(x, axis)]):
            maker = self.reference.maker(before[0])
        assert maker is not None, f"{node.name}: no input is coarser than wanted"
        return f"{maker.name} ({_CUTS.get(maker.kind, maker.kind)})"

    def _is_cut(self, name: str, axis: str) -> bool:
        """Whether a tensor holds an axis in several digits."""
        dims = self.reference.tensor(name).layout
        return sum(atom.axis == axis for dim in dims for atom in dim) > 1

    def _stride(self, name: str, axis: str) -> Fraction:
        """How far apart the positions of a map lie now."""
        return self.strides[name][axis] / self.factors[name][axis]

    def _fitted(self, place: Place) -> Place:
        """The join with its inputs at one size: that of the one with the fewest positions.

        What joins anything but whole maps of one original size stays as it is.
        """
        node, maps = place.node, _maps(place)
        least = self._least(place)
        if least is None:
            return place
        fits = {i: self._fit(place, i) for i in maps}
        made: dict[str, Tensor] = {}
        for i in maps:
            if fits[i] != fits[least] and place.new[i].name not in made:
                made[place.new[i].name] = self._resampled(node, place.old[i], place.old[least])
        if not made:
            return place
        new = tuple(made.get(x.name, x) for x in place.new)
        old = tuple(place.old[least] if x.name in made else x for x in place.old)
        return Place(replace(node, inputs=tuple(x.name for x in new)), old, new)

    def _least(self, place: Place) -> int | None:
        """The input of a join that the others can be resampled to; None where they cannot."""
        node, maps = place.node, _maps(place)
        if len(maps) < 2 or not isinstance(node.op, Elementwise | Concat):
            return None
        fits = {i: self._fit(place, i) for i in maps}
        least = min(maps, key=fits.__getitem__)
        whole = _map_axes(place.old[least])
        if (
            not whole
            or any(_map_axes(place.old[i]) != whole for i in maps)
            or (
                isinstance(node.op, Concat)
                and node.op.dim >= len(place.old[least].shape) - len(whole)
            )
            or any(a > b for i in maps for a, b in zip(fits[least], fits[i], strict=True))
        ):
            return None
        return least

    def _fit(self, place: Place, index: int) -> tuple[tuple[int, int], ...]:
        """By axis, the factor and the length that an input has now."""
        old, new = place.old[index], place.new[index]
        return tuple((self.factors[old.name][axis], new.grid[axis]) for axis in old.grid)

    def _resampled(self, join: Node, source: Tensor, other: Tensor) -> Tensor:
        """The map `source` at the size that `other` has now, before a join."""
        taken = {node.output.name for node in (*self.reference.nodes, *self.nodes)}
        names = (f"{join.name}.resample{n or ''}" for n in count())
        name = next(n for n in names if n not in taken)
        x, sizes = self.made[source.name], tuple(self.made[other.name].grid.values())
        op = Resize(sizes, "linear", "half_pixel")
        bare = Node(name, op, (x.name,), replace(x, name=name), (), module=join.module)
        node = remade(bare, op, (x,))
        self.nodes.append(node)
        self.resampled.append(Resampled(join.name, source.name, other.name, sizes, name))
        self.factors[name] = dict(self.factors[other.name])
        self.padded[name] = {}
        self.strides[name] = self.strides[source.name]
        return node.output

    def _joined(self, place: Place) -> dict[str, int] | Refusal:
        """The factor that all inputs share, by axis."""
        found: dict[str, tuple[int, str]] = {}
        whole: dict[str, tuple[int, str]] = {}
        for index, (old, new) in enumerate(zip(place.old, place.new, strict=True)):
            for axis, length in old.grid.items():
                factor = self.factors[old.name][axis]
                if length == new.grid[axis] == 1 and len(place.old) > 1:
                    continue
                move = place.node.moves[index].get(axis)
                if axis in place.node.output.grid and not isinstance(move, Local | None):
                    # Keys and values, read as a whole: where outputs lie, the queries say.
                    whole.setdefault(axis, (factor, old.name))
                    continue
                known, name = found.setdefault(axis, (factor, old.name))
                if known != factor and isinstance(place.node.op, Elementwise | Concat | Contract):
                    return Refusal("join", place.node.name, self._unlike(place, axis, name, old))
        if isinstance(place.node.op, Elementwise) and any(f > 1 for f, _ in found.values()):
            table = next((x for x in place.old if x.constant and _is_map(x, place)), None)
            if table is not None:
                shape = "x".join(map(str, table.shape))
                return Refusal(
                    "join",
                    place.node.name,
                    f"it joins a table of fixed size {shape} ({table.name}) with a map that gets "
                    "larger; resize the table first, or convert the part before it (outputs=...).",
                )
        return {axis: factor for axis, (factor, _) in {**whole, **found}.items()}

    def _unlike(self, place: Place, axis: str, name: str, other: Tensor) -> str:
        first = place.node.inputs.index(name)
        second = place.old.index(other)
        one, two = place.new[first].grid[axis], place.new[second].grid[axis]
        way = (
            "" if self._least(place) is None else ", or ask for resampling at joins (resample=True)"
        )
        return (
            f"its inputs no longer fit: {name} has {how_many(one, 'position')} along "
            f"{axis} after the "
            f"conversion and {other.name} has {two} (both had {other.grid[axis]}); convert the "
            f"part before it (outputs=...){way}."
        )

    def _why(self, place: Place, error: AtrousError) -> str:
        shapes = " and ".join("x".join(map(str, x.shape)) for x in place.new)
        text = f"with inputs of {shapes} it cannot be: {str(error).rstrip('.')}"
        return f"{text}; convert the part before it (outputs=...)."

    def _note(self, old: Tensor, new: Tensor) -> None:
        beside = self.aside[old.name]
        for dim, size, made in zip(old.layout, old.shape, new.shape, strict=True):
            if has_axes(dim) and not any(atom.axis in beside for atom in dim):
                self.sizes[size] = made
        for axis, length in old.grid.items():
            if axis in beside:
                continue  # no size that another map takes over
            self.seen[axis, length] = (new.grid[axis], self.factors[old.name][axis])

    def _head(self, node: Node, made: Replacement, factors: Mapping[str, int]) -> None:
        after = made.op
        if node.output.name not in self.in_head or not isinstance(node.op, Conv):
            return
        assert isinstance(after, Conv)
        strides = self._strides_before(node)
        found: dict[Head, list[str]] = {}
        for axis, one, two in zip(made.axes, node.op.windows, after.windows, strict=True):
            if axis is None or one.dilation == 1 or factors[axis] == 1:
                continue
            before, now = one.dilation, two.dilation
            reach = int(before * strides[axis]), int(now * strides[axis] / factors[axis])
            found.setdefault(Head(node.name, before, now, *reach), []).append(axis)
        self.heads += (replace(head, axes=tuple(axes)) for head, axes in found.items())


def _maps(place: Place) -> list[int]:
    """The inputs of a join that have positions."""
    return [i for i, x in enumerate(place.old) if prod(x.grid.values()) > 1]


def _passes(op: Op) -> bool:
    return isinstance(op, Elementwise)


def _map_axes(x: Tensor) -> tuple[tuple[str | None, int], ...]:
    """The axes of a channels-first map and their lengths; empty for any other tensor."""
    dims = x.layout[2:]
    found = tuple((atom.axis, atom.size) for dim in dims for atom in dim)
    return found if len(found) == len(dims) <= 3 and dict(found) == x.grid else ()


def _is_map(x: Tensor, place: Place) -> bool:
    """True where a constant has more than one value along what is an axis of another input."""
    for other in place.old:
        for index in range(1, min(len(x.shape), len(other.shape)) + 1):
            if x.shape[-index] > 1 and any(atom.axis for atom in other.layout[-index]):
                return True
    return False


def _parts(network: Network) -> set[str]:
    """Strided slices of one map that start at different positions (focus layers)."""
    groups: dict[tuple[str, int, int], dict[str, int]] = {}
    for node in network.nodes:
        if not isinstance(node.op, Slice) or node.op.step == 1:
            continue
        source = node.inputs[0]
        while (cut := network.maker(source)) is not None and isinstance(cut.op, Slice):
            if cut.op.dim == node.op.dim:
                break  # one after the other, not side by side
            source = cut.inputs[0]
        key = source, node.op.dim, node.op.step
        groups.setdefault(key, {})[node.output.name] = node.op.start
    return {name for found in groups.values() if len(set(found.values())) > 1 for name in found}


def _behind_heads(network: Network) -> set[str]:
    """The tensors made by heads: what reads one map at several rates, and all behind it."""
    rates: dict[str, set[int]] = {}
    for node in network.nodes:
        if isinstance(node.op, Conv) and node.inputs:
            for window in node.op.windows:
                if window.kernel > 1:
                    rates.setdefault(node.inputs[0], set()).add(window.dilation)
    roots = {name for name, found in rates.items() if len(found) > 1}
    found: set[str] = set()
    for node in network.nodes:
        if any(name in found for name in node.inputs) or (
            any(name in roots for name in node.inputs) and not isinstance(node.op, Constant)
        ):
            found.add(node.output.name)
    return found
