"""Counts brought back through one axis: each way of doing so against output by output."""

from __future__ import annotations

import time
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous import inspect
from atrous.analysis import paths as walking
from atrous.analysis.chain import _before, chain_unread, read_dropping
from atrous.analysis.effective import effective_box, shrunk_box
from atrous.analysis.inspection import layer_footprint
from atrous.analysis.paths import Walks, _backwards, adjoint, footprint_of
from atrous.errors import UnsupportedError
from atrous.geometry import Everything, Local, Prefix, Reads, Window
from atrous.network.stack import stack_network

SMALL = st.integers(1, 40)


@st.composite
def local_maps(draw):
    window = Window(
        draw(st.integers(1, 60)),
        stride=draw(st.sampled_from([1, 1, 2, 3, 7])),
        dilation=draw(st.sampled_from([1, 1, 2, 5, 9])),
        pad_lo=draw(st.sampled_from([0, 1, 30, 90])),
    )
    made = Reads.transposed if draw(st.booleans()) else Reads.window
    reads = made(window).after(Reads.window(Window(2))) if draw(st.booleans()) else made(window)
    borders = ["drop", "drop", "drop", "clamp", "wrap", "reflect"]
    return Local(
        reads, draw(st.integers(1, 60)), draw(st.integers(1, 90)), draw(st.sampled_from(borders))
    )


MAPS = st.one_of(
    local_maps(),
    local_maps(),
    st.builds(Everything, SMALL, SMALL),
    SMALL.flatmap(lambda n: st.builds(Prefix, st.just(n), st.just(n), st.booleans())),
)


def by_outputs(step, low, counts):
    """The same by its definition: what each output reads."""
    found = [0] * step.inputs
    for output, count in enumerate(counts, low):
        for position, paths in step.at(output).items():
            found[position] += paths * count
    return found


def whole(low, counts, length):
    """Counts from `low` on, as counts from 0 on."""
    out = [0] * length
    out[low : low + len(counts)] = counts
    return out


@settings(max_examples=300, deadline=None)
@given(MAPS, st.data())
def test_counts_brought_back_are_those_of_each_output(step, data):
    low = data.draw(st.integers(0, step.outputs - 1))
    length = data.draw(st.integers(1, step.outputs - low))
    # Lists of this length are rarely drawn.
    counts = Random(data.draw(st.integers(0, 99))).choices(range(4), k=length)
    right = by_outputs(step, low, counts)
    assert whole(*_before(step, low, counts), step.inputs) == right
    for kind in (np.int64, np.float64, np.object_):
        columns = np.array([counts, counts[::-1]], dtype=kind).T
        at, found = adjoint(step, low, columns)
        assert whole(at, found[:, 0].tolist(), step.inputs) == right
        assert whole(at, found[:, 1].tolist(), step.inputs) == by_outputs(step, low, counts[::-1])
    simple = read_dropping(step, low, bytes(map(bool, counts)))
    if simple is not None:
        assert whole(simple[0], list(simple[1]), step.inputs) == list(map(bool, right))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["k3", "k5d9", "k40s3", "tconvk30s7", "ups4", "maxk2s2"]),
        min_size=1,
        max_size=4,
    )
)
def test_a_chain_is_counted_as_the_graph_is(words):
    network = stack_network(" ".join(words), (1, 1, 13, 40))
    [tensor] = network.outputs
    found = footprint_of(network, tensor, None, "x")
    graph, _ = _backwards(network, tensor, found.at, "x", network.reached("x"), np.int64)
    counts = np.zeros(found.shape, dtype=np.int64)
    counts[
        tuple(slice(o, o + n) for o, n in zip(graph.origin, graph.counts.shape, strict=True))
    ] = graph.counts
    assert (found.counts == counts).all()


def test_taps_far_outside_take_no_room_and_no_time():
    began = time.process_time()
    report = inspect("stack:k403d444 s2k33d4 k3d40", (1, 4, 12, 4, 128))
    assert report.footprint("conv1").box.shape == (1, 1, 1)
    wide = inspect("stack:[k403d444 + k1] k6434 k34 k6434", (1, 1, 96, 96, 96))
    assert wide.footprint().coverage == 1
    upsampled = stack_network("ups655", (1, 1, 4, 11, 12828))
    assert chain_unread(upsampled, "x") == 0
    assert time.process_time() - began < 2


def test_what_is_more_than_can_be_counted_is_refused():
    huge = inspect("stack:k1023 k1023", (1, 1, 1 << 10, 1 << 10, 1 << 10))
    with pytest.raises(UnsupportedError, match="1,073,741,824 positions are too many"):
        huge.footprint()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.floats(0.01, 1))
def test_the_middle_of_a_line_is_that_of_a_box_one_position_wide(counts, share):
    line = np.array(counts)
    if not line.any():
        return
    sums = np.concatenate([[0], np.cumsum(line / line.max())])
    wanted = shrunk_box((len(line),), lambda b: float(sums[b[0][1]] - sums[b[0][0]]), share, (7,))
    assert effective_box(line, share, (7,)) == wanted
    flat = effective_box(line[None, :, None], share, (1, 7, 2))
    assert (flat.size, flat.origin) == ((1, *wanted.size, 1), (1, *wanted.origin, 2))
    assert (flat.of, flat.held) == ((1, len(line), 1), wanted.held)


@pytest.mark.parametrize(
    ("stack", "shape"),
    [
        ("k3d2*40", (1, 1, 64)),
        ("k3s2 k3d2 k5 ups2 k3p(2,0)*9", (1, 2, 18, 21)),
        ("k2d3*30 k3*9", (1, 1, 40)),
        ("k3 [ + k3d2] k3", (1, 1, 20)),
    ],
)
def test_walks_that_are_shared_count_what_each_counts_alone(stack, shape):
    report = inspect(f"stack:{stack}", shape)
    walks = Walks()
    for layer in report.layers:
        shared, alone = layer_footprint(report, layer, walks=walks), report.footprint(layer.name)
        assert shared.origin == alone.origin
        assert shared.box.dtype == alone.box.dtype
        assert (shared.box == alone.box).all()


def test_layers_that_are_alike_cost_one_step_each_and_not_one_for_each_before(monkeypatch):
    made = []
    monkeypatch.setattr(walking, "adjoint", lambda *given: made.append(1) or adjoint(*given))
    report = inspect("stack:k3d2*100", (1, 1, 64))
    walks = Walks()
    for layer in report.layers:
        layer_footprint(report, layer, walks=walks)
    # Twice where the numbers become larger than whole ones are held in.
    assert len(made) < 400
    monkeypatch.setattr(walking, "_KEPT", 0)
    made.clear()
    layer_footprint(report, report.layers[49], walks=(forgetful := Walks()))
    layer_footprint(report, report.layers[49], walks=forgetful)
    assert len(made) >= 100
