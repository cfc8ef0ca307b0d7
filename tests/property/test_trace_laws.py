"""Reads composed up the graph agree with those composed down it, and with every path walked."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.analysis import inspect_network
from atrous.analysis.trace import traced
from atrous.network import Builder, zoo
from tests.oracles import drawing

LENGTH = 400


def drawn_network(seed: int):
    """Branches, joins, strides and transposed windows along one axis, and their windows by name."""
    rng = random.Random(seed)
    b = Builder("drawn")
    x = b.input("x", (1, 2, LENGTH))
    for block in range(rng.randint(1, 4)):
        kind = rng.choice(["plain", "residual", "dense", "up"])
        k, d = rng.randint(1, 4), rng.randint(1, 4)
        if kind == "plain":
            low = rng.randint(0, 3)
            x = b.conv(x, 2, k, stride=rng.randint(1, 3), dilation=d, padding=[(low, 2)])
        elif kind == "up":
            x = b.conv_transpose(x, 2, k + 1, stride=rng.randint(1, k + 1))
        else:
            y = b.conv(x, 2, 3, dilation=d, padding=d, name=f"a{block}")
            y = b.conv(y, 2, 3, dilation=d + 1, padding=d + 1, name=f"b{block}")
            x = b.join(x, y) if kind == "residual" else b.concat(x, y)
            x = b.conv(x, 2, 1)
    return b.build(x)


def walked(network, tensor, at):
    """What is read of each tensor, by walking from position to position, unclipped."""
    found = {tensor: {at}}
    for node in reversed(network.nodes):
        places = found.get(node.output.name)
        if not places:
            continue
        for source, moves in zip(node.inputs, node.moves, strict=True):
            step = moves.get("t")
            into = found.setdefault(source, set())
            for place in places:
                if step is None:
                    into.add(place)
                else:
                    into.update(step.reads.at(place))
    return found


@drawing(60)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_a_trace_holds_what_walking_every_path_meets(seed, at):
    network = drawn_network(seed)
    seen = traced(network, network.outputs[0], {"t": at}, "x")
    expected = walked(network, network.outputs[0], at)
    assert {name: set(views["t"]) for name, views in seen.items()} == expected


@drawing(60)
@given(st.integers(0, 10**6))
def test_at_the_input_a_trace_is_the_field_of_that_phase(seed):
    network = drawn_network(seed)
    report = inspect_network(network)
    (field,) = report.outputs[0].field
    for index, phase in enumerate(field.phases):
        taps = traced(network, network.outputs[0], {"t": index}, "x")["x"]["t"]
        if phase.size:
            assert (taps.first, taps.size, taps.count) == (phase.start, phase.size, phase.taps)
            assert (taps.max_gap, taps.step) == (phase.max_gap, phase.step)
        else:
            assert not taps.mask


@pytest.mark.parametrize("name", zoo.names())
def test_up_and_down_the_known_networks_meet(name):
    network = zoo.entry(name).build()
    report = inspect_network(network)
    for output in report.outputs:
        seen = traced(network, output.tensor, {}, report.input)[report.input]
        assert output.field
        for field in output.field:
            taps = seen[field.axis]
            assert (taps.size, taps.count) == (field.phases[0].size, field.phases[0].taps)
