"""Strides to dilation on small networks as data, each run before and after by plain sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest

from atrous.conversion.dilating import plan_dilation
from atrous.conversion.edits import plan_edits
from atrous.conversion.plan import Plan
from atrous.geometry import Window
from atrous.network import Builder, Network, Tensor
from atrous.network.ops import (
    AdaptivePool,
    Constant,
    Contract,
    Conv,
    Mix,
    Pad,
    Permute,
    Pool,
    Reshape,
    Resize,
    Slice,
)
from atrous.network.stack import stack_network
from atrous.network.walk import strides
from atrous.refusal import Refusal
from tests.computed import assert_denser

Made = Callable[[Builder, Tensor], Tensor]


def network(made: Made, shape: tuple[int, ...] = (1, 2, 23)) -> Network:
    """One input `x` of that shape, and what is made of it."""
    b = Builder()
    return b.build(made(b, b.input("x", shape)))


def strided(b: Builder, x: Tensor, name: str = "down") -> Tensor:
    """A map of half as many positions: what a conversion makes dense."""
    return b.conv(x, 2, 3, stride=2, padding=1, name=name)


def dense(made: Network, target: Mapping[str, int] | int = 1, **options: Any) -> Plan:
    """The plan, which there must be."""
    wanted = dict.fromkeys(made.axes, target) if isinstance(target, int) else target
    plan = plan_dilation(made, wanted, made.outputs, **options)
    assert isinstance(plan, Plan), str(plan)
    return plan


def edits(plan: Plan) -> list[str]:
    return [str(edit) for edit in plan_edits(plan)]


def refused(made: Network, target: Mapping[str, int] | int = 1, **options: Any) -> Refusal:
    """The refusal, which there must be."""
    wanted = dict.fromkeys(made.axes, target) if isinstance(target, int) else target
    plan = plan_dilation(made, wanted, made.outputs, **options)
    assert isinstance(plan, Refusal)
    assert str(plan).endswith("."), str(plan)
    return plan


# --- stacks, and what becomes of each layer -------------------------------------------------

STACKS: list[tuple[str, int | tuple[int, ...], int, list[str]]] = [
    ("k3s2 k3", 21, 2, []),
    ("k3s2 k3", 21, 3, []),
    (
        "k3s2 k3",
        21,
        1,
        [
            "conv1: stride (2,) -> (1,)",
            "conv2: dilation (1,) -> (2,)",
            "conv2: padding (1,) -> (2,)",
        ],
    ),
    (
        "k3s4 k3",
        21,
        2,
        [
            "conv1: stride (4,) -> (2,)",
            "conv2: dilation (1,) -> (2,)",
            "conv2: padding (1,) -> (2,)",
        ],
    ),
    ("k3s6", 31, 2, ["conv1: stride (6,) -> (2,)"]),
    ("k3s6", 31, 3, ["conv1: stride (6,) -> (3,)"]),
    ("k1s2", 21, 1, ["conv1: stride (2,) -> (1,)"]),
    ("k3s2 k1s2 k1", 21, 1, ["conv1: stride (2,) -> (1,)", "conv2: stride (2,) -> (1,)"]),
    (
        "k3s2 k3s2 k3",
        41,
        2,
        [
            "conv2: stride (2,) -> (1,)",
            "conv3: dilation (1,) -> (2,)",
            "conv3: padding (1,) -> (2,)",
        ],
    ),
    (
        "k3s3 k3s2 k3d2",
        41,
        3,
        [
            "conv2: stride (2,) -> (1,)",
            "conv3: dilation (2,) -> (4,)",
            "conv3: padding (2,) -> (4,)",
        ],
    ),
    (
        "k3s2 maxk3s2valid k3",
        43,
        1,
        [
            "conv1: stride (2,) -> (1,)",
            "max2: stride (2,) -> (1,)",
            "max2: dilation (1,) -> (2,)",
            "max2: padding (0,) -> ((0, 1),)",  # 4 * 10 outputs, of 43 - 5 + 1
            "conv3: dilation (1,) -> (4,)",
            "conv3: padding (1,) -> (4,)",
        ],
    ),
    (
        "k3s2 k3p(2,0)",
        21,
        1,
        [
            "conv1: stride (2,) -> (1,)",
            "conv2: dilation (1,) -> (2,)",
            "conv2: padding ((2, 0),) -> ((4, 0),)",
        ],
    ),
    # One axis alone, and each as far as it is asked.
    ("k3s(2,1) k3", (9, 9), 2, []),
    (
        "k3s(2,4)",
        (11, 12),
        2,
        ["conv1: stride (2, 4) -> (2, 2)"],
    ),
    (
        "k3s(1,2) k3",
        (9, 9),
        1,
        [
            "conv1: stride (1, 2) -> (1, 1)",
            "conv2: dilation (1, 1) -> (1, 2)",
            "conv2: padding (1, 1) -> (1, 2)",
        ],
    ),
]


@pytest.mark.parametrize(
    ("text", "size", "target", "said"), STACKS, ids=[f"{s[0]} at {s[2]}" for s in STACKS]
)
def test_each_layer_of_a_stack_becomes_what_the_rule_says(text, size, target, said):
    sizes = size if isinstance(size, tuple) else (size,)
    plan = dense(stack_network(text, (1, 2, *sizes)), target)
    assert edits(plan) == said
    assert plan.direction == ("dilate" if said else "none")
    assert plan.target == (target,) * len(sizes)
    assert_denser(plan)


def test_an_axis_that_no_target_is_named_for_keeps_its_strides():
    plan = dense(stack_network("k3s2 k3", (1, 1, 9, 9)), {"w": 1})
    assert plan.target == (1,)
    assert edits(plan) == [
        "conv1: stride (2, 2) -> (2, 1)",
        "conv2: dilation (1, 1) -> (1, 2)",
        "conv2: padding (1, 1) -> (1, 2)",
    ]
    assert_denser(plan)


def test_what_only_other_outputs_need_is_left_out():
    b = Builder()
    x = strided(b, b.input("x", (1, 2, 21)))
    y = b.conv(x, 2, 3, name="wanted")
    other = b.conv(x, 2, 3, name="other")
    plan = plan_dilation(b.build(y, other), {"t": 1}, ["wanted"])
    assert isinstance(plan, Plan)
    assert [node.name for node in plan.candidate.nodes] == ["down", "wanted"]
    assert [change.node for change in plan.changes] == ["down", "wanted"]


def test_a_change_names_its_layer_its_axes_and_the_rule_for_other_sizes():
    plan = dense(stack_network("k3s(2,1) k3", (1, 1, 9, 7)), 1)
    first, second = plan.changes
    assert (first.node, first.module, first.axes) == ("conv1", "conv1", ("h", "w"))
    assert isinstance(first.before, Conv)
    assert [(d.window, d.factor, d.stride) for d in first.dense] == [
        (first.before.windows[0], 1, 1),
        (first.before.windows[1], 1, 1),
    ]
    assert [d.factor for d in second.dense] == [2, 1]
    assert plan.factors["x"] == {"h": 1, "w": 1}
    assert plan.factors["conv2"] == {"h": 2, "w": 1}


# --- one op behind a map that is made dense -------------------------------------------------

FLAT = (1, 2, 23)
SQUARE = (1, 2, 13, 15)


def pooled(**said: Any) -> Made:
    return lambda b, x: b.pool(strided(b, x), name="mid", **said)


def average(window: Window, **said: Any) -> Made:
    op = Pool((window,), "average", **said)
    return lambda b, x: b.add(op, strided(b, x), name="mid")


def padded(*pads: tuple[int, int], mode: Any = "constant") -> Made:
    return lambda b, x: b.conv(
        b.add(Pad(pads, mode), strided(b, x), name="mid"), 2, 3, stride=2, name="end"
    )


def sliced(start: int, length: int, step: int = 1, dim: int = 2) -> Made:
    return lambda b, x: b.add(Slice(dim, start, length, step), strided(b, x), name="mid")


def focus(b: Builder, x: Tensor) -> Tensor:
    """Both phases of a map, stacked."""
    x = strided(b, x)
    n = x.shape[2] // 2
    return b.concat(*(b.add(Slice(2, i, n, 2), x, name=f"phase{i}") for i in (0, 1)), name="cat")


def focus_2d(b: Builder, x: Tensor) -> Tensor:
    """All four phases, a row and then a column at a time."""
    x = b.conv(x, 2, 3, stride=1, padding=1, name="down")
    parts = []
    for i in (0, 1):
        rows = b.add(Slice(2, i, 6, 2), x, name=f"rows{i}")
        parts += [b.add(Slice(3, j, 7, 2), rows, name=f"part{i}{j}") for j in (0, 1)]
    return b.concat(*parts, name="cat")


def gated(b: Builder, x: Tensor) -> Tensor:
    x = strided(b, x)
    return b.join(x, b.conv(b.global_pool(x), 2, 1, name="gate"), label="mul", name="scaled")


def pyramid(b: Builder, x: Tensor) -> Tensor:
    x = strided(b, x)
    small = b.add(AdaptivePool((2,)), x, name="small")
    return b.concat(x, b.resize(b.conv(small, 2, 1, name="inner"), (12,), name="up"), name="cat")


def tokens(b: Builder, x: Tensor) -> Tensor:
    """A map laid out as a sequence and back."""
    x = strided(b, x)
    n, c, h, w = x.shape
    flat = b.add(Permute((0, 2, 1)), b.add(Reshape((n, c, h * w)), x, name="flat"), name="turn")
    flat = b.linear(flat, 3, name="lin")
    flat = b.add(Mix((2,)), flat, name="norm")
    back = b.add(Reshape((n, 3, h, w)), b.add(Permute((0, 2, 1)), flat, name="back"), name="grid")
    return b.conv(back, 2, 3, stride=2, name="end")


def residual(b: Builder, x: Tensor) -> Tensor:
    x = strided(b, x)
    a = b.conv(x, 2, 3, stride=2, padding=1, name="a")
    return b.join(a, b.pool(x, 1, stride=2, name="short"), name="sum")


EACH: dict[str, tuple[Made, tuple[int, ...]]] = {
    "max": (pooled(kernel=3, stride=2, padding=1), FLAT),
    "max, ceil": (pooled(kernel=2, stride=2, ceil=True), (1, 2, 21)),
    "max, ceil, whole": (pooled(kernel=2, stride=2, ceil=True), FLAT),
    "max, ceil, flat": (pooled(kernel=3, stride=1, padding=1, ceil=True), FLAT),
    "max, even": (pooled(kernel=2, stride=2), FLAT),
    "max, even, tail": (pooled(kernel=2, stride=2), (1, 2, 25)),
    "average": (pooled(kernel=2, stride=2, average=True), FLAT),
    "average, padded": (average(Window(3, 2, 1, 1, 1)), FLAT),
    "average, padded more behind": (average(Window(3, 2, 1, 1, 2)), FLAT),
    "average, tail": (average(Window(2, 2)), (1, 2, 25)),
    "average, ceil": (average(Window(2, 2), ceil=True), (1, 2, 25)),
    "average, pads not counted": (average(Window(3, 2, 1, 1, 1), count_include_pad=False), FLAT),
    "average, counted": (average(Window(3, 1, 1, 2, 2), counted=((1, 0),)), FLAT),
    "pad": (padded((1, 2)), FLAT),
    "pad, cropped": (padded((2, -1)), FLAT),
    "pad, cut": (padded((-1, -2)), FLAT),
    "reflect": (padded((2, 1), mode="reflect"), FLAT),
    "reflect, longer": (padded((2, 1), mode="reflect"), (1, 2, 24)),
    "replicate": (padded((0, 3), mode="replicate"), FLAT),
    "crop": (sliced(2, 8), FLAT),
    "crop at the end": (sliced(2, 10), FLAT),
    "crop at the start": (sliced(0, 7), FLAT),
    "all": (sliced(0, 12), FLAT),
    "every second": (sliced(0, 6, 2), FLAT),
    "every second from 1": (sliced(1, 6, 2), FLAT),
    "every third, some": (sliced(1, 2, 3), FLAT),
    "every third from 1": (sliced(1, 4, 3), FLAT),
    "channels": (sliced(1, 1, 1, dim=1), FLAT),
    "focus": (focus, (1, 2, 24)),
    "focus 2d": (focus_2d, (1, 2, 12, 14)),
    "tokens": (tokens, SQUARE),
    "residual": (residual, (1, 2, 21)),
    "transposed": (
        lambda b, x: b.conv_transpose(strided(b, x), 2, 3, dilation=2, padding=(1,), name="mid"),
        FLAT,
    ),
    "resize by a scale": (
        lambda b, x: b.add(
            Resize((24,), "nearest", "asymmetric", (Fraction(2),)), b.conv(x, 2, 1), name="mid"
        ),
        (1, 2, 12),
    ),
    "unlike pads": (
        lambda b, x: b.conv(strided(b, x), 2, 4, stride=2, padding=[(3, 1)], name="mid"),
        FLAT,
    ),
    "max along two axes": (
        lambda b, x: b.pool(
            strided(b, x), (3, 2), stride=(2, 1), padding=[(1, 0), (0, 1)], name="mid"
        ),
        SQUARE,
    ),
    "a kernel with nothing to pad it": (lambda b, x: b.conv(strided(b, x), 2, 5, name="m"), FLAT),
    "a join of one position": (
        lambda b, x: b.join(strided(b, x), b.add(Constant((2, 1)), name="c"), name="add"),
        FLAT,
    ),
    "all of an axis, as keys": (
        lambda b, x: b.add(Contract("bct,bdt->bcd"), x, x, name="mid"),
        FLAT,
    ),
}


@pytest.mark.parametrize("target", [1, 2])
@pytest.mark.parametrize("name", EACH)
def test_behind_a_denser_map_each_op_keeps_its_values(name, target):
    made, shape = EACH[name]
    before = network(made, shape)
    plan = dense(before, target)
    assert_denser(plan)
    for tensor, found in strides(plan.candidate).items():
        assert all(stride <= target for stride in found.values()), tensor
    for node, after in zip(plan.reference.nodes, plan.candidate.nodes, strict=True):
        assert node.op == after.op or node.name in {change.node for change in plan.changes}
    assert plan_edits(dense(plan.candidate, target)) == ()
