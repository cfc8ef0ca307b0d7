"""Strides to dilation on small networks as data, each run before and after by plain sums."""

from __future__ import annotations

import random
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
    Expand,
    Mix,
    Opaque,
    Pad,
    Permute,
    Pool,
    Reshape,
    Resize,
    Roll,
    Shuffle,
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


def focus_each(b: Builder, x: Tensor) -> Tensor:
    """All four phases, each by two slices of its own."""
    x = b.conv(x, 2, 3, stride=2, padding=1, name="down")
    (_, _, h, w), parts = x.shape, []
    for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)):
        rows = b.add(Slice(2, i, h // 2, 2), x, name=f"rows{i}{j}")
        parts.append(b.add(Slice(3, j, w // 2, 2), rows, name=f"part{i}{j}"))
    return b.concat(*parts, name="cat")


def slices_apart(b: Builder, x: Tensor) -> Tensor:
    """Every second position beside a layer of that stride, and slices that are no phase of it."""
    y, z = strided(b, x, "one"), strided(b, x, "two")
    half = b.join(b.add(Slice(2, 0, 6, 2), y), b.conv(y, 2, 1, stride=2), name="half")
    other = b.add(Slice(2, 1, 6, 2), z, name="other")
    third = b.add(Slice(2, 1, 4, 3), y, name="third")
    return b.concat(*(b.mean(part, (2,)) for part in (half, other, third)), name="cat")


def product(b: Builder, x: Tensor) -> Tensor:
    """Attention to every second position, spelled as products."""
    x = strided(b, x)
    keys = b.conv(x, 2, 2, stride=2, name="keys")
    score = b.add(Mix((2,)), b.add(Contract("bcq,bck->bqk"), x, keys, name="score"), name="soft")
    return b.add(Contract("bck,bqk->bcq"), keys, score, name="mid")


def flat_map(b: Builder, x: Tensor) -> Tensor:
    """Maps of one row, joined, and a layer behind them."""
    parts = [b.conv(x, 2, (1, 3), stride=(1, 2), name=name) for name in ("one", "two")]
    return b.conv(b.join(*parts, name="sum"), 2, (1, 3), name="last")


def rows_end_to_end(b: Builder, x: Tensor) -> Tensor:
    """Maps one below the other, which keep their rows."""
    parts = [b.conv(x, 2, (1, 3), stride=(1, 2), name=name) for name in ("one", "two")]
    return b.conv(b.concat(*parts, dim=2, name="cat"), 2, (2, 3), name="last")


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
    "every second of a crop": (
        lambda b, x: b.add(Slice(2, 0, 5, 2), b.add(Slice(2, 1, 9), strided(b, x)), name="mid"),
        FLAT,
    ),
    "focus": (focus, (1, 2, 24)),
    "focus 2d": (focus_2d, (1, 2, 12, 14)),
    "focus, each phase by itself": (focus_each, (1, 2, 24, 28)),
    "maps of one row": (flat_map, (1, 2, 1, 23)),
    "rows end to end": (rows_end_to_end, (1, 2, 1, 23)),
    "maps end to end": (rows_end_to_end, (1, 2, 5, 23)),
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
        if any(note.startswith(f"{node.name}:") for note in plan.notes):
            assert isinstance(node.op, Conv | Pool)
    assert plan_edits(dense(plan.candidate, target)) == ()


def test_slices_of_other_maps_or_in_other_steps_are_no_phases_of_one_another():
    plan = dense(network(slices_apart, (1, 2, 24)))
    assert plan.candidate.tensor("half").shape == (1, 2, 24)
    assert_denser(plan, but=[n.output.name for n in plan.reference.nodes[-4:]])

    def corners(b: Builder, x: Tensor) -> Tensor:
        y, z = strided(b, x, "one"), strided(b, x, "two")
        parts = [b.add(Slice(3, i, 4, 2), b.add(Slice(2, 0, 4, 2), m)) for i, m in ((0, y), (1, z))]
        half = b.join(parts[0], b.conv(y, 2, 1, stride=2), name="half")
        return b.concat(b.mean(half, (2, 3)), b.mean(parts[1], (2, 3)))

    assert dense(network(corners, (1, 2, 16, 16))).candidate.tensor("half").shape[2:] == (16, 16)


def test_maps_of_one_row_have_one_row_as_before():
    plan = dense(network(flat_map, (1, 2, 1, 23)))
    assert plan.factors["sum"] == plan.factors["last"] == {"h": 1, "w": 2}
    assert edits(plan)[-1] == "last: dilation (1, 1) -> (1, 2)"


def test_keys_and_values_of_products_may_have_fewer_positions_than_the_queries():
    plan = dense(network(product, (1, 2, 24)))
    assert plan.factors["keys"] == {"t": 1}
    assert plan.factors["mid"] == {"t": 2}
    assert_denser(plan)


def test_a_target_that_the_strides_do_not_pass_through_is_refused_with_both():
    refusal = refused(stack_network("k3s2 k3s3", (1, 1, 25)), 4)
    assert (refusal.rule, refusal.layer) == ("output stride", "conv2")
    assert "output_stride=4 lies between 2 and 6 along t" in refusal.reason
    refusal = refused(stack_network("k3s2 k3s3", (1, 1, 25)), 3)
    assert "output_stride=3 lies between 2 and 6 along t" in refusal.reason
    refusal = refused(stack_network("k3s2 maxk3s3", (1, 1, 25, 25)), {"h": 6, "w": 5})
    assert (refusal.rule, refusal.layer) == ("output stride", "max2")
    assert "output_stride=5 lies between 2 and 6 along w" in refusal.reason


def test_a_slice_that_jumps_over_the_target_is_refused():
    refusal = refused(network(lambda b, x: b.add(Slice(2, 0, 6, 4), x, name="s")), 3)
    assert (refusal.rule, refusal.layer) == ("output stride", "s")
    assert "lies between 1 and 4 along t" in refusal.reason


# --- what a conversion cannot keep, and what it follows nevertheless ------------------------


def test_a_gate_sums_over_the_denser_map():
    plan = dense(network(gated))
    assert plan.factors["scaled"] == {"t": 2}
    assert plan.candidate.tensor("scaled").shape == (1, 2, 23)
    assert_denser(plan, but=("avgpool", "gate", "scaled"))


def test_a_pyramid_pool_is_resampled_to_the_size_that_the_map_has_now():
    plan = dense(network(pyramid))
    assert edits(plan) == ["down: stride (2,) -> (1,)", "up: sizes (12,) -> (23,)"]
    assert plan.factors["small"] == {"t": 1}
    assert plan.factors["up"] == {"t": 2}
    assert_denser(plan, but=("small", "inner", "up", "cat"))


def test_what_is_spread_over_a_map_takes_the_size_that_the_map_has_now():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)
        spread = b.add(Expand((1, 2, 12)), b.global_pool(x), name="spread")
        return b.concat(x, spread, name="cat")

    plan = dense(network(made))
    assert edits(plan) == ["down: stride (2,) -> (1,)", "spread: shape (1, 2, 12) -> (1, 2, 23)"]
    assert_denser(plan, but=("avgpool", "spread", "cat"))


def test_a_spread_over_channels_or_one_more_dimension_stays():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)
        table = b.add(Constant((1, 1)), name="table")
        return b.join(x, b.add(Expand((1, 2, 1)), table, name="spread"), name="sum")

    plan = dense(network(made))
    assert edits(plan) == ["down: stride (2,) -> (1,)"]
    assert_denser(plan)


def test_a_size_that_no_map_has_stays_as_it_is():
    made = network(lambda b, x: b.resize(strided(b, x), (40,), name="up"))
    plan = dense(made)
    assert edits(plan) == ["down: stride (2,) -> (1,)"]
    assert plan.factors["up"] == {"t": 1}


def test_a_resampling_by_a_scale_goes_by_it():
    def made(b: Builder, x: Tensor) -> Tensor:
        op = Resize((18,), "nearest", "asymmetric", (Fraction(3, 2),))
        return b.add(op, strided(b, x), name="up")

    plan = dense(network(made))
    assert edits(plan) == ["down: stride (2,) -> (1,)", "up: sizes (18,) -> (34,)"]  # 23 * 3/2
    assert plan.factors["up"] == {"t": 2}


def test_a_resampling_by_a_rounded_scale_keeps_its_size_where_nothing_changes():
    def made(b: Builder, x: Tensor) -> Tensor:
        op = Resize((8,), "nearest", "asymmetric", (Fraction(333, 1000),))
        return b.relu(b.add(op, x, name="less"))

    assert dense(network(made, (1, 2, 24)), 4).changes == ()


def test_a_resampling_by_a_scale_does_not_follow_a_map_that_has_its_size_by_chance():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)  # 12 of 24
        less = b.add(AdaptivePool((6,)), x, name="less")
        return b.concat(
            x, b.add(Resize((12,), "nearest", "asymmetric", (Fraction(2),)), less, name="up")
        )

    refusal = refused(network(made, (1, 2, 24)))
    assert (refusal.rule, refusal.layer) == ("join", "concat")
    assert "down has 24 positions along t" in refusal.reason
    assert "up has 12 (both had 12)" in refusal.reason


# --- heads ----------------------------------------------------------------------------------


def head(b: Builder, x: Tensor) -> Tensor:
    """Three rates beside one another and a layer behind them."""
    x = b.relu(strided(b, x), name="act")
    branches = [
        b.conv(x, 2, 3, dilation=rate, padding=rate, name=f"rate{rate}") for rate in (1, 2, 3)
    ]
    return b.conv(b.concat(*branches, name="cat"), 2, 3, padding=1, name="last")


def test_the_rates_of_a_head_follow_the_map_and_keep_their_reach():
    plan = dense(network(head))
    assert [(h.layer, h.rate_before, h.rate_after) for h in plan.heads] == [
        ("rate2", 2, 4),
        ("rate3", 3, 6),
    ]
    assert [(h.reach_before, h.reach_after, h.axes) for h in plan.heads] == [
        (4, 4, ("t",)),
        (6, 6, ("t",)),
    ]
    assert_denser(plan)


def test_the_rates_of_a_head_stay_where_that_is_asked_and_reach_less():
    plan = dense(network(head), heads="keep")
    assert edits(plan) == ["down: stride (2,) -> (1,)"]
    assert [(h.layer, h.rate_before, h.rate_after) for h in plan.heads] == [
        ("rate2", 2, 2),
        ("rate3", 3, 3),
    ]
    assert [(h.reach_before, h.reach_after) for h in plan.heads] == [(4, 2), (6, 3)]
    assert plan.factors["last"] == {"t": 2}


def test_a_head_is_told_of_along_the_axes_that_changed():
    plan = dense(network(head, (1, 2, 13, 13)), {"h": 2, "w": 1})
    assert [(h.layer, h.axes, h.rate_after) for h in plan.heads] == [
        ("rate2", ("w",), 4),
        ("rate3", ("w",), 6),
    ]
    both = dense(network(head, (1, 2, 13, 13)), 1)
    assert [h.axes for h in both.heads] == [("h", "w"), ("h", "w")]


def test_a_head_is_told_of_where_its_windows_also_slide_over_what_has_no_positions():
    b = Builder()
    x = b.input("x", (1, 2, 9, 23), axes=(None, None, None, "t"))
    x = b.conv(x, 2, (1, 2), stride=(1, 2), name="down")
    branches = [
        b.conv(x, 2, (2, 2), dilation=(5 - rate, rate), padding=[(2, 2), (2, 2)], name=f"r{rate}")
        for rate in (1, 2)
    ]
    plan = dense(b.build(*branches))
    assert [(h.layer, h.rate_before, h.rate_after) for h in plan.heads] == [("r2", 2, 4)]
    assert [(h.axes, h.reach_before, h.reach_after) for h in plan.heads] == [(("t",), 4, 4)]
    assert_denser(plan)


def test_what_reads_one_map_at_one_rate_is_no_head():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)
        one = b.conv(x, 2, 3, dilation=2, padding=2, name="one")
        point = b.conv(x, 2, 1, name="point")  # of a single tap a rate says nothing
        return b.conv(b.join(one, point), 2, 3, dilation=3, padding=3, name="last")

    plan = dense(network(made), heads="keep")
    assert plan.heads == ()
    assert "one: dilation (2,) -> (4,)" in edits(plan)
    assert_denser(plan)


# --- tails ----------------------------------------------------------------------------------


def test_where_a_tail_is_dropped_the_dense_map_is_cropped_and_that_is_told():
    plan = dense(stack_network("k3s2 maxk2s2valid k3", (1, 1, 25)))  # 25 -> 13 -> 6
    assert [n.output.shape[2] for n in plan.candidate.nodes] == [25, 24, 24]
    (note,) = plan.notes
    assert note == (
        "max2: the original drops the end of its map here, so the dense map is cropped to 24 of "
        "25 positions along t and borders stay exact; tail='keep' keeps its size, and then the "
        "border differs"
    )
    assert_denser(plan)


def test_a_tail_is_kept_where_that_is_asked_and_that_is_told():
    plan = dense(stack_network("k3s2 maxk2s2valid k3", (1, 1, 25)), tail="keep")
    assert [n.output.shape[2] for n in plan.candidate.nodes] == [25, 25, 25]
    (note,) = plan.notes
    assert note == (
        "max2: the original drops the end of its map here, and the dense map keeps all 25 "
        "positions along t, so the border behind it differs; tail='crop' keeps borders exact"
    )


def test_of_several_tails_the_first_is_told():
    plan = dense(stack_network("k3s2 maxk2s2valid maxk2s2valid", (1, 1, 27)))  # 27, 14, 7, 3
    (note,) = plan.notes
    assert note.startswith("max3:")
    plan = dense(stack_network("k3s2 maxk2s2valid maxk2s2valid", (1, 1, 29)))  # 29, 15, 7, 3
    (note,) = plan.notes
    assert note.startswith("max2:")


@pytest.mark.parametrize("tail", ["crop", "keep"])
def test_where_no_tail_is_dropped_nothing_is_told(tail):
    for text, size in (
        ("k3s2 maxk2s2valid k3", 23),
        ("k3s2 maxk2s2valid k3", 24),
        ("k3s2 k3s2 k3", 25),
        ("k3 k3valid", 9),
    ):
        assert dense(stack_network(text, (1, 1, size)), tail=tail).notes == ()


def test_a_tail_is_told_of_the_axis_that_has_one():
    (note,) = dense(stack_network("k3s2 maxk2s2valid", (1, 1, 23, 25))).notes
    assert "24 of 25 positions along w" in note
    for size, told in ((24, 0), (25, 1)):
        b = Builder()
        x = b.input("x", (1, 2, 5, size), axes=(None, None, None, "t"))
        x = b.conv(x, 2, (2, 1), stride=2, name="down")  # two of five, where no positions are
        plan = dense(b.build(b.pool(x, (1, 2), stride=(1, 2), name="pool")))
        assert len(plan.notes) == told
        assert_denser(plan)


@pytest.mark.parametrize("tail", ["crop", "keep"])
def test_a_padding_before_a_window_is_no_part_of_the_maps_size(tail):
    def made(b: Builder, x: Tensor) -> Tensor:
        x = b.relu(b.pad(strided(b, x), [(1, 1)]), name="act")
        return b.conv(x, 2, 3, stride=2, name="end")

    plan = dense(network(made), tail=tail)
    assert plan.notes == ()
    assert plan.candidate.tensor("end").shape == (1, 2, 23)
    assert_denser(plan)
    (last,) = [c for c in plan.changes if c.node == "end"]
    assert [d.padded for d in last.dense] == [4]


# --- joins ----------------------------------------------------------------------------------


def decoder(b: Builder, x: Tensor, join: str = "concat") -> Tensor:
    """A map at stride 2, one below it, brought back by twice its size, and both together."""
    one = strided(b, x, "one")
    two = strided(b, one, "two")
    up = b.add(Resize((12,), "nearest", "asymmetric", (Fraction(2),)), two, name="up")
    made = b.concat(one, up, name="cat") if join == "concat" else b.join(one, up, name="sum")
    return b.conv(made, 2, 3, padding=1, name="last")


@pytest.mark.parametrize("join", ["concat", "sum"])
def test_a_skip_that_no_longer_fits_is_refused_with_both_sizes(join):
    made = network(lambda b, x: decoder(b, x, join), (1, 2, 24))
    refusal = refused(made)
    assert (refusal.rule, refusal.layer) == ("join", "cat" if join == "concat" else "sum")
    assert refusal.reason == (
        "its inputs no longer fit: one has 24 positions along t after the conversion and up has 48 "
        "(both had 12); convert the part before it (outputs=...), or ask for resampling at joins "
        "(resample=True)."
    )


@pytest.mark.parametrize("join", ["concat", "sum"])
def test_a_skip_that_no_longer_fits_is_resampled_to_the_smaller_map(join):
    made = network(lambda b, x: decoder(b, x, join), (1, 2, 24))
    plan = dense(made, resample=True)
    (found,) = plan.resampled
    name = "cat" if join == "concat" else "sum"
    assert (found.join, found.source, found.other) == (name, "up", "one")
    assert (found.sizes, found.node) == ((24,), f"{name}.resample")
    assert f"{name}: resample none -> linear to the size of one" in edits(plan)
    node = plan.candidate.node(found.node)
    assert node.op == Resize((24,), "linear", "half_pixel")
    assert (node.name, node.inputs, node.module) == (found.node, ("up",), name)
    assert node.params == ()
    assert plan.candidate.node(name).inputs == ("one", found.node)
    assert plan.factors[found.node] == {"t": 2}
    assert plan.factors[name] == {"t": 2}
    assert_denser(plan, but=("up", name, "last"))  # between the original's, it reads others


def test_a_resampled_map_has_a_name_that_no_other_has():
    def made(b: Builder, x: Tensor) -> Tensor:
        one = strided(b, x, "one")
        two = strided(b, one, "two")
        up = b.add(Resize((12,), "nearest", "asymmetric", (Fraction(2),)), two, name="up")
        b.relu(up, name="unused")
        a = b.relu(one, name="sum.resample")
        return b.join(a, up, b.relu(up, name="sum.resample1"), name="sum")

    plan = dense(network(made, (1, 2, 24)), resample=True)
    assert [r.node for r in plan.resampled] == ["sum.resample2", "sum.resample3"]
    assert [r.source for r in plan.resampled] == ["up", "sum.resample1"]
    assert plan.candidate.node("sum").inputs == ("sum.resample", "sum.resample2", "sum.resample3")


def test_one_map_that_is_joined_twice_is_resampled_once():
    def made(b: Builder, x: Tensor) -> Tensor:
        one = strided(b, x, "one")
        up = b.add(
            Resize((12,), "nearest", "asymmetric", (Fraction(2),)), strided(b, one), name="up"
        )
        return b.join(up, one, up, name="sum")

    plan = dense(network(made, (1, 2, 24)), resample=True)
    assert [r.source for r in plan.resampled] == ["up"]
    assert plan.candidate.node("sum").inputs == ("sum.resample", "one", "sum.resample")


def test_joins_that_fit_are_not_resampled():
    for made in (residual, gated, pyramid, head):
        assert dense(network(made, (1, 2, 24 if made is not residual else 21)), resample=True)
        assert dense(network(residual, (1, 2, 21)), resample=True).resampled == ()


def test_a_concatenation_along_the_axis_itself_is_not_resampled_but_refused():
    def made(b: Builder, x: Tensor) -> Tensor:
        one = strided(b, x, "one")
        up = b.add(
            Resize((12,), "nearest", "asymmetric", (Fraction(2),)), strided(b, one), name="up"
        )
        return b.concat(one, up, dim=2, name="cat")

    for resample in (False, True):
        refusal = refused(network(made, (1, 2, 24)), resample=resample)
        assert (refusal.rule, refusal.layer) == ("concat", "cat")

    def rows(b: Builder, x: Tensor) -> Tensor:
        one = b.conv(x, 2, 1, stride=(1, 2), name="one")
        op = Resize((8, 12), "nearest", "asymmetric", (Fraction(1), Fraction(2)))
        up = b.add(op, b.conv(one, 2, 1, stride=(1, 2), name="two"), name="up")
        return b.concat(one, up, dim=2, name="cat")

    for resample in (False, True):
        refusal = refused(network(rows, (1, 2, 8, 24)), resample=resample)
        assert (refusal.rule, refusal.layer) == ("join", "cat")
        assert refusal.reason.endswith("(both had 12); convert the part before it (outputs=...).")
    plain = network(lambda b, x: b.concat(*[strided(b, x)] * 2, dim=2, name="cat"), (1, 2, 24))
    refusal = refused(plain)
    assert (refusal.rule, refusal.layer) == ("concat", "cat")
    assert refusal.reason == (
        "it lays maps end to end along an axis whose stride has been removed; convert the part "
        "before it (outputs=...)."
    )


def test_of_two_axes_that_differ_the_other_way_round_none_is_resampled():
    def made(b: Builder, x: Tensor) -> Tensor:
        one = b.conv(x, 2, 1, stride=(2, 1), name="one")
        two = b.conv(x, 2, 1, stride=(1, 2), name="two")
        one = b.add(
            Resize((12, 12), "nearest", "asymmetric", (Fraction(2), Fraction(1))), one, name="up1"
        )
        two = b.add(
            Resize((12, 12), "nearest", "asymmetric", (Fraction(1), Fraction(2))), two, name="up2"
        )
        return b.join(one, two, name="sum")

    refusal = refused(network(made, (1, 2, 12, 12)), resample=True)
    assert (refusal.rule, refusal.layer) == ("join", "sum")
    assert "resample=True" not in refusal.reason
    assert "up1 has 24 positions along h" in refusal.reason


def levels(b: Builder, x: Tensor, turn: Callable[[Builder, Tensor], Tensor]) -> list[Tensor]:
    """A map and one that is brought back to its size, both laid out anew."""
    rank = len(x.shape) - 2
    one = b.conv(x, 2, 1, stride=2, name="one")
    op = Resize(one.shape[2:], "nearest", "asymmetric", (Fraction(2),) * rank)
    up = b.add(op, b.conv(one, 2, 1, stride=2, name="two"), name="up")
    return [turn(b, one), turn(b, up)]


UNLIKE: dict[str, tuple[tuple[int, ...], Callable[[Builder, Tensor], Tensor]]] = {
    "channels last": ((1, 2, 24), lambda b, x: b.add(Permute((0, 2, 1)), x)),
    "tokens": ((1, 2, 8, 12), lambda b, x: b.add(Reshape((1, 2, x.shape[2] * x.shape[3])), x)),
    "digits": ((1, 2, 24), lambda b, x: b.add(Reshape((1, 2, 6, 2)), x)),
    "four axes": ((1, 2, 4, 4, 4, 4), lambda _b, x: x),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_what_is_no_map_of_up_to_three_axes_is_not_resampled(name):
    shape, turn = UNLIKE[name]
    b = Builder()
    x = b.input("x", shape, axes=(None, None, *"tuvw"[: len(shape) - 2]))
    made = b.build(b.join(*levels(b, x, turn), name="sum"))
    assert dense(made, 4).changes == ()
    for resample in (False, True):
        refusal = refused(made, 1, resample=resample)
        assert refusal.layer in ("sum", "reshape"), str(refusal)
        assert "resample=True" not in refusal.reason


@pytest.mark.parametrize("shape", [(1, 2, 4), (1, 2, 8, 12), (1, 2, 8, 4, 4)])
def test_maps_of_up_to_three_axes_and_of_two_positions_are_resampled(shape):
    def made(b: Builder, x: Tensor) -> Tensor:
        maps = levels(b, x, lambda _b, x: x)
        gate = b.relu(b.global_pool(maps[0], name="gate"), name="act")
        return b.join(*maps, gate, name="sum")

    plan = dense(network(made, shape), resample=True)
    assert [r.source for r in plan.resampled] == ["up"]
    assert plan.candidate.tensor("sum").shape == shape


def test_what_is_multiplied_along_positions_is_not_resampled():
    def made(b: Builder, x: Tensor) -> Tensor:
        return b.add(Contract("bct,bdt->bcd"), *levels(b, x, lambda _b, x: x), name="gram")

    for resample in (False, True):
        refusal = refused(network(made, (1, 2, 24)), resample=resample)
        assert (refusal.rule, refusal.layer) == ("join", "gram")
        assert "resample=True" not in refusal.reason


def test_a_table_cannot_follow_a_map_that_is_resampled():
    def made(b: Builder, x: Tensor) -> Tensor:
        table = b.add(Constant((1, 2, 12)), name="table")
        return b.join(*levels(b, x, lambda _b, x: x), table, name="sum")

    refusal = refused(network(made, (1, 2, 24)), resample=True)
    assert (refusal.rule, refusal.layer) == ("join", "sum")
    assert "a table of fixed size 1x2x12 (table)" in refusal.reason


def test_which_dimension_of_a_table_lies_along_a_map_is_counted_from_the_last():
    def with_table(shape: tuple[int, ...]) -> Made:
        def made(b: Builder, x: Tensor) -> Tensor:
            x = b.add(Permute((2, 0, 1)), b.conv(x, 2, 1, stride=2, name="down"), name="first")
            return b.join(x, b.add(Constant(shape), name="table"), name="add")

        return made

    for shape in ((2,), (1, 2), (1, 1, 2)):
        assert_denser(dense(network(with_table(shape), (1, 2, 24))))
    assert refused(network(with_table((12, 1, 1)), (1, 2, 24))).rule == "join"
    assert refused(network(with_table((2, 1, 2)), (1, 2, 4))).rule == "join"


def test_a_table_of_the_maps_size_cannot_follow_it():
    def made(b: Builder, x: Tensor) -> Tensor:
        table = b.add(Constant((1, 2, 12)), name="table")
        return b.join(strided(b, x), table, name="add")

    refusal = refused(network(made))
    assert (refusal.rule, refusal.layer) == ("join", "add")
    assert refusal.reason == (
        "it joins a table of fixed size 1x2x12 (table) with a map that gets larger; resize the "
        "table first, or convert the part before it (outputs=...)."
    )
    assert dense(network(made), 2).changes == ()


def one_position(b: Builder, x: Tensor, kernel: int = 12, name: str = "one") -> Tensor:
    return b.conv(x, 2, kernel, name=name)


def test_what_has_one_position_at_every_size_is_joined_with_any_map():
    b = Builder()
    x, gate = b.input("x", (1, 2, 24)), b.input("gate", (1, 2, 1))
    many = b.join(gate, strided(b, x), label="mul", name="many")
    single = b.join(gate, one_position(b, strided(b, x, "down2")), label="mul", name="single")
    plan = dense(b.build(many, single))
    assert plan.factors["many"] == plan.factors["single"] == {"t": 2}
    assert plan.candidate.tensor("single").shape == (1, 2, 2)
    assert_denser(plan)


def test_one_position_that_becomes_several_no_longer_goes_with_a_map():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)
        return b.join(x, one_position(b, x), label="mul", name="scaled")

    assert str(refused(network(made, (1, 2, 24)))) == (
        "scaled: with inputs of 1x2x24 and 1x2x2 it cannot be: (1, 2, 24) and (1, 2, 2) cannot be "
        "joined: 24 against 2; convert the part before it (outputs=...)."
    )
    assert refused(network(made, (1, 2, 24))).rule == "shapes"


def test_what_mixes_all_positions_has_as_many_as_before():
    for dims in ((2,), (3,), (2, 3)):
        made = network(lambda b, x, d=dims: b.add(Mix(d), strided(b, x), name="mid"), SQUARE)
        plan = dense(made)
        assert plan.factors["mid"] == {"h": 2, "w": 2}
        assert_denser(plan, but=("mid",))


def test_maps_that_no_longer_fit_are_not_multiplied_along_their_positions():
    def made(b: Builder, x: Tensor) -> Tensor:
        one = strided(b, x, "one")
        two = strided(b, one, "two")
        two = b.add(Resize((12,), "nearest", "asymmetric", (Fraction(2),)), two, name="up")
        return b.add(Contract("bct,bdt->bcd"), one, two, name="gram")

    refusal = refused(network(made, (1, 2, 24)))
    assert (refusal.rule, refusal.layer) == ("join", "gram")


# --- what has no rule -----------------------------------------------------------------------


def test_an_op_without_a_rule_is_refused_behind_a_change_and_stays_before_one():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = b.add(Roll(2, 1), x, name="before")
        return b.add(Roll(2, 1), strided(b, x), name="behind")

    refusal = refused(network(made))
    assert (refusal.rule, refusal.layer) == ("roll", "behind")
    assert "no rule for roll on a map whose stride has been removed" in refusal.reason
    assert dense(network(made), 2).changes == ()


def test_what_is_not_understood_is_refused():
    def made(b: Builder, x: Tensor) -> Tensor:
        return b.add(Opaque("sort", "it sorts", (1, 2, 12)), strided(b, x), name="odd")

    refusal = refused(network(made))
    assert (refusal.rule, refusal.layer) == ("opaque", "odd")
    assert refusal.reason == (
        "sort is not understood (it sorts), so nothing behind it can be converted with proof; "
        "convert the part before it (outputs=...), or write it in other ops."
    )


def test_a_transposed_convolution_with_a_stride_is_refused_behind_a_change():
    def made(b: Builder, x: Tensor) -> Tensor:
        return b.conv_transpose(strided(b, x), 2, 2, stride=2, name="up")

    refusal = refused(network(made))
    assert (refusal.rule, refusal.layer) == ("transposed convolution", "up")
    assert refusal.reason == (
        "it spreads each position over 2, and behind a map whose stride of 2 has been removed it "
        "would read between the positions that it was made for; convert the part before it "
        "(outputs=...)."
    )
    assert dense(network(made), 2).changes == ()
    # Before a change it stays.
    before = network(lambda b, x: strided(b, b.conv_transpose(x, 2, 2, stride=2, name="up")))
    assert edits(dense(before)) == []


def space_to_depth(b: Builder, x: Tensor) -> Tensor:
    """Pairs of positions into channels, by a reshape, and a layer behind."""
    n, c, t = x.shape
    x = b.add(Reshape((n, c, t // 2, 2)), x, name="cut")
    x = b.add(Permute((0, 1, 3, 2)), x, name="turn")
    return b.conv(b.add(Reshape((n, 2 * c, t // 2)), x, name="deep"), 2, 3, name="last")


def test_digits_of_an_axis_stay_where_nothing_is_to_be_done():
    plan = dense(network(space_to_depth, (1, 2, 24)), 2)
    assert plan.changes == ()
    assert plan.factors["last"] == {"t": 1}


def test_a_map_that_no_stride_makes_coarse_is_refused_with_what_does():
    refusal = refused(network(space_to_depth, (1, 2, 24)), 1)
    assert refusal.layer == "last", str(refusal)


def test_windows_that_would_grow_in_number_are_refused():
    made = network(lambda b, x: space_to_depth(b, strided(b, x)), (1, 2, 24))
    refusal = refused(made)
    assert (refusal.rule, refusal.layer) == ("reshape", "cut")
    assert "cuts t into windows, whose number would change" in refusal.reason


def test_a_map_that_a_resampling_makes_coarse_is_refused_with_it():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = b.resize(x, (12,), name="less")
        return b.conv(b.relu(x, name="act"), 2, 3, name="last")

    refusal = refused(network(made, (1, 2, 24)))
    assert (refusal.rule, refusal.layer) == ("output stride", "last")
    assert "a stride of 2 along t, which less (a resampling to fewer) gives it" in refusal.reason
    assert refusal.reason.endswith(
        "ask for output_stride=2, or convert the part before that (outputs=...)."
    )


def frames(b: Builder, x: Tensor) -> Tensor:
    """The mean of each pair of positions, by a reshape."""
    n, c, t = x.shape
    x = b.add(Reshape((n, c, t // 2, 2)), x, name="cut")
    return b.mean(b.relu(x, name="inside"), (3,))


COARSENED: dict[str, tuple[Made, str]] = {
    "a resampling behind a stride": (
        lambda b, x: b.relu(b.resize(b.relu(strided(b, x)), (6,), name="less")),
        "of 4 along t, which less (a resampling to fewer)",
    ),
    "frames": (
        lambda b, x: b.relu(frames(b, b.relu(x))),
        "of 2 along t, which cut (a reshape that cuts it into frames)",
    ),
    "positions put into channels": (
        lambda b, x: b.add(Shuffle((2,), down=True), x, name="deep"),
        "of 2 along t, which deep (pixel_shuffle)",
    ),
}


@pytest.mark.parametrize("name", COARSENED)
def test_what_made_a_map_coarse_without_a_stride_is_named(name):
    made, words = COARSENED[name]
    before = network(lambda b, x: b.conv(made(b, x), 2, 3, name="last"), (3, 2, 24))
    refusal = refused(before)
    assert (refusal.rule, refusal.layer) == ("output stride", "last")
    assert f"its map has a stride {words} gives it and no change of strides" in refusal.reason


# --- random networks ------------------------------------------------------------------------


def random_network(seed: int) -> Network:
    """A few layers in a row, some of them with a shortcut beside them."""
    rng = random.Random(seed)
    b = Builder()
    x = b.input("x", (1, 1, rng.randrange(18, 40)))
    for _ in range(rng.randrange(2, 6)):
        kernel, rate = rng.choice([1, 2, 3, 3]), rng.choice([1, 1, 2])
        said: dict[str, Any] = {"stride": rng.choice([1, 1, 2, 3]), "dilation": rate}
        extent = (kernel - 1) * rate + 1
        pads = (rng.randrange(extent), rng.randrange(extent))
        if rng.random() < 0.5:
            pads = ((extent - 1) // 2,) * 2
        if x.shape[2] + sum(pads) < extent + 2:
            break
        kind = rng.choice(["conv", "conv", "max", "average", "pad", "join"])
        if kind == "pad":
            x = b.add(Pad((pads,), "constant" if x.shape[2] < 5 else "reflect"), x)
        elif kind == "join" and x.shape[2] > extent:
            halves = [b.conv(x, 1, k, padding=[(0, k - 1)], stride=2) for k in (kernel, 3)]
            x = b.join(*halves)
        elif kind in ("max", "average"):
            window = Window(kernel, said["stride"], rate, *pads)
            ceil = rng.random() < 0.3
            x = b.add(Pool((window,), "max" if kind == "max" else "average", ceil), x)
        else:
            x = b.conv(x, 1, kernel, padding=[pads], **said)
    return b.build(x)


@pytest.mark.parametrize("seed", range(150))
def test_random_networks_keep_their_values_at_every_stride_that_they_pass(seed):
    before = random_network(seed)
    coarsest = max(max(found.values()) for found in strides(before).values())
    for target in {int(max(found.values())) for found in strides(before).values()}:
        plan = dense(before, target)
        assert (plan.direction == "none") == (coarsest <= target)
        assert_denser(plan)
        assert max(max(f.values()) for f in strides(plan.candidate).values()) <= target
