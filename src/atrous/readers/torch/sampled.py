"""ATen ops whose reads data decides, that lie between positions, or that transform a signal."""

from __future__ import annotations

from atrous.geometry import Reads, Window
from atrous.network import Tensor
from atrous.network.builder import per_axis
from atrous.network.ops import (
    Deform,
    Elementwise,
    Expand,
    Permute,
    Reduce,
    Reorder,
    Reshape,
    Roll,
    Sample,
    Transform,
    Windows,
)
from atrous.readers.call import NotUnderstood
from atrous.readers.sampled import blocks, folded_to, grid_reads, unpooled
from atrous.readers.torch.call import TRANSLATIONS, TorchCall, translates
from atrous.readers.torch.values import Const, Value


@translates("col2im")
def _col2im(call: TorchCall) -> Value:
    """Output `p` reads the windows that it lies in; their taps lie in the channels."""
    x, sizes = call.x, call["output_size"]
    parts = [per_axis(call[name], 2, name) for name in ("kernel_size", "stride", "dilation")]
    pads = per_axis(call["padding"], 2, "padding")
    windows = Window.of_axes(parts[0], parts[1], parts[2], pads)
    counts = blocks(windows, sizes)
    out = call.step(Reshape((*x.shape[:-1], *counts)), x)
    return call.emit(folded_to(windows, counts, sizes), out)


@translates("max_unpool2d", "max_unpool3d")
def _max_unpool(call: TorchCall) -> Value:
    """Output `p` reads value and place of the windows that it lies in."""
    x, places = call["self"], call["indices"]
    if not isinstance(x, Tensor) or not isinstance(places, Tensor):
        raise NotUnderstood("puts values to places that are stored")
    return unpooled(call, x, places, call.shape[-int(call.label[-2]) :])


