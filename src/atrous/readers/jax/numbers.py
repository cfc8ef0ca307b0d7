"""Arrays that depend on no input: held by the source, or made by the function itself.

They are loaded where somebody looks: indices that a gather picks, weights of a resampling, taps of
a kernel that are 0. What the function makes is computed in NumPy, primitive by primitive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import jax
import numpy as np
from jax.extend import core

from atrous.network import Param
from atrous.readers.call import once, params_behind
from atrous.readers.placed import Held

__all__ = ["Computed", "computed", "inner", "written"]

MOST_COMPUTED = 1 << 22
"""Numbers of one array that the reader computes by itself."""

Load = Callable[[], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Computed(Held):
    """Numbers that the function itself makes, or constants in it; of no parameter."""


def written(value: Any) -> Computed:
    """A number that is written into the function."""
    return Computed(tuple(np.shape(value)), (), lambda: np.asarray(value))


def computed(equation: Any, given: Sequence[Any]) -> list[Held]:
    """The results of an equation that depend on no input, or have no element."""
    given = [value for value in given if isinstance(value, Held)]
    params = once(params_behind(given))
    shapes = [tuple(out.aval.shape) for out in equation.outvars]
    kind = Computed if all(isinstance(value, Computed) for value in given) else Held
    loads = [value.load for value in given]
    sizes = [prod(shape) for shape in (*shapes, *(value.shape for value in given))]
    missing = len(given) < len(equation.invars) or any(load is None for load in loads)
    if missing or max(sizes, default=0) > MOST_COMPUTED:
        return [kind(shape, params) for shape in shapes]

    @cache
    def run() -> list[Any]:
        return evaluated(equation, [load() for load in loads if load is not None])

    def one(index: int) -> Load:
        return lambda: run()[index]

    return [kind(shape, params, one(index)) for index, shape in enumerate(shapes)]


def inner(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The jaxpr that an equation calls on its operands, and its constants; None for others."""
    if equation.primitive.name not in _CALLS:
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        held = equation.params.get(key)
        if isinstance(held, core.ClosedJaxpr):
            return held.jaxpr, held.consts
        if isinstance(held, core.Jaxpr):
            return held, ()
    return None


_CALLS = frozenset(
    (
        *("jit", "pjit", "closed_call", "core_call", "xla_call", "remat", "remat2", "checkpoint"),
        *("custom_jvp_call", "custom_vjp_call", "custom_jvp_call_jaxpr"),
        "custom_vjp_call_jaxpr",
    )
)


def evaluated(equation: Any, arrays: Sequence[Any]) -> list[Any]:
    """What an equation makes of numbers."""
    called = inner(equation)
    if called is not None:
        return _evaluated_jaxpr(*called, arrays)
    name, settings = equation.primitive.name, equation.params
    if name in _MAKES:
        with np.errstate(all="ignore"):
            made = _MAKES[name](settings, *arrays)
        return [np.asarray(made, dtype=equation.outvars[0].aval.dtype)]
    bound = equation.primitive.bind(*map(jax.numpy.asarray, arrays), **settings)
    several = equation.primitive.multiple_results
    return [np.asarray(part) for part in (bound if several else [bound])]


