"""What flows between the nodes of an exported program while it is translated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atrous.errors import ReadError
from atrous.network import Param
from atrous.readers.call import Fixed

__all__ = ["Const", "Value", "static"]


@dataclass(frozen=True, slots=True, eq=False)
class Const(Fixed):
    """A tensor that does not depend on the input, with the parameters it is made of.

    `data` is kept for small buffers only, for ops that need to know numbers (an index, say).
    """

    shape: tuple[int, ...]
    params: tuple[Param, ...] = ()
    data: Any = None


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
