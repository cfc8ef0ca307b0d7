"""One ONNX node while it is translated: attributes by type, and checks of untrusted files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

from atrous.errors import ReadError
from atrous.geometry import Windowed
from atrous.network.builder import Builder
from atrous.network.layout import channels
from atrous.network.ops import Constant, Op, Opaque, Resize, Transform
from atrous.network.records import Param, Tensor
from atrous.network.table import effect
from atrous.readers.call import Call, NotUnderstood, Output, once, params_behind
from atrous.readers.onnx.attributes import Attributes
from atrous.readers.onnx.constants import Inferred
from atrous.readers.onnx.names import module_of
from atrous.readers.onnx.values import FLOATS, MAX_AXIS, Const, Live, Value, checked, itemsize
from atrous.registry import Registry

if TYPE_CHECKING:
    import onnx

    from atrous.readers.onnx.values import Array

__all__ = ["TRANSLATIONS", "OnnxCall", "Result", "translates"]

Result = Tensor | Value | None
Translation = Callable[["OnnxCall"], "Result | Sequence[Result]"]
# Operator -> its translation, whatever the version; `OnnxCall.version` tells them apart.
TRANSLATIONS = Registry[str, Translation]("translation")
translates = TRANSLATIONS.under

# What these leave out of their operands has no say in what comes out.
_TAKES_NO_VALUES = ("CastLike", "Where")
# Where the second factor stands among the inputs of a product.
_MATRICES = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Gemm": 1}
_PRODUCTS = {
    **_MATRICES,
    "Conv": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
    "ConvTranspose": 1,
    "DeformConv": 1,
}
# Whose products shapes alone do not tell.
_UNTOLD = {
    *("Attention", "DFT", "Einsum", "GRU", "If", "LSTM", "Loop", "RNN", "STFT", "Scan"),
    *("LinearAttention", "CausalConvWithState"),
}
# What multiplies whole numbers.
_INTEGER = {
    *("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearConvTranspose", "QLinearMatMul"),
    *("QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM"),
}


class OnnxCall(Attributes, Call[Value | None]):
    """One node to translate: its inputs by place, as constants or tensors; attributes by type."""

    def __init__(
        self,
        builder: Builder,
        node: onnx.NodeProto,
        name: str,
        inputs: Sequence[Value | None],
        shapes: Inferred,
        version: int,
        used: Sequence[bool],
    ) -> None:
        outputs = [
            Output(shape, itemsize(dtype) if dtype else None, wanted)
            for (shape, dtype), wanted in zip(shapes, used, strict=True)
        ]
        arguments, module = dict(enumerate(inputs)), module_of(node, params_behind(inputs))
        origin = node.output[0]
        super().__init__(builder, node.op_type, arguments, outputs, name, module, origin, True)
        self.quantized = node.op_type in _INTEGER
        self.hold(node, version)
        self.inputs = inputs
        self.shapes = shapes
        self.used = used
        # True where a transpose of the file puts another dimension in the batch's place.
        self.moves_batch = False
        # True where the taps of a weight that are 0 are looked for.
        self.weights = False

    # Inputs

    def tensor_of(self, value: object) -> Tensor | None:
        """The tensor of the network that a value is; None for a constant."""
        return value.tensor if isinstance(value, Live) else super().tensor_of(value)

    def value(self, index: int) -> Value:
        """Input `index`, which the operator needs."""
        value = self[index]
        if value is None:
            raise ReadError(f"{self.op} needs input {index}, which is left out.")
        return value

    def tensor(self, index: int) -> Tensor:
        """Input `index` as a tensor of the network; a constant becomes a node."""
        return self.materialized(self.value(index))

    def constant(self, value: Const) -> Tensor:
        """A constant as a node; its parameters are those of the op that reads it."""
        name = value.name or f"{self.name}.constant"
        return self.builder.add(
            Constant(value.shape), name=name[:200], module="", itemsize=itemsize(value.dtype)
        )

    def weight(self, index: int) -> Const:
        """Input `index`, which must be a constant whose shape is all that matters."""
        value = self.value(index)
        if isinstance(value, Const):
            return value
        raise NotUnderstood(f"its weights (input {index}) are computed from the input")

    def integers_at(self, index: int, what: str) -> tuple[int, ...] | None:
        """The whole numbers in input `index`; None where it is left out."""
        value = self[index]
        if value is None:
            return None
        array = _known_array(value, what)
        return tuple(int(x) for x in array.reshape(-1))

    def reals_at(self, index: int, what: str) -> tuple[float, ...] | None:
        """The numbers in input `index`; None where it is left out or empty."""
        value = self[index]
        if value is None or (isinstance(value, Const) and value.elements == 0):
            return None
        array = _known_array(value, what)
        return tuple(float(x) for x in array.reshape(-1))

    def integers_since(self, name: str, index: int, since: int) -> tuple[int, ...] | None:
        """Whole numbers that are an attribute before version `since` and an input from it on."""
        if self.has(name) or self.version < since:
            return self.integers(name)
        return self.integers_at(index, name)

    def live(self) -> list[Live]:
        """The inputs that are tensors of the network."""
        return [value for value in self.inputs if isinstance(value, Live)]

    def besides(self, *places: int) -> list[Tensor]:
        """The inputs that are tensors of the network, but for those at `places`."""
        left = (value for place, value in enumerate(self.inputs) if place not in places)
        return [value.tensor for value in left if isinstance(value, Live)]

    def stored(self, *values: Value | None) -> tuple[Param, ...]:
        """The parameters behind weights, which count as trained however few bits they have."""
        return once(
            param if value.dtype in FLOATS else Param(param.name, param.count, param.itemsize)
            for value in values
            if isinstance(value, Const)
            for param in value.params
        )

    # Outputs

    def wants(self, index: int) -> bool:
        """True where something reads output `index`."""
        return index < len(self.used) and self.used[index]

    def dtype(self, index: int) -> int:
        """The element type of output `index` as onnx infers it, or 0."""
        return self.shapes[index][1] if index < len(self.shapes) else 0

    def emit(
        self,
        op: Op,
        *inputs: Tensor,
        out: int | None = 0,
        params: Sequence[Param] = (),
        shape: Sequence[int] | None = None,
    ) -> Tensor:
        """One op of the network, a step as well as an output at a shape that is checked first.

        An op that cannot be raises; one whose positions cannot be followed, or whose shape is not
        the one that onnx infers, becomes opaque. Of windows, resampling and transforms the rule's
        shape stands, which is what ONNX Runtime makes: inference is wrong about some windows that
        are partial or padded, rounds some scales the other way, and makes spectra of both sides.
        """
        # Without positions the rule can always say what comes out, or why nothing can.
        plain = tuple(
            Tensor(x.name, tuple(channels(size) for size in x.shape), x.itemsize) for x in inputs
        )
        made = Tensor("", effect(op, plain).layout).shape
        inferred = None if out is None else self.outputs[out].shape
        if inferred not in (None, made) and isinstance(op, Windowed | Resize | Transform):
            self.note(
                f"makes {_crossed(made)} in ONNX Runtime; inference says {_crossed(inferred)}"
            )
            inferred = made
        shape = made if inferred is None else inferred
        checked(shape, "its output")
        if min(shape, default=1) < 1:
            raise NotUnderstood(f"makes an empty tensor of shape {shape}")
        tensor = super().emit(op, *inputs, out=out, params=params, shape=shape)
        for axis, length in tensor.grid.items():
            if length > MAX_AXIS:
                raise ReadError(
                    f"makes {length:,} positions along {axis}; at most {MAX_AXIS:,} are followed."
                )
        return tensor

    def note(self, text: str) -> None:
        """Say something of the node beside what it is."""
        self.builder.notes.append(f"{self.name}: {text}")

    def opaque_output(self, index: int, reason: str, *, known: bool = True) -> Live:
        """Output `index` as something not understood.

        Where nothing says its shape (or `known` is False), it has shape `()` and is marked unknown:
        every node that reads it is opaque in turn.
        """
        shape, dtype = self.shapes[index]
        unknown = ""
        if shape is None or min(shape, default=1) < 1:
            unknown = "the shape of what it reads depends on data"
            if known:
                reason += "; the shape of its output depends on data"
            shape = ()
        macs = 0 if index else self.macs()
        tensor = self.builder.add(
            Opaque(self.op[:80], reason, checked(shape, "its output"), macs, not unknown),
            *self.tensors(),
            name=self.name,
            module=self.module,
            params=self.params(),
            itemsize=itemsize(dtype or 1),
            origin=self.origin,
        )
        return Live(tensor, dtype or 1, unknown)

    def macs(self) -> int | None:
        """What the node multiplies and adds: products by their shapes, 0 for what has none."""
        made = self.outputs[0].shape
        if self.node.domain not in ("", "ai.onnx") or self.op in _UNTOLD:
            return None
        place = _PRODUCTS.get(self.op)
        if place is None:
            return 0
        x, weight = self[0], self[place]
        if made is None or x is None or weight is None:
            return None
        if isinstance(x, Live) and x.unknown:
            return None
        if self.op in _MATRICES:
            turned = self.op == "Gemm" and self.integer("transA")
            return prod(made) * x.shape[0 if turned else -1]
        return prod(x.shape if self.op == "ConvTranspose" else made) * prod(weight.shape[1:])

    def ignores(self, _: Sequence[object]) -> bool:
        """True where an operand gives its type alone, or no place of it is chosen."""
        return self.op in _TAKES_NO_VALUES

    def forgotten(self, _: Sequence[str]) -> str:
        """The reason for a node whose translation leaves an input unread."""
        return "also reads an input that its rule does not follow"


def _crossed(shape: Sequence[int] | None) -> str:
    """A shape as it is written in a note."""
    return "x".join(map(str, shape or ()))


def _known_array(value: Value, what: str) -> Array:
    """The numbers of a constant list."""
    if isinstance(value, Live):
        raise NotUnderstood(f"its {what} depend on data")
    if value.array is None or len(value.shape) > 1:
        raise NotUnderstood(f"its {what} are not known, or too many to be read")
    if value.array.dtype.kind == "c":
        raise ReadError(f"its {what} are complex numbers.")
    return value.array
