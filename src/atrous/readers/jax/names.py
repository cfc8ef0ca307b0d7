"""What layers are called: as the user's modules, scopes and arrays are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["jax_layer", "short", "spelled"]

_SHORT = {
    "conv_general_dilated": "conv",
    "dot_general": "dot",
    "reduce_window_max": "max_pool",
    "reduce_window_min": "min_pool",
    "reduce_window_sum": "sum_pool",
    "reduce_sum": "sum",
    "reduce_max": "max",
    "reduce_min": "min",
    "broadcast_in_dim": "broadcast",
    "convert_element_type": "cast",
    "select_n": "where",
    "concatenate": "concat",
}
_ANY = frozenset(
    ("kernel", "bias", "scale", "weight", "w", "b", "embedding", "mean", "var", "constant")
)
"""The last part of an array's name that says nothing of its layer."""


def short(name: str) -> str:
    """What a primitive or a function of JAX's is called in a report.

    >>> short("conv_general_dilated"), short("_resize"), short("<lambda>")
    ('conv', 'resize', '')
    """
    name = name.strip("_") if not name.startswith("<") else ""
    return _SHORT.get(name, name.removesuffix("_static"))


def spelled(equation: Any, root: str, *, outermost: bool) -> tuple[str, ...]:
    """The modules and scopes that an equation stands in, without the source's own.

    Flax calls what runs in another method than `__call__` by both names, as `Net.encode`.
    """
    parts: list[str] = []
    for index, part in enumerate(str(equation.source_info.name_stack).split("/")):
        name = part.partition(".")[0]
        if not name or (outermost and not index and name == root):
            continue
        if "." in part and ((parts and parts[-1] == name) or name == root):
            continue
        parts.append(name)
    return tuple(parts)


def jax_layer(op: str, path: Sequence[str], params: Sequence[str]) -> tuple[str, str]:
    """The name of an equation's layer, and the module that it is in.

    What reads the arrays of one module is called as that; anything else by what it does, inside
    the modules, scopes and functions (`f()`) that it stands in.

    >>> jax_layer("conv_general_dilated", ("stem",), ["stem.kernel"])
    ('stem', 'stem')
    >>> jax_layer("reduce_window_max", ("encoder",), [])
    ('encoder.max_pool', 'encoder')
    """
    owners = {_owner(name) for name in params}
    if len(owners) == 1 and (owner := next(iter(owners))):
        return owner, owner
    module = ".".join(part for part in path if not part.endswith("()"))
    called = [part.removesuffix("()") for part in path]
    label = short(op)
    if called and called[-1] == label:
        called = called[:-1]
    return ".".join([*called, label]), module


def _owner(param: str) -> str:
    """The module whose array it is; empty where its name does not tell."""
    owner, _, last = param.rpartition(".")
    return owner or ("" if last.partition("@")[0] in _ANY else last)
