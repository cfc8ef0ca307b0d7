"""Findings at the head of a report: one line for each kind, however many layers it names."""

import pytest

import atrous
from atrous import Builder
from atrous.analysis import inspect_network
from atrous.shown import view


def test_findings_of_one_kind_share_a_line_and_name_the_other_layers():
    front = "k3s2p(1,0) k3s2p(1,0) k3s2p(1,0) k3s2p(1,0)"
    report = atrous.inspect(f"stack:{front} " + "k3causal " * 6, (1, 1, 256))
    leaks = [finding.layer for finding in report.findings if finding.code == "leak"]
    assert leaks == ["conv1", "conv2", "conv3", "conv4"]
    text = " ".join(str(report).split())
    assert text.count("leak,") == 1
    assert "leak, conv1: reads 1 input position ahead of its own along t" in text
    assert "Also at conv2, conv3, conv4." in text


def _outputs(count, deepest):
    """A network with so many outputs, of which the one in place `deepest` sees the most."""
    b = Builder("heads")
    x = b.input("x", (1, 4, 64, 64))
    kernels = [9 if place == deepest else 3 for place in range(count)]
    heads = [b.conv(x, 4, k, padding=k // 2, name=f"head{i}") for i, k in enumerate(kernels)]
    return inspect_network(b.build(*heads))


@pytest.mark.parametrize("deepest", [0, 3, 5, 6])
def test_of_many_outputs_the_one_that_sees_the_most_is_always_shown(deepest):
    text = str(_outputs(7, deepest))
    assert f"output           head{deepest} 1x4x64x64\nreceptive field  9x9" in text
    assert text.count("\noutput  ") == 4
    hidden = [f"head{i}" for i in range(7) if f"output           head{i} " not in text]
    assert f"and 3 more outputs: {', '.join(hidden)}" in text


def test_of_outputs_that_see_alike_the_last_is_shown():
    b = Builder("heads")
    x = b.input("x", (1, 4, 64))
    heads = [b.conv(x, 4, 3, padding=1, name=f"head{i}") for i in range(5)]
    text = str(inspect_network(b.build(*heads)))
    assert "output           head4 " in text
    assert "and 1 more output: head3" in text


def test_one_of_a_thing_is_no_plural():
    text = str(atrous.inspect("stack:k1", (1, 1, 1)))
    assert text.startswith("k1: 1 layer, all understood")
    shown = str(view(atrous.inspect("stack:k1", (1, 1, 1)).footprint()).text())
    assert "1 of 1 position (100%)" in shown
