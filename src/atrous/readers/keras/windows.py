"""Layers and ops that slide along axes: convolutions, pools, resampling, padding, crops."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from atrous.geometry import Interpolation, Window, same_upper
from atrous.network import Tensor
from atrous.network.builder import per_axis
from atrous.network.ops import AdaptivePool, Conv, ConvTranspose, Pad, PadMode, Pool, Resize
from atrous.readers.call import NotUnderstood
from atrous.readers.keras.call import KerasCall, translates
from atrous.readers.keras.layers import with_activation
from atrous.readers.placed import Held, Placed

_MODES: dict[str, PadMode] = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
_MODES["wrap"] = "circular"


@translates("layers", "Conv1D Conv2D Conv3D")
def _conv(call: KerasCall) -> Placed:
    """Output `o` reads `o * stride - pad + dilation * j`, `j < kernel`, along each axis."""
    return with_activation(call, _slid_kernel(call, call.first, call.numbers("kernel"), 0))


@translates("layers", "DepthwiseConv1D DepthwiseConv2D")
def _depthwise(call: KerasCall) -> Placed:
    """As a convolution, each channel by itself."""
    return with_activation(
        call, _slid_kernel(call, call.first, call.numbers("kernel"), 0, depthwise=True)
    )


@translates("layers", "SeparableConv1D SeparableConv2D")
def _separable(call: KerasCall) -> Placed:
    """A convolution of each channel by itself, and then one of a single tap."""
    kernel = call.numbers("depthwise_kernel")
    made = _slid_kernel(call, call.first, kernel, None, depthwise=True)
    pointwise = call.numbers("pointwise_kernel")
    rank = len(pointwise.shape) - 2
    op = Conv((Window(1),) * rank, pointwise.shape[-1])
    return with_activation(call, call.made(op, made.tensor, order=made.order, out=0))


@translates("ops", "Conv")
def _conv_op(call: KerasCall) -> Placed:
    """A convolution with a kernel that is an argument."""
    return _slid_kernel(call, call["inputs"], _kernel_given(call), 0)


@translates("ops", "DepthwiseConv")
def _depthwise_op(call: KerasCall) -> Placed:
    """As a convolution, each channel by itself."""
    return _slid_kernel(call, call["inputs"], _kernel_given(call), 0, depthwise=True)


def _kernel_given(call: KerasCall) -> Held:
    kernel = call["kernel"]
    if not isinstance(kernel, Held):
        raise NotUnderstood("slides a kernel that the model computes")
    return kernel


def _slid_kernel(
    call: KerasCall, x: Any, kernel: Held, out: int | None, *, depthwise: bool = False
) -> Placed:
    """The convolution of a map with a kernel of taps, channels in, channels out."""
    if not isinstance(x, Placed):
        raise NotUnderstood("slides over a constant")
    tensor, order = call.mapped(x)
    rank = len(kernel.shape) - 2
    taps, (taken, made) = kernel.shape[:rank], kernel.shape[rank:]
    windows = _windows(call, taps, tensor.shape[2:])
    incoming = tensor.shape[1]
    groups, channels = (incoming, taken * made) if depthwise else (incoming // taken, made)
    # `zeros` looks at the last dimensions.
    turned = kernel.moved((rank + 1, rank, *range(rank)))
    op = Conv(windows, channels, groups, unread=call.zeros(turned, taps))
    params = (*call.held, *kernel.params) if out is not None else ()
    return call.made(op, tensor, order=order, out=out, params=params)


def _windows(
    call: KerasCall, taps: Sequence[int], lengths: Sequence[int], dilates: bool = True
) -> tuple[Window, ...]:
    """One window an axis, by the padding's name: `same` pads for `ceil(length / stride)` outputs.

    The odd one is behind; `causal` pads by `extent - 1` in front.
    """
    rank = len(taps)
    strides = per_axis(call.setting("strides") or tuple(taps), rank, "stride")
    rates = per_axis((call.setting("dilation_rate") if dilates else None) or 1, rank, "dilation")
    padding = str(call.setting("padding", "valid")).lower()
    found = []
    for k, s, d, n in zip(taps, strides, rates, lengths, strict=True):
        lo, hi = 0, 0
        if padding == "same":
            lo, hi = same_upper(n, k, s, d)
        elif padding == "causal":
            lo = Window(k, 1, d).extent - 1
        elif padding != "valid":
            raise NotUnderstood(f"pads by {padding!r}")
        found.append(Window(k, s, d, lo, hi))
    return tuple(found)


@translates("layers", "Conv1DTranspose Conv2DTranspose Conv3DTranspose")
def _conv_transpose(call: KerasCall) -> Placed:
    """Outputs `i * stride - cut + dilation * j`, `j < kernel`, read input `i` along each axis.

    `valid` leaves all that the kernels reach, and `stride` outputs an input at least; `same` cuts
    or fills to `stride` outputs an input, the odd one behind.
    """
    return with_activation(call, _conv_back(call, call.first, call.numbers("kernel")))


@translates("ops", "ConvTranspose")
def _conv_transpose_op(call: KerasCall) -> Placed:
    """A transposed convolution with a kernel that is an argument."""
    if not isinstance(call["inputs"], Placed):
        raise NotUnderstood("slides over a constant")
    return _conv_back(call, call["inputs"], _kernel_given(call))


def _conv_back(call: KerasCall, x: Placed, kernel: Held) -> Placed:
    tensor, order = call.mapped(x)
    rank = len(kernel.shape) - 2
    taps = kernel.shape[:rank]
    strides = per_axis(call.setting("strides") or 1, rank, "stride")
    rates = per_axis(call.setting("dilation_rate") or 1, rank, "dilation")
    extra = call.setting("output_padding")
    extras = (None,) * rank if extra is None else per_axis(extra, rank, "output_padding")
    same = str(call.setting("padding")).lower() == "same"
    windows, behind = [], []
    for k, s, d, more in zip(taps, strides, rates, extras, strict=True):
        lo, hi = _cuts(Window(k, s, d), same, more)
        # What is cut below zero behind is filled.
        windows.append(Window(k, s, d, lo, max(hi, 0)))
        behind.append(max(-hi, 0))
    turned = kernel.moved((rank, rank + 1, *range(rank)))
    unread = call.zeros(turned, taps)
    op = ConvTranspose(tuple(windows), kernel.shape[rank], 1, tuple(behind), unread)
    return call.made(op, tensor, order=order, params=(*call.held, *kernel.params))


def _cuts(window: Window, same: bool, extra: int | None) -> tuple[int, int]:
    """How many outputs a transposed convolution cuts off in front and behind."""
    extent, stride = window.extent, window.stride
    if not same:
        return 0, -(max(stride - extent, 0) if extra is None else extra)
    length = stride - extent if extra is None else extra + extent % 2 - extent
    total = 2 * extent - 2 + length
    front = min(-(-total // 2), extent - 1)
    return extent - 1 - front, extent - 1 - (total - front)


@translates("layers", "MaxPooling1D MaxPooling2D MaxPooling3D")
@translates("ops", "MaxPool")
def _max_pool(call: KerasCall) -> Placed:
    """Output `o` reads `o * stride - pad + j`, `j < size`, of its own channel."""
    tensor, order = call.mapped(call.first)
    return call.made(Pool(_pooled(call, tensor), "max"), tensor, order=order)


@translates("layers", "AveragePooling1D AveragePooling2D AveragePooling3D")
@translates("ops", "AveragePool")
def _average_pool(call: KerasCall) -> Placed:
    """As the maximum; it divides by the positions inside the map."""
    tensor, order = call.mapped(call.first)
    op = Pool(_pooled(call, tensor), "average", count_include_pad=False)
    return call.made(op, tensor, order=order)


def _pooled(call: KerasCall, tensor: Tensor) -> tuple[Window, ...]:
    sizes = tensor.shape[2:]
    return _windows(call, per_axis(call.setting("pool_size"), len(sizes), "size"), sizes, False)


@translates("layers", "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D")
@translates("layers", "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D")
def _global_pool(call: KerasCall) -> Placed:
    """Each output reads all positions of its channel."""
    if call["mask"] is not None:
        raise NotUnderstood("pools over a mask that data decides")
    x = call.first
    rank = len(x.order) - 2
    start = 1 if call.setting("data_format") == "channels_last" else 2
    call.builder.channels_at(x.tensor, x.order[-1 if start == 1 else 1])
    dims = range(start, start + rank)
    label = "mean" if "Average" in call.op else "max"
    return call.reduced(x, dims, bool(call.setting("keepdims")), label)


@translates("layers", "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D")
@translates("layers", "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D")
@translates("ops", "AdaptiveAveragePool AdaptiveMaxPool")
def _adaptive_pool(call: KerasCall) -> Placed:
    """Output `o` of `m` reads `floor(o n / m)` up to `ceil((o + 1) n / m)` of `n` positions."""
    tensor, order = call.mapped(call.first)
    sizes = per_axis(call.setting("output_size"), len(order) - 2, "output_size")
    op = AdaptivePool(sizes, "average" if "Average" in call.op else "max")
    return call.made(op, tensor, order=order)


@translates("layers", "UpSampling1D UpSampling2D UpSampling3D")
def _up_sampling(call: KerasCall) -> Placed:
    """Each position so many times, or a resampling whose points lie at half pixels."""
    tensor, order = call.mapped(call.first)
    factors = per_axis(call.setting("size"), len(order) - 2, "size")
    sizes = tuple(n * f for n, f in zip(tensor.shape[2:], factors, strict=True))
    how = str(call.setting("interpolation", "nearest"))
    if how == "nearest":
        scales = tuple(map(Fraction, factors))
        op = Resize(sizes, "nearest", "asymmetric", scales)
    else:
        op = _resize(how, sizes, False)
    return call.made(op, tensor, order=order)


@translates("layers", "Resizing")
@translates("ops", "Resize")
def _resizing(call: KerasCall) -> Placed:
    """A resampling to a size, whose points lie at half pixels."""
    if call.setting("crop_to_aspect_ratio") or call.setting("pad_to_aspect_ratio"):
        raise NotUnderstood("crops or pads to an aspect ratio")
    x = call.first
    if len(x.order) != 4:
        raise NotUnderstood("resizes an image without a batch")
    tensor, order = call.mapped(x)
    size = call.setting("size") or (call.setting("height"), call.setting("width"))
    op = _resize(str(call.setting("interpolation")), tuple(size), bool(call.setting("antialias")))
    return call.made(op, tensor, order=order)


def _resize(how: str, sizes: tuple[int, ...], antialias: bool) -> Resize:
    kinds: dict[str, Interpolation] = {
        "nearest": "nearest",
        "bilinear": "linear",
        "bicubic": "cubic",
    }
    if how not in kinds:
        raise NotUnderstood(f"resamples by {how}")
    antialias = antialias and how != "nearest"
    return Resize(
        sizes, kinds[how], "half_pixel", rounding="round_prefer_ceil", antialias=antialias
    )


@translates("layers", "ZeroPadding1D ZeroPadding2D ZeroPadding3D")
def _zero_padding(call: KerasCall) -> Placed:
    """Output `o` reads `o - lo`."""
    return _layer_pad(call, _pairs(call.setting("padding"), len(call.first.order) - 2), 1)


@translates("layers", "Cropping1D Cropping2D Cropping3D")
def _cropping(call: KerasCall) -> Placed:
    """Output `o` reads `o + lo`."""
    return _layer_pad(call, _pairs(call.setting("cropping"), len(call.first.order) - 2), -1)


def _pairs(given: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """`(lo, hi)` of each axis; one axis may be given without brackets."""
    pairs = [given] if rank == 1 and isinstance(given[0], int) else given
    return tuple((lo, hi) for lo, hi in pairs)


def _layer_pad(call: KerasCall, pairs: Sequence[tuple[int, int]], sign: int) -> Placed:
    tensor, order = call.mapped(call.first)
    pads = tuple((sign * lo, sign * hi) for lo, hi in pairs)
    return call.made(Pad(pads), tensor, order=order)


@translates("ops", "Pad")
def _pad(call: KerasCall) -> Placed:
    """Output `o` reads `o - lo` of each dimension, or what the mode puts there."""
    x = call.first
    widths = call.setting("pad_width")
    pairs = [(int(w), int(w)) if isinstance(w, int) else (int(w[0]), int(w[1])) for w in widths]
    pairs = pairs * len(x.order) if len(pairs) == 1 else pairs
    mode = str(call.setting("mode"))
    if mode not in _MODES:
        raise NotUnderstood(f"pads in the mode {mode!r}")
    own: list[tuple[int, int]] = [(0, 0)] * len(x.order)
    for dim, pair in zip(x.order, pairs, strict=True):
        own[dim] = pair
    while len(own) > 1 and own[0] == (0, 0):
        own = own[1:]
    value = call["constant_values"]
    filled = float(value) if isinstance(value, int | float) and mode == "constant" else 0.0
    return call.made(Pad(tuple(own), _MODES[mode], value=filled), x.tensor, order=x.order)
