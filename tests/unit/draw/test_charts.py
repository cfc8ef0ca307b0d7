"""Charts: valid, with the report's numbers in them, and pictures for papers."""

from __future__ import annotations

import pytest

import atrous
from atrous.draw.charts import KINDS, stages
from atrous.draw.colours import SERIES
from atrous.draw.rows import listing
from atrous.errors import UnknownNameError
from atrous.optimization.records import Explanation, LayerChoice


@pytest.fixture(scope="module")
def report():
    return atrous.inspect("zoo:deeplabv3_resnet50", (1, 3, 129, 129))


def rows_of(chart):
    """All rows of data in a chart's description, layers and all."""
    found = []

    def visit(part):
        if isinstance(part, dict):
            values = (
                part.get("data", {}).get("values") if isinstance(part.get("data"), dict) else []
            )
            found.extend(values or [])
            for child in part.values():
                visit(child)
        elif isinstance(part, list):
            for child in part:
                visit(child)

    visit(chart.to_dict())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_chart_becomes_a_picture(report, kind, tmp_path):
    report.plot(kind).save(tmp_path / "chart.svg")
    report.plot(kind).save(tmp_path / "chart.png")
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_the_field_chart_has_the_fields(report):
    drawn = {
        (r["layer"], r["what"]): r["positions"]
        for r in rows_of(report.plot("field"))
        if "what" in r
    }
    for row in listing(report).rows:
        for axis in row.layer.field[:1]:
            assert drawn[row.name, "field"] == axis.size
            assert drawn[row.name, "read"] == axis.taps


def test_axes_that_differ_are_lines_of_their_own():
    chart = atrous.inspect("stack:k(3,5) k3s(1,2) k3", (1, 1, 32, 64)).plot("field")
    drawn = {
        (r["layer"], r["axis"]): r["positions"] for r in rows_of(chart) if r.get("what") == "field"
    }
    assert drawn["conv3", "h"] == 7
    assert drawn["conv3", "w"] == 11


def test_the_memory_chart_has_the_peak(report):
    rows = rows_of(report.plot("memory"))
    assert max(row["bytes"] for row in rows) == report.peak_memory_bytes
    assert any(report.memory.at in row.get("text", "") for row in rows)
    assert len(report.memory.alive) == len(report.layers)


def test_every_layer_is_one_wide_its_number_in_the_middle():
    report = atrous.inspect("stack:k3 k3d2 k3d4", (1, 1, 64))
    for kind in ("field", "resolution", "coverage", "memory"):
        spec = report.plot(kind).to_dict()
        x = next(
            one["encoding"]["x"] for one in spec.get("layer", [spec]) if "x" in one["encoding"]
        )
        assert x["scale"]["domain"] == [0.5, 3.5]
        assert x["axis"]["values"] == [1, 2, 3]
        ends = [row["at"] for row in rows_of(report.plot(kind)) if row.get("layer") == "conv3"]
        assert kind == "coverage" or 3.5 in ends
    assert "bytes of activations" in str(spec)


def test_stages_add_up_to_the_whole(report):
    found = stages(report)
    assert sum(stage["MACs"][0] for stage in found.values()) == report.macs
    assert sum(stage["activations"][0] for stage in found.values()) == report.activation_bytes
    assert len(found) <= 16


def test_the_coverage_chart_shows_the_hole_that_a_trace_finds():
    report = atrous.inspect("stack:k3 k3d2 k3d2", (1, 1, 64, 64))
    shares = {
        (row["layer"], row["series"]): row["share"] for row in rows_of(report.plot("coverage"))
    }
    assert (
        shares["conv1", "this map, by the output"] == report.trace()["conv1"].field[0].coverage < 1
    )
    assert shares["conv3", "input, by this layer"] == report["conv3"].field[0].coverage


def test_two_reports_share_a_chart(report):
    other = atrous.inspect("zoo:resnet50", (1, 3, 129, 129))
    for kind in KINDS:
        names = {row.get("report") for row in rows_of(report.plot(kind, beside=other))}
        assert {"resnet50", "deeplabv3_resnet50"} <= names


def test_comparisons_explanations_and_conversions_are_drawn(tmp_path):
    atrous.compare(input=(1, 3, 64, 64)).plot().save(tmp_path / "a.svg")
    atrous.convert("stack:k3s2 k3", 1, input=(1, 8, 33, 33)).plot("field").save(tmp_path / "b.svg")
    row = LayerChoice("0", "conv k3 d2", "depthwise kernel", 2.0, 0.5)
    about = Explanation(
        "Net", "graph", "contiguous", 4.0, 2.0, 0.0, (row,), ((1, 3, 8, 8),), 2, "", ()
    )
    assert {r["ms"] for r in rows_of(about.plot())} == {2.0, 0.5}
    about.plot().save(tmp_path / "c.svg")


def test_costs_of_two_networks_are_paired_by_kind_in_one_colour_each(report):
    from atrous.draw.charts import cost_chart

    other = atrous.inspect("zoo:deeplabv3_resnet50_os16", (1, 3, 129, 129))
    drawn = cost_chart({"old": other, "new": report}).to_dict()["encoding"]
    assert drawn["color"]["scale"]["domain"] == ["MACs", "parameters", "activations"]
    assert drawn["opacity"]["scale"]["domain"] == ["old", "new"]
    assert drawn["yOffset"]["sort"][:3] == ["MACs, old", "MACs, new", "parameters, old"]
    assert "opacity" not in cost_chart({"one": report}).to_dict()["encoding"]


def test_an_unknown_kind_is_named_with_the_known_ones(report):
    with pytest.raises(UnknownNameError, match="resolution"):
        report.plot("speed")


def test_colours_stay_apart_for_those_who_see_two_of_three():
    """Under Vienot's simulation of deuteranopia and protanopia, and in grey, no two are alike."""
    matrices = {
        "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
        "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    }
    rgb = [tuple(int(c[at : at + 2], 16) / 255 for at in (1, 3, 5)) for c in SERIES[:4]]
    for rows in matrices.values():
        seen = [tuple(sum(m * v for m, v in zip(row, c, strict=True)) for row in rows) for c in rgb]
        for place, one in enumerate(seen):
            for other in seen[:place]:
                assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > 0.02
