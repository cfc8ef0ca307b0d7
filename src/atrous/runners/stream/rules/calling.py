"""A call as a function of its operands along time alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from atrous.runners.stream.rules.base import Timed, plain_form

__all__ = ["called", "nodes_in"]


def called(
    call: Timed, target: Any = None, change: Mapping[str, Any] | None = None
) -> tuple[list[int], Callable[..., Any]]:
    """The operands of a call along time, and the call as a function of these alone.

    `change` has arguments that are to be others.
    """
    target = plain_form(call.node.target) if target is None else target
    inputs: list[int] = []

    def held(argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            value = call.known.value(argument)
            if value is None:
                return call.known.constant(argument)
            inputs.append(value.index)
            return _Place(len(inputs) - 1)
        if isinstance(argument, list | tuple):
            return [held(part) for part in argument]
        return argument

    schema = getattr(target, "_schema", None)
    # What an op of PyTorch calls itself: this is a matter of a microsecond for each call.
    run = getattr(target, "_op", target)
    if schema is None:
        args = [held(argument) for argument in call.node.args]
        return inputs, _bound_call(target, args, {})
    args, kwargs = [], {}
    change = change or {}
    for argument in schema.arguments:
        key = argument.name
        value = change[key] if key in change else held(call.arguments.get(key))
        if argument.kwarg_only:
            kwargs[key] = value
        else:
            args.append(value)
    return inputs, _bound_call(run, args, kwargs)


class _Place:
    """Stands for an operand."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


def _bound_call(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[..., Any]:
    """A function of the operands alone."""
    places = [i for i, one in enumerate(args) if isinstance(one, _Place)]
    plain = not any(isinstance(one, list) and _has_place(one) for one in args)
    plain = plain and not any(_has_place(one) for one in kwargs.values())
    given = dict(kwargs)
    if plain and places == [0]:
        rest = tuple(args[1:])
        if given:
            return lambda x: target(x, *rest, **given)
        return lambda x: target(x, *rest)
    if plain and places == [0, 1] and [args[0].index, args[1].index] == [0, 1]:
        rest = tuple(args[2:])
        return lambda x, y: target(x, y, *rest, **given)

    def run(*operands: Any) -> Any:
        def put(one: Any) -> Any:
            if isinstance(one, _Place):
                return operands[one.index]
            return [put(part) for part in one] if isinstance(one, list) else one

        return target(*map(put, args), **{key: put(one) for key, one in given.items()})

    return run


def _has_place(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_place, value))
    return isinstance(value, _Place)


def nodes_in(value: Any) -> list[Any]:
    """The nodes in an argument."""
    if isinstance(value, torch.fx.Node):
        return [value]
    if isinstance(value, list | tuple):
        return [node for part in value for node in nodes_in(part)]
    return []
