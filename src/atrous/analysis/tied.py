"""Whether axes are independent: whether lengths along each say what a shape gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from atrous.analysis.sizes import AxisSizes, Joint
from atrous.analysis.trials import Trial

__all__ = ["tied"]

_AFTER = 3
"""How many larger lengths that run are tried beside one that does not."""
_SHARES = (2, 3, 5, 7)
"""By how much one length is made larger and the other smaller, for grids of so many cells."""


def tied(
    axes: Sequence[str], along: Sequence[AxisSizes], base: tuple[int, ...], joint: Joint
) -> str:
    """The shape that shows that axes are not independent, in a sentence; empty where none does.

    `base` is a shape that runs, along whose lines, or whose diagonal where axes are alike, `along`
    was tried. Shapes off these are read: one length larger, one larger and the other smaller at as
    many positions in all, and lengths that run beside some that do not.

    >>> from atrous.analysis.periods import axis_sizes
    >>> along = axis_sizes("hw", lambda n: (Trial(n, "", (n,)), ()), known=8, period=1)
    >>> tied("hw", (along, along), (8, 8), lambda shape: tuple(Trial(n, "", (n,)) for n in shape))
    ''
    >>> tied("hw", (along, along), (8, 8), lambda shape: (Trial(shape[0], "no square"),) * 2)
    'h and w are not independent: 9x8 does not run, though 9x9 and 8x8 do'
    """
    for one, other in combinations(range(len(axes)), 2):
        alike = along[one] is along[other]
        for lengths in _off_lines(along[one], along[other], base[one], base[other], alike):
            shape = tuple(
                lengths[0] if i == one else lengths[1] if i == other else n
                for i, n in enumerate(base)
            )
            if not all(axis.follows(n) for axis, n in zip(along, shape, strict=True)):
                continue
            told = tuple(axis.at(n) for axis, n in zip(along, shape, strict=True))
            said = _otherwise(told, joint(shape))
            if said:
                lines = [
                    tuple(n if alike or i == place else m for i, m in enumerate(base))
                    for place, n in zip((one, other), lengths, strict=True)
                ]
                pair = " and ".join(_shape_text(line) for line in lines)
                said = f"{_shape_text(shape)} {said.format(pair)}"
                return f"{axes[one]} and {axes[other]} are not independent: {said}"
    return ""


def _off_lines(
    one: AxisSizes, other: AxisSizes, at: int, beside: int, alike: bool
) -> Iterator[tuple[int, int]]:
    """Lengths along two axes that tell most, off the lines that were tried."""
    larger = _after(one, at + 1, 1), _after(other, beside + 1, 1)
    if alike:
        yield from ((n, beside) for n in larger[0])
        yield from ((at, n) for n in larger[1])
    else:
        yield from ((n, m) for n in larger[0] for m in larger[1])
        yield from zip(_not_running(one, at), _not_running(other, beside), strict=False)
        yield 2 * at, 2 * beside
    for times in _SHARES:
        yield times * at, max(beside // times, 1)
        yield max(at // times, 1), times * beside
    for bad in _not_running(one, at):
        yield from ((bad, m) for m in (beside, *_after(other, beside + 1, _AFTER)))
    if alike:
        yield from ((at, bad) for bad in _not_running(other, beside))


def _after(one: AxisSizes, start: int, most: int) -> list[int]:
    """The next lengths that run."""
    return [n for n, _ in zip(one.lengths("runs", start), range(most), strict=False)]


def _not_running(one: AxisSizes, at: int) -> list[int]:
    """The nearest length that does not run."""
    held = [trial.length for trial in one.trials if not trial.runs]
    return sorted(held, key=lambda n: abs(n - at))[:1]


def _both_run(trials: Sequence[Trial]) -> bool:
    return all(trial.runs for trial in trials)


def _otherwise(told: Sequence[Trial], read: Sequence[Trial]) -> str:
    """What a shape does that lengths along each axis do not tell; empty where it is the same."""
    if _both_run(told) != _both_run(read):
        return "runs, though {} do not both" if _both_run(read) else "does not run, though {} do"
    if not _both_run(read):
        return ""
    for one, here in zip(told, read, strict=True):
        if one.outputs != here.outputs:
            return "makes outputs of other sizes than {} tell"
        if one.lossless != here.lossless:
            return "differs in what it drops from what {} tell"
        if one.aligned != here.aligned:
            return "differs in which joins line up from what {} tell"
    return ""


def _shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
