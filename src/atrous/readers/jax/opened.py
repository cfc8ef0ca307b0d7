"""A source as one function of the arrays that it holds and of its inputs; nothing is run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from atrous.errors import ReadError
from atrous.network import Param

__all__ = ["Opened", "Stored", "bytes_each", "opened", "place_of"]

_FLAGS = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
"""Arguments of Flax modules that say whether a run is for training."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An array, or the shape of one, and the parameter that it is; None for a plain constant."""

    value: Any
    param: Param | None


@dataclass(frozen=True, slots=True)
class Opened:
    """`function(held, *inputs)`; `leaves` are the arrays in `held`, in JAX's order.

    `found` are arrays that the function reads from around it, by identity. `scope` is what all its
    layers' names begin with.
    """

    name: str
    function: Callable[..., Any]
    held: Any = ()
    leaves: Sequence[Stored] = ()
    found: dict[int, Stored] = field(default_factory=dict)
    scope: str = ""
    takes: Sequence[str] = ()


def opened(source: Any, examples: Sequence[Any]) -> Opened:
    """The function that a source is. Raises `ReadError` where it is none."""
    if inspect.isclass(source):
        raise ReadError(
            f"{source.__name__} is a class; give an instance of it, or a function of arrays."
        )
    if _is_of(source, "flax.linen"):
        return _linen(source, examples)
    if _is_of(source, "flax.nnx"):
        return _nnx(source)
    if isinstance(source, functools.partial):
        return _partial(source)
    if not callable(source):
        raise ReadError(f"a {type(source).__name__} cannot be called; give a function of arrays.")
    name = getattr(source, "__name__", type(source).__name__)
    takes = _taken_in_order(source)
    leaves, tree = jax.tree_util.tree_flatten(source)
    if not jax.tree_util.treedef_is_leaf(tree):
        stored = _arrays_of(source, ())

        def call(held: Any, *inputs: Any) -> Any:
            return jax.tree_util.tree_unflatten(tree, held)(*inputs)

        if len(stored) == len(leaves):
            return Opened(name, call, list(leaves), stored, takes=takes)
    return Opened(
        name, lambda _, *inputs: source(*inputs), found=dict(_around(source)), takes=takes
    )


def _is_of(source: Any, package: str) -> bool:
    return any(base.__module__.startswith(package) for base in type(source).__mro__)


def _taken_in_order(function: Any) -> list[str]:
    """The names of what a function takes in order."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in plain]


def _flags(call: Any) -> dict[str, bool]:
    """What a module's call takes that says it is no run for training."""
    try:
        known = inspect.signature(call).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in _FLAGS.items() if name in known}


def _linen(source: Any, examples: Sequence[Any]) -> Opened:
    """A `flax.linen` module with its variables bound, or without: then their shapes alone."""
    from flax import linen

    if not isinstance(source, linen.Module) or not callable(source):
        raise ReadError(f"a {type(source).__name__} is no flax.linen module that is called.")
    name = type(source).__name__
    flags: Any = _flags(type(source).__call__)
    if source.scope is not None:
        module, variables = source.unbind()
    else:
        module = source

        def init(*inputs: Any) -> Any:
            key = jax.random.key(0)
            return module.init({"params": key, "dropout": key}, *inputs, **flags)

        variables = jax.eval_shape(init, *examples)

    def call(held: Any, *inputs: Any) -> Any:
        return module.apply(held, *inputs, **flags)

    takes = [one for one in _taken_in_order(type(source).__call__)[1:] if one not in flags]
    return Opened(
        name, call, variables, _arrays_of(variables, ()), scope=module.name or name, takes=takes
    )


def _nnx(source: Any) -> Opened:
    """A `flax.nnx` module, at inference; a copy of it is traced."""
    from flax import nnx

    name = type(source).__name__
    if not isinstance(source, nnx.Module) or not callable(source):
        raise ReadError(f"a {name} is no flax.nnx module that can be called.")
    graph, state = nnx.split(source)
    kinds = {
        tuple(map(str, path)): isinstance(variable, nnx.Param)
        for path, variable in nnx.to_flat_state(state)
    }
    flags = _flags(type(source).__call__)

    def call(held: Any, *inputs: Any) -> Any:
        model: Any = nnx.merge(graph, held)
        model.eval()
        return model(*inputs, **flags)

    leaves = []
    for keys, value in jax.tree_util.tree_leaves_with_path(state):
        parts = [part for key in keys if (part := _key_text(key)) not in ("value", "raw_value")]
        leaves.append(Stored(value, _param(parts, value, not kinds.get(tuple(parts), True))))
    takes = [one for one in _taken_in_order(type(source).__call__)[1:] if one not in flags]
    return Opened(name, call, state, leaves, takes=takes)


