"""What it costs and who chooses which: use cases, cost, both together, the summary."""

from __future__ import annotations

from fractions import Fraction
from functools import cache, partial
from typing import Any

import numpy as np

from atrous.analysis import Inspection, inspect_network
from atrous.conversion.request import ConversionRequest, plan_for
from atrous.lessons.clock import measured_on, milliseconds, peak_bytes
from atrous.lessons.record import Cell, Fact, Numbers, Table, made, topic
from atrous.lessons.stacks import compared, reported, usual
from atrous.lessons.words import count_of
from atrous.network import zoo
from atrous.network.aside import coarsest
from atrous.network.ops import Conv
from atrous.network.stack import parse_stack
from atrous.operators.conv import conv

__all__ = ["BOTH", "COST", "RELEVANCE", "SUMMARY", "USES"]

USES = topic("use-cases", "Use cases")
COST = topic("cost", "What it costs")
BOTH = topic("combining", "Both together")
SUMMARY = topic("summary", "Stride and dilation side by side")
RELEVANCE = topic("relevance", "What networks make of both")

_CLASSIFIERS = ("vgg16", "resnet50", "densenet121", "mobilenet_v2")
_DENSE = ("deeplabv3_resnet50", "drn_c_26", "d_linknet34", "espnet")
_AUDIO = ("wavenet", "tcn", "conv_tasnet")
_SIZE = (1, 3, 512, 512)
_STRIDES = (32, 16, 8)
_TIMED = 64
_TIMES = "layer, products:MAC, time:ms, of plain:times"
_HELD = "stack, by the graph:bytes, measured:bytes, of the strided:times"


@USES.states("strided", "Classifiers and compact features are built on stride.")
def _classifiers(n: Numbers) -> Fact:  # noqa: ARG001
    rows = [_network_row(name) for name in _CLASSIFIERS]
    return Fact(
        "true",
        f"Of {len(rows)} known classifiers all end at stride {_each(rows, 1)}, and "
        f"{'none has' if not any(row[2] for row in rows) else 'some have'} a dilated layer.",
        (_networks(rows),),
    )


@USES.states("dilated", "Segmentation, dense prediction and audio are built on dilation.")
def _dense_prediction(n: Numbers) -> Fact:  # noqa: ARG001
    rows = [_network_row(name) for name in (*_DENSE, *_AUDIO)]
    return Fact(
        "true",
        "Each of these has dilated layers, beside some stride in the images' networks; the audio "
        "networks have none at all along time but at their ends.",
        (_networks(rows),),
    )


@COST.states("later-layers", "Stride makes the layers behind it cheaper.")
def _later(n: Numbers) -> Fact:
    rows: list[tuple[Cell, ...]] = []
    plain = reported(" ".join([f"k{n.kernel}x{n.channels}"] * 3), n.input)
    strided = reported(
        f"k{n.kernel}s{n.stride}x{n.channels} " + " ".join([f"k{n.kernel}x{n.channels}"] * 2),
        n.input,
    )
    for one, other in zip(plain.layers, strided.layers, strict=True):
        rows.append((one.name, one.macs, other.macs, one.macs / other.macs))
    return Fact(
        "true",
        f"By {n.stride}^{n.rank} = {n.stride**n.rank}, where the sizes divide; the strided layer "
        "itself as well.",
        (
            made(
                f"Stride {n.stride} in the first layer",
                "layer, without:MAC, with:MAC, ratio:times",
                rows,
            ),
        ),
    )


@COST.states("same-products", "Dilation is more expensive to compute.")
def _same_products(n: Numbers) -> Fact:
    rows: list[tuple[Cell, ...]] = []
    for rate in sorted({1, 2, 4, n.dilation}):
        report = reported(f"k{n.kernel}d{rate}x{n.channels}", n.input)
        rows.append((rate, report.macs, report.params, report.peak_memory_bytes))
    same = len({row[1] for row in rows}) == 1
    return Fact(
        "if" if same else "true",
        f"One dilated layer multiplies as often as a plain one, {rows[0][1]:,} times at every "
        "rate. What costs is the map that stays large where stride would have shrunk it, and, in "
        "most frameworks, slower kernels for dilation.",
        (made("One layer", "rate, products:MAC, weights, peak memory:bytes", rows),),
    )


@COST.states("output-stride", "A smaller output stride costs a multiple.")
def _output_stride(n: Numbers) -> Fact:  # noqa: ARG001
    reports = [_resnet(stride) for stride in _STRIDES]
    times = [report.macs / reports[0].macs for report in reports]
    rows: list[tuple[Cell, ...]] = [
        (stride, one.macs, ratio, one.peak_memory_bytes, one.outputs[-1].field[0].size)
        for stride, ratio, one in zip(_STRIDES, times, reports, strict=True)
    ]
    return Fact(
        "true",
        f"ResNet-50 on 512x512 with its weights and its field kept: {times[1]:.2f} times the "
        f"products at output stride 16, {times[2]:.2f} times at 8.",
        (
            made(
                "ResNet-50",
                "output stride, products:MAC, of those at 32:times, peak memory:bytes, field",
                rows,
            ),
        ),
    )


