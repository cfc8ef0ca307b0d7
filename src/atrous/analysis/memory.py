"""Peak inference memory by liveness: what is allocated while the nodes run in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atrous.network import Network, Node
from atrous.network.ops import Elementwise

__all__ = ["Memory", "bytes_moved_in", "memory_of"]


@dataclass(frozen=True, slots=True)
class Memory:
    """The most bytes of activations alive at one time, and the layer during which they are.

    Convention: inputs stay allocated throughout; an output is allocated before its node's inputs
    are freed; a tensor is freed after its last use; views and in-place ops allocate nothing;
    parameters and a kernel's own workspace are not counted.
    """

    peak_bytes: int
    at: str

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {"peak_bytes": self.peak_bytes, "at": self.at}


def memory_of(network: Network) -> Memory:
    """The peak of `network` run eagerly, node by node, at its sizes."""
    storage: dict[str, str] = {t.name: t.name for t in network.inputs}
    sizes: dict[str, int] = {t.name: t.nbytes for t in network.inputs}
    for node in network.nodes:
        name = node.output.name
        if node.alias and node.inputs and node.inputs[0] in storage:
            root = storage[node.inputs[0]]
            storage[name] = root
        else:
            storage[name] = name
            sizes[name] = node.output.nbytes if node.inputs else 0
    last: dict[str, int] = {}
    for index, node in enumerate(network.nodes):
        for name in (*node.inputs, node.output.name):
            last[storage[name]] = index
    end = len(network.nodes)
    for tensor in network.inputs:
        last[tensor.name] = end
    for name in network.outputs:
        last[storage[name]] = end
    dying: dict[int, list[str]] = {}
    for name, index in last.items():
        dying.setdefault(index, []).append(name)
    alive = sum(sizes[t.name] for t in network.inputs)
    peak, at = alive, ""
    for index, node in enumerate(network.nodes):
        if storage[node.output.name] == node.output.name:
            alive += sizes[node.output.name]
        if alive > peak:
            peak, at = alive, node.name
        for name in dying.get(index, ()):
            alive -= sizes[name]
    return Memory(peak, at)


def bytes_moved_in(network: Network) -> Callable[[Node], int]:
    """How many bytes a node of `network` moves: inputs and parameters read once, output written.

    Views move nothing.
    """
    sizes = {t.name: t.nbytes for t in network.inputs}
    sizes.update((node.output.name, node.output.nbytes) for node in network.nodes)
    held = {name: param.count * param.itemsize for name, param in network.params.items()}

    def moved(node: Node) -> int:
        if node.alias and not isinstance(node.op, Elementwise):
            return 0
        total = sizes[node.output.name]
        for name in node.inputs:
            total += sizes[name]
        for name in node.params:
            total += held[name]
        return total

    return moved
