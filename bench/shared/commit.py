"""The commit that a number was measured at."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHANGED = "+"
"""Behind a commit: what was measured had changes of its own besides."""


@cache
def commit() -> str:
    """The last commit that changed what is measured, which is `src` and `native`."""
    git = ["git", "-C", str(ROOT)]
    told = subprocess.run(
        [*git, "log", "-1", "--format=%h", "--abbrev=9", "--", "src", "native"],
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode:
        return "unknown"
    clean = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src", "native"], check=False)
    return told.stdout.strip() + (CHANGED if clean.returncode else "")


def commits(noted: Iterable[str | None]) -> str:
    """In words: at which commits so many things were measured, the most of them first.

    >>> commits(["1a", "1a", None])
    'commit 1a (2), a commit that was not noted (1)'
    >>> commits(["1a", "1a"])
    'commit 1a'
    """
    counts = Counter(noted).most_common()
    named = [(f"commit {c}" if c else "a commit that was not noted", n) for c, n in counts]
    if len(named) == 1:
        return named[0][0]
    return ", ".join(f"{name} ({count})" for name, count in named)