@COST.states("time", "A strided network runs faster.")
def _time(n: Numbers) -> Fact:
    part: dict[str, dict[str, Any]] = {
        "plain": {},
        "stride": {"stride": n.stride},
        "dilation": {"dilation": n.dilation},
    }
    sizes = tuple(min(size, _TIMED ** (2 // n.rank or 1)) for size in n.input[2:])
    shape = (1, n.channels, *sizes)
    counts = {
        name: reported(
            "".join([f"k{n.kernel}", *(f"{k[0]}{v}" for k, v in one.items())]), shape
        ).macs
        for name, one in part.items()
    }
    if not n.measure:
        rows: list[tuple[Cell, ...]] = list(counts.items())
        text = "By the products that it leaves out; times are taken where you ask (--measure)."
        return Fact("true", text, (made("One layer", "layer, products:MAC", rows),))
    draw = np.random.default_rng(0)
    x = draw.standard_normal(shape).astype(np.float32)
    weight = draw.standard_normal((n.channels, n.channels, *(n.kernel,) * n.rank))
    weight = weight.astype(np.float32)
    times = milliseconds(
        {
            name: partial(conv, x, weight, padding="same", **options)
            for name, options in part.items()
        }
    )
    least = times["plain"]
    rows = [(name, counts[name], took, took / least) for name, took in times.items()]
    return Fact(
        "true" if times["stride"] < least else "if",
        f"One layer of {n.channels} channels on {'x'.join(map(str, sizes))}: stride takes "
        f"{times['stride'] / least:.2g} and dilation {times['dilation'] / least:.2g} of the plain "
        "layer's time here, by atrous.conv.",
        (made(f"Measured on {measured_on()}; times vary", _TIMES, rows),),
    )


@COST.states("memory", "Dilation takes more memory.")
def _memory(n: Numbers) -> Fact:
    table = usual(n, "strided", "dilated, doubling")
    strided, doubling = table
    ratio = Fraction(doubling.peak_memory_bytes, strided.peak_memory_bytes)
    said = (
        f"Two stacks that see {strided.field[0].size} positions: the dilated one holds "
        f"{float(ratio):.3g} times the activations at its peak, because its maps keep their size."
    )
    if not n.measure:
        return Fact("true" if ratio > 1 else "if", said, (table,))
    held = {one: peak_bytes(partial(_forward_stack, one.source, n)) for one in table}
    rows: list[tuple[Cell, ...]] = [
        (one.name, one.peak_memory_bytes, most, most / held[strided]) for one, most in held.items()
    ]
    more = f" Run by atrous.conv, it held {held[doubling] / held[strided]:.3g} times the memory."
    measured = made(f"Measured on {measured_on()}, working memory included", _HELD, rows)
    return Fact("true" if ratio > 1 else "if", said + more, (table, measured))


def _forward_stack(stack: str, n: Numbers) -> None:
    """A stack of convolutions, run with weights of one."""
    x = np.zeros(n.input, np.float32)
    for layer in parse_stack(stack):
        channels = layer.channels or x.shape[1]
        weight = np.ones((channels, x.shape[1], *layer.kernel * (n.rank // len(layer.kernel))))
        x = conv(
            x,
            weight.astype(np.float32),
            stride=layer.stride[0],
            dilation=layer.dilation[0],
            padding="same",
        )


@BOTH.states("early-late", "Networks stride early and dilate late.")
def _early_late(n: Numbers) -> Fact:  # noqa: ARG001
    rows: list[tuple[Cell, ...]] = []
    for name in _DENSE:
        convs = _convolutions(_known(name))
        strided = [
            place for place, op in enumerate(convs, 1) if any(w.stride > 1 for w in op.windows)
        ]
        dilated = [place for place, op in enumerate(convs, 1) if _rate(op) > 1]
        rows.append((name, len(convs), strided[-1], dilated[0]))
    late = [row[0] for row in rows if row[2] < row[3]]  # type: ignore[operator]
    return Fact(
        "true" if len(late) == len(rows) else "if",
        f"In {len(late)} of {len(rows)} the last strided convolution comes before the first "
        "dilated one.",
        (made("Convolutions in their order", "network, of, last strided, first dilated", rows),),
    )


@BOTH.states("hybrid", "Both together keep detail and see far.")
def _hybrid(n: Numbers) -> Fact:
    table = usual(n, "strided", "hybrid", "dilated, doubling")
    if len(table) < 3:
        return Fact("if", "It takes three layers to have both; ask with a larger depth.")
    strided, hybrid, doubling = table
    return Fact(
        "true",
        f"At {strided.field[0].size}, {hybrid.field[0].size} and {doubling.field[0].size} "
        f"positions seen, strides of {strided.output_stride[0]}, {hybrid.output_stride[0]} and "
        f"{doubling.output_stride[0]} cost 1, {hybrid.macs / strided.macs:.3g} and "
        f"{doubling.macs / strided.macs:.3g} times the products.",
        (table,),
    )


@BOTH.states("reduced", "Segmentation networks take downsampling out and put dilation in.")
def _reduced(n: Numbers) -> Fact:  # noqa: ARG001
    coarse, fine = _resnet(32), _resnet(8)
    fields = [one.outputs[-1].field[0].size for one in (coarse, fine)]
    maps = ["x".join(map(str, one.outputs[-1].output_shape[2:])) for one in (coarse, fine)]
    return Fact(
        "true" if fields[0] == fields[1] else "if",
        f"ResNet-50's last map goes from {maps[0]} to {maps[1]} at 512x512, and its field stays "
        f"{fields[1]}: the strides' part is taken over by rates 2 and 4.",
    )


@SUMMARY.states("table", "Stride and dilation, aspect by aspect.")
def _table(n: Numbers) -> Fact:
    stacks = {
        "plain": f"k{n.kernel}x{n.channels}",
        "stride": f"k{n.kernel}s{n.stride}x{n.channels}",
        "dilation": f"k{n.kernel}d{n.dilation}x{n.channels}",
    }
    table = compared({name: " ".join([one] * n.depth) for name, one in stacks.items()}, n.input)
    plain, stride, dilation = table
    rows: list[tuple[Cell, ...]] = [
        ("reduces the map", *(one.output_shape[2] < n.size for one in (stride, dilation))),
        ("keeps the resolution", *(one.output_stride[0] == 1 for one in (stride, dilation))),
        (
            "enlarges the field",
            *(one.field[0].size > plain.field[0].size for one in (stride, dilation)),
        ),
        ("products, of plain", *(_ratio(one.macs, plain.macs) for one in (stride, dilation))),
        (
            "outputs, of positions",
            *(_ratio(one.output_shape[2], n.size) for one in (stride, dilation)),
        ),
        (
            "positions of the field read",
            *(f"{one.coverage:.0%}" for one in (stride, dilation)),
        ),
        ("risk", "outputs left out", ", ".join(sorted({r.code for r in dilation.risks})) or "none"),
    ]
    return Fact(
        "true",
        "Fewer products suit a classifier, an output at every position suits dense prediction; "
        "each has its own artefact.",
        (
            made(
                f"{count_of(n.depth, 'layer')} of kernel {n.kernel}, "
                f"stride {n.stride} or rate {n.dilation}",
                "aspect, stride, dilation",
                rows,
            ),
            table,
        ),
    )


@RELEVANCE.states(
    "balance",
    "Stride builds a hierarchy, dilation context with precision; networks balance both.",
)
def _balance(n: Numbers) -> Fact:  # noqa: ARG001
    rows = [_network_row(name) for name in (*_CLASSIFIERS, *_DENSE, *_AUDIO)]
    both = [row for row in rows if row[2] and row[1] not in ("1",)]
    return Fact(
        "true",
        f"Of these {len(rows)} networks {len(both)} have both: a map coarser than the input, and "
        "rates above 1.",
        (_networks(rows),),
    )


def _networks(rows: list[tuple[Cell, ...]]) -> Table:
    return made(
        "Known networks", "network, coarsest stride, dilated layers, largest rate, field", rows
    )


def _each(rows: list[tuple[Cell, ...]], place: int) -> str:
    return " or ".join(sorted({str(row[place]) for row in rows}))


@cache
def _network_row(name: str) -> tuple[Cell, ...]:
    report = _known(name)
    rates = [_rate(op) for op in _convolutions(report)]
    stride = max(coarsest(report.network).values())
    field = report.outputs[-1].field[0].size
    return (name, str(stride), sum(rate > 1 for rate in rates), max(rates), field)


def _convolutions(report: Inspection) -> list[Conv]:
    return [node.op for node in report.network.nodes if isinstance(node.op, Conv)]


def _rate(op: Conv) -> int:
    return max(window.dilation for window in op.windows)


@cache
def _known(name: str) -> Inspection:
    return inspect_network(zoo.entry(name).build())


@cache
def _resnet(output_stride: int) -> Inspection:
    network = zoo.entry("resnet50").build(_SIZE)
    asked = ConversionRequest(output_stride, ("layer4",), "scale", "crop", measure=False)
    return inspect_network(plan_for(network, asked).candidate)


def _ratio(one: int, other: int) -> str:
    return f"{one / other:.3g}"
