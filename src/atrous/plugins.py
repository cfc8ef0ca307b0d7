"""What other installed packages add, by entry points: loaded once, when it is first asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from threading import RLock
from typing import Any, Literal

__all__ = ["PluginWarning", "extensions", "guarded"]

Group = Literal[
    "atrous.findings",
    "atrous.jax_ops",
    "atrous.keras_ops",
    "atrous.onnx_ops",
    "atrous.readers",
    "atrous.torch_ops",
]

_LOADED: dict[str, tuple[tuple[str, Any], ...]] = {}
_LOCK = RLock()


class PluginWarning(UserWarning):
    """An installed package extends atrous and fails; the rest goes on without it."""


def extensions(group: Group) -> tuple[tuple[str, Any], ...]:
    """What installed packages have under a group, each with the package that it comes from.

    A package whose code fails while it is imported is left out, with one `PluginWarning`.

    >>> extensions("atrous.readers")
    ()
    """
    with _LOCK:
        if group not in _LOADED:
            # An extension that reads a network while it is imported finds none.
            _LOADED[group] = ()
            _LOADED[group] = tuple(_load(group))
        return _LOADED[group]


def _load(group: Group) -> Iterator[tuple[str, Any]]:
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        owner = point.dist.name if point.dist else point.value
        with guarded(owner, f"{point.value} of group {group}"):
            yield owner, point.load()


@contextmanager
def guarded(owner: str, what: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Code of another package: where it fails, a `PluginWarning` names it, and all else goes on.

    Errors of the classes in `but` are the answer, and pass.
    """
    try:
        yield
    except but:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"the package {owner} extends atrous and fails in {what}: {type(error).__name__}: "
            f"{reason}; it is left out. Update or uninstall {owner}.",
            PluginWarning,
            stacklevel=2,
        )
