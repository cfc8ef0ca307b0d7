"""What each ATen operator is in the words of the op table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch

from atrous.errors import AtrousError, GeometryError, NetworkError, ReadError
from atrous.frameworks.torch import name_of
from atrous.network import Builder, Param, Tensor
from atrous.network.ops import Elementwise, Mix, Op
from atrous.plugins import extensions
from atrous.readers.call import Call, NotUnderstood, Output
from atrous.readers.torch.products import products_of
from atrous.readers.torch.values import Const, Value, static
from atrous.registry import Registry

__all__ = [
    "LOST",
    "SKIPPED",
    "TorchCall",
    "aten",
    "opaque_call",
    "translate_call",
    "translates",
]


def aten(names: str) -> frozenset[str]:
    """ATen ops as `name_of` names them, from a list to be read.

    >>> sorted(aten("relu add"))
    ['aten.add', 'aten.relu']
    """
    return frozenset(f"aten.{name}" for name in names.split())


SKIPPED = aten(
    """
    alias clone contiguous detach detach_ dropout dropout_ alpha_dropout alpha_dropout_
    feature_dropout feature_dropout_ feature_alpha_dropout feature_alpha_dropout_ lift_fresh
    lift_fresh_copy positive resolve_conj resolve_neg
    """
) | {"getitem"}
"""Ops that hand their first input on as it is (dropout at inference among them)."""

BY_SHAPE_ALONE = aten(
    """
    zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full
    new_empty
    """
)
"""Ops that take from their input its shape and nothing else."""

SHAPE_OF_SECOND = aten("expand_as view_as reshape_as type_as copy copy_")
"""Ops that take from one of their operands its shape or type and no values."""

ELEMENTWISE = aten(
    """
    _to_copy prelu hardswish hardswish_ hardsigmoid hardsigmoid_ mish silu
    masked_fill masked_fill_ where nan_to_num rrelu quantize_per_tensor dequantize
    fake_quantize_per_tensor_affine relu6 relu6_ selu selu_ celu floor_divide square clip multiply
    divide subtract true_divide softsign logical_not rsub fill polar complex
    """
)
"""Elementwise ops that carry no tag saying so."""

NUMBERS = aten("item _local_scalar_dense is_nonzero")
"""Ops that hand a value to the code as a number, from where nobody follows it."""

Translation = Callable[["TorchCall"], Value]
TRANSLATIONS = Registry[str, Translation]("translation")


def translates(*names: str) -> Callable[[Translation], Translation]:
    """Register the translation of these ATen ops. A second one for the same op is an error."""
    return TRANSLATIONS.under(*aten(" ".join(names)))


class Lost:
    """Stands for an output that depends on the input and that no op of the network makes."""


LOST = Lost()


class TorchCall(Call[Any]):
    """One call of an ATen op: its arguments by the names of the op's schema."""

    def __init__(
        self, builder: Builder, node: Any, values: Mapping[Any, Value], name: str, module: str
    ) -> None:
        self.node = node
        self.key = name_of(node)
        self.label = self.key.rpartition(".")[2]
        self.meta = node.meta.get("val")
        self.lost = False
        several = isinstance(self.meta, list | tuple)
        # What is no tensor has no shape, and no op makes it.
        outputs = [
            Output(static(meta.shape), meta.element_size())
            if isinstance(meta, torch.Tensor)
            else Output((), used=False)
            for meta in (self.meta if several else [self.meta])
        ]
        arguments = self._bound(values)
        super().__init__(
            builder, str(node.target), arguments, outputs, name, module, node.name, several
        )

    def _bound(self, values: Mapping[Any, Value]) -> dict[str, Any]:
        """The arguments by their names, each node as the value that it stands for."""

        def held(argument: Any) -> Any:
            if isinstance(argument, torch.fx.Node):
                found = values.get(argument)
                self.lost = self.lost or found is LOST
                return found
            several = isinstance(argument, list | tuple)
            return [held(part) for part in argument] if several else argument

        schema = getattr(self.node.target, "_schema", None)
        arguments = schema.arguments if schema is not None else ()
        # In the order of the schema, so that the first argument stays the first.
        bound: dict[str, Any] = {
            a.name: a.default_value if a.has_default_value() else None for a in arguments
        }
        names = list(bound)
        for i, value in enumerate(self.node.args):
            bound[names[i] if i < len(names) else str(i)] = held(value)
        bound.update((key, held(value)) for key, value in self.node.kwargs.items())
        return bound

    @property
    def shapes(self) -> list[tuple[int, ...] | None]:
        """The shapes of all outputs."""
        return [output.shape for output in self.outputs]

    def itemsize(self, _: int | None) -> int | None:
        """Bytes for each element of the first output: steps and other outputs count as it does."""
        return self.outputs[0].itemsize if self.outputs else None

    def step(self, op: Op, *inputs: Tensor, params: Sequence[Param] = ()) -> Tensor:
        """One op on the way to an output. The source runs: what fails here is not followed."""
        try:
            return super().step(op, *inputs, params=params)
        except AtrousError as error:
            raise NotUnderstood(str(error).rstrip(".")) from error

    @property
    def is_tensor(self) -> bool:
        """Whether the call makes tensors, and no number for the code."""
        return self.several or isinstance(self.meta, torch.Tensor)

    @property
    def dim(self) -> int:
        """The dimension of the first argument that `dim` names, counted from the front.

        A tensor without dimensions counts as one of one element.
        """
        return int(self["dim"] or 0) % max(len(self.x.shape), 1)

    def weighted(self, op: Op, x: Tensor, params: Sequence[Param] = ()) -> Tensor:
        """The output of an op with weights.

        Weights, offsets and first states that are made from the input are read whole.
        """
        others = [tensor for tensor in self.tensors() if tensor.name != x.name]
        return self.emit(op, x, *others, params=params)

    def macs(self) -> int | None:
        """What the call multiplies and adds: products by their shapes, 0 for what has none."""
        return products_of(self.node, self.arguments, self.outputs[0].shape)

    def ignores(self, results: Sequence[Any]) -> bool:
        """True where an operand gives its shape or type alone, or nothing comes out."""
        return self.key in SHAPE_OF_SECOND or all(
            isinstance(result, Const) and not prod(result.shape) for result in results
        )


