"""The strategies by name: one dict, one decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

from torch import Tensor

from atrous.errors import ArgumentError, unknown
from atrous.operators.convolution import Convolution
from atrous.refusal import Refusal

__all__ = ["STRATEGIES", "Strategy", "named", "strategy"]


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


STRATEGIES: dict[str, Strategy] = {}

Made = TypeVar("Made", bound=Strategy)


def strategy(name: str) -> Callable[[type[Made]], type[Made]]:
    """Register a strategy's class under `name`. A second one of that name is an error."""

    def register(made: type[Made]) -> type[Made]:
        if name in STRATEGIES:
            raise ArgumentError(f"strategy {name!r} is registered already; one name, one strategy.")
        STRATEGIES[name] = made()
        return made

    return register


def named(name: str) -> Strategy:
    """The strategy of that name; `UnknownNameError` lists the known ones.

    >>> named("phase")
    Traceback (most recent call last):
        ...
    atrous.errors.UnknownNameError: no strategy is named 'phase'; near: phases.
    """
    try:
        return STRATEGIES[name]
    except KeyError:
        raise unknown("strategy", name, STRATEGIES) from None


def refused(name: str, reason: str) -> Refusal:
    """The refusal of a strategy."""
    return Refusal(name, "", reason)
