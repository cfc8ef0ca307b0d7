"""The strategies by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

from torch import Tensor

from atrous.operators.convolution import Convolution
from atrous.refusal import Refusal
from atrous.registry import Registry

__all__ = ["STRATEGIES", "Strategy", "strategy"]


class Strategy(Protocol):
    """One exact way to compute a convolution that is not transposed."""

    def applies(self, call: Convolution) -> Literal[True] | Refusal:
        """True, or why this strategy does not compute such a convolution."""
        ...

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution) -> Tensor:
        """The convolution of `x`, where the strategy applies; differentiable.

        Of `call` only the windows and the groups are used: batch and sizes are those of `x`. The
        layout of the result is the strategy's own choice.
        """
        ...


STRATEGIES = Registry[str, Strategy]("strategy")

Made = TypeVar("Made", bound=Strategy)


def strategy(name: str) -> Callable[[type[Made]], type[Made]]:
    """Register a strategy's class under `name`."""

    def register(made: type[Made]) -> type[Made]:
        STRATEGIES[name] = made()
        return made

    return register


def refused(name: str, reason: str) -> Refusal:
    """The refusal of a strategy."""
    return Refusal(name, "", reason)
