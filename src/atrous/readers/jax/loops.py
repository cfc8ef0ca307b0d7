"""What runs a function of its own: branches, loops, recurrences."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
from jax.extend import core

from atrous.network.layout import has_axes
from atrous.network.ops import Elementwise, Reduce, Scan
from atrous.readers.call import NotUnderstood
from atrous.readers.jax.call import JaxCall, translates
from atrous.readers.jax.numbers import inner
from atrous.readers.placed import Placed


@translates("cond")
def _cond(call: JaxCall) -> Any:
    """The branch that a constant chooses."""
    branches = call.setting("branches")
    try:
        index = int(call.numbers(0))
    except NotUnderstood:
        raise NotUnderstood(
            "runs a branch that data decides; read a function that has the branch you mean"
        ) from None
    chosen = branches[min(max(index, 0), len(branches) - 1)]
    assert call.inline is not None
    call.rewritten = True
    given = list(call.arguments.values())[1:]
    return call.inline(chosen, given)


@translates("while")
def _while(_call: JaxCall) -> Any:
    """Not followed: data may decide how often it runs."""
    raise NotUnderstood(
        "runs so often as a condition on data says; write it as a loop of a fixed length "
        "(a Python for, or lax.fori_loop with constant bounds)"
    )


@translates("scan")
def _scan(call: JaxCall) -> Any:
    """A function of each step by itself, or a recurrence, whose steps read all before them."""
    body, carried = call.setting("jaxpr"), call.setting("num_carry")
    if not carried:
        return _each_step(call, body)
    return _recurrence(call, body, call.setting("num_consts"), carried)


def _each_step(call: JaxCall, body: Any) -> Any:
    """Steps that know nothing of one another, all at once."""
    consts = call.setting("num_consts")
    given = list(call.arguments.values())
    structs = [
        jax.ShapeDtypeStruct(value.shape, var.aval.dtype)
        for value, var in zip(given, body.jaxpr.invars, strict=True)
    ]
    axes = [None] * consts + [0] * (len(given) - consts)
    function = core.jaxpr_as_fun(body)
    closed = jax.make_jaxpr(jax.vmap(function, in_axes=axes))(*structs)
    assert call.inline is not None
    call.rewritten = True
    return call.inline(closed, given)


def _recurrence(call: JaxCall, body: Any, consts: int, carried: int) -> Any:
    """A recurrence over steps of vectors: output `o` reads all steps up to `o`, or from it on."""
    given = list(call.arguments.values())
    steps = [i for i, value in enumerate(given) if isinstance(value, Placed)]
    if len(steps) != 1 or steps[0] < consts + carried:
        raise NotUnderstood(
            "is a recurrence of several tensors, or from a state that the input decides; unroll "
            "it (a Python for) or read one step of it"
        )
    x = call.plain(given[steps[0]])
    if call.builder.looks and any(has_axes(dim) for dim in x.layout[1:]):
        raise NotUnderstood(
            "is a recurrence whose state has positions, so how far an output reads grows with the "
            "steps before it; unroll it (a Python for) or read one step of it"
        )
    made = call.setting("jaxpr").jaxpr.outvars
    if not _remembers(body.jaxpr, consts, carried, steps[0]):
        raise NotUnderstood(
            "is a recurrence whose outputs do not all read every step before them; unroll it"
        )
    batch = prod(x.shape[1:-1])
    total = _products(body.jaxpr)
    if len(x.shape) < 2 or total % batch:
        raise NotUnderstood("is a recurrence over steps that are no vectors; unroll it")
    params, label = call.params(), "scan"
    direction = "reverse" if call.setting("reverse") else "forward"
    outputs: list[Any] = [None] * len(made)
    macs = total // batch
    # The steps are run once: their outputs have the cost, or the last state where none is there.
    for index in (*range(carried, len(made)), *range(carried)):
        shape = tuple(made[index].aval.shape)
        if not call.outputs[index].used:
            continue
        lead = shape[:-1]
        if not shape or lead != x.shape[1:-1]:
            raise NotUnderstood("is a recurrence whose state has other dimensions; unroll it")
        op = Scan(0, direction, shape[-1], macs, label)  # type: ignore[arg-type]
        if index >= carried:
            outputs[index] = call.made(op, x, out=index, params=params)
        else:
            last = call.step(Reduce((0,), label="last"), call.step(op, x, params=params))
            outputs[index] = call.made(Elementwise("last"), last, out=index, params=())
        macs, params = 0, ()
    return outputs


def _remembers(jaxpr: Any, consts: int, carried: int, steps: int) -> bool:
    """Whether every output reads the step itself and, through a state, all steps before it."""
    depends = _dependence(jaxpr)
    states = range(consts, consts + carried)
    # State `i` is made of states and of the step; keep on until nothing is new.
    reached = {i: set(depends[i - consts]) for i in states}
    changed = True
    while changed:
        changed = False
        for found in reached.values():
            more = set().union(*(reached[j] for j in found if j in reached)) - found
            found |= more
            changed |= bool(more)
    lasting = {i for i in states if i in reached[i] and steps in reached[i]}
    return all(
        steps in found and any(i in lasting for i in found if i in reached) for found in depends
    )


def _dependence(jaxpr: Any) -> list[set[int]]:
    """For each output, the operands that it is made of."""
    known: dict[Any, set[int]] = {var: {i} for i, var in enumerate(jaxpr.invars)}
    for equation in jaxpr.eqns:
        given = [known.get(v, set()) for v in equation.invars if not isinstance(v, core.Literal)]
        known.update(dict.fromkeys(equation.outvars, set().union(*given)))
    return [set() if isinstance(v, core.Literal) else known.get(v, set()) for v in jaxpr.outvars]


def _products(jaxpr: Any) -> int:
    """The products of all matrices that a jaxpr multiplies."""
    total = 0
    for equation in jaxpr.eqns:
        called = inner(equation)
        if called is not None:
            total += _products(called[0])
        elif equation.primitive.name == "dot_general":
            (summed, _), _ = equation.params["dimension_numbers"]
            sizes: Sequence[int] = equation.invars[0].aval.shape
            total += prod(equation.outvars[0].aval.shape) * prod(sizes[dim] for dim in summed)
        elif equation.primitive.name in ("conv_general_dilated", "scan", "while", "cond"):
            raise NotUnderstood(
                f"is a recurrence whose steps run {equation.primitive.name}; unroll it"
            )
    return total
