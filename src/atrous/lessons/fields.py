"""Receptive fields: one layer, a stack, growth with depth, and the holes that dilation leaves."""

from __future__ import annotations

from itertools import accumulate

from atrous.analysis.compare import growth_of
from atrous.geometry import Window, fills, hdc, holes, stack_taps, tail_factors
from atrous.lessons.record import Fact, Numbers, made, same, topic
from atrous.lessons.stacks import on_line, reported, usual
from atrous.lessons.words import count_of, joined

__all__ = ["FIELDS", "FORMULA", "GRIDDING"]

FIELDS = topic("receptive-field", "Receptive fields")
FORMULA = topic("formula", "The receptive field as a formula")
GRIDDING = topic("gridding", "Gridding")

_ASYMMETRIC = (1, 2, 5)


@FIELDS.states("stride-grows", "Stride enlarges the field by way of the resolution.")
def _stride_grows(n: Numbers) -> Fact:
    strides = [n.stride**i for i in range(n.depth)]
    fields = list(accumulate(((n.kernel - 1) * s for s in strides), initial=1))[1:]
    rows = list(zip(range(1, n.depth + 1), strides, fields, strict=True))
    grows = n.kernel > 1 and n.stride > 1 and n.depth > 1
    return Fact(
        "true" if grows else "false",
        f"A position behind i strided layers stands for {n.stride}^i input positions, so a window "
        f"of {n.kernel} there reaches that much further: {fields[-1]} after {n.depth} layers, "
        f"{n.depth * (n.kernel - 1) + 1} without stride.",
        (made("Stride in each layer", "layer, one step of its taps, field", rows),),
    )


@FIELDS.states("dilation-grows", "Dilation enlarges the field directly.")
def _dilation_grows(n: Numbers) -> Fact:
    rows = [(d, Window(n.kernel, dilation=d).extent, n.kernel) for d in (1, 2, 4, 8)]
    return Fact(
        "true" if n.kernel > 1 else "false",
        f"One layer of kernel {n.kernel} spans {joined(row[1] for row in rows)} positions at rates "
        f"1, 2, 4 and 8, and reads {n.kernel} of them at each.",
        (made(f"One layer of kernel {n.kernel}", "rate, extent, taps", rows),),
    )


@FIELDS.states("exponential", "With dilation the field grows exponentially with depth.")
def _exponential(n: Numbers) -> Fact:
    depth = max(n.depth, 4)
    schedules = {
        "no stride, rate 1": ([1] * depth, [1] * depth),
        f"rate {n.dilation} in each": ([1] * depth, [n.dilation] * depth),
        "rates 1, 2, 4, ...": ([1] * depth, [1 << i for i in range(depth)]),
        "stride 2 in each": ([2] * depth, [1] * depth),
    }
    rows = []
    for name, (strides, rates) in schedules.items():
        step, field, fields = 1, 1, []
        for stride, rate in zip(strides, rates, strict=True):
            field += (n.kernel - 1) * rate * step
            step *= stride
            fields.append(field)
        rows.append((name, " ".join(map(str, fields)), growth_of(fields) or "none"))
    return Fact(
        "if",
        f"Only where the rates grow geometrically. With rate {n.dilation} in each layer the growth "
        f"is {rows[1][2]}, with doubling rates {rows[2][2]} - and so it is with stride 2 in each "
        "layer, which has the fields of doubling rates.",
        (made(f"Field after each layer, kernel {n.kernel}", "scheme, field, growth", rows),),
    )


@FIELDS.states("union", "Fields of branches add up to a box.")
def _union(n: Numbers) -> Fact:  # noqa: ARG001
    cross = 2 * 7 - 1
    return Fact(
        "false",
        f"Not the union of branches: a 1x7 beside a 7x1 reads a cross of {cross} positions, not a "
        f"box of {7 * 7}. A size per axis does not say what is read; the footprint does.",
    )


@FORMULA.states("plain", "One plain layer has a field of R = K.")
def _plain(n: Numbers) -> Fact:
    taps = Window(n.kernel).taps(0)
    return Fact("true", f"Output 0 reads {count_of(len(taps), 'position')}: {joined(taps)}.")


@FORMULA.states("dilated", "One dilated layer has a field of R = K + (K - 1)(d - 1).")
def _of_a_dilated_layer(n: Numbers) -> Fact:
    window = Window(n.kernel, dilation=n.dilation)
    by_formula = n.kernel + (n.kernel - 1) * (n.dilation - 1)
    return Fact(
        "true" if by_formula == window.extent else "false",
        f"{n.kernel} + {n.kernel - 1} x {n.dilation - 1} = {by_formula}, and the taps "
        f"{joined(window.taps(0))} span {window.extent}. That is one layer, and its extent: "
        f"{n.kernel} of the {window.extent} positions are read.",
    )


@FORMULA.states(
    "stack", "A stack has a field of 1 + the sum of (K - 1) d times the strides before."
)
def _stack(n: Numbers) -> Fact:
    text = f"k{n.kernel}s{n.stride} k{n.kernel}d{n.dilation} k{n.kernel}"
    report = on_line(text, 8 * n.stride * Window(n.kernel, dilation=n.dilation).extent)
    k = n.kernel - 1
    parts = [k, k * n.dilation * n.stride, k * n.stride]
    traced = report.outputs[0].field[0].size
    return Fact(
        "true" if 1 + sum(parts) == traced else "false",
        f"`{text}`: 1 + {' + '.join(map(str, parts))} = {1 + sum(parts)}, and what is read, traced "
        f"position by position, spans {traced}.",
    )


