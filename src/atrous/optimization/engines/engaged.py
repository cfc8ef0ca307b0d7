"""A whole model that another engine runs, and that follows its weights."""

from __future__ import annotations

import warnings
from dataclasses import replace
from threading import RLock
from typing import Any

import torch
from torch import nn

from atrous.frameworks.modules import held
from atrous.operators.kernels.torch_layouts import strided
from atrous.optimization import arena
from atrous.optimization.engines.engine import (
    ENGINES,
    Engine,
    Run,
    UnfitError,
    complaint,
    missing,
    task_of,
)
from atrous.optimization.graph.program import strides_of
from atrous.optimization.judge import Inputs, Judge, flat
from atrous.optimization.plan import AnyPlan, EngineRecipe, Mark, Recipe, Watch, is_same

__all__ = ["Engaged", "engaged_again", "recipe_of", "state_homes"]


Now = tuple[int, Mark]
"""What an engine was prepared for: a number of threads, and the weights."""


class Engaged:
    """A model by another engine, for inputs of one signature.

    An engine holds its own copy of the weights, or code that was compiled for them: to prepare it
    takes seconds. So where a parameter or buffer was replaced, moved or written to, or the number
    of threads is another, the first call runs `own`, our program, or the model itself; the second
    one that finds everything as the first did prepares the engine anew, and compares it with the
    model as `optimize` does. What fails then runs `own` from there on, and warns.
    """

    def __init__(self, engine: Engine, model: nn.Module, recipe: EngineRecipe) -> None:
        self.engine = engine
        self.own: AnyPlan | None = None
        self._recipe = recipe
        self._watch = Watch(model, state_homes(model))
        self._ready: tuple[Run | None, Now] | None = None
        self._seen: Now | None = None
        self._alone = RLock()

    @property
    def recipe(self) -> EngineRecipe:
        """What makes it again."""
        own = None if self.own is None else self.own.recipe
        return replace(self._recipe, own=own) if isinstance(own, Recipe) else self._recipe

    def hold(self, runs: Run, peak: int) -> None:
        """Takes what the engine has made of the model as it is now; a run holds `peak` bytes."""
        self._ready = runs, self._now()
        arena.held(self, peak)

    def __call__(self, model: nn.Module, inputs: Inputs) -> Any:
        """The model's outputs."""
        now, ready = self._now(), self._ready
        if ready is not None and _matches(now, ready[1]):
            runs = ready[0]
        else:
            with self._alone:
                runs = self._prepared(model, inputs, now)
        if runs is None:
            return self._otherwise(model, inputs)
        try:
            with arena.kept():
                return runs(self._as_prepared(inputs))
        except Exception as error:
            self._fail(now, f"fails: {complaint(error)}")
            return self._otherwise(model, inputs)

    def raw(self, inputs: Inputs) -> Any:
        """The same by the engine alone, as it is held; what fails raises."""
        ready = self._ready
        if ready is None or ready[0] is None or not _matches(self._now(), ready[1]):
            raise UnfitError("its weights change when it runs.")
        with arena.kept():
            return ready[0](self._as_prepared(inputs))

    def refresh(self) -> None:
        """Prepares the weights anew: the next call runs `own`, the one after it the engine."""
        with self._alone:
            self._ready = self._seen = None
        if self.own is not None:
            self.own.refresh()

    def fits(self) -> bool:
        """Whether the model is as it was: in evaluation, of the same parts and hooks, here."""
        return self._watch.fits()

    def _now(self) -> Now:
        return torch.get_num_threads(), self._watch.mark()

    def _prepared(self, model: nn.Module, inputs: Inputs, now: Now) -> Run | None:
        """The engine's run with the weights of now; None where it has to wait, or failed."""
        if self._ready is not None and _matches(now, self._ready[1]):  # by another thread
            return self._ready[0]
        if self._seen is None or not _matches(now, self._seen):
            self._seen = now
            return None
        with torch.inference_mode(False), torch.no_grad():
            given = tuple(x.clone() for x in self._as_prepared(inputs))
            try:
                task = task_of(model, given)
                runs = self.engine.build(task)
                verdict = Judge(model, given, flat(task.outputs))(runs)
            except Exception as error:
                self._fail(now, f"cannot take the new weights: {complaint(error)}")
                return None
        if not verdict.same:
            self._fail(now, f"gives something else with the new weights: {verdict.note}")
            return None
        self._ready = runs, now
        if self.own is not None:
            self.own.refresh()  # it holds weights of its own
        return runs

    def _otherwise(self, model: nn.Module, inputs: Inputs) -> Any:
        if self.own is not None and self.own.fits():
            return self.own(model, inputs)
        return model(*inputs)

    def _fail(self, now: Now, why: str) -> None:
        self._ready = None, now
        instead = "our own program" if self.own is not None else "the model"
        warnings.warn(
            f"{self.engine.name} {why.rstrip('.')}; {instead} runs in its place until weights "
            "change.",
            RuntimeWarning,
            stacklevel=4,
        )

    def _as_prepared(self, inputs: Inputs) -> Inputs:
        """Inputs as they lay in memory when the engine was prepared."""
        laid = []
        for x, strides in zip(inputs, self._recipe.strides, strict=True):
            x = x.detach().resolve_neg()
            laid.append(x if strides is None else strided(x, strides))
        return tuple(laid)


def engaged_again(model: nn.Module, recipe: EngineRecipe, own: AnyPlan | None) -> Engaged | None:
    """What runs by the engine of a recipe, prepared at its second call; None without the engine."""
    engine = ENGINES.get(recipe.engine)
    if engine is None or missing(engine):
        return None
    made = Engaged(engine, model, recipe)
    made.own = own
    return made


def recipe_of(engine: Engine, inputs: Inputs) -> EngineRecipe:
    """The recipe for inputs of this kind."""
    kinds = tuple((tuple(x.shape), x.dtype) for x in inputs)
    return EngineRecipe(kinds, engine.name, tuple(map(strides_of, inputs)))


def _matches(now: Now, then: Now) -> bool:
    return now[0] == then[0] and is_same(now[1], then[1])


def state_homes(model: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Where all parameters and buffers are held."""
    parameters = model.named_parameters(remove_duplicate=False)
    keys = [name for name, _ in [*parameters, *model.named_buffers(remove_duplicate=False)]]
    return [held(model, key) for key in keys]
