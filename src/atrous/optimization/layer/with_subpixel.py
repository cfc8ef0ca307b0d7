"""Transposed convolutions as undilated ones of stride 1, one for each phase of the output.

Output `o` of stride `s` reads the taps `j` with `o + pad - j` a multiple of `s`: of each phase of
`o + pad` others, next to each other in the input. So all phases together are one convolution of
stride 1 with `s` times the filters along each axis and kernels of `ceil(kernel / s)`, whose results
are then laid side by side (Shi et al. 2016, sub-pixel convolution). No product meets a zero that
a stride put in, and every strategy for convolutions applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from math import prod

import torch
from torch.nn import functional

from atrous.geometry import Window
from atrous.operators.kernels import native
from atrous.operators.kernels.torch_winograd import prepare_winograd
from atrous.operators.kernels.winograd import Spread
from atrous.operators.tiles import LEVELS, Tiling
from atrous.optimization.layer import with_onednn, with_torch, with_winograd
from atrous.optimization.layer.activations import Activation, by_kernels
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.ways import PLAIN, WAYS, Runs, Way, register
from atrous.refusal import Refusal

__all__: list[str] = []

# Imported because they register the strategies of the convolution inside.
_STRATEGIES = (with_onednn, with_torch, with_winograd)
_MOST_PHASES = 64
_VECTOR = 16
"""Floats of the longest vector."""


def _all_phases(call: LayerCall) -> LayerCall | None:
    """The convolution of all phases; None where there is none of the kind."""
    phases = prod(call.stride)
    if call.op != "transposed" or call.groups != 1 or not 1 < phases <= _MOST_PHASES:
        return None
    if max(call.dilation) > 1:
        return None
    windows = tuple(
        _inner_window(window, size, made)
        for window, size, made in zip(
            call.windows, call.input[2:], call.convolution.outputs, strict=True
        )
    )
    channels, filters = call.weight[:2]
    kernel = tuple(window.kernel for window in windows)
    weight = (phases * filters, channels, *kernel)
    return LayerCall(
        "conv",
        call.input,
        weight,
        call.bias,
        windows,
        activation=call.activation,
        dtype=call.dtype,
        layout=call.layout,
    )


def _inner_window(window: Window, size: int, made: int) -> Window:
    taps = -(-window.kernel // window.stride)
    first, last = (at // window.stride for at in (window.pad_lo, made - 1 + window.pad_lo))
    # Its output 0 is number `first` of those that the padding would not cut off.
    lo = taps - 1 - first
    return Window(taps, 1, 1, lo, last - first + 1 - size - lo + taps - 1)


def _by_phase(weight: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """(channels, filters, taps) as (phases and filters, channels, taps of a phase)."""
    channels, filters, *kernel = weight.shape
    rank = len(kernel)
    lacking = [-k % s for k, s in zip(kernel, stride, strict=True)]
    whole = functional.pad(weight, [n for more in reversed(lacking) for n in (0, more)])
    split = [n for k, s in zip(whole.shape[2:], stride, strict=True) for n in (k // s, s)]
    parts = whole.reshape(channels, filters, *split)
    # Tap t of a phase reads t positions before: turned around, a kernel reads forwards.
    taps, phases = range(2, 2 + 2 * rank, 2), range(3, 3 + 2 * rank, 2)
    turned = parts.flip(tuple(taps)).permute(*phases, 1, 0, *taps)
    return turned.reshape(prod(stride) * filters, channels, *turned.shape[rank + 2 :])


def _phase_cuts(call: LayerCall) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """The number of each phase, where its results are read and where they are written."""
    axes = []
    for window, made in zip(call.windows, call.convolution.outputs, strict=True):
        step, ways = window.stride, []
        for phase in range(step):
            begin = (phase - window.pad_lo) % step
            count = len(range(begin, made, step))
            skipped = (begin + window.pad_lo) // step - window.pad_lo // step
            ways.append((slice(skipped, skipped + count), slice(begin, None, step)))
        axes.append(ways)
    for number, cut in enumerate(product(*axes)):
        yield number, tuple(read for read, _ in cut), tuple(written for _, written in cut)


def _side_by_side(call: LayerCall) -> Callable[[torch.Tensor], torch.Tensor]:
    whole = call.convolution
    filters = whole.out_channels
    cuts = tuple(
        ((slice(None), slice(at * filters, (at + 1) * filters), *read), (..., *written))
        for at, read, written in _phase_cuts(call)
        if all(one.stop > one.start for one in read)
    )
    last = call.layout == "channels_last"
    shape = (call.input[0], *whole.outputs, filters) if last else whole.shape

    def run(y: torch.Tensor) -> torch.Tensor:
        out = torch.empty(shape, dtype=y.dtype)
        out = out.movedim(-1, 1) if last else out
        for read, written in cuts:
            out[written] = y[read]
        return out

    return run


def _spread_of(call: LayerCall) -> Spread | None:
    """How the kernels write the phases side by side; None where those are no whole vectors."""
    whole = call.convolution
    if call.layout != "channels_last" or call.rank > 2 or whole.out_channels % _VECTOR:
        return None
    cut = tuple(lo % step for (lo, _), step in zip(call.padding, call.stride, strict=True))
    return Spread(call.stride, cut, whole.outputs)


def _inner_applies(way: Way, call: LayerCall) -> bool | Refusal:
    inner = _all_phases(call)
    return False if inner is None else way.applies(inner)


def _inner_activates(way: Way, activation: Activation, call: LayerCall) -> bool:
    inner = _all_phases(replace(call, adds=False))
    return inner is not None and way.activates(activation, inner)


def _by_inner(way: Way, weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    inner, weight, bias = _taken_apart(weight, bias, call)
    runs, joined = way.prepare(weight, bias, inner), _side_by_side(call)
    return lambda x: joined(runs(x))


def _taken_apart(
    weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall
) -> tuple[LayerCall, torch.Tensor, torch.Tensor | None]:
    inner = _all_phases(call)
    if inner is None:
        raise ValueError("this transposed convolution has no phases to compute.")
    repeated = None if bias is None else bias.repeat(prod(call.stride))
    return inner, _by_phase(weight, call.stride), repeated


def _is_filtered(level: int, call: LayerCall) -> bool | Refusal:
    inner = _all_phases(call)
    if inner is None or _spread_of(call) is None:
        return False
    return with_winograd.applies(level, inner)


def _with_tiles(
    level: int, weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall
) -> Runs:
    inner, weight, bias = _taken_apart(weight, bias, call)
    return with_winograd.prepared(level, weight, bias, inner, _spread_of(call))


def _is_multiplied(call: LayerCall) -> bool | Refusal:
    inner = _all_phases(call)
    if inner is None or _spread_of(call) is None or not inner.is_pointwise:
        return False
    if call.dtype != "float32" or not native().available:
        return Refusal("sub-pixel product", "", "the kernels are not here, or not for its element.")
    return True


def _multiplied(weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    inner, weight, bias = _taken_apart(weight, bias, call)
    whole, ones = inner.convolution, (1,) * call.rank
    tiling = Tiling(ones, prod(whole.outputs), prod(whole.outputs), ones)
    return prepare_winograd(weight, bias, whole, tiling, call.activation.kernel, _spread_of(call))


def _ways() -> Iterator[Way]:
    for name in (PLAIN, "onednn", "onednn unpacked"):
        one = WAYS[name]
        yield Way(
            f"sub-pixel {name}",
            partial(_inner_applies, one),
            partial(_by_inner, one),
            partial(_inner_activates, one),
        )
    yield Way("sub-pixel product", _is_multiplied, _multiplied, by_kernels, adds=True)
    for level in LEVELS:
        yield Way(
            f"sub-pixel winograd {level}",
            partial(_is_filtered, level),
            partial(_with_tiles, level),
            by_kernels,
            adds=True,
            rounds=True,
        )


for _way in [*_ways()]:
    register(_way)