def _evaluated_jaxpr(jaxpr: Any, consts: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
    known.update(zip(jaxpr.invars, arrays, strict=True))

    def value(atom: Any) -> Any:
        return np.asarray(atom.val) if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        made = evaluated(equation, [value(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, made, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


Make = Callable[..., Any]


def _of_arrays(function: Make) -> Make:
    return lambda _, *arrays: function(*arrays)


def _wide(settings: Mapping[str, Any], x: Any, *_: Any) -> Any:
    shape, dims = settings["shape"], settings["broadcast_dimensions"]
    grown = [1] * len(shape)
    for dim, size in zip(dims, x.shape, strict=True):
        grown[dim] = size
    return np.broadcast_to(x.reshape(grown), shape)


def _iota(settings: Mapping[str, Any], *_: Any) -> Any:
    shape, dim = settings["shape"], settings["dimension"]
    line = np.arange(shape[dim]).reshape([-1 if i == dim else 1 for i in range(len(shape))])
    return np.broadcast_to(line, shape)


def _cast(settings: Mapping[str, Any], x: Any) -> Any:
    return x.astype(settings["new_dtype"])


def _over(function: Make) -> Make:
    return lambda settings, x: function(x, axis=tuple(settings["axes"]), dtype=x.dtype)


def _extreme(function: Make) -> Make:
    return lambda settings, x: function(x, axis=tuple(settings["axes"]))


def _case_of(_: Mapping[str, Any], which: Any, *cases: Any) -> Any:
    return np.choose(np.broadcast_to(which, cases[0].shape).astype(int), cases)


def _divided(_: Mapping[str, Any], x: Any, y: Any) -> Any:
    # Whole numbers are divided towards 0.
    return np.trunc(x / y) if np.issubdtype(x.dtype, np.integer) else x / y


def _strided_part(settings: Mapping[str, Any], x: Any) -> Any:
    steps = settings["strides"] or (1,) * x.ndim
    parts = zip(settings["start_indices"], settings["limit_indices"], steps, strict=True)
    return x[tuple(slice(*part) for part in parts)]


_MAKES: dict[str, Make] = {
    "abs": _of_arrays(np.abs),
    "add": _of_arrays(np.add),
    "and": _of_arrays(np.bitwise_and),
    "broadcast_in_dim": _wide,
    "ceil": _of_arrays(np.ceil),
    "clamp": _of_arrays(lambda low, x, high: np.minimum(np.maximum(x, low), high)),
    "concatenate": lambda settings, *parts: np.concatenate(parts, settings["dimension"]),
    "convert_element_type": _cast,
    "copy": _of_arrays(lambda x: x),
    "cos": _of_arrays(np.cos),
    "div": _divided,
    "eq": _of_arrays(np.equal),
    "exp": _of_arrays(np.exp),
    "floor": _of_arrays(np.floor),
    "ge": _of_arrays(np.greater_equal),
    "gt": _of_arrays(np.greater),
    "iota": _iota,
    "le": _of_arrays(np.less_equal),
    "log": _of_arrays(np.log),
    "lt": _of_arrays(np.less),
    "max": _of_arrays(np.maximum),
    "min": _of_arrays(np.minimum),
    "mul": _of_arrays(np.multiply),
    "ne": _of_arrays(np.not_equal),
    "neg": _of_arrays(np.negative),
    "not": _of_arrays(np.invert),
    "or": _of_arrays(np.bitwise_or),
    "pow": _of_arrays(np.power),
    "reduce_max": _extreme(np.max),
    "reduce_min": _extreme(np.min),
    "reduce_sum": _over(np.sum),
    "rem": _of_arrays(np.fmod),
    "reshape": lambda settings, x: x.reshape(settings["new_sizes"]),
    "rev": lambda settings, x: np.flip(x, settings["dimensions"]),
    "select_n": _case_of,
    "sign": _of_arrays(np.sign),
    "sin": _of_arrays(np.sin),
    "slice": _strided_part,
    "sqrt": _of_arrays(np.sqrt),
    "square": _of_arrays(np.square),
    "squeeze": lambda settings, x: np.squeeze(x, tuple(settings["dimensions"])),
    "stop_gradient": _of_arrays(lambda x: x),
    "sub": _of_arrays(np.subtract),
    "transpose": lambda settings, x: np.transpose(x, settings["permutation"]),
    "xor": _of_arrays(np.bitwise_xor),
}
"""What primitives make of NumPy arrays; JAX itself runs the others."""


def stored(value: Any, params: tuple[Param, ...], looks: bool) -> Held:
    """An array that the source holds; its numbers are at hand where somebody may look."""
    # What is a shape alone has no numbers, and a key of random numbers none that anybody reads.
    plain = hasattr(value, "__array__") and not jax.numpy.issubdtype(
        value.dtype, jax.dtypes.prng_key
    )
    load = (lambda: np.asarray(value)) if looks and plain else None
    kind = Held if params else Computed
    return kind(tuple(value.shape), params, load)
