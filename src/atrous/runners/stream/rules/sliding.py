"""Windows that slide along time: convolutions, pools, frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from atrous.errors import GeometryError
from atrous.geometry import Reads, Window, torch_pads
from atrous.runners.stream.rules.base import Ends, Local, Rule, Step, Timed, rule, wide
from atrous.runners.stream.rules.calling import called
from atrous.runners.stream.rules.spreading import spread_convolution

__all__ = ["Sliding"]

_FAR = 1 << 62
_FEW = 128
"""Up to so many outputs it is quicker to copy the taps than to convolve at a rate."""


class Sliding(Rule):
    """Output `o` reads what the window reads; padding is `fill`.

    `call` makes all outputs of a stretch that holds whole windows alone; `shares` what is to be
    multiplied with outputs whose windows stand over the ends, by their places. `beside` is
    the call where all taps of an output stand side by side.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        window: Window,
        dim: int,
        call: Callable[..., Any],
        *,
        fill: float = 0.0,
        shares: Callable[[range, Ends | None], torch.Tensor | None] | None = None,
        beside: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(inputs)
        self.window, self.dim, self.call, self.fill = window, dim, call, fill
        self.reads = Reads.window(window)
        self.shares, self.beside = shares, beside
        self.virtual = not fill and shares is None

    def sure(self, sure: Sequence[int]) -> int:
        """The windows that stand within the padded input."""
        return _count(self.window, sure[self.inputs[0]], self.window.pad_hi)

    def ready(self, made: Sequence[int], sure: int) -> int:
        """The windows that end in what is made."""
        return min(sure, _count(self.window, made[self.inputs[0]], 0))

    def first(self, done: int) -> tuple[int, ...]:
        """Where the window of output `done` begins."""
        return (self.window.taps(done).start,)

    def needs(self, outputs: range) -> tuple[range, ...]:
        """All from the first window's begin to the last one's end."""
        return (self.reads.needed(outputs),)

    def settled(self, done: int) -> bool:
        """Once windows begin in the input, unless zeros stand in front of it."""
        return self.virtual or self.window.taps(done).start >= 0

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:
        """Pads what stands over the ends and calls."""
        (needed,), (there,) = self.needs(outputs), stretches
        low, high = there.start - needed.start, needed.stop - there.stop
        call, fill = self.call, self.fill
        shares = self.shares(outputs, ends) if self.shares is not None else None
        if not low and not high and shares is None:
            return self._gathered(len(outputs)) or call
        behind = self.dim

        def run(x: torch.Tensor) -> torch.Tensor:
            sides = [0, 0] * (x.dim() - 1 - behind) + [low, high]
            made: torch.Tensor = call(pad(x, sides, value=fill))
            return made if shares is None else made * shares.to(made.device, made.dtype)

        return run

    def _gathered(self, count: int) -> Step | None:
        """Taps far apart are put side by side first: convolutions at rate 1 are the faster ones."""
        window, dim, call = self.window, self.dim, self.beside
        if call is None or window.stride > 1 or window.dilation == 1 or count > _FEW:
            return None
        starts = [window.dilation * tap for tap in range(window.kernel)]

        def run(x: torch.Tensor) -> Any:
            taps = [x.narrow(dim, start, count) for start in starts]
            return call(torch.stack(taps, dim + 1).flatten(dim, dim + 1))

        return run


def _count(window: Window, length: int, high: int) -> int:
    """How many windows end within an input and what is padded behind it; 0 where none does."""
    padded = Window(window.kernel, window.stride, window.dilation, window.pad_lo, high)
    try:
        return padded.output_length(length)
    except GeometryError:
        return 0


def axis_of(call: Timed, x: Any, axes: int) -> int | None:
    """Which of the last `axes` dimensions of `x` is time; None where it is the batch."""
    place = x.dim - (len(x.shape) - axes)
    if place >= 0:
        return int(place)
    if len(x.shape) == axes + 2 and x.dim == 0:
        return None
    raise call.refusal(
        f"its {call.name} has time among its channels, so it takes all of it at once"
    )


