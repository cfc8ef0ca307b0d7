"""Peak inference memory by liveness: what is allocated while the nodes run in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from atrous.analysis.strides import views_of
from atrous.network import Network, Node
from atrous.network.ops import Elementwise
from atrous.shown import Shown

__all__ = ["Memory", "bytes_moved_in", "memory_of"]


@dataclass(frozen=True, slots=True)
class Memory(Shown):
    """The most bytes of activations alive at one time, and the layer during which they are.

    Convention, that of an eager run of modules within modules: inputs stay allocated throughout;
    an output is allocated before its node's inputs are freed; a tensor is freed after its last
    use, and what is handed to a module not before that module returns, since its caller holds it;
    views and in-place ops allocate nothing, but a reshape that the order of the elements in memory
    does not allow copies; parameters and a kernel's own workspace are not counted.
    """

    peak_bytes: int
    at: str
    alive: tuple[int, ...] = field(default=(), repr=False)
    """Bytes alive while each node runs, in the order of the nodes."""

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {"peak_bytes": self.peak_bytes, "at": self.at}


def memory_of(network: Network) -> Memory:
    """The peak of `network` run eagerly, node by node, at its sizes."""
    views = views_of(network)
    storage: dict[str, str] = {t.name: t.name for t in network.inputs}
    sizes: dict[str, int] = {t.name: t.nbytes for t in network.inputs}
    for node in network.nodes:
        name = node.output.name
        if name in views and node.inputs[0] in storage:
            storage[name] = storage[node.inputs[0]]
        else:
            storage[name] = name
            sizes[name] = node.output.nbytes if node.inputs else 0
    last = _last_uses(network, storage)
    dying: dict[int, list[str]] = {}
    for name, index in last.items():
        dying.setdefault(index, []).append(name)
    alive = sum(sizes[t.name] for t in network.inputs)
    peak, at = alive, ""
    course: list[int] = []
    for index, node in enumerate(network.nodes):
        if storage[node.output.name] == node.output.name:
            alive += sizes[node.output.name]
        course.append(alive)
        if alive > peak:
            peak, at = alive, node.name
        for name in dying.get(index, ()):
            alive -= sizes[name]
    return Memory(peak, at, tuple(course))


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
        for name in dict.fromkeys(node.inputs):
            total += sizes[name]
        for name in node.params:
            total += held[name]
        return total

    return moved


def _last_uses(network: Network, storage: dict[str, str]) -> dict[str, int]:
    """For each storage, the index of the node after which nobody holds it."""
    returns = _returns(network.nodes)
    within: dict[str, str] = {t.name: "" for t in network.inputs}
    last: dict[str, int] = {}
    for index, node in enumerate(network.nodes):
        for name in node.inputs:
            made_in = within[name]
            # The outermost module that it is handed to returns last.
            until = next((end for path, end in returns[index] if not _in(made_in, path)), index)
            root = storage[name]
            last[root] = max(last.get(root, 0), until)
        within[node.output.name] = node.module
        root = storage[node.output.name]
        last[root] = max(last.get(root, 0), index)
    end = len(network.nodes)
    last.update({tensor.name: end for tensor in network.inputs})
    last.update({storage[name]: end for name in network.outputs})
    return last


def _returns(nodes: tuple[Node, ...]) -> list[tuple[tuple[str, int], ...]]:
    """For each node, the modules around it, outermost first, with the last node of that call."""
    found: list[tuple[tuple[str, int], ...]] = [()] * len(nodes)
    after: dict[str, int] = {}
    for index in range(len(nodes) - 1, -1, -1):
        if not nodes[index].inputs:
            continue  # a constant is made outside of all calls and ends none
        parts = nodes[index].module.split(".") if nodes[index].module else []
        paths = [".".join(parts[: i + 1]) for i in range(len(parts))]
        after = {path: after.get(path, index) for path in paths}
        found[index] = tuple(after.items())
    return found


def _in(module: str, path: str) -> bool:
    return module == path or module.startswith(path + ".")
