"""Every record shows in a terminal, in notebooks and, where it has one, as a plot."""

from __future__ import annotations

import ast
import dataclasses
import io

import pytest
from rich.console import Console

import atrous
from atrous.analysis.check import Outcome, check_report
from atrous.analysis.diff import diff_reports
from atrous.analysis.layer import LayerPart
from atrous.certification.stream_run import StreamRun
from atrous.network.records import EagerRun, Param
from atrous.refusal import Refusal
from atrous.report import LinesView
from atrous.shown import Shown, view
from tests.processes import ROOT

SHAPE = (1, 2, 9, 9)

PUBLIC = {
    name
    for name in atrous.__all__
    if dataclasses.is_dataclass(found := getattr(atrous, name)) and isinstance(found, type)
}


def shown_in(source: str) -> set[str]:
    """The classes of some code that say that they are shown."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and {base.id for base in node.bases if isinstance(base, ast.Name)} & {"Shown", "ShownWhole"}
    }


SOURCES = (path.read_text() for path in (ROOT / "src" / "atrous").rglob("*.py"))
SAID = set().union(*(shown_in(source) for source in SOURCES if "Shown" in source))
RECORDS = sorted(PUBLIC | SAID - {"ShownWhole"})


def _first_slowest(runs):
    """Made-up times: what stands first, the original, takes longest."""
    return {name: 2.0 if i == 0 else 1.0 for i, name in enumerate(runs)}


def _whole_slowest(runs):
    from atrous.optimization.contest import Turns

    return {name: Turns(ms, ms, ms) for name, ms in _first_slowest(runs).items()}


@pytest.fixture(scope="module")
def made():
    """A record of each class, by its name."""
    import torch

    from atrous.optimization.optimize import optimize_model

    report = atrous.inspect("stack:k3 k3d2 k3d2", SHAPE)
    other = atrous.inspect("stack:k3 k3d2", SHAPE)
    line = atrous.inspect("stack:k3s2", (1, 1, 9))
    conversion = atrous.convert("stack:k3s2 k3", 1, input=SHAPE)
    (output,), checked = conversion.certificate.outputs, check_report(report, [])
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.Conv2d(2, 2, 3)).eval()
    timers = {"timer": _first_slowest, "whole_timer": _whole_slowest}
    explanation = optimize_model(module, torch.randn(SHAPE), **timers).explain()
    lesson = atrous.learn("strided")
    trained = atrous.training(module, SHAPE)
    slide, numbers = lesson["output-size"].evidence[0], lesson["whole-formula"].evidence[0]
    line_module = torch.nn.Conv1d(2, 2, 3).eval()
    streamed = atrous.plan_stream("stack:k3s2 tconvk4s2", (1, 1, 64))
    audited = atrous.audit_tiles(module, module, input=SHAPE)
    designs = atrous.design(9, input=SHAPE, channels=2)
    records = (
        lesson, lesson.statements[0], slide, numbers,
        report, report.network, report.layers[0], report.layers[0].field[0],
        report.layers[0].field[0].phases[0], report.findings[0], report.footprint(),
        atrous.explain("stack:k3 k3d2", SHAPE),
        designs, designs[0],
        atrous.compare(input=SHAPE), atrous.degrid("stack:k3d2 k3d2", SHAPE),
        conversion, conversion.certificate, conversion.edits[0],
        explanation, explanation.layers[0], explanation.engines[0],
        atrous.Window(3), atrous.Reads.identity(),
        report.network.nodes[0], report.network.inputs[0], Param("weight", 8), EagerRun(8),
        report.trace(),
        report.trace()["conv1"], report.footprint().effective(), report.information(),
        trained, report.memory, atrous.compare(input=SHAPE).schemes[0], output, output.checks[0],
        conversion.certificate.before, checked, Outcome("macs", "<=2", "", "", None, True),
        atrous.pyramid_rates(513), atrous.rates(9), atrous.rates(9).branches[0],
        atrous.effective("stack:k3", SHAPE),
        other.boxes(), line.times(), atrous.sizes("stack:maxk2s2", SHAPE),
        diff_reports(other.to_dict(), report.to_dict()),
        atrous.plan_tiles("stack:k3s2 k3", (1, 1, 64, 64), tile=16),
        atrous.plan_tiles("zoo:resnet18", (1, 3, 256, 256), memory="6MiB"),
        streamed, streamed.context(4),
        atrous.stream(line_module, (1, 2, 40)),
        StreamRun("net", 8, 8, 2, 4, None, 1, 1, 0.1, 2.0, 1.0, 0.0, 1e-6),
        atrous.audit_stream(line_module, line_module, input=(1, 2, 40)),
        audited, audited.outputs[0], audited.outputs[0].axes[0],
        Refusal("rule", "layer", "no reason."), LayerPart("conv1", 0, 9, line.layers[0].field, {}),
    )  # fmt: skip
    return {type(record).__name__: record for record in records}


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_has_a_view_and_shows_through_it(made, name):
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


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_that_plots_does_so_through_its_view_and_without_a_network(made, name):
    if hasattr(made[name], "plot"):
        chart = made[name].plot()
        assert chart.to_dict()["$schema"].startswith("https://vega")
        assert "image/svg+xml" in chart._repr_mimebundle_()


def test_a_record_without_an_example_here_is_noticed():
    assert shown_in("class New(Shown): ...\nclass Plain: ...") == {"New"}
    assert len(PUBLIC) > 10
    assert len(SAID) > 25


def test_names_in_records_cannot_put_markup_into_notebooks():
    html = atrous.LayerChoice("<b>", "conv", "torch", 1.0, 1.0)._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>'" not in html


def test_what_is_no_record_has_no_view():
    with pytest.raises(TypeError, match="a dict is not shown"):
        view({})


def test_a_record_that_nobody_shows_is_noticed():
    @dataclasses.dataclass(frozen=True)
    class Forgotten:
        size: int

    with pytest.raises(TypeError, match="a Forgotten is not shown"):
        view(Forgotten(3))
