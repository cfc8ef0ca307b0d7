"""What a program is written of: where values lie, steps that make them, and constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch

from atrous.frameworks.torch import name_of
from atrous.geometry import Window
from atrous.operators.kernels.columns import (
    Strides,
    blocks_of,
    columns_of,
    is_dense,
    plain_strides,
)
from atrous.operators.kernels.stream import SLACK, lanes_and_panel
from atrous.operators.kernels.torch_carried import Carry
from atrous.registry import Registry
from atrous.runners.stream.recipe import Recipe
from atrous.runners.stream.rules.base import Timed, Value
from atrous.runners.stream.rules.sources import Source

__all__ = ["WRITERS", "NativeStep", "RowPlace", "Written", "floats_of_row", "writes"]

RECURRENT = frozenset(["lstm", "gru", "rnn_tanh", "rnn_relu"])
_STATEFUL = RECURRENT | {"cumsum"}
HANDED_ON = frozenset(
    [
        "_to_copy", "alias", "alpha_dropout", "clone", "contiguous", "detach", "dropout",
        "feature_alpha_dropout", "feature_dropout", "lift_fresh", "positive", "to",
    ]
)  # fmt: skip
"""What hands on what it gets."""
_MOST_BLOCKS = 64
_FAR = 1 << 40
"""Beyond all columns: the stride of time, and times 1024 that of the batch."""
VIEWS = frozenset(
    [
        "_unsafe_view", "clone", "contiguous", "flatten", "mT", "movedim", "numpy_T", "permute",
        "reshape", "reshape_as", "select", "squeeze", "swapaxes", "swapdims", "t", "transpose",
        "unbind", "unflatten", "unsqueeze", "view", "view_as",
    ]
)  # fmt: skip
"""What puts numbers in other places without a look at them."""
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
    has to `carry` along time is memory of its own.
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
    carry: Carry | None = None

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
        self.strides: dict[int, Strides] = {}
        self.parts: dict[int, list[tuple[Strides, int]]] = {}
        self.steps: list[NativeStep] = []
        self.constants: list[Any] = []
        self.floats = 0
        self.watched: list[torch.Tensor] = []
        self.folded: set[int] = set()
        self.batch = self._batch(recipe.values[0])
        for value, rule in zip(recipe.values, recipe.rules, strict=True):
            call = Timed(recipe, value, "input", {}) if not value.index else recipe.call(value)
            self._check(call, rule)
            if not value.index:
                self.root(value, self.grid(value) if self.wants_grid(value) else None)
                self.add(NativeStep("take", 0, (), {"channels": self.channels(value)}, port=0))
            elif call.name in WRITERS:
                WRITERS[call.name](self, call)
            else:
                raise call.refusal(f"{call.name} has no native step")
        for i, value in enumerate(recipe.outputs):
            if not self.is_dense(value):
                raise Timed(recipe, value, "input", {}).refusal("it goes out with channels apart")
            fields = {"channels": self.channels(value)}
            self.add(NativeStep("give", value.index, (value.index,), fields, port=i + 1))

    def _batch(self, value: Value) -> int:
        return int(value.shape[0]) if value.dim else 1

    def _check(self, call: Timed, rule: Any) -> None:
        """Whether a value is rows of float32, one for each position."""
        value = call.value
        if (rule.stateful and call.name not in _STATEFUL) or (
            rule.placed and not isinstance(rule, Source)
        ):
            raise call.refusal(f"its {call.name} has no native step")
        if value.dtype != torch.float32:
            raise call.refusal(f"its {call.name} is no float32")
        if len(value.dims) > 1 or value.node.meta.get("val") is None:
            raise call.refusal(f"its {call.name} has time in two dimensions")
        if self.batch > 1 and (value.dim == 0 or value.shape[0] != self.batch):
            raise call.refusal(f"its {call.name} moves the batch")

    # What writers ask and do.

    def fixed(self, value: Value) -> tuple[int, ...]:
        """The dimensions of a value that are neither time nor the batch."""
        first = 1 if self.batch > 1 else 0
        return tuple(d for d in range(first, len(value.shape)) if d != value.dim)

    def inner(self, value: Value) -> tuple[int, ...]:
        """A value's shape without its batch and without time."""
        return tuple(value.shape[d] for d in self.fixed(value))

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

    def root(self, value: Value, strides: Strides | None = None) -> None:
        """A value has rows of its own, its numbers one behind another or by strides."""
        self.places[value.index] = RowPlace(value.index)
        self.strides[value.index] = self.plain(value) if strides is None else strides

    def alias(
        self,
        value: Value,
        source: int,
        column: int = 0,
        shift: int = 0,
        strides: Strides | None = None,
    ) -> None:
        """A value lies in another one's rows: position `p` where that has position `p + shift`."""
        at = self.places[source]
        self.places[value.index] = RowPlace(at.root, at.column + column, at.shift + shift)
        self.strides[value.index] = self.strides[source] if strides is None else strides

    def add(self, made: NativeStep) -> None:
        """One step more."""
        self.steps.append(made)

    # In which columns a value's numbers lie.

    def plain(self, value: Value) -> Strides:
        """The strides of numbers that lie one behind another."""
        return plain_strides(value.shape, self.fixed(value))

    def grid(self, value: Value) -> Strides:
        """Those of places whose channels, the second dimension, lie side by side."""
        fixed = [d for d in self.fixed(value) if d != 1]
        return plain_strides(value.shape, [*fixed, 1])

    def wants_grid(self, value: Value) -> bool:
        """Whether windows may go across a value, in which channels must lie side by side."""
        rank, beside = len(value.shape), [d for d in self.fixed(value) if d != 1]
        if rank not in (3, 4) or value.dim < 2 or value.several or value.shape[1] == 1:
            return False
        users = {name_of(one).rpartition(".")[2] for one in value.node.users if one.op != "output"}
        return any(value.shape[d] > 1 for d in beside) and not users <= VIEWS

    def wants_last(self, value: Value) -> bool:
        """Whether a recurrent layer reads a value, whose last dimension must lie side by side."""
        found: set[str] = set()
        left = [value.node]
        while left:
            for one in left.pop().users:
                name = name_of(one).rpartition(".")[2] if one.op == "call_function" else ""
                found.add(name)
                left += [one] if name in HANDED_ON else []
        return not found.isdisjoint(RECURRENT)

    def wide(self, value: Value) -> list[tuple[int, int]]:
        """Size and stride of each dimension of more than one number in a position."""
        strides = self.strides[value.index]
        return [(value.shape[d], strides[d]) for d in self.fixed(value) if value.shape[d] > 1]

    def is_dense(self, value: Value) -> bool:
        """Whether a value's numbers fill some columns, in whatever order."""
        return is_dense(self.wide(value))

    def is_plain(self, value: Value) -> bool:
        """Whether they do so one behind another."""
        flat = plain_strides([size for size, _ in self.wide(value)], range(len(self.wide(value))))
        return flat == tuple(stride for _, stride in self.wide(value))

    def order_like(self, value: Value, other: Value) -> Strides:
        """The strides of a value whose numbers lie where those of another of its sizes do."""
        found, wide = [0] * len(value.shape), self.wide(other)
        mine = [d for d in self.fixed(value) if value.shape[d] > 1]
        for d, (_, stride) in zip(mine, wide, strict=True):
            found[d] = stride
        return tuple(found)

    def in_columns(self, value: Value, numbers: Any) -> Any:
        """One number for each channel of a dense value, in the order of its columns."""
        found = np.empty(len(numbers))
        found[columns_of(self.wide(value))] = numbers
        return found

    def seen_through(self, x: Value, view: Callable[[torch.Tensor], Any]) -> Any:
        """The strides and the first column of each result of a view; None where it is none."""
        apart = [_FAR if d == x.dim else step for d, step in enumerate(self.strides[x.index])]
        if self.batch > 1:
            apart[0] = _FAR << 10
        try:
            made = view(torch.empty_strided(x.shape, apart, device="meta"))
        except RuntimeError:
            return None
        several = made if isinstance(made, list | tuple) else [made]
        far = [one.stride()[0] == _FAR << 10 and max(one.stride()[1:]) <= _FAR for one in several]
        if self.batch > 1 and not all(far):
            return None  # The batch is elsewhere.
        return [
            (tuple(0 if step >= _FAR else step for step in one.stride()), one.storage_offset())
            for one in several
        ]

    def arranged(
        self,
        call: Timed,
        x: Value,
        dims: Sequence[tuple[int, int, int]],
        column: int = 0,
        behind: int = 0,
        window: Window | None = None,
    ) -> None:
        """Puts columns of `x`, from `behind` on, into the rows that a call makes, from `column` on.

        `dims` are sizes, how far apart numbers go, and how far apart they lie in `x`.
        """
        blocks = list(blocks_of(dims))
        if len(blocks) > _MOST_BLOCKS:
            raise call.refusal(f"its {call.name} puts channels in another order")
        for block in blocks:
            fields = {"channels": block.count, "out_places": block.places}
            fields |= {"left_jump": block.left_jump, "out_jump": block.out_jump}
            fields |= {"side_stride": block.stride, "left_column": behind + block.left}
            made = NativeStep("arrange", call.value.index, (x.index,), fields, window)
            made.column = column + block.out
            self.add(made)

    def placed(self, call: Timed, x: Value, strides: Strides, column: int) -> None:
        """What a call makes is a part of `x`, in another order; where it must lie, it is put."""
        value = call.value
        self.alias(value, x.index, column, strides=strides)
        turned = self.wants_grid(value) and strides[1] != 1
        turned |= self.wants_last(value) and strides[-1] != 1 < value.shape[-1]
        if not turned and self.is_dense(value):
            return
        self.root(value, self.grid(value) if self.wants_grid(value) else None)
        mine = self.strides[value.index]
        dims = [(value.shape[d], mine[d], strides[d]) for d in self.fixed(value)]
        self.arranged(call, x, dims, behind=column)

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

    @cached_property
    def packed(self) -> torch.Tensor:
        """All constants, one behind another: one memory for all streams by these steps."""
        held = torch.zeros(self.floats + SLACK, dtype=torch.float32, device="cpu")
        flat = held.numpy()
        for at, values in self.constants:
            flat[at : at + values.size] = values
        self.constants.clear()
        return held

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
            if not self.is_dense(value) or self.wide(value) != self.wide(values[0]):
                raise call.refusal(f"its {call.name} takes channels in different orders")


def lanes() -> int:
    """Floats of a vector."""
    return lanes_and_panel()[0]


def outermost(shape: Sequence[int], dim: int) -> bool:
    """Whether a dimension's parts lie behind one another."""
    return all(n == 1 for n in shape[:dim])
