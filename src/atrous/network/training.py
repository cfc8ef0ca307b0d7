"""What one step of training holds: forward, backward and the optimizer, by kind and by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from atrous.shown import Plain, ShownWhole, plain_fields, view

__all__ = ["BatchMemory", "KeptMap", "Phase", "StepMemory", "Training"]

Phase = Literal["forward", "backward", "optimizer"]
SCHEMA = "atrous.training/1"


@dataclass(frozen=True, slots=True)
class StepMemory(Plain):
    """The most bytes that one step holds at one time, and what they are at that time.

    `peak_bytes` is the sum of all that follow. `phase` and `at` say what runs then. `activations`
    are what the forward pass left for the backward pass, the output included; `temporaries` are
    what an op makes and a later one lets go, gradients of maps among them.
    """

    peak_bytes: int
    phase: Phase
    at: str
    parameters: int
    buffers: int
    inputs: int
    gradients: int
    optimizer_state: int
    activations: int
    temporaries: int


@dataclass(frozen=True, slots=True)
class KeptMap(Plain):
    """What of a layer's results is alive when the forward pass ends, and whose backward wants it.

    Where no layer's backward wants it, `wanted_by` is empty: the code holds it, as it does the
    output.
    """

    layer: str
    nbytes: int
    wanted_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchMemory(Plain):
    """How the peak of a later step grows with the batch, seen at `batches` with `peaks`.

    `bytes_per_item` is what one more takes between the last two of these; `linear` says that all
    of them lie on one line. `largest` is the largest batch within `budget`, found by trying it and
    the next one; 0 where not even one fits, None without a budget.
    """

    batches: tuple[int, ...]
    peaks: tuple[int, ...]
    bytes_per_item: int
    linear: bool
    budget: int | None = None
    largest: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Training(ShownWhole):
    """The memory of training a module, parameters included.

    `first` is the first step, in which the optimizer makes its state, `later` any other, with the
    state in place. `kept` is what the forward pass leaves for the backward pass, most bytes first.
    `batch` is None where the inputs have no batch that can be changed.

    >>> import atrous, torch
    >>> found = atrous.training(torch.nn.Linear(256, 256), (8, 256), optimizer="adam")
    >>> found.later.parameters, found.later.gradients, found.later.optimizer_state
    (263168, 263168, 526344)
    """

    name: str
    optimizer: str
    loss: str
    autocast: str
    keeps_gradients: bool
    first: StepMemory
    later: StepMemory
    kept: tuple[KeptMap, ...] = field(default=())
    batch: BatchMemory | None = None
    notes: tuple[str, ...] = ()

    @property
    def peak_bytes(self) -> int:
        """The most bytes that any step holds."""
        return max(self.first.peak_bytes, self.later.peak_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data under a versioned schema."""
        return {"schema": SCHEMA, "peak_bytes": self.peak_bytes, **plain_fields(self)}

    def __str__(self) -> str:
        return view(self).text()

    __repr__ = __str__
