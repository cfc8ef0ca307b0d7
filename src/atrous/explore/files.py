"""Networks that a visitor opens: known ones, and .onnx files, which stay on this machine."""

from __future__ import annotations

import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from threading import Lock

from atrous.analysis import Inspection, inspect_network
from atrous.errors import ReadError
from atrous.explore.draft import MOST_POSITIONS, MOST_TEXT
from atrous.readers import read
from atrous.verbs.inspect import inspect

__all__ = ["Pages", "file_report", "known_report", "stack_report"]

MOST_PAGES = 32


def known_report(name: str) -> Inspection:
    """The report of a known network at its usual input."""
    return inspect(f"zoo:{name}")


def stack_report(text: str, shape: tuple[int, ...]) -> Inspection:
    """The report of a stack that is only looked at."""
    if len(text) > MOST_TEXT or prod(shape) > 64 * MOST_POSITIONS:
        raise ReadError("this stack, or its input, is too large for this page.")
    return inspect(f"stack:{text}", shape)


def file_report(name: str, content: bytes) -> Inspection:
    """The report of an .onnx file. Nothing in it runs. Raises `AtrousError` for a bad one."""
    shown = Path(name).name[:60] or "the file"
    if not name.lower().endswith(".onnx"):
        raise ReadError(f"{shown}: give an .onnx file.")
    with tempfile.TemporaryDirectory() as folder:
        # The visitor's name is shown, never used as a path.
        path = Path(folder, "model.onnx")
        path.write_bytes(content)
        try:
            # The visitor's name for it, in the report as well.
            return inspect_network(replace(read(str(path)), name=shown))
        except Exception as error:
            text = str(error).replace(str(path), shown).replace(path.name, shown)
            if isinstance(error, ReadError | ValueError):
                raise ReadError(text) from None
            raise ReadError(f"{shown} cannot be read: {text}") from None


class Pages:
    """Pages of reports by a name that nobody guesses; the oldest make room."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._alone = Lock()

    def add(self, made: Callable[[], Inspection]) -> str:
        """Makes a report and writes its page, one at a time; returns its name."""
        with self._alone, tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "report.html")
            made().to_html(path)
            text = path.read_text(encoding="utf-8")
        name = secrets.token_urlsafe(24)
        self._texts[name] = text
        while len(self._texts) > MOST_PAGES:
            self._texts.popitem(last=False)
        return name

    def get(self, name: str) -> str | None:
        """The page of that name."""
        return self._texts.get(name)

    def drop(self, name: str) -> None:
        """Forgets a page."""
        self._texts.pop(name, None)
