"""Edits and the records of a plan, as they are printed and as plain data."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from atrous.conversion.edits import Edit, plan_edits, resampled_edit
from atrous.conversion.plan import OpChange, Plan, Resampled
from atrous.geometry import Dense, Window
from atrous.network.ops import Conv, ConvTranspose, Elementwise, Pad, Pool
from atrous.network.stack import stack_network


@pytest.mark.parametrize(
    ("before", "after", "text", "data"),
    [
        ((1, 2), (2, 2), "(1, 2) -> (2, 2)", ([1, 2], [2, 2])),
        (None, 3, "none -> 3", (None, 3)),
        (0, None, "0 -> none", (0, None)),
        (True, False, "True -> False", (True, False)),
        (1.5, "a", "1.5 -> a", (1.5, "a")),
        (Fraction(1, 2), (), "1/2 -> ()", ("1/2", [])),
    ],
)
def test_an_edit_is_one_line_and_plain_data(before, after, text, data):
    edit = Edit("layer", "what", before, after)
    assert str(edit) == f"layer: what {text}"
    one, two = data
    assert edit.to_dict() == {"layer": "layer", "attribute": "what", "before": one, "after": two}
    assert json.loads(json.dumps(edit.to_dict())) == edit.to_dict()


@pytest.mark.parametrize(
    ("sizes", "how"), [((4,), "linear"), ((4, 5), "bilinear"), ((4, 5, 6), "trilinear")]
)
def test_a_resampled_input_is_told_by_how_many_axes_it_has(sizes, how):
    one = Resampled("cat", "up", "skip", sizes, "cat.resample")
    assert str(one) == f"{how} to the size of skip"
    assert resampled_edit(one) == Edit("cat", "resample", None, f"{how} to the size of skip")


def plan(*changes: OpChange, resampled: tuple[Resampled, ...] = ()) -> Plan:
    made = stack_network("k3", (1, 1, 9))
    return Plan(made, made, changes, {}, "dilate", (1,), resampled=resampled)


def test_windows_are_told_by_stride_dilation_and_padding_and_each_only_where_it_changes():
    one, two = Window(3, 2, 1, 1, 1), Window(3, 1, 2, 2, 3)
    for make in (
        lambda w: Conv((w,), 4),
        lambda w: ConvTranspose((w,), 4),
        lambda w: Pool((w,), "max"),
    ):
        found = plan_edits(plan(OpChange("a", "m", make(one), make(two))))
        assert found == (
            Edit("a", "stride", (2,), (1,)),
            Edit("a", "dilation", (1,), (2,)),
            Edit("a", "padding", (1,), ((2, 3),)),
        )
        assert plan_edits(plan(OpChange("a", "m", make(one), make(one)))) == ()


def test_what_else_changes_is_told_by_its_name_and_resampling_last():
    up = Resampled("cat", "up", "skip", (4,), "cat.resample")
    found = plan_edits(
        plan(
            OpChange("p", "m", Pad(((1, 1),)), Pad(((2, 2),))),
            OpChange("q", "m", Elementwise("add"), Elementwise("mul")),
            OpChange("r", "m", Elementwise("add"), Pad(((1, 1),))),
            resampled=(up,),
        )
    )
    assert found[:2] == (
        Edit("p", "pads", ((1, 1),), ((2, 2),)),
        Edit("q", "label", "add", "mul"),
    )
    assert Edit("r", "pads", None, ((1, 1),)) in found
    two = (Window(2, 2),)
    pools = OpChange("s", "m", Pool(two, "average", True), Pool(two, "average", counted=((0, 0),)))
    assert plan_edits(plan(pools)) == (
        Edit("s", "ceil", True, False),
        Edit("s", "counted", (), ((0, 0),)),
    )
    assert found[-1] == resampled_edit(up)


def test_a_change_without_dense_windows_keeps_its_own_at_any_size():
    window = Window(3, 2, 1, 1, 1)
    conv = Conv((window,), 4)
    dense = (Dense(window, 2),)
    assert OpChange("a", "a", conv, conv).at_any_size == (Dense(window, 1, 2),)
    assert OpChange("a", "a", conv, conv, dense=dense).at_any_size == dense
    pool = Pool((window,), "max")
    assert OpChange("a", "a", pool, pool).at_any_size == (Dense(window, 1, 2),)
    assert OpChange("a", "a", Pad(((1, 1),)), Pad(((2, 2),))).at_any_size == ()
    assert OpChange("a", "a", conv, Pad(((2, 2),)), dense=dense).at_any_size == dense
