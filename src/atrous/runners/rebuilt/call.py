"""One node of an ONNX file as calls of PyTorch, and what its names stand for there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from atrous.errors import ReadError, UnsupportedError
from atrous.readers.onnx.attributes import Attributes
from atrous.registry import Registry

if TYPE_CHECKING:
    import onnx

__all__ = ["REBUILT", "Given", "HeldNumbers", "Made", "RebuiltCall", "rebuilds"]

_MOST_AXES = 64


class HeldNumbers:
    """Numbers that are at hand: no input reaches them but by its sizes.

    `tensor` is the parameter that holds them where they are stored as one, `sized` says that they
    follow from sizes.
    """

    __slots__ = ("array", "sized", "tensor")

    def __init__(
        self,
        array: np.ndarray[Any, Any],
        tensor: torch.Tensor | None = None,
        *,
        sized: bool = False,
    ) -> None:
        self.array, self.tensor, self.sized = array, tensor, sized

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the numbers."""
        return tuple(self.array.shape)

    def as_tensor(self) -> torch.Tensor:
        """The numbers as a tensor."""
        if self.tensor is not None:
            return self.tensor
        return torch.from_numpy(np.array(self.array, order="C"))


Given: TypeAlias = torch.Tensor | HeldNumbers | None
Made: TypeAlias = torch.Tensor | HeldNumbers | Sequence[torch.Tensor | HeldNumbers | None]
Rebuild = Callable[["RebuiltCall"], Made]
REBUILT = Registry[str, Rebuild]("PyTorch form of an ONNX operator")
"""Operator -> the calls that it is, whatever the version."""
rebuilds = REBUILT.under


class RebuiltCall(Attributes):
    """One node with its inputs by place; `before` are their shapes at the file's own sizes."""

    def __init__(
        self,
        node: onnx.NodeProto,
        version: int,
        given: Sequence[Given],
        before: Sequence[tuple[int, ...] | None] | None,
    ) -> None:
        self.hold(node, version)
        self.op, self.given, self.before = node.op_type, given, before

    def __getitem__(self, index: int) -> Given:
        return self.given[index] if index < len(self.given) else None

    def value(self, index: int) -> torch.Tensor | HeldNumbers:
        """Input `index`, which the operator needs."""
        found = self[index]
        if found is None:
            raise ReadError(f"{self.op} needs input {index}, which is left out.")
        return found

    def tensor(self, index: int) -> torch.Tensor:
        """Input `index` as a tensor."""
        found = self.value(index)
        return found.as_tensor() if isinstance(found, HeldNumbers) else found

    def optional(self, index: int) -> torch.Tensor | None:
        """Input `index` as a tensor; None where it is left out, or holds nothing."""
        found = self[index]
        if found is None or (isinstance(found, HeldNumbers) and not found.array.size):
            return None
        return self.tensor(index)

    def operand(self, index: int, rank: int) -> Any:
        """Input `index` as a plain number where it is a known one, beside a tensor of some rank."""
        found = self.value(index)
        if isinstance(found, HeldNumbers) and found.array.size == 1 and found.array.ndim <= rank:
            return found.array.reshape(-1)[0].item()
        return self.tensor(index)

    def operands(self) -> list[Any]:
        """All inputs, known numbers among them as such; the first tensor stays one."""
        rank = max((len(one.shape) for one in self.given if isinstance(one, torch.Tensor)),
                   default=-1)  # fmt: skip
        return [self.operand(i, rank) for i in range(len(self.given))]

    def numbers(self, index: int, what: str) -> np.ndarray[Any, Any] | None:
        """The known numbers in input `index`, in a row; None where it is left out or empty."""
        found = self[index]
        if found is None:
            return None
        if not isinstance(found, HeldNumbers):
            raise UnsupportedError(
                f"its {what} depend on the input's numbers, so what it makes has no fixed size; "
                "export the model with fixed ones."
            )
        return found.array.reshape(-1) if found.array.size else None

    def whole(self, index: int, what: str) -> tuple[int, ...] | None:
        """The known whole numbers in input `index`; None where it is left out or empty."""
        found = self.numbers(index, what)
        return None if found is None else tuple(int(one) for one in found)

    def whole_since(self, name: str, index: int, since: int) -> tuple[int, ...] | None:
        """Whole numbers that are an attribute before version `since` and an input from it on."""
        if self.has(name) or self.version < since:
            return self.integers(name)
        return self.whole(index, name)

    def axis(self, axis: int, rank: int) -> int:
        """A dimension counted from the front. Raises `ReadError` where there is none such."""
        if not -rank <= axis < rank:
            raise ReadError(f"dimension {axis} does not exist; the tensor has {rank}.")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> list[int]:
        """Dimensions counted from the front, in order. Raises `ReadError` for one named twice."""
        if len(axes) > _MOST_AXES:
            raise ReadError(f"names {len(axes):,} dimensions.")
        found = sorted(self.axis(axis, rank) for axis in axes)
        if len(set(found)) < len(found):
            raise ReadError(f"names one dimension twice: {tuple(axes)}.")
        return found

    def refusal(self, reason: str) -> UnsupportedError:
        """Why PyTorch has no calls for this node."""
        return UnsupportedError(f"{reason}; stream the module that the file was exported from.")
