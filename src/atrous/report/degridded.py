"""A degridding in words: what it is and is not, holes before and after, the price, the diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atrous.certification.degridded import Degridded
from atrous.conversion.rate_graph import AxisGrid
from atrous.draw.units import quantity
from atrous.report.certificate import INDENT, costs_text
from atrous.report.conversion import ConversionView, edits_lines
from atrous.report.lines import Line, Look, Span, line, wrapped, wrapped_text
from atrous.shown import how_many, some, view

__all__ = ["DegriddedView"]

_MOST = 20
_NAMED = 4


@view.register(Degridded)
@dataclass(frozen=True, slots=True)
class DegriddedView(ConversionView):
    """What changes and that it is to be trained again, holes and sub-grids, price and diff.

    Where `every` is False at most 20 layers of the diff are shown.
    """

    def lines(self, look: Look) -> list[Line]:
        record = self.record
        assert isinstance(record, Degridded)
        out = list(_headline(record, look))
        before, after = record.grids
        for text in _holes(before, after):
            out += wrapped(Span("reads", "bold"), text, INDENT, look)
        out += wrapped(Span("sub-grids", "bold"), _subgrids(record), INDENT, look)
        if record.trained_again:
            out += wrapped(Span("equal", "bold"), _equal(record), INDENT, look)
        if record.method == "rates":
            out += wrapped(Span("fewest", "bold"), _fewest(record), INDENT, look)
        out += _price(record, look)
        for reason, names in _fixed(record).items():
            out += wrapped(
                Span("rate kept", "bold"), f"{some(names, _NAMED)}: {reason}", INDENT, look
            )
        for note in record.notes:
            out += wrapped(Span("note", "bold"), note, INDENT, look)
        if record.edits:
            out.append(())
            out += edits_lines(record.edits, look, None if self.every else _MOST)
        return out


def _headline(record: Degridded, look: Look) -> Iterator[Line]:
    if not record.trained_again:
        text = "nothing to change: no field has holes, no neighbours read disjoint sub-grids"
        style = "bold cyan"
    elif record.inserted is not None:
        put = record.inserted
        where = f"behind {put.behind}" if put.behind else "behind the input"
        text = f"{how_many(len(put.layers), 'layer')} put in {where}: to be trained"
        style = "bold yellow"
    else:
        text = f"{how_many(record.changes, 'rate')} changed: to be trained again"
        style = "bold yellow"
    yield from (line(Span(row, style)) for row in wrapped_text(text, look.width, look))


def _equal(record: Degridded) -> str:
    if record.inserted is not None:
        return (
            "not once trained: the layers put in start as the identity, so that the result "
            "computes at first what it did, and uses none of what it can read now"
        )
    return (
        "no: it reads other positions and computes something else; the weights are those there "
        "were, as a start"
    )


def _holes(before: Sequence[AxisGrid], after: Sequence[AxisGrid]) -> Iterator[str]:
    """One text for each end, axes that agree together."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    several = len({one.end for one in before}) > 1
    for one, two in zip(before, after, strict=True):
        name = f"{two.end}, " if several else ""
        groups.setdefault((name, _read(one), _read(two)), []).append(one.axis)
    for (name, was, now), axes in groups.items():
        yield f"{name}{', '.join(axes)}: {now}" + (f", was {was}" if was != now else ", as before")


def _read(grid: AxisGrid) -> str:
    if grid.taps == grid.size:
        whole = f"all {grid.size:,} positions" if grid.size > 1 else "the one position"
        return f"{whole} of its field"
    gap = how_many(grid.max_gap, "position")
    return f"{grid.taps:,} of {grid.size:,} positions, gaps of up to {gap}"


def _subgrids(record: Degridded) -> str:
    before, after = (
        list(dict.fromkeys(name for grid in side for name in grid.subgrids))
        for side in record.grids
    )
    most = 0 if record.strict else 1
    if record.by_design:
        return f"left along {', '.join(record.by_design)}: rates rise from 1 by the kernel"
    now = f"at {some(after, _NAMED)}" if len(after) > most else "none"
    was = f"at {some(before, _NAMED)}" if len(before) > most else "none"
    text = f"{now}, as before" if now == was else f"{now}, were {was}"
    if len(after) > most:
        text += "; a layer in front fills holes and joins no grids"
    if len(after) == 1 and most:
        text += f" ({after[0]} alone reads a grid, which the layer before it joins)"
    return text


def _fewest(record: Degridded) -> str:
    sets = f"{how_many(record.tried, 'set')} of rates up to {record.largest} tried"
    if not record.changes:
        return f"no change; {sets}"
    count = how_many(record.changes, "change")
    if record.kept and record.fewest:
        return f"{count}: fewer do not do it; {sets}"
    if record.kept:
        return f"{count}, at least {record.least} are needed; {sets}, then single changes followed"
    if record.fewest:
        return f"{count}; no set keeps the field: this is the nearest; {sets}, all there are"
    return (
        f"{count}; none that keeps the field was found, this is the nearest that was; {sets}, then "
        "single changes followed"
    )


def _price(record: Degridded, look: Look) -> Iterator[Line]:
    certificate = record.certificate
    before, after = certificate.before, certificate.after
    params = record.params
    counts = " -> ".join(dict.fromkeys(quantity(n) for n in params))
    if params[0] == params[1]:
        counts += ", as before"
    for title, text in (
        ("compute", costs_text(before, after, "macs")),
        ("parameters", counts),
        ("peak memory", f"{costs_text(before, after, 'memory')} of activations, by the graph"),
    ):
        yield from wrapped(Span(title, "bold"), text, INDENT, look)


def _fixed(record: Degridded) -> dict[str, list[str]]:
    """The layers whose rates cannot change, by the reason; 1x1 layers go without saying."""
    found: dict[str, list[str]] = {}
    for one in record.fixed:
        if not one.reason.startswith("its kernel is 1"):
            found.setdefault(one.reason, []).append(one.layer)
    return found
