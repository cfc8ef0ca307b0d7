"""A network as data: frozen records of tensors, parameters and nodes, in execution order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from atrous.errors import NetworkError, UnknownNameError, clean, unknown
from atrous.geometry import AxisMap
from atrous.network.layout import Grid, Layout, Seam, grid_of, shape_of
from atrous.network.ops import Op
from atrous.shown import ELLIPSES, Shown, how_many, some, splits

__all__ = ["EagerRun", "Network", "Node", "Param", "Tensor", "layer_names"]


@dataclass(frozen=True, slots=True)
class Tensor(Shown):
    """A value that flows through the network.

    `layout` says which positions each dimension holds; `shape` and `grid` (the length of each
    spatial axis) follow from it. `itemsize` is in bytes; `constant` says that no input reaches it.
    `sized` is False where nothing says which shape it has.
    """

    name: str
    layout: Layout
    itemsize: int = 4
    constant: bool = False
    sized: bool = True
    shape: tuple[int, ...] = field(init=False)
    grid: Grid = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", shape_of(self.layout))
        object.__setattr__(self, "grid", grid_of(self.layout))

    @property
    def elements(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes; 0 where no size is known."""
        return self.elements * self.itemsize if self.sized else 0


@dataclass(frozen=True, slots=True)
class Param(Shown):
    """A tensor that is stored with the model: `count` numbers of `itemsize` bytes each.

    `trainable` says that training changes it; a parameter that it leaves as it is is frozen. A
    `buffer`, such as a running statistic or an index, is no parameter and is not counted as one.
    """

    name: str
    count: int
    itemsize: int = 4
    trainable: bool = True
    buffer: bool = False


