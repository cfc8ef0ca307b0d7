"""A model on tiles of two sizes, at both ends of an image: does it count on size or place?

What no layer shows, such as a division by the size or a ramp that is added, differs there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ArgumentError, UnsupportedError
from atrous.plan.tiles import Kept, Tile, TilePlan
from atrous.runners.tiled.pipeline import Engine, end_to_end, share_of

__all__ = ["Trial", "alike", "check_batch", "check_outputs", "trials"]

Read = Callable[[Tile], Sequence[Any]]
Slices = tuple[slice, ...]
_CLOSE = {2: 2e-2, 4: 1e-4, 8: 1e-9}
"""By bytes of a number: what rounding may change, beside the largest value."""
_TIES = 0.02
"""Of whole numbers, such as classes, the share that rounding may change."""


@dataclass(frozen=True)
class Trial:
    """A tile and one of another size at the same end of the image, and what both are given.

    `drawn` says that an input had one number alone, of which a model tells nothing: random ones
    stand for it then.
    """

    tile: Tile
    other: Tile
    given: list[Any]
    beside: list[Any]
    drawn: bool


def trials(plan: TilePlan, beside: TilePlan, read: Read) -> Iterator[Trial]:
    """The first and the last tile, and those of the same image in tiles of another size."""
    for last in (False, True):
        tile, other = (one.tile(len(one) - 1 if last else 0) for one in (plan, beside))
        here, there = [_array(one) for one in read(tile)], [_array(one) for one in read(other)]
        drawn = [_is_blank(a) or _is_blank(b) for a, b in zip(here, there, strict=True)]
        for index in (i for i, blank in enumerate(drawn) if blank):
            both = tile.read[index], other.read[index]
            here[index], there[index] = _drawn_for(here[index], *both)
        yield Trial(tile, other, here, there, any(drawn))


def _drawn_for(like: Any, one: Slices, other: Slices) -> tuple[Any, Any]:
    """Random numbers for two stretches of an input, the same where both have a position."""
    first = [min(a.start, b.start) for a, b in zip(one, other, strict=True)]
    last = [max(a.stop, b.stop) for a, b in zip(one, other, strict=True)]
    drawn = _noise(like, [b - a for a, b in zip(first, last, strict=True)])

    def part(of: Slices) -> Any:
        return drawn[tuple(slice(s.start - a, s.stop - a) for s, a in zip(of, first, strict=True))]

    return part(one), part(other)


def _array(value: Any) -> Any:
    return value if hasattr(value, "detach") else np.asarray(value)


def _is_blank(value: Any) -> bool:
    if np.prod(value.shape) < 2 or "float" not in str(value.dtype):
        return False
    return bool(value.min() == value.max())


def _noise(like: Any, shape: Sequence[int]) -> Any:
    made = np.random.default_rng(0).random(tuple(shape))
    if not hasattr(like, "detach"):
        return made.astype(like.dtype)
    import torch

    return torch.from_numpy(made).to(like.device, like.dtype)


def check_outputs(
    plan: TilePlan, trial: Trial, made: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]
) -> None:
    """Raises `UnsupportedError` where both tiles keep other numbers of the same positions."""
    pairs = zip(trial.tile.keep, trial.other.keep, strict=True)
    for (kept, beside), one, two in zip(pairs, made, other, strict=True):
        a, b = one[_shared(kept, beside)], two[_shared(beside, kept)]
        if not alike(a, b):
            raise UnsupportedError(
                f"{plan.network}: gives another result at {kept.name} for a tile of another size "
                "or in another place, so it takes a number from the size of its input or from "
                "positions in it, and no tile can be exact; pass that number as an input."
            )


def _shared(kept: Kept, other: Kept) -> tuple[slice, ...]:
    """Where a tile has the positions that both keep."""
    found = []
    for mine, its, local in zip(kept.target, other.target, kept.local, strict=True):
        start, stop = max(mine.start, its.start), min(mine.stop, its.stop)
        off = local.start - mine.start
        found.append(slice(start + off, max(stop, start) + off))
    return tuple(found)


def check_batch(plan: TilePlan, engine: Engine, read: Read) -> None:
    """Raises `ArgumentError` where tiles that are run together give something else than alone."""
    tiles = [plan.tile(0), plan.tile(len(plan) - 1)]
    given = [[_array(one) for one in read(tile)] for tile in tiles]
    given = [[_noise(one, one.shape) if _is_blank(one) else one for one in part] for part in given]
    alone = [
        [engine.host(one) for one in engine.run(list(part), [tile])]
        for tile, part in zip(tiles, given, strict=True)
    ]
    both = [engine.host(one) for one in engine.run(end_to_end(given), tiles)]
    for place, made in enumerate(alone):
        for one, together in zip(made, both, strict=True):
            share = share_of(together, place, len(tiles)) if together.ndim else together
            if share.shape != one.shape or not alike(one, share):
                raise ArgumentError(
                    f"{plan.network}: tiles that are run together give another result than alone, "
                    "so it joins what lies along its first dimension; give batch=1."
                )


def alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two results differ by rounding alone."""
    if one.dtype.kind not in "fc":
        return bool((one != other).mean() <= _TIES) if one.size else True
    limit = _CLOSE.get(one.dtype.itemsize, 1e-9)
    finite = np.isfinite(one) & np.isfinite(other)
    scale = float(np.abs(one[finite]).max(initial=0))
    return bool((np.isfinite(one) == np.isfinite(other)).all()) and bool(
        (np.abs(one[finite] - other[finite]) <= limit * scale).all()
    )
