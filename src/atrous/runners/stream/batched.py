"""A model's steps on several streams at once: the same calls, recorded at a larger batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from atrous.errors import AtrousError
from atrous.frameworks.torch import name_of
from atrous.runners.stream.engine import Held, Steps
from atrous.runners.stream.recipe import Recipe
from atrous.runners.stream.trials import Trials

__all__ = ["Batched", "batches_of"]

Place = int | None
"""The dimension in which streams lie side by side; None for what is the same for all."""


@dataclass(frozen=True, slots=True, eq=False)
class Batched:
    """Steps on `size` streams, and where these lie in what is kept of each value and each state.

    `counted` says that something counts the positions of a stream, which must be as many for all.
    """

    size: int
    steps: Steps
    kept: tuple[Place, ...]
    cells: tuple[tuple[Place, ...], ...]
    counted: bool

    def one(self, held: Held, index: int) -> Held:
        """The part of one stream."""
        return self._each(lambda place, x: x if place is None else x.narrow(place, index, 1), held)

    def joined(self, several: Sequence[Held]) -> Held:
        """As many states as there are streams, side by side."""

        def join(place: Place, *parts: torch.Tensor) -> torch.Tensor:
            return parts[0] if place is None else torch.cat(parts, place)

        return self._each(join, *several)

    def pushed(
        self, held: Held, chunks: Sequence[torch.Tensor]
    ) -> tuple[list[list[torch.Tensor]], Held]:
        """What each stream gives for its chunk, and what is kept then."""
        self.steps.held = held
        whole = chunks[0] if self.size == 1 else torch.cat(list(chunks))
        made = self.steps.alone(self.steps.push, whole)
        places = [self.kept[one.index] for one in self.steps.recipe.outputs]
        parts = [
            [x if at is None else x.narrow(at, i, 1) for x, at in zip(made, places, strict=True)]
            for i in range(self.size)
        ]
        return parts, self.steps.held

    def _each(self, function: Any, *held: Held) -> Held:
        """A function of the place and of what is kept there, for all that is kept."""
        kept = [
            None if parts[0] is None else function(place, *parts)
            for place, *parts in zip(self.kept, *(one.kept for one in held), strict=True)
        ]
        cells = [
            [
                function(place, *parts)
                for place, *parts in zip(places, *(cells[i] for cells in all_cells), strict=True)
            ]
            for i, places in enumerate(self.cells)
            for all_cells in [[one.cells for one in held]]
        ]
        return Held(held[0].count, kept, cells)


def batches_of(recipe: Recipe, most: int) -> list[Batched]:
    """Steps on one stream, on two, four and so on, up to `most`: as far as the model has them.

    A model runs on a batch where it makes the same calls as for one stream, each of what it makes
    has a dimension that grows with the batch, and no member of it changes another.
    """
    kept = tuple(None for _ in recipe.values)
    cells = tuple(
        tuple(None for _ in one.initial()) if one.stateful else () for one in recipe.rules
    )
    found = [Batched(1, Steps(recipe), kept, cells, counted=False)]
    axis = recipe.trials.axis
    if len(axis.shapes) > 1 or axis.axis == 0 or axis.shape[0] != 1:
        return found
    for size in _doubled(most):
        at = replace(axis, shapes=((size, *axis.shape[1:]),))
        try:
            larger = Recipe(Trials(at), running=recipe.running)
        except AtrousError:
            break
        one = _batched(recipe, larger, size)
        if one is None or (size == 2 and not _apart(one)):
            break
        found.append(one)
    return found


def _doubled(most: int) -> Iterator[int]:
    size = 2
    while size <= most:
        yield size
        size *= 2


def _batched(recipe: Recipe, larger: Recipe, size: int) -> Batched | None:
    """Where streams lie in what a recipe for a batch keeps; None where they do not side by side."""
    calls = [[name_of(one.node) for one in each.values] for each in (recipe, larger)]
    if calls[0] != calls[1] or recipe.period != larger.period:
        return None
    kept: list[Place] = []
    counted = False
    cells: list[tuple[Place, ...]] = []
    for value, other, rule, wide in zip(
        recipe.values, larger.values, recipe.rules, larger.rules, strict=True
    ):
        if rule.inputs != wide.inputs or value.lengths != other.lengths:
            return None
        reached = value.index == 0 or any(kept[source] is not None for source in rule.inputs)
        place = _side_by_side(value.shape, other.shape, size)
        if (place is not None) != reached:
            return None
        kept.append(place)
        places: list[Place] = []
        if rule.stateful:
            for a, b in zip(rule.initial(), wide.initial(), strict=True):
                places.append(_side_by_side(tuple(a.shape), tuple(b.shape), size))
        cells.append(tuple(places))
        counted |= rule.counted or any(one is None for one in places)
    return Batched(size, Steps(larger), tuple(kept), tuple(cells), counted)


def _side_by_side(one: Sequence[int], several: Sequence[int], size: int) -> Place:
    """The only dimension that is 1 for one stream and `size` for so many; None where it is not."""
    if len(one) != len(several):
        return None
    apart = [d for d, (a, b) in enumerate(zip(one, several, strict=True)) if a != b]
    return apart[0] if len(apart) == 1 and (one[apart[0]], several[apart[0]]) == (1, size) else None


def _apart(two: Batched) -> bool:
    """Whether what is no number in one stream leaves the other one as it is."""
    shape, axis = two.steps.recipe.values[0].shape, two.steps.recipe.trials.axis
    if not two.steps.recipe.values[0].dtype.is_floating_point:
        return True
    x = torch.zeros(shape, dtype=two.steps.recipe.values[0].dtype, device=two.steps.empty(0).device)
    x[1] = torch.nan
    made = two.steps.alone(two.steps.push, x.repeat_interleave(2, axis.axis))
    two.steps.reset()
    places = [two.kept[one.index] for one in two.steps.recipe.outputs]
    return not any(
        bool(found.select(place, 0).isnan().any())
        for found, place in zip(made, places, strict=True)
        if place is not None
    )
