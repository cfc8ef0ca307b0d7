"""Constant folding: the arithmetic on shapes that exporters leave in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from atrous.errors import ReadError
from atrous.network.records import Param
from atrous.readers.call import params_behind
from atrous.readers.onnx.file import Source, dense_constant, sparse_constant
from atrous.readers.onnx.values import FLOATS, MAX_FOLDED, STRING, Const, Value, checked

if TYPE_CHECKING:
    import onnx

    from atrous.readers.onnx.values import Array

__all__ = ["Folder", "infer", "literal", "measured"]

_FLOAT, _INT64 = 1, 7

# What onnx's reference implementation may run: its work is bounded by what goes in and comes out.
_EVALUATED = frozenset(
    """
    Abs Add And ArgMax ArgMin BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil
    Clip Concat ConstantOfShape Cos CumSum Div Equal Exp Expand EyeLike Flatten Floor Gather
    GatherElements GatherND Gemm Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log MatMul Max
    Mean Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    ReverseSequence Round ScatterElements ScatterND Sigmoid Sign Sin Slice Split Sqrt
    Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
    """.split()  # noqa: SIM905 - a list to be read
)
# How weights are stored in few bits, which only looking for zeros undoes.
_DEQUANTIZING = frozenset(("DequantizeLinear", "QuantizeLinear"))
_DEQUANTIZED = 21
# Their output's size depends on the numbers, and is never above that of the input times its rank.
_SHRINKING = frozenset(("Compress", "NonZero"))
# Only the first input of these is what the output is made of.
_MOVES = frozenset(
    """
    Cast Expand Flatten Gather GatherElements GatherND Identity Pad Reshape Slice Split Squeeze
    Tile Transpose Unsqueeze
    """.split()  # noqa: SIM905 - a list to be read
)
_MOST_FLOATS = 1 << 10
_MOST_TOLD = 1 << 12
_BUDGET = 1 << 24

Inferred = list[tuple[tuple[int, ...] | None, int]]


def infer(
    node: onnx.NodeProto, inputs: Sequence[Value | None], opsets: dict[str, int]
) -> tuple[Inferred, str]:
    """The shape and type of each output by onnx's own inference, and why there is none.

    A shape is None where it is not known in full, and the type 0 where that is not known.
    """
    from onnx import TensorProto, defs, helper, numpy_helper, shape_inference

    nothing: Inferred = [(None, 0) for _ in node.output]
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = opsets.get(domain, 1)
    try:
        schema = defs.get_schema(node.op_type, min(version, 1 << 20), domain)
    except (defs.SchemaError, UnicodeError, TypeError, ValueError):
        return nothing, ""
    types: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for name, value in zip(node.input, inputs, strict=True):
        if value is None:
            continue
        types[name] = helper.make_tensor_type_proto(value.dtype or TensorProto.FLOAT, value.shape)
        if isinstance(value, Const) and value.elements <= _MOST_TOLD:
            array = value.array
            if array is not None:
                data[name] = numpy_helper.from_array(array, name)
    try:
        found = shape_inference.infer_node_outputs(
            schema,
            node,
            types,
            data,
            opset_imports=[helper.make_opsetid(d, min(v, 1 << 20)) for d, v in opsets.items()],
        )
    except Exception as error:  # onnx raises several kinds, all about this node
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return nothing, (lines[0] if lines else type(error).__name__)[:200]
    result: Inferred = []
    for name in node.output:
        made = found.get(name)
        if made is None or not made.HasField("tensor_type"):
            result.append((None, 0))
            continue
        tensor = made.tensor_type
        shape: tuple[int, ...] | None = None
        if tensor.HasField("shape"):
            dims = tensor.shape.dim
            if all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
                shape = tuple(dim.dim_value for dim in dims)
        result.append((shape, tensor.elem_type))
    return result, ""


class Folder:
    """Folds nodes all of whose inputs are constants, as long as that stays small."""

    def __init__(self, opsets: dict[str, int]) -> None:
        self._opsets = opsets
        self._left = _BUDGET

    def fold(self, node: onnx.NodeProto, inputs: Sequence[Const | None]) -> list[Const | None]:
        """The constants that the node makes; None where not even the shape is known."""
        params = _params(node, inputs)
        shapes, _ = infer(node, inputs, self._opsets)
        arrays = self._evaluated(node, inputs, shapes)
        result: list[Const | None] = []
        for index, name in enumerate(node.output):
            shape, dtype = shapes[index]
            if arrays is not None:
                array = arrays[index]
                result.append(
                    Const(name, array.shape, dtype or _dtype(array), params, _holding(array))
                )
            elif shape is not None:
                make = self._making(node, inputs, index)
                made = checked(shape, "its result")
                result.append(Const(name, made, dtype, params, make=make))
            else:
                result.append(None)
        return result

    def _making(
        self, node: onnx.NodeProto, inputs: Sequence[Const | None], index: int
    ) -> Callable[[], Array] | None:
        """How to make a result that is too large to be folded; None for what is not run."""
        if node.domain not in ("", "ai.onnx") or node.op_type not in _EVALUATED | _DEQUANTIZING:
            return None

        # The reference has these in their newer form alone, which says the same of older nodes.
        least = _DEQUANTIZED if node.op_type in _DEQUANTIZING else 1

        def make() -> Array:
            pairs = zip(node.input, inputs, strict=True)
            arrays = {name: value.numbers() for name, value in pairs if value is not None}
            return self._run(node, arrays, least)[index]

        return make

    def _run(self, node: onnx.NodeProto, arrays: dict[str, Array], least: int = 1) -> list[Array]:
        """What onnx's reference makes of a model of that one node, at the file's own versions.

        Those are at `least` so high.
        """
        import numpy as np
        from onnx import ValueInfoProto, helper
        from onnx.reference import ReferenceEvaluator

        graph = helper.make_graph(
            [node],
            "folded",
            [
                helper.make_tensor_value_info(name, _dtype(array), array.shape)
                for name, array in arrays.items()
            ],
            [ValueInfoProto(name=name) for name in node.output if name],
        )
        opsets = [helper.make_opsetid(d, max(v, least)) for d, v in self._opsets.items()]
        model = helper.make_model(graph, opset_imports=opsets)
        with np.errstate(all="ignore"):
            ran = iter(ReferenceEvaluator(model).run(None, arrays))
        # An output that is left out takes its place all the same.
        return [np.asarray(next(ran) if name else 0) for name in node.output]

    def _evaluated(
        self, node: onnx.NodeProto, inputs: Sequence[Const | None], shapes: Inferred
    ) -> list[Array] | None:
        """The numbers that onnx's reference makes; None for operators or sizes that are not run."""
        if node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type in _SHRINKING:
            size = sum(x.elements * len(x.shape) for x in inputs if x is not None)
        elif node.op_type in _EVALUATED:
            size = 0
            for shape, dtype in shapes:
                if shape is None or dtype == STRING:
                    return None
                size += prod(shape)
                if dtype in FLOATS and size > _MOST_FLOATS:
                    return None
        else:
            return None
        if size > min(MAX_FOLDED, self._left):
            return None
        arrays: dict[str, Array] = {}
        for name, value in zip(node.input, inputs, strict=True):
            if value is None:
                continue
            array = value.array
            if array is None:
                return None
            arrays[name] = array
        self._left -= size + sum(array.size for array in arrays.values())
        try:
            results = self._run(node, arrays)
        except Exception:  # the reference is no part of the file: without it, the shape remains
            return None
        fits = len(results) == len(node.output) and all(r.size <= MAX_FOLDED for r in results)
        return results if fits else None


