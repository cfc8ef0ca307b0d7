"""What the calls of every source share: arguments, outputs, and ops of the network to emit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from atrous.errors import ReadError
from atrous.geometry import Border
from atrous.geometry.axis import fold_back
from atrous.network.builder import Builder
from atrous.network.discover import discover
from atrous.network.layout import channels, has_axes
from atrous.network.ops import (
    Constant,
    Linear,
    Op,
    Opaque,
    Pad,
    PadMode,
    Pick,
    Reorder,
    Roll,
    Slice,
)
from atrous.network.parts import linear_parts
from atrous.network.records import Network, Param, Tensor
from atrous.network.table import effect
from atrous.readers.weights import Zeros
from atrous.shown import how_many, some

__all__ = [
    "Call",
    "Fixed",
    "NotUnderstood",
    "Output",
    "network_of",
    "once",
    "params_behind",
]

Value = TypeVar("Value")


_SPELLED: dict[PadMode, Border] = {"reflect": "reflect", "replicate": "clamp"}
# Positions that follow no rule are kept one by one.
MOST_PICKED = 1 << 20


class NotUnderstood(Exception):  # noqa: N818 - a reason that stays inside, no error that is shown
    """A call that its translation does not follow, and why; it becomes opaque."""


class Fixed:
    """A tensor that does not depend on the input: its shape, and the parameters it is made of."""

    __slots__ = ()

    shape: tuple[int, ...]
    params: tuple[Param, ...]

    def zeros(self, kernel: Sequence[int]) -> Zeros:
        """Where the numbers are 0, as `zeros_of` has it; nowhere for numbers not at hand."""
        raise NotImplementedError

    def turned(self) -> Fixed:
        """The matrix with rows for columns."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Output:
    """What the source says of one output: its shape where known, bytes an element, who wants it."""

    shape: tuple[int, ...] | None
    itemsize: int | None = None
    used: bool = True


