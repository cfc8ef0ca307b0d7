"""ONNX files whose statistics are those of the whole image: a part of the graph for each sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import RunError, UnsupportedError
from atrous.network.shapes import Shape
from atrous.plan.tiles import Stage, Tile, TilePlan
from atrous.readers.onnx.file import Source
from atrous.readers.onnx.graph import one_line
from atrous.readers.onnx.parts import bare, excerpt, nodes_before, read_by, with_sizes_of
from atrous.readers.onnx.reader import Followed, follow_onnx
from atrous.readers.onnx.values import Live
from atrous.runners.onnx import session_of
from atrous.runners.tiled.onnx import as_taken, digest_of_model, fed_to, gathered_instead
from atrous.runners.tiled.onnx_statistics import Added, Counted, Totals, merge

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    Values = dict[str, NDArray[Any]]

__all__ = ["OnnxSweeps"]


class OnnxPart:
    """What lies between some values of a file and others, on tiles of one shape.

    Layers whose statistics are known in a sweep are fed them. Sizes that the file asks for are
    those of the tile.
    """

    def __init__(
        self,
        source: Source,
        followed: Followed,
        plan: TilePlan,
        sweep: int,
        given: Sequence[str],
        wanted: Sequence[str],
    ) -> None:
        self.plan = plan
        live = {k: v for k, v in followed.values.items() if isinstance(v, Live) and not v.unknown}
        model = with_sizes_of(bare(source.model), {name: one.shape for name, one in live.items()})
        graph = model.graph
        before = len(graph.input)
        self._resizes = gathered_instead(model, followed, plan) if plan.resizes else []
        placed = [
            (one.name, kind.elem_type, tuple(dim.dim_value for dim in kind.shape.dim))
            for one in graph.input[before:]
            for kind in (one.type.tensor_type,)
        ]
        makers = {name: node for node in graph.node for name in node.output}
        opset = source.opsets.get("", 1)
        layers = {one: Counted.of(one, makers, followed, opset) for one in plan.gathered}
        self.counted = [held for one, held in layers.items() if one.sweep == sweep]
        self._known = [held for one, held in layers.items() if one.sweep < sweep]
        _put(graph, self._known)
        makers = {name: node for node in graph.node for name in node.output}
        # Counted values that are given, such as the image, are handed on.
        asked = dict.fromkeys((*wanted, *(one.read for one in self.counted)))
        self._made = [name for name in asked if name not in given]
        kept = nodes_before(self._made, makers, stop=set(given))
        read = {name for node in graph.node if id(node) in kept for name in read_by(node)}
        fed = chain.from_iterable(one.inputs() for one in self._known)
        inputs = [(name, live[name].dtype, live[name].shape) for name in given]
        inputs = [one for one in (*inputs, *placed, *fed) if one[0] in read]
        self._read = {name for name, _, _ in inputs}
        self._session = None
        if self._made:
            weights = chain(graph.initializer, source.model.graph.initializer)
            outputs = [_unsized(name) for name in self._made]
            part = excerpt(model, kept, inputs, outputs, weights)
            self._session = session_of(part, source.folder, 0, optimized=True)

    def run(self, values: Values, tile: Tile, found: Mapping[str, Totals]) -> Values:
        """All values that are wanted or counted, of those that are given, which are among them."""
        if self._session is None:
            return values
        feed = {name: value for name, value in values.items() if name in self._read}
        for one in self._known:
            pairs = one.fed(self.plan, found, tile)
            feed.update((name, value) for name, value in pairs if name in self._read)
        axes = zip(self.plan.axes, tile.index, strict=True)
        origins = {axis.axis: axis.origin(place) for axis, place in axes}
        for resize in self._resizes:
            places = fed_to(resize, origins[resize.along.axis])
            feed.update((name, value) for name, value in places if name in self._read)
        try:
            made = self._session.run(self._made, feed)
        except Exception as error:  # the runtime has classes of its own for everything
            raise RunError(f"ONNX Runtime stopped: {one_line(error)}.") from None
        return {**values, **dict(zip(self._made, made, strict=True))}

    def own(self, values: Values, tile: Tile) -> Values:
        """What a tile stands for of the values that a sweep counts, by layer."""
        return {
            one.layer: one.own(self.plan, values[one.read], tile)[0].copy() for one in self.counted
        }

    def shares(self, values: Values, tile: Tile) -> dict[str, Added]:
        """What a tile adds to the statistics of the sweep, by layer."""
        made = {one.layer: one.add(self.plan, values[one.read], tile) for one in self.counted}
        return {layer: added for layer, added in made.items() if added is not None}


def _unsized(name: str) -> onnx.ValueInfoProto:
    import onnx

    return onnx.ValueInfoProto(name=name)


def _put(graph: onnx.GraphProto, known: Sequence[Counted]) -> None:
    """Puts what uses known statistics in the place of layers."""
    by_output = {one.node.output[0]: one for one in known}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        layer = by_output.get(node.output[0]) if node.output else None
        if layer is None:
            nodes.append(node)
            continue
        made, stored = layer.nodes()
        nodes += made
        graph.initializer.extend(stored)
    nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)


class OnnxSweeps:
    """A file on tiles of one shape, by statistics of the whole image that are gathered in sweeps.

    At a time there is one session, of the part of the graph that a sweep runs. `ends` are other
    values than the outputs that the last one makes.
    """

    def __init__(self, source: Source, plan: TilePlan, ends: Sequence[str] = ()) -> None:
        from onnx import helper

        self.plan, self.source = plan, source
        graph = source.model.graph
        stored = {item.name for item in graph.initializer}
        self.images = {
            item.name: np.dtype(helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type))
            for item in graph.input
            if item.name not in stored
        }
        self.outputs = list(ends) or [item.name for item in graph.output]
        self.found: dict[str, Totals] = {}
        self._followed: dict[tuple[Shape, ...], Followed] = {}
        self._ready: tuple[int, OnnxPart] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": None, "_followed": {}}

    def begin(self, other: OnnxSweeps | None = None) -> None:
        """Forgets the statistics of the image before, or takes those that another gathers."""
        self.found = {} if other is None else other.found

    def see(self, inputs: Sequence[Any]) -> None:
        """A file says itself of what kind its inputs are."""

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:
        """The outputs of a tile, by the statistics that are gathered."""
        (tile,) = tiles
        made = self._part(self.plan.sweeps).run(self.taken(inputs), tile, self.found)
        return [made[name] for name in self.outputs]

    def gather(self, inputs: Sequence[Any], tile: Tile, sweep: int) -> list[Any]:
        """Adds a tile to the statistics of a sweep; those of the sweeps before are finished."""
        self.join(self.shares(inputs, tile, sweep))
        return []

    def learn(self, known: Mapping[str, Totals]) -> None:
        """Takes statistics that were gathered elsewhere."""
        self.found.update(known)

    def shares(self, inputs: Sequence[Any], tile: Tile, sweep: int) -> dict[str, Added]:
        """What a tile adds to the statistics of a sweep, by layer."""
        part = self._part(sweep)
        return part.shares(part.run(self.taken(inputs), tile, self.found), tile)

    def join(self, shares: Mapping[str, Added]) -> None:
        """Adds what a tile counted to the statistics."""
        for layer, added in shares.items():
            merge(self.found, layer, added)

    def own(
        self, inputs: Sequence[Any], tile: Tile, sweep: int
    ) -> tuple[Values, list[NDArray[Any]]]:
        """What a sweep counts of a tile, by layer; nothing is kept of it."""
        part = self._part(sweep)
        return part.own(part.run(self.taken(inputs), tile, self.found), tile), []

    def stage(self, stage: Stage) -> OnnxStage:
        """What runs a sweep that goes on with maps that others kept."""
        return OnnxStage(self, stage)

    def host(self, made: Any) -> NDArray[Any]:
        """One output as an array in main memory."""
        found: NDArray[Any] = made
        return found

    def fingerprint(self) -> str:
        """A hash of the file, and of those that hold its weights."""
        return digest_of_model(self.source)

    def taken(self, inputs: Sequence[Any]) -> Values:
        """Images as the file takes them, by their names."""
        pairs = zip(inputs, self.images.items(), strict=True)
        return {name: as_taken(value, name, dtype) for value, (name, dtype) in pairs}

    def followed(self, shapes: tuple[Shape, ...]) -> Followed:
        """The file's values for a tile of these shapes."""
        if shapes not in self._followed:
            self._followed[shapes] = follow_onnx(self.source, list(shapes))
        return self._followed[shapes]

    def _part(self, sweep: int) -> OnnxPart:
        if self._ready is None or self._ready[0] != sweep:
            self._ready = None
            wanted = self.outputs if sweep == self.plan.sweeps else ()
            shapes = self.plan.input_shapes
            part = OnnxPart(
                self.source, self.followed(shapes), self.plan, sweep, list(self.images), wanted
            )
            self._ready = sweep, part
        return self._ready[1]


