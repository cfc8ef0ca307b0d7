"""Parts of one map laid end to end: the padding, rolling or cutting that they spell."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.geometry import Border
from atrous.geometry.axis import fold_back
from atrous.network import Tensor
from atrous.network.layout import has_axes
from atrous.network.ops import Expand, Op, Pad, PadMode, Pick, Repeat, Roll, Slice
from atrous.readers.jax.call import JaxCall
from atrous.readers.placed import Order, Placed

__all__ = ["laid_around"]

MOST_PLACES = 1 << 16
_SPELLED: dict[PadMode, Border] = {"reflect": "reflect", "replicate": "clamp"}


def laid_around(call: JaxCall, parts: Sequence[Tensor], dim: int, order: Order) -> Placed | None:
    """One op in place of a join of parts of one map along a dimension; None for other parts.

    `jax.numpy` spells padding that reflects, repeats or wraps so, and rolls.
    """
    if len({part.itemsize for part in parts}) > 1 or not has_axes(parts[0].layout[dim]):
        return None
    if sum(part.shape[dim] for part in parts) > MOST_PLACES:
        return None
    cuts = [_places_of(call, part, dim) for part in parts]
    for name, (whole, _) in cuts[0].items():
        if all(name in found for found in cuts):
            places = [place for found in cuts for place in found[name][1]]
            call.rewritten = True
            op = _op(places, whole.shape[dim], dim, len(whole.shape))
            return call.made(op, whole, order=order)
    return None


def _places_of(call: JaxCall, part: Tensor, dim: int) -> dict[str, tuple[Tensor, list[int]]]:
    """The tensors that a part is cut out of along a dimension, each with the indices it holds."""
    places = list(range(part.shape[dim]))
    found = {part.name: (part, places)}
    while (node := call.builder.maker(part)) is not None and len(node.inputs) == 1:
        op = node.op
        if isinstance(op, Slice) and op.dim == dim and not op.drop:
            places = [op.start + op.step * place for place in places]
        elif isinstance(op, Pick) and op.dim == dim:
            places = [op.places[place] for place in places]
        elif isinstance(op, Repeat) and op.dim == dim:
            size = _tensor(call, node.inputs[0]).shape[dim]
            places = [place // op.times if op.each else place % size for place in places]
        elif isinstance(op, Expand):
            before = _tensor(call, node.inputs[0])
            sizes = zip(before.shape, op.shape, strict=False)
            if len(before.shape) != len(op.shape) or any(
                one != other for i, (one, other) in enumerate(sizes) if i != dim
            ):
                break
            places = [0] * len(places)
        else:
            break
        part = _tensor(call, node.inputs[0])
        found[part.name] = (part, places)
    return found


def _tensor(call: JaxCall, name: str) -> Tensor:
    node = call.builder.maker(name)
    if node is not None:
        return node.output
    return next(tensor for tensor in call.builder.inputs if tensor.name == name)


def _op(places: Sequence[int], size: int, dim: int, rank: int) -> Op:
    """The op that reads these indices of a dimension of that size, in this order."""
    count, first = len(places), places[0]
    if list(places) == list(range(first, first + count)):
        return Slice(dim, first, count)
    if all(place == (first + index) % size for index, place in enumerate(places)):
        if count == size:
            return Roll(dim, -first)
        lo = -first % size
        if count >= size + lo:
            return _pad(lo, count - size - lo, "circular", dim, rank)
    for lo in range(count - size + 1):
        hi = count - size - lo
        if list(places[lo : lo + size]) != list(range(size)):
            continue
        for mode, border in _SPELLED.items():
            place = fold_back(border, size)
            fits = mode != "reflect" or max(lo, hi) < size
            if fits and list(places) == [place(at) for at in range(-lo, size + hi)]:
                return _pad(lo, hi, mode, dim, rank)
    return Pick(dim, tuple(places))


def _pad(lo: int, hi: int, mode: PadMode, dim: int, rank: int) -> Pad:
    return Pad(((lo, hi), *((0, 0),) * (rank - dim - 1)), mode)
