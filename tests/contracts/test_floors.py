"""The floors hold, as CI checks them, and an import that breaks them is noticed."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, environment


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["lint-imports", "--no-cache", "--no-logo"],
        cwd=root,
        env=environment() | {"PYTHONPATH": str(root / "src"), "COLUMNS": "200"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def foreign_imports(folder: Path) -> set[str]:
    """What files import, wherever in the file, beyond the standard library and atrous."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"atrous"}


@pytest.fixture
def copy(tmp_path):
    """A copy of the checkout's source, to spoil."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "src" / "atrous",
        tmp_path / "src" / "atrous",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


def test_the_floors_hold():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_geometry_imports_the_standard_library_only():
    assert foreign_imports(ROOT / "src" / "atrous" / "geometry") == set()


@pytest.mark.parametrize(
    ("importer", "statement", "complaint"),
    [
        ("errors.py", "import atrous.geometry", "atrous.errors -> atrous.geometry"),
        (
            "geometry/spoilt.py",
            "from atrous import network",
            "atrous.geometry.spoilt -> atrous.network",
        ),
        ("analysis/spoilt.py", "import atrous.readers", "atrous.analysis.spoilt -> atrous.readers"),
        ("geometry/spoilt.py", "import numpy", "atrous.geometry.spoilt -> numpy"),
        ("network/spoilt.py", "def late():\n    import onnx", "atrous.network.spoilt -> onnx"),
        ("spoilt.py", "", "atrous.spoilt"),
    ],
    ids=["up one floor", "up two floors", "across", "a library", "a framework, late", "no floor"],
)
def test_an_import_that_breaks_a_rule_is_noticed(copy, importer, statement, complaint):
    with (copy / "src" / "atrous" / importer).open("a") as file:
        file.write(f"\n{statement}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert complaint in result.stdout


def test_a_library_that_no_contract_names_is_noticed_in_geometry(copy):
    folder = copy / "src" / "atrous" / "geometry"
    (folder / "spoilt.py").write_text("def late():\n    from pytest import raises\n")
    assert foreign_imports(folder) == {"pytest"}
