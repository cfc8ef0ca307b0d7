"""What a stream keeps between two pushes, as users hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["StreamState"]


@dataclass(frozen=True, slots=True)
class StreamState:
    """All that a stream keeps between two pushes: how much it has seen, and tensors.

    `count` is in samples of the first input, `others` has those of further ones.
    It is plain data that pickles; a stream of the same model goes on from it.
    """

    count: int
    ended: bool
    kept: tuple[torch.Tensor | None, ...]
    cells: tuple[tuple[torch.Tensor, ...], ...]
    others: tuple[int, ...] = ()

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Every tensor in it."""
        flat = [one for one in self.kept if one is not None]
        return (*flat, *(one for cell in self.cells for one in cell))

    @property
    def is_plain(self) -> bool:
        """Whether it holds what a stream saves: whole numbers, and dense tensors with numbers."""
        import torch

        # What was read from a file may hold anything.
        held: list[Any] = [self.others, self.kept, self.cells]
        if not all(isinstance(one, tuple) for one in held):
            return False
        if not all(isinstance(cell, tuple) for cell in held[2]):
            return False
        if not all(type(count) is int for count in (self.count, *self.others)):
            return False
        return all(
            isinstance(one, torch.Tensor) and one.layout == torch.strided and not one.is_meta
            for one in self.tensors
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(one.numel() * one.element_size() for one in self.tensors)

    def to(self, device: Any) -> StreamState:
        """The same on another device."""
        return StreamState(
            self.count,
            self.ended,
            tuple(None if one is None else one.to(device) for one in self.kept),
            tuple(tuple(one.to(device) for one in cell) for cell in self.cells),
            self.others,
        )
