"""Tables made of results, put into a bench's README."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "<!-- written by table.py -->"


def write(home: Path, tables: Callable[[Any], str]) -> None:
    """Puts the tables behind the mark in the README, or prints those of another file."""
    given = sys.argv[1:]
    found = json.loads(Path(given[0] if given else home / "results.json").read_text())
    if given:
        print(tables(found), end="")
        return
    path = home / "README.md"
    path.write_text(path.read_text().split(MARK)[0] + MARK + "\n\n" + tables(found))


def between(path: Path, begin: str, text: str, end: str) -> None:
    """Puts the text between its marks."""
    before, _, rest = path.read_text().partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
