"""ATen ops that slide along axes: convolutions, pools, resampling, padding, crops."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any

from atrous.geometry import Interpolation, Window, same_torch
from atrous.network import Tensor
from atrous.network.ops import (
    AdaptivePool,
    Concat,
    Conv,
    ConvTranspose,
    Elementwise,
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
from atrous.readers.torch.call import Call, Unclear, aten
from atrous.readers.torch.values import Const, Value


@aten("conv1d", "conv2d", "conv3d")
def _conv(call: Call) -> Value:
    weight = _shape(call["weight"])
    rank = len(weight) - 2
    strides, rates = _spread(call["stride"], rank), _spread(call["dilation"], rank)
    padding = call["padding"]
    pads: list[tuple[int, int]]
    if padding == "same":
        pads = [same_torch(k, d) for k, d in zip(weight[2:], rates, strict=True)]
    elif padding == "valid":
        pads = [(0, 0)] * rank
    else:
        pads = [(p, p) for p in _spread(padding, rank)]
    windows = _windows(weight[2:], strides, rates, pads)
    return _finish_conv(call, Conv(windows, weight[0], call["groups"]))


@aten("convolution")
def _convolution(call: Call) -> Value:
    weight = _shape(call["weight"])
    rank = len(weight) - 2
    strides, rates = _spread(call["stride"], rank), _spread(call["dilation"], rank)
    pads = [(p, p) for p in _spread(call["padding"], rank)]
    windows = _windows(weight[2:], strides, rates, pads)
    if call["transposed"]:
        extra = _spread(call["output_padding"], rank)
        channels = weight[1] * call["groups"]
        return _finish_conv(call, ConvTranspose(windows, channels, call["groups"], extra))
    return _finish_conv(call, Conv(windows, weight[0], call["groups"]))


@aten("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(call: Call) -> Value:
    weight = _shape(call["weight"])
    rank = len(weight) - 2
    strides, rates = _spread(call["stride"], rank), _spread(call["dilation"], rank)
    pads = [(p, p) for p in _spread(call["padding"], rank)]
    extra = _spread(call["output_padding"], rank)
    op = ConvTranspose(
        _windows(weight[2:], strides, rates, pads),
        weight[1] * call["groups"],
        call["groups"],
        extra,
    )
    return _finish_conv(call, op)


def _finish_conv(call: Call, op: Conv | ConvTranspose) -> Value:
    x = call["input"]
    if not isinstance(x, Tensor):
        raise Unclear("slides weights made from the input over a constant")
    return call.finish(op, x, params=call.params("weight", "bias"))


@aten("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(call: Call) -> Value:
    return call.finish(Pool(_pooled(call), "max", bool(call["ceil_mode"])), call.x)


@aten("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices")
def _max_pool_with_indices(call: Call) -> Value:
    # The indices are read where the values are.
    pooled = _max_pool(call)
    return [pooled, pooled]


@aten("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(call: Call) -> Value:
    include = bool(call["count_include_pad"])
    return call.finish(Pool(_pooled(call), "average", bool(call["ceil_mode"]), include), call.x)


def _pooled(call: Call) -> tuple[Window, ...]:
    """The windows of a pool, whose stride is its kernel unless given."""
    name = call.node.target.overloadpacket.__name__
    rank = int(name[name.index("pool") + len("pool")])
    kernels = _spread(call["kernel_size"], rank)
    strides = _spread(call["stride"] or kernels, rank)
    pads = [(p, p) for p in _spread(call["padding"], rank)]
    return _windows(kernels, strides, _spread(call["dilation"] or 1, rank), pads)


@aten(
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
)
def _adaptive_avg_pool(call: Call) -> Value:
    return call.finish(AdaptivePool(tuple(call["output_size"]), "average"), call.x)


@aten("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(call: Call) -> Value:
    pooled = call.finish(AdaptivePool(tuple(call["output_size"]), "max"), call.x)
    return [pooled, pooled]


@aten(
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_trilinear3d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
)
def _upsample(call: Call) -> Value:
    name = call.node.target.overloadpacket.__name__
    sizes = call.shape[2:]
    how: Interpolation = (
        "nearest" if "nearest" in name else "cubic" if "cubic" in name else "linear"
    )
    antialias = name.endswith("_aa")
    if antialias and call["align_corners"]:
        raise Unclear("resamples with antialias and aligned corners")
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
    return call.finish(op, call.x)


def _scales(call: Call, rank: int) -> tuple[Fraction | None, ...]:
    """The scale factors that PyTorch uses in place of the ratio of sizes."""
    factors = call["scale_factors"]
    if factors is None:
        names = ("scales",) if rank == 1 else ("scales_d", "scales_h", "scales_w")[-rank:]
        factors = [call[name] for name in names]
    return tuple(
        None if factor is None else Fraction(factor).limit_denominator(1 << 12)
        for factor in factors
    )


@aten("pad", "constant_pad_nd")
def _pad(call: Call) -> Value:
    value = float(call["value"] or 0)
    return _padded(call, call["pad"], call["mode"] or "constant", value)


@aten("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def _reflection_pad(call: Call) -> Value:
    return _padded(call, call["padding"], "reflect")


@aten("replication_pad1d", "replication_pad2d", "replication_pad3d")
def _replication_pad(call: Call) -> Value:
    return _padded(call, call["padding"], "replicate")


def _padded(call: Call, flat: Sequence[int], mode: PadMode, value: float = 0.0) -> Value:
    pairs = [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
    pads = tuple(reversed(pairs))
    while pads and pads[0] == (0, 0):
        pads = pads[1:]
    if not pads:
        return call.x
    return call.finish(Pad(pads, mode, value=value), call.x)


@aten("slice")
def _slice(call: Call) -> Value:
    x, dim, step = call.x, call["dim"] or 0, call["step"] or 1
    dim %= len(x.shape)
    size = x.shape[dim]
    start = _clamped(call["start"] or 0, size)
    length = call.shape[dim]
    if start == 0 and length == size and step == 1:
        return x
    if length == 0:
        # Nothing is left that could depend on the input.
        return Const(call.shape)
    return call.finish(Slice(dim, start, length, step), x)


def _clamped(index: int, size: int) -> int:
    return min(max(index + size if index < 0 else index, 0), size)


@aten("select")
def _select(call: Call) -> Value:
    x = call.x
    dim = call["dim"] % len(x.shape)
    index = call["index"]
    if not isinstance(index, int):
        raise Unclear("selects a place that depends on data")
    return call.finish(Slice(dim, index % x.shape[dim], 1, 1, drop=True), x)


@aten("narrow")
def _narrow(call: Call) -> Value:
    x = call.x
    dim = call["dim"] % len(x.shape)
    return call.finish(Slice(dim, call["start"] % x.shape[dim], call["length"]), x)


@aten("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_chunk", "unsafe_split")
def _split(call: Call) -> Value:
    x = call.x
    dim = (call["dim"] or 0) % len(x.shape)
    return _pieces(call, x, dim, [call.shape_of(part)[dim] for part in call.meta], drop=False)


@aten("unbind")
def _unbind(call: Call) -> Value:
    x = call.x
    dim = (call["dim"] or 0) % len(x.shape)
    return _pieces(call, x, dim, [1] * x.shape[dim], drop=True)


def _pieces(call: Call, x: Tensor, dim: int, lengths: list[int], drop: bool) -> Value:
    start = 0
    made: list[Value] = []
    for length in lengths:
        if length == 0:
            made.append(Const(tuple(0 if i == dim else n for i, n in enumerate(x.shape))))
            continue
        op = Slice(dim, start, length, drop=drop)
        shape = [length if i == dim else n for i, n in enumerate(x.shape) if not drop or i != dim]
        made.append(call.add(op, x, shape=shape))
        start += length
    return made


@aten("copy", "copy_")
def _copy(call: Call) -> Value:
    source = call["src"]
    if not isinstance(source, Tensor):
        return Const(call.shape, source.params if isinstance(source, Const) else ())
    if source.shape == call.shape:
        return source
    return call.finish(Expand(call.shape), source)


@aten("slice_scatter")
def _slice_scatter(call: Call) -> Value:
    base, piece = call["self"], call["src"]
    if not isinstance(piece, Tensor):
        piece = call.constant(piece)
    if not isinstance(base, Tensor):
        base = call.constant(base)
    dim = (call["dim"] or 0) % len(base.shape)
    size = base.shape[dim]
    start = _clamped(call["start"] or 0, size)
    end = start + piece.shape[dim]
    if (call["step"] or 1) != 1:
        raise Unclear("writes every other place")
    parts = []
    if start:
        parts.append(call.add(Slice(dim, 0, start), base))
    parts.append(piece)
    if end < size:
        parts.append(call.add(Slice(dim, end, size - end), base))
    return call.finish(Concat(dim), *parts) if len(parts) > 1 else piece


@aten("cat", "concat", "concatenate")
def _cat(call: Call) -> Value:
    values = call["tensors"]
    rank = len(call.shape)
    values = [value for value in values if prod(value.shape)]
    parts = [v if isinstance(v, Tensor) else call.constant(v) for v in values]
    if len(parts) == 1:
        return parts[0]
    return call.finish(Concat((call["dim"] or 0) % rank), *parts)


@aten("stack")
def _stack(call: Call) -> Value:
    values = call["tensors"]
    dim = (call["dim"] or 0) % len(call.shape)
    parts = []
    for value in values:
        part = value if isinstance(value, Tensor) else call.constant(value)
        parts.append(call.add(Reshape((*part.shape[:dim], 1, *part.shape[dim:])), part))
    return call.finish(Concat(dim), *parts) if len(parts) > 1 else parts[0]


@aten("roll")
def _roll(call: Call) -> Value:
    x = call.x
    dims = call["dims"]
    if not dims:
        raise Unclear("rolls all dimensions as one")
    out = x
    for shift, dim in zip(call["shifts"], dims, strict=True):
        out = call.add(Roll(dim % len(x.shape), shift), out, shape=x.shape)
    return out


@aten("flip")
def _flip(call: Call) -> Value:
    from atrous.network.layout import has_axes

    x = call.x
    if any(has_axes(x.layout[dim]) for dim in call["dims"]):
        raise Unclear("reverses positions")
    return call.finish(Elementwise("flip"), x)


@aten("pixel_shuffle")
def _pixel_shuffle(call: Call) -> Value:
    factor = call["upscale_factor"]
    return call.finish(Shuffle((factor, factor)), call.x)


@aten("pixel_unshuffle")
def _pixel_unshuffle(call: Call) -> Value:
    factor = call["downscale_factor"]
    return call.finish(Shuffle((factor, factor), down=True), call.x)


@aten("im2col")
def _im2col(call: Call) -> Value:
    pads = [(p, p) for p in call["padding"]]
    windows = _windows(call["kernel_size"], call["stride"], call["dilation"], pads)
    return call.finish(Unfold(windows), call.x)


def _windows(
    kernels: Sequence[int],
    strides: Sequence[int],
    rates: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> tuple[Window, ...]:
    return tuple(
        Window(k, s, d, lo, hi)
        for k, s, d, (lo, hi) in zip(kernels, strides, rates, pads, strict=True)
    )


def _spread(value: Any, rank: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values * rank if len(values) == 1 else values


def _shape(value: Any) -> tuple[int, ...]:
    if isinstance(value, Const | Tensor):
        return value.shape
    raise Unclear("its weight is not a tensor")
