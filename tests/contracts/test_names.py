"""One name, one idea: on no floor do two files each define something of one name."""

from __future__ import annotations

import ast
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

# What a registry holds is found by its key, whose words its name repeats: `@rule(Conv) def _conv`.
REGISTERING = {
    "_dilates",
    "finder",
    "known",
    "rebuilds",
    "register",
    "rule",
    "translates",
    "writes",
}

ALLOWED = {
    "_opening": "the first line of a record's view",
    "opening": "the first line of a record's view",
    "conv": "one function: for callers, as the reference, on NumPy arrays and on tensors",
    "conv_transpose": "one function: for callers, as the reference, on arrays and on tensors",
    "depthwise": "one kernel, on NumPy arrays and on tensors",
    "is_channels_last": "one question, asked of an array and of a tensor",
    "Const": "what a constant of a source tells, for each reader",
    "translates": "the door to the table of translations, in each reader",
    "_by_translation": "a call as its translation has it, in each reader",
    "random_inputs": "what is run where nobody gives inputs, for each framework",
}


def floors(root: Path) -> Iterator[list[Path]]:
    """The files of each floor, by the contract in pyproject.toml."""
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["id"] == "floors")
    src = root / "src" / "atrous"
    for layer in layers:
        names = [name.strip(" ()") for name in layer.split("|")]
        yield [f for name in names for f in (src / f"{name}.py", *(src / name).rglob("*.py"))]


def defined(path: Path) -> set[str]:
    """The functions and classes of a file that no registry holds."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        called = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
        names = {one.attr if isinstance(one, ast.Attribute) else one.id for one in called}
        if not names & REGISTERING:
            found.add(node.name)
    return found


def doubles(root: Path) -> dict[str, list[str]]:
    """Each name that several files of one floor define, and these files."""
    found: dict[str, list[str]] = {}
    for files in floors(root):
        homes: dict[str, list[str]] = {}
        for path in filter(Path.exists, files):
            for name in defined(path):
                homes.setdefault(name, []).append(path.relative_to(root).as_posix())
        for name, paths in homes.items():
            if len(paths) > 1:
                found.setdefault(name, []).extend(paths)
    return found


@pytest.fixture
def copy(tmp_path):
    """A copy of the checkout's source, to spoil."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_no_name_is_given_twice_on_one_floor():
    assert {n: p for n, p in doubles(ROOT).items() if n not in ALLOWED} == {}


def test_every_name_that_may_be_given_twice_is():
    assert set(ALLOWED) - doubles(ROOT).keys() == set()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("analysis/field.py", "conversion/spoilt.py"),
        ("geometry/window.py", "geometry/spoilt.py"),
        ("registry.py", "refusal.py"),
    ],
    ids=["two folders of a floor", "one folder", "two files that are a floor"],
)
def test_a_name_that_is_given_twice_is_noticed(copy, first, second):
    src = copy / "src" / "atrous"
    for path in (src / first, src / second):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n\ndef planted():\n    return None\n")
    found = doubles(copy)["planted"]
    assert sorted(found) == sorted(f"src/atrous/{path}" for path in (first, second))


def test_the_same_name_on_two_floors_and_in_a_registry_is_nothing(copy):
    src = copy / "src" / "atrous"
    (src / "geometry" / "spoilt.py").write_text("def planted(): ...\n", encoding="utf-8")
    (src / "network" / "spoilt.py").write_text("def planted(): ...\n", encoding="utf-8")
    (src / "operators" / "spoilt.py").write_text(
        "@rule(Conv)\ndef planted(): ...\n", encoding="utf-8"
    )
    assert "planted" not in doubles(copy)
