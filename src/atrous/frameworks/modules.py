"""What modules hold and are made of: PyTorch has no public way to hand it on, or to watch it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from atrous.frameworks.torch import OneOp

__all__ = [
    "beside",
    "complete",
    "counted",
    "held",
    "hooks",
    "kinds",
    "replace_module",
    "run_of",
    "share_state",
    "state_of",
    "take_over",
    "together",
    "trains",
    "written",
]

_STATE = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state_of(module: nn.Module) -> dict[str, Any]:
    """The dicts that hold a module's parameters, buffers and children, not copies of them.

    `nn.Module` has no other way to hand on everything, which buffers are not saved included.
    """
    return {name: module.__dict__[name] for name in _STATE}


def share_state(module: nn.Module, other: nn.Module) -> None:
    """From now on `module` holds the state that `other` holds: what one changes, both have."""
    module.__dict__.update(state_of(other))


def held(model: nn.Module, key: str) -> tuple[dict[str, Any], str]:
    """Where a parameter or buffer is held: the dict, and its key there."""
    path, _, name = key.rpartition(".")
    module = model.get_submodule(path)
    return (module._parameters if name in module._parameters else module._buffers), name


def counted(model: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Where batch norms count their updates: running statistics are written without a trace."""
    parts = ((part._buffers, "num_batches_tracked") for part in model.modules())
    return [(buffers, name) for buffers, name in parts if buffers.get(name) is not None]


def take_over(module: nn.Module, other: nn.Module, extra: Mapping[str, nn.Module]) -> None:
    """`module` has the attributes and the state of `other`, and the children `extra` beside."""
    module.__dict__.update(other.__dict__)
    module._modules = {**other._modules, **extra}


def complete(made: nn.Module, root: nn.Module, remade: type[nn.Module]) -> None:
    """Every parameter, buffer and module of `root` that `made` has not is in it, as it was there.

    A `GraphModule` takes only what its graph names, and makes bare modules for the path to it;
    these are completed in turn, and so are parts that are `remade`.
    """
    for name, parameter in root._parameters.items():
        if name not in made._parameters:
            made.register_parameter(name, parameter)
    for name, buffer in root._buffers.items():
        persistent = name not in root._non_persistent_buffers_set
        if name in made._buffers:
            del made._buffers[name]
        made.register_buffer(name, buffer, persistent=persistent)
    for name, child in root._modules.items():
        held = made._modules.get(name)
        if held is None:
            made.register_module(name, child)
        elif held is not child and child is not None:
            if type(held) is nn.Module or isinstance(held, remade):
                complete(held, child, remade)
            else:
                made._modules[name] = child
    # In the order of the original, which state dicts show.
    order = [*root._modules, *(n for n in made._modules if n not in root._modules)]
    made._modules = {name: made._modules[name] for name in order}
    made._parameters = {name: made._parameters[name] for name in root._parameters}


_TRAINING, _MODULES, _BEHIND, _BEFORE = map(
    attrgetter, ("training", "_modules", "_forward_hooks", "_forward_pre_hooks")
)
_VERSION, _DTYPE, _IS_CPU = map(attrgetter, ("_version", "dtype", "is_cpu"))


def together(parts: Sequence[nn.Module]) -> tuple[Any, ...]:
    """What tells whether modules work together as before: their hooks and their children.

    It is asked before every run, of hundreds of modules: loops in Python would take longer than
    small models run.
    """
    return (
        [*map(len, map(_BEHIND, parts))],
        [*map(len, map(_BEFORE, parts))],
        [*map(id, chain.from_iterable(map(dict.values, map(_MODULES, parts))))],
        [*map(len, map(_MODULES, parts))],
    )


def trains(parts: Sequence[nn.Module]) -> bool:
    """Whether one of these modules is in training mode."""
    return any(map(_TRAINING, parts))


def kinds(tensors: Sequence[torch.Tensor]) -> tuple[list[bool], list[torch.dtype]]:
    """Which tensors are on the CPU, and what each holds."""
    return [*map(_IS_CPU, tensors)], [*map(_DTYPE, tensors)]


def written(tensors: Sequence[torch.Tensor]) -> tuple[list[int], list[int]]:
    """Where tensors lie and how often each was written to: none where nobody counts.

    That is under inference mode.
    """
    try:
        versions = [*map(_VERSION, tensors)]
    except RuntimeError:
        versions = [-1 if one.is_inference() else one._version for one in tensors]
    return [*map(torch.Tensor.data_ptr, tensors)], versions


def hooks(module: nn.Module) -> tuple[int, int]:
    """How many hooks run behind and in front of a module."""
    return len(module._forward_hooks), len(module._forward_pre_hooks)


def beside(model: nn.Module) -> list[Any]:
    """What a model's modules hold or write into that is the user's: a copy of them shares it.

    Modules that stand in lists and are none of its parts (a teacher), plain tensors, the objects
    whose methods hooks are, also those called in part, and hooks that are objects. And the dicts of
    buffers, into which code may put new ones.
    """
    own = set(map(id, model.modules()))
    found: list[Any] = [part._buffers for part in model.modules()]

    def look(value: Any, deep: int = 4) -> None:
        if isinstance(value, nn.Module):
            found.extend([value] if id(value) not in own else [])
        elif isinstance(value, torch.Tensor):
            found.append(value)
        elif deep and isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                look(item, deep - 1)

    for part in model.modules():
        for name, value in part.__dict__.items():
            if name in _HOOKS:
                found.extend(map(_owner, value.values()))
            elif name not in _STATE:
                look(value)
    return [one for one in found if id(one) not in own]


def _owner(hook: Any) -> Any:
    """The object that a hook is a method of; else the hook itself."""
    while isinstance(hook, partial):
        hook = hook.func
    return getattr(hook, "__self__", hook)


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts `new` wherever `model` holds `old`: `setattr` would not reach names such as `0`.

    Code may reach a child through a list of its own beside, which holds the same object.
    """
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new
        if not isinstance(parent, OneOp):  # it keeps the layer that it stands for
            for name, value in list(parent.__dict__.items()):
                if name not in _STATE:
                    parent.__dict__[name] = _with(value, old, new)


def _with(value: Any, old: nn.Module, new: nn.Module, deep: int = 4) -> Any:
    """A plain list, tuple or dict, with `new` for `old`; lists and dicts are changed as such."""
    if value is old:
        return new
    if not deep:
        return value
    if type(value) is list:
        value[:] = [_with(item, old, new, deep - 1) for item in value]
    elif type(value) is dict:
        value.update([(key, _with(item, old, new, deep - 1)) for key, item in value.items()])
    elif type(value) is tuple and any(isinstance(item, nn.Module | list | dict) for item in value):
        return tuple(_with(item, old, new, deep - 1) for item in value)
    return value


def run_of(model: nn.Module, name: str) -> tuple[nn.Module, int | None] | None:
    """The module that a layer's name means, and which of its runs; None where there is no such.

    `act@2` is the third run of `act`. A layer without a number is meant as it runs first, a block
    as it runs last, for which the number is None.

    >>> model = nn.Sequential(nn.ReLU())
    >>> run_of(model, "0"), run_of(model, "0@1")[1], run_of(model, "")[1], run_of(model, "1")
    ((ReLU(), 0), 1, None, None)
    """
    path, _, number = name.partition("@")
    try:
        part = model.get_submodule(path)
    except AttributeError:
        return None
    if number.isdecimal():
        return part, int(number)
    return part, None if list(part.children()) else 0