@FORMULA.states("no-pooling", "Dilation reaches far without pooling.")
def _no_pooling(n: Numbers) -> Fact:
    table = usual(n, "plain", "dilated, doubling", "strided", "pooled after")
    doubling = table["dilated, doubling"]
    return Fact(
        "true" if n.kernel > 1 else "false",
        f"{n.depth} layers with doubling rates see {doubling.field[0].size} positions at an output "
        f"stride of {doubling.output_stride[0]}; strided ones see {table['strided'].field[0].size} "
        f"at {table['strided'].output_stride[0]}.",
        (table,),
    )


@GRIDDING.states("holes", "High rates leave holes: positions that no path reads.")
def _holes(n: Numbers) -> Fact:
    k = n.kernel
    schedules = [
        (n.dilation,) * 3, (1, 2, 3), (1, 2, 4, 8), (2, 4, 8), (1, 2, 9), (2, 2, 3), _ASYMMETRIC,
        (3, 6, 12, 18, 24), (1, 3, 6, 12, 18, 24),
    ]  # fmt: skip
    rows = []
    for rates in dict.fromkeys(schedules):
        taps = stack_taps(k, rates)
        share = (taps.count / taps.size) ** n.rank
        rows.append((",".join(map(str, rates)), taps.count, taps.size, share))
    first = rows[0]
    full = [row[0] for row in rows if row[1] == row[2]]
    return Fact(
        "if",
        f"Not the height of a rate decides but the set of the whole stack. Rates {first[0]} read "
        f"{first[1]} of {first[2]} positions along an axis"
        + (f"; {joined(full)} read all of theirs." if full else ".")
        + (
            " For one odd kernel there is no hole exactly when, in ascending order, each rate is "
            "at most 1 + (K - 1) times the sum of those before it."
            if k % 2
            else ""
        ),
        (made(f"Stacks of kernel {k}", "rates, read, of, share of the box:share", rows),),
    )


@GRIDDING.states("order", "The order of the rates matters.")
def _order(n: Numbers) -> Fact:
    up, down = (1, 2, 4), (4, 2, 1)
    same_set = list(stack_taps(n.kernel, up)) == list(stack_taps(n.kernel, down))
    rows = [
        (",".join(map(str, rates)), stack_taps(n.kernel, rates).count, tail_factors(rates)[-1])
        for rates in (up, down)
    ]
    assert same_set
    return Fact(
        "if",
        "Not for what is read: both orders read the same set. It matters for neighbours: where the "
        "last layers' rates have a common factor, neighbouring outputs are made of different "
        "sub-grids of the map before, which is the checkerboard that one sees.",
        (made("Both orders", "rates, positions read, sub-grids in the last layer", rows),),
    )


@GRIDDING.states("balanced", "Rates must be balanced, and there is a rule for it.")
def _balanced(n: Numbers) -> Fact:  # noqa: ARG001
    rows = []
    for rates in ((2, 2, 2), _ASYMMETRIC, (1, 2, 5, 1, 2, 5), (1, 2, 9), (3, 4, 5)):
        taps = stack_taps(3, rates)
        rows.append((
            ",".join(map(str, rates)), hdc(3, rates).passes, fills(3, rates),
            sum(map(len, holes(taps))),
        ))  # fmt: skip
    wrong = [row[0] for row in rows if row[1] != row[2]]
    return Fact(
        "if",
        f"The rule of hybrid dilated convolution (Wang et al. 2018) is another one: it is wrong on "
        f"{joined(f'({text})' for text in wrong)}. Counting what is read is right on all.",
        (made("Kernel 3", "rates, HDC passes, no hole, positions unread", rows),),
    )


@GRIDDING.states("sparse", "Sampling is sparse behind high rates.")
def _sparse(n: Numbers) -> Fact:
    window = Window(n.kernel, dilation=n.dilation)
    stack = " ".join([f"k{n.kernel}d{n.dilation}"] * 3)
    size = 4 * window.extent
    report = reported(stack, (1, 1, *(size for _ in range(min(n.rank, 2)))))
    seen = report.footprint()
    field = report.outputs[0].field[0]
    return Fact(
        "true" if n.dilation > 1 else "if",
        f"Three layers of rate {n.dilation} read {field.taps} of {field.size} positions along an "
        f"axis, {seen.coverage:.0%} of the box; all of them are {n.dilation} apart.",
        (seen,),
    )


@GRIDDING.states("head", "Large rates on a small map are windows of one tap.")
def _head(n: Numbers) -> Fact:
    rows = []
    for size in (65, 33):
        for rate in (6, 12, 18, 24, 36):
            window = same(n.kernel, dilation=rate)
            inside = [sum(0 <= t < size for t in window.taps(o)) for o in range(size)]
            rows.append((
                size, rate, (sum(i == n.kernel for i in inside) / size) ** 2,
                (sum(inside) / size / n.kernel) ** 2, (sum(i == 1 for i in inside) / size) ** 2,
            ))  # fmt: skip
    return Fact(
        "true",
        "The rates of a pyramid (ASPP) are chosen for a map: where a rate comes near the map's "
        "size, most of its taps read padding.",
        (
            made(
                f"{n.kernel}x{n.kernel} on a square map",
                "map, rate, all taps inside:share, taps inside:share, centre alone:share",
                rows,
            ),
        ),
    )
