"""Times taken by turns, so that what else the machine does falls on all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

__all__ = ["milliseconds"]

_ROUNDS = 15


def milliseconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The median time of each call, in ms, all taken by turns behind one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_ROUNDS + 1):
        for name, call in calls.items():
            begun = perf_counter()
            call()
            if turn:
                times[name].append(1000 * (perf_counter() - begun))
    return {name: median(taken) for name, taken in times.items()}
