"""In which columns of a row the numbers of a position lie: a stride for each dimension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

__all__ = ["Block", "Strides", "blocks_of", "columns_of", "is_dense", "plain_strides"]

Strides = tuple[int, ...]
"""Columns from one number to the next along each dimension of a value; 0 along time and batch."""


@dataclass(frozen=True, slots=True)
class Block:
    """`places` of `count` columns each that go elsewhere, `left_jump` and `out_jump` apart.

    What is read lies `stride` apart within a place, what is written side by side, each from its
    column on.
    """

    places: int
    count: int
    left_jump: int
    out_jump: int
    stride: int
    left: int
    out: int


def plain_strides(shape: Sequence[int], fixed: Sequence[int]) -> Strides:
    """The numbers of dimensions `fixed` one behind another, the last one's side by side.

    >>> plain_strides((1, 3, 4, 100), (1, 2))
    (0, 4, 1, 0)
    """
    found, step = [0] * len(shape), 1
    for d in reversed(fixed):
        found[d] = step
        step *= shape[d]
    return tuple(found)


def is_dense(pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether dimensions of some (size, stride) leave no column out.

    >>> is_dense([(3, 1), (4, 3)]), is_dense([(3, 1), (4, 6)])
    (True, False)
    """
    step = 1
    for size, stride in sorted(pairs, key=lambda pair: pair[1]):
        if stride != step:
            return False
        step *= size
    return True


def columns_of(pairs: Sequence[tuple[int, int]]) -> Any:
    """The column of each number, in the order of the numbers.

    >>> columns_of([(2, 1), (3, 2)]).tolist()
    [0, 2, 4, 1, 3, 5]
    """
    found = np.zeros(1, np.int64)
    for size, stride in pairs:
        found = (found[:, None] + np.arange(size) * stride).ravel()
    return found


def blocks_of(dims: Sequence[tuple[int, int, int]]) -> Iterator[Block]:
    """Columns that go elsewhere, of dimensions (size, stride where they go, stride where they lie).

    >>> [(b.places, b.count, b.left_jump, b.out_jump) for b in blocks_of([(2, 4, 1), (4, 1, 2)])]
    [(2, 4, 1, 4)]
    """
    found: list[tuple[int, int, int]] = []
    for size, out, left in sorted(dims, key=lambda one: -one[1]):
        if size == 1:
            continue
        if found and found[-1][1:] == (out * size, left * size):
            size *= found.pop()[0]
        found.append((size, out, left))
    inner = found.pop() if found and found[-1][1] == 1 else (1, 1, 1)
    places = found.pop() if found else (1, inner[0], 0)
    for at in product(*(range(size) for size, _, _ in found)):
        out = sum(i * one[1] for i, one in zip(at, found, strict=True))
        left = sum(i * one[2] for i, one in zip(at, found, strict=True))
        yield Block(places[0], inner[0], places[2], places[1], inner[2], left, out)
