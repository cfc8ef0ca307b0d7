"""What each ATen operator is in the words of the op table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch

from atrous.errors import NetworkError, ReadError
from atrous.network import Builder, Node, Param, Tensor
from atrous.network.ops import (
    Constant,
    Conv,
    ConvTranspose,
    Elementwise,
    Linear,
    Mix,
    Op,
    Opaque,
    Scan,
)
from atrous.readers.torch.values import Const, Value, static

__all__ = ["SKIPPED", "Call", "aten", "name_of", "translate_call"]

SKIPPED = {
    "aten.alias",
    "aten.clone",
    "aten.contiguous",
    "aten.detach",
    "aten.detach_",
    "aten.dropout",
    "aten.dropout_",
    "aten.alpha_dropout",
    "aten.feature_dropout",
    "aten.lift_fresh",
    "aten.lift_fresh_copy",
    "aten.positive",
    "getitem",
}
"""Ops that hand their first input on as it is (dropout at inference among them)."""

BY_SHAPE_ALONE = {
    "aten.zeros_like",
    "aten.ones_like",
    "aten.full_like",
    "aten.empty_like",
    "aten.rand_like",
    "aten.randn_like",
    "aten.new_zeros",
    "aten.new_ones",
    "aten.new_full",
    "aten.new_empty",
}
"""Ops that take from their input its shape and nothing else."""

SHAPE_OF_SECOND = {
    "aten.expand_as",
    "aten.view_as",
    "aten.reshape_as",
    "aten.type_as",
    "aten.copy",
    "aten.copy_",
}
"""Ops that take from one of their operands its shape or type and no values."""

WEIGHTED = (Conv, ConvTranspose, Linear, Mix, Scan)

ELEMENTWISE = {
    "aten.batch_norm",
    "aten._to_copy",
    "aten.type_as",
    "aten.prelu",
    "aten.hardswish",
    "aten.hardswish_",
    "aten.hardsigmoid",
    "aten.hardsigmoid_",
    "aten.mish",
    "aten.silu",
    "aten.masked_fill",
    "aten.masked_fill_",
    "aten.where",
    "aten.nan_to_num",
    "aten.rrelu",
    "aten.quantize_per_tensor",
    "aten.dequantize",
    "aten.fake_quantize_per_tensor_affine",
    "aten.relu6",
    "aten.relu6_",
    "aten.selu",
    "aten.selu_",
    "aten.celu",
    "aten.floor_divide",
    "aten.square",
    "aten.clip",
    "aten.multiply",
    "aten.divide",
    "aten.subtract",
    "aten.true_divide",
    "aten.softsign",
    "aten.logical_not",
    "aten.rsub",
    "aten.fill",
}
"""Elementwise ops that carry no tag saying so."""

Handler = Callable[["Call"], Value]
HANDLERS: dict[str, Handler] = {}


def aten(*names: str) -> Callable[[Handler], Handler]:
    """Register the translation of ATen ops. A second one for the same op is an error."""

    def register(function: Handler) -> Handler:
        for name in names:
            key = name if "." in name else f"aten.{name}"
            if key in HANDLERS:
                raise NetworkError(f"op {key} is translated already; one op, one handler.")
            HANDLERS[key] = function
        return function

    return register


class Call:
    """One call of an ATen op: its arguments by name, as values, and a way to add ops for it."""

    def __init__(
        self, builder: Builder, node: Any, values: Mapping[Any, Value], name: str, module: str
    ) -> None:
        self.builder = builder
        self.node = node
        self.name = name
        self.module = module
        self._values = values
        self.lost = False
        self.arguments = self._bound()
        self.meta = node.meta.get("val")

    def _bound(self) -> dict[str, Any]:
        schema = getattr(self.node.target, "_schema", None)
        arguments = schema.arguments if schema is not None else ()
        # In the order of the schema, so that the first argument stays the first.
        bound: dict[str, Any] = {
            a.name: a.default_value if a.has_default_value() else None for a in arguments
        }
        names = list(bound)
        for i, value in enumerate(self.node.args):
            bound[names[i] if i < len(names) else str(i)] = self._value(value)
        bound.update((key, self._value(value)) for key, value in self.node.kwargs.items())
        return bound

    def _value(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            found = self._values.get(value)
            self.lost = self.lost or found is LOST
            return found
        if isinstance(value, list | tuple):
            return [self._value(part) for part in value]
        return value

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    @property
    def x(self) -> Tensor:
        """The first argument, which must be a tensor that depends on the input."""
        first = next(iter(self.arguments.values()))
        if not isinstance(first, Tensor):
            raise Unclear("its first argument does not depend on the input")
        return first

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that PyTorch says comes out."""
        return self.shape_of(self.meta)

    def shape_of(self, value: Any) -> tuple[int, ...]:
        """The shape of a fake tensor; of the first one where there are several."""
        if isinstance(value, list | tuple):
            value = value[0]
        return static(value.shape) if isinstance(value, torch.Tensor) else ()

    @property
    def itemsize(self) -> int | None:
        """Bytes for each element of the output."""
        value = self.meta[0] if isinstance(self.meta, list | tuple) and self.meta else self.meta
        return value.element_size() if isinstance(value, torch.Tensor) else None

    def params(self, *names: str) -> list[Param]:
        """The parameters behind the named arguments; behind all of them where none is named."""
        found: dict[str, Param] = {}
        for value in [self.arguments.get(n) for n in names] if names else _flat(self.arguments):
            if isinstance(value, Const):
                found.update((param.name, param) for param in value.params)
        return list(found.values())

    def tensors(self) -> list[Tensor]:
        """The arguments that depend on the input, in order."""
        return [value for value in _flat(self.arguments) if isinstance(value, Tensor)]

    def add(
        self,
        op: Op,
        *inputs: Tensor,
        params: Sequence[Param] = (),
        shape: Sequence[int] | None = None,
        name: str = "",
    ) -> Tensor:
        """Add an op. The last one of a call is checked against PyTorch's shape by `finish`."""
        return self.builder.add(
            op,
            *inputs,
            name=name or self.name,
            module=self.module,
            params=params,
            shape=shape,
            itemsize=self.itemsize,
            origin=self.node.name,
        )

    def finish(self, op: Op, *inputs: Tensor, params: Sequence[Param] = ()) -> Tensor:
        """Add the op that makes this call's output, checked against the shape that PyTorch has.

        Weights, offsets and first states that are made from the input are read whole.
        """
        if isinstance(op, WEIGHTED):
            names = {x.name for x in inputs}
            inputs = (*inputs, *(t for t in self.tensors() if t.name not in names))
        return self.add(op, *inputs, params=params, shape=self.shape)

    def constant(self, value: Const) -> Tensor:
        """A constant as a tensor of the network."""
        label = value.params[0].name if value.params else "constant"
        return self.builder.add(Constant(value.shape), name=label, module="", params=value.params)

    def opaque(self, reason: str) -> Value:
        """This call as ops that are not understood, one for each output."""
        label = str(self.node.target)
        metas = self.meta if isinstance(self.meta, list | tuple) else [self.meta]
        made = [
            self.add(
                Opaque(label, reason, static(meta.shape)),
                *self.tensors(),
                params=self.params(),
                shape=static(meta.shape),
            )
            if isinstance(meta, torch.Tensor)
            else None
            for meta in metas
        ]
        return made if isinstance(self.meta, list | tuple) else made[0]