@translates("grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "cudnn_grid_sampler")
def _grid_sample(call: TorchCall) -> Value:
    """Output `o` reads `input` anywhere along the axes that are sampled, and the grid at `o`."""
    x, grid = call.materialized(call["input"]), call["grid"]
    reads: tuple[Reads, ...] = ()
    numbers = grid.known() if isinstance(grid, Const) else None
    if numbers is not None:
        how = ("linear", "nearest", "cubic")[call["interpolation_mode"]]
        outside = ("zeros", "border", "reflection")[call["padding_mode"]]
        reads = grid_reads(numbers, x.shape[2:], how, outside, bool(call["align_corners"]))
    op = Sample(tuple(grid.shape[1:-1]), reads)
    return call.emit(op, x, *([grid] if isinstance(grid, Tensor) else []), params=call.params())


@translates("affine_grid_generator")
def _affine_grid(call: TorchCall) -> Value:
    """Each output reads the whole matrix of its image."""
    x = call.x
    flat = call.step(Reshape((x.shape[0], 1, 1, x.shape[1] * x.shape[2])), x)
    if len(call.shape) == 5:
        flat = call.step(Reshape((x.shape[0], 1, 1, 1, x.shape[1] * x.shape[2])), x)
    out = call.step(Reorder(len(call.shape) - 1, call.shape[-1]), flat)
    return call.emit(Expand(call.shape), out)


def _deform_conv(call: TorchCall) -> Value:
    """Output `o` reads `input` anywhere along its axes, and offsets and mask at `o`."""
    x, weight = call["input"], call["weight"]
    if not isinstance(x, Tensor) or not isinstance(weight, Const):
        raise NotUnderstood("slides over a constant, or weights made from the input")
    pairs = [(call[f"{name}_h"], call[f"{name}_w"]) for name in ("stride", "dil", "pad")]
    windows = Window.of_axes(weight.shape[2:], *pairs)
    held = [call["offset"], *([call["mask"]] if call["use_mask"] else [])]
    others = [value for value in held if isinstance(value, Tensor)]
    op = Deform(windows, weight.shape[0], call["groups"])
    bias = [call["bias"]] if isinstance(call["bias"], Tensor) else []
    if bias:
        raise NotUnderstood("adds an offset made from the input")
    return call.emit(op, x, *others, params=call.params("weight", "bias"))


TRANSLATIONS.under("torchvision.deform_conv2d")(_deform_conv)


@translates("diff")
def _diff(call: TorchCall) -> Value:
    """Output `o` reads `o` up to `o + n` along `dim`."""
    if call["prepend"] is not None or call["append"] is not None:
        raise NotUnderstood("lays values before or behind what it takes differences of")
    x, rank, times = call.x, len(call.x.shape), call["n"]
    if not times:
        return x
    out = call.step(Windows(call["dim"] % rank, Window(times + 1)), x)
    return call.emit(Reduce((rank,), label="diff"), out)


@translates("fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_hfft", "fft_ihfft")
def _fft(call: TorchCall) -> Value:
    """Each output reads all of `dim`."""
    return _transformed(call, [call["dim"] % len(call.x.shape)])


@translates("fft_fft2", "fft_ifft2", "fft_rfft2", "fft_irfft2", "fft_hfft2", "fft_ihfft2")
@translates("fft_fftn", "fft_ifftn", "fft_rfftn", "fft_irfftn", "fft_hfftn", "fft_ihfftn")
@translates("_fft_r2c", "_fft_c2r", "_fft_c2c")
def _fft_of_several(call: TorchCall) -> Value:
    """Each output reads all of `dim`, or of the last dimensions where sizes alone are given."""
    rank = len(call.x.shape)
    dims, sizes = call["dim"], call["s"]
    if dims is None:
        dims = range(rank if sizes is None else len(sizes))
        dims = [d - len(dims) for d in dims]
    return _transformed(call, [d % rank for d in dims])


def _transformed(call: TorchCall, dims: list[int]) -> Value:
    """A transform along `dims`, of as many points as go in or come out, whichever is more."""
    x = call.x
    sizes = tuple(call.shape[d] for d in dims)
    lengths = tuple(max(x.shape[d], call.shape[d]) for d in dims)
    name = call.label.removeprefix("fft_").lstrip("_")
    real = "c2c" not in name and name[0] != "f" and not name.startswith("if")
    return call.emit(Transform(tuple(dims), sizes, lengths, real, name), x)


@translates("fft_fftshift", "fft_ifftshift")
def _fft_shift(call: TorchCall) -> Value:
    """Output `o` reads `o` less half the size, counted round the end, along each of `dim`."""
    out = call.x
    dims = call["dim"]
    for dim in range(len(out.shape)) if dims is None else [d % len(out.shape) for d in dims]:
        size = out.shape[dim]
        half = size // 2 if "ifft" not in call.label else (size + 1) // 2
        if size > 1:
            out = call.emit(Roll(dim, half), out)
    return out


@translates("stft")
def _stft(call: TorchCall) -> Value:
    """Frame `f` reads `f * hop_length + j`, `j < n_fft`, where the window is not 0."""
    x, points = call.x, call["n_fft"]
    hop = call["hop_length"] or points // 4
    if call["center"]:
        raise NotUnderstood("pads the signal itself")
    width, window = call["win_length"] or points, call["window"]
    unread: tuple[tuple[int, ...], ...] = ()
    if isinstance(window, Tensor):
        raise NotUnderstood("has a window made from the input")
    before = (points - width) // 2
    if isinstance(window, Const):
        zeros = call.zeros(window, (width,))
        unread = tuple((tap + before,) for (tap,) in zeros)
    unread += tuple((tap,) for tap in range(points) if not before <= tap < before + width)
    dim = len(x.shape) - 1
    out = call.step(Windows(dim, Window(points, hop), tuple(sorted(unread))), x)
    tones = call.shape[dim]
    real = tones != points
    out = call.step(Transform((dim + 1,), (tones,), (points,), real, "stft"), out)
    order = (*range(dim), dim + 1, dim)
    if len(call.shape) == dim + 2:
        return call.emit(Permute(order), out)
    # Real and imaginary parts lie in a new last dimension.
    out = call.step(Permute(order), out)
    out = call.step(Reshape((*out.shape, 1)), out)
    return call.emit(Reorder(dim + 2, 2), out)


@translates("istft")
def _istft(call: TorchCall) -> Value:
    """Output `p` reads the frames whose windows it lies in."""
    x, points = call.x, call["n_fft"]
    hop = call["hop_length"] or points // 4
    rank = len(x.shape)
    if call["return_complex"] or call.shape[-1:] == (0,):
        raise NotUnderstood("makes complex signals")
    lo = points // 2 if call["center"] else 0
    window = Window(points, hop, 1, lo, lo)
    frames = x.shape[-1]
    out = call.step(Transform((rank - 2,), (points,), (points,), True, "istft"), x)
    out = call.step(folded_to([window], [frames], call.shape[-1:]), out)
    return call.emit(Reshape(call.shape), out)


@translates("view_as_real")
def _view_as_real(call: TorchCall) -> Value:
    """Real and imaginary part in a new last dimension."""
    x = call.x
    return call.emit(Reorder(len(x.shape), 2), call.step(Reshape((*x.shape, 1)), x))


@translates("view_as_complex")
def _view_as_complex(call: TorchCall) -> Value:
    """The two numbers of the last dimension as one."""
    x = call.x
    return call.emit(Reduce((len(x.shape) - 1,), label="view_as_complex"), x)


@translates("real", "imag")
def _part_of_complex(call: TorchCall) -> Value:
    """Output `o` reads position `o`."""
    return call.emit(Elementwise(call.label), call.x)
