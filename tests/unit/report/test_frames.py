"""Data frames: what `to_dict` says, one column a number, and missing where nothing is known."""

from __future__ import annotations

import sys

import pytest

import atrous
from atrous.analysis.diff import diff_reports
from atrous.errors import MissingDependencyError, UnknownNameError
from atrous.report.frames import FrameColumn, _pandas, _polars, tables_of
from atrous.shown import Tabular

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

SHAPE = (1, 2, 12, 18)
SAME = {"taps", "start", "center", "coverage", "max_gap", "step", "back", "ahead", "stride"}


@pytest.fixture(scope="module")
def report():
    return atrous.inspect("stack:k(3,5)s2 k3d(2,1) ups2 k3d(1,4)", SHAPE)


def _explained():
    choice = atrous.LayerChoice("a", "conv", "phases", 2.0, 1.0, None, (("taps", 3.0),), ("x", "y"))
    return atrous.Explanation(
        "net", "graph", "contiguous", 4.0, 2.0, 0.0, (choice,), (SHAPE,), 1, "", ()
    )


RECORDS = {
    "inspection": lambda: atrous.inspect("stack:k(3,5)s2 k3d(2,1) k3d2 k3d2", SHAPE),
    "inspection of time": lambda: atrous.inspect("stack:k4s2 k3", (1, 1, 64)).scaled(rate="16k"),
    "inspection without positions": lambda: atrous.inspect("zoo:resnet18", (1, 3, 64, 64)),
    "comparison": lambda: atrous.compare(input=SHAPE),
    "conversion": lambda: atrous.convert("stack:k3s2 k3 k3s2", 1, input=SHAPE),
    "certificate": lambda: atrous.convert("stack:k3s2 k3", 1, input=SHAPE).certificate,
    "diff": lambda: diff_reports(
        *(atrous.inspect(f"stack:k3 {k}", SHAPE).to_dict() for k in ("k3s2", "k3d2 k3"))
    ),
    "degridding": lambda: atrous.degrid("stack:k3d2 k3d2", SHAPE),
    "explanation": _explained,
    "explained": lambda: atrous.explain("stack:k3s2 [k3d2 | k(1,3)] k3", SHAPE),
    "sizes": lambda: atrous.sizes("stack:k3s2 maxk2s2", SHAPE),
    "trace": lambda: atrous.inspect("stack:k3s2 k3d2", SHAPE).trace(),
    "boxes": lambda: atrous.inspect("stack:k3s2 k(3,5)", SHAPE).boxes(),
    "stretches": lambda: atrous.inspect("stack:k3s2 k3", (1, 1, 64)).times(rate=1000),
}


@pytest.mark.parametrize("name", RECORDS)
def test_both_libraries_hold_the_same_in_every_table(name):
    record = RECORDS[name]()
    assert isinstance(record, Tabular)
    for table in tables_of(record):
        one, two = record.to_pandas(table), record.to_polars(table)
        assert list(one.columns) == two.columns
        assert len(set(two.columns)) == len(two.columns)
        assert one.shape == two.shape
        for column in two.columns:
            held = [None if pandas.isna(value) else value for value in one[column]]
            assert held == two[column].to_list(), (table, column)
        assert not one.select_dtypes("object").columns.size
    assert record.to_pandas().equals(record.to_pandas(next(iter(tables_of(record)))))


def test_every_record_with_tables_is_tried_here():
    assert {kind.__name__ for kind in Tabular.__subclasses__()} == {
        type(made).__name__
        for made in (make() for make in RECORDS.values())
        if Tabular in type(made).__bases__
    }


