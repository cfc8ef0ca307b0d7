"""Every verb where its reader goes away, where the disk is full, and where somebody stops it."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import sys
import tempfile
from inspect import CO_GENERATOR
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest

import atrous as library
from atrous.cli import main
from atrous.explore.export import RUNTIME
from tests.command import atrous, atrous_process
from tests.processes import environment
from tests.unit.cli.test_bad_inputs import model

OWN = str(Path(library.__file__).parent)
PRINTED = {
    "inspect": "inspect stack:k3*40 -i 1,1,99,99 --all",
    "compare": "compare -i 1,1,64,64",
    "sizes": "sizes stack:k3s2*3 -i 1,1,9",
    "rates": "rates 513",
    "effective": "effective stack:k3 -i 1,1,9,9",
    "check": "check stack:k3 -i 1,1,9,9 --macs >=1",
    "stack": "stack k3*40",
    "convert": "convert stack:k3s2 -s 1 -i 1,1,16,16",
    "audit": "audit stack:k3 stack:k3 -i 1,1,9,9",
    "learn": "learn",
}

STOPS = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "MODULE":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""
"""Presses Ctrl-C as soon as a module is imported."""


class Stream(io.RawIOBase):
    """Takes so many bytes, and then says what a pipe or a disk says."""

    def __init__(self, room: float, error: OSError) -> None:
        self.room, self.error, self.taken = room, error, b""

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        if len(self.taken) + len(data) > self.room:
            raise self.error
        self.taken += bytes(data)
        return len(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model(tmp_path / "net.onnx")
    for name in ("kept.svg", "kept.onnx"):
        (tmp_path / name).write_bytes(b"kept")
    (tmp_path / "runtime").mkdir()
    for name in RUNTIME:
        (tmp_path / "runtime" / name).write_bytes(b"")
    return tmp_path


def said(line: str, stream: Stream, folder: Path, monkeypatch) -> tuple[int, str]:
    """The exit code of a command that prints to `stream`, and its standard error."""
    monkeypatch.chdir(folder)
    out = io.TextIOWrapper(io.BufferedWriter(stream, 1), "utf-8", write_through=True)
    errors = io.StringIO()
    with (
        patch.multiple(sys, argv=["atrous", *line.split(" ")], stdout=out, stderr=errors),
        patch.object(sys, "path", list(sys.path)),
        patch.dict(os.environ, environment(), clear=True),
        pytest.raises(SystemExit) as done,
    ):
        main()
    stream.room = float("inf")  # what is left goes when the stream does
    out.close()
    return done.value.code, errors.getvalue()


@pytest.mark.parametrize("line", [*PRINTED.values(), "sizes stack:k3s2 -i 1,1,9 --json"])
def test_whoever_reads_the_output_may_go(line, folder, monkeypatch):
    gone = Stream(20, BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert said(line, gone, folder, monkeypatch) == (0, "")


@pytest.mark.parametrize("verb", PRINTED)
def test_a_full_disk_is_said_by_every_verb(verb, folder, monkeypatch):
    full = Stream(20, OSError(errno.ENOSPC, "No space left on device"))
    code, errors = said(PRINTED[verb], full, folder, monkeypatch)
    assert code == 2
    assert errors == (
        "atrous: standard output: No space left on device; what was printed is not whole.\n"
    )


STOPPED = {
    **{verb: line for verb, line in PRINTED.items() if verb != "convert"},
    "learn": "learn strided -i 1,1,32",
    "inspect": "inspect stack:k3 -i 1,1,9,9 --animate kept.svg --graph graph.svg",
    "convert": "convert net.onnx -s 1 -o kept.onnx --no-measure",
    "explore": "explore --export page --pyodide runtime",
}


class Stop:
    """Ctrl-C at the call of this number among those of atrous' own functions."""

    def __init__(self, at: float) -> None:
        self.at, self.calls = at, 0

    def __call__(self, frame, event, _argument) -> None:
        # What is raised as a generator is thrown away goes nowhere.
        is_own = OWN in frame.f_code.co_filename and not frame.f_code.co_flags & CO_GENERATOR
        if event == "call" and is_own:
            self.calls += 1
            if self.calls >= self.at:
                sys.setprofile(None)
                raise KeyboardInterrupt

    def run(self, line: str, folder: Path) -> CompletedProcess[str]:
        """What a command says that is stopped there."""
        sys.setprofile(self)
        try:
            return atrous(*line.split(" "), cwd=folder)
        finally:
            sys.setprofile(None)


def whole_run(line: str, folder: Path) -> tuple[int, dict[str, bytes]]:
    """The calls of a run to the end, elsewhere, and the files that are there then."""
    with tempfile.TemporaryDirectory() as elsewhere:
        there = shutil.copytree(folder, Path(elsewhere, "there"))
        whole = Stop(float("inf"))
        assert whole.run(line, there).returncode == 0
        return whole.calls, files_in(there)


def files_in(folder: Path) -> dict[str, bytes]:
    """All files, and what they hold."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("verb", STOPPED)
def test_whoever_stops_a_verb_finds_nothing_half_written(verb, folder):
    line = STOPPED[verb]
    before = files_in(folder)
    whole_run(line, folder)  # what is imported and kept is so from here on
    calls, after = whole_run(line, folder)
    for share in (0, 0.3, 0.6, 0.9):
        result = Stop(2 + int(share * calls)).run(line, folder)
        assert result.returncode == 130, (share, calls, result)
        assert all(said.startswith("wrote ") for said in result.stderr.splitlines()), result
        assert files_in(folder) in (before, after), share


@pytest.mark.parametrize("module", ["lazy_loader", "typer", "atrous.report"])
def test_whoever_stops_the_start_sees_no_traceback(module, folder):
    (folder / "sitecustomize.py").write_text(STOPS.replace("MODULE", module))
    places = os.pathsep.join([str(folder), environment()["PYTHONPATH"]])
    result = atrous_process("rates", "513", cwd=folder, PYTHONPATH=places)
    # Python ends itself by the signal where it came within code that is made as it runs.
    assert result.returncode in (130, -signal.SIGINT)
    assert (result.stdout, result.stderr) == ("", "")
