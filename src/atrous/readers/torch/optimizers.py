"""Optimizers by name, as PyTorch has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from atrous.errors import ReadError, unknown
from atrous.readers.named import parse

__all__ = ["Optimizers", "optimizer_of"]

Optimizers = Callable[[Any], Any]
"""What makes an optimizer of parameters: a class of `torch.optim`, or a function of one's own."""

_REFUSED = {
    "lbfgs": "it calls the model again as often as its numbers ask for",
    "sparseadam": "it takes sparse gradients alone, whose sizes depend on numbers",
}


def optimizer_of(asked: str | Optimizers) -> tuple[Optimizers, str]:
    """What makes the optimizer, and what it is called.

    Of a name, arguments follow as in other sources: `"sgd?momentum=0.9"`. Raises
    `UnknownNameError` for a name that PyTorch does not have, `ReadError` for one that cannot be
    run without numbers or arguments that do not fit.

    >>> optimizer_of("rmsprop?momentum=0.9&centered=true")[1]
    'rmsprop?momentum=0.9&centered=true'
    """
    if not isinstance(asked, str):
        return asked, str(getattr(asked, "__name__", type(asked).__name__))
    request = parse(f"optimizer:{asked}")
    known = _known()
    name = request.name.strip().lower()
    if name in _REFUSED:
        raise ReadError(f"optimizer {name}: {_REFUSED[name]}; give another one.")
    if name not in known:
        raise unknown("optimizer", request.name, known)
    made = partial(_made, known[name], name, request.arguments)
    return made, asked.strip().lower()


def _made(
    kind: Optimizers, name: str, arguments: Mapping[str, Any], parameters: list[torch.Tensor]
) -> Any:
    try:
        return kind(parameters, **arguments)
    except (TypeError, ValueError) as error:
        said = str(error).splitlines()[0][:160]
        raise ReadError(
            f"optimizer {name} cannot be made: {said}; its arguments are written as "
            "'sgd?lr=0.1&momentum=0.9'."
        ) from error


def _known() -> dict[str, Any]:
    """The optimizers of PyTorch, by their names in small letters."""
    return {
        name.lower(): kind
        for name, kind in sorted(vars(torch.optim).items())
        if isinstance(kind, type)
        and issubclass(kind, torch.optim.Optimizer)
        and kind is not torch.optim.Optimizer
        and name.lower() not in _REFUSED
    }
