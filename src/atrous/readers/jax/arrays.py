"""What moves elements without computing: reshapes, broadcasts, joins, turns, parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from atrous.network import Tensor
from atrous.network.ops import Concat, Elementwise, Pad, Repeat, Reshape
from atrous.readers.call import NotUnderstood
from atrous.readers.jax.around import laid_around
from atrous.readers.jax.call import JaxCall, Wide, translates
from atrous.readers.jax.windows import cut
from atrous.readers.placed import Held, Order, Placed

__all__ = ["laid_over"]


@translates("reshape", broadcasting=True)
def _reshape(call: JaxCall) -> Placed:
    """The same elements in the order that JAX has them, under a new shape.

    A new dimension beside another, merged with it, repeats it.
    """
    x = call.first
    if isinstance(x, Wide):
        repeated = _repeat_spelled(call, x)
        if repeated is not None:
            return repeated
    return _under(call)


def _repeat_spelled(call: JaxCall, x: Wide) -> Placed | None:
    """Each index so many times, or the whole so many times, where a broadcast spells that."""
    new = [dim for dim in range(len(x.full)) if dim not in x.dims]
    if x.before is None or len(new) != 1 or x.full[new[0]] == 1:
        return None
    (at,), sizes = new, x.before.shape
    if sizes != tuple(x.full[dim] for dim in x.dims):
        return None
    for dim, each in ((at - 1, True), (at, False)):
        if 0 <= dim < len(sizes):
            times = x.full[at]
            if call.shape == (*sizes[:dim], sizes[dim] * times, *sizes[dim + 1 :]):
                op = Repeat(x.before.order[dim], times, each)
                call.rewritten = True
                return call.made(op, x.before.tensor, order=x.before.order)
    return None


@translates("squeeze expand_dims")
def _one_more(call: JaxCall) -> Placed:
    """Dimensions of one, gone or new."""
    return _under(call)


def _under(call: JaxCall) -> Placed:
    """The same elements under the new shape."""
    x: Placed = call.settled(call.first)
    if call.setting("dimensions") is not None and call.op == "reshape":
        raise NotUnderstood("reshapes in another order of dimensions")
    if x.shape == call.shape:
        return x
    tensor = call.plain(x)
    maker = call.builder.maker(tensor)
    if maker is not None and isinstance(maker.op, Reshape):
        before = call.builder.maker(maker.inputs[0])
        if before is not None and before.output.shape == call.shape:
            call.rewritten = True
            return Placed.plain(before.output)  # there and back
    return call.made(Reshape(call.shape), tensor)


@translates("transpose")
def _transpose(call: JaxCall) -> Placed:
    """The same tensor, whose dimensions stand elsewhere."""
    x = call.first
    return Placed(x.tensor, tuple(x.order[dim] for dim in call.setting("permutation")))


@translates("broadcast_in_dim")
def _broadcast(call: JaxCall) -> Placed:
    """Each dimension of one at every place of the new shape, and new dimensions."""
    before, dims = call.first, tuple(call.setting("broadcast_dimensions"))
    x = before
    shape = tuple(call.setting("shape"))
    grown = [1] * len(shape)
    for dim, size in zip(dims, x.shape, strict=True):
        grown[dim] = size
    if dims != tuple(range(len(shape))):
        x = Placed.plain(call.step(Reshape(tuple(grown)), call.plain(x)))
    return Wide(x.tensor, x.order, shape, before, dims) if x.shape != shape else x


@translates("concatenate")
def _concatenate(call: JaxCall) -> Placed:
    """Operand `p` is read at `o` minus the sizes before it along the dimension."""
    values = list(call.arguments.values())
    return joined_end_to_end(call, values, call.setting("dimension"))


def joined_end_to_end(
    call: JaxCall, values: Sequence[Any], dimension: int, out: int | None = 0
) -> Placed:
    """Tensors and constants laid end to end along a dimension, as the framework counts it."""
    values = [value for value in values if value.shape[dimension]]
    plain = tuple(range(len(call.shape)))
    placed = [value for value in values if isinstance(value, Placed)]
    order = next((value.order for value in placed if value.order != plain), plain)
    parts: list[Tensor] = []
    for value in values:
        whole = Placed.plain(call.constant(value)) if isinstance(value, Held) else value
        parts.append(call.turned(whole, order))
    if len(parts) == 1:
        return Placed(parts[0], order)
    dim = order[dimension]
    if out is not None and len(placed) == len(values):
        spelled = laid_around(call, parts, dim, order)
        if spelled is not None:
            return spelled
    return call.made(Concat(dim), *parts, order=order, out=out)


@translates("stack")
def _stack(call: JaxCall) -> Placed:
    """Operand `p` is read at `p` along the axis, which is new."""
    axis, parts = call.setting("axis"), []
    for value in call.arguments.values():
        tensor = call.plain(value)
        parts.append(call.step(Reshape((*tensor.shape[:axis], 1, *tensor.shape[axis:])), tensor))
    return call.made(Concat(axis), *parts) if len(parts) > 1 else Placed.plain(parts[0])


@translates("unstack")
def _unstack(call: JaxCall) -> list[Placed]:
    return call.pieces(call.first, call.setting("axis"))


@translates("rev")
def _reverse(call: JaxCall) -> Placed:
    """Output `o` reads from the end along the dimensions."""
    x = call.first
    tensor = x.tensor
    for dim in call.setting("dimensions"):
        place = x.order[dim]
        if tensor.shape[place] > 1:
            tensor = call.picked(tensor, place, range(tensor.shape[place])[::-1], out=None)
    return Placed(tensor, x.order)


@translates("split")
def _split(call: JaxCall) -> list[Placed]:
    """Piece `p` reads `o` plus the sizes before it along the axis."""
    x, axis, sizes = call.first, call.setting("axis"), call.setting("sizes")
    made = []
    for start, size in zip(accumulate(sizes, initial=0), sizes, strict=False):
        starts, lengths = [0] * len(x.order), list(x.shape)
        starts[axis], lengths[axis] = start, size
        made.append(cut(call, x, starts, lengths, [1] * len(x.order)))
    return made


@translates("tile")
def _tile(call: JaxCall) -> Placed:
    """The tensor laid out so many times along each dimension."""
    x = call.first
    tensor = x.tensor
    for dim, times in enumerate(call.setting("reps")):
        if times > 1:
            tensor = call.step(Repeat(x.order[dim], times), tensor)
    return Placed(tensor, x.order)


@translates("dynamic_slice")
def _dynamic_slice(call: JaxCall) -> Placed:
    """A part that starts where constants say, moved back inside where it would overhang."""
    x, lengths = call.first, tuple(call.setting("slice_sizes"))
    starts = _starts(call, 1, x.shape, lengths)
    return cut(call, x, starts, lengths, [1] * len(lengths))


@translates("dynamic_update_slice")
def _dynamic_update(call: JaxCall) -> Placed:
    """The second operand over a part of the first, where constants say."""
    x, part = call[0], call[1]
    starts = _starts(call, 2, x.shape, part.shape)
    return laid_over(call, x, part, starts)


def _starts(
    call: JaxCall, first: int, sizes: Sequence[int], lengths: Sequence[int]
) -> tuple[int, ...]:
    given = [int(call.numbers(first + dim)) for dim in range(len(sizes))]
    axes = zip(given, sizes, lengths, strict=True)
    return tuple(min(max(start, 0), size - length) for start, size, length in axes)


def laid_over(call: JaxCall, x: Any, part: Any, starts: Sequence[int]) -> Placed:
    """`part` in the place of what `x` has from `starts` on; either may be a constant.

    The pieces around the part, and the part, each padded to the whole, are added up.
    """
    call.rewritten = True  # where the part covers all of it, nothing of it is read
    sizes, lengths = x.shape, part.shape
    order = next(v.order for v in (x, part) if isinstance(v, Placed))
    pieces: list[Tensor] = []
    if isinstance(x, Placed):
        first, counts = [0] * len(sizes), list(sizes)
        for dim, (size, length, start) in enumerate(zip(sizes, lengths, starts, strict=True)):
            for at, count in ((0, start), (start + length, size - start - length)):
                if count:
                    begin = [*first[:dim], at, *first[dim + 1 :]]
                    wide = [*counts[:dim], count, *counts[dim + 1 :]]
                    piece = cut(call, x, begin, wide, [1] * len(sizes))
                    pieces.append(_among_zeros(call, piece, order, begin, sizes))
            first[dim], counts[dim] = start, length
    if isinstance(part, Placed):
        pieces.append(_among_zeros(call, part, order, starts, sizes))
    if not pieces:
        return Placed.plain(call.constant(Held(tuple(sizes))))
    params = call.params()
    return call.made(Elementwise("update"), *pieces, order=order, params=params)


def _among_zeros(
    call: JaxCall, piece: Placed, order: Order, begin: Sequence[int], sizes: Sequence[int]
) -> Tensor:
    """A piece in its place among zeros, stored in an order."""
    pads = [(0, 0)] * len(sizes)
    for dim, (first, count, size) in enumerate(zip(begin, piece.shape, sizes, strict=True)):
        pads[order[dim]] = (first, size - first - count)
    return call.step(Pad(tuple(pads)), call.turned(piece, order))
