"""Products of tensors: matrices that the source holds, of two tensors, and fixed resamplings."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from atrous.errors import GeometryError
from atrous.geometry import Interpolation, Reads, Taps, resample
from atrous.network.layout import has_axes
from atrous.network.ops import Contract, Reshape, Resize, Sample
from atrous.readers.jax.call import JaxCall, translates
from atrous.readers.jax.numbers import Computed
from atrous.readers.placed import Held, Placed

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NOTHING = 2.0**-16
"""A weight that is so much smaller than the largest is 0 but for rounding."""
MOST_SAMPLED = 1 << 14


@translates("dot_general")
def _dot(call: JaxCall) -> Placed:
    """Shared dimensions are aligned, contracted ones read whole; all others come out."""
    (left, right), (lead, _) = call.setting("dimension_numbers")
    a, b = call[0], call[1]
    if (isinstance(a, Placed) and isinstance(b, Placed)) or lead:
        return _both(call, a, b)
    if isinstance(b, Held):
        return _with_matrix(call, a, b, left, right, first=True)
    return _with_matrix(call, b, a, right, left, first=False)


def _both(call: JaxCall, a: Any, b: Any) -> Placed:
    """A product of two tensors, each as it is stored; a constant becomes a node."""
    (left, right), (lead_left, lead_right) = call.setting("dimension_numbers")
    letters = iter(_LETTERS)
    terms = [["?"] * len(a.shape), ["?"] * len(b.shape)]
    for one, other in [*zip(lead_left, lead_right, strict=True), *zip(left, right, strict=True)]:
        terms[0][one] = terms[1][other] = next(letters)
    result = [terms[0][dim] for dim in lead_left]
    for term in terms:
        for dim, letter in enumerate(term):
            if letter == "?":
                term[dim] = next(letters)
                result.append(term[dim])
    stored, operands = [], []
    for value, term in zip((a, b), terms, strict=True):
        placed = value if isinstance(value, Placed) else Placed.plain(call.constant(value))
        operands.append(placed.tensor)
        stored.append("".join(term[placed.order.index(i)] for i in range(len(term))))
    return call.made(Contract(f"{stored[0]},{stored[1]}->{''.join(result)}"), *operands)


def _with_matrix(
    call: JaxCall,
    x: Placed,
    weight: Held,
    summed: Sequence[int],
    rows: Sequence[int],
    *,
    first: bool,
) -> Placed:
    """A tensor times an array: a linear layer over the contracted dimensions.

    Of the result, the dimensions of the tensor come `first`, or those of the array do.
    """
    rank, kept = len(x.order), [dim for dim in range(len(x.order)) if dim not in summed]
    columns = [dim for dim in range(len(weight.shape)) if dim not in rows]
    if len(summed) == 1 and len(columns) == 1:
        sampled = _resampled(call, x, weight, summed[0], rows[0], first)
        if sampled is not None:
            return sampled
    if not summed:
        return _both(call, *((x, weight) if first else (weight, x)))
    places = [*kept, *summed]
    tensor = call.turned(x, tuple(places.index(dim) for dim in range(rank)))
    lead = tensor.shape[: len(kept)]
    taken = prod(weight.shape[dim] for dim in rows)
    made = [weight.shape[dim] for dim in columns]
    if len(summed) > 1:
        tensor = call.step(Reshape((*lead, taken)), tensor)
    matrix = _matrix(weight, (*rows, *columns), taken, prod(made))
    op = call.linear(tensor, prod(made), matrix, columns=True)
    count, width = len(kept), len(made)
    order = tuple(range(count + width))
    if not first:
        order = (*range(count, count + width), *range(count))
    if width == 1:
        return call.made(op, tensor, order=order, params=weight.params)
    flat = call.step(op, tensor, params=weight.params)
    return call.made(Reshape((*lead, *made)), flat, order=order)


def _matrix(weight: Held, order: Sequence[int], rows: int, columns: int) -> Held:
    """The array with contracted dimensions as rows and all others as columns."""
    moved = weight.moved(order)
    load = None if moved.load is None else lambda: moved.load().reshape(rows, columns)  # type: ignore[misc]
    return Held((rows, columns), weight.params, load)


def _resampled(
    call: JaxCall, x: Placed, weight: Held, dim: int, row: int, first: bool
) -> Placed | None:
    """Positions times a matrix that the function itself computes: a resampling of their axis.

    None where no positions are multiplied, or by stored numbers.
    """
    place = x.order[dim]
    if not isinstance(weight, Computed) or weight.load is None or not place:
        return None
    if not has_axes(x.tensor.layout[place]) or max(weight.shape) > MOST_SAMPLED:
        return None
    numbers = np.abs(weight.load() if row == 0 else np.transpose(weight.load()))
    reads = [np.flatnonzero(column > _NOTHING * numbers.max()) for column in numbers.T]
    inputs, outputs = numbers.shape
    rank = len(x.order)
    shape = (*x.tensor.shape[:place], outputs, *x.tensor.shape[place + 1 :])
    kind = _interpolation(reads, inputs, outputs)
    identity = Reads.identity()
    if inputs == outputs and all(list(at) == [o] for o, at in enumerate(reads)):
        made = x.tensor
    elif kind is not None:
        how, antialias = kind
        op = Resize(shape[place:], how, "half_pixel", antialias=antialias)
        made = call.emit(op, x.tensor, shape=shape)
    else:
        taps = tuple(Taps.of(map(int, at)) for at in reads)
        rule = Reads(outputs, inputs, taps).reduced()
        op_of_all = Sample(shape[place:], (rule, *(identity,) * (rank - place - 1)), "resize")
        made = call.emit(op_of_all, x.tensor, shape=shape)
    call.rewritten = True
    # The new dimension stands last, or first where the matrix does.
    kept = [x.order[other] for other in range(rank) if other != dim]
    return Placed(made, (*kept, place) if first else (place, *kept))


def _interpolation(
    reads: Sequence[Any], inputs: int, outputs: int
) -> tuple[Interpolation, bool] | None:
    """The interpolation at half pixels that reads just these samples, and whether it is smooth."""
    kinds: tuple[tuple[Interpolation, bool], ...] = (
        ("linear", False),
        ("linear", True),
        ("cubic", False),
        ("cubic", True),
    )
    for how, antialias in kinds:
        try:
            rule = resample(inputs, outputs, how, "half_pixel", antialias=antialias)
        except GeometryError:
            continue
        for output, found in enumerate(reads):
            said = set(rule.at(output))
            inside = {at for at in said if 0 <= at < inputs}
            if not antialias:
                inside |= {min(max(at, 0), inputs - 1) for at in said}
            if inside != set(map(int, found)):
                break
        else:
            return how, antialias
    return None
