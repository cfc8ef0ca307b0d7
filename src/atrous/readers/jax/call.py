"""One equation of a jaxpr: its operands as values, and ops of the network to emit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atrous.network import Tensor
from atrous.network.ops import Expand, Permute, Pool, Reduce
from atrous.plugins import extensions
from atrous.readers.call import NotUnderstood
from atrous.readers.placed import Held, Order, Placed, PlacedCall
from atrous.registry import Registry

__all__ = [
    "BROADCASTING",
    "JaxCall",
    "Translation",
    "Wide",
    "elementwise",
    "primitive_translation",
    "translates",
]

Translation = Callable[["JaxCall"], Any]
TRANSLATIONS = Registry[str, Translation]("translation")
BROADCASTING: set[str] = set()
"""The primitives whose translations take operands that are still to be broadcast."""


def translates(*names: str, broadcasting: bool = False) -> Callable[[Translation], Translation]:
    """Register the translation of these primitives. A second one for the same is an error."""
    found = [name for line in names for name in line.split()]
    if broadcasting:
        BROADCASTING.update(found)
    return TRANSLATIONS.under(*found)


def primitive_translation(primitive: str) -> Translation | None:
    """The translation of a primitive; None where nobody has one."""
    extensions("atrous.jax_ops")
    return TRANSLATIONS.get(primitive)


@dataclass(frozen=True, slots=True)
class Wide(Placed):
    """A tensor that is to be broadcast to `full`, as the framework sees it: joins do it alone.

    Dimension `i` of `before` is that of index `dims[i]`.
    """

    full: tuple[int, ...] = ()
    before: Placed | None = None
    dims: tuple[int, ...] = ()


@dataclass(eq=False)
class JaxCall(PlacedCall):
    """One equation; `settings` are its parameters, `inline` translates another jaxpr in it.

    `within` are the modules, scopes and functions (`f()`) that it stands in.
    """

    settings: Any = None
    within: tuple[str, ...] = ()
    inline: Callable[..., list[Any]] | None = None

    @property
    def first(self) -> Placed:
        """The first operand, which must depend on the input."""
        return self.placed(0)

    def placed(self, index: int) -> Placed:
        """An operand, which must depend on the input."""
        value = self[index]
        if not isinstance(value, Placed):
            raise NotUnderstood("its first operand does not depend on the input")
        return value

    def setting(self, name: str, default: Any = None) -> Any:
        """A parameter of the primitive."""
        return self.settings.get(name, default)

    def numbers(self, index: int) -> Any:
        """The numbers of an operand that depends on no input."""
        value = self[index]
        if isinstance(value, Placed):
            raise NotUnderstood("places that data decides")
        if not isinstance(value, Held) or value.load is None:
            raise NotUnderstood("places whose numbers are not at hand")
        return value.load()

    def turned(self, value: Placed, order: Order, out: int | None = None) -> Tensor:
        """The tensor whose dimensions stand in `order`; turned back, it is what it was before."""
        maker = self.builder.maker(value.tensor)
        if out is None and maker is not None and isinstance(maker.op, Permute):
            back = tuple(maker.op.order[place] for place in value.order)
            before = next(t for t in self.builder.tensors() if t.name == maker.inputs[0])
            if back == order and before.itemsize == value.tensor.itemsize:
                self.rewritten = True  # what was turned goes unread
                return before
        return super().turned(value, order, out)

    def settled(self, value: Any) -> Any:
        """The operand, with what is still to be broadcast laid out."""
        if not isinstance(value, Wide):
            return value
        stored = tuple(value.full[value.order.index(dim)] for dim in range(len(value.order)))
        made = self.emit(Expand(stored), value.tensor, out=None, shape=stored)
        return Placed(made, value.order)

    def joined(self, label: str, values: Sequence[Any]) -> Placed:
        """A function of elements at one place; a bias or a scale is part of what it follows."""
        tensors = [value for value in values if isinstance(value, Placed)]
        params = self.params()
        if len(tensors) == 1 and self._follows(label, tensors[0], bool(params)):
            self.builder.credit(self.builder.mark() - 1, params)
            return tensors[0]
        return super().joined(label, values)

    def _follows(self, label: str, x: Placed, stored: bool) -> bool:
        """Whether a function of `x` alone is part of the layer that made it."""
        last = self.builder.since(max(self.builder.mark() - 1, 0))
        if not last or last[0].output.name != x.tensor.name or x.shape != self.shape:
            return False
        if x.tensor.itemsize != self.outputs[0].itemsize or not self.builder.mark():
            return False
        if stored:
            return bool(self.module) and self.module == last[0].module
        op = last[0].op
        summed = isinstance(op, Pool) and op.how == "average"
        summed |= isinstance(op, Reduce) and op.label == "sum"
        return summed and label in ("div", "mul")


def elementwise(call: JaxCall, label: str) -> Placed:
    """The operands joined element by element."""
    return call.joined(label, list(call.arguments.values()))
