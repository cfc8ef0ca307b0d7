"""The effective receptive field from path counts: where the middle of the weight lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from atrous.errors import GeometryError
from atrous.shown import Plain, Shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Effective", "check_share", "effective_box", "shrunk_box", "shrunk_line"]


@dataclass(frozen=True, slots=True)
class Effective(Plain, Shown):
    """A box that holds `share` of a density over the input (or a little more: `held`).

    `origin` is its low corner and `size` its extent along each axis; `of` is the extent of the
    whole field that it lies in.
    """

    share: float
    held: float
    origin: tuple[int, ...]
    size: tuple[int, ...]
    of: tuple[int, ...]

    def __str__(self) -> str:
        size, whole = ("x".join(map(str, s)) for s in (self.size, self.of))
        if size == whole:
            return f"{self.share:.0%} needs all of its {whole}"
        return f"{self.held:.1%} within {size} of {whole}"


def effective_box(density: NDArray[Any], share: float, origin: tuple[int, ...]) -> Effective:
    """The box left after taking away its lightest faces while `share` stays inside."""
    import numpy as np

    rank = density.ndim
    if not density.size or not density.any():
        check_share(share)
        return Effective(share, 1.0, origin, (0,) * rank, (0,) * rank)
    # Whole numbers beyond float64 come as objects: scaled first, they all fit.
    weights = (density / density.max()).astype(np.float64)
    if weights.size == max(weights.shape):
        sums = [0.0, *np.cumsum(weights).tolist()]
        return shrunk_line(density.shape, sums, share, tuple(origin))
    table = np.zeros([n + 1 for n in weights.shape])
    table[(slice(1, None),) * rank] = weights
    for axis in range(rank):
        np.cumsum(table, axis=axis, out=table)
    return shrunk_box(
        density.shape, lambda bounds: _weight_inside(table, bounds), share, tuple(origin)
    )


def shrunk_box(
    shape: Sequence[int],
    inside: Callable[[Sequence[tuple[int, int]]], float],
    share: float,
    origin: tuple[int, ...],
) -> Effective:
    """The same of a density that is known by its weight `inside` the bounds of a box.

    Faces that weigh the same go together, so that a symmetric density has a symmetric box.
    """
    check_share(share)
    bounds = [(0, n) for n in shape]
    total = held = inside(bounds)
    # Sums are differences of larger ones: what rounding loses must decide nothing.
    least, slack = total * share - 1e-12 * total, 1e-12 * total
    while True:
        faces = []
        for axis, (low, high) in enumerate(bounds):
            for cut in ((low, low + 1), (high - 1, high)):
                face = [*bounds[:axis], cut, *bounds[axis + 1 :]]
                faces.append((inside(face), axis, cut))
        lightest = min((weight for weight, axis, _ in faces if _width(bounds[axis]) > 1), default=0)
        after = list(bounds)
        for weight, axis, cut in faces:
            low, high = after[axis]
            if weight <= lightest + slack and high - low > 1:
                after[axis] = (low + 1, high) if cut[0] == bounds[axis][0] else (low, high - 1)
        rest = inside(after)
        if after == bounds or rest < least:
            break
        bounds, held = after, rest
    return Effective(
        share,
        min(held / total, 1.0),
        tuple(o + low for o, (low, _) in zip(origin, bounds, strict=True)),
        tuple(map(_width, bounds)),
        tuple(shape),
    )


def shrunk_line(
    shape: Sequence[int], sums: Sequence[float], share: float, origin: tuple[int, ...]
) -> Effective:
    """The same of a density along one axis alone, by its `sums` up to each position.

    >>> shrunk_line((1, 4), [0.0, 1.0, 11.0, 21.0, 22.0], 0.9, (5, 5))
    Effective(share=0.9, held=0.9090909090909091, origin=(5, 6), size=(1, 2), of=(1, 4))
    """
    check_share(share)
    low, high = 0, len(sums) - 1
    total = held = sums[high]
    least, slack = total * share - 1e-12 * total, 1e-12 * total
    while high - low > 1:
        first, last = sums[low + 1] - sums[low], sums[high] - sums[high - 1]
        lightest = min(first, last) + slack
        after, until = low + (first <= lightest), high
        if last <= lightest and until - after > 1:
            until -= 1
        rest = sums[until] - sums[after]
        if rest < least:
            break
        low, high, held = after, until, rest
    moved = [low if n > 1 else 0 for n in shape]
    return Effective(
        share,
        min(held / total, 1.0),
        tuple(o + m for o, m in zip(origin, moved, strict=True)),
        tuple(high - low if n > 1 else 1 for n in shape),
        tuple(shape),
    )


def check_share(share: float) -> None:
    """Raise `GeometryError` for what is no share above 0."""
    if not 0 < share <= 1:
        raise GeometryError(f"share={share} is not above 0 and at most 1; ask for 0.95, say.")


def _width(bound: tuple[int, int]) -> int:
    return bound[1] - bound[0]


def _weight_inside(table: NDArray[np.float64], bounds: Sequence[tuple[int, int]]) -> float:
    """The weight inside a box, from the table of sums up to each corner."""
    total = 0.0
    for corner in product((0, 1), repeat=len(bounds)):
        value = table[tuple(bound[end] for bound, end in zip(bounds, corner, strict=True))]
        total += float(value) * (-1.0) ** (len(bounds) - sum(corner))
    return total