class Lost:
    """Stands for an output that depends on the input and that no op of the network makes."""


LOST = Lost()


class Unclear(Exception):  # noqa: N818 - a signal, not an error
    """Raised by a handler for arguments that it cannot translate; the call becomes opaque."""


def translate_call(
    builder: Builder, node: Any, values: Mapping[Any, Value], name: str, module: str
) -> Value:
    """One node of an exported graph as ops of the builder; what it makes, as a value."""
    call = Call(builder, node, values, name, module)
    base = name_of(node)
    if base == "getitem":
        source, index = node.args
        made = values.get(source)
        return made[index] if isinstance(made, list | tuple) else None
    if base in SKIPPED:
        first: Value = next(iter(call.arguments.values()))
        return first
    if not call.tensors() or base in BY_SHAPE_ALONE:
        value = call.meta
        return Const(static(value.shape)) if isinstance(value, torch.Tensor) else _plain(value)
    if call.lost:
        return call.opaque("reads an output of an op that is not followed")
    before = builder.mark()
    try:
        made = _handled(call, base)
        unread = _unread(call, made, builder.since(before))
        if unread and base not in SHAPE_OF_SECOND:
            raise Unclear(f"also reads {', '.join(unread)}, which its rule does not follow")
        return made
    except Unclear as reason:
        builder.undo(before)
        return call.opaque(str(reason))


