"""Networks made in code, one op at a time; readers and the known networks stand on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

from atrous.errors import AtrousError, NetworkError, concerning
from atrous.geometry import Dialect, Window, pad
from atrous.network.costs import macs_of
from atrous.network.layout import Layout, channels, spatial
from atrous.network.ops import (
    AdaptivePool,
    Concat,
    Constant,
    Conv,
    ConvTranspose,
    Elementwise,
    Linear,
    Op,
    Opaque,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Resize,
)
from atrous.network.parts import once_a_part
from atrous.network.records import Network, Node, Param, Tensor
from atrous.network.table import Effect, effect, opaque
from atrous.shown import how_many

__all__ = ["AXES", "Builder", "Padding", "per_axis"]

MOST_ELEMENTS = 1 << 48
"""Of an input: more fit into no machine, and costs are no numbers any more."""
AXES: dict[int, tuple[str, ...]] = {1: ("t",), 2: ("h", "w"), 3: ("d", "h", "w")}
"""The names of the spatial axes of an input, by how many it has."""

PerAxis = int | Sequence[int]
Padding = int | Dialect | Sequence[int | tuple[int, int]]


def per_axis(value: PerAxis, rank: int, name: str) -> tuple[int, ...]:
    """One value for each of `rank` axes; a single number stands for all of them.

    >>> per_axis(3, 2, "kernel"), per_axis((1, 7), 2, "kernel")
    ((3, 3), (1, 7))
    """
    if isinstance(value, int):
        return (value,) * rank
    values = tuple(value)
    if len(values) == 1:
        return values * rank
    if len(values) != rank:
        raise NetworkError(
            f"{name} has {how_many(len(values), 'value')} for {how_many(rank, 'axis')}; "
            f"give one or {rank}."
        )
    return values


class Builder:
    """Collects nodes in execution order; each method adds one op and returns its output tensor.

    Sizes are checked as ops are added. Raises `NetworkError` or `GeometryError` naming the layer.

    >>> b = Builder("two layers")
    >>> x = b.input("x", (1, 3, 64, 64))
    >>> x = b.conv(x, 16, 3, stride=2, padding=1, name="stem")
    >>> x = b.relu(x)
    >>> print(b.build(x))
    two layers: 2 nodes, input x 1x3x64x64, 432 parameters, 442,368 MACs
    """

    looks = True
    """Whether anybody wants to know where weights are 0."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.notes: list[str] = []
        self.blank: list[str] = []
        self._inputs: list[Tensor] = []
        self._nodes: list[Node] = []
        self._params: dict[str, Param] = {}
        self._names: set[str] = set()
        self._counts: dict[str, int] = {}
        self._scope: list[str] = []

    def input(
        self,
        name: str,
        shape: Sequence[int],
        *,
        axes: Sequence[str | None] | None = None,
        itemsize: int = 4,
    ) -> Tensor:
        """An input of the network. `axes` names the spatial axis that each dimension is, or None.

        Left out, the first two dimensions are batch and channels and the rest are spatial.
        """
        shape = tuple(shape)
        for size in shape:
            if type(size) is not int or size < 1:
                raise NetworkError(
                    f"{name}: input shape {shape} has a dimension of {size!r}; "
                    "every dimension is a whole number of at least 1."
                )
        if prod(shape) > MOST_ELEMENTS:
            sizes = "x".join(str(size)[:20] for size in shape[:8])
            raise NetworkError(f"{name}: an input of {sizes} has more than 2**48 elements.")
        if axes is None:
            names = AXES.get(len(shape) - 2, ())
            axes = (None,) * (len(shape) - len(names)) + names
        layout: Layout = tuple(
            channels(size) if axis is None else spatial(axis, size)
            for axis, size in zip(axes, shape, strict=True)
        )
        tensor = Tensor(self._fresh(name), layout, itemsize)
        self._inputs.append(tensor)
        return tensor

    def add(
        self,
        op: Op,
        *inputs: Tensor,
        name: str = "",
        module: str | None = None,
        params: Sequence[Param] = (),
        shape: Sequence[int] | None = None,
        itemsize: int | None = None,
        origin: str = "",
        integer: bool = False,
    ) -> Tensor:
        """Any op of the op table. `shape` is what the source says comes out, checked if given."""
        label = getattr(op, "label", "") or op.kind
        name = self._fresh(name or ".".join([*self._scope, label]))
        expected = None if shape is None else tuple(shape)
        inputs = once_a_part(op, inputs)
        with concerning(name):
            done = self._effect(op, inputs, expected)
        size = itemsize if itemsize is not None else (inputs[0].itemsize if inputs else 4)
        fixed = bool(inputs) and all(x.constant for x in inputs)
        known = not isinstance(op, Opaque) or op.sized
        output = Tensor(name, done.layout, size, fixed or isinstance(op, Constant), known)
        self.own(params)
        macs = macs_of(op, [x.shape for x in inputs], output.shape)
        self._nodes.append(
            Node(
                name=name,
                op=op,
                inputs=tuple(x.name for x in inputs),
                output=output,
                moves=done.moves,
                macs=macs or 0,
                uncounted=macs is None,
                params=tuple(param.name for param in params),
                module=name if module is None else module,
                alias=done.alias,
                mixes=done.mixes,
                opaque=done.opaque,
                seams=done.seams,
                origin=origin,
                integer=integer,
            )
        )
        return output

    def channels_at(self, x: Tensor, dim: int, *, usually: bool = False) -> None:
        """A dimension holds channels, says the source. Only who asks for axes listens.

        With `usually`, it does where nothing else says which one does.
        """

    def own(self, params: Iterable[Param]) -> None:
        """Parameters that the source holds, whether or not any op reads them."""
        for param in params:
            self._params.setdefault(param.name, param)

    def credit(self, mark: int, params: Iterable[Param]) -> None:
        """Parameters that the nodes since `mark` read, and that none of them names yet.

        The last of these nodes then names them; where there is none, nobody reads them.
        """
        named = {name for node in self._nodes[mark:] for name in node.params}
        more = [param for param in params if param.name not in named]
        if more and len(self._nodes) > mark:
            self.own(more)
            last = self._nodes[-1]
            names = (*last.params, *(param.name for param in more))
            self._nodes[-1] = replace(last, params=names)

    def cheaper(self, start: int, middle: int) -> None:
        """Of two runs of nodes, one of which is run, the cheaper counts no products."""
        halves = self._nodes[start:middle], self._nodes[middle:]
        costs = [sum(node.macs for node in half) for half in halves]
        first = start if costs[0] < costs[1] else middle
        for index in range(first, first + len(halves[costs[0] >= costs[1]])):
            self._nodes[index] = replace(self._nodes[index], macs=0)

    def take(self, node: Node, params: Sequence[Param] = ()) -> Tensor:
        """A node that another builder made of tensors that are here, under its own name."""
        if self._fresh(node.name) != node.name:
            raise NetworkError(f"{node.name}: there is a node of this name already.")
        self.own(params)
        self._nodes.append(node)
        return node.output

    @property
    def params(self) -> tuple[Param, ...]:
        """The parameters so far."""
        return tuple(self._params.values())

    def build(self, *outputs: Tensor) -> Network:
        """The network made so far, with these outputs."""
        if not outputs:
            raise NetworkError("a network needs at least one output; pass its tensor to build().")
        return Network(
            tuple(self._inputs),
            tuple(self._nodes),
            tuple(t.name for t in outputs),
            dict(self._params),
            self.name,
            tuple(self.notes),
        )

    def maker(self, tensor: Tensor | str) -> Node | None:
        """The node that makes a tensor, or that of its name; None for an input."""
        name = tensor if isinstance(tensor, str) else tensor.name
        return next((n for n in reversed(self._nodes) if n.output.name == name), None)

    def tensors(self) -> list[Tensor]:
        """All inputs, and all tensors made so far."""
        return [*self._inputs, *(node.output for node in self._nodes)]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs made so far."""
        return tuple(self._inputs)

    def mark(self) -> int:
        """A place to return to with `undo`."""
        return len(self._nodes)

    def since(self, mark: int) -> tuple[Node, ...]:
        """The nodes added since `mark`."""
        return tuple(self._nodes[mark:])

    def undo(self, mark: int) -> None:
        """Take back every node added since `mark`, and its name."""
        self._names.difference_update(node.name for node in self._nodes[mark:])
        del self._nodes[mark:]

    def scope(self, name: str) -> Scope:
        """A `with` block in which names of layers begin with `name`."""
        return Scope(self, name)

    def qualified(self, name: str) -> str:
        """`name` inside the scopes that are open."""
        return ".".join([*self._scope, name])

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel: PerAxis,
        *,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
        padding: Padding = 0,
        groups: int = 1,
        bias: bool = False,
        name: str = "conv",
    ) -> Tensor:
        """A convolution. `padding` is a number, a dialect such as `same`, or `(lo, hi)` an axis."""
        name = self.qualified(name)
        with concerning(name):
            windows = self._windows(x, kernel, stride, dilation, padding)
            op = Conv(windows, channels, groups)
        return self.add(op, x, name=name, params=_filters(name, x, op, bias))

    def conv_transpose(
        self,
        x: Tensor,
        channels: int,
        kernel: PerAxis,
        *,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
        padding: Padding = 0,
        output_padding: PerAxis = 0,
        groups: int = 1,
        bias: bool = False,
        name: str = "conv_transpose",
    ) -> Tensor:
        """A transposed convolution."""
        name = self.qualified(name)
        with concerning(name):
            windows = self._windows(x, kernel, stride, dilation, padding)
            extra = per_axis(output_padding, len(windows), "output_padding")
            op = ConvTranspose(windows, channels, groups, extra)
        return self.add(op, x, name=name, params=_filters(name, x, op, bias))

    def pool(
        self,
        x: Tensor,
        kernel: PerAxis,
        *,
        stride: PerAxis | None = None,
        dilation: PerAxis = 1,
        padding: Padding = 0,
        ceil: bool = False,
        average: bool = False,
        name: str = "pool",
    ) -> Tensor:
        """A max pool, or an average pool; the stride is the kernel unless given."""
        name = self.qualified(name)
        with concerning(name):
            windows = self._windows(
                x, kernel, kernel if stride is None else stride, dilation, padding
            )
        op = Pool(windows, "average" if average else "max", ceil)
        return self.add(op, x, name=name)

    def global_pool(self, x: Tensor, name: str = "avgpool") -> Tensor:
        """The average over all positions; each spatial dimension is left with size 1."""
        rank = len(x.shape) - 2
        return self.add(AdaptivePool((1,) * rank), x, name=self.qualified(name))

    def resize(
        self, x: Tensor, sizes: Sequence[int], *, linear: bool = True, name: str = "resize"
    ) -> Tensor:
        """Linear (half-pixel) or nearest interpolation to `sizes`."""
        op = (
            Resize(tuple(sizes), "linear", "half_pixel")
            if linear
            else Resize(tuple(sizes), "nearest", "asymmetric")
        )
        return self.add(op, x, name=self.qualified(name))

    def pad(self, x: Tensor, pads: Sequence[tuple[int, int]], *, name: str = "pad") -> Tensor:
        """Padding with zeros by `(lo, hi)` of each of the last dimensions."""
        return self.add(Pad(tuple(pads)), x, name=self.qualified(name))

    def batch_norm(self, x: Tensor, name: str = "bn") -> Tensor:
        """Batch norm at inference: a scale and an offset for each channel."""
        name = self.qualified(name)
        count = x.shape[1]
        return self.add(Elementwise("batch_norm"), x, name=name, params=_params(name, count, count))

    def relu(self, x: Tensor, name: str = "relu") -> Tensor:
        """The rectifier, in place."""
        return self.pointwise(x, label="relu", in_place=True, name=name)

    def pointwise(
        self, *inputs: Tensor, label: str = "", in_place: bool = False, name: str = ""
    ) -> Tensor:
        """An elementwise op of one or more inputs, called `label`."""
        label = label or name
        return self.add(Elementwise(label, in_place), *inputs, name=self.qualified(name or label))

    def join(self, *inputs: Tensor, label: str = "add", name: str = "") -> Tensor:
        """The sum of branches (or what `label` says), with broadcasting."""
        return self.pointwise(*inputs, label=label, name=name or label)

    def concat(self, *inputs: Tensor, dim: int = 1, name: str = "concat") -> Tensor:
        """A concatenation, of channels unless `dim` says otherwise."""
        return self.add(Concat(dim), *inputs, name=self.qualified(name))

    def flatten(self, x: Tensor, name: str = "flatten") -> Tensor:
        """All dimensions but the batch in one."""
        return self.add(Reshape((x.shape[0], prod(x.shape[1:]))), x, name=self.qualified(name))

    def mean(
        self, x: Tensor, dims: Sequence[int], *, keep: bool = False, name: str = "mean"
    ) -> Tensor:
        """The mean over dimensions."""
        return self.add(Reduce(tuple(dims), keep), x, name=self.qualified(name))

    def linear(self, x: Tensor, channels: int, *, bias: bool = True, name: str = "fc") -> Tensor:
        """A linear layer over the last dimension."""
        name = self.qualified(name)
        weight = x.shape[-1] * channels
        return self.add(
            Linear(channels), x, name=name, params=_params(name, weight, channels if bias else 0)
        )

    def _effect(self, op: Op, inputs: tuple[Tensor, ...], shape: tuple[int, ...] | None) -> Effect:
        if shape is None:
            return effect(op, inputs)
        try:
            return effect(op, inputs, shape)
        except AtrousError as error:
            # The source runs, so the rule is at fault: say so, and follow no positions through it.
            return opaque(str(error), shape, len(inputs))

    def _windows(
        self,
        x: Tensor,
        kernel: PerAxis,
        stride: PerAxis,
        dilation: PerAxis,
        padding: Padding,
    ) -> tuple[Window, ...]:
        rank = len(x.shape) - 2
        kernels = per_axis(kernel, rank, "kernel")
        strides = per_axis(stride, rank, "stride")
        dilations = per_axis(dilation, rank, "dilation")
        pads: list[int | tuple[int, int]] = []
        for axis in range(rank):
            if isinstance(padding, str):
                length = x.shape[axis + 2]
                pads.append(pad(padding, kernels[axis], strides[axis], dilations[axis], length))
            elif isinstance(padding, int):
                pads.append(padding)
            else:
                pads.append(padding[axis] if len(padding) > 1 else padding[0])
        return Window.of_axes(kernels, strides, dilations, pads)

    def _fresh(self, name: str) -> str:
        if name not in self._names:
            self._names.add(name)
            return name
        count = self._counts.get(name, 0)
        while True:
            count += 1
            candidate = f"{name}@{count}"
            if candidate not in self._names:
                self._counts[name] = count
                self._names.add(candidate)
                return candidate


class Scope:
    """A block of layers whose names share a beginning."""

    def __init__(self, builder: Builder, name: str) -> None:
        self._builder = builder
        self._name = name

    def __enter__(self) -> Builder:
        self._builder._scope.append(self._name)
        return self._builder

    def __exit__(self, *_: object) -> None:
        self._builder._scope.pop()


def _filters(name: str, x: Tensor, op: Conv | ConvTranspose, bias: bool) -> list[Param]:
    taken = x.shape[len(x.shape) - len(op.windows) - 1]
    weight = op.channels * taken * prod(op.kernel) // max(op.groups, 1)
    return _params(name, weight, op.channels if bias else 0)


def _params(name: str, weight: int, bias: int) -> list[Param]:
    found = [Param(f"{name}.weight", weight)]
    if bias:
        found.append(Param(f"{name}.bias", bias))
    return found
