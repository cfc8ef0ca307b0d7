"""Findings at the head of a report: one line for each kind, however many layers it names."""

import pytest

import atrous
from atrous import Builder
from atrous.analysis import inspect_network
from atrous.report import Look
from atrous.shown import view


def test_findings_of_one_kind_share_a_line_and_name_the_other_layers():
    front = "k3s2p(1,0) k3s2p(1,0) k3s2p(1,0) k3s2p(1,0)"
    report = atrous.inspect(f"stack:{front} " + "k3causal " * 6, (1, 1, 256))
    leaks = [finding.layer for finding in report.findings if finding.code == "leak"]
    assert leaks == ["conv1", "conv2", "conv3", "conv4"]
    text = " ".join(str(report).split())
    assert text.count("leak") == 1
    assert "leak (4), conv1: reads 1 input position ahead of its own along t" in text
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


def test_a_kind_has_one_line_also_where_it_is_more_serious_at_some_layers():
    """Of four branches one has all taps inside somewhere, and two are 1x1 convolutions."""
    stack = "stack:k3s2x4 [k3d3 | k3d7 | k3d12 | k3d20] k1"
    for record in (
        atrous.inspect(stack, (1, 3, 20, 20)),
        atrous.compare({"a": stack[6:]}, input=(1, 3, 20, 20)),
    ):
        text = " ".join(str(record).split())
        assert text.count("aspp-center") == 1
        assert "aspp-center (3), conv4: rate 12 on a map of 10x10" in text
        assert "lies inside at every position, all of them nowhere; it is a 1x1" in text
        assert "Also at conv5, conv3." in text
    changed = atrous.convert("stack:k3s2x4 [k3d3 | k3d5 | k3d6] k1", 1, input=(1, 3, 11, 11))
    text = " ".join(str(changed).split())
    assert text.count("aspp-center") == 1
    assert "warning aspp-center (3), conv3: rate 10 on a map of 11x11" in text


def test_a_table_keeps_within_the_terminal_where_names_are_told_apart_in_their_middle():
    b = Builder("deep")
    x = b.input("x", (1, 4, 64, 64))
    for i in range(12):
        for j in range(3):
            name = f"/features/features.{i}/block/block.{j}/block.{j}.0/Conv/after"
            x = b.conv(x, 4, 3, padding=1, name=name)
    for width in (60, 80, 120):
        lines = view(inspect_network(b.build(x))).text(Look(width)).splitlines()
        assert all(len(line) <= width for line in lines), max(lines, key=len)
        assert any(line.startswith("layer  ") for line in lines)


def test_a_peak_that_is_the_graph_s_is_said_once():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
    text = " ".join(str(atrous.inspect(model, (1, 3, 32, 32))).split())
    assert "44.0 KiB of activations, run eagerly, while 1 runs; by the graph the same" in text
