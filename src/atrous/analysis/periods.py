"""From what some lengths give to what every length gives: trials until they repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import lcm
from typing import Any

from atrous.analysis.sizes import FARTHEST, AxisSizes
from atrous.analysis.trials import Trial

__all__ = ["axis_sizes"]

_ENOUGH = 320
"""Lengths up to this, or twice the known one, are tried before none is said to repeat."""
_WIDEST = 512
"""Periods up to this are looked for where code pads or cuts to a multiple of its own."""
_MANY = 48
"""Lengths a period further on that are tried, at most about so many."""
_SHORT = 320
"""A least length up to this, two periods added, is reached from 1 on."""

Attempt = Callable[[int], tuple[Trial, Any]]
"""The trial of a length, and what is compared of the layers there."""


def axis_sizes(
    axes: Sequence[str],
    attempt: Attempt,
    *,
    known: int,
    period: int,
    enough: int = 0,
    farthest: int = 0,
) -> AxisSizes:
    """The sizes along `axes`, by trying lengths one by one until what they give repeats.

    `known` is a length that runs, and `period` one of the layers there. A whole period of lengths
    is tried from the least one on that runs, and then lengths one period further on: all of them,
    or some where there are many. `enough` is how many are tried at least. A few lengths up to
    `farthest`, each twice the last, tell whether what repeats has an end.
    """
    tried: dict[int, tuple[Trial, Any]] = {}

    def at(length: int) -> Trial:
        if length not in tried:
            tried[length] = attempt(length)
        return tried[length][0]

    def layers(length: int) -> Any:
        at(length)
        return tried[length][1]

    least = _least(at, known, period)
    first = 1 if least <= 2 * period + _SHORT else least - period + 1
    end = max(least + period, first + enough - 1)
    places: list[int] = []
    repeats = proved = widened = False
    while True:
        for length in range(first, end + 1):
            at(length)
        places = [*range(end - period + 1, end + 1, max(period // _MANY, 1))]
        pairs = [(at(n), at(n + period)) for n in places]
        repeats = all(_alike(one, later) for one, later in pairs) and _rises_alike(pairs)
        proved = all(tried[n][1] == tried[n + period][1] for n in places)
        if (repeats and proved) or end > max(2 * known, _ENOUGH):
            break
        all_run = all(one.runs and later.runs for one, later in pairs)
        if (repeats or all_run) and not (proved or widened):
            # What is padded or cut by the code may come again later than the layers do.
            widened = True
            one = next((n for n in reversed(places) if at(n).runs), end)
            wider = next((p for p in _wider(period) if layers(one) == layers(one + p)), None)
            if wider:
                period, end, widened = wider, max(end, least + wider), False
                continue
        if repeats:
            end = _beyond(known)
            continue
        if any(one.runs for one, _ in pairs):
            end += period
            continue
        # The code may ask for more than its layers do, such as multiples of 32.
        further = next((n for n in _further(known, period) if at(n).runs), None)
        if further is None or period % (further - known) == 0:
            end = _beyond(known)
        else:
            period = lcm(period, further - known)
            end = max(end, least + period)
    trials = tuple(at(n) for n in range(first, end + 1))

    def read(length: int) -> Trial:
        return attempt(length)[0]

    if not repeats:
        return AxisSizes(tuple(axes), first, trials, end, 0, (), False, None, read)
    rise = next(_rise(at(n), at(n + period)) for n in places if at(n).runs)
    settled = end - period + 1
    while settled > first and _follows(at(settled - 1), at(settled - 1 + period), rise):
        settled -= 1
    # The layers' period may be more than one for what is asked.
    for short in range(1, period):
        if period % short == 0 and (rest := _shorter(rise, short, period)) is not None:
            window = range(settled, settled + period - short)
            if all(_follows(at(n), at(n + short), rest) for n in window):
                period, rise = short, rest
                break
    while settled > first and _follows(at(settled - 1), at(settled - 1 + period), rise):
        settled -= 1
    found = AxisSizes(tuple(axes), first, trials, settled, period, rise, proved, None, read)
    return replace(found, most=_most(found, at, farthest))


def _most(found: AxisSizes, at: Callable[[int], Trial], farthest: int) -> int | None:
    """The largest length that gives what repeats; None where all that are tried do."""

    def differs(length: int) -> bool:
        one, like = at(length), found.at(length)
        return not _alike(one, like) or one.outputs != like.outputs

    farthest = min(farthest, FARTHEST // 2)
    if 2 * found.last > farthest or not any(trial.runs for trial in found.repeating):
        return None
    good, bad = found.last, next(found.lengths("runs", 2 * found.last))
    while not differs(bad):
        if 2 * bad > farthest:
            return None
        good, bad = bad, next(found.lengths("runs", 2 * bad))
    while True:
        length = next(found.lengths("runs", (good + bad + 1) // 2))
        if length >= bad:
            length = next(found.lengths("runs", good + 1))
        if length >= bad:
            return bad - 1
        good, bad = (good, length) if differs(length) else (length, bad)


def _least(at: Callable[[int], Trial], known: int, period: int) -> int:
    """The least length that runs among those that differ from `known` by whole periods."""
    low, high = -1, (known - 1) // period
    while high - low > 1:
        middle = (low + high) // 2
        if at(known - (known - 1) // period * period + middle * period).runs:
            high = middle
        else:
            low = middle
    return known - ((known - 1) // period - high) * period


def _further(known: int, period: int) -> Iterator[int]:
    """Larger lengths that may run where those near do not: the next few, then rounder ones."""
    apart = dict.fromkeys(
        [*(period * k for k in range(1, 9)), *(8 * k for k in range(1, 33)), known]
    )
    return (known + d for d in sorted(apart))


def _wider(period: int) -> Iterator[int]:
    """Larger periods that code may have: the next multiples, then those of a rounder number."""
    for wider in range(2 * period, _WIDEST + 1, period):
        if wider <= 8 * period or wider % 8 == 0:
            yield wider


def _beyond(known: int) -> int:
    """A length that is past all which are tried."""
    return max(2 * known, _ENOUGH) + 1


def _alike(one: Trial, later: Trial) -> bool:
    held = (one.runs, one.dropped, one.shifted, one.same)
    return held == (later.runs, later.dropped, later.shifted, later.same)


def _rise(one: Trial, later: Trial) -> tuple[int, ...]:
    return tuple(b - a for a, b in zip(one.outputs, later.outputs, strict=True))


def _rises_alike(pairs: Sequence[tuple[Trial, Trial]]) -> bool:
    return len({_rise(one, later) for one, later in pairs if one.runs}) == 1


def _follows(one: Trial, later: Trial, rise: tuple[int, ...]) -> bool:
    return _alike(one, later) and (not one.runs or _rise(one, later) == rise)


def _shorter(rise: tuple[int, ...], short: int, period: int) -> tuple[int, ...] | None:
    """The rise of outputs over a shorter period; None where it is no whole number."""
    if any(r * short % period for r in rise):
        return None
    return tuple(r * short // period for r in rise)
