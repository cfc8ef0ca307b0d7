"""What each rule says beside the op that it makes: axes, windows at any size, added positions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from atrous.conversion.dilating import plan_dilation
from atrous.conversion.plan import OpChange, Plan
from atrous.geometry import Dense, Window
from atrous.network import Builder, Tensor
from atrous.network.ops import (
    AdaptivePool,
    Attention,
    Concat,
    ConvTranspose,
    Expand,
    Pad,
    Permute,
    Pool,
    Reshape,
    Resize,
    Slice,
)
from tests.computed import assert_denser

Made = Callable[[Builder, Tensor], Tensor]


def planned(made: Made, shape: tuple[int, ...] = (1, 2, 24), target: int = 1) -> Plan:
    b = Builder()
    network = b.build(made(b, b.input("x", shape)))
    plan = plan_dilation(network, dict.fromkeys(network.axes, target), network.outputs)
    assert isinstance(plan, Plan), str(plan)
    return plan


def change(plan: Plan, name: str = "mid") -> OpChange:
    (found,) = [one for one in plan.changes if one.node == name]
    return found


def strided(b: Builder, x: Tensor) -> Tensor:
    rank = len(x.shape) - 2
    return b.conv(x, 2, (3,) * rank, stride=2, padding=1, name="down")


def behind(op: Any) -> Made:
    return lambda b, x: b.add(op, strided(b, x), name="mid")


@pytest.mark.parametrize(
    ("op", "dense"),
    [
        (Slice(2, 2, 8), Dense(Window(1, 1, 1, -2, -2), 2, 1)),
        # One that goes on to the end does so at any size.
        (Slice(2, 2, 10), Dense(Window(1, 1, 1, -2, 0), 2, 1)),
        (Slice(2, 1, 6, 2), Dense(Window(1, 2, 1, -1, 0), 2, 1)),
        (Pad(((1, 2),)), Dense(Window(1, 1, 1, 1, 2), 2, 1)),
        (Pad(((2, 1),), "reflect"), Dense(Window(1, 1, 1, 2, 1), 2, 1)),
    ],
)
def test_a_change_says_what_it_is_at_any_size(op, dense):
    found = change(planned(behind(op)))
    assert found.axes == ("t",)
    assert found.dense == (dense,)


@pytest.mark.parametrize(
    "op",
    [
        ConvTranspose((Window(3, 1, 1, 1, 1),), 2),
        Resize((18,), "nearest", "asymmetric", (Fraction(3, 2),)),
    ],
)
def test_what_has_no_window_on_the_map_says_its_axes_alone(op):
    found = change(planned(behind(op)))
    assert (found.axes, found.dense) == (("t",), ())


@pytest.mark.parametrize(
    ("pads", "more"), [(((2, 3),), 10), (((2, -1),), 2), (((-2, 1),), 0), (((0, 0),), 0)]
)
def test_what_a_padding_adds_is_no_part_of_the_size_of_the_map_behind(pads, more):
    def made(b: Builder, x: Tensor) -> Tensor:
        return b.conv(b.add(Pad(pads), strided(b, x), name="mid"), 2, 3, stride=2, name="end")

    (dense,) = change(planned(made), "end").dense
    assert dense.padded == more


def test_paddings_one_behind_the_other_add_up_also_where_nothing_changed_before():
    def made(b: Builder, x: Tensor) -> Tensor:
        for pad in ((1, 0), (2, 1), (0, -3)):
            x = b.relu(b.add(Pad((pad,)), x), name="act")
        return b.conv(x, 2, 3, stride=2, name="end")

    (dense,) = change(planned(made), "end").dense
    assert dense.padded == 4

    def between(b: Builder, x: Tensor) -> Tensor:
        x = b.conv(b.add(Pad(((3, 3),)), x), 2, 1, name="point")
        return b.conv(x, 2, 3, stride=2, name="end")

    (dense,) = change(planned(between), "end").dense
    assert dense.padded == 0


def test_phases_are_said_only_of_a_padding_that_copies_positions():
    assert change(planned(behind(Pad(((1, 2),))))).after == Pad(((2, 4),))
    reflect = change(planned(behind(Pad(((1, 2),), "reflect")))).after
    assert reflect == Pad(((2, 4),), "reflect", (2,))
    crop = change(planned(behind(Pad(((-1, -1),), "replicate")))).after
    assert crop == Pad(((-2, -2),), "replicate", (2,))
    # And not of an axis that has not changed.
    made = planned(behind(Pad(((1, 1), (1, 2)), "reflect")), (1, 2, 12, 14))
    assert change(made).after == Pad(((2, 2), (2, 4)), "reflect", (2, 2))
    before = planned(lambda b, x: strided(b, b.add(Pad(((1, 1),), "reflect"), x)))
    assert [c.node for c in before.changes] == ["down"]


def test_windows_over_channels_as_well_are_left_alone_there():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)
        x = b.add(Pad(((0, 0), (1, 1), (1, 1))), x, name="pad")  # of channels too
        turned = b.add(Permute((0, 2, 1)), x, name="turn")
        turned = b.add(Pool((Window(2, 2),), "max"), turned, name="mid")
        return b.add(Permute((0, 2, 1)), turned, name="back")

    plan = planned(made)
    assert {c.node for c in plan.changes} == {"down", "pad"}
    assert change(plan, "pad").after == Pad(((0, 0), (1, 1), (2, 2)))
    assert change(plan, "pad").dense[1:] == (
        Dense(Window(1, 1, 1, 1, 1), 1, 1),
        Dense(Window(1, 1, 1, 1, 1), 2, 1),
    )


@pytest.mark.parametrize("ceil", [True, False])
def test_a_partial_window_is_counted_where_nothing_changed_along_one_axis(ceil):
    def made(b: Builder, x: Tensor) -> Tensor:
        x = b.conv(x, 2, (3, 1), stride=(2, 1), padding=[(1, 1), (0, 0)], name="down")
        return b.add(Pool((Window(2, 1), Window(2, 1)), "max", ceil), x, name="mid")

    plan = planned(made, (1, 2, 13, 15))
    after = change(plan).after
    assert isinstance(after, Pool)
    assert after.ceil == ceil
    assert_denser(plan)
    both = planned(behind(Pool((Window(2, 2),), "max", ceil)), (1, 2, 21))
    assert change(both).after.ceil is False
    assert_denser(both)


def test_what_an_average_counts_is_said_only_where_it_differs_from_its_padding():
    same = change(planned(behind(Pool((Window(3, 1, 1, 1, 1),), "average")))).after
    assert same.counted == ()
    odd = change(planned(behind(Pool((Window(2, 2),), "average")))).after
    assert odd.counted == ((0, 0),)
    assert change(planned(behind(Pool((Window(2, 2),), "max")))).after.counted == ()


def test_one_position_of_a_map_is_taken_from_where_it_lies_now():
    b = Builder()
    x = strided(b, b.input("x", (1, 2, 24)))
    one = b.add(Slice(2, 3, 1, drop=True), x, name="mid")
    network = b.build(x, one)
    plan = plan_dilation(network, {"t": 1}, network.outputs)
    assert isinstance(plan, Plan)
    after = change(plan).after
    assert after == Slice(2, 6, 1, drop=True)
    assert_denser(plan)


def test_slices_of_some_positions_of_every_third_end_where_the_original_ends():
    for length, step, start in ((2, 3, 0), (3, 3, 1), (2, 4, 1), (3, 2, 0), (4, 2, 3), (5, 2, 2)):
        plan = planned(behind(Slice(2, start, length, step)))
        assert_denser(plan)
    for length, start in ((2, 1), (2, 0), (1, 5)):
        plan = planned(behind(Slice(2, start, length, 4)), target=4)
        assert change(plan).after.step == 2
        assert_denser(plan)


def test_what_is_resized_by_both_axes_takes_the_size_of_each():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)
        up = b.add(Resize((6, 8), "nearest"), b.global_pool(x), name="up")
        other = b.resize(b.add(AdaptivePool((2, 3)), x, name="small"), (6, 8), name="mid")
        return b.concat(x, up, other, name="cat")

    plan = planned(made, (1, 2, 11, 15))
    assert change(plan, "up").after == Resize((11, 15), "nearest")
    assert change(plan, "mid").after.sizes == (11, 15)
    assert plan.factors["mid"] == {"h": 2, "w": 2}


def test_of_what_is_spread_only_the_positions_of_a_map_follow_it():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = b.conv(x, 12, 3, stride=2, padding=1, name="down")  # as many channels as positions
        return b.add(Expand((1, 12, 12)), x, name="same")

    plan = planned(made)
    assert plan.candidate.node("same").op == Expand((1, 12, 24))
    assert_denser(plan)

    def more(b: Builder, x: Tensor) -> Tensor:
        return b.add(Expand((3, 1, 2, 12)), strided(b, x), name="same")

    assert planned(more).candidate.node("same").op == Expand((3, 1, 2, 24))

    def pair(b: Builder, x: Tensor) -> Tensor:
        mean = b.global_pool(b.conv(x, 2, 3, stride=2, padding=1, name="down"))
        return b.add(Expand((1, 2, 2)), mean, name="mid")  # two positions, of a map of two

    assert change(planned(pair, (1, 2, 4))).after == Expand((1, 2, 4))


def test_channels_are_laid_side_by_side_whatever_happened_to_the_map():
    plan = planned(lambda b, x: b.concat(strided(b, x), strided(b, x), name="mid"))
    assert plan.candidate.node("mid").op == Concat(1)
    assert_denser(plan)


def test_crops_and_slices_of_some_positions_end_with_the_originals_last():
    # Of 23 positions, every second of which is the original's: as many are cut off at both ends.
    found = {
        (2, 8, 1): Slice(2, 4, 15, 1),
        (0, 4, 2): Slice(2, 0, 13, 1),
        (1, 5, 2): Slice(2, 2, 17, 1),
    }
    for (start, length, step), after in found.items():
        plan = planned(behind(Slice(2, start, length, step)), (1, 2, 23))
        assert change(plan).after == after
        assert_denser(plan)
    (dense,) = change(planned(behind(Slice(2, 0, 6, 2)))).dense
    assert dense == Dense(Window(1, 2, 1, 0, 0), 2, 1)  # it goes on to the end at any size


def test_a_window_over_a_dimension_without_positions_stays_there():
    b = Builder()
    x = b.input("x", (1, 2, 5, 24), axes=(None, None, None, "t"))
    x = b.conv(x, 2, (1, 3), stride=(1, 2), padding=[(0, 0), (1, 1)], name="down")
    y = b.add(ConvTranspose((Window(3, 2), Window(3, 1, 1, 1, 1)), 2), x, name="mid")
    network = b.build(y)
    plan = plan_dilation(network, {"t": 1}, network.outputs)
    assert isinstance(plan, Plan)
    after = change(plan).after
    assert after == ConvTranspose((Window(3, 2), Window(3, 1, 2, 2, 2)), 2)
    b = Builder()
    x = b.input("x", (1, 2, 6, 24), axes=(None, None, None, "t"))
    x = b.conv(x, 2, (1, 3), stride=(1, 2), padding=[(0, 0), (1, 1)], name="down")
    pool = Pool((Window(3, 2, 1, 1, 1), Window(2, 2)), "average", True)
    network = b.build(b.add(pool, x, name="mid"))
    plan = plan_dilation(network, {"t": 1}, network.outputs)
    assert isinstance(plan, Plan)
    assert change(plan).dense == (
        Dense(Window(3, 2, 1, 1, 1), 1, 2, True),
        Dense(Window(2, 2), 2, 1, True),
    )
    assert_denser(plan)


def test_a_pooled_branch_takes_the_size_of_each_of_three_axes():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)
        return b.concat(x, b.resize(b.global_pool(x), x.shape[2:], name="mid"), name="cat")

    assert change(planned(made, (1, 2, 7, 9, 11))).after.sizes == (7, 9, 11)


def test_digits_of_an_axis_stay_where_another_axis_is_asked_for():
    def made(b: Builder, x: Tensor) -> Tensor:
        x = b.add(Reshape((1, 2, 12, 7, 2)), x, name="cut")
        return b.add(Pool((Window(1), Window(2)), "max"), x, name="mid")

    b = Builder()
    network = b.build(made(b, b.input("x", (1, 2, 12, 14))))
    plan = plan_dilation(network, {"h": 1}, network.outputs)
    assert isinstance(plan, Plan)
    assert plan.changes == ()


def test_a_new_dimension_of_a_maps_size_follows_it_and_one_of_a_single_index_does_not():
    def first(b: Builder, x: Tensor) -> Tensor:
        return b.add(Expand((12, 1, 2)), b.mean(strided(b, x), (2,)), name="mid")

    assert change(planned(first)).after == Expand((24, 1, 2))

    def single(b: Builder, x: Tensor) -> Tensor:
        return b.add(Expand((1, 2, 1)), b.mean(strided(b, x), (2,), keep=True), name="mid")

    assert planned(single, (1, 2, 2)).candidate.node("mid").op == Expand((1, 2, 1))


@pytest.mark.parametrize("stride", [1, 2])
def test_of_keys_and_values_the_originals_own_are_kept(stride):
    def made(b: Builder, x: Tensor) -> Tensor:
        x = strided(b, x)
        keys = b.add(Permute((0, 2, 1)), b.conv(x, 2, 2, stride=stride, name="mid"), name="keys")
        asking = b.add(Permute((0, 2, 1)), x, name="asking")
        return b.add(Attention(), asking, keys, keys, name="seen")

    plan = planned(made, (1, 2, 24))
    (window,) = change(plan).after.windows
    assert (window.stride, window.dilation) == (2 * stride if stride > 1 else 1, 2)
    assert plan.factors["seen"] == {"t": 2}
    if stride > 1:
        assert_denser(plan)
