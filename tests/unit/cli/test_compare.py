"""The command `atrous compare`: what it prints, and what it refuses."""

from __future__ import annotations

import json

import pytest

import atrous as library
from tests.command import assert_refuses, atrous


def test_compare_prints_the_table_of_the_usual_schemes():
    result = atrous("compare", "--input", "1,3,64,64", "--depth", "3")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == str(library.compare(input=(1, 3, 64, 64), depth=3)) + "\n"


def test_compare_without_anything_takes_a_usual_image():
    assert "on 1x3x512x512" in atrous("compare").stdout


def test_stacks_and_other_sources_are_compared_under_their_names():
    result = atrous(
        "compare", "even=k3d1 k3d2 k3d3", "k3d2 k3d2 k3d2", "net=zoo:resnet18", "--json"
    )
    data = json.loads(result.stdout)
    assert data["schema"] == "atrous.comparison/1"
    assert [s["name"] for s in data["schemes"]] == ["even", "k3d2 k3d2 k3d2", "net"]
    assert [s["coverage"] for s in data["schemes"]] == [1, 7 / 13, 1]
    # The stacks have the usual input, and the known network its own.
    assert data["input"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--depth", "0"], "--depth 0 is no whole number from 1 to 12"),
        (["k3", "--depth", "3"], "--depth is for the usual schemes"),
        (["a=k3", "a=k5"], "'a' is given twice"),
        (["zoo:resnet19"], "near: resnet18"),
        (["k3", "--input", "1,3"], "1 to 3 spatial sizes, got 1x3"),
        (["--input", "x"], "'x' is no shape"),
        (["k3s2 k3", "k99999999"], "kernel is 99999999: at most"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, says):
    result = atrous("compare", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr.splitlines()[0]


def test_a_stack_that_does_not_parse_has_a_caret_under_the_place():
    for arguments in (["inspect", "stack:k3 q5"], ["compare", "k3", "k3 q5"]):
        result = atrous(*arguments)
        assert result.returncode == 2
        first, text, caret = result.stderr.splitlines()
        assert first.startswith("atrous: layer 2 `q5`: 'q' is not known; use k s d p x")
        assert text[caret.index("^")] == "q"


def test_only_a_place_follows_the_line_of_an_error(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def net():\n    raise ValueError('one\\n  two\\n  ^ three')\n"
    )
    assert_refuses("inspect", "mine:net", says="one two ^ three", cwd=tmp_path)
