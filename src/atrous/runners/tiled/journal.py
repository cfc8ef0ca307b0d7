"""What a run into a file has done: a manifest that says what is run, and a log of finished tiles.

A line of the log is written when all that a tile keeps is on the disk, so that a run which is
killed anywhere goes on behind the last line. Lines carry a checksum: half of one is none.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atrous.errors import ArgumentError, MissingDependencyError, ReadError, RunError
from atrous.files import write_whole

__all__ = ["Journal", "check_alike", "differences", "only_one", "sync"]

_SCHEMA = "atrous.journal/1"


class Journal:
    """The manifest and the log in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log: int | None = None

    @property
    def manifest(self) -> Path:
        """The file that says what is run."""
        return self.folder / "manifest.json"

    @property
    def log(self) -> Path:
        """The file with a line for each finished tile."""
        return self.folder / "tiles.log"

    def read(self) -> dict[str, Any] | None:
        """The manifest; None where no run has begun. Raises `ReadError` for one of another kind."""
        try:
            found = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("schema") != _SCHEMA:
            raise ReadError(
                f"{self.manifest}: it is no manifest that this version knows; run with overwrite."
            )
        return found

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Writes the manifest of a new run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        self._write({"schema": _SCHEMA, "finished": False, **facts})
        sync(self.folder)

    def finish(self, outputs: Sequence[Mapping[str, Any]]) -> None:
        """Says that all is there, and what it is."""
        self._write({**(self.read() or {}), "outputs": list(outputs), "finished": True})

    def _write(self, facts: Mapping[str, Any]) -> None:
        write_whole(self.manifest, json.dumps(facts, indent=1) + "\n")

    def done(self) -> set[int]:
        """The finished tiles; what stands behind a line that is not whole is cut off."""
        try:
            data = self.log.read_bytes()
        except FileNotFoundError:
            return set()
        found, good = set(), 0
        for line in data.splitlines(keepends=True):
            number = _number_in(line)
            if number is None:
                break
            found.add(number)
            good += len(line)
        if good < len(data):
            os.truncate(self.log, good)
        return found

    def rewrite(self, tiles: Iterable[int]) -> None:
        """A log of these tiles alone."""
        write_whole(self.log, "".join(map(_log_line, sorted(tiles))))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Tiles may be added within."""
        self._log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            yield
        finally:
            os.close(self._log)
            self._log = None

    def add(self, tile: int) -> None:
        """A tile of which all that is kept is on the disk."""
        assert self._log is not None
        line = _log_line(tile).encode()
        if os.write(self._log, line) != len(line):
            raise OSError(28, "No space left on device", str(self.log))
        os.fsync(self._log)


def _log_line(tile: int) -> str:
    return f"{tile} {zlib.crc32(str(tile).encode()):08x}\n"


def _number_in(line: bytes) -> int | None:
    word = line.split(b" ")[0]
    return int(word) if word.isdigit() and line == _log_line(int(word)).encode() else None


def sync(path: Path) -> None:
    """What a file or a folder has is on the disk when this returns."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder, on systems that open none
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def differences(before: Mapping[str, Any], now: Mapping[str, Any], of: str = "") -> list[str]:
    """What two manifests have that differs, each with both values.

    >>> differences({"plan": {"tile": 64, "halo": 2}}, {"plan": {"tile": 32, "halo": 2}})
    ['plan.tile was 64, now 32']
    """
    found: list[str] = []
    for key in [*before, *(key for key in now if key not in before)]:
        one, other = before.get(key), now.get(key)
        name = f"{of}.{key}" if of else key
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, name)
        elif one != other:
            found.append(f"{name} was {_value_text(one)}, now {_value_text(other)}")
    return found


def _value_text(value: Any) -> str:
    text = (
        "nothing" if value is None else json.dumps(value) if not isinstance(value, str) else value
    )
    return text if len(text) <= 40 else f"{text[:37]}..."


@contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Of all runs into `target` one is inside; another one is refused.

    By a lock on an empty file beside it, which stays. filelock has it on each system by its own
    means, which let go where a process is killed.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise MissingDependencyError(
            f"{target}: running into a file needs filelock: pip install atrous[run]"
        ) from None
    try:
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise RunError(f"{target}: another run writes into it; wait until it ends.") from None


def check_alike(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises `ArgumentError` where a run would go on with something else than it began with."""
    shared = {key: before.get(key) for key in now}
    found = differences(shared, now)
    if found:
        raise ArgumentError(
            f"it was begun otherwise: {'; '.join(found[:4])}. Go on with what it was begun with, "
            "or begin anew with overwrite=True."
        )