@rule("conv1d conv2d conv3d convolution")
def _convolution(call: Timed) -> Rule:
    if call["transposed"]:
        return spread_convolution(call)
    x = call.operand("input")
    meta = call["weight"].meta["val"]
    axes = meta.dim() - 2
    if call.known.value(call["weight"]) is not None:
        raise call.refusal("its kernel is made of the input")
    place = axis_of(call, x, axes)
    if place is None:
        return Local(*called(call))
    call.same()
    kernel = int(meta.shape[2 + place])
    stride, dilation = wide(call["stride"], axes), wide(call["dilation"], axes)
    padding = call["padding"]
    numbers = padding if isinstance(padding, str) else wide(padding, axes)
    sides = torch_pads(numbers, [int(k) for k in meta.shape[2:]], dilation)
    low, high = sides[place]
    window = Window(kernel, stride[place], dilation[place], low, high)
    inner = [low for low, _ in sides]
    inner[place] = 0
    uneven = [(a, b) if i != place else (0, 0) for i, (a, b) in enumerate(sides)]
    target = (torch.ops.aten.conv1d, torch.ops.aten.conv2d, torch.ops.aten.conv3d)[axes - 1].default
    weight, bias = call.constant("weight"), call.constant("bias")
    target = target._op
    groups = int(call["groups"])
    if any(a != b for a, b in uneven):
        flat = [side for pair in reversed(uneven) for side in pair]

        def run(x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = target(
                pad(x, flat), weight, bias, stride, [0] * axes, dilation, groups
            )
            return made
    else:

        def run(x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = target(x, weight, bias, stride, inner, dilation, groups)
            return made

    steps = [kernel if axis == place else n for axis, n in enumerate(stride)]
    rates = [1 if axis == place else n for axis, n in enumerate(dilation)]

    def beside(x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = target(x, weight, bias, steps, inner, rates, groups)
        return made

    even = all(a == b for a, b in uneven)
    return Sliding([x.index], window, x.dim, run, beside=beside if even else None)


@rule("max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices")
@rule("max_pool1d_with_indices")
def _max_pool(call: Timed) -> Rule:
    axes = int(call.name[8])
    window, change, x = _pooled(call, axes)
    if window is None:
        return Local(*called(call))
    if "indices" in call.name and any(
        u.args[1] == 1 and u.users for u in call.node.users if u.target.__name__ == "getitem"
    ):
        raise call.refusal("where its maxima stand is counted over all of time")
    _, function = called(call, change=change)
    floating = call.node.meta["val"]
    dtype = (floating[0] if isinstance(floating, list | tuple) else floating).dtype
    low = -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min
    return Sliding([x.index], window, x.dim, function, fill=low)


@rule("avg_pool1d avg_pool2d avg_pool3d")
def _avg_pool(call: Timed) -> Rule:
    axes = int(call.name[8])
    window, change, x = _pooled(call, axes)
    if window is None:
        return Local(*called(call))
    _, function = called(call, change=change)
    if call["divisor_override"] is not None:
        return Sliding([x.index], window, x.dim, function)
    counted = bool(call["count_include_pad"])
    if counted and not call["ceil_mode"]:
        return Sliding([x.index], window, x.dim, function)
    behind = len(x.shape) - 1 - x.dim

    def shares(outputs: range, ends: Ends | None) -> torch.Tensor | None:
        stop = _FAR if ends is None else ends[0]
        low, high = (-window.pad_lo, stop + window.pad_hi) if counted else (0, stop)
        counts = [
            min(window.taps(o).start + window.kernel, high) - max(window.taps(o).start, low)
            for o in outputs
            if ends is not None or window.taps(o).start < 0
        ]
        counts += [window.kernel] * (len(outputs) - len(counts))
        if all(count == window.kernel for count in counts):
            return None
        found = torch.tensor([window.kernel / count for count in counts], dtype=torch.float64)
        return found.view(-1, *[1] * behind)

    return Sliding([x.index], window, x.dim, function, shares=shares)


def _pooled(call: Timed, axes: int) -> tuple[Window | None, dict[str, Any], Any]:
    """The window of a pool along time, and the arguments with which it runs on whole windows."""
    x = call.operand("self")
    call.same()
    place = axis_of(call, x, axes)
    if place is None:
        return None, {}, x
    kernel = wide(call["kernel_size"], axes)
    stride = wide(call["stride"], axes) if call["stride"] else list(kernel)
    padding = wide(call["padding"], axes)
    dilation = wide(call["dilation"] or 1, axes)
    pads = padding[place]
    window = Window(kernel[place], stride[place], dilation[place], pads, pads)
    padding[place] = 0
    return window, {"stride": stride, "padding": padding}, x


@rule("unfold")
def _frames(call: Timed) -> Rule:
    x = call.operand("self")
    call.same()
    if int(call["dimension"]) % len(x.shape) != x.dim:
        return Local(*called(call))
    window = Window(int(call["size"]), int(call["step"]))
    return Sliding([x.index], window, x.dim, called(call)[1])


@rule("im2col")
def _columns(call: Timed) -> Rule:
    x = call.operand("self")
    call.same()
    place = axis_of(call, x, 2)
    kernel, stride = wide(call["kernel_size"], 2), wide(call["stride"], 2)
    dilation, padding = wide(call["dilation"], 2), wide(call["padding"], 2)
    other = None if place is None else 1 - place
    if place is None or other is None:
        return Local(*called(call))
    across = Window(kernel[other], stride[other], dilation[other], padding[other], padding[other])
    if across.output_length(x.shape[2 + other]) != 1:
        raise call.refusal("its columns go through both axes, so time is no dimension of its own")
    window = Window(kernel[place], stride[place], dilation[place], padding[place], padding[place])
    padding[place] = 0
    return Sliding([x.index], window, x.dim, called(call, change={"padding": padding})[1])


@rule("stft")
def _stft(call: Timed) -> Rule:
    x = call.operand("self")
    if call["center"]:
        raise call.refusal("its stft pads by itself; pad in front of it, with center=False")
    hop = int(call["hop_length"] or int(call["n_fft"]) // 4)
    call.same()
    if call["normalized"] is None:
        raise call.refusal("its stft is not followed")
    return Sliding([x.index], Window(int(call["n_fft"]), hop), x.dim, called(call)[1])
