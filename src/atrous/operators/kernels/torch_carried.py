"""What steps carry along time, as the kernels have it and as PyTorch has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

__all__ = ["Carry", "LayerState", "SumsSoFar"]


class Carry(Protocol):
    """Memory of a step's own, `floats` for each element of the batch."""

    @property
    def floats(self) -> int:
        """Floats for each element of the batch."""

    def taken(self, cells: Sequence[torch.Tensor], batch: int) -> torch.Tensor:
        """What PyTorch carries, as (batch, floats)."""

    def given(self, memory: torch.Tensor, cells: list[torch.Tensor]) -> None:
        """Puts (batch, floats) to where PyTorch has it."""


@dataclass(frozen=True, slots=True)
class SumsSoFar:
    """One sum of 64 bits for each number of a position; `columns` says where each lies."""

    shape: tuple[int, ...]
    columns: Any

    @property
    def floats(self) -> int:
        """Two for each sum."""
        return 2 * len(self.columns)

    def taken(self, cells: Sequence[torch.Tensor], batch: int) -> torch.Tensor:
        """The sums as pairs of floats."""
        flat = cells[0].double().reshape(batch, -1)
        placed = torch.empty_like(flat)
        placed[:, torch.from_numpy(self.columns)] = flat
        return placed.view(torch.float32)

    def given(self, memory: torch.Tensor, cells: list[torch.Tensor]) -> None:
        """The sums as one tensor of length 1 along time."""
        sums = memory.contiguous().view(torch.float64)[:, torch.from_numpy(self.columns)]
        cells.append(sums.float().reshape(self.shape))


@dataclass(frozen=True, slots=True)
class LayerState:
    """The state of one of several recurrent layers: `states` tensors (layers, sequences, units).

    In the kernels each has `hidden` floats for a sequence, filled up with zeros.
    """

    layer: int
    layers: int
    states: int
    sequences: int
    units: int
    hidden: int

    @property
    def floats(self) -> int:
        """All states of all sequences."""
        return self.states * self.sequences * self.hidden

    def taken(self, cells: Sequence[torch.Tensor], batch: int) -> torch.Tensor:
        """This layer's states, one behind another."""
        shape = batch, self.states, self.sequences, self.hidden
        found = torch.zeros(shape, dtype=torch.float32, device="cpu")
        for i, cell in enumerate(cells):
            found[:, i, :, : self.units] = cell[self.layer].reshape(batch, self.sequences, -1)
        return found.reshape(batch, -1)

    def given(self, memory: torch.Tensor, cells: list[torch.Tensor]) -> None:
        """This layer's states into tensors of all layers, which the first one makes."""
        batch = memory.shape[0]
        states = memory.reshape(batch, self.states, self.sequences, self.hidden)
        if not cells:
            shape = (self.layers, batch * self.sequences, self.units)
            plain = {"dtype": torch.float32, "device": "cpu"}
            cells += [torch.zeros(shape, **plain) for _ in range(self.states)]
        for i, cell in enumerate(cells):
            cell[self.layer] = states[:, i, :, : self.units].reshape(-1, self.units)
