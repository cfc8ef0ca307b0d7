"""Maps of a whole image that sweeps leave for later ones: in memory, or on a disk."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from atrous.errors import ArgumentError
from atrous.network.shapes import Shape

__all__ = ["Scratch"]

_PIECE = 1 << 24
"""Bytes of zeros that are written at a time where a system allocates no files."""


class Scratch:
    """Arrays by name. On a disk each is a file without a name, which ends with the process.

    `folder` is where files are, None keeps arrays in memory. A file has its place on the disk when
    it is made, so that no write fails; what is read of it is a copy, and stays in memory no longer.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._held: dict[str, tuple[NDArray[Any], mmap.mmap | None]] = {}

    def check(self, nbytes: int) -> None:
        """Raises `ArgumentError` where `nbytes` find no place in the folder."""
        if self.folder is None:
            return
        free = shutil.disk_usage(self.folder).free
        if free < nbytes:
            raise _full(self.folder, nbytes, free)

    def make(self, name: str, shape: Shape, dtype: DTypeLike) -> None:
        """Room for an array."""
        if self.folder is None:
            self._held[name] = (np.empty(shape, dtype), None)
            return
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        with tempfile.TemporaryFile(dir=self.folder, prefix="atrous-") as file:
            try:
                _allocate(file, nbytes)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                raise _full(self.folder, nbytes, shutil.disk_usage(self.folder).free) from None
            pages = mmap.mmap(file.fileno(), max(nbytes, 1))
        count = nbytes // np.dtype(dtype).itemsize
        self._held[name] = (np.frombuffer(pages, dtype, count).reshape(shape), pages)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def write(self, name: str, place: tuple[slice, ...], part: NDArray[Any]) -> None:
        """Puts a part of an array in its place."""
        array, pages = self._held[name]
        array[place] = part
        _let_go(pages)

    def read(self, name: str, place: tuple[slice, ...]) -> NDArray[Any]:
        """A part of an array; in memory the array's own."""
        array, pages = self._held[name]
        if pages is None:
            return array[place]
        found = array[place].copy()
        _let_go(pages)
        return found

    def keep(self, names: Iterable[str]) -> None:
        """Lets all other arrays go."""
        for name in self._held.keys() - set(names):
            del self._held[name]

    def close(self) -> None:
        """Lets all arrays go."""
        self.keep(())


def _allocate(file: IO[bytes], nbytes: int) -> None:
    if hasattr(os, "posix_fallocate") and nbytes:
        os.posix_fallocate(file.fileno(), 0, nbytes)
        return
    zeros = bytes(min(_PIECE, nbytes))
    for start in range(0, max(nbytes, 1), _PIECE):
        file.write(zeros[: max(nbytes - start, 1)] or b"\0")
    file.flush()


def _let_go(pages: mmap.mmap | None) -> None:
    """Pages of a file leave the process's memory; what they hold is in the file."""
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _full(folder: Path, nbytes: int, free: int) -> ArgumentError:
    return ArgumentError(
        f"sweeps keep {nbytes:,} bytes between them in {folder}, which has {free:,} free; give "
        "another folder by scratch=..., or scratch='none', with which each begins with the image."
    )
