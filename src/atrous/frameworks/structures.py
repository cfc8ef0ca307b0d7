"""Structures of inputs and outputs: what a model is given and returns, leaf by leaf.

PyTorch's own trees (`torch.utils._pytree`, private as of 2.13) know lists, tuples, dicts and what
is registered; a user's own records are looked into here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch.utils import _pytree

__all__ = ["flattened", "leaves", "mapped", "parts_of", "unflattened"]


def leaves(structure: Any) -> list[Any]:
    """All leaves of a structure of inputs or outputs, in the order that exports use."""
    return list(_pytree.tree_leaves(structure))


def parts_of(leaf: Any) -> dict[str, Any] | None:
    """What a record of the user's own holds, of which PyTorch's trees know nothing.

    That is a dataclass, or a dict of another kind; None for anything else.
    """
    if isinstance(leaf, dict):
        return dict(leaf)
    if is_dataclass(leaf) and not isinstance(leaf, type):
        return {field.name: getattr(leaf, field.name) for field in fields(leaf)}
    return None


def flattened(structure: Any) -> tuple[list[Any], Any]:
    """All leaves of a structure, and the spec by which `unflattened` puts them together again."""
    values, spec = _pytree.tree_flatten(structure)
    return list(values), spec


def mapped(structure: Any, function: Callable[[Any], Any]) -> Any:
    """The structure with `function` of each leaf in its place, records of the user's included."""

    def one(leaf: Any) -> Any:
        parts = parts_of(leaf)
        if not parts:
            return function(leaf)
        made = copy.copy(leaf)
        for name, part in parts.items():
            new = mapped(part, function)
            if isinstance(made, dict):
                made[name] = new
            else:
                object.__setattr__(made, name, new)
        return made

    return _pytree.tree_map(one, structure)


def unflattened(values: Sequence[Any], spec: Any) -> Any:
    """The structure that an exported program's `spec` makes of leaves."""
    return _pytree.tree_unflatten(list(values), spec)
