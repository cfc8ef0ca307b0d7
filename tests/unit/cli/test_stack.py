"""The command `stack`: how a stack is read, and the notation in its help."""

from __future__ import annotations

import json
import re

import pytest

from atrous.cli.stack import stack
from atrous.network.stack import stack_network, stack_parts
from tests.command import assert_refuses, atrous
from tests.processes import ROOT

RECIPES = (stack.__doc__ or "").partition("Recipes:")[2]
PAGE = (ROOT / "docs" / "stacks.md").read_text(encoding="utf-8")


def test_a_stack_is_shown_as_it_is_read():
    result = atrous("stack", "k3s2x64 [ + dwk(1,3)causal maxk2] ups2", COLUMNS="100")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    titles = "layer typed is kernel stride dilation padding channels"
    assert lines[0] == titles.split()
    assert lines[2:-1] == [
        ["conv1", "k3s2x64", "convolution", "3", "2", "(1)", "(same)", "64"],
        ["┌─", "(empty)", "identity"],
        ["├─", "dw2", "dwk(1,3)causal", "depthwise", "1,3", "(1)", "(1)", "causal", "(kept)"],
        ["│", "max3", "maxk2", "max", "pool", "2", "(1)", "(1)", "(same)"],
        ["└─", "add4", "sum"],
        ["up5", "ups2", "upsampling", "2"],
    ]


def test_the_tree_is_drawn_without_letters_beyond_ascii_where_there_are_none():
    text = atrous("stack", "stack:[k3 | [ | k1]]", PYTHONIOENCODING="ascii").stdout
    tree = [line.partition("  ")[0] for line in text.splitlines()[2:-1]]
    assert tree == [",- conv1", "|- ,-", "|", "|", "`- concat4"]


def test_json_has_the_tree():
    result = atrous("stack", "k3p(2,0) [ | k1x8]", "--json")
    data = json.loads(result.stdout)
    assert (data["schema"], data["stack"]) == ("atrous.stack/1", "k3p(2,0) [ | k1x8]")
    conv, join = data["layers"]
    assert (conv["name"], conv["padding"], conv["dilation"]) == ("conv1", [2, 0], [1])
    assert (join["name"], join["kind"]) == ("concat3", "concat")
    assert [[part["name"] for part in branch] for branch in join["branches"]] == [[], ["conv2"]]


@pytest.mark.parametrize("verb", [["stack"], ["inspect"], ["compare"], ["check", "--macs", "<=1G"]])
@pytest.mark.parametrize(("text", "column"), [("k3 [k3 | k3q1]", 12), ("k3 [k3", 4)])
def test_a_bad_stack_is_shown_with_its_place_and_where_the_notation_is(verb, text, column):
    result = atrous(verb[0], f"stack:{text}", *verb[1:])
    assert (result.returncode, result.stdout) == (2, "")
    first, shown, caret = result.stderr.splitlines()
    assert first.endswith("; see `atrous stack --help`")
    assert shown == f"  {text}"
    assert caret.index("^") - 2 == column - 1


def test_a_join_that_does_not_fit_offers_sizes_that_do():
    result = atrous("inspect", "stack:[ | maxk2s2 ups2]", "--input", "1,1,31,31")
    assert result.returncode == 2
    assert "branch 2 (`maxk2s2 ups2`, column 5) makes 32x32" in result.stderr
    assert "sizes near it that run: 1x1x30x30 and 1x1x32x32; see `atrous" in result.stderr


BRANCHED = "k3s2x8 [k1 | k3d2 | global k1] k1x8 [ + k3 k3]*2"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspect", f"stack:{BRANCHED}", "--input", "1,3,33,33"], "add13"),
        (["inspect", f"stack:{BRANCHED}", "--input", "1,3,33", "--layer", "concat6"], "mixes all"),
        (["sizes", "stack:k3 [ | maxk2s2 k3 ups2]", "--input", "1,3,33,33"], "multiples of 2"),
        (["compare", BRANCHED, "U=k3 [ | maxk2s2 ups2]", "--input", "1,3,32,32"], "U "),
        (["check", f"stack:{BRANCHED}", "--input", "1,3,33,33", "--macs", "<=1G"], "1 rule holds"),
        (
            ["convert", f"stack:{BRANCHED}", "--output-stride", "1", "--input", "1,3,33,33"],
            "concat6.spread3",
        ),
        (["audit", "stack:k3s2 [ + k3]", "stack:k3 [ + k3d2]", "--input", "1,3,33,33"], "exact"),
    ],
)
def test_every_verb_takes_branches(arguments, says):
    result = atrous(*arguments)
    assert result.stderr == ""
    assert says in result.stdout


def test_the_page_and_the_bench_refuse_branches_in_a_line():
    assert_refuses("explore", "k3 [ + k3]", "--no-open", says="is not edited here")
    assert_refuses("bench", "stack:[ + k3]", "--input", "1,4,8,8", says="is not made into modules")


def test_a_report_of_branches_is_a_page(tmp_path):
    path = tmp_path / "report.html"
    source = f"stack:{BRANCHED}"
    assert atrous("inspect", source, "--input", "1,3,33,33", "--html", str(path)).returncode == 0
    assert "concat6.spread3" in path.read_text(encoding="utf-8")


def test_a_stack_is_wanted():
    assert_refuses("stack", says="STACK")


@pytest.mark.parametrize("text", re.findall(r"`([^`]+)`", RECIPES))
def test_every_recipe_of_the_help_is_a_stack_that_runs(text):
    assert stack_parts(text)
    shape = (1, 64, 64) if "causal" in text else (1, 64, 64, 64)
    assert stack_network(text, shape).nodes
    shown = " ".join(atrous("stack", "--help", COLUMNS="100").stdout.split())
    assert text in shown


@pytest.mark.parametrize(
    "text", re.findall(r"`([^`]+)`", PAGE.partition("## Recipes")[2].partition("\n\nA U-Net")[0])
)
def test_every_recipe_of_the_page_is_a_stack_that_runs(text):
    shape = (1, 64, *(16,) * (3 if ",1,1)" in text else 2))
    if "causal" in text or "valid" in text:
        shape = (1, 64, 1000)
    assert stack_network(text.replace("\\|", "|"), shape).nodes


@pytest.mark.parametrize("verb", ["inspect", "sizes", "check", "convert", "audit", "compare"])
def test_every_help_that_takes_a_stack_names_the_one_with_the_notation(verb):
    assert "atrous stack --help" in " ".join(
        atrous(verb, "--help", COLUMNS="200").stdout.replace("│", " ").split()
    )
