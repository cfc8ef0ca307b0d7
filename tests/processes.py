"""Whole processes for tests: this checkout, this interpreter, and plain 80-column output."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)


def environment() -> dict[str, str]:
    """The caller's variables, with what decides where atrous comes from and how it prints set.

    Bytecode is kept, whatever the caller has: else each process compiles the package anew.
    """
    left_out = ("FORCE_COLOR", "PYTHONDONTWRITEBYTECODE")
    inherited = {key: value for key, value in os.environ.items() if key not in left_out}
    commands = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", "")])
    return inherited | {
        "PATH": commands,
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "80",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


def run_shell(command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs a command line in bash; its output is both streams, as a terminal shows them."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
    )


def run_python(
    script: str, cwd: Path = ROOT, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a script in a new interpreter, with `variables` set; output and errors kept apart."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env=environment() | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
