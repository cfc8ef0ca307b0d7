"""How a record is shown: one dispatch from a record to its view.

`report` registers the view of each record beside its lines, `atrous/__init__.py` plugs `report`
in, and records ask for their view here: none of them knows who draws it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from functools import singledispatch
from typing import Any, Literal

__all__ = [
    "ELLIPSES",
    "Plain",
    "Shown",
    "ShownWhole",
    "Tabular",
    "View",
    "how_many",
    "ordinal",
    "plain",
    "plain_fields",
    "plug",
    "some",
    "splits",
    "view",
]

ELLIPSES = ("…", "...")
"""What stands for letters left out of a name, and where a terminal has no such letter."""

_PLURALS = {"axis": "axes", "box": "boxes", "index": "indices"}


class View:
    """A record, laid out when it is known where it is shown; Rich prints it, too.

    Each file of `report` has one for its record. `plot`, `page` and `graph` take what the record's
    own method of that name takes; a record without the method has a view without them.
    """

    __slots__ = ()

    def text(self) -> str:
        """Plain text, 80 columns wide."""
        raise NotImplementedError

    def html(self) -> str:
        """A fragment for notebooks and pages, escaped and with no references to anything else."""
        raise NotImplementedError

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:
        """An `altair.Chart`."""
        raise NotImplementedError

    def page(self, *, image: object = None, beside: object = None) -> str:
        """An HTML file that opens offline."""
        raise NotImplementedError

    def moving(self, seconds: float) -> str:
        """A picture that plays by itself, in SVG."""
        raise NotImplementedError

    def graph(self, module: str, colour: str) -> str:
        """Boxes and arrows, in SVG."""
        raise NotImplementedError

    def frame(self, library: Literal["pandas", "polars"], table: str) -> Any:
        """A table of the record as a data frame, the usual one unless another is named."""
        raise NotImplementedError


_loaders: list[Callable[[], None]] = []


def plug(load: Callable[[], None]) -> None:
    """What to call when a record has no view yet: it registers them all."""
    _loaders.append(load)


@singledispatch
def view(record: object) -> View:
    """The view of a record: the file of `report` that is about it has registered one."""
    for load in _loaders:
        load()
    # Not by `dispatch`: what another thread asked meanwhile may stand in its cache.
    known = (view.registry.get(kind) for kind in type(record).__mro__[:-1])
    found = next(filter(None, known), None)
    if found is None:
        raise TypeError(f"a {type(record).__name__} is not shown: it has no view.")
    return found(record)


def plain(value: Any) -> Any:
    """A field as JSON has it: records by their `to_dict`, tuples as lists, fractions as text.

    >>> from fractions import Fraction
    >>> plain({"stride": (Fraction(1, 2), 4)})
    {'stride': ['1/2', 4]}
    """
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Fraction) else value


def plain_fields(record: Any) -> dict[str, Any]:
    """The fields of a record in their order, each as plain data."""
    return {field.name: plain(getattr(record, field.name)) for field in fields(record)}


def some(names: Sequence[str], most: int = 3) -> str:
    """A few names, and how many more there are; one more is named itself.

    >>> some(["a", "b", "c", "d"]), some(["a", "b", "c", "d"], 2)
    ('a, b, c, d', 'a, b and 2 more')
    """
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def how_many(count: int, noun: str) -> str:
    """A count and its noun, in the plural where it is not 1.

    >>> how_many(1, "layer"), how_many(2, "layer"), how_many(12_000, "box"), how_many(2, "axis")
    ('1 layer', '2 layers', '12,000 boxes', '2 axes')
    """
    if count == 1:
        return f"1 {noun}"
    head, _, word = noun.rpartition(" ")
    plural = _PLURALS.get(word, f"{word}s")
    return f"{count:,} {head} {plural}" if head else f"{count:,} {plural}"


def ordinal(number: int) -> str:
    """A place in a row.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 21, 102, 111)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '21st', '102nd', '111th']
    """
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def splits(label: str, mark: str) -> list[tuple[str, str]]:
    """What stands before and behind a mark in a label, for each place where it can be.

    >>> splits("stem…conv", "…"), splits("a....b", "...")
    ([('stem', 'conv')], [('a', '.b'), ('a.', 'b')])
    """
    found = []
    place = label.find(mark)
    while place >= 0:
        found.append((label[:place], label[place + len(mark) :]))
        place = label.find(mark, place + 1)
    return found


class Plain:
    """A record whose fields are all that it is."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return plain_fields(self)


def _repr_pretty_(record: object, printer: Any, cycle: bool) -> None:  # noqa: ARG001
    """IPython's text of a record, which is its own also inside a tuple or a dict."""
    with printer.group():
        for place, line in enumerate(str(record).split("\n")):
            if place:
                printer.break_()
            printer.text(line)


class Shown:
    """A record that shows itself in terminals through Rich, in notebooks, and in IPython."""

    __slots__ = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Inherited, it would come after the `__repr__` that a dataclass has of its own.
        setattr(cls, "_repr_pretty_", _repr_pretty_)  # noqa: B010 - mypy knows no such attribute

    def __rich__(self) -> View:
        return view(self)

    def _repr_html_(self) -> str:
        return view(self).html()


class ShownWhole(Shown):
    """A record whose text is its view, and which is plain data under a schema."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        raise NotImplementedError

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        return view(self).text()


class Tabular:
    """A record with tables that data frames hold."""

    __slots__ = ()

    def to_pandas(self, table: str = "") -> Any:
        """A table as a `pandas.DataFrame`: the record's usual one, or the one called `table`.

        One column for each number of each axis (`field_h`), in which what is not known is missing;
        fractions are floats, and exact in `to_dict`. Raises `UnknownNameError`, which lists the
        tables that there are, and `MissingDependencyError` without pandas.
        """
        return view(self).frame("pandas", table)

    def to_polars(self, table: str = "") -> Any:
        """A table as a `polars.DataFrame`; see `to_pandas`."""
        return view(self).frame("polars", table)
