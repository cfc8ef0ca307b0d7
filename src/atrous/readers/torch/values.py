"""What flows between the nodes of an exported program while it is translated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from atrous.errors import ReadError
from atrous.network import Param
from atrous.readers.call import Fixed
from atrous.readers.weights import MOST_LOOKED_AT, Zeros, zeros_of

__all__ = ["Const", "Made", "Value", "static"]

_MOST_STEPS = 256
Made = dict[int, Any]
"""The tensors made so far of constants, by identity."""


@dataclass(frozen=True, slots=True, eq=False)
class Const(Fixed):
    """A tensor that does not depend on the input, with the parameters it is made of.

    `data` is kept for small buffers only, for ops that need to know numbers (an index, say).
    `load` makes the numbers of any tensor, given what was made on the way; None where they are not
    to be looked at.
    """

    shape: tuple[int, ...]
    params: tuple[Param, ...] = ()
    data: Any = None
    load: Callable[[Made], Any] | None = None

    def numbers(self, made: Made) -> Any:
        """The tensor itself. Raises `ValueError` where its numbers are not at hand."""
        if id(self) not in made:
            if self.load is None or len(made) >= _MOST_STEPS or prod(self.shape) > MOST_LOOKED_AT:
                raise ValueError("its numbers are not at hand")
            made[id(self)] = self.load(made)
        return made[id(self)]

    def known(self) -> Any:
        """The tensor itself; None where its numbers are not at hand."""
        try:
            with torch.no_grad():
                made = self.numbers({})
                return None if made.is_meta else made
        except Exception:  # numbers that nothing holds, ops that refuse to run
            return None

    def zeros(self, kernel: Sequence[int]) -> Zeros:
        """Where the numbers are 0, as `zeros_of` has it; nowhere for numbers not at hand."""
        if self.load is None:
            return ()
        try:
            with torch.no_grad():
                return zeros_of(self.numbers({}), kernel)
        except Exception:  # numbers that nothing holds (meta tensors), ops that refuse to run
            return ()

    def turned(self) -> Const:
        """The matrix with rows for columns."""
        load = self.load
        turned = None if load is None else lambda made: load(made).t()
        return Const(self.shape[::-1], self.params, None, turned)


Value = Any
"""A tensor of the network, a constant, a tuple of either, or a plain number."""


def static(shape: Sequence[Any]) -> tuple[int, ...]:
    """A shape as plain numbers; a symbolic size counts as what it was exported with."""
    sizes = []
    for size in shape:
        if isinstance(size, int):
            sizes.append(size)
        else:
            hint = size.node.hint
            if hint is None:
                raise ReadError(
                    "a size inside the model depends on the data that it is run on, so the shapes "
                    "behind it are not known; export it with sizes that do not."
                )
            sizes.append(int(hint))
    return tuple(sizes)
