"""Information flow, effective fields, intensity and traces, against counting by hand."""

from __future__ import annotations

import json
from fractions import Fraction
from math import prod

import numpy as np
import pytest

import atrous
from atrous.analysis import inspect_network
from atrous.analysis.effective import effective_box
from atrous.analysis.information import readers
from atrous.errors import GeometryError, UnknownNameError, UnsupportedError
from atrous.network import Builder
from atrous.network.ops import Opaque
from atrous.report import LayerView
from tests.oracles import predicted


def crossed(b, x):
    """1x7 beside 7x1: a cross, which no product of axes is."""
    wide = b.conv(x, 2, (1, 7), padding=[0, 3], name="wide")
    high = b.conv(x, 2, (7, 1), padding=[3, 0], name="high")
    return b.join(wide, high)


def three_ways(b, x):
    parts = [
        b.conv(x, 2, kernel, padding=[(k - 1) // 2 for k in kernel], stride=2)
        for kernel in ((1, 9), (9, 1), (3, 5), (5, 3))
    ]
    return b.conv(b.concat(*parts), 2, 3, dilation=2, padding=1)


def excited(b, x):
    x = b.conv(x, 2, 3, stride=2, padding=1)
    return b.join(x, b.conv(b.global_pool(x), 2, 1), label="mul")


def decoded(b, x):
    y = b.conv(b.pool(x, 2), 2, 3, padding=[(2, 0)], dilation=1)
    y = b.conv_transpose(y, 2, 3, stride=2, padding=1, output_padding=1)
    return b.resize(b.concat(x, y), (7, 5))


def classified(b, x):
    x = b.conv(x, 2, 1, stride=2)
    return b.linear(b.flatten(b.global_pool(x)), 5)


def strided(b, x):
    return b.conv(b.conv(x, 2, 1, stride=3), 2, 3, padding=1, dilation=1)


MADE = (crossed, three_ways, excited, decoded, classified, strided)


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("shape", [(10, 12), (14, 10)])
def test_how_many_outputs_read_a_position_is_counted_like_every_path_of_sets(make, shape):
    b = Builder("made")
    network = b.build(make(b, b.input("x", (1, 2, *shape))))
    counts = predicted(network).sum(axis=0).reshape(shape)
    found, _ = readers(network, network.outputs[0], "x")
    assert (found == counts).all()
    flow = inspect_network(network).information()
    assert (flow.least, flow.most) == (counts.min(), counts.max())
    assert flow.mean == Fraction(int(counts.sum()), counts.size)
    assert flow.never_read == Fraction(int((counts == 0).sum()), counts.size)
    assert flow.elements_in == 2 * prod(shape)
    json.dumps(flow.to_dict())


def test_a_cross_is_counted_as_two_boxes_and_plain_stacks_as_one():
    b = Builder("cross")
    report = inspect_network(b.build(crossed(b, b.input("x", (1, 2, 20, 20)))))
    assert report.information().boxes == 2
    assert report.information().most == 13
    assert atrous.inspect("zoo:resnet18", (1, 3, 64, 64)).information("layer4").product


def test_a_stride_wider_than_its_window_leaves_positions_that_nothing_reads():
    flow = atrous.inspect("stack:k1s2x8", (1, 2, 8, 8)).information()
    assert flow.never_read == Fraction(3, 4)
    assert flow.ratio == 1
    assert "75.0% never read" in str(flow)


def test_behind_an_op_that_is_not_understood_nothing_is_counted():
    b = Builder("partial")
    x = b.input("x", (1, 2, 8, 8))
    report = inspect_network(b.build(b.add(Opaque("odd", "no rule", (1, 2, 8, 8)), x, name="odd")))
    with pytest.raises(UnsupportedError, match="odd: no rule"):
        report.information()
    with pytest.raises(UnsupportedError, match="not known"):
        report.trace()


def test_an_axis_too_long_to_count_is_refused_with_the_way_out():
    with pytest.raises(UnsupportedError, match="ask with a shorter input"):
        atrous.inspect("stack:k3 k3", (1, 1, 32_000)).information()


# Effective fields


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 1.0])
def test_an_effective_box_holds_its_share_and_none_with_a_face_less_does(share):
    foot = atrous.inspect("stack:k3 k(3,5)d2 k3s2 k3 k3", (1, 1, 80, 80)).footprint()
    found = foot.effective(share)
    counts = foot.counts.astype(np.float64)
    corner = tuple(slice(o, o + n) for o, n in zip(found.origin, found.size, strict=True))
    assert counts[corner].sum() / counts.sum() == pytest.approx(found.held)
    assert found.held >= share - 1e-9
    assert found.of == foot.box.shape
    if share < 1:
        inner = tuple(slice(s.start + 1, s.stop - 1) for s in corner)
        assert counts[inner].sum() / counts.sum() < share


