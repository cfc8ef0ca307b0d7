"""What spreads each position over a window of outputs: transposed convolutions, overlap-add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from atrous.errors import GeometryError
from atrous.geometry import Reads, Window
from atrous.runners.stream.rules.base import Ends, Local, Rule, Step, Timed, rule, wide
from atrous.runners.stream.rules.calling import called

__all__ = ["Spreading", "spread_convolution"]


class Spreading(Rule):
    """Output `o` sums over the inputs `i` whose window, spread from `i`, reaches it.

    It is final once no later input reaches it. `call` makes all outputs of some inputs, nothing
    cropped.
    """

    virtual = True

    def __init__(
        self,
        inputs: Sequence[int],
        window: Window,
        extra: int,
        dims: tuple[int, int],
        call: Callable[..., Any],
    ) -> None:
        super().__init__(inputs)
        self.window, self.extra, self.call = window, extra, call
        self.dim, self.out = dims
        self.reads = Reads.transposed(window)

    def sure(self, sure: Sequence[int]) -> int:
        """As many as so many inputs make."""
        try:
            return self.window.transposed_length(sure[self.inputs[0]], self.extra)
        except GeometryError:
            return 0

    def ready(self, made: Sequence[int], sure: int) -> int:
        """Those in front of the first that the next input reaches."""
        count = made[self.inputs[0]]
        return max(0, min(sure, self.reads.touched(range(count, count + 1)).start))

    def first(self, done: int) -> tuple[int, ...]:
        """The first input that any output from `done` on reads."""
        return (self.reads.needed(range(done, done + self.window.stride)).start,)

    def needs(self, outputs: range) -> tuple[range, ...]:
        """All inputs that reach the outputs, and as many as it takes for these to be made."""
        window, found = self.window, self.reads.needed(outputs)
        start = found.start if len(found) else self.first(outputs.start)[0]
        start = min(start, (outputs.start + window.pad_lo) // window.stride)
        # A stretch of inputs makes what its last window reaches, which may be less than is asked.
        last = outputs.stop + window.pad_lo - window.extent
        return (range(start, max(found.stop, start + 1, -(-last // window.stride) + 1)),)

    def settled(self, done: int) -> bool:
        """Zeros stand in front of the input, so all are made alike."""
        return done >= 0

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
        """Spreads the inputs and cuts the outputs out."""
        (needed,), (there,) = self.needs(outputs), stretches
        low, high = there.start - needed.start, needed.stop - there.stop
        skip = outputs.start + self.window.pad_lo - needed.start * self.window.stride
        count, call, out = len(outputs), self.call, self.out
        made = self.window.unpadded.transposed_length(len(needed))
        whole = skip == 0 and made == count
        behind = self.dim

        def run(x: torch.Tensor) -> torch.Tensor:
            if low or high:
                x = pad(x, [0, 0] * (x.dim() - 1 - behind) + [low, high])
            spread: torch.Tensor = call(x)
            return spread if whole else spread.narrow(out, skip, count)

        return run


def spread_convolution(call: Timed) -> Rule:
    """The rule of a transposed convolution."""
    x = call.operand("input")
    meta = call["weight"].meta["val"]
    axes = meta.dim() - 2
    if call.known.value(call["weight"]) is not None:
        raise call.refusal("its kernel is made of the input")
    call.same("output_padding")
    place = x.dim - (len(x.shape) - axes)
    if place < 0:
        if x.dim == 0 and len(x.shape) == axes + 2:
            return Local(*called(call))
        raise call.refusal(
            f"its {call.name} has time among its channels, so it takes all of it at once"
        )
    stride, dilation = wide(call["stride"], axes), wide(call["dilation"], axes)
    padding, extra = wide(call["padding"], axes), wide(call["output_padding"], axes)
    beyond = min(wide(found, axes)[place] for found in call.each("output_padding"))
    window = Window(
        int(meta.shape[2 + place]), stride[place], dilation[place], padding[place], padding[place]
    )
    padding[place] = extra[place] = 0
    aten = torch.ops.aten
    target = (
        aten.conv_transpose1d.default,
        aten.conv_transpose2d.input,
        aten.conv_transpose3d.input,
    )[axes - 1]
    weight, bias, groups = call.constant("weight"), call.constant("bias"), int(call["groups"])
    target = target._op

    def run(x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = target(x, weight, bias, stride, padding, extra, groups, dilation)
        return made

    return Spreading([x.index], window, beyond, (x.dim, call.value.dim), run)


@rule("conv_transpose1d conv_transpose2d conv_transpose3d")
def _transposed(call: Timed) -> Rule:
    return spread_convolution(call)


@rule("col2im")
def _overlap_add(call: Timed) -> Rule:
    x, out = call.operand("self"), call.value
    kernel, stride = wide(call["kernel_size"], 2), wide(call["stride"], 2)
    dilation, padding = wide(call["dilation"], 2), wide(call["padding"], 2)
    call.same("output_size")
    place = out.dim - (len(out.shape) - 2)
    if place < 0 or x.dim != len(x.shape) - 1:
        if x.dim == 0:
            return Local(*called(call))
        raise call.refusal("its fold has time in no dimension of its own")
    other = 1 - place
    size = [int(n) for n in call["output_size"]]
    across = Window(kernel[other], stride[other], dilation[other], padding[other], padding[other])
    if across.output_length(size[other]) != 1:
        raise call.refusal("its fold goes through both axes, so time is no dimension of its own")
    window = Window(kernel[place], stride[place], dilation[place], padding[place], padding[place])
    # What is asked for beyond the last window is zeros.
    beyond = min(
        made - window.transposed_length(n) for made, n in zip(out.lengths, x.lengths, strict=True)
    )
    padding[place] = 0
    plain = window.unpadded
    target = torch.ops.aten.col2im.default

    def run(x: torch.Tensor) -> torch.Tensor:
        sizes = list(size)
        sizes[place] = plain.transposed_length(x.shape[-1])
        made: torch.Tensor = target(x, sizes, kernel, dilation, padding, stride)
        return made

    return Spreading([x.index], window, beyond, (x.dim, out.dim), run)


class Inverse(Spreading):
    """The inverse of a short-time Fourier transform: frames added up, by the windows that did.

    `call` gives the sum of the frames, `weights` that of the windows' squares for so many frames.
    """

    virtual = False

    def __init__(
        self,
        inputs: Sequence[int],
        window: Window,
        extra: int,
        dims: tuple[int, int],
        call: Callable[..., Any],
        weights: Callable[[int], torch.Tensor],
    ) -> None:
        super().__init__(inputs, window, extra, dims, call)
        self.weights = weights

    def settled(self, done: int) -> bool:
        """Where no frame is missing in front."""
        return self.first(done)[0] >= 0

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
        """Adds up the frames that there are, and divides by what their windows add up to."""
        (there,), window, call = stretches, self.window, self.call
        skip = outputs.start + window.pad_lo - there.start * window.stride
        made = window.unpadded.transposed_length(max(len(there), 1))
        count, short = len(outputs), max(0, skip + len(outputs) - made)
        weights = pad(self.weights(len(there)), [0, short], value=1.0).narrow(-1, skip, count)

        def run(x: torch.Tensor) -> torch.Tensor:
            summed = pad(call(x), [0, short]).narrow(-1, skip, count)
            return summed / weights.to(summed.device)

        return run


@rule("istft")
def _istft(call: Timed) -> Rule:
    x, out = call.operand("self"), call.value
    if x.dim != len(x.shape) - 1:
        raise call.refusal("its istft has frames in no dimension of their own")
    size = int(call["n_fft"])
    hop = int(call["hop_length"] or size // 4)
    width = int(call["win_length"] or size)
    call.same("length")
    taper = call.constant("window")
    if taper is None:
        taper = torch.ones(width, dtype=out.dtype)
    room = size - width
    taper = pad(taper.detach(), [room // 2, room - room // 2])
    crop = size // 2 if call["center"] else 0
    window = Window(size, hop, 1, crop, crop)
    beyond = min(
        made - window.transposed_length(n) for made, n in zip(out.lengths, x.lengths, strict=True)
    )
    whole, centred = call["onesided"], bool(call["normalized"])
    if whole is False or call["return_complex"]:
        raise call.refusal("its istft makes complex numbers, which is not followed")
    scale = size**0.5 if centred else 1.0

    def added(frames: torch.Tensor) -> torch.Tensor:
        long = window.unpadded.transposed_length(frames.shape[-1])
        made: torch.Tensor = torch.nn.functional.fold(
            frames, (1, long), kernel_size=(1, size), stride=(1, hop)
        )
        return made[:, 0, 0]

    def summed(x: torch.Tensor) -> torch.Tensor:
        frames = torch.fft.irfft(x.reshape(-1, *x.shape[-2:]), n=size, dim=-2) * scale
        return added(frames * taper[:, None]).reshape(*out.shape[:-1], -1)

    def weights(count: int) -> torch.Tensor:
        return added(taper.square()[None, :, None].expand(1, -1, count))[0]

    return Inverse([x.index], window, beyond, (x.dim, out.dim), summed, weights)
