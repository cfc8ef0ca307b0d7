"""Stretches of a program that take more samples at once than others.

A layer at a low rate has few rows for all of its weights: a vocoder's first layers make one row a
frame, the last ones hundreds. Where everything took the few frames whose largest map stays in the
caches, the large weights would come from memory for every row or two. So such a stretch runs for
many frames, and what is behind it for parts of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atrous.runners.stream.native.written import NativeStep, Written

__all__ = ["Stage", "stage_parts", "stages_of"]

_FLOATS = 1 << 15
"""So many floats of its largest value a stage makes at once: what is made stays in the caches."""
_HELD = 1 << 20
"""Floats that a value may have because others take more samples at once than it."""
_HEAVY = 1 << 16
"""Weights of a step, in floats, that are worth reading less often."""
_ROWS = 48
"""Rows of a product that hide the reading of its weights."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps that run together: how many input samples at once, and what they make."""

    most: int
    roots: frozenset[int]


def stages_of(written: Written, period: int) -> tuple[Stage, ...]:
    """The stages of a program in their order; one, where no layer gains by more samples."""
    runs = _interlocked(written)
    near = [max(int(_FLOATS / max(map(written.density, run))) // period, 1) for run in runs]
    least, bound = min(near), max(map(written.density, (root for run in runs for root in run)))
    most = max(int(_HELD / bound) // period, least)
    wanted = [_periods_wanted(written, run, period, least) for run in runs]
    if not any(wanted):
        return (Stage(least * period, frozenset(root for run in runs for root in run)),)
    levels = [
        _power(min(max(mine, cached), most)) if mine else _power(min(cached, most))
        for mine, cached in zip(wanted, near, strict=True)
    ]
    for i in range(len(levels)):
        # What gains nothing runs along with what is beside it.
        if not wanted[i]:
            beside = [
                level
                for level in (levels[i - 1] if i else 0, _next_wanted(levels, wanted, i))
                if 0 < level <= levels[i]
            ]
            levels[i] = max(beside, default=levels[i])
    found: list[Stage] = []
    for level, run in zip(levels, runs, strict=True):
        if found and found[-1].most == level * period:
            found[-1] = Stage(level * period, found[-1].roots | set(run))
        else:
            found.append(Stage(level * period, frozenset(run)))
    return tuple(found)


def stage_parts(stages: Sequence[Stage], begin: int, end: int) -> Iterator[tuple[Stage, int, int]]:
    """The stages from one sample to another: each in its parts, once what it reads is made."""
    most = max((stage.most for stage in stages), default=1)
    widest = [i for i, stage in enumerate(stages) if stage.most == most]
    if not widest:
        return
    while begin < end:
        stop, at = min(begin + most, end), 0
        for i in widest:
            yield from stage_parts(stages[at:i], begin, stop)
            yield stages[i], begin, stop
            at = i + 1
        yield from stage_parts(stages[at:], begin, stop)
        begin = stop


def _interlocked(written: Written) -> list[list[int]]:
    """Roots by the steps that make them, in order; those whose steps interlock are together."""
    last = {step.value: i for i, step in enumerate(written.steps) if step.op != "give"}
    runs: list[list[int]] = []
    until = -1
    for i, step in enumerate(written.steps):
        if step.op == "give":
            continue
        if i > until:
            runs.append([])
        if step.value not in runs[-1]:
            runs[-1].append(step.value)
        until = max(until, last[step.value])
    return runs


def _periods_wanted(written: Written, run: Sequence[int], period: int, least: int) -> int:
    """Periods that some steps should take at once for their weights, 0 for no matter."""
    found = 0
    for step in written.steps:
        if step.value in run and _weights(step) >= _HEAVY:
            rows = float(written.values[step.value].rate) / step.spread * period
            if rows * least < _ROWS:
                found = max(found, int(-(-_ROWS // rows)))
    return found


def _weights(step: NativeStep) -> int:
    """Floats of weights that many rows share; a recurrent layer reads what it carries by too."""
    if step.op != "product" and step.carry is None:
        return 0
    fields = step.fields
    depth = fields.get("taps", 1) * fields["channels"] + fields.get("units", 0)
    return int(depth * fields.get("filters", 0))


def _next_wanted(levels: Sequence[int], wanted: Sequence[int], i: int) -> int:
    return next((levels[j] for j in range(i + 1, len(levels)) if wanted[j]), 0)


def _power(count: int) -> int:
    """The largest power of two within."""
    return 1 << (max(count, 1).bit_length() - 1)
