"""One pass over a network that makes it anew, op by op, with factors carried along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from atrous.errors import AtrousError
from atrous.network import Network, Node, Tensor
from atrous.network.costs import macs_of
from atrous.network.layout import Dim, has_axes
from atrous.network.ops import Conv, ConvTranspose, Op, Pool, Slice
from atrous.network.parts import once_a_part
from atrous.network.table import effect

__all__ = [
    "Place",
    "ancestors",
    "needed",
    "pruned",
    "remade",
    "resized",
    "structural",
    "window_axes",
]


@dataclass(frozen=True, slots=True)
class Place:
    """A node and what stands around it, before and after."""

    node: Node
    old: tuple[Tensor, ...]
    new: tuple[Tensor, ...]

    def length(self, axis: str) -> int:
        """The new length of an axis, as the inputs have it."""
        return max((t.grid[axis] for t in self.new if axis in t.grid), default=1)


def ancestors(network: Network, outputs: Sequence[str]) -> set[str]:
    """The tensors that any of `outputs` is made of, themselves included."""
    wanted = set(outputs)
    for node in reversed(network.nodes):
        if node.output.name in wanted:
            wanted.update(node.inputs)
    return wanted


def pruned(network: Network, outputs: Sequence[str]) -> Network:
    """The part of a network that makes `outputs`."""
    wanted = ancestors(network, outputs)
    nodes = tuple(node for node in network.nodes if node.output.name in wanted)
    used = {name for node in nodes for name in node.params}
    params = {name: param for name, param in network.params.items() if name in used}
    inputs = tuple(t for t in network.inputs if t.name in wanted)
    return replace(network, inputs=inputs, nodes=nodes, outputs=tuple(outputs), params=params)


def needed(network: Network, names: Sequence[str] | None) -> tuple[str, ...]:
    """The tensors of the outputs or layers of those names; the network's outputs for None."""
    if names is None:
        return network.outputs
    return tuple(
        name if name in network.outputs else network.node(name).output.name for name in names
    )


def structural(network: Network) -> Network:
    """The network as if no weight were 0: what each layer can read by its shape."""
    nodes = []
    for node in network.nodes:
        op = node.op
        if getattr(op, "unread", ()):
            plain: Op = replace(op, unread=())  # type: ignore[call-arg]
            tensors = tuple(network.tensor(name) for name in node.inputs)
            first = once_a_part(op, tensors[:1])
            inputs = tensors[len(first) - 1 :]
            made = remade(node, plain, inputs)
            node = replace(made, inputs=tuple(x.name for x in inputs))
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def window_axes(node: Node, x: Tensor) -> tuple[str | None, ...]:
    """The axis along which each window of an op slides; None where a dimension has no positions.

    Raises `ValueError` with the reason where a dimension is no whole axis.
    """
    op = node.op
    if isinstance(op, Slice):
        dims: Sequence[Dim] = (x.layout[op.dim],)
    else:
        count = len(op.windows) if isinstance(op, Conv | Pool | ConvTranspose) else 0
        for name in ("sizes", "pads", "factors", "windows"):
            count = count or len(getattr(op, name, ()))
        dims = x.layout[len(x.layout) - count :]
    found: list[str | None] = []
    for dim in dims:
        if not has_axes(dim):
            found.append(None)
        elif len(dim) == 1 and x.grid[str(dim[0].axis)] == dim[0].size:
            found.append(dim[0].axis)
        else:
            raise ValueError("slides along a dimension that holds a part of an axis")
    return tuple(found)


def resized(shape: Sequence[int], like: Tensor, lengths: Mapping[str, int]) -> tuple[int, ...]:
    """`shape`, which `like` has, with the axes at new lengths.

    Raises `ValueError` where an axis that changes is cut into digits.
    """
    out: list[int] = []
    for size, dim in zip(shape, like.layout, strict=True):
        if not has_axes(dim):
            out.append(size)
            continue
        made = []
        for atom in dim:
            if atom.axis is None or lengths.get(atom.axis, 0) in (0, like.grid[atom.axis]):
                made.append(atom.size)
            elif atom.size == like.grid[atom.axis]:
                made.append(lengths[atom.axis])
            else:
                raise ValueError(f"cuts {atom.axis} into windows, whose number would change")
        out.append(prod(made))
    return tuple(out)


def remade(node: Node, op: Op, inputs: tuple[Tensor, ...]) -> Node:
    """The node with another op on other inputs. Raises `AtrousError` where that cannot be."""
    done = effect(op, inputs)
    if done.opaque and not node.opaque:
        raise AtrousError(f"{done.opaque}.")
    old = node.output
    output = Tensor(old.name, done.layout, old.itemsize, old.constant)
    macs = macs_of(op, [x.shape for x in inputs], output.shape)
    return replace(
        node,
        op=op,
        output=output,
        moves=done.moves,
        macs=macs or 0,
        uncounted=macs is None,
        alias=done.alias,
        mixes=done.mixes,
        opaque=done.opaque,
        seams=done.seams,
    )


def strides(network: Network) -> dict[str, dict[str, Fraction]]:
    """For each tensor, by axis: input positions from one position to the next."""
    found: dict[str, dict[str, Fraction]] = {
        t.name: dict.fromkeys(t.grid, Fraction(1)) for t in network.inputs
    }
    for node in network.nodes:
        here: dict[str, Fraction] = {}
        for name, moves in zip(node.inputs, node.moves, strict=True):
            for axis, stride in found[name].items():
                if axis not in node.output.grid or axis in here:
                    continue
                reads = getattr(moves.get(axis), "reads", None)
                here[axis] = stride if reads is None else stride * reads.stride
        for axis in node.output.grid:
            here.setdefault(axis, Fraction(1))
        found[node.output.name] = here
    return found
