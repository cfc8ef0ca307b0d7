"""ONNX operators on whole numbers that stand for reals: they read what those on reals read.

A scale and a zero point that are constants are no operands; where they are computed from the input
(the range of a map), every output reads them as a whole.
"""

from __future__ import annotations

from atrous.errors import ReadError
from atrous.network.ops import Elementwise, Mix, Reduce
from atrous.network.records import Tensor
from atrous.readers.call import NotUnderstood
from atrous.readers.onnx.call import OnnxCall, Result, translates
from atrous.readers.onnx.math import contracted, joined, matrix_product, recurrence, snake_case
from atrous.readers.onnx.values import Const, Live, Value

__all__: list[str] = []


@translates("QuantizeLinear", "DequantizeLinear")
def _quantize(call: OnnxCall) -> Result:
    """Output `o` reads input 0 at `o`, and a scale that is computed from the input as a whole."""
    label = Elementwise(snake_case(call.op))
    scales = call.besides(0)
    if any(scale.elements > 1 for scale in scales):
        raise NotUnderstood("its scales, one for each channel, are computed from the input")
    return call.emit(label, call.tensor(0), *scales)


@translates("DynamicQuantizeLinear")
def _dynamic_quantize(call: OnnxCall) -> list[Result]:
    """Each output reads everything, since the range is that of all elements."""
    x = call.tensor(0)
    dims = tuple(range(len(x.shape)))
    made: list[Result] = [call.emit(Mix(dims, "quantize_dynamic"), x)]
    for index in (1, 2):
        wanted = call.wants(index)
        made.append(call.emit(Reduce(dims, label="range"), x, out=index) if wanted else None)
    return made


@translates("QLinearAdd", "QLinearMul")
def _quantized_join(call: OnnxCall) -> Result:
    """Output `o` reads inputs 0 and 3 at `o`, broadcast."""
    _check_constant(call, 0, 3)
    return joined(call, snake_case(call.op), [call.value(0), call.value(3)])


@translates("QLinearLeakyRelu", "QLinearSigmoid")
def _quantized_function(call: OnnxCall) -> Result:
    """Output `o` reads input 0 at `o`."""
    _check_constant(call, 0)
    return call.emit(Elementwise(snake_case(call.op)), call.tensor(0))


@translates("QLinearWhere")
def _quantized_where(call: OnnxCall) -> Result:
    """Output `o` reads the condition and inputs 1 and 4 at `o`, broadcast."""
    _check_constant(call, 0, 1, 4)
    return joined(call, "where", [call.value(i) for i in (0, 1, 4)])


@translates("QLinearSoftmax")
def _quantized_softmax(call: OnnxCall) -> Result:
    """Each output reads all of `axis`; before version 13, of all dimensions from it on."""
    _check_constant(call, 0)
    x = call.tensor(0)
    rank = len(x.shape)
    axis = call.axis(call.integer("axis", -1), rank)
    dims = (axis,) if call.integer("opset", 13) >= 13 else tuple(range(axis, rank))
    return call.emit(Mix(dims, "softmax"), x)


@translates("QLinearReduceMean")
def _quantized_mean(call: OnnxCall) -> Result:
    """Each output reads all of `axes`, or of every dimension where none is named."""
    _check_constant(call, 0)
    x = call.tensor(0)
    axes = call.axes(call.integers("axes") or tuple(range(len(x.shape))), len(x.shape))
    return call.emit(Reduce(axes, bool(call.integer("keepdims", 1)), "mean"), x)


@translates("MatMulInteger")
def _integer_matmul(call: OnnxCall) -> Tensor:
    """Output `(i, j)` reads row `i` of input 0 and column `j` of input 1; zero points are 2, 3."""
    return matrix_product(call, call.value(0), call.value(1), besides=call.besides(0, 1))


@translates("MatMulIntegerToFloat")
def _integer_matmul_to_float(call: OnnxCall) -> Tensor:
    """The same with scales in inputs 2 and 3, zero points in 4 and 5, and an offset in 6."""
    a, b = call.value(0), call.value(1)
    return matrix_product(call, a, b, _stored(call, 6), call.besides(0, 1))


@translates("DynamicQuantizeMatMul")
def _dynamic_matmul(call: OnnxCall) -> Tensor:
    """The product of input 0, whose range is that of all its elements, and matrix 1; offset 4."""
    x = call.tensor(0)
    mixed = call.step(Mix(tuple(range(len(x.shape))), "quantize_dynamic"), x)
    a: Value = Live(mixed, call.value(0).dtype)
    return matrix_product(call, a, call.value(1), _stored(call, 4), call.besides(0, 1))


@translates("QLinearMatMul")
def _quantized_matmul(call: OnnxCall) -> Tensor:
    """Output `(i, j)` reads row `i` of input 0 and column `j` of input 3."""
    return matrix_product(call, call.value(0), call.value(3), besides=call.besides(0, 3))


@translates("QGemm")
def _quantized_gemm(call: OnnxCall) -> Tensor:
    """Output `(i, j)` reads row `i` of input 0 and column `j` of input 3; the offset is input 6."""
    a, b = call.value(0), call.value(3)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ReadError(f"QGemm multiplies matrices, got {a.shape} and {b.shape}.")
    rows = "ka" if call.integer("transA") else "ak"
    columns = "bk" if call.integer("transB") else "kb"
    besides = call.besides(0, 3)
    return contracted(call, a, b, rows, columns, "ab", bias=_stored(call, 6), besides=besides)


@translates("DynamicQuantizeLSTM")
def _dynamic_lstm(call: OnnxCall) -> list[Result]:
    """An LSTM whose weights are whole numbers, inputs before gates; steps are quantized one by one.

    W is `(ways, input, 4 * hidden)`, R `(ways, hidden, 4 * hidden)`.
    """
    if any(call.tensor_of(call[i]) is not None for i in range(8, 12)):
        raise NotUnderstood("its scales are computed from the input")
    return recurrence(call, "LSTM", _gates_first(call.weight(1)), _gates_first(call.weight(2)))


def _gates_first(weight: Const) -> Const:
    """The weights of a recurrence as floats have them: gates before inputs."""
    shape = (*weight.shape[:1], *weight.shape[:0:-1])
    return Const(weight.name, shape, weight.dtype, weight.params)


def _check_constant(call: OnnxCall, *places: int) -> None:
    """Raise `NotUnderstood` where what is no operand is computed from the input."""
    if call.besides(*places):
        raise NotUnderstood("its scale or zero point is computed from the input")


def _stored(call: OnnxCall, place: int) -> Const | None:
    """An offset that is stored; one that is computed is among the tensors besides."""
    value = call[place]
    return value if isinstance(value, Const) else None
