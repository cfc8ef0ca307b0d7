"""The command `atrous check`: exit codes, lines, pyproject.toml."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from atrous.analysis.requirements import QUANTITIES
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
    assert result.stdout == (
        "zoo:resnet50: 3 rules hold: receptive-field 427 >= 300, output-stride 32 == 32, "
        f"macs 4.09 G <= 5G{NOTE}\n"
    )


def test_broken_rules_give_exit_code_1_and_a_line_each():
    arguments = ["--receptive-field", ">=500", "--macs", "<=4G", "--params", "<=1G"]
    result = atrous_process("check", "zoo:resnet50", "--input", "1,3,224,224", *arguments)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.splitlines() == [
        f"zoo:resnet50: receptive-field at fc along h, w is 427{NOTE}, must be >= 500",
        "zoo:resnet50: macs is 4.09 G (4,089,184,256), must be <= 4G",
        "zoo:resnet50: 1 rule holds: params 25.6 M <= 1G",
    ]


def test_a_global_output_keeps_no_upper_bound_on_what_it_sees():
    result = atrous("check", "zoo:resnet50", "--receptive-field", "<=500")
    assert result.returncode == 1
    assert (
        result.stdout
        == f"zoo:resnet50: receptive-field at fc along h, w is 427{NOTE}, must be <= 500\n"
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
    assert first == "stack:k3 k3d2: 2 rules hold: receptive-field 7 >= 7, no gridding"
    assert all(line.startswith("stack:k3d2 k3d2: ") for line in rest)
    assert "coverage at conv2 along h, w is 56% (5/9), must be == 1" in rest[0]
    assert "gridding" in rest[1]


def test_rules_of_the_section_itself_are_for_its_source_or_for_one_that_is_named(tmp_path):
    text = '[tool.atrous]\nsource = "stack:k3"\ninput = "1,4,9"\nreceptive-field = "==3"\n'
    folder = project(tmp_path, text)
    assert atrous("check", cwd=folder).stdout == "stack:k3: 1 rule holds: receptive-field 3 == 3\n"
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
    result = atrous("check", "zoo:vgg16", "--memory", "<=512Mb")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "atrous: --memory: 'Mb' is no unit of memory; use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB.",
        "  <=512Mb",
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


def test_limits_beside_a_baseline_print_what_they_come_to():
    old, new = "stack:k3x8 k3x8", "stack:k3x8 k3x8 k1x8"
    given = ["-i", "1,8,16,16", "--baseline", old]
    result = atrous("check", new, *given, "--macs", "<=+10%", "--params", "<=+100", "--flops", ">1")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        f"{new}: 3 rules hold: macs 311 k <= 324 k (baseline +10%), "
        "flops 623 k > 1, params 1.22 k <= 1.25 k (baseline +100)\n"
    )
    result = atrous("check", new, *given, "--macs", "<=+2%", "--receptive-field", ">=+0")
    assert result.returncode == 1
    assert result.stdout.splitlines()[0] == (
        f"{new}: macs is 311 k (311,296), must be <= 301 k (baseline +2%)"
    )
    assert "receptive-field 5 >= 5 (baseline +0)" in result.stdout
    assert_refuses("check", new, *given[:2], "--macs", "<=+2%", says="give one with --baseline")


def test_causal_networks_and_times(tmp_path):
    audio = "stack:k3causal k3d2causal k3d4causal"
    result = atrous(
        "check", audio, "-i", "1,1,64", "--causal", "--look-back", "<=1ms", "--rate", "16k"
    )
    assert result.stdout == f"{audio}: 2 rules hold: look-back 0.875 ms <= 1ms, causal\n"
    centred = "stack:k3causal k3d2 k3causal"
    result = atrous("check", centred, "-i", "1,1,64", "--causal", "--look-ahead", "==0")
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        f"{centred}: look-ahead at conv3 along t is 2, must be == 0",
        f"{centred}: causal at conv3 along t is broken: looks 2 ahead, first by conv2",
    ]
    says = "give the sample rate with --rate"
    assert_refuses("check", audio, "-i", "1,1,64", "--look-ahead", "<=40ms", says=says)
    rates = ["--look-ahead", "<=40ms", "--rate", "fast"]
    assert_refuses("check", audio, "-i", "1,1,64", *rates, says="no sample rate")
    result = atrous("check", "stack:k3", "-i", "1,1,8,8", "--causal")
    assert (result.returncode, "no axis of time" in result.stdout) == (1, True)
    text = (
        f'[tool.atrous]\nsource = "{audio}"\ninput = "1,1,64"\ncausal = true\n'
        'rate = 16000\nlook-ahead = "<=1ms"\n'
    )
    result = atrous("check", cwd=project(tmp_path, text))
    assert (result.returncode, result.stderr) == (0, "")


def test_lengths_and_times_on_the_line_and_in_a_file(tmp_path):
    line = ["check", "stack:k3s2 k3", "--input", "1,1,64,64", "--receptive-field", ">=100um"]
    result = atrous(*line, "--pixel", "0.5um")
    assert result.returncode == 1
    assert "receptive-field at conv2 along h, w is 3.5 um, must be >= 100um" in result.stdout
    assert_refuses(*line, says="is a length; give the size of a position with --pixel")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.atrous]\nsource = "stack:k3s2 k3"\ninput = [1, 1, 64, 64]\npixel = "2mm"\n'
        'receptive-field = "==1.4cm"\n'
    )
    kept = atrous("check", cwd=tmp_path)
    assert (kept.returncode, "1.4 cm == 1.4cm" in kept.stdout) == (0, True), kept


NEW, OLD = "stack:k3s2x8 k3d2x8", "stack:k3s2x8 k3x8"
STACKS = (NEW, "-i", "1,4,64", "--rate", "1k")
BESIDE = (*STACKS, "--baseline", OLD)
PIXELS = ("stack:k3s2 k3", "-i", "1,1,64,64", "--pixel", "0.5um,1um")
MODULES = ("models.py:new", "--baseline", "models.py:old")
CODE = """
from torch import nn

