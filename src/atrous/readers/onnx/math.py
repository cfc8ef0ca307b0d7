"""ONNX operators that compute: elementwise, products, norms, reductions, recurrences."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import replace
from math import prod

from atrous.errors import ReadError
from atrous.network.layout import has_axes
from atrous.network.ops import (
    Attention,
    Contract,
    Elementwise,
    Linear,
    Mix,
    Op,
    Permute,
    Reduce,
    Reshape,
    Scan,
    Slice,
)
from atrous.network.records import Param, Tensor
from atrous.readers.call import NotUnderstood, params_behind
from atrous.readers.einsum import sizes_of, terms_of
from atrous.readers.onnx.call import OnnxCall, Result, translates
from atrous.readers.onnx.values import Const, Live, Value, broadcast

__all__ = ["contracted", "joined", "matrix_product", "recurrence", "snake_case"]

_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BiasGelu Bernoulli BitCast BitShift BitwiseAnd
    BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp
    FastGelu Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less
    LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuickGelu Reciprocal Relu
    Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh
    ThresholdedRelu Xor
""".split()  # noqa: SIM905 - a list to be read
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """The operator's name in small letters, words apart."""
    return {"PRelu": "prelu", "IsNaN": "is_nan"}.get(name) or _WORDS.sub("_", name).lower()


@translates(*_ELEMENTWISE)
def _elementwise(call: OnnxCall) -> Result:
    """Output `o` reads every operand at `o`, broadcast; bounds are no operands."""
    values = [value for value in call.inputs if value is not None]
    if call.op == "CastLike":
        return _cast_like(call)
    if call.op == "Clip":
        values = [call.value(0), *call.live()[1:]]
    return joined(call, snake_case(call.op), values)


def _cast_like(call: OnnxCall) -> Result:
    """Output `o` reads input 0 at `o`; input 1 gives its type alone."""
    x = call.value(0)
    if isinstance(x, Live):
        return call.emit(Elementwise("cast"), x.tensor)
    # The other operand gives nothing but its type.
    dtype, array = call.value(1).dtype, x.array
    return Const(x.name, x.shape, dtype, x.params, None if array is None else lambda: array)


@translates("EyeLike", "RandomNormalLike", "RandomUniformLike")
def _like(call: OnnxCall) -> Const:
    """A constant: the input gives its shape alone."""
    x = call.value(0)
    return Const(call.node.output[0], x.shape, call.dtype(0) or x.dtype)


def joined(call: OnnxCall, label: str, values: Sequence[Value]) -> Tensor:
    """The values joined elementwise; constants take part only where they broaden the shape."""
    live = [value for value in values if isinstance(value, Live)]
    params = params_behind(values)
    if label == "prelu":  # a single slope is a parameter, whatever it is called
        params = tuple(Param(p.name, p.count, p.itemsize) for p in params)
    shape = broadcast(*(value.shape for value in values))
    operands: Sequence[Value] = live
    if broadcast(*(value.shape for value in live)) != shape:
        operands = values
    tensors = [call.materialized(value) for value in operands]
    return call.emit(Elementwise(label), *tensors, params=params)


@translates("Where")
def _where(call: OnnxCall) -> Result:
    """Output `o` reads condition and operands at `o`, or the one operand that is always chosen."""
    condition = call.value(0)
    array = condition.array if isinstance(condition, Const) else None
    if array is not None and array.size and (array.all() or not array.any()):
        chosen = call.value(1 if array.all() else 2)
        if isinstance(chosen, Const):
            return Const(
                chosen.name, call.outputs[0].shape or chosen.shape, chosen.dtype, chosen.params
            )
        if chosen.shape == broadcast(*(call.value(i).shape for i in range(3))):
            return chosen
    return joined(call, "where", [call.value(i) for i in range(3)])


@translates("Identity")
def _identity(call: OnnxCall) -> Result:
    """The input itself."""
    return call.value(0)


@translates("Dropout")
def _dropout(call: OnnxCall) -> list[Result]:
    """The input itself, and a mask that no input reaches; elementwise where it trains."""
    x = call.value(0)
    mask = Const("", x.shape, 9)
    training = call[2]
    if training is not None:
        array = training.array if isinstance(training, Const) else None
        if array is None or array.any():
            return [call.emit(Elementwise("dropout"), call.tensor(0)), mask]
    return [x, mask]


