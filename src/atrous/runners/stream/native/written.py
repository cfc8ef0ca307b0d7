"""What a program is written of: where values lie, steps that make them, and constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch

from atrous.geometry import Window
from atrous.operators.kernels.stream import lanes_and_panel
from atrous.registry import Registry
from atrous.runners.stream.recipe import Recipe
from atrous.runners.stream.rules.base import Timed, Value
from atrous.runners.stream.rules.sources import Source

__all__ = ["WRITERS", "NativeStep", "RowPlace", "Written", "floats_of_row", "writes"]

_ROW = 16
"""Rows of as many floats or more begin at multiples of it."""


def floats_of_row(channels: int) -> int:
    """Floats from one row to the next."""
    return channels if channels < _ROW else -(-channels // _ROW) * _ROW


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Where a value lies: position `p` is row `p + shift` of another, from a column on."""

    root: int
    column: int = 0
    shift: int = 0


@dataclass(slots=True)
class NativeStep:
    """One step: the value that it makes and those that it reads, and the kernel's fields.

    The first source is read at its own position, or through `window`; or each of its rows, `behind`
    in front, makes `spread` positions, `window.pad_lo` of which lie in front of the first. What it
    `carries` along time is memory of its own.
    """

    op: str
    value: int
    sources: tuple[int, ...]
    fields: dict[str, Any] = field(default_factory=dict)
    window: Window | None = None
    spread: int = 1
    port: int = -1
    column: int = 0
    behind: int = 0
    carries: bool = False

    @property
    def reach(self) -> int:
        """Rows from the first tap to the last."""
        return (int(self.fields.get("taps", 1)) - 1) * int(self.fields.get("dilation", 1))


Writer = Callable[["Written", Timed], None]
WRITERS = Registry[str, Writer]("native step of streams")


def writes(names: str) -> Callable[[Writer], Writer]:
    """Register what writes the steps of these calls, named as ATen has them."""
    return WRITERS.under(*names.split())


