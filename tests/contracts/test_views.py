"""Every public record shows in a terminal, in notebooks and, where it has one, as a plot."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

import atrous
from atrous.report import LinesView
from atrous.shown import Shown, view

SHAPE = (1, 2, 9, 9)

RECORDS = sorted(
    name
    for name in atrous.__all__
    if dataclasses.is_dataclass(found := getattr(atrous, name)) and isinstance(found, type)
)


@pytest.fixture(scope="module")
def made():
    """A record of each public class, by its name."""
    import torch

    report = atrous.inspect("stack:k3 k3d2 k3d2", SHAPE)
    conversion = atrous.convert("stack:k3s2 k3", 1, input=SHAPE)
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.Conv2d(2, 2, 3)).eval()
    explanation = atrous.optimize(module, torch.randn(SHAPE)).explain()
    records = (
        report, report.network, report.layers[0], report.layers[0].field[0],
        report.layers[0].field[0].phases[0], report.findings[0], report.footprint(),
        atrous.compare(input=SHAPE), conversion, conversion.certificate, conversion.edits[0],
        explanation, explanation.layers[0], atrous.Window(3), atrous.Reads.identity(),
    )  # fmt: skip
    return {type(record).__name__: record for record in records}


@pytest.mark.parametrize("name", RECORDS)
def test_every_public_record_has_a_view_and_shows_through_it(made, name):
    record = made[name]
    shown = view(record)
    assert isinstance(record, Shown)
    assert isinstance(shown, LinesView)
    assert shown.text().strip()
    assert record._repr_html_() == shown.html()
    assert "<" in shown.html()
    console = Console(file=io.StringIO(), width=80)
    console.print(record)
    assert shown.text().split("\n", 1)[0][:40] in console.file.getvalue()


@pytest.mark.parametrize("name", [n for n in RECORDS if hasattr(getattr(atrous, n), "plot")])
def test_every_record_that_plots_does_so_through_its_view(made, name):
    assert made[name].plot().to_dict()["$schema"].startswith("https://vega")


def test_what_is_no_record_has_no_view():
    with pytest.raises(TypeError, match="a dict is not shown"):
        view({})


def test_a_record_that_nobody_shows_is_noticed():
    @dataclasses.dataclass(frozen=True)
    class Forgotten:
        size: int

    with pytest.raises(TypeError, match="a Forgotten is not shown"):
        view(Forgotten(3))
