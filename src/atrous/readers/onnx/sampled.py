"""ONNX operators whose reads data decides, that lie between positions, or that transform."""

from __future__ import annotations

from contextlib import suppress

from atrous.errors import ReadError
from atrous.geometry import Reads, Window
from atrous.network.ops import (
    Deform,
    Expand,
    Permute,
    Reorder,
    Reshape,
    Sample,
    Transform,
    Windows,
)
from atrous.network.records import Tensor
from atrous.readers.call import NotUnderstood
from atrous.readers.onnx.call import OnnxCall, translates
from atrous.readers.onnx.values import Const, Live, Value, checked
from atrous.readers.onnx.windows import bounded, declared_windows
from atrous.readers.sampled import blocks, folded_to, grid_reads, unpooled

__all__: list[str] = []


@translates("Col2Im")
def _col2im(call: OnnxCall) -> Tensor:
    """Output `p` reads the blocks that it lies in; their taps lie in the channels."""
    x = call.tensor(0)
    sizes, kernel = call.integers_at(1, "image shape"), call.integers_at(2, "block shape")
    if sizes is None or kernel is None or len(sizes) != len(kernel) or len(x.shape) != 3:
        raise ReadError("Col2Im needs one size of the image and of the block for each axis.")
    windows = declared_windows(call, kernel, sizes)
    counts = blocks(windows, checked(sizes, "its output"))
    out = call.step(Reshape((*x.shape[:-1], *counts)), x)
    return call.emit(folded_to(windows, counts, sizes), out)


@translates("MaxUnpool")
def _max_unpool(call: OnnxCall) -> Tensor:
    """Output `p` reads value and place of the windows that it lies in."""
    x, places = call.tensor(0), call.value(1)
    kernel = call.integers("kernel_shape")
    if kernel is None or len(kernel) != len(x.shape) - 2:
        raise ReadError(f"kernel_shape {(kernel or ())[:8]} does not fit an input of {x.shape}.")
    if not isinstance(places, Live):
        raise NotUnderstood("puts values to places that are stored")
    given = call.integers_at(2, "output shape")
    if given is None:
        windows = declared_windows(call, kernel, x.shape[2:])
        sizes = tuple(w.transposed_length(n) for w, n in zip(windows, x.shape[2:], strict=True))
    else:
        sizes = checked(given, "its output")[2:]
    return unpooled(call, x, places.tensor, sizes)


@translates("GridSample")
def _grid_sample(call: OnnxCall) -> Tensor:
    """Output `o` reads input 0 anywhere along the axes that are sampled, and the grid at `o`."""
    x, grid = call.tensor(0), call.value(1)
    if len(grid.shape) != len(x.shape) or len(x.shape) < 3:
        raise ReadError(f"a grid of {grid.shape} does not fit an input of {x.shape}.")
    others = [grid.tensor] if isinstance(grid, Live) else []
    reads: tuple[Reads, ...] = ()
    if isinstance(grid, Const) and call.weights:
        how = call.text("mode", "linear").replace("bilinear", "linear")
        outside, corners = call.text("padding_mode", "zeros"), bool(call.integer("align_corners"))
        with suppress(ValueError):
            reads = grid_reads(grid.numbers(), x.shape[2:], how, outside, corners)
    return call.emit(Sample(grid.shape[1:-1], reads), x, *others, params=call.params(1))


@translates("AffineGrid")
def _affine_grid(call: OnnxCall) -> Tensor:
    """Each output reads the whole matrix of its image."""
    x, size = call.tensor(0), call.integers_at(1, "size")
    if size is None or len(size) < 3 or len(x.shape) != 3:
        raise ReadError("AffineGrid needs matrices and the size of its output.")
    made = checked((size[0], *size[2:], len(size) - 2), "its output")
    ones = (1,) * (len(size) - 2)
    out = call.step(Reshape((x.shape[0], *ones, x.shape[1] * x.shape[2])), x)
    out = call.step(Reorder(len(made) - 1, made[-1]), out)
    return call.emit(Expand(made), out)


