"""Tiles through ONNX Runtime: one session at the shape of a tile, resizes at their own places."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import ArgumentError, RunError, UnsupportedError
from atrous.network import Network, Node
from atrous.network.ops import Permute, Resize
from atrous.network.shapes import Shape
from atrous.plan.tiles import PlacedAxis, PlacedResize, Tile, TilePlan
from atrous.readers.onnx.file import Source, inside
from atrous.readers.onnx.graph import copied, graphs, one_line
from atrous.readers.onnx.inputs import declared
from atrous.readers.onnx.reader import Followed, follow_onnx
from atrous.readers.onnx.values import Live
from atrous.runners.onnx import session_of
from atrous.runners.tiled.places import Taps, taps_at

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["OnnxTiles", "as_taken", "digest_of_model", "fed_to", "gathered_instead"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a file says of cubic convolution."""

    cubic: float
    exclude_outside: bool


@dataclass(frozen=True, slots=True)
class Fed:
    """Places and weights that a resize takes from outside along one dimension of those resized.

    A tile has `held` positions along it; `names` are the session's inputs, a pair for each tap.
    """

    op: Resize
    index: int
    along: PlacedAxis
    held: int
    names: tuple[tuple[str, str], ...]
    column: tuple[int, ...]
    dtype: np.dtype[Any]
    kernel: Kernel


