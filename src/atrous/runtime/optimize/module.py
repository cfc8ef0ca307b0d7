"""The optimized model: the original's parameters, keys and modules, and a faster way to run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from atrous.runtime.optimize.program import Program, Strides, compiled, state_of
from atrous.runtime.optimize.records import Explanation

__all__ = ["Optimized", "Plan", "Recipe", "signature_of"]

Signature = tuple[tuple[torch.Size, torch.dtype], ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is needed to make a program again, in a copy or another process."""

    inputs: tuple[tuple[tuple[int, ...], torch.dtype], ...]
    layout: str
    strategies: tuple[tuple[str, str], ...]
    strides: tuple[Strides, ...]


class Plan:
    """A program for inputs of one signature, with weights prepared from the parameters.

    Before each run the parameters are looked at: where one was replaced, moved or written to, all
    weights are prepared again. Writing through `.data` leaves no trace; `refresh` is for that.
    """

    def __init__(self, program: Program, spec: Any, model: nn.Module, recipe: Recipe) -> None:
        self.program = program
        self.recipe = recipe
        self._spec = spec
        self._is_leaf = bool(spec.is_leaf())
        self._homes = state_of(program.graph, model)
        # Running statistics are written without a trace, but they are counted.
        self._homes += [
            (part._buffers, "num_batches_tracked")
            for part in model.modules()
            if part._buffers.get("num_batches_tracked") is not None
        ]
        self._parts = [(part, _hooks(part), _children(part)) for part in model.modules()]
        self._mark: tuple[Any, ...] | None = None
        self._runs: Callable[..., list[Any]] | None = None
        self._dtypes = [home[name].dtype for home, name in self._homes]

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
        """The model's outputs."""
        mark = self._seen()
        if self._runs is None or self._mark is None or not _same(mark, self._mark):
            self._runs = compiled(self.program, model)
            self._mark = mark
        made = self._runs(*inputs)
        return made[0] if self._is_leaf else torch.utils._pytree.tree_unflatten(made, self._spec)

    def refresh(self) -> None:
        """Prepares the weights anew before the next run."""
        self._runs = None

    def fits(self) -> bool:
        """Whether the model is as it was: in evaluation, of the same parts and hooks, here."""
        for part, hooks, children in self._parts:
            if part.training or _hooks(part) != hooks or _children(part) != children:
                return False
        tensors = (home.get(name) for home, name in self._homes)
        return all(
            t is not None and t.device.type == "cpu" and t.dtype == dtype
            for t, dtype in zip(tensors, self._dtypes, strict=True)
        )

    def _seen(self) -> tuple[Any, ...]:
        # The tensors themselves: an address alone may be that of a later one.
        return tuple(
            (home[name], home[name].data_ptr(), _version(home[name])) for home, name in self._homes
        )


def _version(tensor: torch.Tensor) -> int:
    # Tensors made under inference mode count no versions.
    return -1 if tensor.is_inference() else tensor._version


def _same(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    return all(a[0] is b[0] and a[1:] == b[1:] for a, b in zip(one, two, strict=True))


def _children(part: nn.Module) -> list[int]:
    return [id(child) for child in part._modules.values()]


def _hooks(part: nn.Module) -> tuple[int, int]:
    return len(part._forward_hooks), len(part._forward_pre_hooks)


def signature_of(inputs: tuple[Any, ...]) -> Signature:
    """What decides which program inputs run through."""
    return tuple((x.shape, x.dtype) for x in inputs)


class Optimized(nn.Module):
    """A module that computes what `original` computes, faster on inputs like the example.

    Parameters, buffers and submodules are the original's own, under the same names: a state dict
    fits both, and what is loaded into one is loaded into both. In evaluation mode inputs of the
    example's shape and dtype run through the prepared program, whose results carry no gradient;
    everything else (other shapes, training mode, inputs that require a gradient, autocast, tracing)
    runs through the original.
    """

    def __init__(
        self,
        original: nn.Module,
        plans: Mapping[Signature, Plan],
        explanation: Explanation,
        recipes: tuple[Recipe, ...] = (),
    ) -> None:
        super().__init__()
        for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[name] = original.__dict__[name]
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
            return self._original(*args, **kwargs)
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
        self._original.train(mode)
        self.training = mode
        self.refresh()
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
        return f"{found.model}, {found.mode}, {found.ratio:.2f}x"

    def _plan_for(self, args: tuple[Any, ...]) -> Plan | None:
        if self.training or _is_watched():
            return None
        for x in args:
            if type(x) is not torch.Tensor or x.device.type != "cpu" or x.requires_grad:
                return None
        if self._recipes:
            self._make_again()
        found: Plan | None = self._plans.get(signature_of(args))
        return found if found is not None and found.fits() else None

    def _make_again(self) -> None:
        """Makes the programs of a copy, by its recipes."""
        from atrous.runtime.optimize.whole import plan_again

        recipes = self._recipes
        self.__dict__["_recipes"] = ()
        for recipe in recipes:
            made = plan_again(self._original, recipe)
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


def _is_watched() -> bool:
    """Whether somebody looks at the operations: a tracer, a mode, autocast, a transform."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch.is_autocast_enabled("cpu")
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )
