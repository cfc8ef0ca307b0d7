"""The strategies that a layer may run by: each says where it applies, and prepares its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch

from atrous.optimization.layer.activations import NONE, Activation, activated
from atrous.optimization.layer.call import LayerCall
from atrous.refusal import Refusal
from atrous.registry import Registry

__all__ = ["PLAIN", "WAYS", "Runs", "Way", "applying", "register", "runs_of", "using"]

Runs = Callable[..., torch.Tensor]
"""`runs(x)`, or `runs(x, other)` where the call adds; the result is a tensor of its own."""
Prepare = Callable[[torch.Tensor, "torch.Tensor | None", LayerCall], Runs]

PLAIN = "torch"
"""The strategy that everything is compared with: PyTorch's own operation in the graph's layout."""


def _nothing(_activation: Activation, _call: LayerCall) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Way:
    """A `Strategy` for calls of layers, which may do more than the convolution or linear map.

    `activates` and `adds` say whether what it prepares takes the activation and the sum upon
    itself; what it does not is done to its result, in place. `rounds` says that it computes other
    sums than the definition's, so that its rounding has to be measured. `places` says that with
    channels last what it prepares has `into(whole, at, x)`, which writes to a part of a map.
    """

    name: str
    applies: Callable[[LayerCall], bool | Refusal]
    prepare: Prepare
    activates: Callable[[Activation, LayerCall], bool] = field(default=_nothing)
    adds: bool = False
    rounds: bool = False
    places: bool = False

    def placing(self, call: LayerCall) -> bool:
        """Whether the whole call may be written to a part of a larger map."""
        last = self.places and call.layout == "channels_last" and call.op != "linear"
        whole = call.adds <= self.adds
        return last and whole and (not call.activation or self.activates(call.activation, call))


WAYS = Registry[str, Way]("strategy")


def register(way: Way) -> None:
    """Adds a strategy to those that are tried."""
    WAYS[way.name] = way


def using(*ways: Way) -> Iterator[None]:
    """Further strategies while a block runs; for tests, by `contextlib.contextmanager`."""
    for way in ways:
        register(way)
    try:
        yield
    finally:
        for way in ways:
            del WAYS[way.name]


def applying(call: LayerCall) -> tuple[list[Way], list[Refusal]]:
    """The strategies that apply to a call, PyTorch's own first, and why the others do not."""
    found: list[Way] = []
    refused: list[Refusal] = []
    for way in WAYS.values():
        answer = way.applies(call)
        if isinstance(answer, Refusal):
            refused.append(answer)
        elif answer:
            found.append(way)
    found.sort(key=lambda way: way.name != PLAIN)
    return found, refused


def runs_of(way: Way, weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    """What computes the whole call: the strategy, then what it leaves of sum and activation."""
    adds = call.adds and way.adds
    # An activation behind a sum can be fused only together with the sum.
    reaches = adds or not call.adds
    fused = reaches and bool(call.activation) and way.activates(call.activation, call)
    left = NONE if fused else call.activation
    inner = replace(call, adds=adds, activation=call.activation if fused else NONE)
    runs = way.prepare(weight, bias, inner)
    if not left and adds == call.adds:
        return runs
    if not call.adds:
        return lambda x: activated(runs(x), left)
    if adds:
        return lambda x, other: activated(runs(x, other), left)
    return lambda x, other: activated(runs(x).add_(other), left)