class OnnxTiles:
    """A model that runs on tiles of one shape in ONNX Runtime, optimised, on all cores.

    Where the plan has resizes that need the place of a tile, each becomes sums of gathered
    positions, whose places and weights are inputs of the session.
    """

    def __init__(self, source: Source, plan: TilePlan) -> None:
        from onnx import helper

        self.plan, self._source = plan, source
        self._model = copied(source.model)
        graph = self._model.graph
        stored = {item.name for item in graph.initializer}
        given = [item for item in graph.input if item.name not in stored]
        self._inputs = {
            item.name: np.dtype(helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type))
            for item in given
        }
        self._outputs = [item.name for item in graph.output]
        # Where a file fixes the batch, what is inside may count on it.
        self._stacks = all(isinstance((declared(item) or [0])[0], str) for item in given)
        _sized(graph, given, plan.input_shapes, open_batch=self._stacks)
        self._fed: list[Fed] = []
        if plan.resizes:
            self._fed = gathered_instead(
                self._model, follow_onnx(source, list(plan.input_shapes)), plan
            )
        self._session = session_of(self._model, source.folder, 0, optimized=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._session = session_of(self._model, self._source.folder, 0, optimized=True)

    def fingerprint(self) -> str:
        """A hash of the file, and of those that hold its weights."""
        return digest_of_model(self._source)

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:
        """The outputs for inputs stacked along the batch."""
        given = [
            as_taken(value, name, dtype)
            for value, (name, dtype) in zip(inputs, self._inputs.items(), strict=True)
        ]
        count = len(tiles)
        if count == 1 or self._stacks:
            return self._made(given, tiles[0])
        each = [np.split(array, count) for array in given]
        parts = [self._made([one[i] for one in each], tile) for i, tile in enumerate(tiles)]
        return [np.concatenate(found) for found in zip(*parts, strict=True)]

    def host(self, made: Any) -> NDArray[Any]:
        """One output as an array in main memory."""
        found: NDArray[Any] = made
        return found

    def _made(self, given: Sequence[NDArray[Any]], tile: Tile) -> list[Any]:
        feed = dict(zip(self._inputs, given, strict=True))
        if self._fed:
            origins = {
                axis.axis: axis.origin(place)
                for axis, place in zip(self.plan.axes, tile.index, strict=True)
            }
            for one in self._fed:
                feed.update(fed_to(one, origins[one.along.axis]))
        try:
            made: list[Any] = self._session.run(self._outputs, feed)
        except Exception as error:  # the runtime has classes of its own for everything
            raise RunError(f"ONNX Runtime stopped: {one_line(error)}.") from None
        return made


def as_taken(value: Any, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An input as the type that the model takes; numbers are not made of another kind."""
    array = np.ascontiguousarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.dtype != dtype:
        if array.dtype.kind != dtype.kind:
            raise ArgumentError(
                f"the input {name[:80]!r} takes {dtype}, got {array.dtype}; convert the image "
                "first, scaled as the model expects it."
            )
        array = array.astype(dtype)
    # A scalar stays one: `ascontiguousarray` gives it a dimension.
    return array.reshape(np.shape(value))


def _sized(
    graph: onnx.GraphProto,
    given: Iterable[onnx.ValueInfoProto],
    shapes: Sequence[Shape],
    *,
    open_batch: bool,
) -> None:
    """Declares inputs at these shapes; what the file says of the shapes of other values goes."""
    for item, shape in zip(given, shapes, strict=True):
        dims = item.type.tensor_type.shape.dim
        del dims[:]
        for place, size in enumerate(shape):
            if open_batch and not place:
                dims.add(dim_param="batch")
            else:
                dims.add(dim_value=size)
    for inner in graphs(graph):
        del inner.value_info[:]
        for item in inner.output:
            item.type.tensor_type.ClearField("shape")


def gathered_instead(model: onnx.ModelProto, followed: Followed, plan: TilePlan) -> list[Fed]:
    """Puts sums of gathered positions where resizes stand that need the place of a tile."""
    fed: list[Fed] = []
    origins = [one.origin for one in plan.resizes]
    for one in plan.resizes:
        place = next(
            (i for i, node in enumerate(model.graph.node) if one.origin in node.output[:1]), None
        )
        if place is None or origins.count(one.origin) > 1:
            reason = "resizes inside another graph or in two steps, to a size of its own"
            raise UnsupportedError(f"{one.layer}: {reason}; give it a factor as its scale.")
        node = model.graph.node[place]
        if one.op.antialias or node.op_type not in ("Resize", "Upsample"):
            reason = "filters while it resizes to a size of its own"
            raise UnsupportedError(f"{one.layer}: {reason}; give it a factor as its scale.")
        value = followed.values[node.input[0]]
        assert isinstance(value, Live)
        if one.op.how != "nearest" and value.dtype not in (1, 10, 11):
            reason = "interpolates integers, which runtimes round in their own ways"
            raise UnsupportedError(f"{one.layer}: {reason}; cast to float before it.")
        graph = _Gathering(node, one, _turned(followed.network, one), value)
        made = graph.nodes(followed.network.node(one.layer), fed)
        before, behind = list(model.graph.node[:place]), list(model.graph.node[place + 1 :])
        del model.graph.node[:]
        model.graph.node.extend([*before, *made, *behind])
        model.graph.input.extend(graph.inputs)
        model.graph.initializer.extend(graph.constants)
    return fed


def _turned(network: Network, one: PlacedResize) -> tuple[int, ...]:
    """The order in which the reader turns channels to the front for a resize; empty for none."""
    maker = network.maker(network.node(one.layer).inputs[0])
    if maker is not None and isinstance(maker.op, Permute) and maker.origin == one.origin:
        return maker.op.order
    return ()


class _Gathering:
    """The nodes that do what a resize does, and what they read from outside."""

    def __init__(
        self, node: onnx.NodeProto, one: PlacedResize, order: tuple[int, ...], value: Live
    ) -> None:
        self.node, self.one, self.order = node, one, order
        self.dtype = value.dtype
        self.kernel = _kernel(node)
        shape = value.tensor.shape
        self.shape = [shape[d] for d in order] if order else list(shape)
        self.inputs: list[onnx.ValueInfoProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._made: list[onnx.NodeProto] = []

    def nodes(self, read: Node, fed: list[Fed]) -> list[onnx.NodeProto]:
        """The nodes, of which the last makes the output of the resize; notes what is to be fed."""
        from onnx import helper

        name = self.node.input[0]
        if self.order:
            name = self._add("Transpose", [name], perm=list(self.order))
        first = len(self.shape) - len(self.one.op.sizes)
        target = read.output.shape
        for index, along in enumerate(self.one.axes):
            dim = first + index
            size, length = self.shape[dim], target[dim]
            if along is None:
                if size != length:
                    kernel, op = self.kernel, self.one.op
                    taps = _taps(op, index, kernel, size, range(length), length)
                    name = self._summed(name, dim, self._constants(index, dim, taps))
                continue
            taken = self._taken(index, dim, along.made)
            column = tuple(self._column(dim, along.made))
            kind, op = np.dtype(helper.tensor_dtype_to_np_dtype(self.dtype)), self.one.op
            fed.append(Fed(op, index, along, size, taken, column, kind, self.kernel))
            name = self._summed(name, dim, taken)
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        last = self._add("Transpose", [name], perm=back) if self.order else name
        self._add("Identity", [last], output=self.node.output[0])
        return self._made

    def _add(self, kind: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{self.node.output[0]}/placed/{len(self._made)}"
        self._made.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _summed(self, x: str, dim: int, taps: Iterable[tuple[str, str]]) -> str:
        """The sum of gathered positions, each with its weight."""
        total = ""
        for places, weights in taps:
            part = self._add("Gather", [x, places], axis=dim)
            if self.one.op.how != "nearest":
                part = self._add("Mul", [part, weights])
            total = self._add("Add", [total, part]) if total else part
        return total

    def _names(self, index: int, count: int) -> tuple[tuple[str, str], ...]:
        stem = f"{self.node.output[0]}/placed/axis{index}"
        return tuple((f"{stem}/places{tap}", f"{stem}/weights{tap}") for tap in range(count))

    def _column(self, dim: int, made: int) -> list[int]:
        return [made, *[1] * (len(self.shape) - dim - 1)]

    def _taken(self, index: int, dim: int, made: int) -> tuple[tuple[str, str], ...]:
        from onnx import TensorProto, helper

        found = self._names(index, _TAPS[self.one.op.how])
        for places, weights in found:
            self.inputs.append(helper.make_tensor_value_info(places, TensorProto.INT64, [made]))
            if self.one.op.how != "nearest":
                shape = self._column(dim, made)
                self.inputs.append(helper.make_tensor_value_info(weights, self.dtype, shape))
        return found

    def _constants(self, index: int, dim: int, taps: Taps) -> tuple[tuple[str, str], ...]:
        from onnx import helper, numpy_helper

        at, parts = taps
        found = self._names(index, at.shape[1])
        kind = helper.tensor_dtype_to_np_dtype(self.dtype)
        for tap, (places, weights) in enumerate(found):
            self.constants.append(numpy_helper.from_array(at[:, tap].copy(), places))
            column = parts[:, tap].reshape(self._column(dim, len(at))).astype(kind)
            self.constants.append(numpy_helper.from_array(column, weights))
        return found


_TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


def _kernel(node: onnx.NodeProto) -> Kernel:
    said = {attribute.name: attribute for attribute in node.attribute}
    cubic = said["cubic_coeff_a"].f if "cubic_coeff_a" in said else -0.75
    return Kernel(cubic, "exclude_outside" in said and bool(said["exclude_outside"].i))


def fed_to(one: Fed, origin: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """What a resize is fed for the tile that begins at input position `origin`."""
    along = one.along
    first, before = int(origin / along.behind), int(origin / along.before)
    outputs = range(first, first + along.made)
    at, parts = _taps(one.op, one.index, one.kernel, along.inputs, outputs, along.outputs)
    # What lies outside of the tile is kept by no tile.
    at = np.clip(at - before, 0, one.held - 1)
    for tap, (places, weights) in enumerate(one.names):
        yield places, np.ascontiguousarray(at[:, tap])
        if one.op.how != "nearest":
            yield weights, parts[:, tap].reshape(one.column).astype(one.dtype)


def _taps(op: Resize, index: int, kernel: Kernel, inputs: int, outputs: range, length: int) -> Taps:
    """Where `outputs` look, by the standard's formulas in float32, as ONNX Runtime works them out.

    Far from the origin the last bits of a place matter: at position 16,384 they are a thousandth.
    """
    one = np.float32
    at = np.arange(outputs.start, outputs.stop).astype(one)
    scale = op.scales[index] if op.scales else None
    ratio = one(length) / one(inputs) if scale is None else one(float(scale))
    if op.coordinates == "align_corners":
        where = at * one(inputs - 1) / one(max(length - 1, 1))
    elif op.coordinates == "asymmetric":
        where = at / ratio
    elif op.coordinates == "pytorch_half_pixel" and length == 1:
        where = np.zeros_like(at)
    else:
        where = (at + one(0.5)) / ratio - one(0.5)
    return taps_at(op, where, inputs, cubic=kernel.cubic, exclude_outside=kernel.exclude_outside)


def digest_of_model(source: Source) -> str:
    """A hash of the file, and of those that hold its weights."""
    made = hashlib.sha256(source.model.SerializeToString(deterministic=True))
    beside = {
        entry.value: tensor.name
        for graph in graphs(source.model.graph)
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for location, name in sorted(beside.items()):
        if source.folder is not None:
            with inside(source.folder, location, f"the tensor {name[:80]!r}").open("rb") as file:
                made.update(hashlib.file_digest(file, "sha256").digest())
    return made.hexdigest()[:32]
