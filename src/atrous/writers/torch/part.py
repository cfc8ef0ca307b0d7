"""The part of a PyTorch model that makes the maps of some modules, as a module of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from atrous.frameworks.modules import run_of
from atrous.frameworks.structures import leaves
from atrous.frameworks.torch import (
    quiet,
)
from atrous.refusal import Refusal

__all__ = ["part_of"]


def part_of(
    model: nn.Module, names: Sequence[str], examples: Sequence[torch.Tensor]
) -> nn.Module | Refusal:
    """A module that makes what the modules `names` make, of the model's own inputs.

    It ends where the last of them has run, so that what lies behind need not run at all; it holds
    the parameters and buffers that it uses, under the names that they have in the model. Which run
    of a module is meant says `frameworks.torch.run_of`. A model in evaluation mode is meant.
    """
    for name in names:
        if run_of(model, name) is None:
            return Refusal(
                "part",
                name,
                "it is no module, and a part is written up to modules; name the one that it is in.",
            )
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    times = _times(model, names, state, examples)
    for name in names:
        if not times[name]:
            return Refusal("part", name, "it does not run, or makes no tensor.")

    def run(held: dict[str, torch.Tensor], *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made: dict[str, torch.Tensor] = {}
        left = Counter(times)

        def took(name: str, value: torch.Tensor) -> None:
            left[name] -= 1
            if left[name] >= 0:
                # What runs behind it may work in place.
                made[name] = value.clone()
            if not any(count > 0 for count in left.values()):
                raise _Done

        with _watched(model, names, took), suppress(_Done):
            functional_call(model, held, tuple(inputs))
        return tuple(made[name] for name in names)

    with torch.no_grad(), quiet():
        graph = make_fx(run, tracing_mode="fake", pre_dispatch=True)(state, *examples)
    places = [node for node in graph.graph.nodes if node.op == "placeholder"]
    used = {name for name, place in zip(state, places, strict=False) if place.users}
    return _Part(graph, state, used)


class _Done(Exception):  # noqa: N818 - a signal, not an error
    """All that is wanted was made."""


class _Part(nn.Module):
    """A graph on the parameters that it uses, under their names; the others are not held."""

    def __init__(
        self, graph: Callable[..., Any], state: dict[str, torch.Tensor], used: set[str]
    ) -> None:
        super().__init__()
        # Not a child: it holds nothing.
        object.__setattr__(self, "_graph", graph)
        self._names, self._used = tuple(state), used
        for name in state:
            if name in used:
                _hold(self, name, state[name])

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the wanted modules make; a tuple where they are several."""
        held = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        # What the graph does not use has a place in its arguments all the same.
        made = self._graph({name: held.get(name, inputs[0]) for name in self._names}, *inputs)
        return made[0] if len(made) == 1 else made


def _hold(root: nn.Module, name: str, value: torch.Tensor) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]
    if isinstance(value, nn.Parameter):
        root.register_parameter(last, value)
    else:
        root.register_buffer(last, value)


def _times(
    model: nn.Module,
    names: Sequence[str],
    state: dict[str, torch.Tensor],
    examples: Sequence[torch.Tensor],
) -> Counter[str]:
    """How often each of the modules runs up to the run that is meant; 0 where that never comes."""
    found: Counter[str] = Counter()
    # Without numbers first, which takes no time; some code needs them.
    for device in ("meta", "cpu"):
        found = Counter(dict.fromkeys(names, 0))

        def took(name: str, _: torch.Tensor, found: Counter[str] = found) -> None:
            found[name] += 1

        held = {name: value.to(device) for name, value in state.items()}
        inputs = tuple(example.to(device) for example in examples)
        with torch.no_grad(), quiet(), _watched(model, names, took):
            try:
                functional_call(model, held, inputs)
            except Exception:
                # It may fail behind the wanted modules, which is why a part is wanted.
                if not all(found.values()):
                    continue
        break
    for name in names:
        meant = run_of(model, name)
        if meant is not None and meant[1] is not None:
            found[name] = meant[1] + 1 if found[name] > meant[1] else 0
    return found


@contextmanager
def _watched(
    model: nn.Module, names: Sequence[str], took: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Every tensor that one of the modules makes is handed to `took`."""

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = next((t for t in leaves(output) if torch.is_tensor(t)), None)
            if first is not None:
                took(name, first)

        return hook

    meant = [(name, run_of(model, name)) for name in names]
    hooks = [run[0].register_forward_hook(watch(name)) for name, run in meant if run is not None]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
