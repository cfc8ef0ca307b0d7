"""Contestants of one case take turns, so that what the machine does meanwhile meets all of them.

A turn starts once no thread of this process computes any more: the pools of several frameworks spin
for a while after a call, and would take the cores of whoever comes next. Then one call that is not
counted, and calls until the turn's time is over. Every round starts with another contestant.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = [
    "FAR_SECONDS", "Contestant", "Times", "clock", "rotated", "settle", "summary", "take_turns",
    "turn", "turns_left",
]  # fmt: skip

T = TypeVar("T")
WARM_BELOW = 0.05  # seconds: longer calls are not repeated only to warm up
SHORT = 0.005  # seconds: shorter calls are repeated in a turn
FAR = 10  # times the fastest: further behind than that, the place is not in doubt
FAR_SECONDS = 1.0  # what such a contestant may take in all


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the case's work: `call` does it once, with everything prepared before."""

    name: str
    call: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds: the median over turns of each turn's median call, and the fastest call."""

    median: float
    least: float
    turns: int
    calls: int


def settle(limit: float = 0.5) -> None:
    """Waits until this process uses no processor time, at most `limit` seconds."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.002)
        if time.process_time() - before < 0.0005:
            return


def clock(call: Callable[[], object]) -> float:
    """Seconds of one call. What it returns is freed before the next."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def turn(contestant: Contestant, usual: float, seconds: float) -> list[float]:
    """The times of one turn's calls."""
    settle()
    if usual < WARM_BELOW:
        contestant.call()
    found: list[float] = []
    least = 3 if usual < SHORT else 1
    while len(found) < least or sum(found) < seconds:
        found.append(clock(contestant.call))
    return found


def take_turns(
    contestants: Sequence[Contestant], *, turns: int, seconds: float = 0.015
) -> dict[str, Times]:
    """The times of each contestant, by name; each has been called at least once before.

    The first call is to learn about how long one takes, and counts for those who get no turn: a
    contestant `FAR` times behind the fastest gets as many as `FAR_SECONDS` hold.
    """
    usual = {}
    for c in contestants:
        settle()
        usual[c.name] = clock(c.call)
    left = turns_left(usual, turns, seconds)
    found: dict[str, list[list[float]]] = {c.name: [] for c in contestants}
    gc.collect()
    gc.disable()
    try:
        for index in range(turns):
            for c in rotated(contestants, index):
                if index < left[c.name]:
                    found[c.name].append(turn(c, usual[c.name], seconds))
    finally:
        gc.enable()
    return {name: summary(times or [[usual[name]]]) for name, times in found.items()}


def turns_left(usual: dict[str, float], turns: int, seconds: float) -> dict[str, int]:
    """How many turns each gets: who is far behind the fastest has fewer.

    >>> turns_left({"fast": 0.01, "near": 0.05, "far": 0.4}, 7, 0.015)
    {'fast': 7, 'near': 7, 'far': 2}
    """
    fastest = min(usual.values(), default=0.0)
    return {
        name: min(turns, int(FAR_SECONDS / t)) if t > FAR * fastest and t > seconds else turns
        for name, t in usual.items()
    }


def rotated(items: Sequence[T], index: int) -> list[T]:
    """The round of that index, which starts with another one.

    >>> rotated("abc", 4)
    ['b', 'c', 'a']
    """
    first = index % max(len(items), 1)
    return [*items[first:], *items[:first]]


def summary(times: list[list[float]]) -> Times:
    """Turns of seconds as milliseconds."""
    return Times(
        median=1e3 * statistics.median(statistics.median(t) for t in times),
        least=1e3 * min(min(t) for t in times),
        turns=len(times),
        calls=sum(len(t) for t in times),
    )
