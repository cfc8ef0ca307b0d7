"""Masks of attention in which each position sees the same ones around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

__all__ = ["Band", "band_of"]

_HIDDEN = -1e4
"""What is added to scores that are hidden: less than this leaves nothing of them in a softmax."""


@dataclass(frozen=True, slots=True)
class Band:
    """Which positions see which: output `o` those from `o + low` to `o + low + width - 1`.

    `added` has, in its last dimension, what is added to the score of each of them; None where they
    are only seen or not.
    """

    low: int
    width: int
    added: torch.Tensor | None

    def mask(self, rows: range, columns: range) -> torch.Tensor:
        """The mask of some outputs and the positions that there are of those they see."""
        places = torch.arange(columns.start, columns.stop) - torch.arange(
            rows.start, rows.stop
        ).unsqueeze(1)
        places = places - self.low
        seen = (places >= 0) & (places < self.width)
        if self.added is None:
            return seen
        added = self.added[..., places.clamp(0, self.width - 1)]
        return torch.where(seen, added, torch.full_like(added, -torch.inf))


def band_of(masks: Sequence[torch.Tensor]) -> Band | str:
    """The band that masks of several lengths all have, or why they have none.

    Masks are those of `scaled_dot_product_attention`: True is seen, or what is added to a score.

    >>> seen = [torch.ones(n, n, dtype=torch.bool).triu(-2).tril(1) for n in (7, 9)]
    >>> (band := band_of(seen)).low, band.width
    (-2, 4)
    >>> band_of([torch.ones(n, n).tril().bool() for n in (7, 9)])
    'it looks back over all of time'
    """
    found = []
    for mask in masks:
        n = mask.shape[-1]
        plain = mask.dtype == torch.bool
        seen = mask if plain else mask > _HIDDEN
        across = seen.reshape(-1, n, n)
        if (across != across[:1]).any():
            return "its heads see different positions"
        rows, columns = across[0].nonzero(as_tuple=True)
        if not len(rows):
            return "its mask lets nothing be seen"
        low, high = int((columns - rows).min()), int((columns - rows).max())
        if low > 0 or high < 0:
            return "no position sees itself"
        if low <= 1 - n:
            return "it looks back over all of time"
        if high >= n - 1:
            return "it looks ahead over all of time"
        diagonals = [mask.diagonal(d, -2, -1) for d in range(low, high + 1)]
        if any((one != one[..., :1]).any() for one in diagonals):
            return "what its mask hides or adds depends on the place"
        each = torch.stack([one[..., 0] for one in diagonals], -1)
        if plain and not each.all():
            # Not all between the first and the last that are seen.
            each = torch.zeros(each.shape).masked_fill(~each, -torch.inf)
        added = None if each.dtype == torch.bool else each
        found.append(Band(low, high - low + 1, added))
    first = found[0]
    for other in found[1:]:
        alike = (first.low, first.width) == (other.low, other.width)
        if not alike or (first.added is not None and not torch.equal(first.added, other.added)):
            return "its mask depends on how long the input is, as where that is no longer than it"
    return first