def _handled(call: Call, base: str) -> Value:
    handler = HANDLERS.get(base)
    if handler is not None:
        made = handler(call)
    elif base in ELEMENTWISE or _is_pointwise(call.node.target):
        made = pointwise(call)
    else:
        raise Unclear(f"{call.node.target} has no entry in the op table")
    if isinstance(made, list | tuple):
        return [LOST if part is None else part for part in made]
    return made


def _unread(call: Call, made: Value, nodes: Sequence[Node]) -> list[str]:
    """The tensors that a call takes and that no op made for it reads: none may be forgotten."""
    read = {name for node in nodes for name in node.inputs}
    results = made if isinstance(made, list | tuple) else [made]
    read |= {result.name for result in results if isinstance(result, Tensor)}
    if all(isinstance(result, Const) and not prod(result.shape) for result in results):
        return []
    return sorted({tensor.name for tensor in call.tensors()} - read)


def pointwise(call: Call) -> Value:
    """Any elementwise op over its tensor arguments, parameters and numbers aside."""
    if not isinstance(call.meta, torch.Tensor):
        raise Unclear("makes several tensors")
    label = name_of(call.node).rpartition(".")[2]
    in_place = label.endswith("_")
    operands = call.tensors()
    first = next(iter(call.arguments.values()))
    widened = operands[0].shape != call.shape
    for value in _flat(call.arguments):
        # A constant matters only where broadcasting against it widens the result.
        if isinstance(value, Const) and widened and len(value.shape) > 0:
            operands.append(call.constant(Const(value.shape)))
    in_place = in_place and isinstance(first, Tensor)
    op = Elementwise(label.rstrip("_"), in_place)
    return call.finish(op, *operands, params=call.params())


@aten("to")
def _to(call: Call) -> Value:
    source = call.node.args[0].meta.get("val")
    if isinstance(source, torch.Tensor) and source.dtype == call.meta.dtype:
        return call.x
    return pointwise(call)


@aten("_native_batch_norm_legit_no_training", "_batch_norm_no_update")
def _native_batch_norm(call: Call) -> Value:
    made = call.finish(Elementwise("batch_norm"), call.x, params=call.params())
    return [made, *([None] * (len(call.meta) - 1))]


def name_of(node: Any) -> str:
    """The name of an op without its overload, such as `aten.conv2d`."""
    target = node.target
    packet = getattr(target, "overloadpacket", None)
    if packet is not None:
        return f"{target.namespace}.{packet.__name__}"
    return str(getattr(target, "__name__", target))


def _is_pointwise(target: Any) -> bool:
    if torch.Tag.pointwise in getattr(target, "tags", ()):
        return True
    # In-place forms such as relu_ do not always carry the tag of the plain op.
    packet = getattr(target, "overloadpacket", None)
    name = getattr(packet, "__name__", "")
    if not name.endswith("_") or target.namespace != "aten":
        return False
    plain = getattr(torch.ops.aten, name.rstrip("_"), None)
    overload = getattr(plain, target._overloadname, None) if plain is not None else None
    return (
        torch.Tag.pointwise in getattr(overload, "tags", ()) or f"aten.{name[:-1]}" in ELEMENTWISE
    )


def _plain(value: Any) -> Value:
    if isinstance(value, int | float | bool | str) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [Const(static(v.shape)) if isinstance(v, torch.Tensor) else _plain(v) for v in value]
    try:
        return int(value)
    except Exception:
        raise ReadError(f"a size {value} is known only when the model runs.") from None


def _flat(arguments: Mapping[str, Any]) -> list[Any]:
    found = []
    for value in arguments.values():
        found += value if isinstance(value, list) else [value]
    return found
