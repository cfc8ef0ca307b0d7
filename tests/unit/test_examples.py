"""The notebooks under `examples`: kept without outputs, run without a network, in one kernel."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.processes import ROOT, environment

nbformat = pytest.importorskip("nbformat", reason="needs the extra `test`")

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
# Whoever opens a connection is told so; the kernel's own go to this machine.
ALONE = """
import socket
_connect = socket.socket.connect
def _here(self, address, *rest):
    if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in ("127.0.0.1", "::1"):
        raise AssertionError(f"a notebook connects to {address}")
    return _connect(self, address, *rest)
socket.socket.connect = _here
"""


def run(folder, cells):
    """The cells, run one after another by nbconvert in one kernel; what they show, as text."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    (folder / "all.ipynb").write_text(nbformat.writes(made))
    command = [sys.executable, "-m", "nbconvert", "--to=notebook", "--execute", "--stdout"]
    return subprocess.run(
        [*command, "all.ipynb"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def code_of(path):
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs_and_is_valid(path):
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    assert book.cells[0].source.startswith("# ")
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert path.read_text(encoding="utf-8") == nbformat.writes(book, indent=1) + "\n"


def test_every_notebook_runs_without_a_network(tmp_path):
    cells = [ALONE]
    for path in NOTEBOOKS:
        # No notebook finds what another one left.
        cells += ["%reset -f", *code_of(path)]
    done = run(tmp_path, cells)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = [cell for cell in json.loads(done.stdout)["cells"] if cell["outputs"]]
    # All but those that only set names.
    assert len(shown) >= 17
    assert not any(
        output.get("name") == "stderr" for cell in shown for output in cell["outputs"]
    ), shown


def test_the_readme_names_every_notebook():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS
    assert all(f"(examples/{path.name})" in text for path in NOTEBOOKS)
