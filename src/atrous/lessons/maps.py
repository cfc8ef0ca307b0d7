"""What becomes of the map: its resolution, and which information it still has."""

from __future__ import annotations

from fractions import Fraction

from atrous.analysis.unread import unread_share
from atrous.geometry import Window
from atrous.lessons.record import Cell, Fact, Numbers, made, same, topic
from atrous.lessons.stacks import on_line, reported, usual
from atrous.lessons.words import count_of

__all__ = ["INFORMATION", "RESOLUTION"]

RESOLUTION = topic("resolution", "Spatial resolution")
INFORMATION = topic("information", "Information flow")


@RESOLUTION.states(
    "effects",
    "Both enlarge the field; stride shrinks the map, dilation keeps it.",
)
def _effects(n: Numbers) -> Fact:
    stacks = {"plain": "", "stride": f"s{n.stride}", "dilation": f"d{n.dilation}"}
    rows: list[tuple[Cell, ...]] = []
    for name, part in stacks.items():
        stack = " ".join([f"k{n.kernel}{part}x{n.channels}"] * n.depth)
        report = reported(stack, n.input)
        [output] = report.outputs
        first = report.layers[0]
        rows.append((
            name, "x".join(map(str, output.output_shape[2:])), first.field[0].size,
            output.field[0].size, str(output.output_stride[0]),
        ))  # fmt: skip
    return Fact(
        "if",
        f"Of a stack, which is meant: the first strided layer alone sees {rows[1][2]}, as a plain "
        f"one does. Of {n.depth} layers, stride makes {rows[1][1]} of {n.size} and sees "
        f"{rows[1][3]}; dilation keeps {rows[2][1]} and sees {rows[2][3]}.",
        (
            made(
                f"{count_of(n.depth, 'layer')} of kernel {n.kernel}, "
                f"stride {n.stride} or rate {n.dilation}",
                "method, output, field after 1, field, output stride",
                rows,
            ),
        ),
    )


@RESOLUTION.states("trade", "Stride trades resolution for efficiency.")
def _trade(n: Numbers) -> Fact:
    table = usual(n, "plain", "strided", "dilated, doubling")
    _, strided, doubling = table
    ratio = Fraction(doubling.macs, strided.macs)
    return Fact(
        "true",
        f"{n.depth} strided layers see {strided.field[0].size} positions, as far as doubling rates "
        f"({doubling.field[0].size}), with {float(ratio):.3g} times fewer products, and give one "
        f"output for {strided.output_stride[0]} positions of an axis.",
        (table,),
    )


@RESOLUTION.states("dense", "Dilation gives the strided network's answer at every position.")
def _at_every_phase(n: Numbers) -> Fact:
    k, length = n.kernel, 16 * n.stride * n.kernel
    strided = on_line(f"k{k}s{n.stride}valid k{k}valid", length)
    dense = on_line(f"k{k}valid k{k}d{n.stride}valid", length)
    at = strided.outputs[0].output_shape[2] // 2
    one = strided.footprint(at=at).mask
    other = dense.footprint(at=at * n.stride).mask
    equal = bool((one == other).all())
    return Fact(
        "true" if equal else "false",
        f"Take the stride of {n.stride} out and give the layer behind it rate {n.stride}: output "
        f"{at * n.stride} reads exactly what output {at} read before. A network at a small output "
        "stride is the strided one at every phase of its grid, with the same weights "
        "(`atrous convert`).",
    )


@INFORMATION.states("discards", "Stride discards the positions between.")
def _discards(n: Numbers) -> Fact:
    rows = []
    shape = (1, 1, *(16 * n.stride for _ in range(n.rank)))
    for kernel in sorted({1, 2, 3, n.kernel}):
        report = reported(f"k{kernel}s{n.stride}", shape)
        rows.append((kernel, 1 - float(unread_share(report.network, report.input))))
    own = dict(rows)[n.kernel]
    return Fact(
        "if",
        f"Positions are lost where the window is narrower than its stride. A kernel of 1 with "
        f"stride {n.stride} reads {rows[0][1]:.3g} of its input, a kernel of {n.kernel} "
        f"{'all' if own == 1 else f'{own:.3g}'} of it. What stride always discards is outputs.",
        (
            made(
                f"Stride {n.stride} in each axis",
                "kernel, input read:share",
                rows,
            ),
        ),
    )


@INFORMATION.states("compresses", "Stride compresses the representation.")
def _compresses(n: Numbers) -> Fact:
    rows: list[tuple[Cell, ...]] = []
    for channels in (n.channels, n.channels * n.stride, n.channels * n.stride**n.rank):
        report = reported(f"k{n.kernel}s{n.stride}x{channels}", (1, n.channels, *n.input[2:]))
        made_of = 1
        for size in report.outputs[0].output_shape:
            made_of *= size
        whole = n.channels
        for size in n.input[2:]:
            whole *= size
        rows.append((channels, made_of, made_of / whole))
    return Fact(
        "if",
        f"By {n.stride} an axis at equal channels. Networks that double the channels with each "
        f"stride keep {rows[1][2]:.3g} of the numbers, and only {n.stride}^{n.rank} times the "
        "channels keeps their count.",
        (
            made(
                f"From {n.channels} channels, stride {n.stride}",
                "channels, numbers, of the input:times",
                rows,
            ),
        ),
    )


@INFORMATION.states("keeps-detail", "Dilation keeps fine detail.")
def _keeps_detail(n: Numbers) -> Fact:
    window = same(n.kernel, dilation=n.dilation)
    near = [o for o in range(1, window.extent + 1) if set(window.taps(0)) & set(window.taps(o))]
    return Fact(
        "if",
        f"There is an output for every position, and every position is read by {n.kernel} of them. "
        f"But one output reads {n.kernel} of the {window.extent} positions it spans, and the first "
        f"neighbour that shares a tap with it is {near[0] if near else 'none'} away.",
    )


@INFORMATION.states("long-range", "Dilation adds context from far away at no more weights.")
def _long_range(n: Numbers) -> Fact:
    rows: list[tuple[Cell, ...]] = []
    for name, kernel, dilation in (
        ("plain", n.kernel, 1),
        ("dilated", n.kernel, n.dilation),
        ("as wide, full", Window(n.kernel, dilation=n.dilation).extent, 1),
    ):
        report = reported(f"k{kernel}d{dilation}x{n.channels}", n.input)
        rows.append((name, report.outputs[0].field[0].size, report.params, report.macs))
    return Fact(
        "true",
        f"Rate {n.dilation} spans {rows[1][1]} positions with the weights and products of "
        f"{rows[0][1]}.",
        (made("One layer", "layer, field, weights, products:MAC", rows),),
    )
