"""What ops allocate on real tensors where PyTorch goes another way on ones without numbers."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch

from atrous.frameworks.structures import leaves
from atrous.frameworks.torch import (
    maker_of_gradient,
    storage_of,
)

__all__ = ["AddedIn", "as_allocated"]

_ATEN = torch.ops.aten
_REDUCED = (_ATEN.mse_loss.default, _ATEN.smooth_l1_loss.default, _ATEN.soft_margin_loss.default)
_ZEROS = (_ATEN.new_zeros, _ATEN.zeros, _ATEN.zeros_like)
_IN_PLACE = {
    _ATEN.index_put.default: _ATEN.index_put_.default,
    _ATEN.index_add.default: _ATEN.index_add_.default,
    _ATEN.scatter_add.default: _ATEN.scatter_add_.default,
    _ATEN.scatter.src: _ATEN.scatter_.src,
}


def as_allocated(op: Any, args: Sequence[Any]) -> Any:
    """What a loss makes that is reduced within its kernel: one number, in the storage of all.

    The kernel writes the differences where the result goes, and the result keeps that storage for
    as long as anything holds the loss. None for all other ops.
    """
    if op not in _REDUCED or (len(args) > 2 and args[2] == 0):
        return None
    made: torch.Tensor = args[0].new_empty(torch.broadcast_shapes(args[0].shape, args[1].shape))
    return made.as_strided((), ())


class AddedIn:
    """Gradients that a backward pass adds into zeros, in place.

    The formulas of PyTorch's own nodes copy the zeros first where calls are watched, as they are
    here, and else do not.
    """

    def __init__(self) -> None:
        self._zeros: Any = _no_zeros

    def written(self, op: Any, args: Sequence[Any], kwargs: Any) -> Any:
        """The zeros just made, written into by this op; None where it is no such op."""
        if op not in _IN_PLACE:
            return None
        node = maker_of_gradient()
        own = node is not None and not isinstance(node, torch.autograd.function.BackwardCFunction)
        if not own or storage_of(args[0])[1] is not self._zeros():
            return None
        _IN_PLACE[op](*args, **kwargs)
        return args[0]

    def note(self, op: Any, made: Any) -> None:
        """An op was run: which storage of zeros is the latest."""
        if getattr(op, "overloadpacket", None) in _ZEROS:
            self._zeros = weakref.ref(storage_of(leaves(made)[0])[1])


def _no_zeros() -> None:
    """Before any zeros are made, there are none."""
