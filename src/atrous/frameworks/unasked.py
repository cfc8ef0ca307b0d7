"""Whether a module's code looks at sizes: one that does not calls the same at every size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import FunctionType
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F  # noqa: N812 - everybody's name for it
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree

from atrous.frameworks.torch import in_mode, quiet, unchanged

__all__ = ["asks_no_size"]

_SIZELESS = {"dim", "ndimension", "is_floating_point", "is_complex", "get_device", "element_size"}
"""Methods of tensors that return a number or a truth value which is the same at every size."""
_GETTERS = [
    getattr(torch.Tensor, name).__get__
    for name in ("ndim", "requires_grad", "is_leaf", "is_sparse", "is_quantized", "is_nested")
    if hasattr(getattr(torch.Tensor, name), "__get__")
]
_BLIND = {
    *("relu", "relu6", "elu", "selu", "celu", "silu", "mish", "hardswish", "hardsigmoid"),
    *("leaky_relu", "hardtanh", "tanh", "sigmoid", "softmax", "dropout", "batch_norm"),
}
"""Functions of `torch.nn.functional` in Python that look at no size when they do not train.

What others look at is not seen, since a mode is off inside the call that it handles.
"""

_POOLS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_ADAPTIVE = (F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
"""They look at a size where they are to keep one, which is None among those that they make."""


class _AskedError(Exception):
    """What is still to run tells nothing more."""


class _Asking(TorchFunctionMode):
    """Ends the run at a call that returns numbers in place of tensors, and notes that."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func not in _GETTERS and getattr(func, "__name__", "") not in _SIZELESS:
            self.asked |= any(isinstance(leaf, int) for leaf in _pytree.tree_leaves(made))
            self.asked |= isinstance(made, torch.Size)
        if func in _ADAPTIVE:
            self.asked |= None in _pytree.tree_leaves((args[1:], kwargs))
        elif isinstance(func, FunctionType) and func.__name__ not in _BLIND and func not in _POOLS:
            self.asked = True
        if self.asked:
            raise _AskedError
        return made


def asks_no_size(module: torch.nn.Module, shapes: Sequence[Sequence[int]]) -> bool:
    """Whether the module's Python code asks no tensor for its size, nor for its numbers.

    It then makes the same calls with the same arguments at every size, up to the first that refuses
    its input. It runs once, on tensors without numbers; False where that does not go.

    >>> from torch import nn
    >>> asks_no_size(nn.Sequential(nn.Conv1d(1, 1, 3), nn.GELU()), [(1, 1, 9)])
    True
    >>> asks_no_size(nn.GroupNorm(1, 2), [(1, 2, 9)])
    False
    """
    mode = _Asking()
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        with ExitStack() as around:
            around.enter_context(in_mode(module, training=False))
            around.enter_context(unchanged(module))
            around.enter_context(quiet())
            around.enter_context(torch.no_grad())
            fake = around.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            given = [fake.from_tensor(like.new_empty(tuple(shape))) for shape in shapes]
            with mode:
                module(*given)
    except Exception:
        return False
    return not mode.asked