@dataclass(eq=False)
class Call(Generic[Value]):
    """One call of an op in a source: its arguments by name or place, and ops to emit for it.

    A translation says what the call is in the words of the op table: it emits each `step` on the
    way and each output, and returns the outputs, in a list where they are `several`. For what it
    does not follow it raises `NotUnderstood`, and the call becomes opaque.

    >>> from atrous.geometry import Window
    >>> from atrous.network.ops import Pool
    >>> b = Builder()
    >>> x = b.input("x", (1, 8, 6, 6))
    >>> call = Call(b, "MaxPool", {"x": x, "size": 2}, [Output((1, 8, 5, 5))], "pool")
    >>> def pool(call):
    ...     return call.emit(Pool((Window(call["size"]),) * 2), call.x)
    >>> call.translated(pool).shape
    (1, 8, 5, 5)
    """

    builder: Builder
    op: str
    arguments: Mapping[Any, Value]
    outputs: Sequence[Output]
    name: str
    module: str | None = None
    origin: str = ""
    several: bool = False
    quantized: bool = False
    rewritten: bool = False

    # Arguments

    def __getitem__(self, key: Any) -> Value:
        """An argument; None where it is left out."""
        return self.arguments.get(key)  # type: ignore[return-value]

    @property
    def values(self) -> list[Any]:
        """All arguments in order, those inside lists among them."""
        return [
            part
            for value in self.arguments.values()
            for part in (value if isinstance(value, list) else [value])
        ]

    def tensor_of(self, value: Any) -> Tensor | None:
        """The tensor of the network that a value is; None for all that depends on no input."""
        return value if isinstance(value, Tensor) else None

    def tensors(self) -> list[Tensor]:
        """The arguments that depend on the input, in order."""
        return [x for value in self.values if (x := self.tensor_of(value)) is not None]

    @property
    def x(self) -> Tensor:
        """The first argument, which must be a tensor that depends on the input."""
        first = self.tensor_of(next(iter(self.arguments.values())))
        if first is None:
            raise NotUnderstood("its first argument does not depend on the input")
        return first

    def materialized(self, value: Any) -> Tensor:
        """The value as a tensor of the network; a constant becomes a node of its own."""
        tensor = self.tensor_of(value)
        return self.constant(value) if tensor is None else tensor

    def constant(self, value: Any) -> Tensor:
        """A constant as a node, called as the first of its parameters."""
        name = value.params[0].name if value.params else "constant"
        return self.builder.add(Constant(value.shape), name=name, module="", params=value.params)

    def params(self, *keys: Any) -> tuple[Param, ...]:
        """The parameters behind these arguments; behind all of them where none is named."""
        return params_behind([self[key] for key in keys] if keys else self.values)

    def axis(self, value: int, rank: int) -> int:
        """A dimension's index, counted from the front."""
        if not -rank <= value < rank:
            raise ReadError(f"dimension {value} does not exist; the tensor has {rank}.")
        return value % rank

    def axes(self, values: Sequence[int], rank: int) -> tuple[int, ...]:
        """Indices of dimensions in ascending order, each counted from the front."""
        if len(values) > rank:
            verb = "is" if len(values) == 1 else "are"
            raise ReadError(
                f"{how_many(len(values), 'axis')} {verb} more than the "
                f"tensor's {how_many(rank, 'dimension')}."
            )
        return tuple(sorted({self.axis(value, rank) for value in values}))

    def zeros(self, weight: Any, kernel: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """The places of `kernel` at which a constant weight is 0 for all channels.

        None where nobody looks, or where all of them are: a layer that is not trained yet is read
        as its structure, and a note says so.
        """
        looks = self.builder.looks and isinstance(weight, Fixed)
        found = weight.zeros(kernel) if looks else ()
        if isinstance(found, str):
            self.builder.blank.append(self.name)
            return ()
        return found

    def linear(self, x: Tensor, channels: int, weight: Any, *, columns: bool) -> Linear:
        """A linear layer over the last dimension of `x`, without the positions it multiplies by 0.

        The weight is `(channels, inputs)`, or `(inputs, channels)` where its `columns` are the
        outputs.
        """
        op = Linear(channels)
        if not has_axes(x.layout[-1]):
            return op
        zeros = self.zeros(weight.turned() if columns else weight, x.shape[-1:])
        op = Linear(channels, tuple(place for (place,) in zeros))
        return op if linear_parts(op, x) else Linear(channels)

    def picked(
        self, x: Tensor, dim: int, places: Sequence[int], out: int | None = 0, drop: bool = False
    ) -> Tensor:
        """The indices `places` of dimension `dim`: channels in another order, positions in even
        steps, rolled, reversed or one by one. `drop` takes the dimension of a single one away.
        """
        size, count = x.shape[dim], len(places)
        if min(places, default=0) < -size or max(places, default=0) >= size:
            raise ReadError(f"picks place {max(places, key=abs)} of a dimension of {size}.")
        places = [place % size for place in places]
        step = places[1] - places[0] if count > 1 else 1
        op: Op = Reorder(dim, count)
        if step > 0 and places == list(range(places[0], places[-1] + 1, step)):
            op = Slice(dim, places[0], count, step, drop)
        elif has_axes(x.layout[dim]):
            if count > MOST_PICKED:
                raise NotUnderstood(f"picks {count:,} positions one by one, more than are followed")
            rolled = count == size > 2 and places == [(places[0] + i) % size for i in range(size)]
            op = Roll(dim, -places[0]) if rolled else Pick(dim, tuple(places))
        return self.emit(op, x, out=out)

    def padded(self, parts: Sequence[Tensor], dim: int) -> Tensor | None:
        """Parts of one map around it, as the padding that they spell; None where they spell none.

        A border laid backwards in front of a map, or its first position so many times, is what
        reflection and replication read.
        """
        if len(parts) < 2 or len({part.itemsize for part in parts}) > 1:
            return None
        whole = max(parts, key=lambda part: part.shape[dim])
        size = whole.shape[dim]
        if not has_axes(whole.layout[dim]) or size > MOST_PICKED:
            return None
        at = parts.index(whole)
        lo = sum(part.shape[dim] for part in parts[:at])
        hi = sum(part.shape[dim] for part in parts[at + 1 :])
        places: list[int] = []
        for index, part in enumerate(parts):
            cut = range(size) if index == at else self._cut_out(part, whole, dim)
            if cut is None:
                return None
            places += cut
        for mode, border in _SPELLED.items():
            if mode == "reflect" and max(lo, hi) >= size:
                continue
            place = fold_back(border, size)
            if places == [place(position) for position in range(-lo, size + hi)]:
                pads = ((lo, hi), *((0, 0),) * (len(whole.shape) - dim - 1))
                self.rewritten = True
                return self.emit(Pad(pads, mode), whole)
        return None

    def _cut_out(self, part: Tensor, whole: Tensor, dim: int) -> Sequence[int] | None:
        """The indices of `whole` along `dim` that a part holds; None where it is no part of it."""
        places: Sequence[int] = range(part.shape[dim])
        if len(places) > MOST_PICKED:
            return None
        while part.name != whole.name:
            node = self.builder.maker(part.name)
            if node is None or len(node.inputs) != 1 or node.op.kind not in ("slice", "pick"):
                return None
            if node.op.dim != dim or getattr(node.op, "drop", False):  # type: ignore[attr-defined]
                return None
            if isinstance(node.op, Pick):
                places = [node.op.places[place] for place in places]
            elif isinstance(node.op, Slice):
                places = [node.op.start + node.op.step * place for place in places]
            before = self.builder.maker(node.inputs[0])
            if before is None:
                return places if node.inputs[0] == whole.name else None
            part = before.output
        return places

    # Outputs

    def shape_of(self, index: int) -> tuple[int, ...]:
        """The shape that the source gives an output."""
        shape = self.outputs[index].shape
        if shape is None:
            raise NotUnderstood("the shape of its output is not known")
        return shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the source gives the first output."""
        return self.shape_of(0)

    def itemsize(self, out: int | None) -> int | None:
        """Bytes for each element of an output; None for a step, whose elements are its input's."""
        return None if out is None else self.outputs[out].itemsize

    def emit(
        self,
        op: Op,
        *inputs: Tensor,
        out: int | None = 0,
        params: Sequence[Param] = (),
        shape: Sequence[int] | None = None,
    ) -> Tensor:
        """One op of the network; `out` says which output of the call it makes, None for a step.

        Where its positions cannot be followed, or what it makes has another shape than `shape` (for
        an output: than the source says), it becomes opaque.
        """
        if shape is None and out is not None:
            shape = self.outputs[out].shape
        return self.builder.add(
            op,
            *inputs,
            name=self.name,
            module=self.module,
            params=params,
            shape=shape,
            itemsize=self.itemsize(out),
            origin=self.origin,
            integer=self.quantized,
        )

    def step(self, op: Op, *inputs: Tensor, params: Sequence[Param] = ()) -> Tensor:
        """One op on the way to an output; opaque where its positions cannot be followed."""
        # Without positions the rule can always say what comes out, or why nothing can.
        plain = tuple(Tensor(x.name, tuple(channels(n) for n in x.shape)) for x in inputs)
        shape = Tensor("", effect(op, plain).layout).shape
        return self.emit(op, *inputs, out=None, params=params, shape=shape)

    def opaque(self, reason: str) -> Any:
        """The outputs that are wanted as ops that are not understood; None for the others."""
        made = [
            self.opaque_output(index, reason) if output.used else None
            for index, output in enumerate(self.outputs)
        ]
        return made if self.several else made[0]

    def opaque_output(self, index: int, reason: str) -> Any:
        """One output as an op that is not understood: it takes all tensors and follows none."""
        shape = self.outputs[index].shape
        # What a call of several outputs costs is the first one's.
        macs = 0 if index else self.macs()
        op = Opaque(self.op, reason, shape or (), macs, shape is not None)
        return self.emit(op, *self.tensors(), out=index, params=self.params())

    def macs(self) -> int | None:
        """What the call multiplies and adds, by its shapes alone; None where they do not tell."""
        return None

    # Translation

    def translated(self, translation: Callable[[Any], Any]) -> Any:
        """What the translation makes; the call as opaque where it is not understood.

        No tensor that the call takes may be forgotten: unless `ignores` allows it, one that nothing
        made for the call reads means that the call is not understood.
        """
        mark = self.builder.mark()
        try:
            made = translation(self)
            read = {name for node in self.builder.since(mark) for name in node.inputs}
            results = made if isinstance(made, Sequence) else [made]
            read.update(x.name for result in results if (x := self.tensor_of(result)) is not None)
            unread = sorted({tensor.name for tensor in self.tensors()} - read)
            if unread and not self.rewritten and not self.ignores(results):
                raise NotUnderstood(self.forgotten(unread))
        except NotUnderstood as reason:
            self.builder.undo(mark)
            return self.opaque(str(reason))
        return made

    def ignores(self, _: Sequence[Any]) -> bool:
        """True where arguments may go unread, since no value of theirs has a say in the results."""
        return False

    def forgotten(self, names: Sequence[str]) -> str:
        """The reason for a call whose translation leaves these tensors unread."""
        return f"also reads {', '.join(names)}, which its rule does not follow"


def network_of(
    name: str,
    shapes: Mapping[str, Sequence[int]],
    itemsizes: Mapping[str, int],
    translate: Callable[[Builder, Mapping[str, Tensor]], Sequence[Tensor]],
    notes: Sequence[str] = (),
) -> Network:
    """The network that `translate` makes of inputs of these shapes; it is called more than once.

    Which dimensions are spatial is discovered first: those that the first windows slide along.
    """
    axes = discover(shapes, translate)
    builder = Builder(name)
    builder.notes += notes
    inputs = {
        key: builder.input(key, shape, axes=axes[key], itemsize=itemsizes[key])
        for key, shape in shapes.items()
    }
    outputs = translate(builder, inputs)
    if not outputs:
        raise ReadError(f"{name}: no output depends on the input; nothing can be reported.")
    if builder.blank:
        builder.notes.append(_untrained(tuple(dict.fromkeys(builder.blank))))
    return builder.build(*outputs)


def _untrained(names: Sequence[str]) -> str:
    """The note on layers whose weights are 0 throughout."""
    shown = some(names)
    return f"weights that are 0 throughout count as not trained yet, and are read whole: {shown}"


def params_behind(values: Iterable[Any]) -> tuple[Param, ...]:
    """The parameters that the constants among these values are made of, each once."""
    return once(param for value in values if isinstance(value, Fixed) for param in value.params)


def once(params: Iterable[Param]) -> tuple[Param, ...]:
    """The first of the parameters of each name."""
    found: dict[str, Param] = {}
    for param in params:
        found.setdefault(param.name, param)
    return tuple(found.values())
