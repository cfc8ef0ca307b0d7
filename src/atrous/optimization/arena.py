"""Memory that stays mapped between runs, so that activations do not fault their pages in anew.

glibc maps every block above a bound (32 MiB at most) by itself and unmaps it when it is freed, and
gives the top of its heap back as well. The next run then touches fresh pages, each of which the
kernel clears: 12 ms for a map of 33 MB that is written in 1 ms where its pages are there. While a
prepared program runs, blocks of any size come from the heap, and what it frees there is kept for
the next run, as an inference engine's arena does: at most three times the activations that the
largest program holds at once. When the last prepared program is gone, all of it is given back. What
trains keeps memory between its calls as well, since most of a step is outside of them.

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
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

__all__ = ["held", "holding", "kept", "stepping"]

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
_EACH = 8
"""Steps that are looked at in the beginning, and from then on one of so many."""
_numbers = count()
_given_up = False


@dataclass(slots=True)
class _Steps:
    """How often what trains ran forward, and the bytes that the heap may have."""

    limit: int
    count: int = 0


_steps: weakref.WeakKeyDictionary[object, _Steps] = weakref.WeakKeyDictionary()


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
    libc = None if _given_up else _libc()
    if libc is None:
        yield
        return
    with _lock:
        _keep(libc)
    try:
        yield
    finally:
        with _lock:
            _keep_no_more(libc)
            if not _running:
                limit = max(_limits.values(), default=None)
                if limit is not None and libc.mallinfo2().arena > limit:
                    _give_up(libc)


def _keep(libc: Any) -> None:
    global _running
    _running += 1
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _ALWAYS)


def _keep_no_more(libc: Any) -> None:
    global _running
    _running -= 1
    if not _running:
        libc.mallopt(_MMAP_MAX, _MOST_MAPPED)


def _give_up(libc: Any) -> None:
    global _given_up
    _given_up = True
    libc.mallopt(_MMAP_MAX, _MOST_MAPPED)
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


@contextlib.contextmanager
def stepping(owner: object, parameters: int) -> Iterator[None]:
    """While `owner` runs forward in training; what its steps free stays at hand until it is gone.

    Gradients are computed, and the parameters moved, outside of any call of ours, so that memory is
    kept between them as well: three times what is in use where the forward ends, and four times the
    `parameters`, in bytes (gradients, what the optimizer holds). Where the heap has grown beyond
    that, all that is free is given back, and nothing kept again. It is looked at now and then.
    """
    libc = None if _given_up else _libc()
    if libc is None:
        yield
        return
    with _lock:
        steps = _steps.get(owner)
        if steps is None:
            _keep(libc)
            steps = _steps[owner] = _Steps(3 * libc.mallinfo2().uordblks)
            weakref.finalize(owner, _stop).atexit = False
        steps.count += 1
        looked = steps.count <= _EACH or steps.count % _EACH == 0
        if looked and steps.count > 1 and libc.mallinfo2().arena > steps.limit:
            _give_up(libc)
    yield
    if looked and not _given_up:
        in_use = libc.mallinfo2().uordblks
        steps.limit = max(steps.limit, 3 * in_use + 4 * parameters + _SLACK)


def _stop() -> None:
    """The end of what trained."""
    with _lock:
        if (libc := _libc()) is not None:
            _keep_no_more(libc)
            if not _limits and not _running:
                _give_back(libc)


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
