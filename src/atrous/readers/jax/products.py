"""Products of tensors: matrices that the source holds, of two tensors, and fixed resamplings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from atrous.errors import GeometryError
from atrous.geometry import Interpolation, Reads, Taps, resample
from atrous.network.layout import has_axes
from atrous.network.ops import Contract, Op, Reshape, Resize, Sample
from atrous.readers.jax.call import JaxCall, translates
from atrous.readers.jax.numbers import Computed
from atrous.readers.placed import Held, Placed

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NOTHING = 2.0**-16
"""A weight that is so much smaller than the largest is 0 but for rounding."""
MOST_SAMPLED = 1 << 14
_IMAGE = frozenset(("resize()", "scale_and_translate()"))


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
    sampled = _resampled(call, x, weight, summed, rows, first=first)
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
    call: JaxCall,
    x: Placed,
    weight: Held,
    summed: Sequence[int],
    rows: Sequence[int],
    *,
    first: bool,
) -> Placed | None:
    """Dimensions times numbers that the function itself computes: a resampling of each.

    None where the numbers are stored or do not resample dimension by dimension; for all of the last
    dimension too, which holds channels by habit, unless inside `jax.image`.
    """
    columns = [dim for dim in range(len(weight.shape)) if dim not in rows]
    if not isinstance(weight, Computed) or weight.load is None or len(columns) != len(summed):
        return None
    if not summed or max(weight.shape) > MOST_SAMPLED or any(not x.order[dim] for dim in summed):
        return None
    numbers = np.abs(weight.load())
    mask = numbers > _NOTHING * numbers.max()
    for given in permutations(columns):
        if masks := _dimension_masks(mask, rows, given):
            break
    mark = call.builder.mark()
    made: Placed | None = x
    for dim, mask in zip(summed, masks, strict=False):
        made = made and _resampled_along(call, made, dim, mask)
    if made is None or len(masks) < len(summed):
        call.builder.undo(mark)
        return None
    call.rewritten = True
    # The new dimensions stand last, or first where the matrix does.
    kept = [x.order[dim] for dim in range(len(x.order)) if dim not in summed]
    new = [x.order[dim] for _, dim in sorted(zip(given, summed, strict=True))]
    return Placed(made.tensor, tuple([*kept, *new] if first else [*new, *kept]))


def _dimension_masks(mask: Any, rows: Sequence[int], columns: Sequence[int]) -> list[Any]:
    """For each row dimension, which of its indices each index of a column dimension reads.

    Empty where these do not say it all.
    """
    masks = []
    whole = np.ones((1,) * mask.ndim, bool)
    for row, column in zip(rows, columns, strict=True):
        others = tuple(dim for dim in range(mask.ndim) if dim not in (row, column))
        part = mask.any(axis=others, keepdims=True)
        whole = whole & part
        plain = np.squeeze(part, others)
        masks.append(plain if row < column else plain.T)
    return masks if bool((whole == mask).all()) else []


def _resampled_along(call: JaxCall, x: Placed, dim: int, mask: Any) -> Placed | None:
    """One dimension resampled in its place: output `o` reads where the mask's column `o` is set."""
    place, rank = x.order[dim], len(x.order)
    inputs, outputs = mask.shape
    reads = [np.flatnonzero(column) for column in mask.T]
    shape = (*x.tensor.shape[:place], outputs, *x.tensor.shape[place + 1 :])
    if inputs == outputs and all(list(at) == [o] for o, at in enumerate(reads)):
        return x
    kind = _interpolation(reads, inputs, outputs)
    op: Op
    if kind is not None:
        how, antialias = kind
        op = Resize(shape[place:], how, "half_pixel", antialias=antialias)
    elif not has_axes(x.tensor.layout[place]) or not (
        _IMAGE.intersection(call.within) or dim < rank - 1
    ):
        return None
    else:
        taps = tuple(Taps.of(map(int, at)) for at in reads)
        identity = Reads.identity()
        rule = Reads(outputs, inputs, taps).reduced()
        op = Sample(shape[place:], (rule, *(identity,) * (rank - place - 1)), "resize")
    return Placed(call.emit(op, x.tensor, shape=shape), x.order)


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
