"""The ideas that both build on: convolution, padding, pooling, same and valid, feature maps."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np

from atrous.analysis.unread import unread_share
from atrous.geometry import Window
from atrous.lessons.record import Cell, Fact, Numbers, Slide, made, topic
from atrous.lessons.stacks import on_line, reported
from atrous.lessons.words import count_of
from atrous.operators.conv import conv

__all__ = ["CHECKERBOARD", "CONVOLUTION", "MAPS", "PADDING", "POOLING", "SAME"]

CONVOLUTION = topic("convolution", "Convolution")
PADDING = topic("padding", "Stride and padding")
POOLING = topic("pooling", "Strided convolution and pooling")
SAME = topic("same-valid", "Same and valid padding")
CHECKERBOARD = topic("checkerboard", "Checkerboards")
MAPS = topic("feature-maps", "Feature maps")


@CONVOLUTION.states("sum", "An output is a weighted sum of the positions under the window.")
def _sum(n: Numbers) -> Fact:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1, 1, 4 * n.kernel * n.dilation))
    w = draw.standard_normal((1, 1, n.kernel))
    taps = Window(n.kernel, n.stride, n.dilation).taps(1)
    by_hand = float(sum(w[0, 0, j] * x[0, 0, at] for j, at in enumerate(taps)))
    made_of = float(conv(x, w, stride=n.stride, dilation=n.dilation)[0, 0, 1])
    return Fact(
        "true",
        f"Output o is the sum over j of w[j] x[{n.stride} o + {n.dilation} j]: for o = 1, summed "
        f"by hand, {by_hand:.6f}; computed, {made_of:.6f}.",
    )


@CONVOLUTION.states("shift", "A shifted input gives a shifted output.")
def _shift(n: Numbers) -> Fact:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1, 1, 12 * n.kernel * n.stride))
    w = draw.standard_normal((1, 1, n.kernel))
    before = conv(x, w, stride=n.stride)
    rows = []
    for by in sorted({1, n.stride}):
        after = conv(np.roll(x, by, -1), w, stride=n.stride)
        whole, rest = divmod(by, n.stride)
        inner = slice(n.kernel, -n.kernel)
        moved = np.roll(before, whole, -1)
        rows.append((by, not rest and bool(np.array_equal(after[..., inner], moved[..., inner]))))
    return Fact(
        "true" if n.stride == 1 else "if",
        f"Away from the borders, where the shift is a multiple of the stride {n.stride}. Other "
        "shifts show the layer another phase of its input.",
        (made(f"Stride {n.stride}", "input shifted by, output shifted alike", rows),),
    )


@PADDING.states("padding", "Padding lets windows begin outside, so that the map shrinks less.")
def _outputs_by_padding(n: Numbers) -> Fact:
    rows: list[tuple[Cell, ...]] = []
    extent = Window(n.kernel, dilation=n.dilation).extent
    for pad in sorted({0, n.kernel // 2, (extent - 1) // 2}):
        window = Window(n.kernel, n.stride, n.dilation, pad, pad)
        if n.size + 2 * pad < extent:
            continue
        outputs = window.output_length(n.size)
        partly = sum(any(not 0 <= t < n.size for t in window.taps(o)) for o in range(outputs))
        rows.append(
            (pad, outputs, partly, Window(n.kernel, n.stride, n.dilation, pad, pad).taps(0)[0])
        )
    return Fact(
        "true",
        "Each position of padding on a side moves the first window by one, and outputs near the "
        "border are made of fewer real positions.",
        (made(
            f"{n.size} positions, kernel {n.kernel}, stride {n.stride}, rate {n.dilation}",
            "padding a side, outputs, touch padding, first tap", rows,
        ),),
    )  # fmt: skip


@PADDING.states("centre", "Padding decides where outputs lie on the input.")
def _centre(n: Numbers) -> Fact:
    rows = []
    for low in range(n.kernel):
        window = f"k{n.kernel}s{n.stride}p({low},{n.kernel - 1 - low})"
        field = on_line(window, 8 * n.kernel * n.stride).outputs[0].field[0]
        rows.append((f"({low},{n.kernel - 1 - low})", float(field.center), field.back, field.ahead))
    return Fact(
        "true",
        f"The middle of what output 0 reads moves from {rows[0][1]:g} to {rows[-1][1]:g}; with all "
        "padding in front nothing ahead is read, which is what causal means.",
        (
            made(
                f"Kernel {n.kernel}, stride {n.stride}",
                "padding, centre of output 0, back, ahead",
                rows,
            ),
        ),
    )


@POOLING.states("same-reads", "A strided convolution and a pool with one window see the same.")
def _same_reads(n: Numbers) -> Fact:
    channels, length = n.channels, n.input[2:]
    rows: list[tuple[Cell, ...]] = []
    for name, stack in (
        ("strided convolution", f"k{n.kernel}s{n.stride}"),
        ("max pool", f"maxk{n.kernel}s{n.stride}"),
        ("average pool", f"avgk{n.kernel}s{n.stride}"),
        ("convolution, then max pool", f"k{n.kernel} maxk{n.stride}s{n.stride}"),
    ):
        report = reported(stack, (1, channels, *length))
        field = report.outputs[0].field[0]
        rows.append((name, field.size, str(field.stride), report.params, report.macs))
    dearer = rows[3][4] / rows[0][4] if rows[0][4] else 1  # type: ignore[operator]
    return Fact(
        "true",
        f"{rows[0][1]} positions each at stride {n.stride}; the pool has no weights, and a "
        f"convolution before a pool costs {dearer:.3g} times the strided one, because it computes "
        "the outputs that the pool then chooses from.",
        (made(f"{channels} channels", "layer, field, stride, weights, products:MAC", rows),),
    )


@POOLING.states("pool-keeps", "A pool drops nothing that a stride would.")
def _pool_keeps(n: Numbers) -> Fact:
    length = 16 * n.stride
    rows = []
    for stack in (f"k1s{n.stride}", f"maxk{n.stride}s{n.stride}", f"k{n.kernel}s{n.stride}"):
        report = on_line(stack, length)
        rows.append((stack, 1 - float(unread_share(report.network, report.input))))
    return Fact(
        "if",
        "What counts is the window against the stride, not the kind: a pool as wide as its stride "
        "reads everything, and so does a convolution at least as wide.",
        (made("Along one axis", "layer, input read:share", rows),),
    )


@SAME.states("sizes", "Same padding keeps the size, valid padding uses none.")
def _sizes(n: Numbers) -> Fact:
    rows: list[tuple[Cell, ...]] = []
    for stride in sorted({1, n.stride}):
        for name in ("same", "valid"):
            stack = f"k{n.kernel}s{stride}d{n.dilation}{name}"
            report = on_line(stack, n.size)
            field = report.outputs[0].field[0]
            rows.append((name, stride, report.outputs[0].output_shape[2], float(field.center)))
    return Fact(
        "if",
        "Same keeps the size at stride 1 alone, and gives ceil(N / S) at stride S.",
        (
            made(
                f"{n.size} positions, kernel {n.kernel}, rate {n.dilation}",
                "padding, stride, outputs, centre of output 0",
                rows,
            ),
        ),
    )


@SAME.states("one-same", "Same means the same everywhere.")
def _one_same(n: Numbers) -> Fact:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1, 1, 4 * n.kernel * n.stride))
    w = draw.standard_normal((1, 1, n.kernel))
    own, upper, lower = (
        conv(x, w, padding=rule, stride=n.stride) for rule in ("same", "same_upper", "same_lower")
    )
    equal = [
        ("same_upper (TensorFlow)", bool(np.array_equal(own, upper))),
        ("same_lower (ONNX)", bool(np.array_equal(own, lower))),
    ]
    return Fact(
        "true" if all(flag for _, flag in equal) else "false",
        f"At stride {n.stride} frameworks split the padding in different ways: outputs as many, at "
        "other places. Here `same` pads extent - 1 in all, whatever the stride.",
        (made(f"Kernel {n.kernel}, stride {n.stride}", "rule, equals same", equal),),
    )


@CHECKERBOARD.states("uneven", "Transposed convolutions make checkerboards.")
def _uneven(n: Numbers) -> Fact:
    rows: list[tuple[Cell, ...]] = []
    for kernel in sorted({n.kernel, n.stride, 2 * n.stride}):
        if kernel < n.stride:
            continue
        slide = Slide("", Window(kernel, n.stride), 8, transposed=True)
        counts = Counter(len(slide.reads(o)) for o in range(kernel, slide.outputs - kernel))
        rows.append((kernel, kernel % n.stride == 0, " or ".join(map(str, sorted(counts)))))
    window = Window(n.kernel, n.stride)
    return Fact(
        "if",
        f"Where the kernel is no multiple of the stride: outputs then add up unequal numbers of "
        f"inputs by turns. A multiple of {n.stride} is even.",
        (
            made(f"Transposed, stride {n.stride}", "kernel, a multiple, inputs an output", rows),
            Slide(f"transposed, kernel {n.kernel}, stride {n.stride}", window, 5, transposed=True),
        ),
    )


@CHECKERBOARD.states("dilated", "Dilation makes checkerboards of another kind.")
def _of_dilation(n: Numbers) -> Fact:
    stack = f"k{n.kernel} k{n.kernel}d{n.dilation} k{n.kernel}d{n.dilation}"
    report = on_line(stack, 16 * n.kernel * n.dilation)
    found = [one.code for one in report.findings]
    return Fact(
        "true" if n.dilation > 1 and n.kernel > 1 else "false",
        f"Behind layers whose rates share a factor, neighbouring outputs come from disjoint grids: "
        f"`{stack}` is reported as {', '.join(dict.fromkeys(found)) or 'free of it'}. A layer of "
        "rate 1 behind them joins the grids.",
    )


@MAPS.states("shape", "A layer turns maps into maps: channels by sizes.")
def _shape(n: Numbers) -> Fact:
    rows: list[tuple[Cell, ...]] = []
    for name, part in (("plain", ""), ("stride", f"s{n.stride}"), ("dilation", f"d{n.dilation}")):
        report = reported(f"k{n.kernel}{part}x{n.channels}", n.input)
        shape = report.outputs[0].output_shape
        rows.append((name, "x".join(map(str, shape[1:])), prod(shape), 4 * prod(shape)))
    return Fact(
        "true",
        f"One layer of {n.channels} channels on {'x'.join(map(str, n.input))}: stride shrinks what "
        "has to be kept, dilation does not.",
        (made("Float32", "layer, map, numbers, memory:bytes", rows),),
    )


@MAPS.states("position", "A position of a map stands for a place of the input.")
def _position(n: Numbers) -> Fact:
    stack = " ".join([f"k{n.kernel}s{n.stride}"] * min(n.depth, 3))
    report = on_line(stack, 32 * n.stride ** min(n.depth, 3))
    field = report.outputs[0].field[0]
    return Fact(
        "true",
        f"Output o of `{stack}` lies at {float(field.center):g} + {field.stride} o and reads "
        f"{count_of(field.size, 'position')} around it.",
    )
