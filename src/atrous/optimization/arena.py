"""Memory that stays mapped between runs, so that activations do not fault their pages in anew.

glibc maps every block above a bound (32 MiB at most) by itself and unmaps it when it is freed, and
gives the top of its heap back as well. The next run then touches fresh pages, each of which the
kernel clears: 12 ms for a map of 33 MB that is written in 1 ms where its pages are there. While a
prepared program runs, blocks of any size come from the heap, and what it frees there is kept for
the next run, as an inference engine's arena does: at most three times the activations that the
largest program holds at once. When the last prepared program is gone, all of it is given back.

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
from itertools import count
from typing import Any

__all__ = ["held", "holding", "kept"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_MOST_MAPPED = 65536  # glibc's default of M_MMAP_MAX
_USUAL_TRIM = 64 << 20  # where its bound comes to lie after a block of 32 MiB was freed
_ALWAYS = 2**31 - 1

_SLACK = 64 << 20

# Reentrant: a collection of garbage may end an owner while its own thread is in here.
_lock = threading.RLock()
_running = 0
_limits: dict[int, int] = {}
"""By owner, the bytes that the heap may have."""
_numbers = count()
_given_up = False


class _Usage(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


@cache
def _libc() -> Any:
    """The C library, where it is glibc and nobody has set how it allocates; else None."""
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return None
    with contextlib.suppress(OSError, AttributeError):
        loaded = ctypes.CDLL(None)
        if all(hasattr(loaded, name) for name in ("mallopt", "malloc_trim", "mallinfo2")):
            loaded.mallinfo2.restype = _Usage
            return loaded
    return None


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """While this runs, blocks of any size come from the heap and stay there when they are freed.

    Blocks of one size may come to lie so that none fits into what another left. Where the heap has
    grown beyond what its owners asked for, all that is free is given back, and nothing kept again.
    """
    global _running, _given_up
    libc = None if _given_up else _libc()
    if libc is None:
        yield
        return
    with _lock:
        _running += 1
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, _ALWAYS)
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                libc.mallopt(_MMAP_MAX, _MOST_MAPPED)
                limit = max(_limits.values(), default=None)
                if limit is not None and libc.mallinfo2().arena > limit:
                    _given_up = True
                    _give_back(libc)


def held(owner: object, peak: int) -> None:
    """Keeps what runs have freed for as long as `owner` lives: three times its peak, at most.

    `peak` is in bytes. Behind the last owner all of it is given back.
    """
    weakref.finalize(owner, _release, _hold(peak)).atexit = False


@contextlib.contextmanager
def holding() -> Iterator[None]:
    """The same while this runs, without a bound."""
    number = _hold(1 << 62)
    try:
        yield
    finally:
        _release(number)


def _hold(peak: int) -> int:
    libc = _libc()
    with _lock:
        number = next(_numbers)
        heap = 0 if libc is None else libc.mallinfo2().arena
        _limits[number] = heap + 3 * peak + _SLACK
        return number


def _release(number: int) -> None:
    with _lock:
        del _limits[number]
        libc = _libc()
        if libc is not None and not _limits:
            _give_back(libc)


def _give_back(libc: Any) -> None:
    libc.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM)
    libc.malloc_trim(0)
