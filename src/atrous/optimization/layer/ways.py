"""The strategies that a layer may run by: each says where it applies, and prepares its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch

from atrous.errors import unknown
from atrous.optimization.layer.activations import NONE, Activation, activated
from atrous.optimization.layer.call import Call
from atrous.refusal import Refusal

__all__ = ["PLAIN", "Implementation", "Runs", "applying", "get", "register", "runs_of", "using"]

Runs = Callable[..., torch.Tensor]
"""`runs(x)`, or `runs(x, other)` where the call adds; the result is a tensor of its own."""
Prepare = Callable[[torch.Tensor, "torch.Tensor | None", Call], Runs]

PLAIN = "torch"
"""The strategy that everything is compared with: PyTorch's own operation in the graph's layout."""


def _nothing(_activation: Activation, _call: Call) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Implementation:
    """One exact way to compute a call.

    `applies(call)` is True, or a `Refusal` that says why not. `prepare(weight, bias, call)` packs
    the weights and returns what runs. `activates` and `adds` say whether that takes the activation
    and the sum upon itself; what it does not is done to its result, in place.
    """

    name: str
    applies: Callable[[Call], bool | Refusal]
    prepare: Prepare
    activates: Callable[[Activation, Call], bool] = field(default=_nothing)
    adds: Callable[[Call], bool] = field(default=lambda _call: False)


_IMPLEMENTATIONS: dict[str, Implementation] = {}


def register(implementation: Implementation) -> Implementation:
    """Adds a strategy to those that are tried; a second one of the same name raises ValueError."""
    if implementation.name in _IMPLEMENTATIONS:
        raise ValueError(f"{implementation.name}: is a strategy already.")
    _IMPLEMENTATIONS[implementation.name] = implementation
    return implementation


def get(name: str) -> Implementation:
    """The strategy of that name; raises `UnknownNameError` listing the known ones."""
    if name not in _IMPLEMENTATIONS:
        raise unknown("strategy", name, _IMPLEMENTATIONS)
    return _IMPLEMENTATIONS[name]


def using(*implementations: Implementation) -> Iterator[None]:
    """Further strategies while a block runs; for tests, by `contextlib.contextmanager`."""
    for implementation in implementations:
        register(implementation)
    try:
        yield
    finally:
        for implementation in implementations:
            del _IMPLEMENTATIONS[implementation.name]


def applying(call: Call) -> tuple[list[Implementation], list[Refusal]]:
    """The strategies that apply to a call, PyTorch's own first, and why the others do not."""
    found: list[Implementation] = []
    refused: list[Refusal] = []
    for implementation in _IMPLEMENTATIONS.values():
        answer = implementation.applies(call)
        if isinstance(answer, Refusal):
            refused.append(answer)
        elif answer:
            found.append(implementation)
    found.sort(key=lambda implementation: implementation.name != PLAIN)
    return found, refused


def runs_of(
    implementation: Implementation, weight: torch.Tensor, bias: torch.Tensor | None, call: Call
) -> Runs:
    """What computes the whole call: the strategy, then what it leaves of sum and activation."""
    adds = call.adds and implementation.adds(call)
    # An activation behind a sum can be fused only together with the sum.
    reaches = adds or not call.adds
    fused = reaches and bool(call.activation) and implementation.activates(call.activation, call)
    left = NONE if fused else call.activation
    inner = replace(call, adds=adds, activation=call.activation if fused else NONE)
    runs = implementation.prepare(weight, bias, inner)
    if not left and adds == call.adds:
        return runs
    if not call.adds:
        return lambda x: activated(runs(x), left)
    if adds:
        return lambda x, other: activated(runs(x, other), left)
    return lambda x, other: activated(runs(x).add_(other), left)
