"""The functions of `keras.ops`: of elements, reductions, shapes, slices, products, attention."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from atrous.network.layout import has_axes
from atrous.network.ops import (
    Attention,
    Concat,
    Contract,
    Expand,
    Mix,
    Permute,
    Reduce,
    Reorder,
    Repeat,
    Reshape,
    Roll,
    Scan,
    Slice,
)
from atrous.readers.call import NotUnderstood
from atrous.readers.einsum import sizes_of, terms_of
from atrous.readers.keras.call import KerasCall, translates
from atrous.readers.placed import Held, Placed
from atrous.readers.weights import MOST_LOOKED_AT

_LETTERS = "abcdefghijklmnopqrstuvw"
_CASTS = ("Cast", "SaturateCast", "ConvertToTensor")
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@translates("ops", "Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SoftShrink SparsePlus Silu")
@translates("ops", "Squareplus LogSigmoid LeakyRelu HardSigmoid HardSilu Elu Selu Gelu Celu")
@translates("ops", "TanhShrink HardTanh HardShrink Threshold Absolute Fabs Arccos Arccosh Arcsin")
@translates("ops", "Arcsinh Arctan Arctanh Cbrt Ceil Clip Conjugate Cos Cosh Deg2rad Rad2deg Exp")
@translates("ops", "Exp2 Expm1 Floor Imag Real Isfinite Isinf Isnan Log Log10 Log1p Log2 NanToNum")
@translates("ops", "LogicalNot Negative Reciprocal Round Sign Signbit Sin Sinc Sinh Sqrt Square")
@translates("ops", "Tan Tanh Trunc Rsqrt Erf Erfc Erfinv Cast SaturateCast ConvertToTensor")
def _alone(call: KerasCall) -> Placed:
    """Output `o` reads position `o`."""
    if call.op in _CASTS and call.outputs[0].itemsize == call.first.tensor.itemsize:
        return call.first
    return call.alone(call.op.lower())


@translates("ops", "Add Subtract Multiply Divide DivideNoNan TrueDivide FloorDivide Mod Fmod")
@translates("ops", "Power Maximum Minimum Fmax Fmin Equal NotEqual Greater GreaterEqual Less")
@translates("ops", "LessEqual LogicalAnd LogicalOr LogicalXor Where Arctan2 Hypot Logaddexp")
@translates("ops", "BitwiseAnd BitwiseOr BitwiseXor Heaviside BatchNorm")
def _together(call: KerasCall) -> Placed:
    """Output `o` reads all operands at `o`, with broadcasting."""
    if call.op == "BatchNorm":
        return call.alone("batch_norm")
    return call.joined(call.op.lower(), list(call.arguments.values()))


@translates("ops", "Mean Sum Max Min Prod Amax Amin Std Var All Any Logsumexp CountNonzero Median")
@translates("ops", "Nanmean Nansum Nanmax Nanmin Norm Argmax Argmin Ptp")
def _reduce(call: KerasCall) -> Placed:
    """Each output reads all along the axes, or everything where none is named."""
    x = call.first
    return call.reduced(x, _reduced_axes(call, x), bool(call.setting("keepdims")), call.op.lower())


@translates("ops", "Moments")
def _moments(call: KerasCall) -> Any:
    """A mean and a variance, each of all along the axes."""
    x, keep = call.first, bool(call.setting("keepdims"))
    dims = tuple(call.setting("axes"))
    return [
        call.reduced(x, dims, keep, label, out=index) for index, label in enumerate(("mean", "var"))
    ]


def _reduced_axes(call: KerasCall, x: Placed) -> tuple[int, ...]:
    axis = call.setting("axis")
    if axis is None:
        return tuple(range(len(x.order)))
    return (axis,) if isinstance(axis, int) else tuple(axis)


@translates("ops", "BroadcastTo")
def _broadcast(call: KerasCall) -> Placed:
    """Each dimension of one at every place of the new shape."""
    return call.made(Expand(call.shape), call.plain(call.first))


@translates("ops", "Repeat")
def _repeat(call: KerasCall) -> Placed:
    """Each index of the axis so many times."""
    x, axis, times = call.first, call.setting("axis"), call.setting("repeats")
    if axis is None or not isinstance(times, int):
        raise NotUnderstood("repeats all dimensions as one, or each by another number")
    op = Repeat(x.order[axis], times, each=True)
    return call.made(op, x.tensor, order=x.order)


@translates("ops", "Tile")
def _tile(call: KerasCall) -> Placed:
    """The tensor laid out so many times along each dimension."""
    x, times = call.first, call.setting("repeats")
    times = (times,) if isinstance(times, int) else tuple(times)
    if len(times) > len(x.order):
        raise NotUnderstood("tiles along new dimensions")
    tensor, held = x.tensor, [i for i, n in enumerate(times) if n > 1]
    for index in held:
        dim = x.order[index - len(times)]
        tensor = call.emit(
            Repeat(dim, times[index]),
            tensor,
            out=0 if index == held[-1] else None,
            shape=[n * times[index] if i == dim else n for i, n in enumerate(tensor.shape)],
        )
    return Placed(tensor, x.order)


@translates("ops", "Roll")
def _roll(call: KerasCall) -> Placed:
    """Output `o` reads `o - shift`, counted round the end."""
    x, axis, shift = call.first, call.setting("axis"), call.setting("shift")
    if axis is None:
        raise NotUnderstood("rolls all dimensions as one")
    axes, shifts = ([value] if isinstance(value, int) else list(value) for value in (axis, shift))
    tensor = x.tensor
    for dim, by in zip(axes, shifts, strict=True):
        tensor = call.emit(Roll(x.order[dim], by), tensor, shape=tensor.shape)
    return Placed(tensor, x.order)


@translates("ops", "Flip")
def _flip(call: KerasCall) -> Placed:
    """Output `o` reads from the end along the axes."""
    x = call.first
    tensor = x.tensor
    for axis in _reduced_axes(call, x):
        dim = x.order[axis]
        if tensor.shape[dim] > 1:
            tensor = call.picked(tensor, dim, range(tensor.shape[dim])[::-1], out=None)
    return Placed(tensor, x.order)


@translates("ops", "GetItem")
def _get_item(call: KerasCall) -> Placed:
    """Output `o` reads `start + step * o` along each dimension that is cut."""
    x, key = call.first, call["key"]
    keys = list(key) if isinstance(key, list | tuple) else [key]
    if any(not (k is None or k is Ellipsis or isinstance(k, int | slice)) for k in keys):
        raise NotUnderstood("picks by an index that is no number")
    given = sum(k is not None and k is not Ellipsis for k in keys)
    rest = [slice(None)] * (len(x.order) - given)
    at = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    keys[at : at + 1] = rest
    tensor, order = x.tensor, list(x.order)
    gone: list[int] = []
    for dim, part in enumerate(k for k in keys if k is not None):
        own, size = order[dim], x.shape[dim]
        if isinstance(part, int):
            tensor = _cut_places(call, tensor, own, range(part % size, part % size + 1))
            gone.append(dim)
        else:
            places = range(size)[part]
            if places != range(size):
                tensor = _cut_places(call, tensor, own, places)
    if None not in keys and not gone:
        return Placed(tensor, x.order)
    return call.made(Reshape(call.shape), call.plain(Placed(tensor, x.order)))


def _cut_places(call: KerasCall, tensor: Any, dim: int, places: range) -> Any:
    if not places:
        raise NotUnderstood("cuts out nothing")
    if places.step > 0:
        op = Slice(dim, places.start, len(places), places.step)
        return call.step(op, tensor)
    return call.picked(tensor, dim, places, out=None)


@translates("ops", "Split ArraySplit")
def _split(call: KerasCall) -> Any:
    """Piece `p` reads `o` plus the sizes before it along the axis."""
    x = call.first
    axis = call.setting("axis") % len(x.order)
    lengths = [call.shape_of(i)[axis] for i in range(len(call.outputs))]
    return [
        call.made(Slice(x.order[axis], start, length), x.tensor, order=x.order, out=index)
        for index, (start, length) in enumerate(
            zip(accumulate(lengths, initial=0), lengths, strict=False)
        )
    ]


@translates("ops", "Unstack")
def _unstack(call: KerasCall) -> Any:
    return call.pieces(call.first, call.setting("axis") % len(call.first.order))


@translates("ops", "Stack")
def _stack(call: KerasCall) -> Placed:
    """Operand `p` is read at `p` along the axis, which is new."""
    values = next(iter(call.arguments.values()))
    axis = call.setting("axis") % len(call.shape)
    parts = []
    for value in values:
        tensor = call.plain(value)
        shape = (*tensor.shape[:axis], 1, *tensor.shape[axis:])
        parts.append(call.step(Reshape(shape), tensor))
    return call.made(Concat(axis), *parts) if len(parts) > 1 else Placed.plain(parts[0])


@translates("ops", "Take")
def _take(call: KerasCall) -> Placed:
    """Output `o` reads the index that stands at `o` along the axis."""
    x, places, axis = call["x"], call["indices"], call.setting("axis")
    if not isinstance(x, Placed) or axis is None or isinstance(places, Placed | Held):
        raise NotUnderstood("picks by places that data or stored numbers decide")
    dim = x.order[axis]
    numbers = [places] if isinstance(places, int) else list(places)
    if not has_axes(x.tensor.layout[dim]):
        tensor = call.step(Reorder(dim, len(numbers)), x.tensor)
    else:
        tensor = call.picked(x.tensor, dim, numbers, out=None)
    if isinstance(places, int):
        return call.made(Reshape(call.shape), call.plain(Placed(tensor, x.order)))
    return Placed(tensor, x.order)


@translates("ops", "Cumsum Cumprod")
def _cumulative(call: KerasCall) -> Placed:
    """Output `o` reads `0` up to `o` along the axis."""
    x, axis = call.first, call.setting("axis")
    if axis is None:
        raise NotUnderstood("takes all dimensions as one")
    return call.made(Scan(x.order[axis], label=call.op.lower()), x.tensor, order=x.order)


@translates("ops", "Sort Argsort")
def _sort(call: KerasCall) -> Placed:
    """Each output reads all along the axis."""
    x, axis = call.first, call.setting("axis")
    if axis is None:
        raise NotUnderstood("takes all dimensions as one")
    return call.made(Mix((x.order[axis],), "sort"), x.tensor, order=x.order)


@translates("ops", "Matmul")
def _matmul(call: KerasCall) -> Placed:
    """Output `(i, j)` reads row `i` of the first operand and column `j` of the second."""
    left, right = call["x1"], call["x2"]
    if isinstance(right, Held) and len(right.shape) == 2 and isinstance(left, Placed):
        x = call.plain(left)
        op = call.linear(x, right.shape[1], right, columns=True)
        return call.made(op, x, params=right.params)
    a, b = call.plain(left), call.plain(right)
    rank = len(a.shape) - 2
    if rank < 0 or len(b.shape) != len(a.shape) or a.shape[:rank] != b.shape[:rank]:
        raise NotUnderstood("multiplies matrices whose batches differ")
    lead = _LETTERS[:rank]
    return call.made(Contract(f"{lead}xy,{lead}yz->{lead}xz"), a, b)


@translates("ops", "Einsum")
def _einsum(call: KerasCall) -> Placed:
    """Letters of the result are aligned; along all others each output reads everything."""
    equation = str(call.setting("subscripts")).replace(" ", "")
    (values,) = list(call.arguments.values())[:1]
    operands = [call.plain(value) for value in values]
    shapes = [operand.shape for operand in operands]
    terms, result = terms_of(equation, [len(shape) for shape in shapes], _CAPITALS)
    if any(len(set(term)) != len(term) for term in (*terms, result)):
        raise NotUnderstood(f"einsum {equation} takes a diagonal")
    if sizes_of(terms, shapes) is None or len(operands) > 2:
        raise NotUnderstood(f"einsum {equation} broadcasts inside a product, or has three operands")
    if len(operands) == 2:
        return call.made(Contract(f"{terms[0]},{terms[1]}->{result}"), *operands)
    (out,), (term,) = operands, terms
    gone = tuple(i for i, letter in enumerate(term) if letter not in result)
    if gone:
        out = call.step(Reduce(gone, label="sum"), out)
        term = "".join(letter for letter in term if letter in result)
    return call.made(Permute(tuple(term.index(letter) for letter in result)), out)


def _only_back(mask: Any) -> bool:
    """Whether a mask lets each query read the steps up to its own; False where there is no mask."""
    if mask is None:
        return False
    if not isinstance(mask, Held) or mask.load is None or prod(mask.shape) > MOST_LOOKED_AT:
        raise NotUnderstood("masks by numbers that are not at hand")
    found = np.asarray(mask.load()).astype(bool)
    if found.all():
        return False
    if not (found == np.tril(np.ones(found.shape[-2:], bool))).all():
        raise NotUnderstood("masks by numbers of its own (a window, blocks), and is not followed")
    return True


@translates("ops", "DotProductAttention")
def _attention(call: KerasCall) -> Placed:
    """Each query reads all keys and values; heads stand before the last dimension."""
    operands = [call["query"], call["key"], call["value"]]
    if not all(isinstance(x, Placed) and len(x.order) == 4 for x in operands):
        raise NotUnderstood("attends to what is no batch of steps and heads")
    mask = call["mask"]
    if isinstance(mask, Placed) or isinstance(call["bias"], Placed):
        raise NotUnderstood("masks by data")
    heads = operands[0].shape[2]
    parts = []
    for x in operands:
        tensor = call.turned(x, (0, 2, 1, 3))
        if x.shape[2] != heads:
            raise NotUnderstood("shares keys between heads")
        parts.append(tensor)
    causal = bool(call.setting("is_causal")) or _only_back(mask)
    return call.made(Attention(causal), *parts, order=(0, 2, 1, 3))
