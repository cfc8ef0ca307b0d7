"""What stride and dilation are: how far the window moves, and how far apart its taps lie."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from atrous.geometry import Window
from atrous.lessons.record import Fact, Numbers, Slide, made, same, topic
from atrous.lessons.words import joined, nth
from atrous.operators.conv import conv

__all__ = ["DEFINITION", "DILATED", "STRIDED"]

DEFINITION = topic("definition", "Stride and dilation")
STRIDED = topic("strided", "Strided convolution")
DILATED = topic("dilated", "Dilated convolution")


@DEFINITION.states(
    "stride-moves", "Stride is how far the window moves from one output to the next."
)
def _stride_moves(n: Numbers) -> Fact:
    window = Window(n.kernel, n.stride)
    length = window.extent + 3 * n.stride
    firsts = [window.taps(o).start for o in range(4)]
    return Fact(
        "true",
        f"With stride {n.stride} the windows of outputs 0 to 3 begin at "
        f"{joined(firsts)}: output o begins at {n.stride} o.",
        (Slide(f"kernel {n.kernel}, stride {n.stride}", window, length),),
    )


@DEFINITION.states("dilation-spaces", "Dilation is how far apart the taps of one window lie.")
def _dilation_spaces(n: Numbers) -> Fact:
    window = Window(n.kernel, dilation=n.dilation)
    return Fact(
        "true",
        f"With rate {n.dilation} output 0 reads {joined(window.taps(0))}: {n.kernel} taps over an "
        f"extent of {window.extent}, and the window still moves by 1.",
        (Slide(f"kernel {n.kernel}, rate {n.dilation}", window, window.extent + 3),),
    )


@DEFINITION.states("same-field", "Both enlarge the receptive field.")
def _both_enlarge(n: Numbers) -> Fact:
    rows = []
    for name, first in (
        ("neither", same(n.kernel)),
        ("stride", n.strided),
        ("dilation", n.dilated),
    ):
        field = 1
        rows.append(
            (
                name,
                first.extent,
                field + (first.extent - 1) + (n.kernel - 1) * first.stride,
            )
        )
    grown = n.kernel > 1
    return Fact(
        "if" if grown else "false",
        f"Dilation widens its own layer: {rows[2][1]} positions in place of {rows[0][1]}. "
        f"Stride leaves its own layer at {rows[1][1]} and spreads those behind it: with one more "
        f"kernel {n.kernel} there, {rows[1][2]} in place of {rows[0][2]}.",
        (made("Field in input positions", "the first layer has, its field, one layer on", rows),),
    )


@DEFINITION.states("resolution", "Stride lowers the resolution, dilation keeps it.")
def _resolution(n: Numbers) -> Fact:
    strided, dilated = (w.output_length(n.size) for w in (n.strided, n.dilated))
    bare = Window(n.kernel, dilation=n.dilation)
    lost = bare.extent - 1
    return Fact(
        "if",
        f"{n.size} positions become {strided} with stride {n.stride}. With rate {n.dilation} they "
        f"stay {dilated} because the layer is padded by {lost} in all; without padding "
        f"{lost} positions are lost, {n.kernel - 1} without dilation.",
    )


@STRIDED.states("output-size", "An input of N positions gives floor((N - K) / S) + 1 outputs.")
def _output_size(n: Numbers) -> Fact:
    length, kernel, stride = (8, 3, 2) if _usual(n) else (n.size, n.kernel, n.stride)
    window = Window(kernel, stride)
    if length < kernel:
        return Fact(
            "false", f"A kernel of {kernel} does not fit {length} positions without padding."
        )
    made_of = window.output_length(length)
    exact = Fraction(length - kernel, stride) + 1
    last = length - 1 - window.taps(made_of - 1)[-1]
    end = (
        f", where ({length} - {kernel}) / {stride} + 1 is {float(exact):g}: the last "
        f"{'position is' if last == 1 else f'{last} positions are'} dropped."
        if last
        else ", and every position is read up to the last."
    )
    return Fact(
        "true",
        f"floor(({length} - {kernel}) / {stride}) + 1 = {made_of}{end}",
        (Slide(f"{length} positions, kernel {kernel}, stride {stride}", window, length),)
        if length <= 64
        else (),
    )


@STRIDED.states("whole-formula", "The formula with padding and dilation has the extent in it.")
def _whole_formula(n: Numbers) -> Fact:
    rows = []
    for stride, dilation, pad in (
        (1, 1, 0),
        (n.stride, 1, 0),
        (n.stride, 1, 1),
        (n.stride, n.dilation, 1),
    ):
        window = Window(n.kernel, stride, dilation, pad, pad)
        room = n.size + 2 * pad - window.extent
        if room >= 0:
            rows.append((stride, dilation, pad, window.extent, window.output_length(n.size)))
    return Fact(
        "true",
        "floor((N + pad_lo + pad_hi - extent) / S) + 1, where the extent is d (K - 1) + 1.",
        (
            made(
                f"Outputs of {n.size} positions, kernel {n.kernel}",
                "stride, rate, padding, extent, outputs",
                rows,
            ),
        ),
    )


@STRIDED.states("subsampling", "A strided layer downsamples: it leaves outputs out.")
def _subsampling(n: Numbers) -> Fact:
    x, weight = _random_layer(n)
    pad = n.strided.pad_lo
    every = conv(x, weight, padding=pad)
    kept = conv(x, weight, stride=n.stride, padding=pad)
    apart = float(np.abs(every[..., :: n.stride][..., : kept.shape[-1]] - kept).max())
    return Fact(
        "true",
        f"Every {nth(n.stride)} output of the layer at stride 1 equals the strided layer's; "
        f"the largest difference over {kept.size} values is {apart:.1g}. Downsampling is "
        "throwing outputs away, and not computing them.",
    )


@DILATED.states("zeros-between", "A dilated kernel is the kernel with zeros between its taps.")
def _zeros_between(n: Numbers) -> Fact:
    x, weight = _random_layer(n)
    spread = np.zeros((*weight.shape[:2], Window(n.kernel, dilation=n.dilation).extent))
    spread[..., :: n.dilation] = weight
    apart = float(np.abs(conv(x, weight, dilation=n.dilation) - conv(x, spread)).max())
    letters = [chr(ord("a") + i) for i in range(min(n.kernel, 5))]
    written = f" {' '.join(['0'] * (n.dilation - 1))} ".replace("  ", " ").join(letters)
    return Fact(
        "true",
        f"[{' '.join(letters)}] at rate {n.dilation} is [{written}]: run both ways, the results "
        f"differ by {apart:.1g} at most. {n.kernel} weights and products an output, not "
        f"{spread.shape[-1]}.",
        (
            Slide(
                f"kernel {n.kernel}, rate {n.dilation}",
                Window(n.kernel, dilation=n.dilation),
                spread.shape[-1] + 3,
            ),
        ),
    )


@DILATED.states("size-kept", "A dilated layer with stride 1 keeps its input's size.")
def _size_kept(n: Numbers) -> Fact:
    extent = Window(n.kernel, dilation=n.dilation).extent
    rows = [
        (what, window.pad_lo + window.pad_hi, window.output_length(n.size))
        for what, window in (
            ("none", Window(n.kernel, dilation=n.dilation)),
            ("that of rate 1", replace(same(n.kernel), dilation=n.dilation)),
            ("extent - 1", n.dilated),
        )
        if n.size + window.pad_lo + window.pad_hi >= window.extent
    ]
    return Fact(
        "if",
        f"Only with padding of extent - 1 = {extent - 1} in all. The padding that would do at rate "
        f"1 is {n.kernel - 1}, and loses {extent - n.kernel}.",
        (
            made(
                f"{n.size} positions, kernel {n.kernel}, rate {n.dilation}",
                "padding, in all, outputs",
                rows,
            ),
        ),
    )


@DILATED.states("no-downsampling", "A dilated layer does not downsample.")
def _no_downsampling(n: Numbers) -> Fact:
    window = n.dilated
    common = sorted(set(window.taps(0)) & set(window.taps(1)))
    shared = len(common)
    text = (
        f"Outputs 0 and 1 are one position apart, but share {shared} of {n.kernel} taps: "
        f"at rate {n.dilation} they read "
        + ("the same grid." if n.dilation == 1 else f"different ones of {n.dilation} sub-grids.")
    )
    return Fact("true" if n.dilation == 1 else "if", text)


def _usual(n: Numbers) -> bool:
    return (n.kernel, n.stride, n.size) == (3, 2, 128)


def _random_layer(n: Numbers) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    length = 4 * Window(n.kernel, dilation=n.dilation).extent
    return draw.standard_normal((1, 2, length)), draw.standard_normal((3, 2, n.kernel))
