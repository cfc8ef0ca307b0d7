"""Dilation to strides: where every rate behind divides, only every so-manieth output is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, gcd

from atrous.conversion.plan import Direction, OpChange, Plan
from atrous.errors import AtrousError
from atrous.geometry import Window, sparse_window
from atrous.network import Network, Node, Tensor
from atrous.network.aside import coarsest as coarsest_of
from atrous.network.ops import (
    Attention,
    Concat,
    Contract,
    Conv,
    Elementwise,
    Expand,
    Linear,
    Lookup,
    Mix,
    Op,
    Pad,
    Permute,
    Pool,
    Reduce,
    Reorder,
    Reshape,
    Resize,
    Slice,
)
from atrous.network.walk import Place, pruned, remade, resized, strides, window_axes
from atrous.refusal import Refusal

__all__ = ["plan_striding"]

_SAME_PLACES = (
    Attention,
    Concat,
    Contract,
    Elementwise,
    Expand,
    Linear,
    Lookup,
    Mix,
    Permute,
    Reduce,
    Reorder,
    Reshape,
)
_ANY = 0  # divides nothing and is divided by all: gcd(_ANY, n) is n


def plan_striding(
    network: Network, target: Mapping[str, int], outputs: Sequence[str]
) -> Plan | Refusal:
    """The plan in which the coarsest maps that `outputs` need have the stride of `target`, by axis.

    Every position that is left has the value that it had. Strides go as far to the front as the
    rates behind them allow.
    """
    reference = pruned(network, outputs)
    return _Striding(reference, target).run()


class _Striding:
    def __init__(self, reference: Network, target: Mapping[str, int]) -> None:
        self.reference = reference
        self.target = target
        self.strides = strides(reference)
        self.tensors = {t.name: t for t in reference.inputs}
        self.tensors.update((node.output.name, node.output) for node in reference.nodes)
        self.factors = self._limit()

    def run(self) -> Plan | Refusal:
        short = self._short()
        if short is not None:
            return short
        made = {t.name: t for t in self.reference.inputs}
        nodes: list[Node] = []
        changes: list[OpChange] = []
        for node in self.reference.nodes:
            place = Place(
                node,
                tuple(self.tensors[name] for name in node.inputs),
                tuple(made[name] for name in node.inputs),
            )
            op = self._op(place)
            if isinstance(op, Refusal):
                return op
            try:
                after = remade(node, op, place.new)
            except AtrousError as error:
                return Refusal(
                    "shapes",
                    node.name,
                    f"with coarser maps it cannot be: {error} Convert the part before it "
                    "(outputs=...).",
                )
            nodes.append(after)
            made[node.output.name] = after.output
            if op != node.op:
                axes = window_axes(node, place.old[0])
                changes.append(OpChange(node.name, node.module, node.op, op, axes))
        r = self.reference
        candidate = replace(r, nodes=tuple(nodes))
        direction: Direction = "stride" if changes else "none"
        target = tuple(self.target.values())
        return Plan(r, candidate, tuple(changes), self.factors, direction, target)

    def _limit(self) -> dict[str, dict[str, int]]:
        """The largest factors for which every rate, padding and join divides."""
        caps: dict[str, dict[str, int]] = {}
        for name, tensor in self.tensors.items():
            caps[name] = {axis: self._wanted(name, axis) for axis in tensor.grid}
        for tensor in self.reference.inputs:
            caps[tensor.name] = dict.fromkeys(tensor.grid, 1)
        changed = True
        while changed:
            changed = False
            for node in reversed(self.reference.nodes):
                changed |= self._pull(node, caps)
        return caps

    def _wanted(self, name: str, axis: str) -> int:
        factor = self.target.get(axis, 1) / self.strides[name][axis]
        return factor.numerator if factor.denominator == 1 else 1

    def _pull(self, node: Node, caps: dict[str, dict[str, int]]) -> bool:
        """Lowers the factors around a node to what it takes; True where that changes one."""
        changed = False
        out = caps[node.output.name]
        windows = self._windows(node)
        for axis in {a for name in node.inputs for a in caps[name]} - self._spread(node):
            held = [caps[name] for name in node.inputs if axis in caps[name]]
            window = windows.get(axis)
            if window is not None and not isinstance(node.op, Pad):
                allowed = gcd(_divides(window), out.get(axis, _ANY) * window.stride)
            elif axis in out:
                # What takes no stride makes a map as fine as what it reads.
                held.append(out)
                allowed = _divides(window) if window is not None else _allowed(node, axis)
            else:
                allowed = _ANY
            cap = gcd(allowed, *(grid[axis] for grid in held))
            for grid in held:
                if grid[axis] != cap:
                    grid[axis], changed = cap, True
        return changed

    def _spread(self, node: Node) -> set[str]:
        """The axes along which a node spreads one value over a map of any size."""
        if not isinstance(node.op, Resize):
            return set()
        before = self.tensors[node.inputs[0]].grid
        return {axis for axis in node.output.grid if before[axis] == 1}

    def _windows(self, node: Node) -> dict[str, Window]:
        if not isinstance(node.op, Conv | Pool | Pad | Slice) or not node.inputs:
            return {}
        try:
            axes = window_axes(node, self.tensors[node.inputs[0]])
        except ValueError:
            return {}
        if isinstance(node.op, Pad) and node.op.mode != "constant":
            return {}
        windows = self._all(node.op, self.tensors[node.inputs[0]])
        return {axis: w for axis, w in zip(axes, windows, strict=True) if axis is not None}

    def _short(self) -> Refusal | None:
        """Why the outputs do not get as coarse as they are asked to be, or would for nothing."""
        now = coarsest_of(self.reference)
        for axis, target in self.target.items():
            reached = [
                self.strides[name][axis] * self.factors[name][axis]
                for name in self.tensors
                if axis in self.factors[name]
            ]
            coarsest = now[axis]
            if target == coarsest or (max(reached) >= target and self._trades(axis)):
                continue
            if (target / coarsest).denominator > 1:
                return Refusal(
                    "output stride",
                    "",
                    f"output_stride={target} is no multiple of {coarsest}, the coarsest stride "
                    f"along {axis}; ask for one, such as {coarsest * ceil(target / coarsest)}.",
                )
            wide = self._wide(axis)
            if not wide:
                return Refusal("stride", "", f"no layer has a window along {axis}.")
            node = wide[-1]
            rate = self._windows(node)[axis].dilation
            factor = int(target / coarsest)
            divided = [n for n in wide if _divides(self._windows(n)[axis]) % factor == 0]
            if divided:
                return self._held_back(divided[-1], axis, factor)
            return Refusal(
                "output stride",
                node.name,
                f"output_stride={target} along {axis} takes rates that divide by "
                f"{target / coarsest}, and the rate here is {rate} on a map of stride "
                f"{self.strides[node.inputs[0]][axis]}: there is no dilation to trade for stride.",
            )
        return None

    def _held_back(self, node: Node, axis: str, factor: int) -> Refusal:
        """Why the map that a layer reads stays fine, though the layer's own rate divides."""
        end, join = self._origin(node.inputs[0], axis, factor)
        window = None if end is None else self._windows(end).get(axis)
        if end is None:
            why = "it is an input"
        elif window is not None and isinstance(end.op, Pad):
            why = f"{end.name} pads it by {window.pad_lo}"
        elif window is not None and isinstance(end.op, Slice):
            why = f"{end.name} takes positions from {end.op.start} on"
        elif window is not None:
            why = f"{end.name} reads it at rate {window.dilation}, padding {window.pad_lo}"
        else:
            why = f"{end.name} ({end.kind}) needs all of its positions"
        rate = self._windows(node)[axis].dilation
        text = f"{node.name} could give up a factor of {factor} of its rate {rate}, but "
        if join is None:
            return Refusal(
                "output stride",
                node.name if end is None else end.name,
                f"{text}its map leads to one that stays as fine as it is along {axis} ({why}). "
                "Convert the part before that (outputs=...).",
            )
        return Refusal(
            "join",
            join.name,
            f"{text}this join takes over a map that stays as fine as it is along {axis} ({why}), "
            f"and no layer in that shortcut could take a stride of {factor}. Give it one of kernel "
            f"1, or cut it there ([..., ::{factor}] keeps the values), or convert the part before "
            "it (outputs=...).",
        )

    def _origin(self, start: str, axis: str, factor: int) -> tuple[Node | None, Node | None]:
        """The nearest node that keeps a map as fine as it is, and the join through which.

        None for the node where it is an input, and for the join where only layers in order lead
        there.
        """
        seen = {start}
        queue: deque[tuple[str, Node | None]] = deque([(start, None)])
        while queue:
            name, join = queue.popleft()
            maker = self.reference.maker(name)
            if maker is None:
                return None, join
            around = [node for node in self.reference.nodes if name in node.inputs]
            if isinstance(maker.op, Pad) or axis not in self._windows(maker):
                around.append(maker)  # another may take a stride itself
            for node in around:
                window = self._windows(node).get(axis)
                if window is None and self._is_free(node, axis):
                    continue
                allowed = _allowed(node, axis) if window is None else _divides(window)
                if allowed % factor:
                    return node, join
                joins = isinstance(node.op, Elementwise | Concat) and len(node.inputs) > 1
                near = [(x, node if joins else join) for x in node.inputs]
                for found, via in [*near, (node.output.name, join)]:
                    if found not in seen and self.factors[found].get(axis, 0) % factor:
                        seen.add(found)
                        queue.append((found, via))
        return None, None

    def _is_free(self, node: Node, axis: str) -> bool:
        """Whether a node without a window along an axis reads no place of it for another."""
        return axis not in node.output.grid or axis in self._spread(node)

    def _wide(self, axis: str) -> list[Node]:
        """The layers that read several positions along an axis."""
        windows = ((node, self._windows(node).get(axis)) for node in self.reference.nodes)
        return [node for node, window in windows if window is not None and window.kernel > 1]

    def _trades(self, axis: str) -> bool:
        """True where a rate gets smaller; else a stride would only leave outputs out."""
        wide = self._wide(axis)
        if any(self.factors[node.inputs[0]][axis] > 1 for node in wide):
            return True
        # A last pool of stride 1 is one whose stride was taken.
        pools = [node for node in wide[-1:] if isinstance(node.op, Pool)]
        return any(self.factors[node.output.name][axis] > 1 for node in pools)

    def _op(self, place: Place) -> Op | Refusal:
        node, op = place.node, place.node.op
        windows = self._windows(node)
        if not windows:
            return self._sized(place)
        after: list[Window] = []
        for axis, window in zip(
            window_axes(node, place.old[0]), self._all(op, place.old[0]), strict=True
        ):
            if axis is None:
                after.append(window)
                continue
            factor = self.factors[node.inputs[0]][axis]
            outward = self.factors[node.output.name].get(axis, factor)  # of one position, none
            length = place.old[0].grid[axis]
            if isinstance(op, Pad):
                made = _fewer(window, factor, length)
            elif isinstance(op, Pool) and op.ceil and factor * outward > 1:
                return Refusal("pool", node.name, "it counts a partial window (ceil_mode).")
            elif factor * outward == 1:
                made = window
            else:
                fewer = sparse_window(window, factor, outward, length)
                assert fewer is not None, f"{node.name}: the factors divide it"
                made = fewer
            after.append(made)
        if isinstance(op, Slice):
            (window,) = after
            length = window.output_length(place.new[0].shape[op.dim])
            return replace(op, start=-window.pad_lo, step=window.stride, length=length)
        if isinstance(op, Pad):
            return replace(op, pads=tuple(w.padding for w in after))
        assert isinstance(op, Conv | Pool)
        return replace(op, windows=tuple(after))

    def _all(self, op: Op, x: Tensor) -> tuple[Window, ...]:
        if isinstance(op, Pad):
            return tuple(Window(1, pad_lo=lo, pad_hi=hi) for lo, hi in op.pads)
        if isinstance(op, Slice):
            rest = x.shape[op.dim] - op.start - (op.length - 1) * op.step - 1
            return (Window(1, op.step, pad_lo=-op.start, pad_hi=-rest),)
        assert isinstance(op, Conv | Pool)
        return op.windows

    def _sized(self, place: Place) -> Op | Refusal:
        node, op = place.node, place.node.op
        if isinstance(op, Reshape | Expand):
            lengths = {axis: size for x in place.new for axis, size in x.grid.items()}
            try:
                return replace(op, shape=resized(op.shape, node.output, lengths))
            except ValueError as reason:
                return Refusal(node.kind, node.name, f"{reason}.")
        if isinstance(op, Resize):
            return self._resized(place, op)
        return op

    def _resized(self, place: Place, op: Resize) -> Op:
        """What spreads one value over a map, as a pooled branch, at the size that it has now."""
        dims = place.old[0].layout[-len(op.sizes) :]
        axes = ("",) * len(op.sizes) + self.reference.axes
        sizes = []
        for dim, size, axis in zip(dims, op.sizes, axes[-len(op.sizes) :], strict=True):
            own = self.factors[place.node.output.name]
            found = [own[atom.axis] for atom in dim if atom.axis]
            if not dim:
                maps = [name for name, t in self.tensors.items() if t.grid.get(axis) == size]
                found = [self.factors[name][axis] for name in maps]
            sizes.append(-(-size // max(found, default=1)))
        return replace(op, sizes=tuple(sizes))


def _allowed(node: Node, axis: str) -> int:
    """The largest factor that a node without a window along an axis takes there."""
    if isinstance(node.op, Slice | Pad):
        return _ANY if axis not in node.moves[0] else 1
    seeing = isinstance(node.op, Attention) and node.op.window is not None
    return _ANY if isinstance(node.op, _SAME_PLACES) and not seeing else 1


def _divides(window: Window) -> int:
    return gcd(window.pad_lo, window.dilation if window.kernel > 1 else _ANY)


def _fewer(window: Window, factor: int, length: int) -> Window:
    """The padding behind which every `factor`-th of `length` positions makes as many outputs."""
    lo, whole = window.pad_lo // factor, length + window.pad_lo + window.pad_hi
    return replace(window, pad_lo=lo, pad_hi=-(-whole // factor) - lo - -(-length // factor))
