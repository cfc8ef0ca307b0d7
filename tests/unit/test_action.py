"""The GitHub Action: its scripts are run as the runner does, on inputs that try to be commands."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.processes import ROOT, environment

ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
INSTALL, CHECK = (step for step in ACTION["runs"]["steps"] if "run" in step)
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
# Writes its arguments, one a line, and the command's name before them.
STUB = '#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@" >> "$CALLS"\n'


@dataclass(frozen=True, slots=True)
class Ran:
    """How a script ended, and what it called with which arguments."""

    code: int
    said: str
    calls: tuple[str, ...]


def run(step: dict, folder: Path, **inputs: str) -> Ran:
    """A step as GitHub runs it: `bash -e -o pipefail`, its inputs in variables; pip is a stub."""
    known = {f"inputs.{name}": entry.get("default", "") for name, entry in ACTION["inputs"].items()}
    known["github.action_path"] = str(ROOT)
    known |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
    given = {
        name: EXPRESSION.sub(lambda found: known[found[1]], value)
        for name, value in step["env"].items()
    }
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    for name in ("atrous", "python"):
        (stubs / name).write_text(STUB)
        (stubs / name).chmod(0o755)
    calls = folder / "calls"
    calls.touch()
    script = folder / "script.sh"
    script.write_text(step["run"])
    surroundings = environment()
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
        cwd=folder,
        env=surroundings | given | {"PATH": f"{stubs}:{surroundings['PATH']}", "CALLS": str(calls)},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    return Ran(done.returncode, done.stdout + done.stderr, tuple(calls.read_text().splitlines()))


def assert_no_script_holds_an_input(action: dict) -> None:
    """A runner writes what an expression in a script stands for into it, whatever it is."""
    for step in action["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), step


def test_no_script_holds_an_input():
    assert_no_script_holds_an_input(ACTION)
    with pytest.raises(AssertionError):
        assert_no_script_holds_an_input(
            {"runs": {"steps": [{"run": "atrous check ${{ inputs.source }}"}]}}
        )


def test_every_input_is_used_and_every_expression_is_known():
    steps = yaml.safe_dump(ACTION["runs"])
    used = set(EXPRESSION.findall(steps))
    assert used == {f"inputs.{name}" for name in ACTION["inputs"]} | {"github.action_path"}
    assert all(step["shell"] == "bash" for step in (INSTALL, CHECK))


def test_options_are_one_a_line_and_the_source_comes_last(tmp_path):
    options = "--macs <=20G\n\n  --input 1,3,512,512  \r\n--causal\n--no gridding,checkerboard"
    ran = run(CHECK, tmp_path, source="my net.onnx", options=options)
    assert ran.code == 0
    assert ran.calls == (
        *("atrous", "check", "--macs", "<=20G", "--input", "1,3,512,512", "--causal"),
        *("--no", "gridding,checkerboard", "--", "my net.onnx"),
    )


def test_without_inputs_the_rules_of_the_project_are_checked(tmp_path):
    assert run(CHECK, tmp_path).calls == ("atrous", "check")


ATTACKS = (
    '"; touch hit; "',
    "$(touch hit)",
    "`touch hit`",
    "'; touch hit #",
    "a && touch hit",
    "${IFS}touch${IFS}hit",
    "--config=/etc/passwd",
    "* ? ~",
    "\\",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_stands_in_an_input_is_never_a_command(tmp_path, attack):
    ran = run(CHECK, tmp_path, source=attack, options=f"--layer {attack}")
    assert ran.calls == ("atrous", "check", "--layer", attack, "--", attack)
    install = run(INSTALL, tmp_path, requirements=attack)
    assert install.calls[-5:] == ("-m", "pip", "install", "--requirement", attack)
    assert run(INSTALL, tmp_path, extras=attack).code == 2
    assert not (tmp_path / "hit").exists()


def test_a_line_that_is_no_option_is_said_to_be_none(tmp_path):
    ran = run(CHECK, tmp_path, options="macs <=20G")
    assert (ran.code, ran.calls) == (2, ())
    assert "::error::a line of options is --NAME or --NAME VALUE, got: macs" in ran.said


def test_pytorch_comes_without_cuda(tmp_path):
    ran = run(INSTALL, tmp_path, extras="torch,onnxruntime")
    calls = " ".join(ran.calls)
    first, second = calls.split("python ")[1:]
    assert first.strip() == "-m pip install torch --index-url https://download.pytorch.org/whl/cpu"
    assert second.strip() == f"-m pip install {ROOT}[torch,onnxruntime]"
    alone = tmp_path / "alone"
    alone.mkdir()
    assert run(INSTALL, alone).calls == ("python", "-m", "pip", "install", str(ROOT))


def test_a_broken_rule_fails_the_step_with_the_command_itself(tmp_path):
    (tmp_path / "run.sh").write_text(CHECK["run"])
    given = {"ATROUS_SOURCE": "stack:k3d2 k3d2", "ATROUS_OPTIONS": "--coverage ==100%"}
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", 'atrous() { python -m atrous "$@"; }; . ./run.sh'],
        cwd=tmp_path,
        env=environment() | given,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 1, done
    assert "must be == 100%" in done.stdout


def test_the_workflow_that_the_documents_show_gives_inputs_that_there_are():
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    [job] = yaml.safe_load(shown)["jobs"].values()
    [used] = [step for step in job["steps"] if "atrous" in step["uses"]]
    assert used["with"].keys() <= ACTION["inputs"].keys()
