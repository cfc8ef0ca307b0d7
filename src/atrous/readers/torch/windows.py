"""ATen ops that slide along axes: convolutions, pools, resampling, padding, crops."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from math import prod
from typing import Any

from atrous.geometry import Interpolation, Window, torch_pads
from atrous.network import Tensor
from atrous.network.builder import per_axis
from atrous.network.ops import (
    AdaptivePool,
    Concat,
    Conv,
    ConvTranspose,
    Expand,
    Pad,
    PadMode,
    Pool,
    Reshape,
    Resize,
    Roll,
    Shuffle,
    Slice,
    Unfold,
)
from atrous.readers.call import NotUnderstood
from atrous.readers.torch.call import TorchCall, translates
from atrous.readers.torch.values import Const, Value


@translates("conv1d", "conv2d", "conv3d")
def _conv(call: TorchCall) -> Value:
    """Output `o` reads `o * stride - pad + dilation * j`, `j < kernel`, along each axis.

    `same` pads by `extent - 1` in all, the odd one behind; a number pads both sides.
    """
    weight = _weight_shape(call)
    windows, unread = _conv_windows(call, weight[2:]), call.zeros(call["weight"], weight[2:])
    op = Conv(windows, weight[0], call["groups"], unread=unread)
    return _weighted_window(call, op)


@translates("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(call: TorchCall) -> Value:
    """Outputs `i * stride - pad + dilation * j`, `j < kernel`, read input `i` along each axis.

    `output_padding` adds outputs behind the last.
    """
    weight = _weight_shape(call)
    windows = _conv_windows(call, weight[2:])
    extra = per_axis(call["output_padding"], len(windows), "output_padding")
    unread = call.zeros(call["weight"], weight[2:])
    op = ConvTranspose(windows, weight[1] * call["groups"], call["groups"], extra, unread)
    return _weighted_window(call, op)


@translates("convolution")
def _convolution(call: TorchCall) -> Value:
    """Either of both, as core ATen writes them: numbers for one axis or for each."""
    return _conv_transpose(call) if call["transposed"] else _conv(call)


def _weight_shape(call: TorchCall) -> tuple[int, ...]:
    """Channels out and channels of a group (in, then out where transposed), then the kernel."""
    weight = call["weight"]
    if isinstance(weight, Const | Tensor):
        return weight.shape
    raise NotUnderstood("its weight is not a tensor")


def _conv_windows(call: TorchCall, kernel: Sequence[int]) -> tuple[Window, ...]:
    """One window for each axis of the kernel; a single number holds for all axes."""
    stride = per_axis(call["stride"], len(kernel), "stride")
    dilation = per_axis(call["dilation"], len(kernel), "dilation")
    return Window.of_axes(kernel, stride, dilation, torch_pads(call["padding"], kernel, dilation))


def _weighted_window(call: TorchCall, op: Conv | ConvTranspose) -> Value:
    """The op on `input`; a weight or an offset that the model computes is read whole."""
    x = call["input"]
    if not isinstance(x, Tensor):
        raise NotUnderstood("slides weights made from the input over a constant")
    return call.weighted(op, x, params=call.params("weight", "bias"))


@translates("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(call: TorchCall) -> Value:
    """Output `o` reads `o * stride - pad + dilation * j`, `j < kernel`, of its own channel.

    `ceil_mode` counts a last window that is not full.
    """
    return call.emit(Pool(_pool_windows(call), "max", bool(call["ceil_mode"])), call.x)


@translates("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices")
def _max_pool_with_indices(call: TorchCall) -> Value:
    """The places of the maxima are read where the maxima are."""
    pooled = _max_pool(call)
    return [pooled, pooled]


@translates("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(call: TorchCall) -> Value:
    """Output `o` reads `o * stride - pad + j`, `j < kernel`, of its own channel.

    `ceil_mode` counts a last window that is not full, `count_include_pad` divides by the padding
    too.
    """
    include = bool(call["count_include_pad"])
    return call.emit(Pool(_pool_windows(call), "average", bool(call["ceil_mode"]), include), call.x)


def _pool_windows(call: TorchCall) -> tuple[Window, ...]:
    """The windows of a pool, whose stride is its kernel unless given."""
    rank = int(call.label[call.label.index("pool") + len("pool")])
    kernel = per_axis(call["kernel_size"], rank, "kernel")
    stride = per_axis(call["stride"] or kernel, rank, "stride")
    dilation = per_axis(call["dilation"] or 1, rank, "dilation")
    return Window.of_axes(kernel, stride, dilation, per_axis(call["padding"], rank, "padding"))


@translates("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
@translates("_adaptive_avg_pool2d", "_adaptive_avg_pool3d")
def _adaptive_avg_pool(call: TorchCall) -> Value:
    """Output `o` of `m` reads `floor(o n / m)` up to `ceil((o + 1) n / m)` of `n` positions."""
    return call.emit(AdaptivePool(tuple(call["output_size"]), "average"), call.x)


@translates("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(call: TorchCall) -> Value:
    """Output `o` reads what that of the average does, and so do the places of the maxima."""
    pooled = call.emit(AdaptivePool(tuple(call["output_size"]), "max"), call.x)
    return [pooled, pooled]


@translates("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
@translates("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d")
@translates("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
@translates("upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa")
def _upsample(call: TorchCall) -> Value:
    """Output `o` reads around `(o + 1/2) / scale - 1/2` along each axis behind the channels.

    With aligned corners that is `o (n - 1) / (m - 1)`, and plain nearest reads `floor(o / scale)`.
    The scale is the factor that the user gave, where there is one, and else `m / n`.
    """
    name = call.label
    sizes = call.shape[2:]
    how: Interpolation = (
        "nearest" if "nearest" in name else "cubic" if "cubic" in name else "linear"
    )
    antialias = name.endswith("_aa")
    if antialias and call["align_corners"]:
        raise NotUnderstood("resamples with antialias and aligned corners")
    coordinates: Any = "half_pixel"
    if how == "nearest" and "exact" not in name:
        coordinates = "asymmetric"
    elif call["align_corners"]:
        coordinates = "align_corners"
    op = Resize(
        sizes,
        how,
        coordinates,
        _scales(call, len(sizes)),
        "floor" if coordinates == "asymmetric" else "round_prefer_ceil",
        antialias,
    )
    return call.emit(op, call.x)


def _scales(call: TorchCall, rank: int) -> tuple[Fraction | None, ...]:
    """The scale factors that PyTorch uses in place of the ratio of sizes."""
    factors = call["scale_factors"]
    if factors is None:
        names = ("scales",) if rank == 1 else ("scales_d", "scales_h", "scales_w")[-rank:]
        factors = [call[name] for name in names]
    return tuple(
        None if factor is None else Fraction(factor).limit_denominator(1 << 12)
        for factor in factors
    )


@translates("pad", "constant_pad_nd")
def _pad(call: TorchCall) -> Value:
    """Output `o` reads `o - lo`; pads come in pairs, the last dimension first, and may crop."""
    value = float(call["value"] or 0)
    return _padded(call, call["pad"], call["mode"] or "constant", value)


@translates("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def _reflection_pad(call: TorchCall) -> Value:
    """Output `o` reads `o - lo`, mirrored at the first and the last position."""
    return _padded(call, call["padding"], "reflect")


@translates("replication_pad1d", "replication_pad2d", "replication_pad3d")
def _replication_pad(call: TorchCall) -> Value:
    """Output `o` reads `o - lo`, or the first or last position where that lies outside."""
    return _padded(call, call["padding"], "replicate")


def _padded(call: TorchCall, flat: Sequence[int], mode: PadMode, value: float = 0.0) -> Value:
    """The pad of the last dimensions, from the first that is padded on; without any, `x` itself."""
    pairs = [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
    pads = tuple(reversed(pairs))
    while pads and pads[0] == (0, 0):
        pads = pads[1:]
    if not pads:
        return call.x
    return call.emit(Pad(pads, mode, value=value), call.x)


@translates("slice")
def _slice(call: TorchCall) -> Value:
    """Output `o` reads `start + step * o` along `dim`; what leaves nothing depends on nothing."""
    x, dim, step = call.x, call.dim, call["step"] or 1
    size = x.shape[dim]
    start = _clamped(call["start"] or 0, size)
    length = call.shape[dim]
    if start == 0 and length == size and step == 1:
        return x
    if length == 0:
        return Const(call.shape)
    return call.emit(Slice(dim, start, length, step), x)


def _clamped(index: int, size: int) -> int:
    """A bound of a slice as Python reads it: from the end where negative, never outside."""
    return min(max(index + size if index < 0 else index, 0), size)


@translates("select")
def _select(call: TorchCall) -> Value:
    """The output reads `index` along `dim`, which goes."""
    x, dim, index = call.x, call.dim, call["index"]
    if not isinstance(index, int):
        raise NotUnderstood("selects a place that depends on data")
    return call.emit(Slice(dim, index % x.shape[dim], 1, 1, drop=True), x)


@translates("narrow")
def _narrow(call: TorchCall) -> Value:
    """Output `o` reads `start + o` along `dim`."""
    x, dim = call.x, call.dim
    if not isinstance(call["start"], int):
        raise NotUnderstood("starts at a place that depends on data")
    return call.emit(Slice(dim, call["start"] % x.shape[dim], call["length"]), x)


@translates("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_chunk", "unsafe_split")
def _split(call: TorchCall) -> Value:
    """Piece `p` reads `o` plus the sizes before it along `dim`; the sizes are PyTorch's."""
    return _pieces(call, [call.shape_of(i)[call.dim] for i in range(len(call.outputs))], drop=False)


