"""A prepared program for inputs of one signature, and the recipe to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any, Protocol

import torch
from torch import nn

from atrous.frameworks.modules import counted, kinds, together, trains, written
from atrous.frameworks.structures import unflattened
from atrous.optimization import arena
from atrous.optimization.graph.program import (
    Program,
    Ready,
    Strides,
    activation_bytes,
    compiled,
    state_of,
)

__all__ = [
    "AnyPlan",
    "EngineRecipe",
    "Mark",
    "Prepared",
    "Recipe",
    "Signature",
    "Watch",
    "is_same",
    "signature_of",
]


Signature = tuple[tuple[torch.Size, torch.dtype], ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is needed to make a program again, in a copy or another process."""

    inputs: tuple[tuple[tuple[int, ...], torch.dtype], ...]
    layout: str
    strategies: tuple[tuple[str, str], ...]
    strides: tuple[Strides, ...]


@dataclass(frozen=True, slots=True)
class EngineRecipe:
    """What is needed to run by an engine again, in a copy or another process.

    `own` is our program, which runs meanwhile, and where there is no such engine.
    """

    inputs: tuple[tuple[tuple[int, ...], torch.dtype], ...]
    engine: str
    strides: tuple[Strides, ...]
    own: Recipe | None = None


class AnyPlan(Protocol):
    """A model prepared for inputs of one signature."""

    @property
    def recipe(self) -> Recipe | EngineRecipe:
        """What makes it again."""

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
        """The model's outputs."""

    def refresh(self) -> None:
        """Prepares the weights anew before the next run."""

    def fits(self) -> bool:
        """Whether the model is as it was."""


Home = tuple[dict[str, Any], str]
"""Where a tensor is held: the dict, and its key there."""
Mark = tuple[list[torch.Tensor], tuple[list[int], list[int]]]
"""Tensors as they are now: which, where they lie, and how often they were written to."""


class Watch:
    """What prepared runs of a model depend on: its parts, their hooks and modes, and `homes`.

    Where a tensor was replaced, moved or written to, its mark is another. Writing through `.data`
    leaves no trace.
    """

    def __init__(self, model: nn.Module, homes: Sequence[Home]) -> None:
        # The same dict and key twice, as counts of batch norms are, would be looked at twice.
        places = {(id(home), name): (home, name) for home, name in (*homes, *counted(model))}
        self._homes = [*places.values()]
        self._parts = [*model.modules()]
        self._together = together(self._parts)
        self._kinds = kinds([home[name] for home, name in self._homes])

    def fits(self) -> bool:
        """Whether the model is as it was: in evaluation, of the same parts and hooks, here."""
        if trains(self._parts) or together(self._parts) != self._together:
            return False
        tensors = [home.get(name) for home, name in self._homes]
        return type(None) not in map(type, tensors) and kinds(tensors) == self._kinds

    def mark(self) -> Mark:
        """What tells whether a tensor has changed since."""
        # The tensors themselves: an address alone may be that of a later one.
        tensors = [home[name] for home, name in self._homes]
        return tensors, written(tensors)


def is_same(one: Mark, two: Mark | None) -> bool:
    """Whether nothing was replaced, moved or written to between two marks."""
    return (
        two is not None
        and len(one[0]) == len(two[0])
        and all(map(is_, one[0], two[0]))
        and one[1] == two[1]
    )


class Prepared:
    """A program for inputs of one signature, with weights prepared from the parameters.

    Before each run the parameters are looked at: where one was replaced, moved or written to, all
    weights are prepared again. Writing through `.data` leaves no trace; `refresh` is for that.
    """

    def __init__(self, program: Program, spec: Any, model: nn.Module, recipe: Recipe) -> None:
        self.program = program
        self._recipe = recipe
        self._spec = spec
        self._is_leaf = bool(spec.is_leaf())
        self._watch = Watch(model, state_of(program.graph, model))
        self._mark: Mark | None = None
        self._ready: Ready | None = None
        arena.held(self, activation_bytes(program.graph))

    @property
    def recipe(self) -> Recipe:
        """What makes it again."""
        return self._recipe

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
        """The model's outputs."""
        ready = self.ready(model)
        with arena.kept():
            made = ready.run(*inputs)
        return made[0] if self._is_leaf else unflattened(made, self._spec)

    def ready(self, model: nn.Module) -> Ready:
        """The program with the weights that the model has now."""
        mark = self._watch.mark()
        ready = self._ready
        if ready is None or not is_same(mark, self._mark):
            ready = self._ready = compiled(self.program, model)
            self._mark = mark
        return ready

    def refresh(self) -> None:
        """Prepares the weights anew before the next run."""
        self._ready = None

    def fits(self) -> bool:
        """Whether the model is as it was: in evaluation, of the same parts and hooks, here."""
        return self._watch.fits()


def signature_of(inputs: tuple[Any, ...]) -> Signature:
    """What decides which program inputs run through."""
    return tuple((x.shape, x.dtype) for x in inputs)
