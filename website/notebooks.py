"""The notebooks of `examples` as pages: run when the site is built, without a network.

By nbconvert, with which the tests run them: Zensical takes in no plug-in for notebooks. A result is
shown as text, in which a screen reader finds what there is to see.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from traitlets.config import Config

__all__ = ["NOTEBOOKS", "notebook_page"]

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
_LINK = "*Run when this page was built. [Download the notebook]({name}) to run it yourself.*"
_NOT_RUN = "*What follows was not run when this page was built: {missing} was not installed.*"


def notebook_page(path: Path) -> str:
    """A notebook in Markdown with what its cells put out, beside a link to the file itself.

    Raises `nbclient.exceptions.CellExecutionError` where a cell fails.
    """
    book = nbformat.read(path, 4)
    for place, missing in list(_without(book))[:1]:
        for cell in book.cells[place:]:
            cell.metadata["tags"] = ["skip-execution"]
        book.cells.insert(place, nbformat.v4.new_markdown_cell(_NOT_RUN.format(missing=missing)))
    # The kernel sees the checkout, also when an older build is installed.
    paths = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    settings = Config({"KernelManager": {"transport": "ipc" if os.name == "posix" else "tcp"}})
    client = NotebookClient(book, timeout=300, kernel_name="python3", config=settings)
    client.execute(env=os.environ | {"PYTHONPATH": paths})
    text = Config({"NbConvertBase": {"display_data_priority": ["text/plain"]}})
    body, _ = MarkdownExporter(config=text).from_notebook_node(book)
    title, _, rest = body.strip().partition("\n")
    return f"{title}\n\n{_LINK.format(name=path.name)}\n{rest}\n"


def _without(book: nbformat.NotebookNode) -> Iterator[tuple[int, str]]:
    """The cells that import what is not installed: their places, and what that is."""
    for place, cell in enumerate(book.cells):
        if cell.cell_type == "code":
            for name in _imported(cell.source):
                if find_spec(name) is None:
                    yield place, name


def _imported(source: str) -> Iterator[str]:
    """The packages that a cell imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
