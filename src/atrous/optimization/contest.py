"""Times of whole models that take turns, on a machine that may be busy with something else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from atrous.optimization.layer.timing import Clock

__all__ = ["Turns", "WholeTimer", "by_processor", "contest", "crowded", "disturbance"]

_DISTURBED = 1.5
"""A turn that takes this many times the best of its contestant met somebody else's work."""
_CLOSE = 1.05
"""Whose median is at most this many times the best one's is not behind yet."""
_FAR = 2.0
"""Whose best is this many times the best of all is behind for good."""
_LEAST, _ENOUGH, _MOST = 3, 7, 21
"""Turns of everybody, whatever they take; of everybody; of those that are close."""
_ALIKE = 1.2
"""Times that differ by less are those of another day."""
_TURN = 0.005
"""Seconds of a turn: shorter runs are repeated in it."""
_LONG = 0.5
"""Seconds of a run behind which no second one is asked for.

Where pools of threads have gone to sleep behind somebody else's run, the first one takes up to
26 ms more in ONNX Runtime and OpenVINO, which who calls a model again and again does not see.
"""
_RESTLESS = 0.2
"""Disturbed turns, as a share, or a spread, as a share of the median, that is worth saying."""

_CROWDED = 1.5
"""Programs that want to run, for each core: fewer may be our own of a moment ago."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Milliseconds of one contestant: the median of its turns, and the quartiles.

    Turns that were disturbed are left out; `disturbed` of all `turns` were.
    """

    ms: float
    low: float
    high: float
    turns: int = 1
    disturbed: int = 0


WholeTimer = Callable[[Mapping[str, Callable[[], object]]], Mapping[str, Turns]]
"""What each of these runs takes, by name; the first is what the others are compared with."""


def _settle(limit: float = 0.05) -> None:
    """Waits until no thread of this process computes: pools spin for a while after a run."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.002)
        if time.process_time() - before < 0.0005:
            return


def contest(
    runs: Mapping[str, Callable[[], object]],
    *,
    clock: Clock = time.perf_counter,
    measure: Clock | None = None,
    settle: Callable[[], None] = _settle,
    seconds: float = 1.5,
    known: Mapping[str, float] | None = None,
    ran: Mapping[str, float] | None = None,
) -> dict[str, Turns]:
    """The milliseconds of each of `runs`, which take turns in an order that changes.

    A turn starts when the pools of threads are quiet, with a run that is not counted but where it
    is long. Everybody has three turns (two where a run is long, and another clearly shorter), and
    up to seven while these fit into `seconds` for each contestant; who takes twice as long as the
    best has three, the first one aside, which the others are compared with. Then those that are
    within 5% of the best are repeated, up to 21 turns, until one is ahead or as much time again is
    over. Turns of more than 1.5 times a contestant's best are dropped. Where `known` has
    milliseconds of all of them, and a first turn of each, not all of them short, finds about as
    many times that of all and the same one ahead, that is all. `ran` has the milliseconds of long
    runs of a moment ago, which are first turns where they took what is known. `measure` is what
    runs are timed by where that is another clock than that of the wall.
    """
    measure = clock if measure is None else measure
    names = list(runs)
    turns = _begun(names, known or {}, ran or {})
    started, allowed = clock() - sum(map(sum, turns.values())) / 1e3, seconds * len(names)
    for at in range(int(all(turns.values())), _MOST):
        playing, spent = names, clock() - started
        if at == 0:
            playing = [n for n in names if not turns[n]]
        elif at == 1 and known and spent > _LONG and _are_as_known(turns, known):
            break
        if at >= _ENOUGH or (at >= _LEAST and spent > allowed):
            playing = _close(turns)
            if len(playing) < 2 or spent > 2 * allowed:
                break
        elif at > 1:
            best = min(min(taken) for taken in turns.values())
            if at < _LEAST:
                playing = [n for n in names if min(turns[n]) <= max(_ALIKE * best, 1e3 * _LONG)]
            else:
                playing = [n for n in names if n == names[0] or min(turns[n]) <= _FAR * best]
        first = at % len(playing)
        for name in (*playing[first:], *playing[:first]):
            turns[name].append(_turn(runs[name], measure, settle))
    return {name: _summed_up(taken) for name, taken in turns.items()}


def _turn(run: Callable[[], object], clock: Clock, settle: Callable[[], None]) -> float:
    settle()
    taken: list[float] = []
    warm = False
    while not taken or sum(taken) < _TURN:
        begin = clock()
        run()
        once = clock() - begin
        if not warm and once < _LONG:
            warm = True
            continue
        taken.append(once)
    return 1e3 * median(taken)


def _begun(
    names: Sequence[str], known: Mapping[str, float], ran: Mapping[str, float]
) -> dict[str, list[float]]:
    """The turns of each before the first: a long run of a moment ago that took what is known."""
    turns: dict[str, list[float]] = {name: [] for name in names}
    for name in turns.keys() & known.keys() & ran.keys():
        if ran[name] >= 1e3 * _LONG and _is_about(ran[name], known[name]):
            turns[name].append(ran[name])
    return turns


def _are_as_known(turns: Mapping[str, Sequence[float]], known: Mapping[str, float]) -> bool:
    """Whether all took as many times what is known, an hour may be slow, and the same is ahead."""
    if not turns.keys() <= known.keys():
        return False
    least = {name: min(taken) for name, taken in turns.items()}
    ahead = min(least, key=lambda name: least[name])
    times = [ms / known[name] for name, ms in least.items()]
    return ahead == min(least, key=lambda name: known[name]) and max(times) <= _ALIKE * min(times)


def _is_about(ms: float, other: float) -> bool:
    return other / _ALIKE <= ms <= _ALIKE * other


def _close(turns: Mapping[str, Sequence[float]]) -> list[str]:
    medians = {name: _summed_up(taken).ms for name, taken in turns.items()}
    best = min(medians.values())
    return [name for name, ms in medians.items() if ms <= _CLOSE * best]


def _summed_up(taken: Sequence[float]) -> Turns:
    best = min(taken)
    kept = [ms for ms in taken if ms <= _DISTURBED * best]
    quarters = quantiles(kept, n=4, method="inclusive") if len(kept) > 1 else kept * 3
    return Turns(quarters[1], quarters[0], quarters[2], len(taken), len(taken) - len(kept))


def by_processor(threads: int) -> Clock:
    """Seconds of processor time by thread: what others run does not add to them.

    On a quiet machine that is the time of the wall, but for what waits.
    """
    return lambda: time.process_time() / threads


def crowded() -> str:
    """What else the machine has to do, where that is clearly more than its cores; else nothing."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # a system that counts no load
        return ""
    cores = _cores()
    return f"a load of {load:.1f} on {cores} cores" if load > _CROWDED * cores else ""


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def disturbance(before: Turns, crowd: str) -> str:
    """That the machine is busy, and how that was seen; nothing where it is quiet."""
    signs = [crowd] if crowd else []
    if before.disturbed > _RESTLESS * before.turns:
        signs.append(f"{before.disturbed} of {before.turns} turns of the original were disturbed")
    if before.high - before.low > _RESTLESS * before.ms:
        signs.append(f"the original took {before.low:.3g} to {before.high:.3g} ms")
    if not signs:
        return ""
    taken = "processor time by thread, and uncertain" if crowd else "uncertain"
    return f"the machine is busy ({', '.join(signs)}): times are {taken}; ask when it is quiet."
