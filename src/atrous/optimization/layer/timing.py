"""Times of alternatives that are taken in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

__all__ = ["Clock", "Timer", "times"]

Clock = Callable[[], float]
"""Seconds from some start; `time.perf_counter`, or a made one in tests."""

Timer = Callable[[Mapping[str, Callable[[], object]]], dict[str, float]]
"""Milliseconds by name of each of these, run alternating."""


def times(
    runs: Mapping[str, Callable[[], object]],
    *,
    clock: Clock = time.perf_counter,
    seconds: float = 0.25,
    least: int = 3,
    most: int = 25,
    cutoff: float = math.inf,
    of: Callable[[Sequence[float]], float] = median,
) -> dict[str, float]:
    """The milliseconds of each of `runs`, which take turns: the median, or what `of` makes of them.

    As many rounds as fit into `seconds`, between `least` and `most`. What took more than
    `cutoff` times as long as the best is not run again: twice as much after a single round, which
    something else may have disturbed.

    >>> ticks = iter(range(100))
    >>> times({"one": lambda: None}, clock=lambda: next(ticks), least=3)
    {'one': 1000.0}
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    started = clock()
    for turn in range(most):
        if turn >= least and clock() - started > seconds:
            break
        best = min((min(values) for values in taken.values() if values), default=0.0)
        for name, run in runs.items():
            if turn >= 1 and min(taken[name]) > (cutoff if turn > 1 else 2 * cutoff) * best:
                continue
            begin = clock()
            run()
            taken[name].append(clock() - begin)
    return {name: 1e3 * of(values) for name, values in taken.items()}
