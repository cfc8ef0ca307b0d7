"""Rules of what computes: elementwise ops and joins, linear layers, products, reductions, scans."""

from __future__ import annotations

from atrous.errors import NetworkError
from atrous.geometry import AxisMap, Everything, Local, Prefix, Reads, Window
from atrous.network.alignment import gathered, joined, product_layout
from atrous.network.layout import (
    Layout,
    Unrepresentable,
    channels,
    contracted,
    dim_size,
    has_axes,
    mixed,
    whole_axis,
)
from atrous.network.ops import (
    Attention,
    Contract,
    Elementwise,
    Linear,
    Lookup,
    Mix,
    Reduce,
    Scan,
)
from atrous.network.parts import linear_parts
from atrous.network.records import Tensor
from atrous.network.table import Effect, mixes_of, rule


@rule(Elementwise)
def _elementwise(op: Elementwise, inputs: tuple[Tensor, ...]) -> Effect:
    first = inputs[0].layout
    if all(x.layout == first for x in inputs[1:]):
        return Effect(first, ({},) * len(inputs), alias=op.in_place)
    _check_broadcast(inputs)
    layout, moves = joined([x.layout for x in inputs])
    return Effect(layout, tuple(moves), alias=op.in_place, mixes=mixes_of(*moves))


def _check_broadcast(inputs: tuple[Tensor, ...]) -> None:
    rank = max(len(x.shape) for x in inputs)
    padded = [(1,) * (rank - len(x.shape)) + x.shape for x in inputs]
    for sizes in zip(*padded, strict=True):
        if len(set(sizes) - {1}) > 1:
            shapes = " and ".join(str(x.shape) for x in inputs)
            raise NetworkError(f"{shapes} cannot be joined: {max(sizes)} against {min(sizes)}.")


@rule(Lookup)
def _lookup(op: Lookup, inputs: tuple[Tensor, ...]) -> Effect:
    return Effect((*inputs[0].layout, channels(op.channels)), ({},))


@rule(Linear)
def _linear(op: Linear, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    last = len(x.layout) - 1
    layout, maps = contracted(x.layout, [last])
    layout = (*layout[:last], channels(op.channels))
    parts = linear_parts(op, x) or (maps,)
    return Effect(layout, parts, mixes=mixes_of(*parts))


@rule(Mix)
def _mix(op: Mix, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    maps = mixed(x.layout, op.dims)
    return Effect(x.layout, (maps,), mixes=mixes_of(maps))


@rule(Reduce)
def _reduce(op: Reduce, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    layout, maps = contracted(x.layout, op.dims)
    if not op.keep:
        layout = tuple(dim for i, dim in enumerate(layout) if i not in op.dims)
    return Effect(layout, (maps,), mixes=mixes_of(maps))


@rule(Scan)
def _scan(op: Scan, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    layout: Layout = x.layout
    maps: dict[str, AxisMap] = {}
    last = len(layout) - 1
    if op.channels is not None:
        layout, maps = contracted(layout, [last])
        layout = (*layout[:last], channels(op.channels))
    axis = whole_axis(x.layout[op.dim], x.grid)
    if axis is not None:
        length = x.grid[axis]
        if op.direction == "both":
            maps[axis] = Everything(length, length)
        else:
            maps[axis] = Prefix(length, length, op.direction == "reverse")
    return Effect(layout, (maps,), mixes=mixes_of(maps))


@rule(Attention)
def _attention(op: Attention, inputs: tuple[Tensor, ...]) -> Effect:
    query, key, value = inputs[:3]
    tokens = len(query.layout) - 2
    out: Layout = (*query.layout[:-1], value.layout[-1])
    moves: list[dict[str, AxisMap]] = [{}]
    for operand in (query, key, value):
        if has_axes(operand.layout[-1]):
            raise Unrepresentable("attends over channels that hold positions")
    for operand in (key, value):
        for here, there in zip(operand.layout[:tokens], out, strict=False):
            # A dimension of one attends to all that it is broadcast to; another must line up.
            digits = [[(a.axis, a.size) for a in dim if a.size > 1] for dim in (here, there)]
            if has_axes(here) and dim_size(here) > 1 and digits[0] != digits[1]:
                raise Unrepresentable("attends between tensors with different leading positions")
        moves.append(gathered(out, operand.layout, (*range(tokens), None, None)))
        # Only tokens that are one axis from end to end have an order of their own.
        ordered = op.causal or op.window is not None
        if ordered and operand.layout[tokens] == out[tokens] and len(out[tokens]) == 1:
            axis = out[tokens][0].axis
            length = operand.grid.get(axis or "")
            if axis is not None and length == out[tokens][0].size == query.grid[axis]:
                moves[-1][axis] = _tokens_seen(op, length)
    for mask in inputs[3:]:
        extra = len(out) - len(mask.layout)
        becomes = [i + extra for i in range(len(mask.layout) - 1)]
        moves.append(gathered(out, mask.layout, (*becomes, None)))
    return Effect(out, tuple(moves), mixes=mixes_of(*moves))


def _tokens_seen(op: Attention, length: int) -> AxisMap:
    """Which tokens each one of as many sees."""
    if op.window is None:
        return Prefix(length, length)
    back, ahead = op.window
    window = Window(back + ahead + 1, pad_lo=back, pad_hi=ahead)
    return Local(Reads.window(window), length, length)


@rule(Contract)
def _contract(op: Contract, inputs: tuple[Tensor, ...]) -> Effect:
    left, right = op.equation.split("->")[0].split(",")
    result = op.equation.split("->")[1]
    sizes: dict[str, int] = {}
    for letters, x in zip((left, right), inputs, strict=True):
        if len(letters) != len(x.shape):
            raise NetworkError(f"{op.equation} does not fit shapes {[i.shape for i in inputs]}.")
        for letter, size in zip(letters, x.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise NetworkError(f"{op.equation}: index {letter} is {sizes[letter]} and {size}.")
    layout = product_layout(left, right, result, [x.layout for x in inputs])
    moves = []
    for letters, x in zip((left, right), inputs, strict=True):
        becomes = [result.index(letter) if letter in result else None for letter in letters]
        moves.append(gathered(layout, x.layout, becomes))
    return Effect(layout, tuple(moves), mixes=mixes_of(*moves))
