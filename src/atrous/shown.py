"""How records that are one line of text show in notebooks, and how pages of them are written."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

__all__ = ["Shown", "write_whole"]


class Shown:
    """A record whose notebook form is its text, escaped."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Writes a file in one step, so that none is left half written over a good one."""
    target = Path(path)
    made = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        made.write_text(text, encoding="utf-8", errors="backslashreplace")
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)
