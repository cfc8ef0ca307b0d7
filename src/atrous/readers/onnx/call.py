"""One ONNX node while it is translated: its inputs and attributes, typed, and a way to emit ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from atrous.errors import NetworkError, ReadError
from atrous.network.builder import Builder
from atrous.network.layout import channels
from atrous.network.ops import Constant, Op, Opaque
from atrous.network.records import Param, Tensor
from atrous.network.table import effect
from atrous.readers.onnx.constants import Shapes
from atrous.readers.onnx.names import module_of
from atrous.readers.onnx.values import FLOATS, MAX_AXIS, Const, Live, Value, checked, itemsize

if TYPE_CHECKING:
    import onnx

    from atrous.readers.onnx.values import Array

__all__ = ["TRANSLATIONS", "Call", "Translation", "Unsupported", "translates"]

Made = Tensor | Value | None
Translation = Callable[["Call"], "Made | Sequence[Made]"]
# Operator -> its translation, whatever the version; `Call.version` tells them apart.
TRANSLATIONS: dict[str, Translation] = {}

_FLOAT, _INT, _STRING, _FLOATS_, _INTS = 1, 2, 3, 6, 7


class Unsupported(Exception):  # noqa: N818 - a reason that stays inside, no error that is shown
    """Raised by a translation that does not apply, with the reason; the node becomes opaque."""


def translates(*operators: str) -> Callable[[Translation], Translation]:
    """Register the translation of these ONNX operators. A second one for a name is an error."""

    def register(function: Translation) -> Translation:
        for name in operators:
            if name in TRANSLATIONS:
                raise NetworkError(f"{name} is translated already; one operator, one translation.")
            TRANSLATIONS[name] = function
        return function

    return register


class Call:
    """One node to translate: inputs as constants or tensors, attributes by type, ops to emit."""

    def __init__(
        self,
        builder: Builder,
        node: onnx.NodeProto,
        label: str,
        inputs: Sequence[Value | None],
        shapes: Shapes,
        version: int,
        used: Sequence[bool],
    ) -> None:
        self.builder = builder
        self.node = node
        self.label = label
        self.inputs = inputs
        self.shapes = shapes
        self.version = version
        self.used = used
        self.module = module_of(node, self.params(*inputs))
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    # Attributes

    def has(self, name: str) -> bool:
        """True where the node carries the attribute."""
        return name in self._attributes

    def _attribute(self, name: str, kind: int) -> onnx.AttributeProto | None:
        attribute = self._attributes.get(name)
        if attribute is not None and attribute.type not in (kind, 0):
            raise ReadError(f"its attribute {name!r} has another type than {self.op} says.")
        return attribute

    def whole(self, name: str, default: int = 0) -> int:
        """A whole number."""
        attribute = self._attribute(name, _INT)
        return default if attribute is None else attribute.i

    def real(self, name: str, default: float = 0.0) -> float:
        """A number."""
        attribute = self._attribute(name, _FLOAT)
        return default if attribute is None else attribute.f

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        attribute = self._attribute(name, _STRING)
        held: bytes = b"" if attribute is None else attribute.s
        return default if attribute is None else held.decode("utf-8", "replace")

    def ints(self, name: str) -> tuple[int, ...] | None:
        """Whole numbers, or None where the attribute is absent."""
        attribute = self._attribute(name, _INTS)
        return None if attribute is None else tuple(attribute.ints)

    def reals(self, name: str) -> tuple[float, ...] | None:
        """Numbers, or None where the attribute is absent."""
        attribute = self._attribute(name, _FLOATS_)
        return None if attribute is None else tuple(attribute.floats)

    @property
    def op(self) -> str:
        """The operator's name."""
        name: str = self.node.op_type
        return name

    # Inputs

    def get(self, index: int) -> Value | None:
        """Input `index`, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def value(self, index: int) -> Value:
        """Input `index`, which the operator needs."""
        value = self.get(index)
        if value is None:
            raise ReadError(f"{self.op} needs input {index}, which is left out.")
        return value

    def tensor(self, index: int) -> Tensor:
        """Input `index` as a tensor of the network; a constant becomes a node."""
        return self.materialized(self.value(index))

    def materialized(self, value: Value) -> Tensor:
        """The value as a tensor of the network; a constant becomes a node of its own."""
        if isinstance(value, Live):
            return value.tensor
        name = value.name or f"{self.label}.constant"
        return self.builder.add(
            Constant(value.shape), name=name[:200], module="", itemsize=itemsize(value.dtype)
        )

    def weight(self, index: int) -> Const:
        """Input `index`, which must be a constant whose shape is all that matters."""
        value = self.value(index)
        if isinstance(value, Const):
            return value
        raise Unsupported(f"its weights (input {index}) are computed from the input")

    def numbers(self, index: int, what: str) -> tuple[int, ...] | None:
        """The whole numbers in input `index`; None where it is left out."""
        value = self.get(index)
        if value is None:
            return None
        array = _listed(value, what)
        return tuple(int(x) for x in array.reshape(-1))

    def floats(self, index: int, what: str) -> tuple[float, ...] | None:
        """The numbers in input `index`; None where it is left out or empty."""
        value = self.get(index)
        if value is None or (isinstance(value, Const) and value.elements == 0):
            return None
        array = _listed(value, what)
        return tuple(float(x) for x in array.reshape(-1))

    def listed(self, name: str, index: int, since: int) -> tuple[int, ...] | None:
        """Whole numbers that are an attribute before version `since` and an input from it on."""
        if self.has(name) or self.version < since:
            return self.ints(name)
        return self.numbers(index, name)

    def live(self) -> list[Live]:
        """The inputs that are tensors of the network."""
        return [value for value in self.inputs if isinstance(value, Live)]

    def axis(self, value: int, rank: int) -> int:
        """A dimension's index, counted from the front."""
        if not -rank <= value < rank:
            raise ReadError(f"dimension {value} does not exist; the tensor has {rank}.")
        return value % rank

    def axes(self, values: Sequence[int], rank: int) -> tuple[int, ...]:
        """Indices of dimensions in ascending order, each counted from the front."""
        if len(values) > rank:
            raise ReadError(f"{len(values)} axes are more than the tensor's {rank} dimensions.")
        return tuple(sorted({self.axis(value, rank) for value in values}))

    # Parameters

    def params(self, *values: Value | None, buffers: bool = False) -> tuple[Param, ...]:
        """The parameters behind constants; with `buffers` they count as not trained."""
        found: dict[str, Param] = {}
        for value in values:
            if not isinstance(value, Const):
                continue
            for param in value.params:
                if buffers:
                    param = Param(param.name, param.count, param.itemsize, False)
                found.setdefault(param.name, param)
        return tuple(found.values())

    def stored(self, *values: Value | None) -> tuple[Param, ...]:
        """The parameters behind weights, which count as trained however few bits they have."""
        found: dict[str, Param] = {}
        for value in values:
            for param in self.params(value):
                if isinstance(value, Const) and value.dtype not in FLOATS:
                    param = Param(param.name, param.count, param.itemsize)
                found.setdefault(param.name, param)
        return tuple(found.values())

    # Output

    def shape(self, index: int = 0) -> tuple[int, ...] | None:
        """The shape of output `index` as onnx infers it, or None."""
        return self.shapes[index][0] if index < len(self.shapes) else None

    def emit(
        self, op: Op, *tensors: Tensor, out: int | None = None, params: Sequence[Param] = ()
    ) -> Tensor:
        """The op's output. `out` says which output of the node it is; None for a step on the way.

        An op that cannot be raises; one whose positions cannot be followed, or whose shape is not
        the one that onnx infers, becomes opaque.
        """
        # Without positions the rule can always say what comes out, or why nothing can.
        plain = tuple(
            Tensor(x.name, tuple(channels(size) for size in x.shape), x.itemsize) for x in tensors
        )
        made = Tensor("", effect(op, plain).layout).shape
        inferred = None if out is None else self.shape(out)
        expected = made if inferred is None else inferred
        checked(expected, "its output")
        if min(expected, default=1) < 1:
            raise Unsupported(f"makes an empty tensor of shape {expected}")
        dtype = 0 if out is None else self.dtype(out)
        tensor = self.builder.add(
            op,
            *tensors,
            name=self.label,
            module=self.module,
            params=params,
            shape=expected,
            itemsize=itemsize(dtype) if dtype else None,
            origin=self.node.output[0],
        )
        for axis, length in tensor.grid.items():
            if length > MAX_AXIS:
                raise ReadError(
                    f"makes {length:,} positions along {axis}; at most {MAX_AXIS:,} are followed."
                )
        return tensor

    def dtype(self, index: int) -> int:
        """The element type of output `index` as onnx infers it, or 0."""
        return self.shapes[index][1] if index < len(self.shapes) else 0

    def opaque(self, index: int, reason: str, *, known: bool = True) -> Live:
        """Output `index` as something not understood.

        Where nothing says its shape (or `known` is False), it has shape `()` and is marked unknown:
        every node that reads it is opaque in turn.
        """
        shape = self.shape(index) if known else None
        unknown = ""
        if shape is None or min(shape, default=1) < 1:
            unknown = "the shape of what it reads depends on data"
            if known:
                reason += "; the shape of its output depends on data"
            shape = ()
        dtype = self.dtype(index) or 1
        tensor = self.builder.add(
            Opaque(self.op[:80], reason, checked(shape, "its output")),
            *(value.tensor for value in self.live()),
            name=self.label,
            module=self.module,
            itemsize=itemsize(dtype),
        )
        return Live(tensor, dtype, unknown)


def _listed(value: Value, what: str) -> Array:
    if isinstance(value, Live):
        raise Unsupported(f"its {what} depend on data")
    if value.array is None or len(value.shape) > 1:
        raise Unsupported(f"its {what} are not known, or too many to be read")
    return value.array
