"""The workflows: whole, pinned, allowed no more than they need, and no input inside a script."""

from __future__ import annotations

import copy
import re
import tomllib

import pytest
import yaml

from tests.processes import ROOT, run_python

FOLDER = ROOT / ".github" / "workflows"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yml"))}
TEXTS["action.yml"] = (ROOT / "action.yml").read_text(encoding="utf-8")
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items() if name != "action.yml"}
PINNED = re.compile(r"uses: ([\w./-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def assert_pinned(text: str) -> None:
    """A tag may be moved to other code; a commit may not."""
    for line in text.splitlines():
        if re.match(r"\s*(- )?uses: (?!\./)", line):
            assert PINNED.search(line), line


def assert_sound(workflow: dict) -> None:
    """No job may write anything but the one that publishes, and that one runs no code of ours."""
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    for name, job in jobs.items():
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= jobs.keys(), name
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()
            continue
        assert job["timeout-minutes"] <= 60
        may = job.get("permissions", {})
        assert may in ({}, {"id-token": "write"})
        uses = [step.get("uses", "") for step in job["steps"]]
        if may:
            assert not any(use.startswith("actions/checkout") for use in uses)
            assert job["environment"]["name"] == "pypi"
            assert job.get("if") == "github.event_name == 'push'"
            assert set(job["needs"]) == jobs.keys() - {name}
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), step
            assert ("run" in step) != ("uses" in step), step
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"] == {"persist-credentials": False}


@pytest.mark.parametrize("name", TEXTS)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(name):
    assert_pinned(TEXTS[name])
    with pytest.raises(AssertionError):
        assert_pinned(PINNED.sub(r"uses: \1@v6", TEXTS[name]))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_no_more_than_it_needs(name):
    assert_sound(WORKFLOWS[name])


def publisher(workflow: dict) -> dict:
    return workflow["jobs"]["publish"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w.update(permissions="write-all"),
        lambda w: publisher(w)["needs"].remove("anywhere"),
        lambda w: publisher(w)["needs"].append("nobody"),
        lambda w: publisher(w).pop("if"),
        lambda w: publisher(w)["permissions"].update(contents="write"),
        lambda w: publisher(w)["steps"].append({"run": "echo ${{ github.ref_name }}"}),
        lambda w: w["jobs"]["wheels"].update(permissions={"contents": "write"}),
    ],
)
def test_a_workflow_that_may_do_more_is_noticed(spoil):
    spoilt = copy.deepcopy(WORKFLOWS["release.yml"])
    spoil(spoilt)
    with pytest.raises(AssertionError):
        assert_sound(spoilt)


def test_one_commit_is_pinned_for_one_version_of_an_action():
    pins = {
        line.strip("- ") for text in TEXTS.values() for line in text.splitlines() if "@" in line
    }
    pins = {pin for pin in pins if pin.startswith("uses:")}
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})


def test_every_platform_has_a_wheel_and_the_count_of_what_is_published_is_theirs():
    jobs = WORKFLOWS["release.yml"]["jobs"]
    built = jobs["wheels"]["strategy"]["matrix"]["include"]
    assert {one["name"] for one in built} == {
        f"{system}-{machine}"
        for system, machine in (
            ("linux", "x86_64"),
            ("linux", "aarch64"),
            ("macos", "arm64"),
            ("macos", "x86_64"),
        )
    }
    assert any("windows" in one for one in jobs["anywhere"]["strategy"]["matrix"]["runner"])
    check = next(step["run"] for step in jobs["publish"]["steps"] if "run" in step)
    assert f"-eq {len(built) + 1}" in check


def test_wheels_are_tried_by_a_script_that_works():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    command = settings["cibuildwheel"]["test-command"]
    assert command == "python {project}/tests/smoke.py --kernels"
    assert settings["scikit-build"]["wheel"]["py-api"] == "py3"
    script = (ROOT / "tests" / "smoke.py").read_text(encoding="utf-8")
    done = run_python(script)
    assert done.returncode == 0, done.stderr
    assert "works here" in done.stdout
    wrong = run_python(script.replace("atrous.conv(x,", "-atrous.conv(x,"))
    assert wrong.returncode != 0
