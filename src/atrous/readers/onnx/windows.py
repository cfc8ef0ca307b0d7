"""ONNX operators that slide, pad or shuffle, in the terms of the op table."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING

from atrous.errors import ReadError
from atrous.geometry import Window, pad
from atrous.network.layout import has_axes
from atrous.network.ops import (
    AdaptivePool,
    Conv,
    ConvTranspose,
    Elementwise,
    Pad,
    PadMode,
    Permute,
    Pool,
    Reshape,
    Shuffle,
)
from atrous.network.records import Tensor
from atrous.readers.call import NotUnderstood
from atrous.readers.onnx.attributes import Attributes
from atrous.readers.onnx.call import OnnxCall, Result, translates
from atrous.readers.onnx.values import Const, Live, Value
from atrous.shown import how_many

if TYPE_CHECKING:
    from atrous.readers.onnx.values import Array

__all__: list[str] = []

# A window's reads are held as bits: what a file may ask for is bounded here.
MAX_EXTENT = 1 << 24
MAX_WORK = 1 << 33
MAX_STRIDE = 1 << 16


def _per_axis(call: Attributes, name: str, rank: int, default: int) -> tuple[int, ...]:
    """An attribute with a number for each axis; the default for all where it is left out."""
    values = call.integers(name)
    if values is None or (not values and rank):
        return (default,) * rank
    if len(values) != rank:
        raise ReadError(
            f"{name} has {how_many(len(values), 'value')} for "
            f"{how_many(rank, 'spatial dimension')}."
        )
    return values


def declared_windows(
    call: Attributes, kernel: Sequence[int], lengths: Sequence[int], pools: bool = False
) -> tuple[Window, ...]:
    """The window that a node declares along each axis; `pads` are all low ones, then all high.

    `SAME_UPPER` and `SAME_LOWER` make `ceil(length / stride)` outputs, the odd pad behind or
    before; of pools see `_pool_pads`.
    """
    rank = len(kernel)
    strides = _per_axis(call, "strides", rank, 1)
    dilations = _per_axis(call, "dilations", rank, 1)
    auto = call.text("auto_pad", "NOTSET") or "NOTSET"
    given = _per_axis(call, "pads", 2 * rank, 0)
    pads = list(zip(given[:rank], given[rank:], strict=True))
    for i, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        bounded(k, d)
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            same = pad("same_upper" if auto == "SAME_UPPER" else "same_lower", k, s, d, lengths[i])
            pads[i] = _pool_pads(auto, k, s, lengths[i]) if pools else same
            if pads[i] != same:
                call.note(
                    f"{auto} is read as ONNX Runtime has it, {pads[i][0]}+{pads[i][1]}; the "
                    f"standard's formula gives {same[0]}+{same[1]}"
                )
        elif auto == "VALID":
            pads[i] = (0, 0)
        elif auto != "NOTSET":
            raise ReadError(f"auto_pad {auto[:40]!r} is not known.")
        _check_pads(*pads[i])
    return Window.of_axes(kernel, strides, dilations, pads)


def _pool_pads(auto: str, kernel: int, stride: int, length: int) -> tuple[int, int]:
    """What ONNX Runtime pads a pool by: its dilation counts for nothing, and a kernel narrower than
    the stride crops.
    """
    total = (-(-length // stride) - 1) * stride + kernel - length
    lo = int((total if auto == "SAME_UPPER" else total + 1) / 2)
    return lo, total - lo


def _check_pads(*pads: int) -> None:
    """Raise `ReadError` for padding that is beyond what is followed."""
    if max(map(abs, pads)) > MAX_EXTENT:
        shown = "+".join(map(str, pads[:2]))
        raise ReadError(f"padding {shown} is beyond the 2**24 positions that are followed.")


def bounded(kernel: int, dilation: int) -> None:
    """Raise `ReadError` for a window too large to be followed."""
    extent = Window(kernel, dilation=dilation).extent
    if extent > MAX_EXTENT or kernel * extent > MAX_WORK:
        raise ReadError(
            f"a window of kernel {kernel}, dilation {dilation} spans "
            f"{how_many(extent, 'position')}; "
            "windows of that size are not followed."
        )


def _spatial_rank(x: Tensor, weight: Const) -> int:
    """How many axes a weight slides along: all dimensions but two."""
    rank = len(weight.shape) - 2
    if rank < 1 or len(x.shape) != rank + 2:
        raise ReadError(f"a weight of shape {weight.shape} does not fit an input of {x.shape}.")
    if min(weight.shape) < 1:
        raise ReadError(f"a weight of shape {weight.shape} holds nothing.")
    return rank


def _check_kernel(call: OnnxCall, kernel: tuple[int, ...]) -> None:
    """Raise `ReadError` where a node declares another kernel than its weight has."""
    declared = call.integers("kernel_shape")
    if declared and declared != kernel:
        raise ReadError(f"kernel_shape says {declared[:8]} and the weight has {kernel}.")


def _convolved(
    call: OnnxCall,
    x: Tensor,
    weight: Const,
    bias: Value | None,
    out: int | None = 0,
    zero: Value | None = None,
    besides: Sequence[Tensor] = (),
) -> Tensor:
    """Output `o` reads `o * stride - pad_lo + dilation * j`, `j < kernel`, along each axis.

    What else is computed from the input (an offset, a zero point) is read whole. `zero` is the
    number that stands for 0 in the weight, where it is another.
    """
    rank = _spatial_rank(x, weight)
    kernel = weight.shape[2:]
    _check_kernel(call, kernel)
    groups = call.integer("group", 1)
    if groups < 1 or weight.shape[1] * groups != x.shape[1]:
        raise ReadError(
            f"a weight of shape {weight.shape} in {how_many(groups, 'group')} reads "
            f"{how_many(weight.shape[1] * groups, 'channel')}, got {x.shape[1]}."
        )
    windows = declared_windows(call, kernel, x.shape[2:])
    unread = _unread(call, weight, zero)
    op = Conv(windows, weight.shape[0], groups, unread=unread)
    assert rank == len(op.windows)
    offset = (bias.tensor,) if isinstance(bias, Live) else ()
    return call.emit(op, x, *offset, *besides, out=out, params=call.stored(weight, bias))


def _unread(call: OnnxCall, weight: Const, zero: Value | None) -> tuple[tuple[int, ...], ...]:
    """The taps at which the weight is 0 for all channels, where they are looked for."""
    if not call.weights:
        return ()
    if zero is not None:
        if not isinstance(zero, Const):
            return ()
        weight = _centred(weight, zero)
    return call.zeros(weight, weight.shape[2:])


def _centred(weight: Const, zero: Const) -> Const:
    """The weight less the number, or those of each filter, that stands for 0."""

    def make() -> Array:
        import numpy as np

        held = zero.numbers().astype(np.int64)
        return weight.numbers().astype(np.int64) - held.reshape(-1, *[1] * (len(weight.shape) - 1))

    return Const(weight.name, weight.shape, weight.dtype, make=make)


@translates("Conv")
def _conv(call: OnnxCall) -> Tensor:
    """Output `o` reads its window in input 0; the weight is input 1, the offset input 2."""
    return _convolved(call, call.tensor(0), call.weight(1), call[2])


@translates("ConvInteger")
def _integer_conv(call: OnnxCall) -> Tensor:
    """Output `o` reads its window in input 0; the weight is input 1, zero points are 2 and 3."""
    x, weight = call.tensor(0), call.weight(1)
    return _convolved(call, x, weight, None, zero=call[3], besides=call.besides(0))


@translates("QLinearConv")
def _quantized_conv(call: OnnxCall) -> Tensor:
    """Output `o` reads its window in input 0; the weight is input 3, the offset input 8."""
    if call.integer("channels_last"):
        raise NotUnderstood("slides along channels-last tensors")
    x, weight = call.tensor(0), call.weight(3)
    return _convolved(call, x, weight, call[8], zero=call[5], besides=call.besides(0, 8))


@translates("FusedConv")
def _fused_conv(call: OnnxCall) -> Tensor:
    """Output `o` reads its window in input 0 and `o` in input 3, which is added."""
    y = _convolved(call, call.tensor(0), call.weight(1), call[2], out=None)
    if call[3] is not None:
        y = call.step(Elementwise("add"), y, call.tensor(3))
    activation = call.text("activation")
    return call.step(Elementwise(activation.lower()), y) if activation else y


@translates("ConvTranspose")
def _conv_transpose(call: OnnxCall) -> Tensor:
    """Outputs `i * stride - pad_lo + dilation * j` read input `i`; the weight is input 1."""
    return _transposed(call, call.weight(1), call[2])


@translates("QLinearConvTranspose")
def _quantized_conv_transpose(call: OnnxCall) -> Tensor:
    """Outputs `i * stride - pad_lo + dilation * j` read input `i`; the weight is input 3."""
    return _transposed(call, call.weight(3), call[8], call[5])


def declared_spreads(
    call: Attributes, kernel: Sequence[int], lengths: Sequence[int]
) -> tuple[tuple[Window, ...], tuple[int, ...]]:
    """The window that a transposed convolution declares along each axis, and what it adds behind.

    Where sizes are given, the pads are what is too much: the odd one behind for `SAME_UPPER`, else
    before; what is missing stands behind. `SAME` makes `length * stride`, or what there is where
    the window makes less.
    """
    rank = len(kernel)
    strides = _per_axis(call, "strides", rank, 1)
    dilations = _per_axis(call, "dilations", rank, 1)
    extra = list(_per_axis(call, "output_padding", rank, 0))
    given = _per_axis(call, "pads", 2 * rank, 0)
    pads = list(zip(given[:rank], given[rank:], strict=True))
    sizes = call.integers("output_shape")
    auto = call.text("auto_pad", "NOTSET") or "NOTSET"
    if sizes is not None and len(sizes) == rank + 2:
        sizes = sizes[2:]
    if sizes is not None and len(sizes) != rank:
        raise ReadError(
            f"output_shape has {how_many(len(sizes), 'value')} for "
            f"{how_many(rank, 'spatial dimension')}."
        )
    for i, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        bounded(k, d)
        if s > MAX_STRIDE:
            raise ReadError(f"stride {s} is above the {MAX_STRIDE:,} that are followed.")
        if sizes is not None or auto in ("SAME_UPPER", "SAME_LOWER"):
            length = lengths[i]
            target = sizes[i] if sizes is not None else length * s
            over = s * (length - 1) + extra[i] + Window(k, s, d).extent - target
            total = max(over, 0)
            half = total // 2
            pads[i] = (half, total - half) if auto == "SAME_UPPER" else (total - half, half)
            if sizes is not None and over < 0:
                extra[i] -= over
        elif auto == "VALID":
            pads[i] = (0, 0)
        elif auto != "NOTSET":
            raise ReadError(f"auto_pad {auto[:40]!r} is not known.")
        _check_pads(*pads[i], extra[i])
    return Window.of_axes(kernel, strides, dilations, pads), tuple(extra)


def _transposed(
    call: OnnxCall, weight: Const, bias: Value | None, zero: Value | None = None
) -> Tensor:
    """Outputs `i * stride - pad_lo + dilation * j`, `j < kernel`, read input `i` on each axis."""
    x = call.tensor(0)
    rank = _spatial_rank(x, weight)
    kernel = weight.shape[2:]
    _check_kernel(call, kernel)
    groups = call.integer("group", 1)
    if groups < 1 or weight.shape[0] != x.shape[1]:
        raise ReadError(
            f"a weight of shape {weight.shape} reads "
            f"{how_many(weight.shape[0], 'channel')}, got {x.shape[1]}."
        )
    windows, extra = declared_spreads(call, kernel, x.shape[2:])
    assert rank == len(windows)
    unread = _unread(call, weight, zero)
    op = ConvTranspose(windows, weight.shape[1] * groups, groups, extra, unread)
    return call.emit(op, x, *call.besides(0), params=call.stored(weight, bias))


@translates("MaxPool", "AveragePool", "LpPool", "QLinearAveragePool")
def _pool(call: OnnxCall) -> list[Result]:
    """Output `o` reads `o * stride - pad_lo + dilation * j`, `j < kernel`, of its own channel.

    The places of maxima are read where the maxima are.
    """
    x = call.tensor(0)
    kernel = call.integers("kernel_shape")
    if not kernel or len(kernel) != len(x.shape) - 2:
        raise ReadError(f"kernel_shape {(kernel or ())[:8]} does not fit an input of {x.shape}.")
    if call.integer("channels_last"):
        raise NotUnderstood("pools channels-last tensors")
    how = {"MaxPool": "max", "LpPool": "lp"}.get(call.op, "average")
    op = Pool(
        declared_windows(call, kernel, x.shape[2:], pools=True),
        how,  # type: ignore[arg-type]
        bool(call.integer("ceil_mode")),
        bool(call.integer("count_include_pad")),
    )
    made: list[Result] = [call.emit(op, x)]
    if call.wants(1):
        made.append(call.emit(op, x, out=1))
    return made


@translates("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool")
def _global_pool(call: OnnxCall) -> Tensor:
    """Each output reads all positions of its channel."""
    x = call.tensor(0)
    if call.integer("channels_last"):
        raise NotUnderstood("pools channels-last tensors")
    how = "max" if call.op == "GlobalMaxPool" else "average"
    op = AdaptivePool((1,) * max(len(x.shape) - 2, 0), how)  # type: ignore[arg-type]
    return call.emit(op, x)


_PAD_MODES: dict[str, PadMode] = {
    "constant": "constant",
    "reflect": "reflect",
    "edge": "replicate",
    "wrap": "circular",
}


@translates("Pad")
def _pad(call: OnnxCall) -> Tensor:
    """Output `o` reads `o - lo` along `axes`; `pads` are all low ones, then all high."""
    x = call.tensor(0)
    rank = len(x.shape)
    mode = call.text("mode", "constant")
    if mode not in _PAD_MODES:
        raise ReadError(f"padding mode {mode[:40]!r} is not known.")
    pads = call.integers_since("pads", 1, 11)
    if pads is None:
        raise ReadError("Pad needs pads.")
    chosen = call.integers_at(3, "axes") if call.version >= 18 else None
    dims = [call.axis(a, rank) for a in chosen[:rank]] if chosen is not None else list(range(rank))
    if len(pads) != 2 * len(dims):
        raise ReadError(
            f"{len(pads)} pads do not fit {how_many(len(dims), 'dimension')}; give two for each."
        )
    table = {d: (pads[i], pads[i + len(dims)]) for i, d in enumerate(dims)}
    first = min([d for d, pair in table.items() if pair != (0, 0)], default=rank - 1)
    wanted = tuple(table.get(d, (0, 0)) for d in range(first, rank))
    if any(abs(number) > 1 << 48 for pair in wanted for number in pair):
        raise ReadError("pads by more positions than a tensor can have.")
    value, besides = _filling(call) if mode == "constant" else (0.0, [])
    return call.emit(Pad(wanted, _PAD_MODES[mode], value=value), x, *besides)


def _filling(call: OnnxCall) -> tuple[float, list[Tensor]]:
    """What constant padding is filled with; no number where it is computed, and what it reads."""
    if call.version < 11:
        return call.real("value"), []
    held = call[2]
    if held is None:
        return 0.0, []
    if isinstance(held, Live):
        return nan, [held.tensor]
    return (nan if held.array is None else float(held.array.reshape(-1)[0])), []


@translates("DepthToSpace", "SpaceToDepth")
def _shuffle(call: OnnxCall) -> Tensor:
    """Output `o` reads `o // blocksize`; to depth, `o * blocksize + j`, `j < blocksize`."""
    x = call.tensor(0)
    size = call.integer("blocksize", 1)
    if not 1 <= size <= MAX_STRIDE:
        raise ReadError(f"a block size of {size} is not one that is followed.")
    down = call.op == "SpaceToDepth"
    if len(x.shape) != 4:
        raise ReadError(f"{call.op} takes images in a batch, got {x.shape}.")
    cut = [(n, size) for n in x.shape[2:]] if down else [(x.shape[1], size * size)]
    if any(length % block for length, block in cut):
        raise ReadError(f"{x.shape} does not divide into blocks of {size}.")
    if call.moves_batch if down else has_axes(x.layout[1]):
        return _by_digits(call, x, size, down)
    return call.emit(Shuffle((size, size), down), x)


def _by_digits(call: OnnxCall, x: Tensor, size: int, down: bool) -> Tensor:
    """The same elements by reshape, permute, reshape: which phase of a block each channel is stays
    known, so that a convolution over phases in the batch does not mix them.
    """
    batch, held, height, width = x.shape
    area = size * size
    if down:
        cut = (batch, held, height // size, size, width // size, size)
        order = (0, 3, 5, 1, 2, 4)
        shape = (batch, held * area, height // size, width // size)
    else:
        columns = call.text("mode", "DCR") == "CRD"
        cut = (
            (batch, held // area, size, size, height, width)
            if columns
            else (batch, size, size, held // area, height, width)
        )
        order = (0, 1, 4, 2, 5, 3) if columns else (0, 3, 4, 1, 5, 2)
        shape = (batch, held // area, height * size, width * size)
    return call.emit(Reshape(shape), call.step(Permute(order), call.step(Reshape(cut), x)))
