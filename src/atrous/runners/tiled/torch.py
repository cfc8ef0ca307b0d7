"""Tiles through a PyTorch module: as it is, or call by call where a resize needs its place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from atrous.errors import ReadError, UnsupportedError
from atrous.frameworks.structures import leaves
from atrous.frameworks.torch import (
    in_mode,
    quiet,
)
from atrous.network.shapes import Shape
from atrous.plan.tiles import PlacedAxis, PlacedResize, Stage, Tile, TilePlan
from atrous.readers.torch.inputs import examples_for
from atrous.readers.torch.traced import calls_of
from atrous.runners.tiled.places import taps_of
from atrous.runners.tiled.statistics import Gathered, Share, Sums, join

__all__ = ["Graph", "Instead", "TorchTiles", "digest_of_calls", "rank_of", "tensor_of"]

Instead = Callable[..., Any]
"""What is done instead of a call, with its arguments."""

Count = Callable[[Gathered, str, torch.Tensor], None]
"""Is handed what is gathered, a layer, and the operand of which a sweep counts a tile."""

Own = tuple[dict[str, torch.Tensor], list[torch.Tensor]]
"""What a tile adds to statistics, by layer, and the maps that are kept of it."""

_NOTHING: Mapping[str, Any] = {}


class TorchTiles:
    """A module that runs on tiles of one shape, in evaluation mode and without gradients.

    Where the plan has resizes that need the place of a tile, or statistics of the whole image, the
    module's calls are run instead of its code: what it computes outside of PyTorch is then that of
    the first tile.
    """

    def __init__(self, model: nn.Module, plan: TilePlan, ends: Sequence[str] = ()) -> None:
        self.model = model
        self.plan = plan
        first = next((p for p in model.parameters() if p.is_floating_point()), None)
        self.device = first.device if first is not None else torch.device("cpu")
        self.dtype = first.dtype if first is not None else None
        self._graph: Graph | None = None
        self._gathered: Gathered | None = None
        self._found: dict[str, Sums] = {}
        self._graphs: dict[tuple[Shape, ...], Graph] = {}
        self._kinds: list[torch.dtype] = []
        self._ends = tuple(ends)

    def __getstate__(self) -> dict[str, Any]:
        # Recorded calls go to no other process: they are recorded again there.
        return {**self.__dict__, "_graph": None, "_gathered": None, "_graphs": {}}

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:
        """The outputs, as tensors, for inputs stacked along the batch."""
        with torch.inference_mode():
            return self.forward(self.taken(inputs), tiles)

    def forward(self, given: Sequence[torch.Tensor], tiles: Sequence[Tile]) -> list[torch.Tensor]:
        """The outputs, with gradients where they are enabled; inputs may be written to."""
        if not self.plan.resizes and not self.plan.gathered:
            with in_mode(self.model, training=False), quiet():
                made = self.model(*given)
            return [value for value in leaves(made) if isinstance(value, torch.Tensor)]
        (tile,) = tiles
        graph = self._graph_for(given)
        instead, known = self._placed(graph, tile, self.plan.sweeps)
        return graph.run(given, instead, known, self.ends(graph))

    def ends(self, graph: Graph) -> list[str]:
        """The nodes whose values a run makes: those of the calls asked for, or the outputs."""
        return [graph.tensor_at(one, one) for one in self._ends] or list(graph.program.outputs)

    def begin(self, other: TorchTiles | None = None) -> None:
        """Forgets the statistics of the image before, or takes those that another gathers."""
        self._found = {} if other is None else other._found
        if self._gathered is not None:
            self._gathered.found = self._found

    def see(self, inputs: Sequence[Any]) -> None:
        """Takes the kinds of numbers that images have, which sweeps are told before they run."""
        self._kinds = [one.dtype for one in self.taken(inputs)]

    def stage(self, stage: Stage) -> TorchStage:
        """What runs a sweep that goes on with maps that others kept."""
        shapes = tuple(stage.shapes)
        if shapes not in self._graphs:
            like = [torch.empty(s, dtype=d) for s, d in zip(shapes, self._kinds, strict=True)]
            with in_mode(self.model, training=False), quiet():
                self._graphs[shapes] = Graph(self.model, like)
        names = [one.name for one in self.plan.inputs]
        return TorchStage(self, stage, self._graphs[shapes], names, self._found)

    def gather(self, inputs: Sequence[Any], tile: Tile, sweep: int) -> list[Any]:
        """Adds a tile to the statistics of a sweep; those of the sweeps before are finished."""
        self._count(inputs, tile, sweep, lambda held, *given: held.add(*given, tile))
        return []

    @property
    def found(self) -> dict[str, Sums]:
        """The statistics that are gathered, by layer."""
        return self._found

    def learn(self, known: Mapping[str, Sums]) -> None:
        """Takes statistics that were gathered elsewhere."""
        self._found.update(known)

    def shares(self, inputs: Sequence[Any], tile: Tile, sweep: int) -> dict[str, Share]:
        """What a tile adds to the statistics of a sweep, by layer."""
        found: dict[str, Share] = {}

        def taken(held: Gathered, layer: str, value: torch.Tensor) -> None:
            share = held.share(layer, value, tile)
            if share is not None:
                found[layer] = share

        self._count(inputs, tile, sweep, taken)
        return found

    def join(self, shares: Mapping[str, Share]) -> None:
        """Adds what a tile counted to the statistics."""
        for layer, share in shares.items():
            join(self._found, layer, share)

    def own(self, inputs: Sequence[Any], tile: Tile, sweep: int) -> Own:
        """What a tile adds to the statistics of a sweep, by layer."""
        found: dict[str, torch.Tensor] = {}
        self._count(inputs, tile, sweep, partial(_taken_own, found, tile))
        return found, []

    def _count(self, inputs: Sequence[Any], tile: Tile, sweep: int, count: Count) -> None:
        """Runs a tile up to the maps that a sweep counts; nothing behind them is run."""
        with torch.inference_mode():
            given = self.taken(inputs)
            graph = self._graph_for(given)
            held = self._statistics(graph)
            instead, known = self._placed(graph, tile, sweep)
            instead = {**instead, **held.counting(sweep, partial(count, held))}
            values = {**dict(zip(graph.inputs, given, strict=True)), **known}
            del given
            graph.compute(values, tuple(held.in_sweep(sweep)), instead)

    def leaves(self) -> bool:
        """Makes finished statistics what gradients are gathered of; False where there are none."""
        for layer, sums in self._found.items():
            self._found[layer] = sums.apart()
        return bool(self._found)

    def pulled(self, given: Sequence[torch.Tensor], tile: Tile, sweep: int) -> torch.Tensor:
        """A number whose gradients are those of the loss by way of what a sweep counts of a tile.

        Those of the loss by the statistics are to be in these, complete.
        """
        graph = self._graph_for(given)
        held = self._statistics(graph)
        instead, known = self._placed(graph, tile, sweep)
        found = [torch.zeros((), dtype=torch.double)]

        def count(layer: str, value: torch.Tensor) -> None:
            found.append(held.pulled(layer, value, tile))

        values = {**dict(zip(graph.inputs, given, strict=True)), **known}
        wanted = tuple(held.in_sweep(sweep))
        graph.compute(values, wanted, {**instead, **held.counting(sweep, count)})
        return torch.stack(found).sum()

    def _graph_for(self, given: Sequence[torch.Tensor]) -> Graph:
        if self._graph is None:
            with in_mode(self.model, training=False), quiet():
                self._graph = Graph(self.model, given)
        return self._graph

    def _statistics(self, graph: Graph) -> Gathered:
        if self._gathered is None:
            self._gathered = Gathered(self.plan, graph.nodes, self._found)
        return self._gathered

    def taken(self, inputs: Sequence[Any]) -> list[torch.Tensor]:
        """Copies of arrays as the module takes them."""
        return [self._taken(value) for value in inputs]

    def host(self, made: torch.Tensor) -> Any:
        """One output as an array in main memory; of bfloat16, which arrays have not, float32."""
        made = made.float() if made.dtype == torch.bfloat16 else made
        return made.detach().cpu().numpy()

    def fingerprint(self) -> str:
        """A hash of the module's calls on a tile, and of all tensors that they use."""
        shapes = tuple(torch.empty(shape, dtype=self.dtype) for shape in self.plan.input_shapes)
        name = type(self.model).__name__
        with torch.inference_mode(False):
            traced = calls_of(self.model, examples_for(self.model, shapes, name), name)
        return digest_of_calls(traced)

    def _taken(self, value: Any) -> torch.Tensor:
        value = tensor_of(value)
        # A copy: a first layer that works in place must not write to the image.
        if value.is_floating_point() and self.dtype is not None:
            return value.to(self.device, self.dtype, copy=True)
        return value.to(self.device, copy=True)

    def _placed(
        self, graph: Graph, tile: Tile, sweep: int
    ) -> tuple[Mapping[str, Instead], dict[str, Any]]:
        """The calls that take more than a tile, and the results that are known: see `Gathered`."""
        resizes = resizes_of(self.plan, tile)
        if not self.plan.gathered:
            return resizes, {}
        held = self._statistics(graph)
        known = held.results(sweep, tile, self.device)
        return {**resizes, **held.instead(sweep, tile)}, known