@translates("unbind")
def _unbind(call: TorchCall) -> Value:
    """Piece `p` reads `p` along `dim`, which goes."""
    return _pieces(call, [1] * call.x.shape[call.dim], drop=True)


def _pieces(call: TorchCall, lengths: Sequence[int], drop: bool) -> Value:
    """Slices of these lengths end to end along `dim`; an empty one depends on nothing."""
    starts = accumulate(lengths, initial=0)
    return [
        call.emit(Slice(call.dim, start, length, drop=drop), call.x, out=index)
        if length
        else Const(call.shape_of(index))
        for index, (start, length) in enumerate(zip(starts, lengths, strict=False))
    ]


@translates("copy", "copy_")
def _copy(call: TorchCall) -> Value:
    """Output `o` reads `src` at `o`, broadcast; the first operand gives its shape alone."""
    source = call["src"]
    if not isinstance(source, Tensor):
        return Const(call.shape, source.params if isinstance(source, Const) else ())
    if source.shape == call.shape:
        return source
    return call.emit(Expand(call.shape), source)


@translates("slice_scatter")
def _slice_scatter(call: TorchCall) -> Value:
    """Output `o` reads `src` at `o - start` along `dim`, and around it the first operand at `o`."""
    piece, base = call.materialized(call["src"]), call.materialized(call["self"])
    dim = (call["dim"] or 0) % len(base.shape)
    size = base.shape[dim]
    start = _clamped(call["start"] or 0, size)
    end = start + piece.shape[dim]
    if (call["step"] or 1) != 1:
        raise NotUnderstood("writes every other place")
    parts = []
    if start:
        parts.append(call.step(Slice(dim, 0, start), base))
    parts.append(piece)
    if end < size:
        parts.append(call.step(Slice(dim, end, size - end), base))
    return call.emit(Concat(dim), *parts) if len(parts) > 1 else piece