def _partial(source: Any) -> Opened:
    """A function some of whose arguments are given, arrays or their shapes among them."""
    given = (source.args, dict(source.keywords))
    leaves, tree = jax.tree_util.tree_flatten(given)
    places = [i for i, leaf in enumerate(leaves) if _is_array(leaf)]
    paths = [keys for keys, _ in jax.tree_util.tree_leaves_with_path(given)]
    stored = []
    for place in places:
        parts = [_key_text(key) for key in paths[place]][1:]
        stored.append(_array_named(parts, leaves[place], inside=len(parts) > 1))

    def call(held: Any, *inputs: Any) -> Any:
        filled = list(leaves)
        for place, value in zip(places, held, strict=True):
            filled[place] = value
        args, keywords = jax.tree_util.tree_unflatten(tree, filled)
        return source.func(*args, *inputs, **keywords)

    name = getattr(source.func, "__name__", type(source.func).__name__)
    takes = [one for one in _taken_in_order(source) if one not in source.keywords]
    found = dict(_around(source.func))
    return Opened(name, call, [leaves[i] for i in places], stored, found, takes=takes)


def _around(function: Any) -> Iterator[tuple[int, Stored]]:
    """The arrays that a function reads from around it, by identity."""
    inner = inspect.unwrap(function)
    owner = getattr(inner, "__self__", None)
    inner = getattr(inner, "__func__", inner)
    places: dict[str, Any] = {}
    if inspect.isfunction(inner):
        variables = inspect.getclosurevars(inner)
        places = {**variables.globals, **variables.nonlocals}
    if owner is not None:
        places["self"] = owner
    for name, value in places.items():
        if inspect.ismodule(value):
            continue
        if _is_of(value, "flax.linen"):
            value = value.variables if value.scope is not None else ()
        for keys, leaf in jax.tree_util.tree_leaves_with_path(value):
            if _is_array(leaf):
                parts = [name, *(part for key in keys if (part := _key_text(key)) != "value")]
                yield place_of(leaf), _array_named(parts, leaf, inside=len(parts) > 1)


def place_of(value: Any) -> int:
    """What tells an array from all others: where NumPy's numbers lie, for JAX wraps these anew."""
    plain = getattr(value, "val", value)
    if isinstance(plain, np.ndarray) and plain.size:
        return int(plain.__array_interface__["data"][0])
    return id(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and not inspect.isclass(value)


def _arrays_of(tree: Any, before: Sequence[str]) -> list[Stored]:
    """The arrays of a tree, each with its name."""
    return [
        _array_named([*before, *map(_key_text, keys)], leaf, inside=True)
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _key_text(key: Any) -> str:
    for name in ("key", "name", "idx"):
        if hasattr(key, name):
            return str(getattr(key, name))
    return str(key)


def _array_named(parts: Sequence[str], value: Any, *, inside: bool) -> Stored:
    """An array under its path; collections of Flax say what it is, and a tree that it is stored.

    An array of NumPy alone, in no tree, is a constant.
    """
    found = list(parts)
    if "params" in found:
        return Stored(value, _param(found[found.index("params") + 1 :], value, False))
    if "batch_stats" in found:
        return Stored(value, _param(found[found.index("batch_stats") + 1 :], value, True))
    if not inside and not isinstance(value, jax.Array | jax.ShapeDtypeStruct):
        return Stored(value, None)
    return Stored(value, _param(found[1:] if inside and len(found) > 1 else found, value, False))


def _param(parts: Sequence[str], value: Any, buffer: bool) -> Param:
    size = 1
    for length in value.shape:
        size *= int(length)
    floating = jax.numpy.issubdtype(value.dtype, jax.numpy.inexact)
    name = ".".join(parts) or "constant"
    return Param(name, size, bytes_each(value), floating and not buffer, buffer or not floating)


def bytes_each(value: Any) -> int:
    """Bytes an element; a key of random numbers counts as two words."""
    return int(getattr(value.dtype, "itemsize", 8) or 8)
