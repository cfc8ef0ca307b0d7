"""What flows between the operations of a framework that has channels last, while it is translated.

The op table has channels before the positions; a map that goes from layer to layer stays as it has
them, and says where the dimensions stand that the framework sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from atrous.network import Param, Tensor
from atrous.network.layout import channels, has_axes
from atrous.network.ops import Constant, Elementwise, Op, Permute, Reduce, Reshape, Slice
from atrous.network.table import effect
from atrous.readers.call import Call, Fixed, NotUnderstood
from atrous.readers.weights import MOST_LOOKED_AT, Zeros, zeros_of

__all__ = ["Held", "Order", "Placed", "PlacedCall", "channels_first", "fewer", "itemsize_of"]

Order = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor of the framework as one of the network: dimension `i` is `tensor`'s `order[i]`.

    Only who asks for the framework's own order has it turned.
    """

    tensor: Tensor
    order: Order

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the framework sees."""
        return tuple(self.tensor.shape[dim] for dim in self.order)

    @classmethod
    def plain(cls, tensor: Tensor) -> Placed:
        """A tensor whose dimensions are the framework's own."""
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
    """The order without the framework's dimensions `gone`, which the tensor has lost as well.

    >>> fewer((0, 2, 3, 1), [1, 2])
    (0, 1)
    """
    kept = [dim for index, dim in enumerate(order) if index not in gone]
    return tuple(sorted(kept).index(dim) for dim in kept)


@dataclass(eq=False)
class PlacedCall(Call[Any]):
    """One call whose tensors are `Placed`; `held` are the parameters of its layer."""

    held: tuple[Param, ...] = ()

    @property
    def first(self) -> Placed:
        """The first argument, which must depend on the input."""
        raise NotImplementedError

    def tensor_of(self, value: Any) -> Tensor | None:
        """The tensor of the network that a value is; None for all that depends on no input."""
        return value.tensor if isinstance(value, Placed) else super().tensor_of(value)

    # Orders

    def emit(
        self,
        op: Op,
        *inputs: Tensor,
        out: int | None = 0,
        params: Sequence[Param] = (),
        shape: Sequence[int] | None = None,
    ) -> Tensor:
        """One op of the network; a step on the way is called after what it does as well."""
        if out is not None:
            return super().emit(op, *inputs, out=out, params=params, shape=shape)
        name, label = self.name, getattr(op, "label", "") or op.kind
        if name.rpartition(".")[2] != label:
            self.name = f"{name}.{label}"
        try:
            return super().emit(op, *inputs, out=out, params=params, shape=shape)
        finally:
            self.name = name

    def made(
        self,
        op: Op,
        *inputs: Tensor,
        order: Order | None = None,
        out: int | None = 0,
        params: Sequence[Param] | None = None,
    ) -> Placed:
        """An output of the call, or with `out` None a step, whose dimensions stand in `order`."""
        given = self.held if params is None and out is not None else params or ()
        if out is None:
            made = self.step(op, *inputs, params=given)
            return Placed(made, order or tuple(range(len(made.shape))))
        if self.outputs[out].shape is None:
            # The source does not say, so the rule does; a step is made as it says.
            plain = tuple(Tensor(x.name, tuple(channels(n) for n in x.shape)) for x in inputs)
            stored: Sequence[int] = Tensor("", effect(op, plain).layout).shape
            made = self.emit(op, *inputs, out=out, params=given, shape=stored)
            return Placed(made, order or tuple(range(len(stored))))
        shape = self.shape_of(out)
        order = order or tuple(range(len(shape)))
        stored = [shape[order.index(dim)] for dim in range(len(order))]
        return Placed(self.emit(op, *inputs, out=out, params=given, shape=stored), order)

    def turned(self, value: Placed, order: Order, out: int | None = None) -> Tensor:
        """The tensor whose dimensions stand in `order`."""
        if value.order == order and out is None:
            return value.tensor
        moves = [0] * len(order)
        for own, wanted in zip(value.order, order, strict=True):
            moves[wanted] = own
        op = Permute(tuple(moves))
        return self.emit(op, value.tensor, out=out, shape=[value.tensor.shape[i] for i in moves])

    def plain(self, value: Any) -> Tensor:
        """The value with the framework's own dimensions; a constant becomes a node of its own."""
        if isinstance(value, Placed):
            return self.turned(value, tuple(range(len(value.order))))
        if isinstance(value, Fixed):
            return self.constant(value)
        raise NotUnderstood("takes an argument that is no tensor")

    # Ops that many layers are

    def alone(self, label: str, value: Placed | None = None, out: int | None = 0) -> Placed:
        """A function of each element by itself."""
        value = value or self.first
        return self.made(Elementwise(label), value.tensor, order=value.order, out=out)

    def joined(self, label: str, values: Sequence[Any]) -> Placed:
        """A function of elements at the same place, with broadcasting."""
        shape = self.shape
        tensors = [value for value in values if isinstance(value, Placed)]
        params = (*self.held, *(p for v in values if isinstance(v, Fixed) for p in v.params))
        full = [value for value in tensors if len(value.order) == len(shape)]
        turned = [value for value in full if value.order != tuple(range(len(shape)))]
        order = (turned or full)[0].order if full else tuple(range(len(shape)))
        parts = [self._widened(value, order) for value in tensors]
        wide = tuple(max(sizes) for sizes in zip(*(p.shape for p in parts), strict=True))
        stored = tuple(shape[order.index(dim)] for dim in range(len(order)))
        if wide != stored:
            fill = Constant(stored)
            parts.append(self.builder.add(fill, name=f"{self.name}.constant", module=self.module))
        return self.made(Elementwise(label), *parts, order=order, params=params)

    def _widened(self, value: Placed, order: Order) -> Tensor:
        """The value with as many dimensions as the order, new ones in front, in that order."""
        missing = len(order) - len(value.order)
        if not missing:
            return self.turned(value, order)
        shape = (*(1,) * missing, *value.shape)
        grown = self.step(Reshape(shape), self.plain(value))
        return self.turned(Placed.plain(grown), order)

    def reduced(
        self, value: Placed, dims: Sequence[int], keep: bool, label: str, out: int | None = 0
    ) -> Placed:
        """A reduction over the framework's dimensions `dims`."""
        dims = tuple(dim % len(value.order) for dim in dims)
        own = tuple(sorted(value.order[dim] for dim in dims))
        order = value.order if keep else fewer(value.order, dims)
        return self.made(Reduce(own, keep, label), value.tensor, order=order, out=out)

    def pieces(self, value: Placed, dim: int) -> list[Placed]:
        """Output `p` reads `p` along the framework's dimension `dim`, which goes."""
        own, order = value.order[dim], fewer(value.order, [dim])
        return [
            self.made(Slice(own, place, 1, drop=True), value.tensor, order=order, out=place)
            for place in range(value.shape[dim])
        ]

    def holds_positions(self, value: Placed, dim: int) -> bool:
        """Whether the framework's dimension `dim` holds positions of an axis."""
        return has_axes(value.tensor.layout[value.order[dim]])


def itemsize_of(dtype: str) -> int:
    """Bytes of one number; parts of one count whole.

    >>> itemsize_of("bfloat16"), itemsize_of("bool"), itemsize_of("float8_e4m3fn")
    (2, 1, 1)
    """
    bits = "".join(letter for letter in dtype.partition("_")[0] if letter.isdigit())
    return 1 if dtype == "bool" else max(int(bits) // 8, 1) if bits else 4
