"""Writing whole files: none is left half written over a good one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["is_there", "is_writable", "one_at_a_time", "whole_file", "write_whole"]


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is anything at `path`; what can be no path, or leads nowhere, is not there.

    >>> is_there("."), is_there("x" * 5000), is_there("a" + chr(0))
    (True, False, False)
    """
    # `Path.exists` raises where a name is too long or a folder may not be looked into.
    return os.path.exists(path)  # noqa: PTH110


def is_writable(path: str | os.PathLike[str]) -> bool:
    """Whether `whole_file` may write to `path`, as far as that can be known before: by rights."""
    target = Path(os.path.realpath(path))
    placed = target if target.exists() and not target.is_file() else target.parent
    return os.access(placed, os.W_OK)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to; what is there at the end becomes the file at `path`, at once.

    It lies beside `path` and has its ending. Links are followed: the file that one leads to is
    meant. A file that was there keeps its mode, a new one gets the usual one; a device or a pipe is
    written to as it is. Where the block raises, also on an interrupt, nothing of it is left.

    Raises:
        OSError: there is no such folder, or the disk refuses.
    """
    # `realpath`, since `Path.resolve` raises `RuntimeError` for a link to itself.
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        yield target
        return
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name[:100]}.", suffix=target.suffix[:20]
    )
    os.close(handle)
    made = Path(name)
    try:
        yield made
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.chmod(mode)
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Writes text to a file, in UTF-8, whole or not at all; see `whole_file`."""
    with whole_file(path) as made:
        made.write_text(text, encoding="utf-8", errors="backslashreplace")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Of all processes and threads that do this with `path`, one is inside at a time.

    By an empty file beside it, which stays. Where the system has no such locks nobody waits.

    Raises:
        OSError: the file cannot be made.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.with_name(f".{path.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