@translates("BatchNormalization")
def _batch_norm(call: OnnxCall) -> Tensor:
    """Output `o` reads position `o`; where it trains, all of its channel."""
    x = call.tensor(0)
    if len(call.tensors()) > 1:
        raise NotUnderstood("its statistics are computed from the input")
    if any(call.used[1:]):
        raise NotUnderstood("updates its statistics")
    buffers = (replace(param, buffer=True) for param in call.params(3, 4))
    params = (*call.params(1, 2), *buffers)
    if call.integer("training_mode"):
        dims = (0, *range(2, len(x.shape)))
        return call.emit(Mix(dims, "batch_norm"), x, params=params)
    return call.emit(Elementwise("batch_norm"), x, params=params)


def _mixed(call: OnnxCall, dims: Sequence[int], label: str) -> Tensor:
    """Each output reads all of `dims` in input 0; the other inputs are parameters."""
    if len(call.tensors()) > 1:
        raise NotUnderstood("its scale or offset is computed from the input")
    if any(call.used[1:]):
        raise NotUnderstood("gives its statistics as well")
    params = params_behind(call.inputs[1:])
    return call.emit(Mix(tuple(dims), label), call.tensor(0), params=params)


@translates("InstanceNormalization")
def _instance_norm(call: OnnxCall) -> Tensor:
    """Each output reads all positions of its channel."""
    return _mixed(call, range(2, len(call.value(0).shape)), "instance_norm")


@translates("GroupNormalization")
def _group_norm(call: OnnxCall) -> Tensor:
    """Each output reads its whole image: all groups count as one."""
    return _mixed(call, range(1, len(call.value(0).shape)), "group_norm")


