"""The optimized model: the original's parameters, keys and modules, and a faster way to run."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from atrous.frameworks.modules import share_state
from atrous.frameworks.torch import is_watched
from atrous.optimization import arena
from atrous.optimization.plan import AnyPlan, EngineRecipe, Recipe, Signature, signature_of
from atrous.optimization.records import Explanation
from atrous.optimization.swap import run_laid_out

__all__ = ["Optimized"]


class Optimized(nn.Module):
    """A module that computes what `original` computes, faster on inputs like the example.

    Parameters, buffers and submodules are the original's own, under the same names: a state dict
    fits both, and what is loaded into one is loaded into both. In evaluation mode inputs of the
    example's shape and dtype run through what was prepared, whose results carry no gradient;
    everything else (other shapes, training mode, inputs that require a gradient, autocast, tracing)
    runs through the original.
    """

    def __init__(
        self,
        original: nn.Module,
        plans: Mapping[Signature, AnyPlan],
        explanation: Explanation,
        recipes: tuple[Recipe | EngineRecipe, ...] = (),
    ) -> None:
        super().__init__()
        share_state(self, original)
        self.__dict__["training"] = original.training
        # Not as a submodule, which would double every key.
        self.__dict__["_original"] = original
        self.__dict__["_plans"] = dict(plans)
        self.__dict__["_explanation"] = explanation
        self.__dict__["_recipes"] = recipes

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the original makes of these inputs."""
        plan = None if kwargs else self._plan_for(args)
        if plan is None:
            return self._run_original(args, kwargs)
        with torch.no_grad():
            return plan(self._original, args)

    def explain(self) -> Explanation:
        """What was chosen for each layer and why, and what it gained."""
        found: Explanation = self.__dict__["_explanation"]
        return found

    def refresh(self) -> None:
        """Prepares all weights anew; needed only after writing to a parameter's `.data`."""
        for plan in self._plans.values():
            plan.refresh()

    def train(self, mode: bool = True) -> Optimized:
        """Sets training or evaluation mode, of the original as well."""
        if any(part.training != mode for part in (self, *self._original.modules())):
            self.refresh()  # what trains may write without a trace
        self._original.train(mode)
        self.training = mode
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The original's."""
        return self._original.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Loads into the original; the weights are prepared anew."""
        found = self._original.load_state_dict(*args, **kwargs)
        self.refresh()
        return found

    def extra_repr(self) -> str:
        """What it gained."""
        found = self.explain()
        runs = found.engine if found.mode == "engine" else found.mode
        return f"{found.model}, {runs}, {found.ratio:.2f}x"

    def _run_original(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The modules, in the layout that was chosen where layers were exchanged."""
        if is_watched() or (about := self.explain()).mode != "layers":
            return self._original(*args, **kwargs)
        steps: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if about.training and self.training and torch.is_grad_enabled():
            steps = arena.stepping(self, sum(p.nbytes for p in self.parameters()))
        with steps:
            return run_laid_out(self._original, about.layout, args, kwargs)

    def _plan_for(self, args: tuple[Any, ...]) -> AnyPlan | None:
        if self.training or is_watched():
            return None
        for x in args:
            if type(x) is not torch.Tensor or x.device.type != "cpu" or x.requires_grad:
                return None
        if self._recipes:
            self._make_again()
        found: AnyPlan | None = self._plans.get(signature_of(args))
        return found if found is not None and found.fits() else None

    def _make_again(self) -> None:
        """Makes the programs of a copy, by its recipes."""
        from atrous.optimization.candidates import plan_again
        from atrous.optimization.engines.engaged import engaged_again

        recipes = self._recipes
        self.__dict__["_recipes"] = ()
        for recipe in recipes:
            own = recipe if isinstance(recipe, Recipe) else recipe.own
            made: AnyPlan | None = None if own is None else plan_again(self._original, own)
            if not isinstance(recipe, Recipe):
                made = engaged_again(self._original, recipe, made) or made
            if made is not None:
                key = tuple((torch.Size(shape), dtype) for shape, dtype in recipe.inputs)
                self._plans[key] = made

    def _copied(self, original: nn.Module) -> Optimized:
        recipes = (*self._recipes, *(plan.recipe for plan in self._plans.values()))
        return Optimized(original, {}, self.explain(), recipes)

    def __deepcopy__(self, memo: dict[int, Any]) -> Optimized:
        made = self._copied(copy.deepcopy(self._original, memo))
        memo[id(self)] = made
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        recipes = (*self._recipes, *(plan.recipe for plan in self._plans.values()))
        return Optimized, (self._original, {}, self.explain(), recipes)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("_original", "_plans", "_recipes"):
                raise
            return getattr(self._original, name)