def translate_call(
    builder: Builder, node: Any, values: Mapping[Any, Value], name: str, module: str
) -> Value:
    """One node of an exported graph as ops of the builder; what it makes, as a value."""
    call = TorchCall(builder, node, values, name, module)
    if call.key == "getitem":
        source, index = node.args
        made = values.get(source)
        return made[index] if isinstance(made, list | tuple) else None
    if call.key in SKIPPED:
        first: Value = next(iter(call.arguments.values()))
        return first
    if call.key in NUMBERS or (call.lost and not call.is_tensor):
        return LOST
    if not call.lost and (not call.tensors() or call.key in BY_SHAPE_ALONE):
        return _plain(call.meta)
    if isinstance(call.meta, torch.Tensor) and not call.meta.numel():
        return Const(call.shape)
    if call.lost:
        return call.opaque("reads an output of an op that is not followed")
    mark = builder.mark()
    results: Value = call.translated(_by_translation)
    if call.key not in SHAPE_OF_SECOND:
        builder.credit(mark, call.params())
    return results


def opaque_call(
    builder: Builder,
    node: Any,
    values: Mapping[Any, Value],
    name: str,
    module: str,
    reason: str,
    inputs: Sequence[Tensor],
) -> Value:
    """A call whose numbers come from the inputs, which it reads in ways that nobody follows."""
    call = TorchCall(builder, node, values, name, module)
    call.arguments = {**call.arguments, "numbers": list(inputs)}
    return call.opaque(reason)


