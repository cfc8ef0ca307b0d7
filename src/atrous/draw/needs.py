"""One error for pictures that need a library which is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from atrous.errors import MissingDependencyError

__all__ = ["drawing_needs"]

_INSTALL = {"report": "pip install 'atrous[report]'", "explore": "pip install 'atrous[explore]'"}


@contextmanager
def drawing_needs(what: str, extra: str = "report") -> Iterator[None]:
    """Turns a missing library into `MissingDependencyError`, which says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "atrous":
            raise
        raise MissingDependencyError(
            f"{what} needs {error.name}, which is not installed; run `{_INSTALL[extra]}`."
        ) from error
