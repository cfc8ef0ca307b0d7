"""A pyramid of rates on its map: a row for each branch, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atrous.analysis.rates import Branch, Limits, Pyramid, percent
from atrous.draw.units import per_axis, shape_text
from atrous.report.lines import Column, Line, Look, Span, line, table, wrapped
from atrous.report.view import LinesView
from atrous.shown import view

__all__ = ["PyramidView", "pyramid_text"]

_INDENT = 17


@view.register(Pyramid)
@dataclass(frozen=True, slots=True)
class PyramidView(LinesView):
    """The branches as a table, and below it limits and what the branches read together."""

    record: Pyramid

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        size = shape_text(found.map)
        if found.source:
            named = f"branches that read {found.source}, a map of {size}"
        else:
            stride = _one(found.output_stride)
            named = f"a map of {size}: {shape_text(found.size)} at output stride {stride}"
        out = [line(Span(named, "bold")), (), *table(_branch_columns(found.branches), look)]
        out.append(())
        for branch in found.branches:
            if branch.alone and branch.taps > 1:
                out += wrapped(
                    Span(f"rate {_one(branch.rate)}", "bold"), branch.verdict, _INDENT, look
                )
        if found.limits is not None:
            out += wrapped(Span("largest rates", "bold"), _limits(found.limits), _INDENT, look)
        out += wrapped(Span("in proportion", "bold"), _scaled(found), _INDENT, look)
        out += wrapped(Span("together", "bold"), _together(found), _INDENT, look)
        return out


def pyramid_text(found: Pyramid) -> str:
    """A pyramid in one line: what each rate has inside."""
    rates = ", ".join(_one(branch.rate) for branch in found.branches)

    def each(share: str) -> str:
        return ", ".join(percent(getattr(branch, share)) for branch in found.branches)

    words = f"rates {rates} on a map of {shape_text(found.map)}: {each('inside')} of taps inside; "
    words += f"all of them at {each('full')} of positions"
    if any(branch.alone for branch in found.branches):
        words += f"; only one at {each('alone')}"
    return words


def _branch_columns(branches: Sequence[Branch]) -> list[Column]:
    def shares(title: str, name: str, style: str = "") -> Column:
        values = [getattr(branch, name) for branch in branches]
        return Column(title, tuple(Span(percent(v), style if v else "") for v in values))

    whole = {branch.taps for branch in branches}
    means = (
        f"{float(branch.mean_taps):.2f}" + ("" if len(whole) == 1 else f" of {branch.taps}")
        for branch in branches
    )
    columns = [
        Column("rate", tuple(Span(_one(branch.rate)) for branch in branches)),
        Column("kernel", tuple(Span(shape_text(branch.kernel)) for branch in branches)),
        shares("taps inside", "inside"),
        Column(f"mean of {min(whole)}" if len(whole) == 1 else "mean", tuple(map(Span, means))),
        shares("all inside", "full"),
        shares("one inside", "alone", "yellow"),
    ]
    if any(branch.empty for branch in branches):
        columns.append(shares("none inside", "empty", "yellow"))
    if any(branch.layer for branch in branches):
        names = tuple(Span(branch.layer) for branch in branches)
        columns.insert(0, Column("layer", names, right=False, shrink=14))
    return columns


def _limits(limits: Limits) -> str:
    words = {
        "has all taps inside somewhere": limits.all_somewhere,
        "more than one at every position": limits.more_everywhere,
        "more than one somewhere": limits.more_somewhere,
    }
    return ", ".join(f"{rate or 'none'} {what}" for what, rate in words.items())


def _scaled(found: Pyramid) -> str:
    rates = ", ".join(map(str, found.scaled))
    return f"{rates}, the largest as DeepLab v3's 18 is for a map of 33x33"


def _together(found: Pyramid) -> str:
    gaps = [taps.max_gap for taps in found.along]
    text = (
        f"one output reads {found.taps:,} of {shape_text(found.extent)} positions of the map "
        f"({percent(found.coverage)})"
    )
    return f"{text}, with gaps of up to {_one(gaps)}" if any(gaps) else text


def _one(numbers: Sequence[int]) -> str:
    """A number for all axes where they agree."""
    return per_axis([str(number) for number in numbers])
