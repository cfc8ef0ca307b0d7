"""One operation of a Keras graph: its arguments as values, and ops of the network to emit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atrous.network import Param, Tensor
from atrous.network.layout import channels, has_axes
from atrous.network.ops import Constant, Elementwise, Op, Permute, Reduce, Reshape
from atrous.network.table import effect
from atrous.plugins import extensions
from atrous.readers.call import Call, Fixed, NotUnderstood
from atrous.readers.keras.values import Held, Order, Placed, channels_first, fewer
from atrous.registry import Registry

__all__ = ["KerasCall", "Translation", "translates", "translation_of"]

Translation = Callable[["KerasCall"], Any]
TRANSLATIONS = Registry[str, Translation]("translation")


def translates(family: str, names: str) -> Callable[[Translation], Translation]:
    """Register the translation of these layers or ops. A second one for the same is an error."""
    return TRANSLATIONS.under(*(f"{family}.{name}" for name in names.split()))


def translation_of(operation: Any) -> Translation | None:
    """The translation of an operation of Keras' own class, or of one that computes as that does."""
    extensions("atrous.keras_ops")
    for base in type(operation).__mro__:
        key = _key(base)
        if key in TRANSLATIONS and type(operation).call is getattr(base, "call", None):
            return TRANSLATIONS[key]
    return None


def _key(kind: type) -> str:
    """The family and name of a class of Keras; the name alone of any other."""
    parts = kind.__module__.split(".")
    return f"{parts[2]}.{kind.__name__}" if parts[:2] == ["keras", "src"] else kind.__name__


Runner = Callable[["KerasCall", Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]
"""Follows a function that takes values of the call, and returns what it makes."""


@dataclass(eq=False)
class KerasCall(Call[Any]):
    """One operation of a Keras graph; `operation` is the layer itself, with its settings.

    `follow` reads another function or layer in place of this one, on values of the same kind.
    """

    operation: Any = None
    follow: Runner | None = None
    held: tuple[Param, ...] = ()
    weights: bool = False
    followed: int = 0

    def tensor_of(self, value: Any) -> Tensor | None:
        """The tensor of the network that a value is; None for all that depends on no input."""
        return value.tensor if isinstance(value, Placed) else super().tensor_of(value)

    @property
    def first(self) -> Placed:
        """The first argument, which must be a tensor that depends on the input."""
        value = next(iter(self.arguments.values()))
        if isinstance(value, list | tuple) and len(value) == 1:
            (value,) = value
        if not isinstance(value, Placed):
            raise NotUnderstood("its first argument is not one tensor that depends on the input")
        return value

    # Settings and weights

    def setting(self, name: str, default: Any = None) -> Any:
        """A setting of the layer or op."""
        return getattr(self.operation, name, default)

    def numbers(self, name: str) -> Held:
        """A weight of the layer."""
        value = getattr(self.operation, name)
        load = (lambda: _array(value)) if self.weights else None
        return Held(tuple(value.shape), self.held, load)

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
        name, self.name = self.name, f"{self.name}.{getattr(op, 'label', '') or op.kind}"
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
            # Keras does not say, so the rule does; a step is made as it says.
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
        """The value with the dimensions that Keras sees; a constant becomes a node of its own."""
        if isinstance(value, Placed):
            return self.turned(value, tuple(range(len(value.order))))
        if isinstance(value, Fixed):
            return self.constant(value)
        raise NotUnderstood("takes an argument that is no tensor")

    def mapped(self, value: Placed) -> tuple[Tensor, Order]:
        """A map with its channels before the positions, as the layer's `data_format` has them."""
        rank = len(value.order)
        last = self.setting("data_format") != "channels_first"
        self.builder.channels_at(value.tensor, value.order[-1 if last else 1])
        order = channels_first(rank) if last else tuple(range(rank))
        return self.turned(value, order), order

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
        """A reduction over Keras' dimensions `dims`."""
        dims = tuple(dim % len(value.order) for dim in dims)
        own = tuple(sorted(value.order[dim] for dim in dims))
        order = value.order if keep else fewer(value.order, dims)
        return self.made(Reduce(own, keep, label), value.tensor, order=order, out=out)

    def holds_positions(self, value: Placed, dim: int) -> bool:
        """Whether Keras' dimension `dim` holds positions of an axis."""
        return has_axes(value.tensor.layout[value.order[dim]])

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What another layer or function makes of values, its ops named as its own."""
        assert self.follow is not None
        return self.follow(self, function, args, kwargs)


def _array(value: Any) -> Any:
    from keras import ops

    return ops.convert_to_numpy(value)