@dataclass(frozen=True, slots=True)
class Node(Shown):
    """One operation: what it is, what it reads, what it makes and what it costs.

    `moves` holds, for each input, how each spatial axis moves; an axis that is not named there
    keeps its positions. `mixes` names the axes along which this op lets all positions see one
    another. `opaque` is the reason why positions cannot be followed through it, or empty. `origin`
    is what the source calls the operation: an ONNX node's first output, a node of an exported
    graph. `uncounted` says that its multiply-accumulates are not known, and are not in `macs`;
    `integer` that they are of whole numbers, as in quantized networks.
    `seams` says for each input where its positions lie along the rows of parts laid end to end, or
    which of its rows are taken out; it is empty where there are none.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: Tensor
    moves: tuple[Mapping[str, AxisMap], ...] = field(hash=False)
    macs: int = 0
    params: tuple[str, ...] = ()
    module: str = ""
    alias: bool = False
    mixes: tuple[str, ...] = ()
    opaque: str = ""
    origin: str = ""
    uncounted: bool = False
    integer: bool = False
    seams: tuple[Seam | None, ...] = ()

    def seam(self, index: int) -> Seam | None:
        """The seam of input `index`, where it has one."""
        return self.seams[index] if self.seams else None

    @property
    def kind(self) -> str:
        """The kind of operation, such as `conv` or `pool`."""
        return self.op.kind


@dataclass(frozen=True, slots=True)
class EagerRun(Shown):
    """What an eager run of the source itself holds at most, each storage followed to its end.

    `peak_bytes` are the inputs and all tensors alive at one time, parameters and buffers not; `at`
    is the layer that runs then. What names and lists in Python still hold counts, views share
    storage, and what one op of PyTorch allocates and frees before it returns does not count.
    `layers` and `alive` are its course: after each op that allocates, its layer and the bytes
    alive. Where the source cannot be run without numbers, `peak_bytes` is None and `reason` says
    why.
    """

    peak_bytes: int | None
    at: str = ""
    reason: str = ""
    layers: tuple[str, ...] = field(default=(), repr=False)
    alive: tuple[int, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, object]:
        """Plain data, without the course."""
        return {"peak_bytes": self.peak_bytes, "at": self.at, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Network(Shown):
    """A network: inputs, nodes in execution order, and the names of the output tensors.

    `eager` is what the source itself needs where it is run as it is, of which the nodes say
    nothing; None where nothing else than the nodes is there to be run. `ran` says on what a source
    was run whose way depends on values: the nodes are those of that run; empty for all others.
    `decided` names the layers in which that run looked at values to know its way.

    >>> from atrous.network import Builder
    >>> b = Builder()
    >>> x = b.input("x", (1, 3, 32, 32))
    >>> net = b.build(b.conv(x, 8, 3, padding=1))
    >>> len(net.nodes), net.tensor(net.outputs[0]).shape, net.macs
    (1, (1, 8, 32, 32), 221184)
    """

    inputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, Param] = field(hash=False)
    name: str = ""
    notes: tuple[str, ...] = ()
    eager: EagerRun | None = field(default=None, repr=False, compare=False)
    ran: str = field(default="", compare=False)
    decided: str = field(default="", compare=False)
    _tensors: dict[str, Tensor] = field(init=False, repr=False, compare=False)
    _makers: dict[str, Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tensors = {tensor.name: tensor for tensor in self.inputs}
        for node in self.nodes:
            for name in node.inputs:
                if name not in tensors:
                    raise NetworkError(
                        f"{node.name}: reads {name!r}, which nothing before it makes; "
                        "list nodes in execution order."
                    )
            if node.output.name in tensors:
                raise NetworkError(f"{node.name}: makes {node.output.name!r} a second time.")
            tensors[node.output.name] = node.output
        for name in self.outputs:
            if name not in tensors:
                raise unknown("output", name, tensors)
        object.__setattr__(self, "_tensors", tensors)
        object.__setattr__(self, "_makers", {node.output.name: node for node in self.nodes})

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name. Raises `UnknownNameError`, listing the near names."""
        try:
            return self._tensors[name]
        except KeyError:
            raise unknown("tensor", name, self._tensors) from None

    def maker(self, tensor: str) -> Node | None:
        """The node that makes the tensor of that name; None for an input."""
        return self._makers.get(tensor)

    def reached(self, *tensors: str) -> set[str]:
        """The tensors that are made of any of these, themselves included.

        >>> from atrous.network.stack import stack_network
        >>> sorted(stack_network("k3 k3 maxk2", (1, 1, 8)).reached("conv2"))
        ['conv2', 'max3']
        """
        found = set(tensors)
        for node in self.nodes:
            if not found.isdisjoint(node.inputs):
                found.add(node.output.name)
        return found

    def node(self, name: str) -> Node:
        """The node of that name, or the last one inside the module of that name."""
        return find(self.nodes, name)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all convolutions, linear layers and matrix products."""
        return sum(node.macs for node in self.nodes)

    @property
    def integer_macs(self) -> int:
        """Those multiply-accumulates that are of whole numbers."""
        return sum(node.macs for node in self.nodes if node.integer)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """The nodes whose multiply-accumulates are not known: `macs` is at least what it says."""
        return tuple(node.name for node in self.nodes if node.uncounted)

    @property
    def unsized(self) -> tuple[str, ...]:
        """The nodes that make tensors of unknown size, which no sum of bytes holds."""
        return tuple(node.name for node in self.nodes if not node.output.sized)

    @property
    def param_count(self) -> int:
        """The number of parameters, each counted once however often it is used, or if never."""
        return sum(param.count for param in self.params.values() if not param.buffer)

    @property
    def unused_params(self) -> tuple[Param, ...]:
        """The parameters that the source holds and that no node reads."""
        used = {name for node in self.nodes for name in node.params}
        held = self.params.items()
        return tuple(param for name, param in held if name not in used and not param.buffer)

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the spatial axes, in the order of the first input that has any."""
        names: dict[str, None] = {}
        for tensor in self.inputs:
            names.update(dict.fromkeys(tensor.grid))
        return tuple(names)

    def to_dict(self) -> dict[str, object]:
        """Plain data: inputs, nodes and outputs with shapes, for JSON."""
        return {
            "name": self.name,
            "inputs": [{"name": t.name, "shape": list(t.shape)} for t in self.inputs],
            "outputs": list(self.outputs),
            "nodes": [
                {
                    "name": node.name,
                    "op": node.kind,
                    "inputs": list(node.inputs),
                    "shape": list(node.output.shape),
                    "macs": node.macs,
                }
                for node in self.nodes
            ],
        }

    def __str__(self) -> str:
        shapes = ", ".join(f"{t.name} {'x'.join(map(str, t.shape))}" for t in self.inputs)
        return clean(
            f"{self.name or 'network'}: {how_many(len(self.nodes), 'node')}, input {shapes}, "
            f"{self.param_count:,} parameters, {self.macs:,} MACs"
        )


def find(nodes: Sequence[Node], name: str) -> Node:
    """The node called `name`; else the last one in the module `name`; else an error.

    A name with its middle left out, as tables show it, is that of the one layer or module that
    begins and ends so.
    """
    inside = None
    for node in nodes:
        if node.name == name or node.output.name == name:
            return node
        if node.module == name or node.module.startswith(name + "."):
            inside = node
    if inside is not None and name:
        return inside
    known = layer_names(nodes)
    ways = [way for mark in ELLIPSES for way in splits(name, mark)]
    whole = [one for one in known if _is_short_for(ways, one)]
    if len(whole) == 1:
        return find(nodes, whole[0])
    if whole:
        raise UnknownNameError(
            f"{name!r} is short for {some(whole)}; write more of the name that you mean."
        )
    raise unknown("layer", name, known)


def layer_names(nodes: Iterable[Node]) -> tuple[str, ...]:
    """What `find` finds: the names of nodes, and of all modules that they are in."""
    nodes = tuple(nodes)
    known = {node.name: None for node in nodes}
    for node in nodes:
        parts = node.module.split(".") if node.module else []
        known.update((".".join(parts[:end]), None) for end in range(1, len(parts) + 1))
    return tuple(known)


def _is_short_for(ways: Iterable[tuple[str, str]], name: str) -> bool:
    """Whether a label, split in `ways`, is what is left of a name without letters in its middle."""
    return any(
        len(name) >= len(head) + len(tail) and name.startswith(head) and name.endswith(tail)
        for head, tail in ways
    )
