"""What a lesson is made of: numbers, tables, slides, statements; and how a statement registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, cast

from atrous.errors import AtrousError, GeometryError, unknown
from atrous.geometry import Window
from atrous.registry import Registry
from atrous.shown import Plain, Shown, ShownWhole, plain

__all__ = [
    "Cell",
    "Claim",
    "Column",
    "Fact",
    "Lesson",
    "Numbers",
    "Slide",
    "Statement",
    "Table",
    "Topic",
    "Unit",
    "Verdict",
    "lesson_of",
    "topic",
    "topics",
]

SCHEMA = "atrous.lesson/1"

Cell = int | float | str | bool | Fraction | None
Unit = Literal["", "MAC", "bytes", "share", "ms", "times"]
Verdict = Literal["true", "if", "false", "untried"]
"""Whether a statement holds: always, under a condition that `exactly` gives, or not.

`untried` where it cannot be tried with the reader's numbers; `exactly` says why.
"""

_BOUNDS = {
    "kernel": (1, 15),
    "stride": (1, 8),
    "dilation": (1, 32),
    "depth": (1, 8),
    "channels": (1, 1024),
}
_MOST_SIZE = 1 << 16


@dataclass(frozen=True, slots=True)
class Numbers(Plain):
    """The numbers that the statements are tried with, and a reader can change.

    `input` is a shape with batch, channels and 1 to 3 sizes. With `measure` times are taken, too.
    """

    kernel: int = 3
    stride: int = 2
    dilation: int = 2
    depth: int = 4
    channels: int = 64
    input: tuple[int, ...] = (1, 3, 128, 128)
    measure: bool = False

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise GeometryError(f"{name}={value!r} is no whole number from {least} to {most}.")
        if self.input[0] != 1:
            raise GeometryError(
                f"input={self.input} has a batch of {self.input[0]}; statements are tried with a "
                "batch of 1."
            )
        sizes = self.input[2:]
        if not 1 <= len(sizes) <= 3 or any(
            type(n) is not int or not 1 <= n <= _MOST_SIZE for n in self.input
        ):
            raise GeometryError(
                f"input={self.input} is not batch, channels and 1 to 3 sizes, each from 1 to "
                f"{_MOST_SIZE}; give input=(1, 3, 128, 128), say."
            )

    @property
    def size(self) -> int:
        """The length of the input along its first axis."""
        return self.input[2]

    @property
    def rank(self) -> int:
        """How many spatial axes the input has."""
        return len(self.input) - 2

    @property
    def dilated(self) -> Window:
        """One dilated window that keeps its input's size."""
        return same(self.kernel, dilation=self.dilation)

    @property
    def strided(self) -> Window:
        """One strided window, padded as a convolution that halves is."""
        return same(self.kernel, stride=self.stride)