def test_layers_are_those_of_the_report_axis_by_axis(report):
    frame = report.to_polars()
    assert frame["name"].to_list() == [layer.name for layer in report]
    assert frame["macs"].sum() == report.macs
    for row, layer in zip(frame.to_dicts(), report.to_dict()["layers"], strict=True):
        assert row["output_shape"] == "x".join(map(str, layer["output_shape"]))
        assert [row["output_h"], row["output_w"]] == layer["output_shape"][2:]
        assert [axis["axis"] for axis in layer["field"]] == ["h", "w"]
        for axis in layer["field"]:
            assert row[f"field_{axis['axis']}"] == axis["size"]
            assert row[f"stride_exact_{axis['axis']}"] == axis["stride_exact"]
            assert {n: row[f"{n}_{axis['axis']}"] for n in SAME} == {n: axis[n] for n in SAME}


def test_numbers_have_the_kinds_that_they_are(report):
    kinds = report.to_pandas().dtypes
    assert (kinds["field_h"], kinds["stride_h"], kinds["is_global"]) == (
        "Int64",
        "float64",
        "boolean",
    )
    schema = report.to_polars().schema
    assert (schema["field_h"], schema["stride_h"]) == (polars.Int64, polars.Float64)


def test_what_has_a_scale_has_columns_in_its_unit():
    report = RECORDS["inspection of time"]()
    frame = report.to_pandas()
    for layer, row in zip(report.to_dict()["layers"], frame.to_dict("records"), strict=True):
        (axis,) = layer["scaled"]
        assert (row["field_t_ms"], row["stride_t_ms"]) == (axis["size"], axis["stride"])


def test_findings_and_growth_are_those_of_the_records(report):
    found = RECORDS["inspection"]()
    assert found.findings
    assert found.to_polars("findings").to_dicts() == [f.to_dict() for f in found.findings]
    compared = RECORDS["comparison"]()
    growth = compared.to_pandas("growth")
    for scheme in compared:
        assert tuple(growth[growth.scheme == scheme.name].field) == scheme.fields


def test_boxes_have_a_row_for_each_output():
    boxes = RECORDS["boxes"]()
    for row in boxes.to_polars().to_dicts():
        at = row["output_h"], row["output_w"]
        starts = tuple((row[f"start_{axis}"], row[f"stop_{axis}"]) for axis in "hw")
        assert boxes.at(at) == starts
        assert boxes.center(at) == (row["center_h"], row["center_w"])


def test_the_parts_of_a_head_are_rows():
    import torch

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.near, self.far = torch.nn.Conv2d(2, 4, 3), torch.nn.Conv2d(2, 4, 3, dilation=2)

        def forward(self, x):
            return torch.cat([self.near(x).flatten(2), self.far(x).flatten(2)], 2)

    report = atrous.inspect(Head(), SHAPE)
    rows = report.to_polars("parts").to_dicts()
    assert [(r["source"], r["start"], r["field_h"]) for r in rows] == [
        (part.source, part.start, part.field[0].size) for layer in report for part in layer.parts
    ]
    assert {(row["source"], row["field_w"]) for row in rows} >= {("near", 3), ("far", 5)}
    assert RECORDS["inspection"]().to_pandas("parts").empty


def test_what_is_not_counted_is_missing_and_not_zero():
    import torch

    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x @ x.mT) @ x

    report = atrous.inspect(Odd(), (1, 2, 6, 6))
    unknown = [layer.name for layer in report if layer.uncounted]
    frame = report.to_pandas()
    assert unknown
    assert frame[frame.macs.isna()].name.tolist() == unknown
    assert frame[frame.field_h.isna()].name.tolist() == [n.name for n in report if not n.field]


def test_whole_numbers_beyond_64_bits_stay_whole():
    column = FrameColumn("macs", "whole", [1, None, 2**70])
    assert _pandas([column])["macs"].tolist() == [1, None, 2**70]
    assert _polars([column])["macs"].to_list() == [1, None, 2**70]


def test_an_unknown_table_names_those_there_are(report):
    with pytest.raises(UnknownNameError, match=r"no table of Inspection is named 'rows'.*layers"):
        report.to_pandas("rows")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_without_the_library_it_says_what_to_install(report, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependencyError, match=f"pip install {library}"):
        getattr(report, f"to_{library}")()
