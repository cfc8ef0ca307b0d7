"""Dilation to strides on small networks as data, each run before and after by plain sums."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from atrous.conversion.dilating import plan_dilation
from atrous.conversion.edits import plan_edits
from atrous.conversion.plan import Plan
from atrous.conversion.striding import plan_striding
from atrous.geometry import Window
from atrous.network import Builder, Network, Tensor
from atrous.network.ops import (
    AdaptivePool,
    Contract,
    ConvTranspose,
    Expand,
    Pad,
    Permute,
    Pool,
    Reshape,
    Slice,
)
from atrous.network.stack import stack_network
from atrous.network.walk import strides
from atrous.refusal import Refusal
from tests.computed import assert_sparser

Made = Callable[[Builder, Tensor], Tensor]


def network(made: Made, shape: tuple[int, ...] = (1, 2, 33)) -> Network:
    b = Builder()
    return b.build(made(b, b.input("x", shape)))


def wanted(made: Network, target: Mapping[str, int] | int) -> Mapping[str, int]:
    return dict.fromkeys(made.axes, target) if isinstance(target, int) else target


def sparse(made: Network, target: Mapping[str, int] | int) -> Plan:
    plan = plan_striding(made, wanted(made, target), made.outputs)
    assert isinstance(plan, Plan), str(plan)
    return plan


def refused(made: Network, target: Mapping[str, int] | int) -> Refusal:
    plan = plan_striding(made, wanted(made, target), made.outputs)
    assert isinstance(plan, Refusal)
    assert str(plan).endswith("."), str(plan)
    return plan


def edits(plan: Plan) -> list[str]:
    return [str(edit) for edit in plan_edits(plan)]


STACKS: list[tuple[str, int | tuple[int, ...], int, list[str]]] = [
    ("k3s2 k3d2", 33, 2, []),
    (
        "k3s2 k3d2",
        33,
        4,
        [
            "conv1: stride (2,) -> (4,)",
            "conv2: dilation (2,) -> (1,)",
            "conv2: padding (2,) -> (1,)",
        ],
    ),
    (
        "k3 k3d6",
        33,
        3,
        [
            "conv1: stride (1,) -> (3,)",
            "conv2: dilation (6,) -> (2,)",
            "conv2: padding (6,) -> (2,)",
        ],
    ),
    (
        "k3 k3d2 k3d4",
        65,
        4,
        [
            "conv1: stride (1,) -> (2,)",
            "conv2: stride (1,) -> (2,)",
            "conv2: dilation (2,) -> (1,)",
            "conv2: padding (2,) -> (1,)",
            "conv3: dilation (4,) -> (1,)",
            "conv3: padding (4,) -> (1,)",
        ],
    ),
    (
        "k3 k1 k3d2",
        33,
        2,
        [
            "conv1: stride (1,) -> (2,)",
            "conv3: dilation (2,) -> (1,)",
            "conv3: padding (2,) -> (1,)",
        ],
    ),
    (
        "k3 maxk3d2 k3d2",
        (15, 17),
        2,
        [
            "conv1: stride (1, 1) -> (2, 2)",
            "max2: dilation (2, 2) -> (1, 1)",
            "max2: padding (2, 2) -> (1, 1)",
            "conv3: dilation (2, 2) -> (1, 1)",
            "conv3: padding (2, 2) -> (1, 1)",
        ],
    ),
]


@pytest.mark.parametrize(
    ("text", "size", "target", "said"), STACKS, ids=[f"{s[0]} at {s[2]}" for s in STACKS]
)
def test_each_layer_of_a_stack_becomes_what_its_rate_allows(text, size, target, said):
    sizes = size if isinstance(size, tuple) else (size,)
    before = stack_network(text, (1, 2, *sizes))
    plan = sparse(before, target)
    assert edits(plan) == said
    assert plan.direction == ("stride" if said else "none")
    assert plan.target == (target,) * len(sizes)
    assert [c.node for c in plan.changes] == list(dict.fromkeys(e.split(":")[0] for e in said))
    assert all(c.module == c.node and c.axes == before.axes for c in plan.changes)
    assert_sparser(plan)


def test_each_axis_goes_as_far_as_it_is_asked():
    before = stack_network("k3 k3d(4,2)", (1, 2, 17, 19))
    plan = sparse(before, {"h": 4, "w": 1})
    assert edits(plan) == [
        "conv1: stride (1, 1) -> (4, 1)",
        "conv2: dilation (4, 2) -> (1, 2)",
        "conv2: padding (4, 2) -> (1, 2)",
    ]
    assert_sparser(plan)
    refusal = refused(stack_network("k3 k3d(1,2)", (1, 2, 15, 17)), 2)
    assert "along h" in refusal.reason
    assert "the rate here is 1 on a map of stride 1" in refusal.reason
    refusal = refused(stack_network("k3 k3d(2,1)", (1, 2, 15, 17)), 2)
    assert "output_stride=2 along w takes rates" in refusal.reason


def test_what_only_other_outputs_need_is_left_out():
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 33)), 2, 3, name="first")
    y = b.conv(x, 2, 3, dilation=2, padding=2, name="wanted")
    other = b.conv(x, 2, 3, name="other")
    plan = plan_striding(b.build(y, other), {"t": 2}, ["wanted"])
    assert isinstance(plan, Plan)
    assert [node.name for node in plan.candidate.nodes] == ["first", "wanted"]
    assert edits(plan)[0] == "first: stride (1,) -> (2,)"


def behind(middle: Made) -> Made:
    """A layer that may take a stride, what is tried, and a layer with a rate."""

    def made(b: Builder, x: Tensor) -> Tensor:
        x = middle(b, b.conv(x, 2, 3, padding=1, name="first"))
        return b.conv(x, 2, 3, dilation=2, padding=[(2, 2)] * (len(x.shape) - 2), name="last")

    return made


def shortcut(b: Builder, x: Tensor) -> Tensor:
    y = b.conv(x, 2, 3, dilation=2, padding=2, name="inner")
    return b.join(b.relu(y), b.conv(x, 2, 1, name="point"), name="sum")


def gate(b: Builder, x: Tensor) -> Tensor:
    return b.concat(x, b.resize(b.global_pool(x), (x.shape[2],), name="up"), name="cat")


def spread(b: Builder, x: Tensor) -> Tensor:
    return b.join(x, b.add(Expand(x.shape), b.mean(x, (2,), keep=True), name="wide"), name="sum")


def tokens(b: Builder, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    flat = b.add(Permute((0, 2, 1)), b.add(Reshape((n, c, h * w)), x, name="flat"), name="turn")
    flat = b.linear(flat, 3, name="lin")
    return b.add(Reshape((n, 3, h, w)), b.add(Permute((0, 2, 1)), flat), name="grid")


BEHIND: dict[str, tuple[Made, bool]] = {
    "nothing": (lambda _b, x: x, True),
    "relu": (lambda b, x: b.relu(x), True),
    "max": (lambda b, x: b.pool(x, 3, stride=1, dilation=2, padding=2), True),
    "average": (lambda b, x: b.pool(x, 3, stride=1, dilation=2, average=True), True),
    "pad": (lambda b, x: b.add(Pad(((2, 4),)), x), True),
    "pad, odd at the end": (lambda b, x: b.add(Pad(((2, 3),)), x), True),
    "pad, cropped": (lambda b, x: b.add(Pad(((-2, -4),)), x), True),
    "crop": (lambda b, x: b.add(Slice(2, 2, 20), x), True),
    "every second": (lambda b, x: b.add(Slice(2, 2, 15, 2), x), True),
    "channels": (lambda b, x: b.add(Slice(1, 1, 1), x), True),
    "shortcut": (shortcut, True),
    "uneven padding": (lambda b, x: b.conv(x, 2, 3, dilation=2, padding=[(4, 1)]), True),
    "valid": (lambda b, x: b.conv(x, 2, 3, dilation=2), True),
    "a pooled branch": (gate, False),
    "a padding that only just reaches": (lambda b, x: b.add(Pad(((0, 1),)), x), True),
}


@pytest.mark.parametrize("size", [32, 33, 35])
@pytest.mark.parametrize("name", BEHIND)
def test_between_two_layers_each_op_keeps_the_values_that_are_left(name, size):
    middle, exact = BEHIND[name]
    plan = sparse(network(behind(middle), (1, 2, size)), 2)
    coarsest = max(max(f.values(), default=1) for f in strides(plan.candidate).values())
    assert coarsest >= 2
    assert "last: dilation (2,) -> (1,)" in edits(plan) or name == "every second"
    if exact:
        assert_sparser(plan)


def test_positions_laid_out_as_tokens_are_left_out_too():
    plan = sparse(network(behind(tokens), (1, 2, 9, 11)), 2)
    assert "flat: shape (1, 2, 99) -> (1, 2, 30)" in edits(plan)
    assert "grid: shape (1, 3, 9, 11) -> (1, 3, 5, 6)" in edits(plan)
    assert_sparser(plan)


def test_a_pooled_branch_takes_the_size_that_the_map_has_now():
    plan = sparse(network(behind(gate), (1, 2, 33)), 2)
    assert "up: sizes (33,) -> (17,)" in edits(plan)
    b = Builder()
    x = b.input("x", (1, 2, 33))
    wide = b.resize(b.global_pool(x), (40,), name="wide")
    plan = sparse(b.build(wide, rated(b, x)), 2)
    assert plan.candidate.tensor("wide").shape == (1, 2, 40)  # as no map is
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 33, 35)), 2, 3, padding=1, name="first")
    y = b.mean(b.conv(x, 2, 3, dilation=2, padding=2, name="last"), (2,))
    up = b.resize(b.mean(y, (2,), keep=True), y.shape[2:], name="up")
    assert sparse(b.build(b.join(y, up)), 2).candidate.tensor("up").shape == (1, 2, 18)
    b = Builder()
    x = b.input("x", (1, 2, 5, 33), axes=(None, None, None, "t"))
    x = b.conv(x, 2, (1, 3), padding=[(0, 0), (1, 1)], name="first")
    up = b.resize(b.add(Slice(3, 0, 1), x), (7, 33), name="up")
    x = b.join(b.resize(b.mean(x, (2,), keep=True), (7, 33)), up)
    refusal = refused(b.build(b.conv(x, 2, (1, 3), dilation=(1, 2), name="last")), 2)
    assert "resize (resize) needs all of its positions" in refusal.reason
    refusal = refused(network(behind(spread), (1, 2, 33)), 2)  # of a size that nothing says
    assert (refusal.rule, refusal.layer) == ("shapes", "sum")
    assert refusal.reason == (
        "with coarser maps it cannot be: (1, 2, 17) and (1, 2, 33) cannot be joined: 33 against "
        "17. Convert the part before it (outputs=...)."
    )


def test_a_last_pool_takes_its_stride_again():
    before = stack_network("k3 maxk3", (1, 2, 33))
    plan = sparse(before, 2)
    assert edits(plan) == ["max2: stride (1,) -> (2,)"]
    assert_sparser(plan)
    refusal = refused(stack_network("maxk3 k3", (1, 2, 33)), 2)
    assert (refusal.rule, refusal.layer) == ("output stride", "conv2")


def last(b: Builder, x: Tensor) -> Tensor:
    return b.conv(x, 2, 3, dilation=2, padding=2, name="last")


REFUSED: list[tuple[Made, int, str, str, str]] = [
    (
        lambda b, x: b.conv(b.conv(x, 2, 3, stride=2), 2, 3, dilation=3, name="last"),
        4,
        "output stride",
        "last",
        "takes rates that divide by 2, and the rate here is 3 on a map of stride 2",
    ),
    (
        lambda b, x: b.conv(x, 2, 3, stride=2, name="last"),
        3,
        "output stride",
        "",
        "3 is no multiple of 2, the coarsest stride along t; ask for one, such as 4.",
    ),
    (
        lambda b, x: b.conv(x, 2, 4, stride=3, name="last"),
        4,
        "output stride",
        "",
        "4 is no multiple of 3, the coarsest stride along t; ask for one, such as 6.",
    ),
    (
        lambda b, x: b.conv(x, 2, 2, name="pair"),
        2,
        "output stride",
        "pair",
        "and the rate here is 1 on a map of stride 1: there is no dilation to trade for stride.",
    ),
    (
        lambda b, x: b.conv(
            b.pool(x, 3, stride=1, ceil=True, name="odd"), 2, 3, dilation=2, padding=2, name="last"
        ),
        2,
        "pool",
        "odd",
        "it counts a partial window (ceil_mode).",
    ),
    (
        lambda b, x: b.concat(
            b.mean(b.pool(x, 3, stride=1, name="pool"), (2,)),
            b.mean(b.conv(x, 2, 3, name="later"), (2,)),
        ),
        2,
        "output stride",
        "later",
        "takes rates that divide by 2, and the rate here is 1",
    ),
    (
        lambda b, x: last(
            b, b.pad(b.conv(x, 2, 3, stride=2, padding=1, name="down"), [(1, 1)], name="pad")
        ),
        4,
        "output stride",
        "pad",
        "last could give up a factor of 2 of its rate 2, but its map leads to one that stays",
    ),
    (
        lambda b, x: b.concat(
            b.mean(b.add(Pad(((1, 1),), "reflect"), b.pool(x, 3, stride=1, name="pool")), (2,)),
            b.mean(b.conv(x, 2, 1, name="point"), (2,)),
        ),
        2,
        "output stride",
        "pool",
        "takes rates that divide by 2, and the rate here is 1",
    ),
    (lambda b, x: b.relu(b.conv(x, 2, 1)), 2, "stride", "", "no layer has a window along t"),
    (
        lambda b, x: b.conv(x, 2, 3, dilation=2, padding=2, name="last"),
        2,
        "output stride",
        "last",
        (
            "last could give up a factor of 2 of its rate 2, but its map leads to one that stays "
            "as fine as it is along t (it is an input)"
        ),
    ),
    (
        lambda b, x: b.conv(
            b.conv(b.pad(x, [(1, 1)], name="pad"), 2, 1, name="p"), 2, 3, dilation=2, padding=1
        ),
        2,
        "output stride",
        "conv",
        "takes rates that divide by 2, and the rate here is 2",
    ),
    (
        lambda b, x: b.conv(
            b.pad(b.conv(x, 2, 3, name="first"), [(1, 1)], name="pad"),
            2,
            3,
            dilation=2,
            name="last",
        ),
        2,
        "output stride",
        "pad",
        (
            "last could give up a factor of 2 of its rate 2, but its map leads to one that stays "
            "as fine as it is along t (pad pads it by 1)"
        ),
    ),
    (
        lambda b, x: b.conv(
            b.join(
                y := b.conv(x, 2, 3, padding=1, name="first"),
                b.conv(y, 2, 3, padding=1, name="near"),
                name="sum",
            ),
            2,
            3,
            dilation=2,
            padding=2,
            name="last",
        ),
        2,
        "join",
        "sum",
        (
            "this join takes over a map that stays as fine as it is along t "
            "(near reads it at rate 1, padding 1), and no layer in that shortcut could take a "
            "stride of 2. Give it one of kernel 1, or cut it there ([..., ::2] keeps the values)"
        ),
    ),
    (
        lambda b, x: b.conv(
            b.add(AdaptivePool((16,)), b.conv(x, 2, 3, name="first"), name="pool"),
            2,
            3,
            dilation=4,
            padding=4,
            name="last",
        ),
        4,
        "output stride",
        "pool",
        "(pool (adaptive_pool) needs all of its positions)",
    ),
    (
        lambda b, x: b.conv(
            b.add(Pool((Window(3, 1, 2, 2, 2),), "max", True), b.conv(x, 2, 1), name="odd"),
            2,
            3,
            dilation=2,
            padding=2,
            name="last",
        ),
        2,
        "pool",
        "odd",
        "it counts a partial window (ceil_mode)",
    ),
]


@pytest.mark.parametrize(("made", "target", "rule", "layer", "words"), REFUSED)
def test_a_refusal_names_the_layer_that_holds_the_stride_back(made, target, rule, layer, words):
    refusal = refused(network(made), target)
    assert (refusal.rule, refusal.layer) == (rule, layer), refusal.reason
    assert words in refusal.reason


@pytest.mark.parametrize("seed", range(120))
def test_strides_taken_out_of_random_networks_come_back_exactly(seed):
    rng = random.Random(seed)
    words = []
    for _ in range(rng.randrange(2, 6)):
        kind, kernel = rng.choice(["", "", "max", "avg"]), rng.choice([1, 3, 3, 5])
        words.append(f"{kind}k{kernel}s{rng.choice([1, 1, 2, 3])}d{rng.choice([1, 1, 2])}")
        if not kind and rng.random() < 0.3:
            words.append(f"[ + k{kernel}]")
    text = " ".join(words)
    before = stack_network(text, (1, 2, rng.randrange(60, 90)))
    coarsest = max(max(f.values()) for f in strides(before).values())
    dense = plan_dilation(before, {"t": 1}, before.outputs)
    assert isinstance(dense, Plan), str(dense)
    back = plan_striding(dense.candidate, {"t": int(coarsest)}, before.outputs)
    if isinstance(back, Plan):
        assert_sparser(back)
        found = strides(back.candidate).values()
        assert max(max(f.values()) for f in found) == coarsest
    else:
        assert back.layer or "no layer has a window" in back.reason, text


def test_coming_back_gives_the_ops_that_there_were():
    for text in ("k3s2 k3", "k3s2 maxk3s2 k3s2 k3", "maxk3s2 [ + k3] k3s2 k3", "k5s3 avgk3s2 k3"):
        before = stack_network(text, (1, 2, 97))
        coarsest = max(max(f.values()) for f in strides(before).values())
        dense = plan_dilation(before, {"t": 1}, before.outputs)
        assert isinstance(dense, Plan)
        back = plan_striding(dense.candidate, {"t": int(coarsest)}, before.outputs)
        assert isinstance(back, Plan), str(back)
        assert [n.op for n in back.candidate.nodes] == [n.op for n in before.nodes]


def test_a_last_pool_of_two_takes_its_stride_also_before_a_single_tap():
    for text in ("k3 maxk2", "k3 maxk3 k1", "k1 maxk3"):
        plan = sparse(stack_network(text, (1, 2, 33)), 2)
        assert edits(plan)[0].startswith("max2: stride (1,) -> (2,)")
        assert_sparser(plan)


def test_a_window_over_a_dimension_without_positions_stays_there():
    b = Builder()
    x = b.input("x", (1, 2, 5, 33), axes=(None, None, None, "t"))
    x = b.conv(x, 2, (3, 3), stride=(2, 1), padding=[(1, 1), (1, 1)], name="first")
    y = b.conv(x, 2, (3, 3), dilation=(1, 2), padding=[(1, 1), (2, 2)], name="last")
    plan = sparse(b.build(y), 2)
    assert edits(plan) == [
        "first: stride (2, 1) -> (2, 2)",
        "last: dilation (1, 2) -> (1, 1)",
        "last: padding (1, 2) -> (1, 1)",
    ]
    assert_sparser(plan)


def test_windows_whose_number_would_change_are_refused():
    def cut(b: Builder, x: Tensor) -> Tensor:
        n, c, t = x.shape
        x = b.add(Reshape((n, c, t // 4, 4)), x, name="cut")
        return b.add(Reshape((n, c, t)), b.relu(x), name="whole")

    refusal = refused(network(behind(cut), (1, 2, 32)), 2)
    assert (refusal.rule, refusal.layer) == ("reshape", "cut")
    assert refusal.reason == "cuts t into windows, whose number would change."


# --- what stays as fine as it is, beside a branch that takes the stride ---------------------


def rated(b: Builder, x: Tensor, rate: int = 2, name: str = "") -> Tensor:
    """A layer that can take a stride, and one whose rate divides by it."""
    x = b.conv(x, 2, 3, padding=1, name=f"first{name}")
    return b.conv(x, 2, 3, dilation=rate, padding=rate, name=f"last{name}")


def mapped(b: Builder, x: Tensor, name: str = "map") -> Tensor:
    return b.conv(x, 2, 3, padding=1, name=name)


def padded_input_joined(b: Builder, x: Tensor) -> Tensor:
    """A map that an input holds back, by way of a padding and a join."""
    inside = b.add(Pad(((2, 2),)), x, name="pad")
    return b.join(b.conv(x, 2, 1, padding=2, name="map"), inside, name="sum")


def input_joined(b: Builder, x: Tensor) -> Tensor:
    return b.join(b.conv(x, 2, 1, name="map"), b.relu(x, name="act"), name="sum")


FINE: dict[str, Made] = {
    "a mirrored padding": lambda b, x: b.add(Pad(((2, 2),), "reflect"), mapped(b, x)),
    "a pool to a size": lambda b, x: b.add(AdaptivePool((16,)), mapped(b, x)),
    "a resampling": lambda b, x: b.resize(mapped(b, x), (66,)),
    "a transposed convolution": lambda b, x: b.add(
        ConvTranspose((Window(3, 1, 2, 2, 2),), 2), mapped(b, x)
    ),
    "a position of an odd place": lambda b, x: b.add(Slice(2, 3, 1, drop=True), mapped(b, x)),
    "positions from an odd place on": lambda b, x: b.add(
        Slice(2, 3, 20), mapped(b, x), name="next"
    ),
    "a rate of 1": lambda b, x: mapped(b, mapped(b, x), "next"),
    "a padding of 1": lambda b, x: b.add(Pad(((1, 1),)), mapped(b, x)),
    "a padding before a rate of 1": lambda b, x: mapped(
        b, b.add(Pad(((2, 2),)), mapped(b, x)), "next"
    ),
    "a padding of an input": lambda b, x: b.conv(
        b.add(Pad(((2, 2),)), x), 2, 3, dilation=2, name="next"
    ),
    "a padding of an input, joined": lambda b, x: b.conv(
        padded_input_joined(b, x), 2, 3, dilation=2, name="next"
    ),
    "an input, joined": lambda b, x: b.conv(input_joined(b, x), 2, 3, dilation=2, name="next"),
    "a pool that counts partial windows": lambda b, x: b.add(
        Pad(((2, 2),), "reflect"), b.add(Pool((Window(3),), "max", True), x)
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_what_needs_all_of_its_positions_keeps_them(name):
    b = Builder()
    x = b.input("x", (1, 2, 33))
    plan = sparse(b.build(FINE[name](b, x), rated(b, x)), 2)
    assert "last: dilation (2,) -> (1,)" in edits(plan)
    assert {change.node for change in plan.changes} <= {"first", "last", "next"}
    assert_sparser(plan)


@pytest.mark.parametrize("at", [0, 4, 32])
@pytest.mark.parametrize("middle", ["one", "some"])
def test_a_place_that_is_left_is_read_where_it_lies_then(at, middle):
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 33)), 2, 3, padding=1, name="first")
    one = b.add(Slice(2, at, 1, drop=middle == "one"), x, name="one")
    last = b.conv(x, 2, 3, dilation=2, padding=2, name="last")
    plan = sparse(b.build(one, last), 2)
    assert plan.candidate.node("one").op == Slice(2, at // 2, 1, drop=middle == "one")
    assert_sparser(plan)


@pytest.mark.parametrize(
    "op",
    [
        Slice(3, 3, 10),
        Slice(3, 3, 1, drop=True),
        Pad(((1, 2),)),
        Pad(((0, 0), (1, 2)), "reflect"),
        Slice(1, 1, 1, drop=True),
    ],
)
def test_what_moves_positions_along_one_axis_leaves_the_other(op):
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 17, 19)), 2, 3, padding=1, name="first")
    beside = b.add(op, x, name="beside")
    last = b.conv(x, 2, 3, dilation=(2, 1), padding=[(2, 2), (1, 1)], name="last")
    plan = sparse(b.build(beside, last), {"h": 2, "w": 1})
    assert plan.factors["beside"].get("h") == 2
    assert_sparser(plan)


def test_an_axis_that_no_target_is_named_for_keeps_its_rates():
    plan = sparse(stack_network("k3 k3d2", (1, 2, 17, 19)), {"h": 2})
    assert edits(plan) == [
        "conv1: stride (1, 1) -> (2, 1)",
        "conv2: dilation (2, 2) -> (1, 2)",
        "conv2: padding (2, 2) -> (1, 2)",
    ]
    assert_sparser(plan)


def test_a_map_whose_stride_does_not_divide_the_target_stays():
    b = Builder()
    x = b.input("x", (1, 2, 33))
    beside = rated(b, b.conv(x, 2, 3, stride=2, padding=1, name="down"), 2, "2")
    plan = sparse(b.build(beside, rated(b, x, 5, "5")), 5)
    assert {change.node for change in plan.changes} == {"first5", "last5"}
    assert_sparser(plan)


@pytest.mark.parametrize("size", [33, 34])
def test_one_position_that_is_spread_takes_the_size_that_the_map_has_now(size):
    b = Builder()
    x = b.conv(b.input("x", (1, 2, size)), 2, 3, padding=1, name="first")
    up = b.resize(b.add(Slice(2, 0, 1), x, name="one"), (size,), name="up")
    last = b.conv(b.join(x, up, name="sum"), 2, 3, dilation=2, padding=2, name="last")
    plan = sparse(b.build(last), 2)
    half = -(-size // 2)
    assert plan.candidate.tensor("up").shape == (1, 2, half)
    assert_sparser(plan)


# --- what is named as holding a map back ----------------------------------------------------


def sum_with(other: Made) -> Made:
    """A map that takes a stride, joined with what is made of the input."""
    return lambda b, x: last(b, b.join(mapped(b, x), other(b, x), name="sum"))


def shortcut_slice(b: Builder, x: Tensor) -> Tensor:
    x = mapped(b, b.concat(x, x))
    half = b.add(Slice(1, 0, 1), x, name="half")
    rest = b.add(Slice(1, 1, 1), x, name="rest")
    return last(b, b.concat(half, mapped(b, rest, "near"), name="cat"))


def pooled_first(b: Builder, x: Tensor) -> Tensor:
    """A map whose mean is taken before it is read by what holds it back."""
    x = b.join(x := mapped(b, x), b.global_pool(x, name="mean"), name="scaled", label="mul")
    small = b.add(AdaptivePool((1,)), x, name="pooled")
    near = b.conv(x, 2, 3, padding=1, name="near")
    return b.concat(small, b.mean(last(b, x), (2,), keep=True), b.mean(near, (2,), keep=True))


def spread_first(b: Builder, x: Tensor) -> Tensor:
    """One position that is spread before it is padded."""
    x = mapped(b, x)
    one = b.add(Slice(2, 0, 1), x, name="one")
    y = b.join(x, b.resize(one, (33,), name="up"), name="sum")
    more = b.pad(one, [(1, 1)], name="pad")
    return b.concat(b.mean(last(b, y), (2,)), b.mean(more, (2,)), name="cat")


def near_and_far(b: Builder, x: Tensor) -> Tensor:
    """What is held back behind a layer that takes a stride itself holds nothing before it."""
    x = mapped(b, x)
    far = b.conv(x, 2, 3, dilation=2, padding=2, name="rate")
    far = b.conv(far, 2, 3, stride=2, dilation=2, padding=2, name="down")
    far = b.pad(far, [(1, 1)], name="pad")
    y = b.relu(b.relu(b.relu(x)))
    near = b.conv(y, 2, 3, padding=1, name="near")
    end = last(b, x)
    for _ in range(6):
        end = b.relu(end)
    ends = [b.add(Pad(((2, 2),), "reflect"), z) for z in (near, end)]
    return b.concat(*(b.mean(z, (2,)) for z in (far, *ends)))


def gram_with(b: Builder, x: Tensor) -> Tensor:
    return last(b, b.add(Contract("bct,bct->bct"), mapped(b, x), x, name="product"))


CHAIN = "its map leads to one that stays as fine as it is along t"
JOIN = "this join takes over a map that stays as fine as it is along t"
HELD: dict[str, tuple[Made, str, str]] = {
    "an input, by a join": (sum_with(lambda _b, x: x), "sum", f"{JOIN} (it is an input)"),
    "an input, by a join and an activation": (
        sum_with(lambda b, x: b.relu(b.relu(x))),
        "sum",
        f"{JOIN} (it is an input)",
    ),
    "an input, by two joins": (
        sum_with(lambda b, x: b.join(b.conv(x, 2, 1), x, name="inner")),
        "inner",
        f"{JOIN} (it is an input)",
    ),
    "an input, by a padding": (
        lambda b, x: last(b, b.pad(x, [(2, 2)], name="pad")),
        "last",
        f"{CHAIN} (it is an input)",
    ),
    "an input, by a product": (gram_with, "last", f"{CHAIN} (it is an input)"),
    "a padding": (
        sum_with(lambda b, x: b.pad(b.conv(x, 2, 3, name="inner"), [(1, 1)], name="pad")),
        "sum",
        f"{JOIN} (pad pads it by 1)",
    ),
    "a mirrored padding": (
        lambda b, x: last(b, b.add(Pad(((2, 2),), "reflect"), mapped(b, x), name="pad")),
        "pad",
        f"{CHAIN} (pad (pad) needs all of its positions)",
    ),
    "a slice": (
        lambda b, x: last(
            b, b.join(y := mapped(b, x), b.add(Slice(2, 3, 1), y, name="cut"), name="sum")
        ),
        "sum",
        f"{JOIN} (cut takes positions from 3 on)",
    ),
    "another reader": (
        lambda b, x: b.concat(last(b, y := mapped(b, x)), mapped(b, b.relu(y), "near")),
        "near",
        f"{CHAIN} (near reads it at rate 1, padding 1)",
    ),
    "a reader of other channels": (
        shortcut_slice,
        "cat",
        f"{JOIN} (near reads it at rate 1, padding 1)",
    ),
    "a reader behind a mean": (
        pooled_first,
        "near",
        f"{CHAIN} (near reads it at rate 1, padding 1)",
    ),
    "a reader behind what is spread": (spread_first, "sum", f"{JOIN} (pad pads it by 1)"),
}


@pytest.mark.parametrize("name", HELD)
def test_what_holds_a_map_back_is_named_with_the_join_that_takes_it_over(name):
    made, layer, words = HELD[name]
    refusal = refused(network(made), 2)
    assert refusal.layer == layer
    helped = {
        CHAIN: ". Convert the part before that (outputs=...).",
        JOIN: ", and no layer in that shortcut could take a stride of 2. Give it one of kernel 1, "
        "or cut it there ([..., ::2] keeps the values), or convert the part before it "
        "(outputs=...).",
    }[words.partition(" (")[0]]
    assert refusal.reason == f"last could give up a factor of 2 of its rate 2, but {words}{helped}"
    assert refusal.rule == ("join" if words.startswith(JOIN) else "output stride")


@pytest.mark.parametrize("how", ["row", "mean"])
def test_a_row_that_is_spread_takes_the_height_that_the_map_has_now(how):
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 17, 19)), 2, 3, padding=1, name="first")
    row = b.mean(x, (2,), keep=True) if how == "mean" else b.add(Slice(2, 0, 1), x, name="row")
    y = b.join(x, b.resize(row, (17, 19), name="up"), name="sum")
    last = b.conv(y, 2, 3, dilation=(2, 1), padding=[(2, 2), (1, 1)], name="last")
    plan = sparse(b.build(last), {"h": 2, "w": 1})
    assert plan.candidate.tensor("up").shape == (1, 2, 9, 19)
    if how == "row":
        assert_sparser(plan)


def test_what_may_take_a_stride_itself_hides_what_is_behind_it():
    refusal = refused(network(near_and_far), 4)
    assert (refusal.rule, refusal.layer) == ("output stride", "near")
    assert "last could give up a factor of 2 of its rate 2" in refusal.reason


def test_an_input_without_positions_holds_no_map_back():
    b = Builder()
    scale = b.input("scale", (1, 2, 1), axes=(None, None, None))
    x = mapped(b, b.input("x", (1, 2, 33)))
    near = b.conv(x, 2, 3, padding=1, name="near")
    far = last(b, b.join(scale, x, name="scaled", label="mul"))
    refusal = refused(b.build(b.concat(b.mean(far, (2,)), b.mean(near, (2,)))), 2)
    assert (refusal.rule, refusal.layer) == ("join", "scaled")
    assert "(near reads it at rate 1, padding 1)" in refusal.reason