def same(kernel: int, stride: int = 1, dilation: int = 1) -> Window:
    """A window whose padding is its extent less one, the odd one behind."""
    total = Window(kernel, dilation=dilation).extent - 1
    return Window(kernel, stride, dilation, total // 2, total - total // 2)


@dataclass(frozen=True, slots=True)
class Column(Plain):
    """A column of a table: its title and the unit of its numbers."""

    title: str
    unit: Unit = ""


@dataclass(frozen=True, slots=True)
class Table(Plain, Shown):
    """Computed numbers in rows."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.title

    def __getitem__(self, title: str) -> tuple[Cell, ...]:
        """The cells of one column."""
        for place, column in enumerate(self.columns):
            if column.title == title:
                return tuple(row[place] for row in self.rows)
        raise unknown("column", title, [column.title for column in self.columns])

    def __str__(self) -> str:
        return self.title


@dataclass(frozen=True, slots=True)
class Slide(Plain, Shown):
    """A window sliding over `length` inputs along one axis, or run backwards (`transposed`)."""

    title: str
    window: Window
    length: int
    transposed: bool = False

    @property
    def outputs(self) -> int:
        """How many outputs there are."""
        if self.transposed:
            return self.window.transposed_length(self.length)
        return self.window.output_length(self.length)

    def reads(self, output: int) -> tuple[int, ...]:
        """The inputs that an output reads, none of them padding.

        >>> Slide("", Window(3, 2), 8).reads(2), Slide("", Window(3, 2), 3, True).reads(2)
        ((4, 5, 6), (0, 1))
        """
        inside = range(self.length)
        if self.transposed:
            return tuple(at for at in inside if output in self.window.taps(at))
        return tuple(at for at in self.window.taps(output) if at in inside)

    def __str__(self) -> str:
        return self.title


@dataclass(frozen=True, slots=True)
class Fact:
    """What is exactly true of a claim, for the numbers given, and what shows it.

    `evidence` holds records that have a view: tables, slides, footprints, comparisons.
    """

    verdict: Verdict
    exactly: str
    evidence: tuple[Shown, ...] = ()


Claim = Callable[[Numbers], Fact]
"""Computes the fact of one statement."""


@dataclass(frozen=True, slots=True)
class Statement(Shown):
    """Something that is said of stride or dilation, whether it holds, and what is exactly true."""

    name: str
    says: str
    verdict: Verdict
    exactly: str
    evidence: tuple[Shown, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        kept = ("name", "says", "verdict", "exactly")
        return {key: getattr(self, key) for key in kept} | {
            "evidence": [
                {"kind": type(record).__name__.lower(), **plain(record)} for record in self.evidence
            ]
        }

    def __str__(self) -> str:
        return f"{self.says} {self.exactly}"


@dataclass(frozen=True, slots=True, repr=False)
class Lesson(ShownWhole):
    """A topic's statements, each with what was computed for `numbers`.

    >>> import atrous
    >>> atrous.learn("strided")["output-size"].exactly
    'floor((8 - 3) / 2) + 1 = 3, where (8 - 3) / 2 + 1 is 3.5: the last position is dropped.'
    """

    topic: str
    title: str
    numbers: Numbers
    statements: tuple[Statement, ...]

    def __getitem__(self, name: str) -> Statement:
        """The statement of that name."""
        for one in self.statements:
            if one.name == name:
                return one
        raise unknown("statement", name, [one.name for one in self.statements])

    def to_dict(self) -> dict[str, object]:
        """Plain data under a versioned schema."""
        return {
            "schema": SCHEMA,
            "topic": self.topic,
            "title": self.title,
            "numbers": self.numbers.to_dict(),
            "statements": [one.to_dict() for one in self.statements],
        }

    __repr__ = ShownWhole.__str__


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its claims, in the order in which they are told."""

    name: str
    title: str
    claims: dict[str, tuple[str, Claim]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Plain data: the statements by name."""
        says = {name: text for name, (text, _) in self.claims.items()}
        return {"topic": self.name, "title": self.title, "statements": says}

    def states(self, name: str, says: str) -> Callable[[Claim], Claim]:
        """Registers a claim under its name, with what is said."""

        def register(claim: Claim) -> Claim:
            assert name not in self.claims, name
            self.claims[name] = (says, claim)
            return claim

        return register


_TOPICS = Registry[str, Topic]("topic")


def topic(name: str, title: str) -> Topic:
    """A new topic, registered behind those that are there."""
    _TOPICS[name] = Topic(name, title)
    return _TOPICS[name]


def topics() -> tuple[Topic, ...]:
    """All topics, in the order in which they are told."""
    return tuple(_TOPICS.values())


def lesson_of(name: str, numbers: Numbers) -> Lesson:
    """A topic with every statement computed. Raises `UnknownNameError` with the near names."""
    found = _TOPICS[name]
    statements = []
    for key, (says, claim) in found.claims.items():
        try:
            fact = claim(numbers)
        except AtrousError as error:
            fact = Fact("untried", f"With these numbers it cannot be tried: {error}")
        statements.append(Statement(key, says, fact.verdict, fact.exactly, fact.evidence))
    return Lesson(found.name, found.title, numbers, tuple(statements))


def made(title: str, columns: str, rows: Sequence[Sequence[Cell]]) -> Table:
    """A table whose columns are written `title` or `title:unit`, separated by commas."""
    parts = [text.strip().partition(":") for text in columns.split(",")]
    named = tuple(Column(title, cast(Any, unit)) for title, _, unit in parts)
    return Table(title, named, tuple(tuple(row) for row in rows))
