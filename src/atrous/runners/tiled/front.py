"""A module whose front runs by tiles and whose back runs whole, as a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from atrous.errors import ArgumentError, MissingDependencyError, UnsupportedError
from atrous.frameworks.torch import in_mode, quiet
from atrous.network import Network
from atrous.plan.cut import CutPlan, thrifty
from atrous.plan.tiles import Tile
from atrous.runners.tiled.torch import Graph, Instead, TorchTiles, digest_of_calls

__all__ = ["DepthFirst", "TorchHalves", "exported_halves"]


class DepthFirst(nn.Module):  # type: ignore[misc]
    """The same results as `model`, in evaluation mode, with less memory at a time.

    It takes images of the shape that it was planned for. The calls of the model are made again,
    tile by tile up to the plan's `layer`, and once behind it; its parameters are the model's own.
    Under gradients nothing is done in place, and memory is as the model needs it.
    """

    def __init__(self, model: nn.Module, plan: CutPlan, network: Network) -> None:
        super().__init__()
        self.model = model
        self.plan = plan
        (shape,) = (one.shape for one in plan.front.inputs)
        first = next(model.parameters(), None)
        like = torch.empty(shape, dtype=None if first is None else first.dtype)
        with quiet(), in_mode(model, training=False):
            self._graph = Graph(model, [like])
        self._shape = shape
        maker = network.maker(plan.tensor)
        self.cut = plan.tensor if maker is None else maker.origin
        self._check_front()
        self._instead = {
            **_in_place(self._graph, network),
            **_in_parts(self._graph, plan.most_weights),
        }

    def _check_front(self) -> None:
        """Raises `UnsupportedError` where the front holds numbers for the size of the image."""
        given = self.plan.front.input_shapes[0]
        first = next(self.model.parameters(), None)
        try:
            with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
                dtype = None if first is None else first.dtype
                device = None if first is None else first.device
                part = torch.empty(given, dtype=dtype, device=device)
                (name,) = self._graph.program.inputs
                self._graph.compute({name: part}, (self.cut,))
        except RuntimeError as error:
            text = " ".join(str(error).split()).rstrip(".")
            raise UnsupportedError(
                f"{self.plan.layer}: what lies before it holds numbers for the size of the image, "
                f"so it does not run on a tile of {given}: {text}; pass them as an input."
            ) from None

    def forward(self, image: torch.Tensor) -> Any:
        """The outputs of the whole image; a tuple where there are several."""
        if tuple(image.shape) != self._shape:
            asked, given = ("x".join(map(str, shape)) for shape in (self._shape, image.shape))
            raise ArgumentError(f"planned for an image of {asked}, got {given}; plan that anew.")
        front = self.plan.front
        whole: torch.Tensor | None = None
        for tile in front.tiles():
            # A copy: what works in place must not write to the image.
            made = self.front(_packed(image[tile.read[0]]))
            if whole is None:
                whole = _room(made, front.outputs[0].shape)
            whole[tile.keep[0].target] = made[tile.keep[0].local]
            del made
        assert whole is not None
        # The map at the cut is let go of once the back has read it.
        behind = [whole]
        del whole
        outputs = self.behind(behind)
        return outputs[0] if len(outputs) == 1 else outputs

    def front(self, part: torch.Tensor) -> torch.Tensor:
        """The map at the cut of one tile, whose part of the image may be written to."""
        (name,) = self._graph.program.inputs
        given = {name: part}
        del part
        return self._graph.compute(given, (self.cut,), self._now())[self.cut]

    def behind(self, cut: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The outputs, of the whole map at the cut, which is taken out of the list."""
        names = self._graph.program.outputs
        found = self._graph.compute({self.cut: cut.pop()}, names, self._now())
        return tuple(found[name] for name in names)

    @property
    def at_cut(self) -> torch.Tensor:
        """What the map at the cut is: its type and shape."""
        made: torch.Tensor = self._graph.nodes[self.cut].meta["val"]
        return made

    @property
    def program(self) -> Any:
        """The model as the calls that it makes on an image."""
        return self._graph.program

    def _now(self) -> Mapping[str, Instead]:
        # A graph that is traced is a recipe for others, who have memory of their own.
        as_written = torch.is_grad_enabled() or torch.compiler.is_compiling()
        return {} if as_written else self._instead