class TorchStage:
    """A sweep from maps that were kept, on tiles of the stage's own size."""

    def __init__(
        self,
        engine: TorchTiles,
        stage: Stage,
        graph: Graph,
        images: Sequence[str],
        found: dict[str, Sums],
    ) -> None:
        self.engine, self.sweep, self.plan, self.graph = engine, stage.sweep, stage.tiles, graph
        self.held = Gathered(stage.tiles, graph.nodes, found)
        self.images = frozenset(images)
        by_image = dict(zip(images, graph.inputs, strict=True))
        self.given = [self._name_of(one.name, stage, by_image) for one in self.plan.inputs]
        counts = self.held.in_sweep(stage.sweep)
        kept = [self._name_of(one.name, stage, by_image) for one in self.plan.outputs]
        self.kept = kept if counts else engine.ends(graph)
        self.wanted = tuple(dict.fromkeys((*self.kept, *counts)))

    def _name_of(self, tensor: str, stage: Stage, images: Mapping[str, str]) -> str:
        if tensor in images:
            return images[tensor]
        return self.graph.tensor_at(stage.origins[tensor], tensor)

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:
        """What the sweep keeps of a tile, or the outputs; nothing is counted."""
        (tile,) = tiles
        return self._through(inputs, tile, lambda *_: None)

    def gather(self, inputs: Sequence[Any], tile: Tile, sweep: int) -> list[Any]:  # noqa: ARG002
        """The same, and adds the tile to the statistics of the sweep."""
        return self._through(inputs, tile, lambda held, *given: held.add(*given, tile))

    def own(self, inputs: Sequence[Any], tile: Tile, sweep: int) -> Own:  # noqa: ARG002
        """What a tile adds to the statistics of the sweep, by layer, and what is kept of it."""
        found: dict[str, torch.Tensor] = {}
        made = self._through(inputs, tile, partial(_taken_own, found, tile))
        return found, made

    def host(self, made: torch.Tensor) -> Any:
        """A map as it is kept, an output as an array of the engine."""
        if self.held.in_sweep(self.sweep) and made.dtype == torch.bfloat16:
            return made.detach().cpu().contiguous().view(torch.int16).numpy()
        return self.engine.host(made)

    def fingerprint(self) -> str:
        """That of the engine."""
        return self.engine.fingerprint()

    def _through(self, inputs: Sequence[Any], tile: Tile, count: Count) -> list[Any]:
        with torch.inference_mode():
            values = dict(zip(self.given, self._taken(inputs), strict=True))
            values.update(self.held.results(self.sweep, tile, self.engine.device))
            instead = {
                **resizes_of(self.plan, tile),
                **self.held.instead(self.sweep, tile),
                **self.held.counting(self.sweep, partial(count, self.held)),
            }
            made = self.graph.compute(values, self.wanted, instead)
            return [made[name] for name in self.kept]

    def _taken(self, inputs: Sequence[Any]) -> list[torch.Tensor]:
        found = []
        for one, name, value in zip(self.plan.inputs, self.given, inputs, strict=True):
            if one.name in self.images:
                found += self.engine.taken([value])
                continue
            kind = self.graph.nodes[name].meta["val"].dtype
            held = tensor_of(value)
            held = (
                held.contiguous().view(kind) if held.dtype != kind and kind.itemsize == 2 else held
            )
            found.append(held.to(self.engine.device, kind, copy=True))
        return found


