"""Functions of single elements, reductions, and what passes its operand on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atrous.network.ops import Mix, Scan, Slice, Transform
from atrous.readers.call import NotUnderstood
from atrous.readers.jax.call import JaxCall, elementwise, translates
from atrous.readers.jax.numbers import inner
from atrous.readers.placed import Placed

__all__ = ["ELEMENTWISE", "only_elements"]

ELEMENTWISE = frozenset(
    word
    for line in (
        "abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt",
        "ceil clamp clz complex conj convert_element_type copy copy_p cos cosh digamma div eq erf",
        "erf_inv erfc exp exp2 expm1 floor ge gt igamma igammac imag integer_pow is_finite le",
        "lgamma log log1p logistic lt max min mul mulhi ne neg nextafter not or polygamma",
        "population_count pow real reduce_precision regularized_incomplete_beta rem round rsqrt",
        "select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square",
        "stop_gradient sub tan tanh xor zeta",
    )
    for word in line.split()
)
"""The primitives whose output at a place reads all operands there, and nothing else."""

_SAME = "stop_gradient copy copy_p reduce_precision sharding_constraint mesh_cast name pvary"


@translates(*sorted(ELEMENTWISE - {*_SAME.split(), "convert_element_type"}), broadcasting=True)
def _together(call: JaxCall) -> Placed:
    """Output `o` reads all operands at `o`."""
    return elementwise(call, call.op)


@translates(_SAME, "convert_element_type", broadcasting=True)
def _same(call: JaxCall) -> Placed:
    """What comes in, or another type of it."""
    x = call.first
    if call.outputs[0].itemsize == x.tensor.itemsize:
        return x
    return elementwise(call, "cast")


@translates("optimization_barrier device_put")
def _passed(call: JaxCall) -> Any:
    """Each output is its operand."""
    made = list(call.arguments.values())
    return made if call.several else made[0]


@translates("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor")
@translates("argmax argmin")
def _reduce(call: JaxCall) -> Placed:
    """Each output reads all along the axes."""
    label = call.op.removeprefix("reduce_")
    return call.reduced(call.first, call.setting("axes"), False, label)


@translates("reduce")
def _reduce_by(call: JaxCall) -> Any:
    """A reduction by a function of one's own."""
    if len(call.outputs) > 1:
        raise NotUnderstood("reduces several operands in step")
    return [call.reduced(call.first, call.setting("dimensions"), False, "reduce")]


@translates("cumsum cumprod cummax cummin cumlogsumexp")
def _cumulative(call: JaxCall) -> Placed:
    """Output `o` reads `0` up to `o` along the axis, or `o` up to the end."""
    x = call.first
    direction = "reverse" if call.setting("reverse") else "forward"
    op = Scan(x.order[call.setting("axis")], direction, label=call.op)  # type: ignore[arg-type]
    return call.made(op, x.tensor, order=x.order)


@translates("sort")
def _sort(call: JaxCall) -> Any:
    """Each output reads all along the dimension, of all operands that depend on the input."""
    tensors = [value for value in call.arguments.values() if isinstance(value, Placed)]
    if len(tensors) > 1:
        raise NotUnderstood("sorts several operands in step")
    x = tensors[0]
    op = Mix((x.order[call.setting("dimension")],), "sort")
    made = [call.made(op, x.tensor, order=x.order, out=i) for i in range(len(call.outputs))]
    return made if call.several else made[0]


@translates("top_k")
def _top_k(call: JaxCall) -> Any:
    """Each output reads all along the last dimension."""
    x = call.first
    last = x.order[-1]
    mixed = call.step(Mix((last,), "top_k"), x.tensor)
    op = Slice(last, 0, call.setting("k"))
    return [call.made(op, mixed, order=x.order, out=index) for index in range(2)]


@translates("fft")
def _fft(call: JaxCall) -> Placed:
    """Each output reads all along the transformed dimensions."""
    lengths = tuple(call.setting("fft_lengths"))
    x = call.plain(call.first)
    rank = len(x.shape)
    dims = tuple(range(rank - len(lengths), rank))
    sizes = tuple(call.shape[dim] for dim in dims)
    kind = str(call.setting("fft_type")).upper()
    return call.made(Transform(dims, sizes, lengths, "RFFT" in kind), x)


def only_elements(jaxpr: Any, dependent: Sequence[bool], shape: tuple[int, ...]) -> bool:
    """Whether a jaxpr makes its one result element by element of operands of that shape."""
    if len(jaxpr.outvars) != 1:
        return False
    depends = {var for var, is_so in zip(jaxpr.invars, dependent, strict=True) if is_so}
    if any(tuple(var.aval.shape) != shape for var in depends):
        return False
    for equation in jaxpr.eqns:
        given = [not hasattr(atom, "val") and atom in depends for atom in equation.invars]
        if not any(given):
            continue
        called = inner(equation)
        if called is not None:
            if not only_elements(called[0], given, shape):
                return False
        elif equation.primitive.name not in ELEMENTWISE:
            return False
        if any(tuple(out.aval.shape) != shape for out in equation.outvars):
            return False
        depends.update(equation.outvars)
    return not hasattr(jaxpr.outvars[0], "val") and jaxpr.outvars[0] in depends