@translates("DeformConv")
def _deform_conv(call: OnnxCall) -> Tensor:
    """Output `o` reads input 0 anywhere along its axes, and offsets and mask at `o`."""
    x, weight = call.tensor(0), call.weight(1)
    if len(weight.shape) != len(x.shape) or len(x.shape) < 3 or min(weight.shape) < 1:
        raise ReadError(f"a weight of shape {weight.shape} does not fit an input of {x.shape}.")
    groups = call.integer("group", 1)
    if groups < 1 or weight.shape[1] * groups != x.shape[1]:
        raise ReadError(f"a weight of shape {weight.shape} does not read {x.shape[1]} channels.")
    if isinstance(call[3], Live):
        raise NotUnderstood("adds an offset that is computed from the input")
    windows = declared_windows(call, weight.shape[2:], x.shape[2:])
    held: list[Value | None] = [call.value(2), call[4]]
    others = [value.tensor for value in held if isinstance(value, Live)]
    op = Deform(windows, weight.shape[0], groups)
    return call.emit(op, x, *others, params=call.stored(weight, call[3]))


@translates("DFT")
def _dft(call: OnnxCall) -> Tensor:
    """Each output reads all of `axis`; real and imaginary part lie in the last dimension."""
    x = call.tensor(0)
    rank = len(x.shape)
    if call.version >= 20:
        given = call.integers_at(2, "axis")
        axis = call.axis(given[0] if given else -2, rank)
    else:
        axis = call.axis(call.integer("axis", 1), rank)
    points = _one(call, 1, "length", x.shape[axis])
    if axis == rank - 1 or points < 1:
        raise ReadError("transforms along the dimension of real and imaginary parts.")
    onesided, inverse = bool(call.integer("onesided")), bool(call.integer("inverse"))
    tones = points // 2 + 1 if onesided and not inverse else points
    last = 1 if onesided and inverse else 2
    real = x.shape[-1] == 1 or onesided
    op = Transform((axis, rank - 1), (tones, last), (max(points, x.shape[axis]), 1), real, "dft")
    return call.emit(op, x)


@translates("STFT")
def _stft(call: OnnxCall) -> Tensor:
    """Frame `f` reads `f * step + j`, `j < length`, where the window is not 0."""
    x, window = call.tensor(0), call[2]
    if isinstance(window, Live):
        raise NotUnderstood("has a window that is computed from the input")
    points = _one(call, 3, "frame length", window.shape[0] if window is not None else 0)
    step = _one(call, 1, "step", 0)
    if len(x.shape) not in (2, 3) or not 1 <= points <= x.shape[1] or step < 1:
        raise ReadError(f"frames of {points} in steps of {step} do not fit {x.shape}.")
    bounded(points, 1)
    if len(x.shape) == 2:
        x = call.step(Reshape((*x.shape, 1)), x)
    unread: tuple[tuple[int, ...], ...] = ()
    if isinstance(window, Const) and call.weights and window.shape == (points,):
        unread = call.zeros(window, window.shape)
    onesided = bool(call.integer("onesided", 1)) and x.shape[2] == 1
    tones = points // 2 + 1 if onesided else points
    out = call.step(Windows(1, Window(points, step), unread), x)
    out = call.step(Permute((0, 1, 3, 2)), out)
    op = Transform((2, 3), (tones, 2), (points, 1), x.shape[2] == 1, "stft")
    return call.emit(op, out, params=call.params(2))


def _one(call: OnnxCall, index: int, what: str, default: int) -> int:
    """The whole number in input `index`; the default where it is left out."""
    held = call.integers_at(index, what)
    if held is None:
        return default
    if len(held) != 1:
        raise ReadError(f"its {what} is {held[:4]}; it is one number.")
    return held[0]
