"""What a change did: reports compared as plain data, and what the command says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atrous as library
from atrous.analysis.diff import diff_reports
from atrous.report import DiffView
from tests.command import assert_refuses, atrous

SHAPE = (1, 4, 32, 32)


def saved(stack: str, shape: tuple[int, ...] = SHAPE) -> Any:
    """A report as it comes back from a file."""
    return json.loads(library.inspect(f"stack:{stack}", shape).to_json())


def whats(change) -> list[str]:
    return [delta.what for delta in change.deltas]


def applied(old: dict, deltas) -> dict:
    return {**old, **{d.what: d.new for d in deltas if d.new is not None}}


@pytest.mark.parametrize("source", ["zoo:resnet18", "zoo:unet", "zoo:conv_tasnet"])
def test_nothing_differs_from_the_same_report_read_back(source):
    report = library.inspect(source)
    diff = diff_reports(json.loads(report.to_json()), report.to_dict())
    assert not diff
    assert diff.same == len(report.layers)
    assert DiffView(diff).text().endswith(": nothing differs")


def test_dilation_in_place_of_a_stride_changes_the_layers_behind_it_and_no_field():
    diff = diff_reports(saved("k3 k3s2 k3 k3"), saved("k3 k3 k3d2 k3d2"))
    assert [change.layer for change in diff.layers] == ["conv2", "conv3", "conv4"]
    assert all(change.kind == "changed" for change in diff.layers)
    assert diff.same == 1
    assert not any("field" in whats(change) for change in (*diff.layers, *diff.outputs))
    (output,) = diff.outputs
    stride = next(delta for delta in output.deltas if delta.what == "stride")
    assert (stride.old, stride.new) == (["2", "2"], ["1", "1"])
    macs = next(delta for delta in diff.totals if delta.what == "macs")
    assert macs.new == 4 * 32 * 32 * 16 * 9


def test_added_and_removed_layers_stand_where_they_were():
    old, new = saved("k3 maxk2s2 k3 k5"), saved("k3 k3 k3")
    diff = diff_reports(old, new)
    assert [(c.kind, c.layer) for c in diff.layers] == [
        ("removed", "max2"),
        ("added", "conv2"),
        ("changed", "conv3"),
        ("removed", "conv4"),
    ]
    assert [(c.kind, c.layer) for c in diff_reports(new, old).layers] == [
        ("removed", "conv2"),
        ("added", "max2"),
        ("changed", "conv3"),
        ("added", "conv4"),
    ]


words = st.sampled_from(["k3", "k3s2", "k3d2", "maxk2s2", "k1x8", "avgk3", "k5d3x2"])
stacks = st.lists(words, min_size=1, max_size=5).map(" ".join)


@given(stacks, stacks)
def test_the_deltas_say_everything_that_differs_and_nothing_else(before, after):
    old, new = saved(before), saved(after)
    diff = diff_reports(old, new)
    names = {layer["name"]: layer for layer in old["layers"]}
    news = {layer["name"]: layer for layer in new["layers"]}
    found = {change.layer: change for change in diff.layers}
    for name in names.keys() | news.keys():
        a, b = names.get(name), news.get(name)
        assert (name in found) == (a != b), name
        if a is None or b is None:
            assert found[name].kind == ("added" if a is None else "removed")
            continue
        said = {d.what: (d.old, d.new) for d in found[name].deltas} if name in found else {}
        for what, key in (("macs", "macs"), ("params", "params"), ("output", "output_shape")):
            assert said.get(what, (a[key], a[key])) == (a[key], b[key])
        sizes = [[axis["size"] for axis in layer["field"]] for layer in (a, b)]
        assert said.get("field", (sizes[0], sizes[0])) == tuple(sizes)
    assert bool(diff) == (old["layers"] != new["layers"])
    assert len(found) + diff.same == len(names.keys() | news.keys())
    assert all(len(line) <= 80 for line in DiffView(diff).text().splitlines()[1:])


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {},
        {"schema": "atrous.layer/1"},
        {"schema": "atrous.inspection/1"},
        {**saved("k3"), "layers": [{"name": "conv1"}]},
        {**saved("k3"), "inputs": 3},
        {**saved("k3"), "macs": "many"},
    ],
)
def test_what_is_no_report_is_refused(broken):
    with pytest.raises(library.ReadError, match=r"atrous inspect SOURCE --json"):
        diff_reports(broken, saved("k3"))


def test_the_command_compares_with_a_source_and_with_a_saved_report(tmp_path):
    report = atrous("inspect", "zoo:resnet18", "-i", "1,3,64,64", "--json")
    (tmp_path / "before.json").write_text(report.stdout, encoding="utf-8")
    arguments = ["inspect", "zoo:resnet34", "-i", "1,3,64,64", "--diff"]
    from_file = atrous(*arguments, "before.json", cwd=tmp_path)
    from_source = atrous(*arguments, "zoo:resnet18", cwd=tmp_path)
    assert (from_file.returncode, from_file.stderr) == (0, "")
    assert from_file.stdout == from_source.stdout
    lines = from_file.stdout.splitlines()
    assert lines[0].startswith("resnet18 -> resnet34: ")
    assert "parameters    11.7 M -> 21.8 M (x1.86)" in lines
    assert "+ layer3.5.conv2" in lines
    assert "+ layer3.5.relu" not in lines
    data = json.loads(atrous(*arguments, "before.json", "--json", cwd=tmp_path).stdout)
    assert data["schema"] == "atrous.diff/1"
    assert {"layer3.5.conv2", "layer3.5.relu"} <= {change["layer"] for change in data["layers"]}
    short = atrous(*arguments, "before.json", "--top", "2", cwd=tmp_path).stdout
    assert sum(line.startswith(("+ ", "~ ", "- ")) for line in short.splitlines()) == 2
    assert "more layers" in short


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--diff", "gone.json"], "gone.json: No such file"),
        (["--diff", "bad.json"], "bad.json: it is no JSON"),
        (["--diff", "list.json"], "list.json: it has no schema"),
        (["--diff", "zoo:resnet19"], "near: resnet18"),
        (["--diff", "zoo:resnet34", "--layer", "fc"], "leave out --layer"),
    ],
)
def test_what_cannot_be_compared_with_is_one_line(tmp_path, arguments, says):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    assert_refuses("inspect", "zoo:resnet18", *arguments, says=says, cwd=tmp_path)


def test_fields_and_strides_are_shown_in_units_as_well():
    arguments = ["stack:k3s2x8 k3d2x8", "-i", "1,1,64,64", "--diff", "stack:k3x8 k3d4x8"]
    result = atrous("inspect", *arguments, "--pixel", "1um,2um", COLUMNS="200")
    assert "stride 1 (1x2 um) -> 2 (2x4 um)" in result.stdout
    assert "compute       2.65 MMAC -> 664 kMAC (x0.25)" in result.stdout
    timed = ["stack:k3d2 k3d2", "-i", "1,1,64", "--diff", "stack:k3 k3", "--rate", "1k"]
    assert "field 5 (5 ms) -> 9 (9 ms)" in atrous("inspect", *timed, COLUMNS="200").stdout
