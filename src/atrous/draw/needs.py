"""One error for pictures that need a library which is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

from atrous.errors import MissingDependencyError

__all__ = ["Needs", "drawing_needs", "look_for"]

_INSTALL = {"report": "pip install 'atrous[report]'", "explore": "pip install 'atrous[explore]'"}

_LIBRARIES = {
    "a page": ("jinja2", "altair", "vl_convert", "PIL", "pygraphviz"),
    "drawing a network": ("pygraphviz",),
    "drawing a picture": ("altair", "vl_convert", "PIL"),
}
Needs = Literal["a page", "drawing a network", "drawing a picture"]


def look_for(what: Needs) -> None:
    """Raises `MissingDependencyError` where a library is missing, before anything is drawn.

    Nothing is imported.
    """
    with drawing_needs(what):
        for name in _LIBRARIES[what]:
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)


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
