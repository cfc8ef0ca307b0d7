"""One axis of one operation at its actual size: periodic reads, and what happens at the border."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from atrous.errors import GeometryError
from atrous.geometry.reads import Reads
from atrous.geometry.taps import Taps

__all__ = ["AxisMap", "Border", "Everything", "Local", "Prefix", "Table", "fold_back"]

Border = Literal["drop", "clamp", "reflect", "wrap"]
"""What a read outside the input means.

`drop`: nothing is read (padding with a constant, windows that overhang). `clamp`: the nearest
position (replicate padding, resampling). `reflect`: mirrored at the first and last position.
`wrap`: counted round the end.
"""


@dataclass(frozen=True, slots=True)
class Local:
    """Each output reads a few positions around its own place.

    With `phases` above 1 every so-manieth position is a map of its own, and the border is that of
    each of these maps.

    >>> Local(Reads.identity(), 4, 4).at(2)
    Taps(first=2, mask=1, counts=None)
    >>> from atrous.geometry.window import Window
    >>> wide = Reads.window(Window(3, dilation=2, pad_lo=2))
    >>> list(Local(wide, 6, 6, "reflect", phases=2).at(5))
    [3, 5]
    """

    reads: Reads
    inputs: int
    outputs: int
    border: Border = "drop"
    phases: int = 1

    def at(self, output: int) -> Taps:
        """What output `output` reads, inside the input."""
        _check(output, self.outputs)
        taps = self.reads.at(output)
        if not taps.mask or (taps.first >= 0 and taps.last < self.inputs):
            return taps
        return Taps.of(_folded(taps, self.inputs, self.border, self.phases))


@dataclass(frozen=True, slots=True)
class Everything:
    """Each output reads every position.

    >>> len(Everything(7, 1).at(0))
    7
    """

    inputs: int
    outputs: int

    def at(self, output: int) -> Taps:
        """What output `output` reads: all positions."""
        _check(output, self.outputs)
        return Taps.interval(0, self.inputs)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Each output reads every position up to its own (from its own on where `reverse`).

    >>> list(Prefix(4, 4).at(2))
    [0, 1, 2]
    """

    inputs: int
    outputs: int
    reverse: bool = False

    def at(self, output: int) -> Taps:
        """What output `output` reads: a causal scan's history."""
        _check(output, self.outputs)
        if self.reverse:
            return Taps(output, (1 << (self.inputs - output)) - 1)
        return Taps(0, (1 << (output + 1)) - 1)


@dataclass(frozen=True, slots=True)
class Table:
    """An explicit list of what each output reads, for what follows no period.

    >>> Table(4, (Taps.of([3]), Taps.of([0, 2]))).outputs
    2
    """

    inputs: int
    rows: tuple[Taps, ...]

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return len(self.rows)

    def at(self, output: int) -> Taps:
        """What output `output` reads."""
        _check(output, self.outputs)
        return self.rows[output]


AxisMap = Local | Everything | Prefix | Table


def _check(output: int, outputs: int) -> None:
    if not 0 <= output < outputs:
        raise GeometryError(
            f"output {output} does not exist along an axis of {outputs}; use 0 to {outputs - 1}."
        )


def fold_back(border: Border, length: int, phases: int = 1) -> Callable[[int], int | None]:
    """Where a read at a position outside `length` inputs goes; None where nothing is read.

    With `phases` above 1, each of the maps of every `phases`-th position is folded by itself.

    >>> [fold_back("reflect", 7, phases=2)(p) for p in (-2, -1, 7, 8)]
    [2, 3, 3, 4]
    """
    if phases > 1:
        return _fold_phases(border, length, phases)
    if border == "clamp":
        return lambda p: min(max(p, 0), length - 1)
    if border == "wrap":
        return lambda p: p % length
    if border == "reflect":
        turn = 2 * (length - 1)
        return lambda p: (length - 1) - abs((p % turn) - (length - 1)) if turn else 0
    return lambda p: p if 0 <= p < length else None


def _fold_phases(border: Border, length: int, phases: int) -> Callable[[int], int | None]:
    folds = [fold_back(border, -(-(length - phase) // phases)) for phase in range(phases)]

    def place(position: int) -> int | None:
        turns, phase = divmod(position, phases)
        found = folds[phase](turns)
        return None if found is None else found * phases + phase

    return place


def _folded(taps: Taps, length: int, border: Border, phases: int) -> dict[int, int]:
    place = fold_back(border, length, phases)
    found: dict[int, int] = {}
    for position, multiplicity in taps.items():
        target = place(position)
        if target is not None:
            found[target] = found.get(target, 0) + multiplicity
    return found
