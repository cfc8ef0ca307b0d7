"""One network at several lengths of its clip: the same layer by layer, or which layer is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import zip_longest

from atrous.geometry import Local, Prefix, Reads, Windowed
from atrous.network import Network, Node, Tensor
from atrous.network.ops import Attention, Pad, Resize, Slice
from atrous.plan.regions import length_along, mixes_all
from atrous.plan.strides import period, strides
from atrous.refusal import Refusal

__all__ = ["AtLengths", "at_lengths", "led_to"]


@dataclass(frozen=True, slots=True)
class AtLengths:
    """A network at several lengths of its clip along one axis, all of them the same layer by layer.

    `networks` has the one that was asked about first.
    """

    networks: tuple[Network, ...]
    axis: str
    strides: Mapping[str, Fraction]
    hop: int
    """Input samples after which the pattern repeats."""

    @property
    def network(self) -> Network:
        """The network at the length that was asked about."""
        return self.networks[0]

    def length(self, tensor: str) -> int:
        """How many positions a tensor has there."""
        return length_along(self.network, tensor, self.axis)

    def positions(self, tensor: str) -> int:
        """How many positions a tensor has for each hop."""
        return int(self.hop / self.strides[tensor])

    def operands(self, node: Node) -> list[tuple[int, str]]:
        """The operands that have the axis and depend on the input, by their index."""
        return [(i, name) for i, name in enumerate(node.inputs) if name in self.strides]


def at_lengths(networks: Sequence[Network], axis: str) -> AtLengths | Refusal:
    """What must hold for a network to run along an axis, whatever the length; else which layer."""
    led = led_to(networks[0])
    for node in networks[0].nodes:
        refused = _not_live(networks[0], node, axis) if node.output.name in led else None
        if refused is not None:
            return refused
    same = _in_step(networks, axis)
    if isinstance(same, Refusal):
        return same
    first = same[0]
    apart = strides(first, axis, rates=True)
    if isinstance(apart, Refusal):
        return apart
    led = led_to(first)
    apart = {name: stride for name, stride in apart.items() if name in led}
    for other in same[1:]:
        refused = _unlike_at(first, other, axis, apart)
        if refused is not None:
            return refused
    for node in first.nodes:
        for index, name in enumerate(node.inputs):
            move = node.moves[index].get(axis)
            if name not in apart or not isinstance(move, Local):
                continue
            made = apart.get(node.output.name)
            if made is not None and apart[name] * move.reads.stride != made:
                reason = (
                    f"makes {move.outputs} positions of {move.inputs} along {axis}, by no factor "
                    "of its own; give it one."
                )
                return Refusal("aligned", node.name, reason)
    return AtLengths(tuple(same), axis, apart, period(first, axis, apart))


def led_to(network: Network) -> set[str]:
    """The tensors that an output depends on."""
    found = set(network.outputs)
    for node in reversed(network.nodes):
        if node.output.name in found:
            found.update(node.inputs)
    return found


def _not_live(network: Network, node: Node, axis: str) -> Refusal | None:
    """Why one node cannot run along an axis piece by piece."""
    operands = map(network.tensor, node.inputs)
    if not any(one.grid.get(axis, 1) > 1 and not one.constant for one in operands):
        return None
    if node.opaque:
        why = node.opaque.rstrip(".")
        return Refusal("local", node.name, f"{why}, so what it waits for is not known.")
    if any(node.seams):
        return Refusal("local", node.name, f"lays parts end to end along {axis}.")
    for index, name in enumerate(node.inputs):
        move = node.moves[index].get(axis)
        if move is None or network.tensor(name).constant:
            continue
        if isinstance(move, Prefix) and not move.reverse and not isinstance(node.op, Attention):
            continue
        if isinstance(move, Local) and not mixes_all(move):
            reads = move.reads.needed(range(move.outputs))
            if move.border == "wrap" and (reads.start < 0 or reads.stop > move.inputs):
                return Refusal("local", node.name, f"wraps round the end of the clip along {axis}.")
            continue
        if isinstance(move, Local) and isinstance(node.op, Windowed):
            reason = (
                f"its window spans the whole clip of {move.inputs} along {axis}; give a longer "
                "clip, or a window that is shorter than clips are."
            )
            return Refusal("local", node.name, reason)
        if move.inputs > 1:
            return Refusal("local", node.name, _mixing(node, move, axis))
    return None


def _mixing(node: Node, move: object, axis: str) -> str:
    if isinstance(node.op, Attention):
        return (
            f"attends to positions of all times along {axis}, so what it keeps grows without end; "
            "attend inside blocks of a fixed length."
        )
    if isinstance(move, Prefix):
        return f"runs backwards along {axis}, from the end of the clip; make it run forwards alone."
    return (
        f"lets all positions see one another along {axis}, so nothing is known before the clip "
        "ends; use one that looks at channels or at the past alone."
    )


def _unlike_at(
    network: Network, other: Network, axis: str, apart: Mapping[str, Fraction]
) -> Refusal | None:
    """Where a layer reads other places at another length."""
    length = next(length_along(other, t.name, axis) for t in other.inputs if t.name in apart)
    for node, beside in zip(network.nodes, other.nodes, strict=True):
        for index, name in enumerate(node.inputs):
            here, there = node.moves[index].get(axis), beside.moves[index].get(axis)
            if name not in apart or here == there:
                continue
            if not isinstance(here, Local) or not isinstance(there, Local):
                if type(here) is not type(there):
                    return Refusal("same", node.name, f"reads otherwise at {length} along {axis}.")
                continue
            if (here.reads, here.border, here.phases) != (there.reads, there.border, there.phases):
                what = "resizes" if isinstance(node.op, Resize) else "reads"
                reason = (
                    f"{what} to places along {axis} that depend on the length of the clip, which "
                    "is not known before it ends; give it a factor or pads that are always the "
                    "same."
                )
                return Refusal("same", node.name, reason)
    return None


def _in_step(networks: Sequence[Network], axis: str) -> list[Network] | Refusal:
    """The networks with the same nodes under the same names.

    What cuts or adds nothing at one length is no node there: such nodes are left out, and one that
    stands for all of them is put before every operand that has any in some network.
    """
    first = networks[0]
    if all([n.name for n in one] == [n.name for n in first] for one in networks):
        return list(networks)
    sides = [_Side.of(network, axis) for network in networks]
    for side in sides[1:]:
        for node, other in zip_longest(sides[0].nodes, side.nodes):
            free = node is not None and isinstance(node.op, Slice | Pad)
            if node is None or other is None or type(node.op) is not type(other.op):
                return _something_else(sides[0], side, node or other, axis)
            if node.name != other.name and not free:
                return _something_else(sides[0], side, node, axis)
    made = [_Made.of(side.network) for side in sides]
    for row in zip(*(side.nodes for side in sides), strict=True):
        operands = [_cropped(sides, made, names, axis) for names in _operand_rows(row)]
        for one, node in zip(made, row, strict=True):
            one.add(node, row[0], tuple(operands))
    outputs = [_cropped(sides, made, names, axis) for names in _outputs(sides)]
    return [one.network(tuple(outputs)) for one in made]


def _something_else(one: _Side, other: _Side, node: Node | None, axis: str) -> Refusal:
    length = next(t.grid[axis] for t in other.network.inputs if t.grid.get(axis, 1) > 1)
    reason = f"the model does something else at {length} along {axis}."
    return Refusal("same", node.name if node else one.network.name, reason)


def _operand_rows(row: Sequence[Node]) -> Iterator[tuple[str, ...]]:
    """What the nodes of all networks read, operand by operand."""
    yield from zip(*(node.inputs for node in row), strict=True)


def _outputs(sides: Sequence[_Side]) -> Iterator[tuple[str, ...]]:
    yield from zip(*(side.network.outputs for side in sides), strict=True)


@dataclass(frozen=True, slots=True)
class _Side:
    """One network without the nodes that only cut or add positions at the end."""

    network: Network
    nodes: tuple[Node, ...]
    crops: Mapping[str, Node]
    """Those nodes, by what they make."""

    @classmethod
    def of(cls, network: Network, axis: str) -> _Side:
        crops = {node.output.name: node for node in network.nodes if _is_crop(node, axis)}
        nodes = tuple(node for node in network.nodes if node.output.name not in crops)
        return cls(network, nodes, crops)

    def root(self, tensor: str) -> str:
        """What is cropped to a tensor."""
        while tensor in self.crops:
            tensor = self.crops[tensor].inputs[0]
        return tensor


def _is_crop(node: Node, axis: str) -> bool:
    """Whether a node leaves positions where they are, and only cuts or adds some at the end."""
    if not isinstance(node.op, Slice | Pad) or len(node.inputs) != 1:
        return False
    move = node.moves[0].get(axis)
    return isinstance(move, Local) and move.reads.is_identity and not node.opaque


@dataclass(slots=True)
class _Made:
    """A network while it gets the nodes that all have, under the names of the first."""

    old: Network
    nodes: list[Node]
    names: dict[str, str]
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, network: Network) -> _Made:
        inputs = {tensor.name: tensor for tensor in network.inputs}
        return cls(network, [], {name: name for name in inputs}, inputs)

    def add(self, node: Node, model: Node, operands: tuple[str, ...]) -> None:
        output = replace(node.output, name=model.output.name)
        self.nodes.append(replace(node, name=model.name, inputs=operands, output=output))
        self.names[node.output.name] = output.name
        self.tensors[output.name] = output

    def network(self, outputs: tuple[str, ...]) -> Network:
        old = self.old
        return Network(old.inputs, tuple(self.nodes), outputs, old.params, old.name, old.notes)


def _cropped(
    sides: Sequence[_Side], made: Sequence[_Made], tensors: tuple[str, ...], axis: str
) -> str:
    """The name under which all networks have what each has under one of these names."""
    crops = [side.crops.get(tensor) for side, tensor in zip(sides, tensors, strict=True)]
    known = next((node for node in crops if node is not None), None)
    if known is None:
        return made[0].names[tensors[0]]
    key = " ".join(tensors)
    if key in made[0].names:
        return made[0].names[key]
    name = known.output.name
    while name in made[0].tensors or any(node.output.name == name for node in sides[0].nodes):
        name += "'"
    for side, one, tensor in zip(sides, made, tensors, strict=True):
        source = one.tensors[one.names[side.root(tensor)]]
        output = replace(side.network.tensor(tensor), name=name)
        move = Local(Reads.identity(), source.grid[axis], output.grid[axis])
        layer = name if name != known.output.name else known.name
        node = replace(
            known, name=layer, inputs=(source.name,), output=output, moves=({axis: move},)
        )
        one.nodes.append(node)
        one.names[key] = name
        one.tensors[name] = output
    return name
