"""Reports as they are printed, letter for letter.

`ATROUS_GOLDEN=write pytest tests/golden` writes the files anew; read the difference before it goes
in.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atrous.analysis import inspect_network
from atrous.network import zoo
from atrous.report import ComparisonView, InspectionView, LayerView, Listed, Look, NetworksView
from atrous.verbs.compare import compare
from tests.golden.networks import ALL

HERE = Path(__file__).parent


def assert_is_golden(name: str, text: str) -> None:
    path = HERE / f"{name}.txt"
    if os.environ.get("ATROUS_GOLDEN") == "write":
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ALL)
def test_the_report_of_a_small_network(name, width):
    text = InspectionView(inspect_network(ALL[name]())).text(Look(width))
    assert all(len(line) <= width for line in text.splitlines())
    assert_is_golden(f"{name}.{width}", text)


@pytest.mark.parametrize("width", [80, 120])
def test_the_report_of_a_known_network(width):
    report = inspect_network(zoo.build("resnet18", (1, 3, 224, 224)))
    assert_is_golden(f"resnet18.{width}", InspectionView(report).text(Look(width)))


def test_the_report_of_a_known_network_folded_sorted_and_cut():
    report = inspect_network(zoo.build("resnet18", (1, 3, 224, 224)))
    text = InspectionView(report, Listed(depth=2, sort="params", top=4)).text()
    assert_is_golden("resnet18.folded", text)


def test_the_report_without_unicode():
    text = InspectionView(inspect_network(ALL["gridded"]())).text(Look(unicode=False))
    assert text.isascii()
    assert_is_golden("gridded.ascii", text)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("gridded", "stage2.conv2"), ("decoder", "out"), ("excited", "conv"), ("excited", "mul")],
)
def test_one_layer_in_depth_with_its_footprint(name, layer):
    report = inspect_network(ALL[name]())
    text = LayerView(report[layer], report.footprint(layer)).text()
    assert_is_golden(f"{name}.{layer}", text)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_usual_schemes_side_by_side(width):
    text = ComparisonView(compare(input=(1, 3, 512, 512))).text(Look(width))
    assert all(len(line) <= width for line in text.splitlines())
    assert_is_golden(f"compare.{width}", text)


def test_stacks_with_everything_that_can_go_wrong_side_by_side():
    stacks = {
        "even": "k3d1 k3d2 k3d3",
        "rate 2": "k3d2 k3d2 k3d2",
        "1x1": "k1s2x64 k(3,5)s2",
        "sparse and long-named scheme": "k3d3s2 k3d9",
        "decoder": "maxk2s2 k3x32 tconvk3s2x8",
    }
    assert_is_golden("compare.stacks", ComparisonView(compare(stacks, input=(1, 8, 30, 32))).text())


@pytest.mark.parametrize("width", [80, 140])
def test_the_list_of_known_networks(width):
    entries = [zoo.entry(name) for name in zoo.names()]
    view = NetworksView([(e.name, e.summary, inspect_network(e.build())) for e in entries])
    text = view.text(Look(width=width))
    assert all(len(line) <= width for line in text.splitlines())
    assert_is_golden(f"zoo.{width}", text)
