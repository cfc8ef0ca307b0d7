"""What the C library keeps of memory that was freed, and giving it back."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

__all__ = ["give_back"]


@cache
def _trim() -> Any:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # no library of that kind here
        return None


def give_back() -> None:
    """Returns what is free to the system, where glibc is the C library.

    It keeps the maps of a tile that are below 32 MiB as gaps, into which the next tile's fit again,
    and those of a tile of another size do not: they would be taken beside the gaps.
    """
    trim = _trim()
    if trim is not None:
        trim(0)
