"""No circle of files is left, imports by string included; and no room outgrows the house."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from tests.contracts.file_imports import circles, import_graph
from tests.processes import ROOT

PACKAGE = ROOT / "src" / "atrous"
LARGEST_ROOM = 0.15


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, to spoil."""
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(PACKAGE, tmp_path / "atrous", ignore=ignored)


def test_no_files_import_each_other_in_a_circle():
    graph = import_graph(PACKAGE)
    assert len(graph) > 200
    assert circles(graph) == []


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("geometry/window.py", "from atrous.geometry.reads import Reads"),
        ("analysis/layer.py", "def late():\n    from atrous.analysis import inspection"),
        ("analysis/layer.py", "import importlib\nimportlib.import_module('atrous.report')"),
        ("shown.py", "from importlib import import_module as load\nload('atrous.report.view')"),
        ("geometry/taps.py", "from .reads import Reads"),
        ("shown.py", "__import__(name='atrous.report')"),
    ],
    ids=["above", "late", "by a string", "by a string, renamed", "relative", "by a keyword"],
)
def test_a_circle_is_noticed_however_it_is_tied(copy, importer, line):
    with (copy / importer).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    name = "atrous." + importer.removesuffix(".py").replace("/", ".")
    assert any(name in group for group in circles(import_graph(copy)))


def test_no_room_holds_more_than_its_share_of_the_lines():
    lines = Counter()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        # The readers of each framework are a room of their own, which knows nothing of the others;
        # so are the runners of tiles and of streams.
        apart = parts[0] in ("readers", "runners") and len(parts) > 2
        room = "/".join(parts[:2] if apart else parts[:1])
        lines[room] += len(path.read_text("utf-8").splitlines())
    room, most = lines.most_common(1)[0]
    assert most <= LARGEST_ROOM * sum(lines.values()), room
