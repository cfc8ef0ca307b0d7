"""The command `atrous check`: exit codes, lines, pyproject.toml."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from atrous.cli.settings import asked_in
from tests.command import assert_refuses, atrous, atrous_process
from tests.processes import ROOT

PROJECT = """
[tool.atrous]
input = "1,8,32,32"
no = ["gridding"]

[[tool.atrous.check]]
source = "stack:k3 k3d2"
receptive-field = ">=7"

[[tool.atrous.check]]
source = "stack:k3d2 k3d2"
input = [1, 8, 16, 16]
coverage = "==1"
"""


def project(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


NOTE = " (the local field; avgpool sees all positions)"


def test_rules_that_hold_give_exit_code_0_and_one_line():
    arguments = ["--receptive-field", ">=300", "--output-stride", "==32", "--macs", "<=5G"]
    result = atrous("check", "zoo:resnet50", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"zoo:resnet50: 3 rules hold{NOTE}\n"


def test_broken_rules_give_exit_code_1_and_a_line_each():
    arguments = ["--receptive-field", ">=500", "--macs", "<=4G", "--params", "<=1G"]
    result = atrous_process("check", "zoo:resnet50", "--input", "1,3,224,224", *arguments)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.splitlines() == [
        f"zoo:resnet50: receptive-field at fc along h, w is 427{NOTE}, must be >=500",
        "zoo:resnet50: macs is 4.09 G (4,089,184,256), must be <=4G",
    ]


def test_a_global_output_keeps_no_upper_bound_on_what_it_sees():
    result = atrous("check", "zoo:resnet50", "--receptive-field", "<=500")
    assert result.returncode == 1
    assert (
        result.stdout
        == f"zoo:resnet50: receptive-field at fc along h, w is 427{NOTE}, must be <=500\n"
    )


def test_a_source_without_rules_is_told_to_give_some(tmp_path):
    result = atrous("check", "stack:k3", "-i", "1,3,8,8", cwd=tmp_path)
    assert result.returncode == 2
    assert "give rules" in result.stderr


def test_json_has_every_outcome_and_the_same_exit_code():
    result = atrous("check", "stack:k3d2 k3d2", "-i", "1,4,32", "--coverage", "==1", "--json")
    assert result.returncode == 1
    data = json.loads(result.stdout)
    assert (data["schema"], data["holds"]) == ("atrous.check/1", False)
    (outcome,) = data["checks"][0]["outcomes"]
    assert (outcome["layer"], outcome["axis"], outcome["got_exact"]) == ("conv2", "t", "5/9")


def test_the_checks_of_a_project_are_all_run(tmp_path):
    result = atrous("check", cwd=project(tmp_path, PROJECT))
    assert result.returncode == 1
    first, *rest = result.stdout.splitlines()
    assert first == "stack:k3 k3d2: 2 rules hold"
    assert all(line.startswith("stack:k3d2 k3d2: ") for line in rest)
    assert "coverage at conv2 along h, w is 56% (5/9), must be ==1" in rest[0]
    assert "gridding" in rest[1]


def test_rules_of_the_section_itself_are_for_its_source_or_for_one_that_is_named(tmp_path):
    text = '[tool.atrous]\nsource = "stack:k3"\ninput = "1,4,9"\nreceptive-field = "==3"\n'
    folder = project(tmp_path, text)
    assert atrous("check", cwd=folder).stdout == "stack:k3: 1 rule holds\n"
    assert atrous("check", "stack:k5", "-i", "1,4,9", cwd=folder).returncode == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = atrous("check", "--config", "../pyproject.toml", cwd=elsewhere)
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["zoo:vgg16", "--no", "griding"], "no finding is named 'griding'; near: gridding"),
        (["zoo:vgg16", "--no", ","], "--no is empty"),
        (["zoo:vgg61", "--macs", "<=1G"], "near: vgg16"),
        (["zoo:vgg16", "--macs", "<=1G", "--layer", "featurs"], "near: features"),
        (["--macs", "<=1G"], "give the SOURCE"),
        (["zoo:vgg16"], "there are no rules for zoo:vgg16: give rules, such as"),
        ([], "pyproject.toml: No such file or directory"),
        (["zoo:vgg16", "--mac", "<=1G"], "--mac"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_exit_code_2(tmp_path, arguments, says):
    assert_refuses("check", *arguments, says=says, cwd=tmp_path)


def test_a_rule_that_does_not_parse_has_a_caret_under_the_place(tmp_path):
    result = atrous("check", "zoo:vgg16", "--memory", "<=512MB")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "atrous: memory: 'MB' is no unit of memory; use B, KiB, MiB, GiB or TiB.",
        "  <=512MB",
        "       ^",
    ]
    folder = project(tmp_path, '[tool.atrous]\nsource = "zoo:vgg16"\nmacs = "20G"\n')
    result = atrous("check", cwd=folder)
    assert result.returncode == 2
    assert result.stderr.startswith("atrous: pyproject.toml: macs: a rule starts with one of")
    assert result.stderr.endswith("\n  20G\n  ^\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.atrous", "pyproject.toml: not TOML"),
        ("[tool]\nother = 1\n", "there are no checks in [tool.atrous]"),
        ('[tool.atrous]\nrecptive-field = ">=3"\n', "near: receptive-field"),
        ("[tool.atrous]\ncoverage = 1\n", 'write a rule in quotes, such as "==1"'),
        ("[tool.atrous]\nno = 3\n", 'write a list of findings, such as ["gridding"]'),
        ('[tool.atrous]\nno = ["grids"]\n', "no finding is named 'grids'"),
        ('[tool.atrous]\nmacs = "<=1G"\n', "a check has no source"),
        ('[tool.atrous]\nsource = "zoo:vgg16"\n', "the check of zoo:vgg16 has no rules"),
        ('[tool.atrous]\nsource = "zoo:vgg16"\ninput = 3\n', "write a shape"),
        ("[tool.atrous]\nsource = 3\n", "source is 3; write it in quotes"),
        ("[tool.atrous]\ncheck = 3\n", "[[tool.atrous.check]]"),
        ("[tool]\natrous = 3\n", "[tool.atrous] is a table"),
    ],
)
def test_a_project_that_asks_wrongly_is_one_line_and_exit_code_2(tmp_path, text, says):
    assert_refuses("check", says=says, cwd=project(tmp_path, text))


def test_the_hook_of_pre_commit_runs_the_command():
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    lines = dict(line.lstrip("- ").split(": ", 1) for line in text.splitlines())
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    command, verb = lines["entry"].split()
    assert command in scripts
    assert atrous_process(verb, "--help").returncode == 0
    assert lines["pass_filenames"] == "false"


def test_the_project_that_the_documents_show_is_read(tmp_path):
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    shown = text.partition("```toml\n")[2].partition("```")[0]
    one, two = asked_in(project(tmp_path, shown) / "pyproject.toml")
    assert (one.source, one.inputs, one.forbidden) == (
        "my_models:backbone",
        ("1,3,512,512",),
        ("gridding", "checkerboard"),
    )
    assert [str(rule) for rule in two.rules] == ["macs <=20G", "memory <=512MiB"]
