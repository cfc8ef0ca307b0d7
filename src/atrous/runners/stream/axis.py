"""A model's inputs and where time is in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from atrous.errors import ReadError, UnsupportedError
from atrous.network.shapes import Shape
from atrous.readers.torch.inputs import examples_for
from atrous.readers.torch.traced import Traced, calls_of

__all__ = ["Axis"]


@dataclass(frozen=True, slots=True)
class Axis:
    """A model's inputs and the dimension of each that is time.

    `dtypes` are those of inputs that have not the model's; `called` is what messages call a model
    that is no class of its own. Time is counted in positions of the first input; of each other one
    there are as many as its example has beside the first one's.
    """

    model: nn.Module
    shapes: tuple[Shape, ...]
    axes: tuple[int, ...]
    dtypes: tuple[Any, ...] = ()
    called: str = ""

    @property
    def name(self) -> str:
        """What the model is called in messages."""
        return self.called or type(self.model).__name__

    @property
    def shape(self) -> Shape:
        """The shape of the first input."""
        return self.shapes[0]

    @property
    def axis(self) -> int:
        """The dimension of the first input that is time."""
        return self.axes[0]

    @property
    def lengths(self) -> tuple[int, ...]:
        """The length of each input in the example."""
        return tuple(shape[axis] for shape, axis in zip(self.shapes, self.axes, strict=True))

    @property
    def rates(self) -> tuple[Fraction, ...]:
        """Positions of each input for one of the first."""
        first, *_ = self.lengths
        return tuple(Fraction(length, first) for length in self.lengths)

    def together(self, length: int) -> tuple[int, ...]:
        """The lengths of all inputs where the first one has this.

        Raises `ReadError` where another would end between two of its positions.
        """
        found = [rate * length for rate in self.rates]
        if any(one.denominator > 1 for one in found):
            raise ReadError(
                f"{self.name}: its inputs are {' and '.join(map(str, self.lengths))} long in the "
                f"example, and {length:,} of the first are no whole number of the others."
            )
        return tuple(map(int, found))

    def sized(self, lengths: Sequence[int]) -> tuple[Shape, ...]:
        """The inputs' shapes with other lengths."""
        return tuple(
            (*shape[:axis], length, *shape[axis + 1 :])
            for shape, axis, length in zip(self.shapes, self.axes, lengths, strict=True)
        )

    def traced(self, lengths: Sequence[int]) -> Traced:
        """The model's calls at lengths. Raises `ReadError` where it does not run there."""
        dtypes = self.dtypes or (None,) * len(self.shapes)
        given: list[Any] = [
            shape if dtype is None else torch.empty(shape, dtype=dtype)
            for shape, dtype in zip(self.sized(lengths), dtypes, strict=True)
        ]
        examples = examples_for(self.model, given[0] if len(given) == 1 else given, self.name)
        with torch.inference_mode(False), torch.no_grad():
            found = calls_of(self.model, examples, self.name)
        if found.ran:
            raise UnsupportedError(
                f"{self.name}: its way depends on values, so its calls are no recipe for a stream."
            )
        return found
