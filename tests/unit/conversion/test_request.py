"""What may be asked of a conversion: strides by axis, either way, and outputs that are maps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from atrous.conversion.plan import Plan
from atrous.conversion.request import ConversionRequest, plan_for
from atrous.errors import ReadError
from atrous.network import Builder, Network, Tensor
from atrous.network.ops import AdaptivePool, Concat, Contract, Opaque, Pad, Reshape, Resize
from atrous.network.stack import stack_network
from atrous.refusal import ConversionError


def asked(
    network: Network, stride: Any, names: tuple[str, ...] | None = None, **options: Any
) -> Plan:
    said = {"heads": "scale", "tail": "crop", **options}
    return plan_for(network, ConversionRequest(stride, names, measure=False, **said))


def refused(network: Network, stride: Any, names: tuple[str, ...] | None = None) -> ConversionError:
    with pytest.raises(ConversionError) as raised:
        asked(network, stride, names)
    assert raised.value.refusal is not None
    return raised.value


FLAT = stack_network("k3s2 k3s2 k3d2 k3d2", (1, 2, 65))
SQUARE = stack_network("k3s2 k3s2 k3d2 k3d2", (1, 2, 33, 35))


@pytest.mark.parametrize(
    ("stride", "direction", "target"),
    [
        (4, "none", (4, 4)),
        ([4], "none", (4, 4)),
        (2, "dilate", (2, 2)),
        (1, "dilate", (1, 1)),
        (8, "stride", (8, 8)),
        ((2, 4), "dilate", (2, 4)),
        ((4, 2), "dilate", (4, 2)),
        ([4, 8], "stride", (4, 8)),
        (np.int64(2), "dilate", (2, 2)),
    ],
)
def test_a_smaller_stride_dilates_and_a_larger_one_strides(stride, direction, target):
    plan = asked(SQUARE, stride)
    assert (plan.direction, plan.target) == (direction, target)


@pytest.mark.parametrize("stride", [0, -1, 1.5, "2", None, (2, 0), (2, "a"), [2, 2.0]])
def test_what_is_no_stride_is_refused_as_it_was_given(stride):
    with pytest.raises(ReadError) as raised:
        asked(SQUARE, stride)
    assert str(raised.value) == f"output_stride={stride!r} is no whole number of at least 1."


@pytest.mark.parametrize(("stride", "words"), [((1, 2, 3), "3 values"), ((), "0 values")])
def test_strides_are_one_or_one_an_axis(stride, words):
    with pytest.raises(ReadError) as raised:
        asked(SQUARE, stride)
    assert f"has {words} for 2 spatial axes (h, w); give one, or one each." in str(raised.value)
    with pytest.raises(ReadError, match=r"has 2 values for 1 spatial axis \(t\)"):
        asked(FLAT, (2, 1))


def test_a_network_without_axes_takes_no_stride():
    b = Builder()
    made = b.build(b.linear(b.input("x", (2, 3)), 4))
    assert refused(made, 2).refusal.rule == "global"


def test_both_ways_at_once_are_refused():
    error = refused(SQUARE, (2, 8))
    assert error.refusal.rule == "output stride"
    assert "(2, 8) is finer than now along h and coarser along w" in str(error)
    assert "finer than now along w and coarser along h" in str(refused(SQUARE, (8, 2)))
    cube = stack_network("k3s2 k3d2", (1, 1, 9, 9, 9))
    assert str(refused(cube, (1, 1, 4))) == (
        "output_stride=(1, 1, 4) is finer than now along d, h and coarser along w; convert one "
        "after the other."
    )
    assert "finer than now along d and coarser along h, w" in str(refused(cube, (1, 4, 4)))
    assert error.refusal.layer == ""


def test_options_reach_the_plan():
    odd = stack_network("k3s2 maxk2s2valid [k3 | k3d2]", (1, 1, 25))
    assert asked(odd, 1).candidate.tensor("max2").shape == (1, 1, 24)
    assert asked(odd, 1, tail="keep").candidate.tensor("max2").shape == (1, 1, 25)
    assert [h.rate_after for h in asked(odd, 1).heads] == [8]
    assert [h.rate_after for h in asked(odd, 1, heads="keep").heads] == [2]


def test_resampling_of_joins_that_no_longer_fit_is_done_where_it_is_asked():
    b = Builder()
    one = b.conv(b.input("x", (1, 2, 24)), 2, 3, stride=2, padding=1, name="one")
    two = b.conv(one, 2, 3, stride=2, padding=1, name="two")
    up = b.add(Resize((12,), "nearest", "asymmetric", (Fraction(2),)), two, name="up")
    made = b.build(b.join(one, up, name="sum"))
    assert refused(made, 1).refusal.rule == "join"
    assert [r.source for r in asked(made, 1, resample=True).resampled] == ["up"]


def test_named_layers_are_outputs_and_what_is_behind_them_is_left_out():
    plan = asked(FLAT, 1, ("conv2",))
    assert plan.reference.outputs == ("conv2",)
    assert [c.node for c in plan.changes] == ["conv1", "conv2"]
    # How coarse it is now is said of the part that is wanted.
    assert asked(FLAT, 2, ("conv1",)).direction == "none"


def test_a_layer_that_is_not_understood_holds_back_strides_of_its_part_alone():
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 65)), 2, 3, padding=1, name="first")
    y = b.conv(x, 2, 3, dilation=2, padding=2, name="last")
    z = b.add(Opaque("sort", "as in MAX.", y.shape), y, name="odd")
    made = b.build(y, z)
    error = refused(made, 2)
    assert (error.refusal.rule, error.refusal.layer) == ("opaque", "odd")
    assert error.refusal.reason == "it is not understood (as in MAX)."
    assert asked(made, 2, ("last",)).direction == "stride"


def classifier() -> Network:
    b = Builder()
    x = b.input("x", (1, 2, 33, 33))
    with b.scope("body"):
        x = b.conv(x, 2, 3, stride=2, padding=1, name="conv")
        x = b.relu(x, name="act")
    x = b.global_pool(x, name="pool")
    x = b.linear(b.flatten(x, name="flat"), 5, name="fc")
    return b.build(x)


def test_an_output_without_positions_is_refused_with_the_layer_to_name():
    error = refused(classifier(), 1)
    assert (error.refusal.rule, error.refusal.layer) == ("global", "pool")
    assert "it mixes all positions, and no output behind it has any left" in str(error)
    assert "such as outputs='body'" in str(error)  # the block that ends with the layer


def test_a_flattened_map_is_not_what_is_named():
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 9, 9)), 2, 3, stride=2, padding=1, name="conv")
    flat = b.flatten(x, name="flat")
    made = b.build(b.linear(flat, 3, name="fc"))
    error = refused(made, 1)
    assert error.refusal.rule == "global"
    assert "such as outputs='conv'" in str(error)


def test_an_output_behind_what_is_not_understood_names_that():
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 9)), 2, 3, stride=2, name="conv")
    made = b.build(b.add(Opaque("sort", "it sorts", (3,)), x, name="odd"))
    error = refused(made, 1)
    assert (error.refusal.rule, error.refusal.layer) == ("opaque", "odd")
    assert "it is not understood (" in str(error)


def test_no_positions_anywhere_are_said_plainly():
    b = Builder()
    made = b.build(b.linear(b.input("x", (1, 3)), 2, name="fc"))
    error = refused(made, 1)
    assert (error.refusal.rule, error.refusal.layer) == ("global", "")
    assert str(error) == "no output has spatial positions; there is no map to convert."


def flattened(b: Builder, x: Tensor, name: str) -> Tensor:
    return b.add(Reshape((*x.shape[:2], x.shape[2] * x.shape[3])), x, name=name)


def levels() -> Network:
    """The maps of two levels, end to end, and one of them alone."""
    b = Builder()
    one = b.conv(b.input("x", (1, 2, 9, 9)), 2, 3, stride=2, padding=1, name="one")
    two = b.conv(one, 2, 3, stride=2, padding=1, name="two")
    rows = [flattened(b, x, f"flat{i}") for i, x in enumerate((one, two))]
    return b.build(b.add(Concat(2), *rows, name="cat"), one)


def test_parts_laid_end_to_end_are_refused_with_the_layer_to_name():
    error = refused(levels(), 1)
    assert (error.refusal.rule, error.refusal.layer) == ("parts", "cat")
    assert str(error) == (
        "cat: it lays parts that hold different positions end to end, which would have other "
        "lengths; name the layers before it whose maps you want, such as outputs='two'."
    )
    assert refused(levels(), 4).refusal.rule == "parts"


def test_parts_laid_end_to_end_that_nobody_asks_for_hinder_nothing():
    assert asked(levels(), 1, ("two",)).direction == "dilate"
    assert asked(levels(), 1, ("one",)).direction == "dilate"


def test_the_layer_to_name_lies_before_the_one_that_mixes_all_positions():
    b = Builder()
    x = b.input("x", (1, 2, 33))
    b.conv(x, 2, 3, name="beside")
    with b.scope("net"):
        with b.scope("body"):
            y = b.relu(b.conv(x, 2, 3, stride=2, name="conv"), name="act")
        pooled = b.global_pool(y, name="pool")
    other = b.conv(y, 2, 3, name="other")
    made = b.build(pooled, other)
    text = (
        "it mixes all positions, and no output behind it has any left to convert; name the "
        "layers whose maps you want, such as outputs='net.body'."
    )
    assert str(refused(made, 1, ("net.pool",))) == f"net.pool: {text}"
    b = Builder()
    with b.scope("net"), b.scope("body"):
        y = b.relu(b.conv(b.input("x", (1, 2, 33)), 2, 3, stride=2, name="conv"), name="act")
    made = b.build(b.global_pool(y, name="pool"))
    assert str(refused(made, 1)).endswith("such as outputs='net'.")
    b = Builder()
    y = b.add(Pad(((1, 1),)), b.input("x", (1, 2, 33)), name="alone", module="")
    made = b.build(b.global_pool(y, name="pool"))
    assert str(refused(made, 1)).endswith("such as outputs='alone'.")


def test_where_no_layer_makes_a_map_none_is_named():
    b = Builder()
    made = b.build(b.global_pool(b.input("x", (1, 2, 33)), name="pool"))
    assert str(refused(made, 1)) == (
        "pool: it mixes all positions, and no output behind it has any left to convert; name the "
        "layers whose maps you want, with outputs=."
    )


def test_a_line_flattened_with_its_channels_is_not_what_is_named():
    b = Builder()
    x = b.conv(b.input("x", (1, 2, 9)), 2, 3, stride=2, padding=1, name="conv")
    made = b.build(b.linear(b.flatten(x, name="flat"), 3, name="fc"))
    assert "such as outputs='conv'" in str(refused(made, 1))


def test_where_every_map_lies_aside_the_stride_is_that_of_the_input():
    b = Builder()
    pool = b.add(AdaptivePool((4,)), b.input("x", (1, 2, 33)), name="pool")
    made = b.build(b.add(Contract("bct,bcs->bts"), pool, pool, name="gram"))
    assert asked(made, 1).direction == "none"
    error = refused(made, 2)
    assert (error.refusal.rule, error.refusal.layer) == ("stride", "")
    assert str(error) == "no layer has a window along t."
