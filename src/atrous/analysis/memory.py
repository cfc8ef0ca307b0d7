"""Peak inference memory of a graph by liveness: what is alive while its nodes run in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from atrous.analysis.strides import views_of
from atrous.geometry import Window
from atrous.network import Network, Node, Tensor
from atrous.network.ops import Conv, ConvTranspose, Elementwise
from atrous.shown import Shown

__all__ = [
    "Memory",
    "blocked_copies",
    "bytes_moved_in",
    "memory_of",
    "peak_of",
    "resident_peak_of",
    "thrifty_peak",
]


@dataclass(frozen=True, slots=True)
class Memory(Shown):
    """The most bytes of activations alive at one time, and the layer during which they are.

    What the graph alone says, and a compiler could reach, with its nodes in their order: inputs
    stay allocated throughout; an output is allocated before its node's inputs are freed; a tensor
    is freed after its last use; views and in-place ops allocate nothing, but a reshape that the
    order of the elements in memory does not allow copies; parameters and a kernel's own workspace
    are not counted. Python holds more: what a module's eager run needs is in `Network.eager`.
    """

    peak_bytes: int
    at: str
    alive: tuple[int, ...] = field(default=(), repr=False)
    """Bytes alive while each node runs, in the order of the nodes."""

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {"peak_bytes": self.peak_bytes, "at": self.at}


def memory_of(
    network: Network,
    *,
    keep_inputs: bool = True,
    workspace: Callable[[Node], int] | None = None,
) -> Memory:
    """The peak of `network`, node by node, at its sizes.

    Inputs are freed after their last use if they are not to be kept; `workspace` says what a node's
    kernel holds while it runs.
    """
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
    last = _last_uses(network, storage, keep_inputs)
    dying: dict[int, list[str]] = {}
    for name, index in last.items():
        dying.setdefault(index, []).append(name)
    alive = sum(sizes[t.name] for t in network.inputs)
    peak, at = alive, ""
    course: list[int] = []
    for index, node in enumerate(network.nodes):
        if storage[node.output.name] == node.output.name:
            alive += sizes[node.output.name]
        here = alive if workspace is None else alive + workspace(node)
        course.append(here)
        if here > peak:
            peak, at = here, node.name
        for name in dying.get(index, ()):
            alive -= sizes[name]
    return Memory(peak, at, tuple(course))


_BLOCK = 16
"""Channels that oneDNN lays side by side with 512-bit vectors; fewer are filled up."""


def blocked_copies(network: Network) -> Callable[[Node], int]:
    """What convolutions of PyTorch hold on a processor beside their input and their result.

    Those of 32 bits or fewer bring the input into blocks of channels, and the result back from
    them: the larger of the two is there once more. Those of 64 bits lay out what each output reads,
    tap by tap: `channels / groups * taps` numbers for each position, of one image at a time where
    taps are dilated. A transposed one does so for each position of its input.
    """

    def held(node: Node) -> int:
        op = node.op
        if not isinstance(op, Conv | ConvTranspose):
            return 0
        x = network.tensor(node.inputs[0])
        if node.output.itemsize > 4:
            return _columns_bytes(op, x, node.output)
        if isinstance(op, ConvTranspose):
            return 0
        return max(_blocked_bytes(x), _blocked_bytes(node.output))

    return held


def _columns_bytes(op: Conv | ConvTranspose, x: Tensor, made: Tensor) -> int:
    rank = len(op.windows)
    taps = prod(window.kernel for window in op.windows)
    images = prod(x.shape[: -rank - 1])
    if isinstance(op, ConvTranspose):
        return images * op.channels * taps * prod(x.shape[-rank:]) * x.itemsize
    if all(w == Window(1) for w in op.windows):
        return 0
    if any(window.dilation > 1 for window in op.windows):
        images = 1
    read = x.shape[-rank - 1] // op.groups * taps
    return images * read * prod(made.shape[-rank:]) * x.itemsize


def _blocked_bytes(tensor: Tensor) -> int:
    if len(tensor.shape) < 3 or not tensor.shape[1]:
        return tensor.nbytes
    channels = tensor.shape[1]
    return tensor.nbytes // channels * (-(-channels // _BLOCK) * _BLOCK)


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


def _last_uses(network: Network, storage: dict[str, str], keep_inputs: bool) -> dict[str, int]:
    """For each storage, the index of the node that is the last to read it."""
    last: dict[str, int] = {}
    for index, node in enumerate(network.nodes):
        for name in (*node.inputs, node.output.name):
            last[storage[name]] = index
    end = len(network.nodes)
    if keep_inputs:
        last.update({tensor.name: end for tensor in network.inputs})
    last.update({storage[name]: end for name in network.outputs})
    return last


def thrifty_peak(network: Network, keep_inputs: bool, most_weights: int) -> int:
    """Bytes that calls in their order hold, with the weights that one of them lays out anew."""

    def workspace(node: Node) -> int:
        if not isinstance(node.op, Conv):
            return 0
        held = (network.params[name] for name in node.params)
        return 2 * min(sum(param.count * param.itemsize for param in held), most_weights)

    return memory_of(network, keep_inputs=keep_inputs, workspace=workspace).peak_bytes


def peak_of(network: Network) -> int:
    """Bytes that a run of the network holds at most: the model's own, or those of the graph."""
    eager = network.eager
    if eager is not None and eager.peak_bytes is not None:
        return eager.peak_bytes
    return memory_of(network).peak_bytes


def resident_peak_of(network: Network) -> int:
    """The same with what convolutions hold while they run, where PyTorch runs the network."""
    if network.eager is None:
        return peak_of(network)
    graph = memory_of(network).peak_bytes
    beyond = max(peak_of(network) - graph, 0)
    return beyond + memory_of(network, workspace=blocked_copies(network)).peak_bytes
