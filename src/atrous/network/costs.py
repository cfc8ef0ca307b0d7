"""Multiply-accumulates of each op, from shapes alone: positions need not be followed for them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from atrous.network.ops import (
    AdaptivePool,
    Attention,
    Concat,
    Constant,
    Contract,
    Conv,
    ConvTranspose,
    Deform,
    Elementwise,
    Expand,
    Fold,
    Linear,
    Lookup,
    Mix,
    Op,
    Opaque,
    Pad,
    Permute,
    Pick,
    Pool,
    Reduce,
    Reorder,
    Repeat,
    Reshape,
    Resize,
    Roll,
    Sample,
    Scan,
    Shuffle,
    Slice,
    Transform,
    Unfold,
    Unpool,
    Windows,
)

__all__ = ["macs_of"]

Shape = tuple[int, ...]

# Sums, comparisons, functions of single elements, and what only moves them: no products.
_NO_PRODUCTS = (
    *(AdaptivePool, Concat, Elementwise, Expand, Fold, Lookup, Mix, Pad, Permute, Pick),
    *(Pool, Reduce, Reorder, Repeat, Reshape, Resize, Roll, Sample, Shuffle, Slice, Unfold),
    *(Unpool, Windows),
)


def macs_of(op: Op, inputs: Sequence[Shape], made: Shape) -> int | None:
    """What `op` multiplies and adds to make a tensor of shape `made`; None where nobody knows.

    A convolution has one product for each output, tap and input channel of its group; a transposed
    one for each input, tap and output channel of the group; a matrix product one for each
    combination of its indices. A Fourier transform of `n` points counts as the one of the next
    power of 2: `n / 2` complex products, four real ones each, in each of `log2(n)` rounds, and half
    of them for real numbers. Sums, comparisons and functions of single elements count 0. Of a kind
    of op that is not named here nobody knows.

    >>> from atrous.geometry import Window
    >>> macs_of(Conv((Window(3), Window(3)), channels=8), [(1, 4, 10, 10)], (1, 8, 8, 8))
    18432
    """
    if isinstance(op, Opaque | Constant):
        return op.macs
    x = inputs[0] if inputs else ()
    if isinstance(op, Conv | ConvTranspose | Deform):
        taps = prod(op.kernel)
        if isinstance(op, ConvTranspose):
            return prod(x) * taps * (op.channels // op.groups)
        return prod(made) * taps * (x[-len(op.windows) - 1] // op.groups)
    if isinstance(op, Transform):
        return _transformed(op, x)
    if isinstance(op, Linear):
        return prod(x) * op.channels
    if isinstance(op, Scan):
        return op.macs * prod(x if op.channels is None else x[:-1])
    if isinstance(op, Attention):
        query, key, value = inputs[:3]
        return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    if isinstance(op, Contract):
        return _contracted(op.equation, inputs)
    return 0 if isinstance(op, _NO_PRODUCTS) else None


def _transformed(op: Transform, x: Shape) -> int:
    """The products of a Fourier transform along one dimension after the other."""
    sizes, total = list(x), 0
    for dim, size, length in zip(op.dims, op.sizes, op.lengths, strict=True):
        rounds = (length - 1).bit_length()
        others = prod(n for i, n in enumerate(sizes) if i != dim)
        total += others * 2 * (1 << rounds) * rounds // (2 if op.real else 1)
        sizes[dim] = size
    return total


def _contracted(equation: str, inputs: Sequence[Shape]) -> int:
    """One product for each combination of indices; none where nothing is summed over.

    An index of one operand alone that does not come out is summed before anything is multiplied;
    where no index is left to sum, elements are multiplied as such.
    """
    terms, _, result = equation.partition("->")
    operands = terms.split(",")
    sizes: dict[str, int] = {}
    for names, shape in zip(operands, inputs, strict=False):
        for letter, size in zip(names, shape, strict=False):
            # A size of 1 is widened to the other's.
            sizes[letter] = max(size, sizes.get(letter, 1))
    shared = {letter for letter in sizes if all(letter in names for names in operands)}
    if shared <= set(result):
        return 0
    return prod(size for letter, size in sizes.items() if letter in result or letter in shared)
