"""Sizes near one that does not fit: what an error offers in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["near_words", "without_offers"]

_offering: ContextVar[bool] = ContextVar("offering", default=True)
_STEPS = (2, 4, 8, 16, 32, 64)

T = TypeVar("T")


def near_words(given: T, at: Callable[[int, bool], T | None], runs: Callable[[T], bool]) -> str:
    """The nearest sizes that run, below and above, as the end of a sentence; empty for none.

    `at` rounds what was given to multiples of a step, up or down.

    >>> from atrous.network.shapes import rounded
    >>> def at(step, up): return rounded((1, 3, 30, 44), step, up=up)
    >>> near_words((1, 3, 30, 44), at, lambda shape: all(n % 8 == 0 for n in shape[2:]))
    '; sizes near it that run: 1x3x24x40 and 1x3x32x48'
    """
    if not _offering.get():
        return ""
    token = _offering.set(False)
    try:
        found = _found(given, at, runs)
    finally:
        _offering.reset(token)
    if not found:
        return ""
    noun, verb = ("sizes", "run") if len(found) > 1 else ("a size", "runs")
    return f"; {noun} near it that {verb}: {' and '.join(found)}"


@contextmanager
def without_offers() -> Iterator[None]:
    """Errors within offer no other sizes: whoever tries many needs none for each."""
    token = _offering.set(False)
    try:
        yield
    finally:
        _offering.reset(token)


def _found(given: T, at: Callable[[int, bool], T | None], runs: Callable[[T], bool]) -> list[str]:
    found: list[str] = []
    for up in (False, True):
        tried = {_text(given)}
        for step in _STEPS:
            size = at(step, up)
            if size is not None and _text(size) not in tried:
                tried.add(_text(size))
                if runs(size):
                    found.append(_text(size))
                    break
    return found


def _text(size: object) -> str:
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)
