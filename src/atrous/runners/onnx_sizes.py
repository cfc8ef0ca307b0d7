"""ONNX files whose sizes are fixed, opened so that they run at other sizes, where that is sound."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from atrous.errors import AtrousError, UnsupportedError
from atrous.geometry import Local
from atrous.network import Network, Node
from atrous.network.layout import Layout, has_axes
from atrous.network.ops import Reshape, Resize
from atrous.network.shapes import Shape
from atrous.plan.regions import length_along
from atrous.plan.strides import resized_by, strides
from atrous.readers.onnx.file import Source, check, load, subgraphs
from atrous.readers.onnx.graph import copied, layer_name
from atrous.readers.onnx.inputs import declared
from atrous.readers.onnx.reader import Followed, follow_onnx, read_onnx
from atrous.readers.onnx.values import Const, Live
from atrous.refusal import Refusal

if TYPE_CHECKING:
    import onnx

__all__ = ["SizedFile"]


class SizedFile:
    """A file, and `opened`, which does the same at the sizes it says and also runs at others.

    Of a file that fixes its sizes, a resize to a size that it holds is given the size that the same
    factor makes of a smaller map, and a reshape back to positions the shape of a map before it that
    is laid out alike. Whether all else is the same there, plans find out.
    """

    def __init__(self, source: str | PathLike[str] | onnx.ModelProto) -> None:
        self._given = Path(source) if isinstance(source, str | PathLike) else source
        self.source = load(self._given)
        check(self.source)
        graph = self.source.model.graph
        stored = {item.name for item in graph.initializer}
        given = [item for item in graph.input if item.name not in stored]
        self.names = [item.name for item in given]
        self._said = [declared(item) for item in given]
        self._opened: dict[tuple[Shape, ...], Source] = {}
        self._checked: set[tuple[Shape, ...]] = set()

    @property
    def rank(self) -> int | None:
        """How many dimensions the first input has, where the file says it."""
        return len(self._said[0]) if self._said and self._said[0] is not None else None

    def own(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        """The shapes at which the file takes inputs of these, its open sizes as they are here."""
        if len(shapes) != len(self._said):
            return shapes
        return tuple(
            shape
            if said is None or len(said) != len(shape)
            else tuple(a if isinstance(a, int) else n for a, n in zip(said, shape, strict=True))
            for said, shape in zip(self._said, shapes, strict=True)
        )

    def opened(self, shapes: tuple[Shape, ...]) -> Source:
        """The file with resizes that follow the size of what they resize, where it fixes sizes."""
        own = self.own(shapes)
        if own == shapes:
            return self.source
        if own not in self._opened:
            followed = follow_onnx(self.source, list(own))
            model = copied(self.source.model)
            # What is put between nodes moves those behind it, and changes no name.
            nodes = model.graph.node
            # Nodes of graphs inside others are counted as well.
            if not any(True for node in nodes for _ in subgraphs(node)):
                for index, node in enumerate(nodes):
                    node.name = layer_name(node, index)
            for node in [one for one in model.graph.node if _held_size(one, followed)]:
                _follow_sizes(model.graph, node, followed)
            _follow_shapes(model.graph, followed)
            self._opened[own] = Source(model, self.source.label, self.source.folder)
        return self._opened[own]

    def network(self, shapes: tuple[Shape, ...]) -> Network:
        """The network at these shapes. Raises `UnsupportedError` where the file is made for others.

        At the shapes of the file it is what the file says.
        """
        own = self.own(shapes)
        if own == shapes:
            return read_onnx(self._given, list(shapes), weights=True)
        try:
            return follow_onnx(self.opened(shapes), list(shapes)).network
        except AtrousError as error:
            raise UnsupportedError(
                f"{self.source.label} is made for {_crossed(own)} alone: at {_crossed(shapes)} "
                f"{error} Export it with open sizes (dynamic_shapes)."
            ) from None

    def check(self, shapes: tuple[Shape, ...]) -> None:
        """Raises `UnsupportedError` where an image of these shapes would be something else.

        A file that fixes its sizes says what it does at those; at others, only where no operator
        holds a size.
        """
        own = self.own(shapes)
        if own == shapes or shapes in self._checked:
            return
        followed = follow_onnx(self.source, list(own))
        layer = next(
            (node.name for node in followed.network if _holds(node, self.source, followed)), ""
        )
        reason = f"{layer}: makes a size that the file holds" if layer else ""
        if not reason:
            reason = _difference(followed.network, self.network(shapes))
        if reason:
            raise UnsupportedError(
                f"{self.source.label} is made for {_crossed(own)}, and an image of "
                f"{_crossed(shapes)} would be something else: {reason}; export it with open "
                "sizes (dynamic_shapes)."
            )
        self._checked.add(shapes)


def _holds(node: Node, source: Source, followed: Followed) -> bool:
    if not isinstance(node.op, Resize | Reshape):
        return False
    graph = copied(source.model).graph if source.model.functions else source.model.graph
    made = (one for one in graph.node if node.origin in one.output[:1])
    return any(_held_size(one, followed) or _held_shape(one, followed) for one in made)


def _held_size(node: onnx.NodeProto, followed: Followed) -> bool:
    """Whether a node of the file resizes to a size that is a number in the file."""
    if node.op_type != "Resize" or len(node.input) < 4 or not node.input[3]:
        return False
    x, y = followed.values.get(node.input[0]), followed.values.get(node.output[0])
    sizes = followed.values.get(node.input[3])
    return (
        isinstance(x, Live)
        and isinstance(y, Live)
        and isinstance(sizes, Const)
        and sizes.shape == (len(x.tensor.shape),)
        and x.tensor.shape != y.tensor.shape
    )


def _follow_sizes(graph: onnx.GraphProto, node: onnx.NodeProto, followed: Followed) -> None:
    """Has a resize make `size + (Shape(x) - length) / stride` positions along each dimension."""
    import numpy as np
    from onnx import helper, numpy_helper

    x, y = (followed.values[name] for name in (node.input[0], node.output[0]))
    assert isinstance(x, Live)
    assert isinstance(y, Live)
    lengths, sizes = x.tensor.shape, y.tensor.shape
    apart = [resized_by(*pair) for pair in zip(lengths, sizes, strict=True)]
    stem = f"{node.output[0]}/followed"

    def constant(name: str, values: list[int]) -> str:
        graph.initializer.append(
            numpy_helper.from_array(np.asarray(values, np.int64), f"{stem}/{name}")
        )
        return f"{stem}/{name}"

    steps = (
        ("Shape", [node.input[0]], "shape"),
        ("Sub", [f"{stem}/shape", constant("length", list(lengths))], "more"),
        ("Mul", [f"{stem}/more", constant("up", [one.denominator for one in apart])], "times"),
        ("Div", [f"{stem}/times", constant("down", [one.numerator for one in apart])], "made"),
        ("Add", [f"{stem}/made", constant("size", list(sizes))], "sizes"),
    )
    made = [helper.make_node(kind, names, [f"{stem}/{name}"]) for kind, names, name in steps]
    place = next(i for i, one in enumerate(graph.node) if one is node or one == node)
    before, behind = list(graph.node[:place]), list(graph.node[place + 1 :])
    changed = type(node)()
    changed.CopyFrom(node)
    changed.input[3] = f"{stem}/sizes"
    del graph.node[:]
    graph.node.extend([*before, *made, changed, *behind])


def _held_shape(node: onnx.NodeProto, followed: Followed) -> bool:
    """Whether a node of the file reshapes to a length of positions that is a number in the file."""
    if node.op_type != "Reshape" or len(node.input) < 2:
        return False
    shape, y = followed.values.get(node.input[1]), followed.values.get(node.output[0])
    if not isinstance(shape, Const) or not isinstance(y, Live) or shape.array is None:
        return False
    dims = zip(shape.array.reshape(-1), y.tensor.layout, strict=False)
    return any(size > 0 and has_axes(dim) for size, dim in dims)


def _follow_shapes(graph: onnx.GraphProto, followed: Followed) -> None:
    """Has reshapes back to positions take the shape of a value before them that is laid out alike.

    So a group norm is written: its map is flattened, and gets the shape back that it had.
    """
    from onnx import helper

    alike: dict[Layout, str] = {}
    nodes: list[onnx.NodeProto] = []

    def known(name: str) -> None:
        value = followed.values.get(name)
        if isinstance(value, Live) and not value.unknown:
            alike.setdefault(value.tensor.layout, name)

    for item in graph.input:
        known(item.name)
    for node in graph.node:
        one = type(node).FromString(node.SerializeToString())
        if _held_shape(node, followed):
            y = followed.values[node.output[0]]
            like = alike.get(y.tensor.layout) if isinstance(y, Live) else None
            if like is not None:
                name = f"{node.output[0]}/followed/shape"
                nodes.append(helper.make_node("Shape", [like], [name]))
                one.input[1] = name
        nodes.append(one)
        for name in node.output:
            known(name)
    del graph.node[:]
    graph.node.extend(nodes)


def _difference(one: Network, other: Network) -> str:
    """The first layer that does something else at another size, and what; empty where none."""
    if [node.name for node in one] != [node.name for node in other]:
        return "its layers are others"
    for axis in one.axes:
        apart = strides(one, axis)
        if isinstance(apart, Refusal):
            return f"{apart.layer}: {apart.reason}"
        more = length_along(other, other.inputs[0].name, axis)
        more -= length_along(one, one.inputs[0].name, axis)
        for node, twin in zip(one, other, strict=True):
            name = node.output.name
            longer = length_along(other, name, axis) - length_along(one, name, axis)
            if name in apart and abs(longer - more / apart[name]) > 1:
                return f"{node.name}: makes a size that the file holds"
            for move, beside in zip(node.moves, twin.moves, strict=True):
                a, b = move.get(axis), beside.get(axis)
                if type(a) is not type(b):
                    return f"{node.name}: reads otherwise"
                if isinstance(a, Local) and isinstance(b, Local) and a.inputs > 1:
                    alike = a.reads == b.reads or isinstance(node.op, Resize)
                    if not (alike and a.border == b.border and a.phases == b.phases):
                        return f"{node.name}: reads other places"
    return ""


def _crossed(shapes: tuple[Shape, ...]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes)