def _taken_own(
    found: dict[str, torch.Tensor], tile: Tile, held: Gathered, layer: str, value: torch.Tensor
) -> None:
    found[layer] = held.own(layer, value, tile)[0].clone()


def resizes_of(plan: TilePlan, tile: Tile) -> dict[str, Instead]:
    """Resizes at the places of the whole map, by the nodes that call them."""
    origins = {
        axis.axis: axis.origin(place) for axis, place in zip(plan.axes, tile.index, strict=True)
    }
    return {one.origin: _resizing(one, origins) for one in plan.resizes}


class Graph:
    """The calls that a module makes on inputs of these shapes, to be run again."""

    def __init__(self, model: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
        name = type(model).__name__
        shapes = tuple(torch.empty_like(value, device="cpu") for value in inputs)
        with torch.inference_mode(False):
            program = calls_of(model, examples_for(model, shapes, name), name)
        if program.ran:
            raise ReadError(f"{name}: its way depends on values, so its calls are no recipe.")
        self.program = program
        self.nodes = {node.name: node for node in program.graph.nodes}
        placed = [node.name for node in program.graph.nodes if node.op == "placeholder"]
        self.inputs = [name for name in placed if name in program.inputs]
        self._known: dict[Any, list[tuple[Any, list[Any]]]] = {}
        schemas = (getattr(node.target, "_schema", None) for node in program.graph.nodes)
        self._writes = any(getattr(one, "is_mutable", False) for one in schemas)

    def tensor_at(self, origin: str, layer: str) -> str:
        """The node whose value is the tensor that a call makes, the first one where it has more."""
        node = self.nodes.get(origin)
        if node is not None and not isinstance(node.meta.get("val"), torch.Tensor):
            firsts = (user for user in node.users if user.args[1:] == (0,))
            node = next(firsts, None)
        if node is None or not isinstance(node.meta.get("val"), torch.Tensor):
            raise UnsupportedError(
                f"{layer}: it is kept between sweeps, and no call of the model gives it; "
                "scratch='none' begins each sweep with the image."
            )
        return str(node.name)

    def run(
        self,
        inputs: Sequence[torch.Tensor],
        instead: Mapping[str, Instead] = _NOTHING,
        known: Mapping[str, Any] = _NOTHING,
        wanted: Sequence[str] = (),
    ) -> list[torch.Tensor]:
        """The outputs; a call whose node is named in `instead` is done by that function.

        What `known` has is not computed. `wanted` are other nodes than the outputs.
        """
        values = {**dict(zip(self.inputs, inputs, strict=True)), **known}
        names = wanted or self.program.outputs
        made = self.compute(values, names, instead)
        return [made[name] for name in names]

    def compute(
        self,
        given: dict[str, Any],
        wanted: Sequence[str],
        instead: Mapping[str, Instead] = _NOTHING,
    ) -> dict[str, torch.Tensor]:
        """The values of the nodes `wanted`, from those `given` by name: no other call is made.

        What was given is let go after its last use, and `given` is empty afterwards.
        """
        steps = self._steps(tuple(given), tuple(wanted))
        values: dict[Any, Any] = {}
        for node, dead in steps:
            if node.name in given:
                values[node] = given.pop(node.name)
            elif node.op == "placeholder":
                values[node] = self.program.stored[node.name][1]
            elif node.op == "get_attr":
                values[node] = getattr(self.program.owner, node.target)
            else:
                args = torch.fx.map_arg(node.args, values.__getitem__)
                kwargs = torch.fx.map_arg(node.kwargs, values.__getitem__)
                function = instead.get(node.name, node.target)
                values[node] = function(*args, **kwargs)
                del args, kwargs
                if node.name in wanted and self._writes and torch.is_tensor(values[node]):
                    # What follows may write to it.
                    values[node] = values[node].clone()
            for one in dead:
                del values[one]
        return {node.name: value for node, value in values.items() if node.name in set(wanted)}

    def _steps(
        self, given: tuple[str, ...], wanted: tuple[str, ...]
    ) -> list[tuple[Any, list[Any]]]:
        """The nodes to be computed in their order, each with the values that end there."""
        key = (given, wanted)
        if key in self._known:
            return self._known[key]
        nodes = list(self.program.graph.nodes)
        need = {node for node in nodes if node.name in wanted}
        for node in reversed(nodes):
            if node in need and node.name not in given:
                need.update(node.all_input_nodes)
        last: dict[Any, Any] = {}
        order = [node for node in nodes if node in need]
        for node in order:
            last[node] = node
            if node.name not in given:
                last.update(dict.fromkeys(node.all_input_nodes, node))
        ending: dict[Any, list[Any]] = {}
        for one, node in last.items():
            if one.name not in wanted:
                ending.setdefault(node, []).append(one)
        self._known[key] = [(node, ending.get(node, [])) for node in order]
        return self._known[key]


def digest_of_calls(traced: Any) -> str:
    """A hash of recorded calls, and of all tensors that they use."""
    made = hashlib.sha256(str(traced.graph).encode())
    for key, (held, tensor) in sorted(traced.stored.items()):
        made.update(f"{key} {held} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        made.update(flat.view(torch.uint8).numpy().data)
    return made.hexdigest()[:32]


def tensor_of(value: Any) -> torch.Tensor:
    """An array as a tensor, in its own memory where PyTorch can have it so.

    It has no other byte order, no negative steps, and writes to what it is given.
    """
    if isinstance(value, torch.Tensor):
        return value
    array = np.asarray(value)
    steps = min(array.strides, default=0)
    if steps < 0 or not array.dtype.isnative or not array.flags.writeable:
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(array)


def _resizing(one: PlacedResize, origins: Mapping[str, int]) -> Callable[..., torch.Tensor]:
    """The resize of a tile as the whole map's: a stretch of its outputs at their own places."""

    def resize(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        rank = len(one.op.sizes)
        for index, along in enumerate(one.axes):
            x = _resized(x, x.dim() - rank + index, one, index, along, origins)
        return x

    return resize


def _resized(
    x: torch.Tensor,
    dim: int,
    one: PlacedResize,
    index: int,
    along: PlacedAxis | None,
    origins: Mapping[str, int],
) -> torch.Tensor:
    if along is None:
        inputs, length, first, before = x.shape[dim], one.op.sizes[index], 0, 0
        outputs = range(length)
    else:
        origin = origins[along.axis]
        inputs, length = along.inputs, along.outputs
        first, before = int(origin / along.behind), int(origin / along.before)
        outputs = range(first, first + along.made)
    if inputs == length and one.op.how == "linear" and along is None:
        return x
    double = x.dtype == torch.float64
    places, weights = taps_of(one.op, index, inputs, outputs, length, double=double)
    # What lies outside of the tile is kept by no tile.
    places = np.clip(places - before, 0, x.shape[dim] - 1)
    made: torch.Tensor | None = None
    for tap in range(places.shape[1]):
        part = x.index_select(dim, torch.from_numpy(places[:, tap]).to(x.device))
        if one.op.how != "nearest":
            shape = [1] * x.dim()
            shape[dim] = -1
            part = part * torch.from_numpy(weights[:, tap]).to(x.device, x.dtype).view(shape)
        made = part if made is None else made + part
    assert made is not None
    return made


def rank_of(model: nn.Module) -> int | None:
    """How many dimensions a module's images have, by its convolutions and pools; None if unclear.

    >>> rank_of(nn.Sequential(nn.Conv1d(1, 2, 3))), rank_of(nn.ReLU())
    (3, None)
    """
    ranks = {
        int(type(module).__name__.removeprefix("Lazy")[-2]) + 2
        for module in model.modules()
        if re.fullmatch(r"(Lazy)?(Conv|ConvTranspose|MaxPool|AvgPool)[123]d", type(module).__name__)
    }
    return ranks.pop() if len(ranks) == 1 else None