@translates("select_scatter")
def _select_scatter(call: TorchCall) -> Value:
    """Along `dim`, output `index` reads `src`, and all others the first operand, where they are."""
    base, piece = call.materialized(call["self"]), call.materialized(call["src"])
    dim = call["dim"] % len(base.shape)
    index = call["index"]
    if not isinstance(index, int):
        raise NotUnderstood("writes to a place that depends on data")
    index %= base.shape[dim]
    parts = [call.step(Slice(dim, 0, index), base)] if index else []
    parts.append(call.step(Reshape((*base.shape[:dim], 1, *base.shape[dim + 1 :])), piece))
    behind = base.shape[dim] - index - 1
    if behind:
        parts.append(call.step(Slice(dim, index + 1, behind), base))
    return call.emit(Concat(dim), *parts) if len(parts) > 1 else parts[0]


@translates("cat", "concat", "concatenate")
def _cat(call: TorchCall) -> Value:
    """Operand `p` is read at `o` minus the sizes before it along `dim`; empty ones are left out."""
    parts = [call.materialized(value) for value in call["tensors"] if prod(value.shape)]
    if len(parts) == 1:
        return parts[0]
    dim = (call["dim"] or 0) % len(call.shape)
    return call.padded(parts, dim) or call.emit(Concat(dim), *parts)


@translates("stack")
def _stack(call: TorchCall) -> Value:
    """Operand `p` is read at `p` along `dim`, which is new."""
    dim = (call["dim"] or 0) % len(call.shape)
    parts = []
    for value in call["tensors"]:
        part = call.materialized(value)
        parts.append(call.step(Reshape((*part.shape[:dim], 1, *part.shape[dim:])), part))
    return call.emit(Concat(dim), *parts) if len(parts) > 1 else parts[0]


@translates("roll")
def _roll(call: TorchCall) -> Value:
    """Output `o` reads `o - shift`, counted round the end, along each of `dims`."""
    out, dims = call.x, call["dims"]
    if not dims:
        raise NotUnderstood("rolls all dimensions as one")
    for shift, dim in zip(call["shifts"], dims, strict=True):
        out = call.emit(Roll(dim % len(out.shape), shift), out)
    return out


@translates("pixel_shuffle")
def _pixel_shuffle(call: TorchCall) -> Value:
    """Output `o` reads `o // factor` along both axes; `factor ** 2` channels make one."""
    factor = call["upscale_factor"]
    return call.emit(Shuffle((factor, factor)), call.x)


@translates("pixel_unshuffle")
def _pixel_unshuffle(call: TorchCall) -> Value:
    """Output `o` reads `o * factor + j`, `j < factor`, along both axes, into channels."""
    factor = call["downscale_factor"]
    return call.emit(Shuffle((factor, factor), down=True), call.x)


@translates("im2col")
def _im2col(call: TorchCall) -> Value:
    """Output `o` reads its window: taps lie in the channels, positions in one last dimension."""
    parts = [call[name] for name in ("kernel_size", "stride", "dilation", "padding")]
    windows = Window.of_axes(*parts)
    return call.emit(Unfold(windows), call.x)