def test_a_symmetric_field_has_a_symmetric_box_and_grows_with_the_root_of_the_depth():
    sizes = []
    for depth in (4, 16, 64):
        found = atrous.inspect("stack:" + "k3 " * depth, (1, 1, 300)).footprint().effective()
        (origin,), (size,) = found.origin, found.size
        assert origin + (size - 1) / 2 == 150
        sizes.append(size)
    assert 1.6 < sizes[1] / sizes[0] < 2.4
    assert 1.6 < sizes[2] / sizes[1] < 2.4


def test_a_box_of_all_paths_is_the_field_and_a_share_lies_between_0_and_1():
    foot = atrous.inspect("stack:k3 k3", (1, 1, 16, 16)).footprint()
    assert foot.effective(1.0).size == (5, 5)
    assert foot.effective(1e-9).size == (1, 1)
    with pytest.raises(GeometryError, match="not above 0 and at most 1"):
        foot.effective(95)
    huge = np.full((3,), 10**400, dtype=object)
    assert effective_box(huge, 0.5, (0,)).of == (3,)


# Intensity


def test_intensity_is_flops_over_bytes_read_and_written_once():
    report = atrous.inspect("stack:k3x8", (1, 4, 16, 16))
    (layer,) = report.layers
    moved = 4 * (4 * 16 * 16 + 8 * 16 * 16 + 8 * 4 * 9)
    assert layer.bytes_moved == moved
    assert layer.intensity == 2 * (8 * 4 * 9 * 16 * 16) / moved
    assert layer.to_dict()["intensity"] == layer.intensity
    assert "FLOP/byte" in LayerView(layer).text()


def test_views_move_nothing_and_in_place_ops_do():
    b = Builder("views")
    x = b.relu(b.input("x", (1, 2, 4, 4)))
    relu, flat = inspect_network(b.build(b.flatten(x))).layers
    assert relu.bytes_moved == 2 * 4 * 32
    assert (flat.bytes_moved, flat.intensity) == (0, 0.0)


# Traces


def test_a_trace_shows_where_holes_open_and_where_they_close():
    trace = atrous.inspect("stack:k5 k3d2 k3d4 k3d4", (1, 1, 64, 64)).trace()
    facts = {seen.name: (seen.field[0].taps, seen.field[0].size) for seen in trace}
    assert facts == {"conv3": (3, 9), "conv2": (5, 17), "conv1": (11, 21), "x": (25, 25)}
    assert trace["conv2"].field[1].step == 4
    assert trace["x"].field[0].coverage == 1
    assert list(trace.to_dict()) == ["output", "at", "layers"]
    with pytest.raises(UnknownNameError):
        trace["conv9"]
    with pytest.raises(GeometryError, match="one index for each of 2"):
        atrous.inspect("stack:k3", (1, 1, 8, 8)).trace(at=(1,))


def test_strides_of_a_trace_are_counted_from_each_layer_to_the_output():
    trace = atrous.inspect("stack:k3s2 k3s2 k3s2", (1, 1, 64)).trace()
    assert {seen.name: seen.field[0].stride for seen in trace} == {"conv2": 2, "conv1": 4, "x": 8}