class TorchHalves:
    """A depth-first module as an engine of the tiles of its front, with what follows."""

    def __init__(self, module: DepthFirst) -> None:
        self.module = module
        self._engine = TorchTiles(module.model, module.plan.front, (module.cut,))

    @property
    def tiles(self) -> Any:
        """What runs the tiles: in little memory, or by statistics of the whole image."""
        return self._engine if self.module.plan.front.gathered else self

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:  # noqa: ARG002
        """The map at the cut of one tile."""
        with torch.inference_mode():
            (part,) = self._engine.taken(inputs)
            return [self.module.front(_packed(part))]

    def host(self, made: torch.Tensor) -> Any:
        """The map as an array in main memory."""
        return self._engine.host(made)

    def behind(self, cut: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs, of the whole map at the cut."""
        kind = self.module.at_cut.dtype
        with torch.inference_mode():
            whole = torch.from_numpy(cut).to(self._engine.device, kind)
            made = self.module.behind([_packed(whole)])
        return [self._engine.host(one) for one in made]

    def fingerprint(self) -> str:
        """A hash of the module's calls on the image, and of all tensors that they use."""
        return digest_of_calls(self.module.program)


def _packed(x: torch.Tensor) -> torch.Tensor:
    """A copy in the order in which convolutions need no further copy of their maps."""
    order = torch.channels_last if x.dim() == 4 else torch.contiguous_format
    return x.clone(memory_format=order)


def _room(like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    order = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=order)


def _in_parts(graph: Graph, most: int) -> Mapping[str, Instead]:
    """For convolutions with more than `most` bytes of weights, what does some channels at a time.

    PyTorch lays weights out anew in each call, which takes their size twice.
    """
    found: dict[str, Instead] = {}
    for node in graph.program.graph.nodes:
        if node.op != "call_function" or not _is_dense_conv(node):
            continue
        weight = node.args[1].meta.get("val")
        parts = -(-weight.numel() * weight.element_size() // max(most, 1))
        if parts > 1:
            # What some channels make is a map beside the whole one: that is kept small as well.
            made = node.meta["val"]
            parts = max(parts, -(-made.numel() * made.element_size() // most))
            found[node.name] = _some_channels_at_a_time(node.target, -(-weight.shape[0] // parts))
    return found


def _is_dense_conv(node: Any) -> bool:
    name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
    if name not in {"conv1d", "conv2d", "conv3d"}:
        return False
    made, weight = (one.meta.get("val") for one in (node, node.args[1]))
    dense = len(node.args) < 7 or node.args[6] == 1
    return dense and not node.kwargs and made.dim() == weight.dim()


def _some_channels_at_a_time(target: Any, channels: int) -> Instead:
    def convolve(x: Any, weight: Any, bias: Any = None, *rest: Any) -> torch.Tensor:
        made: torch.Tensor | None = None
        for first in range(0, weight.shape[0], channels):
            last = min(first + channels, weight.shape[0])
            here = None if bias is None else bias[first:last]
            part = target(x, weight[first:last], here, *rest)
            if made is None:
                shape = (part.shape[0], weight.shape[0], *part.shape[2:])
                made = _room(part, shape)
            made[:, first:last] = part
        assert made is not None
        return made

    return convolve


def _in_place(graph: Graph, network: Network) -> Mapping[str, Instead]:
    """For calls that may work in their operand's memory, what does so."""
    given = {node.name: node for node in network.nodes}
    by_name = {node.name: node for node in graph.program.graph.nodes}
    found: dict[str, Instead] = {}
    for node in thrifty(network).nodes:
        before = given[node.name]
        if node.op == before.op or node.origin not in by_name:
            continue
        call = by_name[node.origin]
        if not _is_of_one_type(call):
            continue
        target = call.target
        name = target.overloadpacket.__name__
        if name == "batch_norm":
            found[node.origin] = _batch_norm
            continue
        packet = getattr(torch.ops.aten, f"{name}_", None)
        if packet is not None and target._overloadname in packet.overloads():
            found[node.origin] = getattr(packet, target._overloadname)
    return found


def _is_of_one_type(call: Any) -> bool:
    """Whether a call makes what its first operand can hold: a comparison does not."""
    first = call.args[0].meta.get("val") if isinstance(call.args[0], torch.fx.Node) else None
    made = call.meta.get("val")
    return isinstance(first, torch.Tensor) and first.dtype == getattr(made, "dtype", None)


def _batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor,
    variance: torch.Tensor,
    *rest: Any,
) -> torch.Tensor:
    """A batch norm with its running statistics, in the memory of `x`."""
    eps = rest[2]
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    across = [1, -1] + [1] * (x.dim() - 2)
    return x.mul_(scale.view(across)).add_(shift.view(across))


class Front(nn.Module):  # type: ignore[misc]
    """What a depth-first module does with one tile: from its part of the image to the cut."""

    def __init__(self, whole: DepthFirst) -> None:
        super().__init__()
        self.model, self._graph, self._name = whole.model, whole._graph, whole.cut

    def forward(self, tile: torch.Tensor) -> torch.Tensor:
        """The map at the cut, as large as the tile makes it."""
        (name,) = self._graph.program.inputs
        return self._graph.compute({name: tile}, (self._name,))[self._name]


class Back(nn.Module):  # type: ignore[misc]
    """What a depth-first module does behind the cut."""

    def __init__(self, whole: DepthFirst) -> None:
        super().__init__()
        self.model, self._graph, self._name = whole.model, whole._graph, whole.cut

    def forward(self, cut: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs."""
        outputs = self._graph.program.outputs
        made = self._graph.compute({self._name: cut}, outputs)
        return tuple(made[name] for name in outputs)


def exported_halves(module: DepthFirst) -> tuple[Any, Any]:
    """The front on one tile and the back on the whole map, as ONNX models."""
    plan = module.plan.front
    first = next(module.parameters(), None)
    dtype = None if first is None else first.dtype
    tile = torch.zeros(plan.input_shapes[0], dtype=dtype)
    cut = torch.zeros(plan.outputs[0].shape, dtype=dtype)
    return _as_onnx(Front(module), tile), _as_onnx(Back(module), cut)


def _as_onnx(module: nn.Module, example: torch.Tensor) -> Any:
    try:
        with quiet(), torch.no_grad():
            made = torch.onnx.export(module.eval(), (example,), dynamo=True, verbose=False)
    except ImportError:
        raise MissingDependencyError(
            "PyTorch's ONNX exporter needs onnxscript; pip install onnxscript."
        ) from None
    if made is None:
        raise UnsupportedError("PyTorch's exporter made no program.")
    return made.model_proto
