"""The table of layers: as many columns as there is room for, the most asked for first."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from atrous.analysis import Field
from atrous.draw.rows import Listing, Row, Sort
from atrous.draw.units import (
    at_least,
    bytes_text,
    fraction_text,
    per_axis,
    quantity,
    shape_text,
    share_text,
)
from atrous.report.lines import GAP, Column, Line, Look, Span, line, table, wrapped_text
from atrous.shown import how_many

__all__ = ["layer_columns", "layer_keys", "layer_notes", "layer_table"]

# In the order in which they stand; `_ASKED` is the order in which they get room.
_STANDING = (
    "layer", "op", "output", "field", "taps", "gap", "cover", "stride", "start", "center", "step",
    "MACs", "params", "activation",
)  # fmt: skip
_ASKED = (
    "layer", "field", "stride", "cover", "output", "MACs", "op", "params", "gap", "activation",
    "start", "center", "taps", "step",
)  # fmt: skip
_SORTED_BY = {"macs": "MACs", "params": "params", "memory": "activation"}
_BASE = 7  # columns that come before the name of a layer may take more than its share
_NAME_LEAST, _NAME_SHARE = 14, 36
_FEWEST = 4  # columns that are shown in any terminal


def layer_table(found: Listing, look: Look, sort: Sort = "order") -> list[Line]:
    """The table, and under it what its marks mean and what it leaves out."""
    notes = [
        line(Span(row, "dim"))
        for text in layer_notes(found)
        for row in wrapped_text(text, look.width, look)
    ]
    if not found.rows:
        return [line(Span("no layer moves positions or costs anything.", "dim")), *notes]
    columns = {title: _layer_column(title, found) for title in _standing(found)}
    asked = list(_ASKED)
    asked[2:2] = [title for title in columns if title not in _STANDING]
    if sort in _SORTED_BY:
        asked.remove(_SORTED_BY[sort])
        asked.insert(2, _SORTED_BY[sort])
    name = columns["layer"]
    chosen, taken = {"layer"}, 0
    for place, title in enumerate(asked[1:], start=1):
        room = _NAME_LEAST if place < _BASE else _NAME_SHARE
        width = taken + GAP + columns[title].width
        if width + min(name.width, room) > look.width:
            # A later, narrower column would look picked at random.
            break
        chosen.add(title)
        taken = width
    for title in reversed(asked[_FEWEST:]):
        # Names that are told apart by what lies in their middle need more room than was kept.
        if taken + name.within(look.width - taken, look).width <= look.width:
            break
        if title in chosen:
            chosen.remove(title)
            taken -= GAP + columns[title].width
    return table([columns[title] for title in columns if title in chosen], look) + notes


def layer_columns(found: Listing) -> list[Column]:
    """Every column, for where there is room for all of them."""
    return [_layer_column(title, found) for title in _standing(found)]


def layer_keys(found: Listing) -> list[list[float | str]]:
    """For each row what its cells sort by, in the order of `layer_columns`: numbers, not texts."""
    return [
        [_key(title, row, place) for title in _standing(found)]
        for place, row in enumerate(found.rows)
    ]


def layer_notes(found: Listing) -> list[str]:
    """What the marks of the table mean, and what it leaves out."""
    out: list[str] = []
    if any(_mark(row) == "*" for row in found.rows):
        out.append("* after an op that mixed all positions; the field is the local one")
    if any(_mark(row) == "?" for row in found.rows):
        out.append("? behind an op that is not understood")
    if found.cut:
        out.append(f"{how_many(found.cut, 'more row')}")
    if found.quiet:
        params = f" ({quantity(found.quiet_params)} params)" if found.quiet_params else ""
        verbs = ("moves", "costs") if found.quiet == 1 else ("move", "cost")
        out.append(
            f"{found.quiet} of {how_many(found.layers, 'layer')}{params} {verbs[0]} no positions "
            f"and {verbs[1]} no MACs: see --all"
        )
    return out


def _standing(found: Listing) -> tuple[str, ...]:
    """The titles of all columns: fields also in the unit of each scale, where there is one."""
    units = dict.fromkeys(scale.unit for scale in found.scales.values())
    place = _STANDING.index("field") + 1
    return (*_STANDING[:place], *(f"field {unit}" for unit in units), *_STANDING[place:])


def _layer_column(title: str, found: Listing) -> Column:
    rows = found.rows
    if title == "layer":
        cells = tuple(Span(row.name) for row in rows)
        return Column(title, cells, right=False, shrink=_NAME_LEAST, among=found.names)
    if title == "op":
        return Column(title, tuple(Span(row.op, "dim") for row in rows), right=False)
    if title == "field":
        marked = any(_mark(row) for row in rows)
        cells = tuple(Span(_size(row) + (_mark(row) or " " * marked)) for row in rows)
        return Column(title + " " * marked, cells)
    if title not in _CELLS:
        return Column(title, tuple(Span(_in_unit(row, title, found)) for row in rows))
    return Column(title, tuple(_CELLS[title](row) for row in rows))


def _in_unit(row: Row, title: str, found: Listing) -> str:
    """The sizes of the fields along the axes that have a scale in the unit of this column."""
    texts = [
        scale.text(axis.size).removesuffix(f" {scale.unit}")
        for axis in row.layer.field
        if (scale := found.scales.get(axis.axis)) and title == f"field {scale.unit}"
    ]
    return per_axis(texts) or "-"


def _key(title: str, row: Row, place: int) -> float | str:
    if title == "layer":
        return place
    if title == "op":
        return row.op
    if title == "output":
        return math.prod(row.layer.output_shape)
    costs = {"MACs": row.macs, "params": row.params, "activation": row.activation_bytes}
    if title in costs:
        return costs[title]
    number = _NUMBERS.get(title, _NUMBERS["field"])
    return max((float(number(axis)) for axis in row.layer.field), default=-math.inf)


_NUMBERS: dict[str, Callable[[Field], float | Fraction]] = {
    "field": lambda axis: axis.size,
    "taps": lambda axis: axis.taps,
    "gap": lambda axis: axis.max_gap,
    "cover": lambda axis: axis.coverage,
    "stride": lambda axis: axis.stride,
    "start": lambda axis: axis.start,
    "center": lambda axis: axis.center,
    "step": lambda axis: axis.step,
}


def _mark(row: Row) -> str:
    if not row.layer.complete:
        return "?"
    return "*" if row.layer.is_global else ""


def _size(row: Row) -> str:
    return _axes(row, lambda axis: str(axis.size)) if row.layer.field else _absent(row)


def _absent(row: Row) -> str:
    # The mark beside it says why a field is not known; without one there are no positions.
    return "" if row.layer.opaque else "-"


def _axes(row: Row, value: Callable[[Field], str]) -> str:
    return per_axis([value(axis) for axis in row.layer.field]) or "-"


def _coverage(row: Row) -> Span:
    style = "yellow" if any(axis.coverage < 1 for axis in row.layer.field) else ""
    return Span(_axes(row, lambda axis: share_text(axis.coverage)).replace("%x", "x"), style)


_CELLS: dict[str, Callable[[Row], Span]] = {
    "output": lambda row: Span(_output(row.layer.output_shape) if row.layer.sized else "?"),
    "stride": lambda row: Span(_axes(row, lambda axis: str(axis.stride))),
    "cover": _coverage,
    "gap": lambda row: Span(_axes(row, lambda axis: str(axis.max_gap))),
    "start": lambda row: Span(_axes(row, lambda axis: str(axis.start))),
    "center": lambda row: Span(_axes(row, lambda axis: fraction_text(axis.center))),
    "taps": lambda row: Span(_axes(row, lambda axis: str(axis.taps))),
    "step": lambda row: Span(_axes(row, lambda axis: str(axis.step))),
    "MACs": lambda row: Span(_macs(row)),
    "params": lambda row: Span(quantity(row.params) if row.params else "-"),
    "activation": lambda row: Span(bytes_text(row.activation_bytes) if row.layer.sized else "?"),
}


def _macs(row: Row) -> str:
    if row.macs:
        return at_least(quantity(row.macs), row.uncounted, short=True)
    return "?" if row.uncounted else "-"


def _output(shape: tuple[int, ...]) -> str:
    # A batch of one is no news in every row.
    return shape_text(shape[1:] if len(shape) > 1 and shape[0] == 1 else shape)
