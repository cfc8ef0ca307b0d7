"""What flows between the operations of a Keras graph while it is translated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from atrous.network import Param, Tensor
from atrous.readers.call import Fixed
from atrous.readers.weights import MOST_LOOKED_AT, Zeros, zeros_of

__all__ = ["Held", "Order", "Placed", "channels_first", "fewer"]

Order = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor of Keras as a tensor of the network: dimension `i` is `tensor`'s `order[i]`.

    Keras mostly has channels last and the op table before the positions. A map that goes from
    layer to layer stays as it is, and only who asks for Keras' own order has it turned.
    """

    tensor: Tensor
    order: Order

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that Keras sees."""
        return tuple(self.tensor.shape[dim] for dim in self.order)

    @classmethod
    def plain(cls, tensor: Tensor) -> Placed:
        """A tensor whose dimensions are Keras' own."""
        return cls(tensor, tuple(range(len(tensor.shape))))


@dataclass(frozen=True, slots=True, eq=False)
class Held(Fixed):
    """Numbers that depend on no input; `load` makes the array, None where nobody looks."""

    shape: tuple[int, ...]
    params: tuple[Param, ...] = ()
    load: Callable[[], Any] | None = None

    def zeros(self, kernel: Sequence[int]) -> Zeros:
        """Where the numbers are 0, as `zeros_of` has it; nowhere for numbers not at hand."""
        if self.load is None or prod(self.shape) > MOST_LOOKED_AT:
            return ()
        return zeros_of(self.load(), kernel)

    def moved(self, order: Sequence[int]) -> Held:
        """The same numbers with their dimensions in another order."""
        load = self.load
        shape = tuple(self.shape[dim] for dim in order)
        turned = None if load is None else lambda: np.transpose(load(), order)
        return Held(shape, self.params, turned)

    def turned(self) -> Held:
        """The matrix with rows for columns."""
        return self.moved((1, 0))


def channels_first(rank: int) -> Order:
    """Where batch, positions and channels, in this order, stand where channels come second.

    >>> channels_first(4)
    (0, 2, 3, 1)
    """
    return (0, *range(2, rank), 1)


def fewer(order: Order, gone: Sequence[int]) -> Order:
    """The order without Keras' dimensions `gone`, which the tensor has lost as well.

    >>> fewer((0, 2, 3, 1), [1, 2])
    (0, 1)
    """
    kept = [dim for index, dim in enumerate(order) if index not in gone]
    return tuple(sorted(kept).index(dim) for dim in kept)
