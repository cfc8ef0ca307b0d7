"""Writing whole files: none is left half written over a good one."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Writes a file in one step, so that none is left half written over a good one."""
    target = Path(path)
    made = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        made.write_text(text, encoding="utf-8", errors="backslashreplace")
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)
