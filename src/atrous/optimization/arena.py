"""Memory that stays mapped between runs, so that activations do not fault their pages in anew.

glibc maps every block above a bound (32 MiB at most) by itself and unmaps it when it is freed, and
gives the top of its heap back as well. The next run then touches fresh pages, each of which the
kernel clears: 12 ms for a map of 33 MB that is written in 1 ms where its pages are there. While a
prepared program runs, blocks of any size come from the heap, and what it frees there is kept for
the next run, as an inference engine's arena does. The memory held is what the largest run needed;
when the last prepared program is gone, it is given back.

With other C libraries nothing is done, and in threads other than the main one glibc's arenas give
their memory back all the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from functools import cache
from typing import Any

__all__ = ["held", "holding", "kept"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_MOST_MAPPED = 65536  # glibc's default of M_MMAP_MAX
_USUAL_TRIM = 64 << 20  # where its bound comes to lie after a block of 32 MiB was freed
_ALWAYS = 2**31 - 1

_lock = threading.Lock()
_running = 0
_holders = 0


@cache
def _libc() -> Any:
    """The C library, where it is glibc and nobody has set how it allocates; else None."""
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return None
    with contextlib.suppress(OSError, AttributeError):
        loaded = ctypes.CDLL(None)
        if all(hasattr(loaded, n) for n in ("gnu_get_libc_version", "mallopt", "malloc_trim")):
            return loaded
    return None


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """While this runs, blocks of any size come from the heap and stay there when they are freed."""
    global _running
    libc = _libc()
    if libc is None:
        yield
        return
    with _lock:
        _running += 1
        if _running == 1:
            libc.mallopt(_MMAP_MAX, 0)
            libc.mallopt(_TRIM_THRESHOLD, _ALWAYS)
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                libc.mallopt(_MMAP_MAX, _MOST_MAPPED)


def held(owner: object) -> None:
    """Keeps what runs have freed for as long as `owner` lives; behind the last it is given back."""
    _hold()
    weakref.finalize(owner, _release).atexit = False


@contextlib.contextmanager
def holding() -> Iterator[None]:
    """The same while this runs."""
    _hold()
    try:
        yield
    finally:
        _release()


def _hold() -> None:
    global _holders
    with _lock:
        _holders += 1


def _release() -> None:
    global _holders
    with _lock:
        _holders -= 1
        libc = _libc()
        if libc is not None and not _holders:
            libc.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM)
            libc.malloc_trim(0)
