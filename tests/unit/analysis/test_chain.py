"""Chains axis by axis against the graph followed on arrays, which was probed with NaN."""

from __future__ import annotations

import time
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous import compare
from atrous.analysis.chain import chain_footprint, chain_unread
from atrous.analysis.unread import unread_share
from atrous.errors import AtrousError, UnsupportedError
from atrous.explore.draft import Draft
from atrous.network.stack import stack_network

LAYERS = [
    *("k3", "k5d2", "k3s2", "maxk2s2", "tconvk3s2", "ups2", "k3valid"),
    *("k3d4p(3,0)", "k1s2", "k3d9", "tconvk2s2", "k2causal"),
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(LAYERS), min_size=1, max_size=6),
    st.lists(st.integers(5, 30), min_size=1, max_size=3),
    st.data(),
)
def test_a_chain_reads_what_its_graph_reads(words, sizes, data):
    try:
        draft = Draft.of(" ".join(words), (1, 2, *sizes))
    except AtrousError:
        return
    report = draft.report()
    layer = data.draw(st.sampled_from(draft.layers)).name
    found = chain_footprint(report.network, report[layer].tensor, report.input)
    whole = report.footprint(layer)
    assert (found.at, found.taps, found.coverage) == (whole.at, whole.taps, whole.coverage)
    mine, other = found.effective(), whole.effective()
    assert (mine.origin, mine.size, mine.of) == (other.origin, other.size, other.of)
    assert mine.held == pytest.approx(other.held)
    if whole.box.size:
        assert (found.origin, found.shape) == (whole.origin, whole.box.shape)
        counts = [np.array(along, dtype=object) for along in found.counts]
        assert (reduce(np.multiply.outer, counts) == whole.box).all()
    assert chain_unread(report.network, report.input) == unread_share(report.network, report.input)


def test_a_network_with_branches_is_no_chain():
    network = stack_network("[k3 + k3d2] k3", (1, 2, 16, 16))
    assert chain_footprint(network, network.outputs[0], network.inputs[0].name) is None
    assert chain_unread(network, network.inputs[0].name) is None


def test_what_is_read_of_a_million_positions_takes_no_time_and_of_more_is_not_known():
    began = time.process_time()
    wide = stack_network("k65535d1p(0,0) k3s2", (1, 1, 1 << 20))
    assert chain_unread(wide, "x") == unread_share(wide, "x")
    assert time.process_time() - began < 5
    long = stack_network("ups4096 k3s7", (1, 1, 1 << 20))
    assert chain_unread(long, "x") is None
    with pytest.raises(UnsupportedError, match="4,294,967,296 positions along an axis"):
        unread_share(long, "x")
    assert compare({"long": "ups4096 k3s7"}, input=(1, 1, 1 << 20))["long"].unread is None
