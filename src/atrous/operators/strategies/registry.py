"""What a strategy is, and the strategies for convolutions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

from torch import Tensor

from atrous.operators.convolution import Convolution
from atrous.refusal import Refusal
from atrous.registry import Registry

__all__ = ["STRATEGIES", "ConvStrategy", "Strategy", "strategy"]

Call = TypeVar("Call", contravariant=True)


class Strategy(Protocol[Call]):
    """One exact way to compute a call, which is a convolution or a whole layer of a model."""

    @property
    def name(self) -> str:
        """That under which it is registered."""
        ...

    def applies(self, call: Call) -> bool | Refusal:
        """True, or why it does not compute such a call; False if it is not meant for such calls."""
        ...

    def prepare(self, weight: Tensor, bias: Tensor | None, call: Call) -> Callable[..., Tensor]:
        """What computes the call for any `x`, its weights made ready once."""
        ...


class ConvStrategy:
    """A strategy for convolutions that are not transposed."""

    name = ""

    def applies(self, call: Convolution) -> Literal[True] | Refusal:
        """Unless the convolution is transposed."""
        if call.transposed:
            return self.refused("the convolution is transposed; use the framework's own call.")
        return True

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
        """The convolution of `x`, where the strategy applies; differentiable.

        Of `call` only the windows and the groups are used: batch and sizes are those of `x`. The
        layout of the result is the strategy's own choice.
        """
        raise NotImplementedError

    def prepare(
        self, weight: Tensor, bias: Tensor | None, call: Convolution
    ) -> Callable[[Tensor], Tensor]:
        """`run` with these weights."""
        return lambda x: self.run(x, weight, bias, call)

    def refused(self, reason: str) -> Refusal:
        """Its refusal."""
        return Refusal(self.name, "", reason)


STRATEGIES = Registry[str, ConvStrategy]("strategy")

Made = TypeVar("Made", bound=ConvStrategy)


def strategy(name: str) -> Callable[[type[Made]], type[Made]]:
    """Register a strategy's class under `name`."""

    def register(made: type[Made]) -> type[Made]:
        STRATEGIES[name] = made()
        made.name = name
        return made

    return register