def _by_translation(call: TorchCall) -> Value:
    """What the registered translation makes, with `LOST` for each output that it leaves out."""
    extensions("atrous.torch_ops")
    translation = TRANSLATIONS.get(call.key)
    if all(shape == () for shape in (*(x.shape for x in call.tensors()), *call.shapes)):
        # Of single numbers nothing is left to follow.
        return _of_numbers(call)
    if translation is None and (call.key in ELEMENTWISE or _is_pointwise(call.node.target)):
        translation = pointwise
    if translation is None:
        raise NotUnderstood(f"{call.op} has no entry in the op table")
    try:
        made = translation(call)
    except (GeometryError, NetworkError) as error:
        # The source runs, so the rule of a step on the way is at fault.
        raise NotUnderstood(str(error)) from error
    if isinstance(made, list | tuple):
        return [LOST if part is None else part for part in made]
    return made


def _of_numbers(call: TorchCall) -> Value:
    """Numbers made of numbers: each reads all of them."""
    op = Elementwise(call.label.rstrip("_"))
    made = [
        call.emit(op, *call.tensors(), out=index, params=call.params())
        for index in range(len(call.outputs))
    ]
    return made if call.several else made[0]


def pointwise(call: TorchCall) -> Value:
    """Output `o` reads every operand at `o`.

    A constant is an operand only where broadcasting against it widens the result.
    """
    if not isinstance(call.meta, torch.Tensor):
        raise NotUnderstood("makes several tensors")
    operands = call.tensors()
    widened = operands[0].shape != call.shape
    for value in call.values:
        # A constant matters only where broadcasting against it widens the result.
        if isinstance(value, Const) and widened and len(value.shape) > 0:
            operands.append(call.constant(Const(value.shape)))
    first = next(iter(call.arguments.values()))
    op = Elementwise(call.label.rstrip("_"), call.label.endswith("_") and isinstance(first, Tensor))
    return call.emit(op, *operands, params=call.params())


@translates("type_as")
def _type_as(call: TorchCall) -> Value:
    """Output `o` reads `self` at `o`; of `other` it takes the type alone."""
    held = call["self"]
    if isinstance(held, Const):
        return Const(held.shape, held.params)
    return call.emit(Elementwise("type_as"), call.x)


@translates("to")
def _to(call: TorchCall) -> Value:
    """Output `o` reads position `o`; a cast to the type that is there already is nothing."""
    source = call.node.args[0].meta.get("val")
    if isinstance(source, torch.Tensor) and source.dtype == call.meta.dtype:
        return call.x
    return pointwise(call)


@translates("batch_norm")
def _batch_norm(call: TorchCall) -> Value:
    """Output `o` reads position `o`; by the batch's own statistics, all of its channel."""
    if call["training"] or call["running_mean"] is None:
        dims = (0, *range(2, len(call.x.shape)))
        return call.weighted(Mix(dims, "batch_norm"), call.x, params=call.params())
    return call.weighted(Elementwise("batch_norm"), call.x, params=call.params())


@translates("_native_batch_norm_legit_no_training", "_batch_norm_no_update")
@translates("native_batch_norm", "_native_batch_norm_legit")
def _native_batch_norm(call: TorchCall) -> Value:
    """Output `o` reads what that of `batch_norm` does; the statistics are lost."""
    return [_batch_norm(call), *([None] * (len(call.outputs) - 1))]


def _is_pointwise(target: Any) -> bool:
    """True where PyTorch tags the op as elementwise, or the op that it is the in-place form of."""
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
    """A value that no input reaches: tensors as constants, numbers as they are."""
    if isinstance(value, torch.Tensor):
        return Const(static(value.shape))
    if isinstance(value, int | float | bool | str) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    try:
        return int(value)
    except Exception:
        raise ReadError(f"a size {value} is known only when the model runs.") from None