class OnnxStage:
    """A sweep from maps that were kept, on tiles of the stage's own size."""

    def __init__(self, engine: OnnxSweeps, stage: Stage) -> None:
        self.engine, self.sweep, self.plan = engine, stage.sweep, stage.tiles
        followed = engine.followed(tuple(stage.shapes))
        self._images = dict(
            zip((one.name for one in engine.plan.inputs), engine.images, strict=True)
        )
        names = {**_names_of(engine.source, followed), **self._images}
        self._given = [_found(names, one.name) for one in self.plan.inputs]
        last = stage.sweep == engine.plan.sweeps
        self._kept = (
            engine.outputs if last else [_found(names, one.name) for one in self.plan.outputs]
        )
        self._part = OnnxPart(
            engine.source, followed, self.plan, stage.sweep, self._given, self._kept
        )

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:
        """What the sweep keeps of a tile, or the outputs; nothing is counted."""
        (tile,) = tiles
        return self._kept_of(self._through(inputs, tile))

    def gather(self, inputs: Sequence[Any], tile: Tile, sweep: int) -> list[Any]:  # noqa: ARG002
        """The same, and adds the tile to the statistics of the sweep."""
        made = self._through(inputs, tile)
        self.engine.join(self._part.shares(made, tile))
        return self._kept_of(made)

    def own(
        self,
        inputs: Sequence[Any],
        tile: Tile,
        sweep: int,  # noqa: ARG002
    ) -> tuple[Values, list[NDArray[Any]]]:
        """What the sweep counts of a tile, by layer, and what is kept of it."""
        made = self._through(inputs, tile)
        return self._part.own(made, tile), self._kept_of(made)

    def host(self, made: Any) -> NDArray[Any]:
        """A map as it is kept, an output as an array."""
        return self.engine.host(made)

    def fingerprint(self) -> str:
        """That of the file."""
        return self.engine.fingerprint()

    def _kept_of(self, made: Values) -> list[NDArray[Any]]:
        return [made[name] for name in self._kept]

    def _through(self, inputs: Sequence[Any], tile: Tile) -> Values:
        given: Values = {}
        for one, name, value in zip(self.plan.inputs, self._given, inputs, strict=True):
            images = self.engine.images
            is_image = one.name in self._images
            given[name] = as_taken(value, name, images[name]) if is_image else np.asarray(value)
        return self._part.run(given, tile, self.engine.found)


def _names_of(source: Source, followed: Followed) -> dict[str, str]:
    """The value of the file that each tensor of the network is; the first one of several."""
    found: dict[str, str] = {}
    for node in bare(source.model).graph.node:
        for name in node.output:
            value = followed.values.get(name)
            if isinstance(value, Live):
                found.setdefault(value.tensor.name, name)
    return found


def _found(names: Mapping[str, str], tensor: str) -> str:
    if tensor not in names:
        raise UnsupportedError(
            f"{tensor}: it is kept between sweeps, and no node of the file gives it; "
            "scratch='none' begins each sweep with the image."
        )
    return names[tensor]
