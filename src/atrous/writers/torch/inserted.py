"""Convolutions behind one map of a PyTorch model, which is changed in a copy."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from atrous.conversion.inserted import Inserted
from atrous.network import Network
from atrous.refusal import Refusal

__all__ = ["Behind", "insert_torch", "returned_by_a_module"]

_CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Behind:
    """A hook that runs convolutions on what a module returns, or on its first argument."""

    def __init__(self, layers: nn.Module, *, first: bool = False) -> None:
        self.layers = layers
        self.first = first

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], *made: Any) -> Any:
        """What takes the place of the module's result, or of its arguments."""
        return (self.layers(args[0]), *args[1:]) if self.first else self.layers(made[0])


def insert_torch(model: nn.Module, network: Network, put: Inserted) -> nn.Module | Refusal:
    """A copy of the model with the convolutions behind the module that makes the map.

    They are its submodule `degrid`, so that all other keys of the state dict stay, and run in a
    hook of its. Refused where no module, run once, returns that map.
    """
    try:
        made = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Refusal("copy", "", f"the model cannot be copied ({reason[:160]}).")
    like = next((p for p in made.parameters() if p.is_floating_point()), torch.zeros(()))
    layers = nn.Sequential(*(_starting(put, rate, like) for rate in put.rates))
    if not put.behind:
        if network.inputs[0].name != put.tensor:
            return Refusal("insert", "", "the model has several inputs; name a layer (at=...).")
        # A sequence runs all that is in it: its first module is the one whose input it is.
        where, first = made, True
        while isinstance(where, nn.Sequential) and len(where):
            where = where[0]
    else:
        path = _returns(network, put.behind)
        if path is None:
            return Refusal(
                "insert",
                put.behind,
                "no module of the model, run once, returns its map; name a layer that is a module "
                "(at=...).",
            )
        where, first = made.get_submodule(path), False
        if isinstance(where, nn.Sequential):
            return Refusal(
                "insert", put.behind, "a sequence makes it; name a layer in it (at=...)."
            )
    if hasattr(where, "degrid"):
        return Refusal("insert", put.behind, "the module has a `degrid` already; rename it.")
    where.add_module("degrid", layers)
    hook = Behind(layers, first=first)
    if first:
        where.register_forward_pre_hook(hook)
    else:
        where.register_forward_hook(hook)
    return made.train(model.training)


def returned_by_a_module(network: Network, name: str) -> bool:
    """Whether a tensor is the input, or what a module that runs once returns."""
    maker = network.maker(name)
    return maker is None or _returns(network, maker.name) is not None


def _starting(put: Inserted, rate: int, like: torch.Tensor) -> nn.Module:
    layer: Any = _CONVS[put.rank](
        put.channels,
        put.channels,
        put.kernel,
        padding=rate * (put.kernel // 2),
        dilation=rate,
        bias=False,
        device=like.device,
        dtype=like.dtype,
    )
    nn.init.dirac_(layer.weight)
    module: nn.Module = layer
    return module


def _returns(network: Network, behind: str) -> str | None:
    """The innermost module, run once, whose last layer is the one that makes the map."""
    node = network.node(behind)
    path = node.module
    while path:
        inside = [n for n in network.nodes if f"{n.module}.".startswith(f"{path}.")]
        if inside[-1] is not node:
            return None
        again = {n.module for n in inside if "@" in n.name}
        own = any(n.module == path for n in inside)
        if path not in again if own else any(n.module not in again for n in inside):
            return path
        path = path.rpartition(".")[0]
    return None