def _params(node: onnx.NodeProto, inputs: Sequence[Const | None]) -> tuple[Param, ...]:
    """The parameters that a folded constant is made of."""
    # A scale and a zero point say how a weight is stored; the weight is the parameter.
    if node.op_type in ("Shape", "Size"):
        return ()
    if node.op_type == "DequantizeLinear" and inputs and inputs[0] is not None:
        return tuple(Param(param.name, param.count, param.itemsize) for param in inputs[0].params)
    if node.op_type in _MOVES:
        inputs = inputs[:1]
    return params_behind(inputs)


def _holding(array: Array) -> Any:
    return lambda: array


def _dtype(array: Array) -> int:
    """The element type of an array, in the numbers of the format."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def measured(node: onnx.NodeProto, value: Value) -> Const:
    """What `Shape` or `Size` says about a value."""
    import numpy as np

    if node.op_type == "Size":
        numbers = np.asarray(prod(value.shape), np.int64)
    else:
        limits = {attribute.name: attribute.i for attribute in node.attribute}
        part = slice(limits.get("start", 0), limits.get("end"))
        numbers = np.asarray(value.shape[part], np.int64)
    return Const(node.output[0], numbers.shape, _INT64, (), _holding(numbers))


def _is_any(_: str, count: int) -> bool:
    return count > 1


def _is_none(_name: str, _count: int) -> bool:
    return False


def literal(node: onnx.NodeProto, source: Source) -> Const:
    """What a `Constant` node holds. Matrices and kernels of floats count as parameters."""
    import numpy as np

    name = node.output[0]
    for attribute in node.attribute:
        if attribute.name == "value":
            matrix = _is_any if len(attribute.t.dims) > 1 else _is_none
            return dense_constant(attribute.t, source, matrix, name)
        if attribute.name == "sparse_value":
            return sparse_constant(attribute.sparse_tensor)
        if attribute.name in ("value_string", "value_strings"):
            shape = () if attribute.name == "value_string" else (len(attribute.strings),)
            return Const(name, shape, STRING)
        if attribute.name in ("value_float", "value_floats"):
            floats = attribute.f if attribute.name == "value_float" else attribute.floats
            numbers = np.asarray(floats, np.float32)
            return Const(name, numbers.shape, _FLOAT, (), _holding(numbers))
        if attribute.name in ("value_int", "value_ints"):
            integers = attribute.i if attribute.name == "value_int" else attribute.ints
            numbers = np.asarray(integers, np.int64)
            return Const(name, numbers.shape, _INT64, (), _holding(numbers))
    raise ReadError("is a Constant without a value.")
