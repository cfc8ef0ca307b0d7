"""Statistics of whole maps for an ONNX file: added up tile by tile in double precision, and fed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import UnsupportedError
from atrous.network.shapes import Shape
from atrous.plan.sweeps import Digit, Statistic
from atrous.plan.tiles import Tile, TilePlan
from atrous.readers.onnx.reader import Followed
from atrous.readers.onnx.values import Live
from atrous.runners.tiled.counted import Slices, cover_of, grouped, known_at, own_at

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

__all__ = ["Added", "Counted", "Totals", "merge"]

_ELEMENTS = 1 << 17
"""How many elements are added up at a time."""

_STARTS = {"ReduceMin": inf, **dict.fromkeys(("ReduceMax", "GlobalMaxPool", "MaxPool"), -inf)}
_SEEN: dict[str, Callable[..., Any]] = {
    "ReduceL1": np.abs,
    "ReduceL2": np.square,
    "ReduceSumSquare": np.square,
}
"""What is added up of each element, where that is not the element."""
_MADE: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("ReduceMean", "GlobalAveragePool", "AveragePool"), lambda mean, _: mean),
    **dict.fromkeys(("ReduceSum", "ReduceL1", "ReduceSumSquare"), lambda mean, n: mean * n),
    "ReduceL2": lambda mean, n: np.sqrt(mean * n),
    "ReduceLogSum": lambda mean, n: np.log(mean * n),
}
"""What an operator makes of the mean of all elements and of their number."""

_BY_CHANNEL = ("InstanceNormalization", "GroupNormalization", "BatchNormalization")
_RMS = ("RMSNormalization", "SimplifiedLayerNormalization")
_NORMS = (*_BY_CHANNEL, *_RMS, "LayerNormalization", "MeanVarianceNormalization")
_FLOAT, _HALVES = 1, (10, 16)
"""float32; float16 and bfloat16, which norms are worked out of in it."""
_GROUPS_BY_CHANNEL = 21
"""The version from which a group norm has a scale for each channel."""

Named = tuple[str, int, Shape]
"""An input of a graph: its name, what its elements are, its shape."""


@dataclass
class Totals:
    """What is held of all elements so far, for each element of a statistic."""

    count: Doubles
    mean: Doubles
    squares: Doubles
    """Sum of the squared distances from the mean."""
    other: Doubles | None = None
    """Largest or smallest so far."""

    def at(self, place: Slices) -> Totals:
        """A part of it, in the same memory."""
        other = None if self.other is None else self.other[place]
        return Totals(self.count[place], self.mean[place], self.squares[place], other)


@dataclass
class Added:
    """What one tile adds to a statistic of `held` elements, at `places` of it.

    `start` stands where nothing is counted yet: an infinity, None where moments are counted.
    """

    held: Shape
    places: Slices
    totals: Totals
    start: float | None


def _nothing_yet(shape: Sequence[int], start: float | None) -> Totals:
    count, mean, squares = (np.zeros(tuple(shape)) for _ in range(3))
    return Totals(count, mean, squares, None if start is None else np.full(tuple(shape), start))


def merge(found: dict[str, Totals], layer: str, added: Added) -> None:
    """Adds what a tile counted to a statistic."""
    if layer not in found:
        found[layer] = _nothing_yet(added.held, added.start)
    _merge(found[layer].at(added.places), added.totals, added.start)


def _merge(here: Totals, more: Totals, start: float | None) -> None:
    """Adds one to the other, in its memory; moments by Chan et al. (1983)."""
    if here.other is not None and more.other is not None:
        (np.minimum if start == inf else np.maximum)(here.other, more.other, out=here.other)
        return
    total = here.count + more.count
    apart = more.mean - here.mean
    here.squares += more.squares + np.square(apart) * here.count * more.count / total
    here.mean += apart * more.count / total
    here.count += more.count


@dataclass(frozen=True)
class Counted:
    """A layer of a file that sees all positions, as it stands in a tile."""

    layer: str
    tensor: str
    node: onnx.NodeProto
    digits: tuple[Digit, ...]
    shape: Shape
    """Of the operand in a tile."""
    made: Shape
    """Of the result in a tile."""
    kind: int
    """What its elements are, by the numbers of the file format."""

    @classmethod
    def of(
        cls, one: Statistic, makers: Mapping[str, onnx.NodeProto], followed: Followed, opset: int
    ) -> Counted:
        """The layer that a plan names, among the nodes that make values."""
        node = makers.get(one.origin)
        name = "another graph" if node is None else node.op_type
        if node is None or name not in (*_MADE, *_NORMS, *_STARTS):
            raise UnsupportedError(
                f"{one.layer}: sums over all positions by {name}, which tiles do not gather; write "
                "it as a sum or a mean over dimensions, outside of branches and loops."
            )
        if any(digit.bins for digit in one.digits):
            raise UnsupportedError(
                f"{one.layer}: pools into a few positions, which is not gathered."
            )
        if name == "GroupNormalization" and opset < _GROUPS_BY_CHANNEL:
            raise UnsupportedError(
                f"{one.layer}: a group norm of operator set {opset} has a scale for each group; "
                f"export it with {_GROUPS_BY_CHANNEL} or later."
            )
        x, y = followed.values[node.input[0]], followed.values[node.output[0]]
        assert isinstance(x, Live)
        for weight in node.input[1:] if name in _NORMS and name not in _BY_CHANNEL else ():
            sizes = followed.values[weight].shape if weight else ()
            held = {digit.dim for digit in one.digits if digit.axis is not None}
            places = range(len(x.shape) - len(sizes), len(x.shape))
            if any(n > 1 and dim in held for dim, n in zip(places, sizes, strict=True)):
                raise UnsupportedError(
                    f"{one.layer}: its {weight[:80]!r} has a number for each position, so that a "
                    "tile needs those of its own; multiply by it behind the norm."
                )
        digits = one.digits
        if name == "GroupNormalization":
            digits = grouped(digits, int(_number_said(node, "num_groups", 1)))
        return cls(one.layer, one.tensor, node, digits, x.shape, y.shape, x.dtype)

    @property
    def read(self) -> str:
        """The value that is counted."""
        return str(self.node.input[0])

    @property
    def _start(self) -> float | None:
        return _STARTS.get(self.node.op_type)

    @property
    def _is_norm(self) -> bool:
        return self.node.op_type in _NORMS

    @property
    def _work(self) -> int:
        """What a norm is worked out in."""
        return _FLOAT if self.kind in _HALVES else self.kind

    def own(self, plan: TilePlan, value: NDArray[Any], tile: Tile) -> tuple[NDArray[Any], Slices]:
        """The positions of a value that a tile stands for, each digit a dimension, and where."""
        if value.shape != self.shape:
            raise UnsupportedError(
                f"{self.layer}: reads {value.shape} where {self.shape} is planned, so what is "
                "gathered of it is not known."
            )
        local, whole = own_at(plan, self.tensor, self.digits, tile)
        return value.reshape([one.made for one in self.digits])[local], whole

    def add(self, plan: TilePlan, value: NDArray[Any], tile: Tile) -> Added | None:
        """What the positions of a value that a tile stands for add to a statistic, if anything."""
        own, whole = self.own(plan, value, tile)
        if not own.size:
            return None
        held = tuple(one.held for one in self.digits)
        places = cover_of(self.digits, whole)
        start = self._start
        sizes = [len(range(n)[part]) for n, part in zip(held, places, strict=True)]
        totals = _nothing_yet(sizes, start)
        over = tuple(index for index, one in enumerate(self.digits) if one.over)
        for piece in _pieces(own, over):
            seen = _SEEN.get(self.node.op_type, np.asarray)(piece.astype(np.float64))
            count = np.full(sizes, float(prod(seen.shape[index] for index in over)))
            if start is not None:
                pick = np.min if start == inf else np.max
                more = Totals(count, count, count, pick(seen, over, keepdims=True))
            else:
                mean = seen.mean(over, keepdims=True)
                more = Totals(count, mean, np.square(seen - mean).sum(over, keepdims=True))
            _merge(totals, more, start)
        return Added(held, places, totals, start)

    def inputs(self) -> list[Named]:
        """What a graph is fed in place of the statistics."""
        out = self.node.output[0]
        if not self._is_norm:
            return [(f"{out}/known", self.kind, self.made)]
        sizes = tuple(
            1 if over else prod(one.made for one in digits) for digits, over in self._dims()
        )
        names = ("scale",) if self.node.op_type in _RMS else ("mean", "scale")
        return [(f"{out}/{name}", self._work, sizes) for name in names]

    def fed(
        self, plan: TilePlan, found: Mapping[str, Totals], tile: Tile
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """The numbers of a tile for each of them, by finished statistics."""
        from onnx import helper

        totals = found[self.layer].at(known_at(plan, self.tensor, self.digits, tile))
        named = self.inputs()
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(named[0][1]))
        if not self._is_norm:
            made = totals.other
            if made is None:
                made = _MADE[self.node.op_type](totals.mean, totals.count)
            made = np.rint(made) if dtype.kind in "iu" else made
            yield named[0][0], made.reshape(self.made).astype(dtype)
            return
        squared = totals.squares / totals.count
        if self.node.op_type == "MeanVarianceNormalization":
            scale = 1 / (np.sqrt(squared) + 1e-9)
        else:
            if self.node.op_type in _RMS:
                squared = squared + np.square(totals.mean)
            scale = 1 / np.sqrt(squared + float(_number_said(self.node, "epsilon", 1e-5)))
        numbers = {"mean": totals.mean, "scale": scale}
        for name, _, sizes in named:
            each = self._spread(numbers[name.rpartition("/")[2]])
            yield name, each.reshape(sizes).astype(dtype)

    def nodes(self) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """What stands in place of the layer where its statistics are fed, and what is stored."""
        from onnx import helper, numpy_helper

        node, out = self.node, self.node.output[0]
        fed = {name.rpartition("/")[2]: name for name, _, _ in self.inputs()}
        if not self._is_norm:
            return [helper.make_node("Identity", [fed["known"]], [out])], []
        made: list[onnx.NodeProto] = []
        stored: list[onnx.TensorProto] = []

        def step(kind: str, *names: str, **said: Any) -> str:
            made.append(helper.make_node(kind, names, [f"{out}/step{len(made)}"], **said))
            return str(made[-1].output[0])

        def weight(index: int) -> str:
            name = node.input[index] if index < len(node.input) else ""
            if name and self._work != self.kind:
                name = step("Cast", name, to=self._work)
            if name and node.op_type in _BY_CHANNEL:
                if not stored:
                    sizes = [1, -1, *[1] * (len(self.shape) - 2)]
                    stored.append(
                        numpy_helper.from_array(np.array(sizes, np.int64), f"{out}/by_channel")
                    )
                name = step("Reshape", name, f"{out}/by_channel")
            return name

        x = node.input[0] if self._work == self.kind else step("Cast", self.read, to=self._work)
        if "mean" in fed:
            x = step("Sub", x, fed["mean"])
        scale, shift = weight(1), weight(2)
        x = step("Mul", x, step("Mul", fed["scale"], scale) if scale else fed["scale"])
        if shift:
            x = step("Add", x, shift)
        if self._work != self.kind:
            step("Cast", x, to=self.kind)
        made[-1].output[0] = out
        return made, stored

    def _dims(self) -> list[tuple[list[Digit], bool]]:
        """The digits of each dimension of the operand, and whether one number is for all of it."""
        found = [[one for one in self.digits if one.dim == dim] for dim in range(len(self.shape))]
        return [(digits, all(one.over for one in digits)) for digits in found]

    def _spread(self, numbers: Doubles) -> Doubles:
        """A number for each index of dimensions that have several, as channels of a group."""
        whole = {id(one): over for digits, over in self._dims() for one in digits}
        sizes = [1 if whole[id(one)] else one.made for one in self.digits]
        return np.broadcast_to(numbers, sizes)


def _pieces(own: NDArray[Any], over: Sequence[int]) -> Iterator[NDArray[Any]]:
    dim = max(over, key=lambda index: own.shape[index])
    length = own.shape[dim]
    each = max(1, _ELEMENTS * length // own.size)
    for start in range(0, length, each):
        yield own[(*(slice(None),) * dim, slice(start, start + each))]


def _number_said(node: onnx.NodeProto, name: str, usual: float) -> float:
    from onnx import helper

    found = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return float(found.get(name, usual))
