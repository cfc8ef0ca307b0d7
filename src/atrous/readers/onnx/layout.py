"""ONNX operators that move elements without computing, in the terms of the op table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

from atrous.errors import ReadError
from atrous.network.layout import has_axes
from atrous.network.ops import (
    Concat,
    Permute,
    Repeat,
    Reshape,
    Slice,
)
from atrous.network.ops import Expand as ExpandOp
from atrous.network.records import Tensor
from atrous.readers.call import NotUnderstood, params_behind
from atrous.readers.onnx.call import OnnxCall, Result, translates
from atrous.readers.onnx.values import Const, Live, broadcast, checked
from atrous.shown import how_many

__all__: list[str] = []

# Parts laid end to end are followed position by position.
_MOST_JOINED = 1 << 20


@translates("Reshape")
def _reshape(call: OnnxCall) -> Tensor:
    """The same elements in the same order."""
    x = call.tensor(0)
    wanted = call.integers_since("shape", 1, 5)
    if wanted is None:
        raise ReadError("Reshape needs a shape.")
    return call.emit(Reshape(_resolved(x.shape, wanted, bool(call.integer("allowzero")))), x)


def _resolved(have: tuple[int, ...], wanted: Sequence[int], zeros: bool) -> tuple[int, ...]:
    """The shape that is meant: 0 keeps a size, -1 takes what is left."""
    sizes = []
    for i, size in enumerate(wanted[:65]):
        if size == 0 and not zeros:
            if i >= len(have):
                raise ReadError(f"copies dimension {i} of {have}, which has {len(have)}.")
            size = have[i]
        sizes.append(size)
    if min(sizes, default=1) < -1 or sizes.count(-1) > 1:
        raise ReadError(f"{tuple(wanted[:8])} is no shape: at most one -1, nothing below.")
    rest = prod(size for size in sizes if size != -1)
    total = prod(have)
    if -1 in sizes:
        if not rest or total % rest:
            raise ReadError(f"{have} cannot be reshaped to {tuple(sizes)}: the sizes differ.")
        sizes[sizes.index(-1)] = total // rest
    return checked(sizes, "its output")


@translates("Flatten")
def _flatten(call: OnnxCall) -> Tensor:
    """The same elements in two dimensions: those before `axis`, and those from it on."""
    x = call.tensor(0)
    axis = call.integer("axis", 1)
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        raise ReadError(f"dimension {axis} does not exist; the tensor has {rank}.")
    axis = axis + rank if axis < 0 else axis
    return call.emit(Reshape((prod(x.shape[:axis]), prod(x.shape[axis:]))), x)


@translates("Squeeze")
def _squeeze(call: OnnxCall) -> Tensor:
    """The same elements without `axes`, or without all dimensions of size 1."""
    x = call.tensor(0)
    rank = len(x.shape)
    given = call.integers_since("axes", 1, 13)
    axes = call.axes(given, rank) if given is not None else None
    gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else list(axes)
    for axis in gone:
        if x.shape[axis] != 1:
            raise ReadError(
                f"squeezes dimension {axis}, which has {how_many(x.shape[axis], 'index')}."
            )
    return call.emit(Reshape(tuple(n for i, n in enumerate(x.shape) if i not in gone)), x)


@translates("Unsqueeze")
def _unsqueeze(call: OnnxCall) -> Tensor:
    """The same elements with a dimension of size 1 at each of `axes`."""
    x = call.tensor(0)
    axes = call.integers_since("axes", 1, 13)
    if axes is None or len(axes) > 64:
        raise ReadError("Unsqueeze needs axes, at most 64.")
    rank = len(x.shape) + len(axes)
    new = {call.axis(axis, rank) for axis in axes}
    if len(new) != len(axes):
        raise ReadError(f"names one axis twice: {axes}.")
    sizes = iter(x.shape)
    return call.emit(Reshape(tuple(1 if i in new else next(sizes) for i in range(rank))), x)


@translates("Transpose")
def _transpose(call: OnnxCall) -> Tensor:
    """Dimension `i` is `perm[i]` of the input; left out, they are reversed."""
    x = call.tensor(0)
    order = call.integers("perm") or tuple(reversed(range(len(x.shape))))
    return call.emit(Permute(order), x)


@translates("Expand")
def _expand(call: OnnxCall) -> Tensor:
    """Output `o` reads `o`, and the only index where a size of 1 is widened."""
    x = call.tensor(0)
    wanted = call.integers_at(1, "shape")
    if wanted is None:
        raise ReadError("Expand needs a shape.")
    target = checked(broadcast(x.shape, checked(wanted, "its output")), "its output")
    return call.emit(ExpandOp(target), x)


@translates("Tile")
def _tile(call: OnnxCall) -> Tensor:
    """Output `o` reads `o` modulo the size along each dimension."""
    x = call.tensor(0)
    repeats = call.integers_at(1, "repeats")
    if repeats is None or len(repeats) != len(x.shape) or min(repeats, default=1) < 0:
        raise ReadError(
            f"Tile needs one number of repeats for each of {how_many(len(x.shape), 'dimension')}."
        )
    checked([n * r for n, r in zip(x.shape, repeats, strict=True)], "its output")
    if 0 in repeats:
        raise NotUnderstood("makes an empty tensor")
    return _in_turn(call, x, [Repeat(i, r) for i, r in enumerate(repeats) if r > 1])


def _in_turn(call: OnnxCall, x: Tensor, ops: Sequence[Repeat | Slice]) -> Tensor:
    """One op after the other, the last of them for the output; without any, `x` itself."""
    if not ops:
        return x
    for op in ops[:-1]:
        x = call.step(op, x)
    return call.emit(ops[-1], x)


@translates("Slice")
def _slice(call: OnnxCall) -> Tensor:
    """Output `o` reads `start + step * o` along each of `axes`; a step below 0 goes backwards."""
    x = call.tensor(0)
    rank = len(x.shape)
    if call.version < 10:
        starts, ends, axes = call.integers("starts"), call.integers("ends"), call.integers("axes")
        steps = None
    else:
        starts, ends = call.integers_at(1, "starts"), call.integers_at(2, "ends")
        axes, steps = call.integers_at(3, "axes"), call.integers_at(4, "steps")
    if starts is None or ends is None or len(starts) > rank:
        raise ReadError("Slice needs starts and ends, at most one for each dimension.")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ReadError("Slice has starts, ends, axes and steps of different lengths.")
    ops: list[Slice] = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        dim = call.axis(axis, rank)
        if step == 0:
            raise ReadError("a slice's step is 0.")
        taken = range(x.shape[dim])[start:end:step]
        if not taken:
            raise NotUnderstood("makes an empty tensor")
        if step < 0 and len(taken) > 1:
            x = call.picked(x, dim, taken, out=None)
        elif len(taken) < x.shape[dim]:
            ops.append(Slice(dim, taken[0], len(taken), step if len(taken) > 1 else 1))
    return _in_turn(call, x, ops)


@translates("Split")
def _split(call: OnnxCall) -> list[Result]:
    """Piece `p` reads `o` plus the sizes before it along `axis`."""
    x = call.tensor(0)
    dim = call.axis(call.integer("axis"), len(x.shape))
    length, count = x.shape[dim], len(call.used)
    sizes = call.integers_since("split", 1, 13)
    if sizes is None:
        piece = -(-length // max(count, 1))
        sizes = tuple(min(piece, length - piece * i) for i in range(count))
    if len(sizes) != count or sum(sizes) != length or min(sizes) < 0:
        raise ReadError(f"splits {length} into {sizes[:8]} for {how_many(count, 'output')}.")
    made: list[Result] = []
    for index, (start, size) in enumerate(zip(accumulate(sizes, initial=0), sizes, strict=False)):
        if not call.used[index]:
            made.append(None)
        elif size == 0:
            shape = (*x.shape[:dim], 0, *x.shape[dim + 1 :])
            made.append(Const(call.node.output[index], shape, call.dtype(index) or 1))
        else:
            made.append(call.emit(Slice(dim, start, size), x, out=index))
    return made


@translates("Concat")
def _concat(call: OnnxCall) -> Tensor:
    """Operand `p` is read at `o` minus the sizes before it along `axis`."""
    parts = [call.value(i) for i in range(len(call.inputs))]
    return concatenated(call, parts, call.integer("axis"))


@translates("QLinearConcat")
def _quantized_concat(call: OnnxCall) -> Tensor:
    """Operand `p`, every third input from 2 on, is read as in a concatenation."""
    parts = [call.value(i) for i in range(2, len(call.inputs), 3)]
    return concatenated(call, parts, call.integer("axis"))


def concatenated(call: OnnxCall, parts: Sequence[Const | Live], axis: int) -> Tensor:
    """The parts end to end; constants become nodes, unless they are empty."""
    dim = call.axis(axis, len(parts[0].shape))
    for part in parts:
        if len(part.shape) != len(parts[0].shape):
            raise ReadError("joins tensors of different rank end to end.")
    parts = [part for part in parts if part.shape[dim]]
    along = [part for part in parts if isinstance(part, Live) and has_axes(part.tensor.layout[dim])]
    total = sum(part.shape[dim] for part in parts)
    if len(along) > 1 and total > _MOST_JOINED:
        raise NotUnderstood(f"joins {total:,} positions end to end, more than are followed")
    tensors = [call.materialized(part) for part in parts]
    padded = call.padded(tensors, dim) if len(along) == len(parts) else None
    if padded is not None:
        return padded
    return call.emit(Concat(dim), *tensors, params=params_behind(parts))