def new():
    return nn.Sequential(nn.Conv1d(4, 8, 3, 2, 1), nn.Conv1d(8, 8, 3, 1, 2, 2)), (1, 4, 64)

def old():
    return nn.Sequential(nn.Conv1d(4, 8, 3, 2, 1)), (1, 4, 64)
"""
# By rule: what is checked, a limit that is kept, one that is broken, and what is said of each.
RULES = [
    ("receptive-field", STACKS, "<=11", "11 (11 ms) <= 11", ">11", "is 11 (11 ms), must be > 11"),
    ("receptive-field", STACKS, "<=11ms", "11 ms <= 11ms", "<10ms", "is 11 ms, must be < 10ms"),
    ("receptive-field", STACKS, "<1s", "0.011 s < 1s", "==0.01s", "is 0.011 s, must be == 0.01s"),
    ("receptive-field", PIXELS, "<=0.01mm", "0.0035 mm to 0.007 mm", "<7um", "along w is 7 um"),
    (
        *("receptive-field", BESIDE, "<=+4", "11 (11 ms) <= 11 (11 ms) (baseline +4)"),
        *("<=+3ms", "is 11 ms, must be <= 10 ms (baseline +3ms)"),
    ),
    (
        *("receptive-field", BESIDE, "<=+60%", "11 (11 ms) <= 11.2 (11.2 ms) (baseline +60%)"),
        *("<=+50%", "is 11 (11 ms), must be <= 10.5 (10.5 ms) (baseline +50%)"),
    ),
    ("coverage", STACKS, ">=80%", "82% >= 80%", "==1", "is 82% (9/11), must be == 1"),
    (
        *("coverage", BESIDE, ">=-20%", "82% >= 80% (baseline -20%)"),
        *(">=-10%", "is 82% (9/11), must be >= 90% (baseline -10%)"),
    ),
    ("output-stride", STACKS, "==2", "2 (2 ms) == 2", "<2ms", "is 2 ms, must be < 2ms"),
    ("output-stride", PIXELS, "==2", "2 (1 um) to 2 (2 um) == 2", "<2um", "along w is 2 um"),
    (
        *("output-stride", BESIDE, "<=+0ms", "2 ms <= 2 ms (baseline +0ms)"),
        *("<=-1", "is 2 (2 ms), must be <= 1 (1 ms) (baseline -1)"),
    ),
    ("look-back", STACKS, "<=5", "5 (5 ms) <= 5", "<=4ms", "is 5 ms, must be <= 4ms"),
    (
        *("look-back", BESIDE, "<=+2ms", "5 ms <= 5 ms (baseline +2ms)"),
        *("<=+1", "is 5 (5 ms), must be <= 4 (4 ms) (baseline +1)"),
    ),
    ("look-ahead", STACKS, "<=5ms", "5 ms <= 5ms", "<=4", "is 5 (5 ms), must be <= 4"),
    (
        *("look-ahead", BESIDE, "<=+2", "5 (5 ms) <= 5 (5 ms) (baseline +2)"),
        *("<=+1ms", "is 5 ms, must be <= 4 ms (baseline +1ms)"),
    ),
    ("macs", STACKS, "<=10k", "9.22 k <= 10k", "<=9k", "is 9.22 k (9,216), must be <= 9k"),
    (
        *("macs", BESIDE, "<=+0%", "9.22 k <= 9.22 k (baseline +0%)"),
        *("<=-1%", "is 9.22 k (9,216), must be <= 9.12 k (baseline -1%)"),
    ),
    ("flops", STACKS, "<=19k", "18.4 k <= 19k", "<=18k", "is 18.4 k (18,432), must be <= 18k"),
    (
        *("flops", BESIDE, "<=+1", "18.4 k <= 18.4 k (baseline +1)"),
        *("<=-1k", "is 18.4 k (18,432), must be <= 17.4 k (baseline -1k)"),
    ),
    ("params", STACKS, "<=1k", "288 <= 1k", "<288", "is 288, must be < 288"),
    (
        *("params", BESIDE, "<=+0", "288 <= 288 (baseline +0)"),
        *("<=-1", "is 288, must be <= 287 (baseline -1)"),
    ),
    ("memory", STACKS, "<=3KiB", "3.00 KiB <= 3KiB", "<=3kB", "is 3.07 kB (3,072 B), must be"),
    (
        *("memory", BESIDE, "<=+1kB", "3.07 kB <= 4.07 kB (baseline +1kB)"),
        *("<=-1KiB", "is 3.00 KiB (3,072 B), must be <= 2.00 KiB (baseline -1KiB)"),
    ),
    (
        *("training-memory", MODULES, "<=7kB", "6.12 kB <= 7kB"),
        *("<=1KiB", "is 5.98 KiB (6,120 B) (with sgd), must be <= 1KiB"),
    ),
    (
        *("training-memory", MODULES, "<=+4KiB", "5.98 KiB <= 6.82 KiB (baseline +4KiB)"),
        *("<=+1kB", "must be <= 3.89 kB (baseline +1kB)"),
    ),
]


@pytest.mark.parametrize(("rule", "source", "kept", "holds", "limit", "breaks"), RULES)
def test_each_rule_says_the_value_beside_its_limit(
    tmp_path, rule, source, kept, holds, limit, breaks
):
    (tmp_path / "models.py").write_text(CODE)
    result = atrous("check", *source, f"--{rule}", kept, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"1 rule holds: {rule} {holds}" in result.stdout
    result = atrous("check", *source, f"--{rule}", limit, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    (line,) = result.stdout.splitlines()
    assert f"{rule}" in line
    assert breaks in line


def test_every_rule_is_tried_within_and_outside_its_limit_and_beside_a_baseline():
    plain = {rule for rule, _, kept, *_ in RULES if kept[2:3] not in ("+", "-")}
    beside = {rule for rule, _, kept, *_ in RULES if kept[2:3] in ("+", "-")}
    assert plain == beside == set(QUANTITIES)


def test_what_is_ahead_is_said_in_ms_as_well():
    result = atrous("check", *STACKS, "--causal")
    assert result.returncode == 1
    assert "causal at conv2 along t is broken: looks 5 (5 ms) ahead, first by" in result.stdout
    kept = atrous("check", "stack:k3causal", "-i", "1,4,64", "--rate", "1k", "--causal")
    assert (kept.returncode, kept.stdout) == (0, "stack:k3causal: 1 rule holds: causal\n")
    json_of = atrous("check", *STACKS, "--look-back", "<=5", "--json")
    (outcome,) = json.loads(json_of.stdout)["checks"][0]["outcomes"]
    assert (outcome["got"], outcome["scaled"]) == (5.0, {"unit": "ms", "got": 5.0})
