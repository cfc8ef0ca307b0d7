"""Rules of what slides along an axis: convolutions, pools, resampling, padding, crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import prod

from atrous.errors import GeometryError, NetworkError
from atrous.geometry import (
    AxisMap,
    Border,
    Box,
    Local,
    Reads,
    Window,
    adaptive,
    kept_taps,
    resample,
)
from atrous.network.layout import (
    ROWS,
    Dim,
    Layout,
    Seam,
    Unrepresentable,
    along,
    chained,
    channels,
    contracted,
    dim_size,
    grid_of,
    has_axes,
    laid_end_to_end,
    merged,
    reshape,
    taken_out,
)
from atrous.network.ops import (
    AdaptivePool,
    Conv,
    ConvTranspose,
    Pad,
    PadMode,
    Pool,
    Resize,
    Shuffle,
    Slice,
    Unfold,
    Windows,
)
from atrous.network.records import Tensor
from atrous.network.table import Effect, mixes_of, rule
from atrous.shown import how_many

_BORDERS: dict[PadMode, Border] = {
    "constant": "drop",
    "reflect": "reflect",
    "replicate": "clamp",
    "circular": "wrap",
}

window_reads = lru_cache(maxsize=4096)(Reads.window)
transposed_reads = lru_cache(maxsize=4096)(Reads.transposed)


@rule(Conv)
def _conv(op: Conv, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.windows)
    channel = _channel_dim(x, rank)
    _check_groups(x, channel, op.channels, op.groups)
    before, gathered = _mix_channels(x.layout, channel)
    lengths = [
        w.output_length(dim_size(d)) for w, d in zip(op.windows, before[-rank:], strict=True)
    ]
    moves = []
    for part in op.parts:
        layout, maps = _slide(before, op.windows, lengths, _BORDERS[op.padding_mode], part)
        moves.append(chained(gathered, maps, x.grid))
    layout = (*layout[:channel], channels(op.channels), *layout[channel + 1 :])
    return Effect(layout, tuple(moves), mixes=mixes_of(*moves))


@rule(ConvTranspose)
def _conv_transpose(op: ConvTranspose, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.windows)
    channel = _channel_dim(x, rank)
    _check_groups(x, channel, op.channels, op.groups)
    before, gathered = _mix_channels(x.layout, channel)
    extra = op.output_padding or (0,) * rank
    moves = []
    for part in op.parts:

        def reads(index: int, length: int, part: Box = part) -> tuple[Reads, int]:
            window = op.windows[index]
            made = window.transposed_length(length, extra[index])
            return transposed_reads(window, part[index]), made

        layout, maps = _along_axes(before, rank, reads, "drop")
        moves.append(chained(gathered, maps, x.grid))
    layout = (*layout[:channel], channels(op.channels), *layout[channel + 1 :])
    return Effect(layout, tuple(moves), mixes=mixes_of(*moves))


@rule(Pool)
def _pool(op: Pool, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.windows)
    lengths = [
        w.output_length(dim_size(d), op.ceil)
        for w, d in zip(op.windows, x.layout[-rank:], strict=True)
    ]
    last = x.layout[-1]
    if rank == 1 and len(last) > 1 and has_axes(last) and _is_block(op.windows[0], dim_size(last)):
        # Blocks laid end to end along flattened positions: cut them out, then pool each.
        blocks = (*x.shape[:-1], lengths[0], op.windows[0].kernel)
        layout, maps = contracted(reshape(x.layout, blocks), [len(blocks) - 1])
        return Effect(layout[:-1], (maps,), mixes=mixes_of(maps))
    layout, maps = _slide(x.layout, op.windows, lengths, "drop")
    return Effect(layout, (maps,), mixes=mixes_of(maps))


def _is_block(window: Window, length: int) -> bool:
    plain = window.dilation == 1 and not window.pad_lo and not window.pad_hi
    return plain and window.kernel == window.stride and length % window.kernel == 0


@rule(AdaptivePool)
def _adaptive_pool(op: AdaptivePool, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.sizes)
    everything = [i - rank + len(x.layout) for i, size in enumerate(op.sizes) if size == 1]
    layout, maps = contracted(x.layout, everything)

    def reads(index: int, length: int) -> tuple[Reads, int]:
        size = op.sizes[index]
        return (adaptive(length, size) if size > 1 else Reads.identity()), size

    layout, pooled = _along_axes(layout, rank, reads, "drop")
    moves = chained(maps, pooled, x.grid)
    return Effect(layout, (moves,), mixes=mixes_of(moves))


@rule(Resize)
def _resize(op: Resize, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.sizes)
    scales = op.scales or (None,) * rank

    def reads(index: int, length: int) -> tuple[Reads, int]:
        size = op.sizes[index]
        return (
            resample(
                length,
                size,
                op.how,
                op.coordinates,
                scale=scales[index],
                rounding=op.rounding,
                antialias=op.antialias,
            ),
            size,
        )

    border: Border = "drop" if op.antialias else "clamp"
    layout, maps = _along_axes(x.layout, rank, reads, border)
    return Effect(layout, (maps,), mixes=mixes_of(maps))


@rule(Pad)
def _pad(op: Pad, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    as_rows = _padded_rows(op, x)
    if as_rows is not None:
        return as_rows

    def reads(index: int, length: int) -> tuple[Reads, int]:
        lo, hi = op.pads[index]
        if length + lo + hi < 0:
            raise GeometryError(
                f"padding {lo}+{hi} crops more than the {how_many(length, 'position')} there are."
            )
        if op.mode == "circular" and lo * hi < 0:
            raise Unrepresentable("crops and wraps round in one step")
        turns = op.phases[index] if op.phases else 1
        if op.mode == "reflect" and max(lo, hi) // turns >= length // turns:
            raise GeometryError(
                f"reflect padding {lo}+{hi} needs more than "
                f"{how_many(max(lo, hi), 'position')}, got {length}; "
                "pad by less or replicate."
            )
        return window_reads(Window(1, pad_lo=lo)), length + lo + hi

    layout, maps = _along_axes(x.layout, len(op.pads), reads, _BORDERS[op.mode])
    if op.phases:
        dims = x.layout[len(x.layout) - len(op.pads) :]
        for dim, turns in zip(dims, op.phases, strict=True):
            step = maps.get(str(dim[0].axis)) if len(dim) == 1 else None
            if isinstance(step, Local):
                maps[str(dim[0].axis)] = replace(step, phases=turns)
            elif turns > 1 and step is not None:
                raise Unrepresentable("pads phases along a dimension that holds a part of an axis")
    return Effect(layout, (maps,))


def _padded_rows(op: Pad, x: Tensor) -> Effect | None:
    """Constant rows before and behind flattened positions, as a token beside those of a map.

    None where that is not what is padded.
    """
    padded = [i for i, pads in enumerate(op.pads) if pads != (0, 0)]
    if op.mode != "constant" or op.phases or len(padded) != 1 or min(op.pads[padded[0]]) < 0:
        return None
    place = len(x.layout) - len(op.pads) + padded[0]
    dim = x.layout[place]
    held = grid_of((dim,))
    if len(held) < 2 or any(x.grid[axis] != length for axis, length in held.items()):
        return None
    lo, hi = op.pads[padded[0]]
    parts = [channels(lo), dim, channels(hi)]
    sizes = [lo, 1, hi]
    kept = [part for part, size in zip(parts, sizes, strict=True) if size]
    rest = (*x.layout[:place], (), *x.layout[place + 1 :])
    rows, places = laid_end_to_end(kept, [x.grid if part is dim else {} for part in kept], rest)
    seam = places[kept.index(dim)]
    if isinstance(seam, int):
        return None
    layout = (*x.layout[:place], rows, *x.layout[place + 1 :])
    return Effect(layout, ({},), seams=(seam,))


@rule(Shuffle)
def _shuffle(op: Shuffle, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.factors)
    channel = _channel_dim(x, rank)
    if has_axes(x.layout[channel]):
        raise Unrepresentable("shuffles channels that hold positions")
    total = prod(op.factors)
    held = dim_size(x.layout[channel])
    if not op.down and held % total:
        raise NetworkError(
            f"{how_many(held, 'channel')} cannot be shuffled to "
            f"{'x'.join(map(str, op.factors))} positions "
            f"each; use a multiple of {total}."
        )

    def reads(index: int, length: int) -> tuple[Reads, int]:
        factor = op.factors[index]
        if not op.down:
            return transposed_reads(Window(factor, stride=factor)), length * factor
        if length % factor:
            raise NetworkError(
                f"{how_many(length, 'position')} cannot be folded by {factor}; use a "
                f"multiple of {factor}."
            )
        return window_reads(Window(factor, stride=factor)), length // factor

    layout, maps = _along_axes(x.layout, rank, reads, "drop")
    after = held * total if op.down else held // total
    layout = (*layout[:channel], channels(after), *layout[channel + 1 :])
    return Effect(layout, (maps,))


@rule(Unfold)
def _unfold(op: Unfold, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.windows)
    channel = _channel_dim(x, rank)
    held = dim_size(x.layout[channel])
    layout, gathered = _mix_channels(x.layout, channel)
    lengths = [
        w.output_length(dim_size(d)) for w, d in zip(op.windows, layout[-rank:], strict=True)
    ]
    layout, maps = _slide(layout, op.windows, lengths, "drop")
    taps = prod(op.kernel)
    positions = merged(atom for dim in layout[-rank:] for atom in dim)
    layout = (*layout[:channel], channels(held * taps), positions)
    moves = chained(gathered, maps, x.grid)
    return Effect(layout, (moves,), mixes=mixes_of(moves))


@rule(Windows)
def _windows(op: Windows, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    count = op.window.output_length(x.shape[op.dim])
    if count < 1:
        raise GeometryError(
            f"leaves {how_many(count, 'window')} of {how_many(x.shape[op.dim], 'input')}."
        )
    ((kept,),) = kept_taps((op.window.kernel,), op.unread)
    layout, maps = along(x.layout, op.dim, window_reads(op.window, kept), count, "drop")
    return Effect((*layout, channels(op.window.kernel)), (maps,), alias=True, mixes=mixes_of(maps))


@rule(Slice)
def _slice(op: Slice, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    dim = x.layout[op.dim]
    held = dim_size(dim)
    if op.start < 0 or op.length < 0 or op.start + (op.length - 1) * op.step >= max(held, 1):
        raise NetworkError(
            f"slice {op.start}:{op.start + op.length * op.step}:{op.step} leaves a dimension of "
            f"{held}."
        )
    layout: Layout = x.layout
    maps: dict[str, AxisMap] = {}
    part = taken_out(dim, op.start, op.length) if op.step == 1 and op.length < held else None
    rest = grid_of((*x.layout[: op.dim], *x.layout[op.dim + 1 :]))
    if part is not None and not grid_of((part,)).keys() & rest.keys():
        return _part(op, x, part)
    if op.length != held or op.step != 1:
        reads = window_reads(Window(1, stride=op.step, pad_lo=-op.start))
        layout, maps = along(layout, op.dim, reads, op.length, "drop")
    if op.drop:
        layout = (*layout[: op.dim], *layout[op.dim + 1 :])
    return Effect(layout, (maps,), alias=True)


def _part(op: Slice, x: Tensor, part: Dim) -> Effect:
    """Whole parts of those laid end to end: one of them is what it was before."""
    kept = () if op.drop else (part,)
    layout = (*x.layout[: op.dim], *kept, *x.layout[op.dim + 1 :])
    if ROWS in grid_of((part,)):
        shift = window_reads(Window(1, pad_lo=-op.start))
        maps: dict[str, AxisMap] = {ROWS: Local(shift, x.shape[op.dim], op.length)}
        return Effect(layout, (maps,), alias=True)
    return Effect(layout, ({},), alias=True, seams=(Seam(op.start, part, out=True),))


def _channel_dim(x: Tensor, rank: int) -> int:
    index = len(x.layout) - rank - 1
    if index < 0:
        raise NetworkError(
            f"{how_many(rank, 'spatial dimension')} need an input of at least "
            f"{how_many(rank + 1, 'dimension')}, "
            f"got {x.shape}."
        )
    return index


def _check_groups(x: Tensor, channel: int, made: int, groups: int) -> int:
    taken = x.shape[channel]
    if groups < 1 or taken % groups or made % groups:
        raise NetworkError(
            f"{taken} input and {made} output channels do not divide into "
            f"{how_many(groups, 'group')}."
        )
    return taken


def _mix_channels(layout: Layout, channel: int) -> tuple[Layout, dict[str, AxisMap]]:
    if not has_axes(layout[channel]):
        return layout, {}
    out, maps = contracted(layout, [channel])
    return out, maps


def _slide(
    layout: Layout,
    windows: tuple[Window, ...],
    lengths: list[int],
    border: Border,
    kept: Box | None = None,
) -> tuple[Layout, dict[str, AxisMap]]:
    for dim, outputs in zip(layout[-len(windows) :], lengths, strict=True):
        if outputs < 1:
            raise GeometryError(
                f"leaves {how_many(outputs, 'output')} of "
                f"{how_many(dim_size(dim), 'input')}; pad more."
            )

    def reads(index: int, _length: int) -> tuple[Reads, int]:
        taps = kept[index] if kept else None
        return window_reads(windows[index], taps), lengths[index]

    return _along_axes(layout, len(windows), reads, border)


def _along_axes(
    layout: Layout, rank: int, reads: Callable[[int, int], tuple[Reads, int]], border: Border
) -> tuple[Layout, dict[str, AxisMap]]:
    maps: dict[str, AxisMap] = {}
    for i in range(rank):
        index = i - rank + len(layout)
        length = dim_size(layout[index])
        rule_of_axis, outputs = reads(i, length)
        if rule_of_axis.is_identity and outputs == length:
            continue
        layout, moved = along(layout, index, rule_of_axis, outputs, border)
        for axis, axis_map in moved.items():
            if axis in maps:
                raise Unrepresentable(f"works along two dimensions that hold parts of {axis}")
            maps[axis] = axis_map
    return layout, maps
