"""Times of alternatives that are taken in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

__all__ = ["PAUSE", "Clock", "Timer", "times", "twice_if_close"]

Clock = Callable[[], float]
"""Seconds from some start; `time.perf_counter`, or a made one in tests."""

Timer = Callable[[Mapping[str, Callable[[], object]]], dict[str, float]]
"""Milliseconds by name of each of these, run alternating."""

_CLOSE = 1.15
"""Alternatives whose times are as close are timed again."""
PAUSE = 0.01
"""Seconds for which a system may hold up a run, however short it is, to run something else."""
_FAR, _BEHIND = 2.0, 1.3
"""Who took so many times the best after a turn, and in each of several."""
_SEVERAL = 3
"""Turns of which a pause of the system does not spoil all."""
_FEW, _SOME, _MOST = 2, 5, 25
"""Turns of long runs at least, of short ones, and of any."""


def times(
    runs: Mapping[str, Callable[[], object]],
    *,
    clock: Clock = time.perf_counter,
    measure: Clock | None = None,
    seconds: float = 0.06,
    of: Callable[[Sequence[float]], float] = median,
) -> dict[str, float]:
    """The milliseconds of each of `runs`, which take turns: the median, or what `of` makes of them.

    As many turns as fit into `seconds`, but two, and five where the best run is shorter than 10 ms,
    for which another program may hold it up. Who took twice as long as the best and that pause, or
    1.3 times as long in three turns, has no more. `measure` is what runs are timed by where that is
    another clock than that of the wall.

    >>> ticks = iter(range(100))
    >>> times({"one": lambda: None}, clock=lambda: next(ticks))
    {'one': 1000.0}
    """
    measure = clock if measure is None else measure
    taken: dict[str, list[float]] = {name: [] for name in runs}
    started = clock()
    for turn in range(_MOST):
        best = min((min(values) for values in taken.values() if values), default=0.0)
        least = _SOME if best < PAUSE else _FEW
        if turn >= least and clock() - started > seconds:
            break
        limit = _BEHIND * best if turn >= _SEVERAL else _FAR * best + PAUSE
        playing = [name for name in runs if turn == 0 or min(taken[name]) <= limit]
        first = turn % len(playing)
        for name in (*playing[first:], *playing[:first]):
            begin = measure()
            runs[name]()
            taken[name].append(measure() - begin)
    return {name: 1e3 * of(values) for name, values in taken.items()}


def twice_if_close(timer: Timer, runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The milliseconds of alternatives; where they are close, the least of two measurements.

    >>> times = iter([{"one": 1.0, "two": 1.1}, {"one": 1.2, "two": 0.9}])
    >>> twice_if_close(lambda runs: next(times), {})
    {'one': 1.0, 'two': 0.9}
    """
    taken = timer(runs)
    if max(taken.values()) <= _CLOSE * min(taken.values()):
        again = timer(runs)
        taken = {name: min(ms, again[name]) for name, ms in taken.items()}
    return taken
