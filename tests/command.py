"""The command `atrous` for tests: in this process, or as one of its own.

A process of its own costs the imports anew, a quarter of a second and with PyTorch three; it is for
what only a process has: its streams, its terminal, its signals, what it does not import.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from atrous.cli import main
from tests.processes import environment

__all__ = ["assert_refuses", "atrous", "atrous_process", "atrous_terminal"]


def atrous(*arguments: str, cwd: Path | None = None, **variables: str) -> CompletedProcess[str]:
    """What the command says when its `main` is called here, and its exit code.

    As in a process, its streams are files, an error that it does not expect is raised, and what it
    imports from `cwd` is not there afterwards.
    """
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2)]
    code = _run(arguments, streams[0], streams[1], cwd, variables)
    said = [stream.buffer.getvalue().decode(encoding) for stream in streams]
    return CompletedProcess(["atrous", *arguments], code, *said)


def atrous_terminal(*arguments: str, cwd: Path | None = None) -> CompletedProcess[str]:
    """The same with both streams as one, as a terminal shows them."""
    both = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    code = _run(arguments, both, both, cwd, {})
    return CompletedProcess(["atrous", *arguments], code, both.buffer.getvalue().decode("utf-8"))


def _run(
    arguments: tuple[str, ...],
    out: io.TextIOWrapper,
    errors: io.TextIOWrapper,
    cwd: Path | None,
    variables: Mapping[str, str],
) -> int:
    with (
        Path(os.devnull).open(encoding="utf-8") as nothing,
        patch.multiple(sys, argv=["atrous", *arguments], stdin=nothing),
        patch.multiple(sys, stdout=out, stderr=errors),
        patch.dict(os.environ, environment() | variables, clear=True),
        _imports_forgotten(),
        _in(cwd),
    ):
        try:
            main()
        except SystemExit as done:
            code = done.code
        else:
            raise AssertionError("the command ends without an exit code")
    assert isinstance(code, int), code
    return code


def atrous_process(
    *arguments: str, cwd: Path | None = None, **variables: str | None
) -> CompletedProcess[str]:
    """What `python -m atrous` says, and its exit code; a variable that is None is not set."""
    given = environment() | variables
    return subprocess.run(
        [sys.executable, "-m", "atrous", *arguments],
        cwd=cwd,
        env={key: value for key, value in given.items() if value is not None},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


def assert_refuses(*arguments: str, says: str | list[str], cwd: Path | None = None) -> None:
    """The command gives up: exit code 2, nothing on standard output, one line that says why."""
    result = atrous(*arguments, cwd=cwd)
    assert result.returncode == 2, result
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line != "building"]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("atrous: ")
    for part in [says] if isinstance(says, str) else says:
        assert part in lines[0]


@contextmanager
def _in(folder: Path | None) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder or before)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _imports_forgotten() -> Iterator[None]:
    """Takes off the path what was put on it, and forgets what was imported from there."""
    places, modules = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        new = {Path(place).resolve() for place in sys.path if place not in places}
        sys.path[:] = places
        for name in (set(sys.modules) - modules) if new else ():
            file = getattr(sys.modules[name], "__file__", None)
            if file and new & set(Path(file).resolve().parents):
                del sys.modules[name]