class Written:
    """A recipe as steps. Raises `UnsupportedError`, naming the layer, where it knows a call not."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.values = recipe.values
        self.places: dict[int, RowPlace] = {}
        self.parts: dict[int, tuple[int, ...]] = {}
        self.steps: list[NativeStep] = []
        self.constants: list[Any] = []
        self.floats = 0
        self.watched: list[torch.Tensor] = []
        self.batch = self._batch(recipe.values[0])
        for value, rule in zip(recipe.values, recipe.rules, strict=True):
            call = Timed(recipe, value, "input", {}) if not value.index else recipe.call(value)
            self._check(call, rule)
            if not value.index:
                self._check_port(value)
                self.root(value)
                self.add(NativeStep("take", 0, (), {"channels": self.channels(value)}, port=0))
            elif call.name in WRITERS:
                WRITERS[call.name](self, call)
            else:
                raise call.refusal(f"{call.name} has no native step")
        for i, value in enumerate(recipe.outputs):
            self._check_port(value)
            fields = {"channels": self.channels(value)}
            self.add(NativeStep("give", value.index, (value.index,), fields, port=i + 1))

    def _batch(self, value: Value) -> int:
        return int(value.shape[0]) if value.dim else 1

    def _check(self, call: Timed, rule: Any) -> None:
        """Whether a value is rows of float32, one for each position."""
        value = call.value
        if (rule.stateful and call.name != "cumsum") or (
            rule.placed and not isinstance(rule, Source)
        ):
            raise call.refusal(f"its {call.name} has no native step")
        if value.dtype != torch.float32:
            raise call.refusal(f"its {call.name} is no float32")
        if len(value.dims) > 1 or value.node.meta.get("val") is None:
            raise call.refusal(f"its {call.name} has time in two dimensions")
        if self.batch > 1 and (value.dim == 0 or value.shape[0] != self.batch):
            raise call.refusal(f"its {call.name} moves the batch")

    def _check_port(self, value: Value) -> None:
        """Whether what goes in or out has its channels side by side."""
        first = 1 if self.batch > 1 else 0
        sides = prod(value.shape[first : value.dim]), prod(value.shape[value.dim + 1 :])
        if min(sides) > 1:
            raise Timed(self.recipe, value, "input", {}).refusal(
                "it goes in or out with channels on both sides of time"
            )

    # What writers ask and do.

    def inner(self, value: Value) -> tuple[int, ...]:
        """A value's shape without its batch and without time."""
        shape = list(value.shape)
        shape.pop(value.dim)
        return tuple(shape[1:] if self.batch > 1 else shape)

    def channels(self, value: Value) -> int:
        """Numbers of one position of one element of the batch."""
        return prod(self.inner(value))

    def density(self, index: int) -> float:
        """Numbers of a value for each input sample."""
        value = self.values[index]
        return float(value.rate) * self.channels(value)

    def rule(self, value: Value) -> Any:
        """The rule of a value."""
        return self.recipe.rules[value.index]

    def root(self, value: Value) -> None:
        """A value has rows of its own."""
        self.places[value.index] = RowPlace(value.index)

    def alias(self, value: Value, source: int, column: int = 0, shift: int = 0) -> None:
        """A value lies in another one's rows: position `p` where that has position `p + shift`."""
        at = self.places[source]
        self.places[value.index] = RowPlace(at.root, at.column + column, at.shift + shift)

    def add(self, made: NativeStep) -> None:
        """One step more."""
        self.steps.append(made)

    def is_whole(self, index: int) -> bool:
        """Whether a value is all that its rows have."""
        at = self.places[index]
        root = self.values[at.root]
        same = self.channels(self.values[index]) == self.channels(root)
        return at.column == 0 and same and not root.several

    def width(self, *indices: int) -> int:
        """Columns of a step where all is whole: those of the rows, unused ones too."""
        count = self.channels(self.values[indices[0]])
        row = floats_of_row(count)
        return row if all(map(self.is_whole, indices)) else count

    def stored(self, values: Any) -> int:
        """Where some numbers lie among the constants."""
        flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
        at = self.floats
        # With room for vectors that go beyond.
        self.floats += -(-flat.size // _ROW) * _ROW
        self.constants.append((at, flat))
        return at

    def padded(self, values: Any, width: int = 0) -> int:
        """The same for one number a channel, filled up with zeros to whole vectors."""
        flat = np.asarray(values, dtype=np.float32).ravel()
        size = max(width, flat.size)
        size = -(-size // _ROW) * _ROW
        return self.stored(np.pad(flat, (0, size - flat.size)))

    def constant(self, call: Timed, key: str) -> Any:
        """A tensor of the model as float64, or a number; None where there is none."""
        found = call.constant(key)
        return self.seen(found)

    def seen(self, found: Any) -> Any:
        """A constant, whose changes are looked for from now on."""
        if isinstance(found, torch.Tensor):
            self.watched.append(found)
            return found.detach().double().cpu().numpy()
        return found

    def each(self, call: Timed, found: Any) -> Any:
        """A constant tensor as one number for each channel of what a call makes."""
        value = call.value
        shape = [1 if d == value.dim else n for d, n in enumerate(value.shape)]
        try:
            wide = np.broadcast_to(found, shape)
        except ValueError:
            raise call.refusal(f"its {call.name} takes constants of another shape") from None
        rows = wide.reshape(self.batch, -1) if self.batch > 1 else wide.reshape(1, -1)
        if not (rows == rows[:1]).all() and not np.isnan(rows).any():
            raise call.refusal(f"its {call.name} takes constants of its own for each in the batch")
        return rows[0]

    def like(self, call: Timed, *values: Value) -> None:
        """Raises unless some values have the numbers of a position in the same order."""
        for value in values:
            shapes = [[n for n in self.inner(one) if n > 1] for one in (value, call.value)]
            if shapes[0] != shapes[1]:
                raise call.refusal(f"its {call.name} joins values of different shapes")


def lanes() -> int:
    """Floats of a vector."""
    return lanes_and_panel()[0]


def outermost(shape: Sequence[int], dim: int) -> bool:
    """Whether a dimension's parts lie behind one another."""
    return all(n == 1 for n in shape[:dim])
