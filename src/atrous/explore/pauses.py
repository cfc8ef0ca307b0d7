"""Pauses that an edit would wait for, and how they are kept short."""

from __future__ import annotations

import gc

__all__ = ["quiet_collector"]

_YOUNG, _MIDDLE, _OLD = 5_000, 10, 1_000
"""Whole collections walk all that is remembered of earlier edits: at 200 layers 60 ms and more."""


def quiet_collector() -> None:
    """Has the collector of cycles leave alone what is there now, and look at the old seldom.

    What an answer leaves behind is young, and is still collected.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
