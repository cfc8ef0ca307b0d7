"""Times taken by turns, so that what else the machine does falls on all alike; and memory."""

from __future__ import annotations

import os
import platform
import tracemalloc
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

__all__ = ["measured_on", "milliseconds", "peak_bytes"]

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


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that a call holds at once, of what Python and NumPy ask for."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def measured_on() -> str:
    """The machine, as a title of a table says it."""
    cores = os.cpu_count() or 1
    return f"{platform.system()} on {platform.machine()}, {cores} core{'s' * (cores > 1)}"
