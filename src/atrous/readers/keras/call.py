"""One operation of a Keras graph: its arguments as values, and ops of the network to emit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atrous.network import Tensor
from atrous.plugins import extensions
from atrous.readers.call import NotUnderstood
from atrous.readers.placed import Held, Order, Placed, PlacedCall, channels_first
from atrous.registry import Registry

__all__ = ["KerasCall", "Translation", "translates", "translation_of"]

Translation = Callable[["KerasCall"], Any]
"""What a layer or op makes of its values; `NotImplemented` where its own code says it best."""

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
class KerasCall(PlacedCall):
    """One operation of a Keras graph; `operation` is the layer itself, with its settings.

    `follow` reads another function or layer in place of this one, on values of the same kind.
    """

    operation: Any = None
    follow: Runner | None = None
    weights: bool = False
    followed: int = 0

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

    def mapped(self, value: Placed) -> tuple[Tensor, Order]:
        """A map with its channels before the positions, as the layer's `data_format` has them."""
        rank = len(value.order)
        last = self.setting("data_format") != "channels_first"
        self.builder.channels_at(value.tensor, value.order[-1 if last else 1])
        order = channels_first(rank) if last else tuple(range(rank))
        return self.turned(value, order), order

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What another layer or function makes of values, its ops named as its own."""
        assert self.follow is not None
        return self.follow(self, function, args, kwargs)


def _array(value: Any) -> Any:
    from keras import ops

    return ops.convert_to_numpy(value)