@translates("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(call: OnnxCall) -> Tensor:
    """Each output reads all dimensions from `axis` on."""
    rank = len(call.value(0).shape)
    label = "layer_norm" if call.op == "LayerNormalization" else "rms_norm"
    return _mixed(call, range(call.axis(call.integer("axis", -1), rank), rank), label)


@translates("LpNormalization")
def _lp_norm(call: OnnxCall) -> Tensor:
    """Each output reads all of `axis`."""
    return _mixed(call, [call.axis(call.integer("axis", -1), len(call.value(0).shape))], "lp_norm")


@translates("LRN")
def _local_response(call: OnnxCall) -> Tensor:
    """Each output reads neighbouring channels; they count as all."""
    x = call.tensor(0)
    if len(x.shape) < 2 or has_axes(x.layout[1]):
        raise NotUnderstood("normalizes over neighbours along a dimension that holds positions")
    return call.emit(Mix((1,), "lrn"), x)


@translates("MeanVarianceNormalization")
def _mean_variance(call: OnnxCall) -> Tensor:
    """Each output reads all of `axes`."""
    axes = call.integers("axes")
    rank = len(call.value(0).shape)
    return _mixed(call, call.axes((0, 2, 3) if axes is None else axes, rank), "mvn")


@translates("Softmax", "LogSoftmax", "Hardmax")
def _softmax(call: OnnxCall) -> Tensor:
    """Each output reads all of `axis`; before version 13, of all dimensions from it on."""
    rank = len(call.value(0).shape)
    if call.version >= 13:
        return _mixed(call, [call.axis(call.integer("axis", -1), rank)], snake_case(call.op))
    # Before version 13 all dimensions from the axis on are one.
    axis = call.integer("axis", 1)
    return _mixed(
        call, range(rank if axis == rank else call.axis(axis, rank), rank), snake_case(call.op)
    )


_SINCE_INPUT = {"ReduceSum": 13}


@translates("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")
@translates("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")
def _reduce(call: OnnxCall) -> Result:
    """Each output reads all of `axes`, or of every dimension where none is named."""
    x = call.tensor(0)
    rank = len(x.shape)
    axes = call.integers_since("axes", 1, _SINCE_INPUT.get(call.op, 18))
    label = snake_case(call.op.removeprefix("Reduce"))
    if not axes:
        if call.integer("noop_with_empty_axes"):
            return call.emit(Elementwise(label), x)
        axes = tuple(range(rank))
    op = Reduce(call.axes(axes, rank), bool(call.integer("keepdims", 1)), label)
    return call.emit(op, x)


@translates("ArgMax", "ArgMin")
def _arg(call: OnnxCall) -> Tensor:
    """Each output reads all of `axis`."""
    x = call.tensor(0)
    dim = call.axis(call.integer("axis"), len(x.shape))
    return call.emit(Reduce((dim,), bool(call.integer("keepdims", 1)), call.op.lower()), x)


@translates("Gemm")
def _gemm(call: OnnxCall) -> Tensor:
    """Output `(i, j)` reads row `i` of A, column `j` of B, and at `(i, j)` a C that is computed."""
    a, b, c = call.value(0), call.value(1), call[2]
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ReadError(f"Gemm multiplies matrices, got {a.shape} and {b.shape}.")
    rows = "ka" if call.integer("transA") else "ak"
    columns = "bk" if call.integer("transB") else "kb"
    last = c is None or not isinstance(c, Live)
    y = contracted(call, a, b, rows, columns, "ab", 0 if last else None, bias=c if last else None)
    if c is not None and isinstance(c, Live):
        y = call.emit(Elementwise("add"), y, c.tensor)
    return y


def contracted(
    call: OnnxCall,
    a: Value,
    b: Value,
    left: str,
    right: str,
    result: str,
    out: int | None = 0,
    bias: Value | None = None,
    besides: Sequence[Tensor] = (),
) -> Tensor:
    """Letters of the result are aligned, all others summed; a constant matrix is a linear layer.

    Tensors `besides` (zero points) are read whole.
    """
    sizes = sizes_of((left, right), (a.shape, b.shape))
    if sizes is None:
        raise ReadError(f"{a.shape} and {b.shape} cannot be multiplied.")
    params = call.stored(a, b, bias)
    if isinstance(a, Live) and isinstance(b, Const) and len(right) == 2:
        # One matrix for all rows: a linear layer over the last dimension.
        summed, made = (right[0], right[1]) if right[0] in left else (right[1], right[0])
        x = a.tensor
        if summed in left and made not in left and result == left.replace(summed, "") + made:
            if left[-1] != summed:
                order = [i for i, letter in enumerate(left) if letter != summed]
                x = call.step(Permute((*order, left.index(summed))), x)
            op = Linear(sizes[made])
            if call.weights and not call.quantized:
                op = call.linear(x, sizes[made], b, columns=right[0] == summed)
            return call.emit(op, x, *besides, out=out, params=params)
    product = Contract(f"{left},{right}->{result}")
    factors = call.materialized(a), call.materialized(b)
    return call.emit(product, *factors, *besides, out=out, params=params)


@translates("MatMul")
def _matmul(call: OnnxCall) -> Tensor:
    """Output `(i, j)` reads row `i` of input 0 and column `j` of input 1."""
    return matrix_product(call, call.value(0), call.value(1))


@translates("FusedMatMul")
def _fused_matmul(call: OnnxCall) -> Tensor:
    """The same of operands whose last two dimensions change places, or whose rows stand first."""
    a, b = (
        _turned(call, call.value(i), f"trans{name}", f"transBatch{name}")
        for i, name in enumerate("AB")
    )
    return matrix_product(call, a, b)


def _turned(call: OnnxCall, value: Value, swaps: str, first: str) -> Value:
    """An operand as a product has it, by the flags that the node carries."""
    rank = len(value.shape)
    order = list(range(rank))
    if call.integer(first) and rank > 2:
        order = [*order[1:-1], 0, rank - 1]
    if call.integer(swaps) and rank > 1:
        order[-2:] = order[:-3:-1]
    shape = tuple(value.shape[i] for i in order)
    if order == sorted(order):
        return value
    if isinstance(value, Const):
        return Const(value.name, shape, value.dtype, value.params)
    return Live(call.step(Permute(tuple(order)), value.tensor), value.dtype)


def matrix_product(
    call: OnnxCall,
    a: Value,
    b: Value,
    bias: Value | None = None,
    besides: Sequence[Tensor] = (),
) -> Tensor:
    """A row and a column for each output; batch dimensions are aligned, and broadcast."""
    if not a.shape or not b.shape or max(len(a.shape), len(b.shape)) > 24:
        raise ReadError(f"{a.shape} and {b.shape} cannot be multiplied.")
    letters = string.ascii_lowercase.replace("k", "").replace("m", "").replace("n", "")
    rank = max(len(a.shape), len(b.shape)) - 2
    batch = letters[: max(rank, 0)]
    left = _letters(batch, len(a.shape), "mk", "k")
    right = _letters(batch, len(b.shape), "kn", "k")
    rows = "m" if len(a.shape) > 1 else ""
    columns = "n" if len(b.shape) > 1 else ""
    a, left = _unbroadcast(call, a, left, b, right)
    b, right = _unbroadcast(call, b, right, a, left)
    result = batch + rows + columns
    return contracted(call, a, b, left, right, result, bias=bias, besides=besides)


def _letters(batch: str, rank: int, matrix: str, vector: str) -> str:
    """An operand's letters: the last ones of the batch and its matrix, or those of a vector."""
    if rank == 1:
        return vector
    return batch[len(batch) - (rank - 2) :] + matrix


def _unbroadcast(
    call: OnnxCall, value: Value, letters: str, other: Value, others: str
) -> tuple[Value, str]:
    """The value without those batch dimensions of 1 that the other operand widens."""
    sizes = dict(zip(others, other.shape, strict=True))
    keep = [
        i
        for i, letter in enumerate(letters)
        if letter in "mkn" or value.shape[i] != 1 or sizes.get(letter, 1) == 1
    ]
    if len(keep) == len(letters):
        return value, letters
    shape = tuple(value.shape[i] for i in keep)
    left = "".join(letters[i] for i in keep)
    if isinstance(value, Const):
        return Const(value.name, shape, value.dtype, value.params), left
    return Live(call.step(Reshape(shape), value.tensor), value.dtype), left


@translates("Einsum")
def _einsum(call: OnnxCall) -> Tensor:
    """Letters of the result are aligned; along all others each output reads everything."""
    equation = call.text("equation").replace(" ", "")
    if len(equation) > 200 or len(call.inputs) not in (1, 2):
        raise NotUnderstood(f"sums over {len(call.inputs)} operands at once")
    values = [call.value(i) for i in range(len(call.inputs))]
    shapes = [value.shape for value in values]
    terms, result = terms_of(equation, [len(shape) for shape in shapes])
    if any(len(set(term)) != len(term) for term in (*terms, result)):
        raise NotUnderstood("takes a diagonal")
    if len(values) == 2:
        if sizes_of(terms, shapes) is None:
            raise NotUnderstood("broadcasts inside a product")
        return contracted(call, values[0], values[1], terms[0], terms[1], result)
    x = call.tensor(0)
    gone = tuple(i for i, letter in enumerate(terms[0]) if letter not in result)
    left = [letter for letter in terms[0] if letter in result]
    if set(result) - set(left):
        raise ReadError(f"{equation[:80]!r} makes an index out of nothing.")
    if gone:
        x = call.step(Reduce(gone, label="sum"), x)
    return call.emit(Permute(tuple(left.index(letter) for letter in result)), x)


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@translates("LSTM", "GRU", "RNN")
def _recurrent(call: OnnxCall) -> list[Result]:
    """See `recurrence`."""
    return recurrence(call, call.op, call.weight(1), call.weight(2))


def recurrence(call: OnnxCall, kind: str, w: Const, r: Const) -> list[Result]:
    """Output `o` reads all steps up to `o`, from `o` on where reversed, all of them both ways.

    W is `(ways, gates * hidden, input)`, R `(ways, gates * hidden, hidden)`; time is dimension 0,
    or 1 where `layout` is. A last state reads what the output at the last step does. Every output
    reads the states that the recurrence starts from, and lengths, as a whole.
    """
    x = call.tensor(0)
    starts = [tensor for i in range(3, 8) if (tensor := call.tensor_of(call[i])) is not None]
    if len(x.shape) != 3 or len(w.shape) != 3 or len(r.shape) != 3:
        raise ReadError(f"{call.op} reads 3 dimensions, got {x.shape}.")
    ways, gates, hidden = w.shape[0], _GATES[kind], r.shape[2]
    if w.shape != (ways, gates * hidden, x.shape[2]) or r.shape != (ways, gates * hidden, hidden):
        raise ReadError(f"weights of {w.shape} and {r.shape} do not fit an input of {x.shape}.")
    sequences = x.shape[0 if call.integer("layout") else 1]
    state = (sequences, ways, hidden) if call.integer("layout") else (ways, sequences, hidden)
    for held in (call[5], call[6] if kind == "LSTM" else None):
        if held is not None and held.shape != state:
            raise ReadError(f"starts from a state of {held.shape}, which must be {state}.")
    direction = call.text("direction", "forward")
    names = {"forward": "forward", "reverse": "reverse", "bidirectional": "both"}
    if direction not in names or ways != (2 if direction == "bidirectional" else 1):
        raise ReadError(f"direction {direction[:40]!r} does not fit {ways} sets of weights.")
    first = 1 if call.integer("layout") else 0
    op = Scan(
        first,
        names[direction],  # type: ignore[arg-type]
        ways * hidden,
        gates * hidden * (x.shape[2] + hidden) * ways,
        kind.lower(),
    )
    params = call.stored(w, r, call[3], call[7])
    y = call.step(op, x, *starts, params=params)
    y = call.step(Reshape((*y.shape[:2], ways, hidden)), y)
    made: list[Result] = [None, None, None]
    if call.used[0]:
        made[0] = y if first else call.emit(Permute((0, 2, 1, 3)), y)
    for index in (1, 2):
        if call.wants(index):
            place = 0 if direction == "reverse" else y.shape[first] - 1
            last = call.step(Slice(first, place, 1, drop=True), y)
            made[index] = last if first else call.emit(Permute((1, 0, 2)), last, out=index)
    return made


@translates("CumSum")
def _cumulative(call: OnnxCall) -> Tensor:
    """Output `o` reads `0` up to `o` along `axis`, from `o` on where reversed."""
    x = call.tensor(0)
    axis = call.integers_at(1, "axis")
    dim = call.axis(axis[0] if axis else 0, len(x.shape))
    if call.integer("exclusive") and has_axes(x.layout[dim]):
        raise NotUnderstood("sums what lies before each position, without its own")
    op = Scan(dim, "reverse" if call.integer("reverse") else "forward", label="cumsum")
    return call.emit(op, x)


@translates("Attention")
def _attention(call: OnnxCall) -> Tensor:
    """Each query reads all keys and values of its head, where `is_causal` up to its own place."""
    if call.node.domain not in ("", "ai.onnx") or any(call.used[1:]) or len(call.tensors()) != 3:
        raise NotUnderstood("attends with a mask or a memory that is computed from the input")
    if any(call[i] is None for i in range(3)) or any(call[i] for i in (4, 5)):
        raise NotUnderstood("attends with a memory")
    causal = bool(call.integer("is_causal"))
    query, key, value = (call.tensor(i) for i in range(3))
    if len(query.shape) == 4:
        if query.shape[1] != key.shape[1]:
            raise NotUnderstood("shares keys between heads")
        return call.emit(Attention(causal), query, key, value)
    heads = call.integer("q_num_heads")
    if len(query.shape) != 3 or heads < 1 or heads != call.integer("kv_num_heads"):
        raise NotUnderstood("shares keys between heads")
    parts = [_heads(call, x, heads) for x in (query, key, value)]
    y = call.step(Permute((0, 2, 1, 3)), call.step(Attention(causal), *parts))
    return call.emit(Reshape((*y.shape[:2], prod(y.shape[2:]))), y)


def _heads(call: OnnxCall, x: Tensor, heads: int) -> Tensor:
    """`(batch, tokens, heads * channels)` as `(batch, heads, tokens, channels)`."""
    if len(x.shape) != 3 or x.shape[2] % heads:
        raise ReadError(f"{x.shape} does not divide into {heads} heads.")
    split: Op = Reshape((*x.shape[:2], heads, x.shape[2] // heads))
    return call.step(Permute((0, 2, 1, 3)), call.step(split, x))


@translates("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
def _skip_norm(call: OnnxCall) -> Tensor:
    """Each output reads all of the last dimension, in both of the inputs that are added."""
    if len(call.tensors()) != 2 or any(call.used[1:]):
        raise NotUnderstood("gives its sum as well")
    total = call.step(Elementwise("add"), call.tensor(0), call.tensor(1))
    params = params_behind(call.inputs[2:])
    label = "rms_norm" if "Simplified" in call.op else "layer_norm"
    return call.emit(Mix((len(total.shape) - 1,), label), total, params=params)
