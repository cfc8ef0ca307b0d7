"""What is being done now: long work names its step, and whoever shows progress listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["listening", "step"]

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def step(text: str) -> None:
    """Says what is done from now on, to whoever listens."""
    listener = _listener.get()
    if listener is not None:
        listener(text)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Every `step` within is handed to `listener`; the innermost one hears it alone.

    >>> heard = []
    >>> with listening(heard.append):
    ...     step("reading")
    >>> step("nobody hears it"), heard
    (None, ['reading'])
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
