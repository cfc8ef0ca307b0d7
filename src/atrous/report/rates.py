"""A pyramid of rates on its map: a row for each branch, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from atrous.analysis.pyramid_choice import PyramidRates
from atrous.analysis.rates import Branch, Pyramid, percent
from atrous.analysis.scale import in_units
from atrous.draw.units import per_axis, shape_text
from atrous.report.lines import Column, Line, Look, Span, line, table, wrapped, wrapped_text
from atrous.report.view import LinesView
from atrous.shown import how_many, view

__all__ = ["PyramidRatesView", "PyramidView", "pyramid_text"]

_INDENT = 17
_RARE = Fraction(1, 1000)


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
        step = in_units(dict.fromkeys(found.axes, 1), found.steps)
        named += f"; a position of the map is {step}" if step else ""
        out = [line(Span(row, "bold")) for row in wrapped_text(named, look.width, look)]
        out += [(), *table(_branch_columns(found), look), ()]
        for branch in found.branches:
            if branch.alone >= _RARE and branch.taps > 1:
                out += wrapped(
                    Span(f"rate {_one(branch.rate)}", "bold"), branch.verdict, _INDENT, look
                )
        if found.limits is not None:
            out += wrapped(Span("largest rates", "bold"), _limits(found), _INDENT, look)
        if len(found.map) == 2:
            out += wrapped(Span("in proportion", "bold"), _scaled(found), _INDENT, look)
            if found.limits is not None:
                out += wrapped(Span("safe", "bold"), _safe(found), _INDENT, look)
        out += wrapped(Span("together", "bold"), _together(found), _INDENT, look)
        return out


@view.register(PyramidRates)
@dataclass(frozen=True, slots=True)
class PyramidRatesView(LinesView):
    """The rates, what bounds them, and then what they see, as of any pyramid."""

    record: PyramidRates

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        style = "bold" if found.whole else "bold yellow"
        out = [line(Span(f"rates {_in_a_row(found.rates)}", style))]
        out += wrapped(Span("chosen", "bold"), _why_these(found), _INDENT, look)
        return [*out, (), *PyramidView(found.pyramid).lines(look)]


def _why_these(found: PyramidRates) -> str:
    where = "along each axis" if found.holes == "axes" else "in the box that is reached"
    limit = f"at most {found.limit}, for every position to see more than one tap and some all"
    if not found.whole:
        return (
            f"no {how_many(len(found.rates), 'different rate')} leave no hole {where} behind a "
            f"trunk of {found.trunk}: these leave out the least. A trunk of {found.needed} allows "
            f"rates up to {found.limit}"
        )
    if found.trunk < found.needed:
        return (
            f"no hole {where} behind a trunk of {found.trunk}, which bounds them; {limit}: a trunk "
            f"of {found.needed} would allow that"
        )
    return f"no hole {where} behind a trunk of {found.trunk}; {limit}"


def pyramid_text(found: Pyramid) -> str:
    """A pyramid in one line: what each rate has inside."""
    rates = ", ".join(_one(branch.rate) for branch in found.branches)
    lengths = [_length(found, branch.dilations) for branch in found.branches]
    rates += f" ({', '.join(lengths)})" if all(lengths) else ""

    def each(share: str) -> str:
        return ", ".join(percent(getattr(branch, share)) for branch in found.branches)

    words = f"rates {rates} on a map of {shape_text(found.map)}: {each('inside')} of taps inside; "
    words += f"all of them at {each('full')} of positions"
    if any(branch.alone for branch in found.branches):
        words += f"; only one at {each('alone')}"
    return words


def _branch_columns(found: Pyramid) -> list[Column]:
    branches = found.branches

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
        *_length_columns(found),
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


def _length_columns(found: Pyramid) -> list[Column]:
    """The rates in each unit that the map's axes have."""
    columns = []
    for unit in dict.fromkeys(step.unit for step in found.steps.values()):
        steps = {axis: step for axis, step in found.steps.items() if step.unit == unit}
        cells = []
        for branch in found.branches:
            texts = [
                steps[axis].text(rate).removesuffix(f" {unit}")
                for axis, rate in zip(found.axes, branch.dilations, strict=True)
                if axis in steps
            ]
            cells.append(Span(per_axis(texts)))
        columns.append(Column(f"rate {unit}", tuple(cells)))
    return columns


def _length(found: Pyramid, positions: Sequence[int]) -> str:
    """Positions of the map in units, once where all axes agree; empty without a scale."""
    along = zip(found.axes, positions, strict=True)
    texts = [in_units({axis: count}, found.steps) for axis, count in along]
    return " by ".join(dict.fromkeys(filter(None, texts)))


def _limits(found: Pyramid) -> str:
    limits = found.limits
    assert limits is not None
    words = {
        "some position has all taps inside": limits.all_somewhere,
        "every position more than one": limits.more_everywhere,
        "some position more than one": limits.more_somewhere,
    }

    def said(rate: int) -> str:
        length = _length(found, (rate,) * len(found.map)) if rate else ""
        return f"up to {rate}{f' ({length})' if length else ''}" if rate else "at no rate"

    return ", ".join(f"{said(rate)} {what}" for what, rate in words.items())


def _scaled(found: Pyramid) -> str:
    text = f"{_in_a_row(found.scaled)}, the largest as DeepLab v3's 18 is for a map of 33x33"
    large = [f"{_one(branch.rate)} {_lacks(branch)}" for branch in found.too_large]
    return f"{text}; too large here: {'; '.join(large)}" if large else text


def _lacks(branch: Branch) -> str:
    """What a rate that is too large leaves of its taps."""
    if branch.alone:
        one = "only the centre" if all(k % 2 for k in branch.kernel) else "only one tap"
        return f"has {one} inside at {percent(branch.alone)} of positions"
    return "has all taps inside nowhere"


def _safe(found: Pyramid) -> str:
    if not found.safe:
        return "no rate: at none every position sees more than one tap, and some position all"
    return (
        f"{_in_a_row(found.safe)} in the same proportion: every position sees more than one tap, "
        f"and some position all {found.branches[0].taps}"
    )


def _in_a_row(rates: Sequence[int]) -> str:
    return ", ".join(map(str, rates))


def _together(found: Pyramid) -> str:
    gaps = [taps.max_gap for taps in found.along]
    text = (
        f"one output reads {found.taps:,} of {shape_text(found.extent)} positions of the map "
        f"({percent(found.coverage)})"
    )
    if found.trunk > 1:
        text += f", through a trunk of {found.trunk}"
    extent = in_units(dict(zip(found.axes, found.extent, strict=True)), found.steps)
    text += f", over {extent}" if extent else ""
    length = _length(found, gaps)
    gap = _one(gaps) + (f" ({length})" if length else "")
    return f"{text}, with gaps of up to {gap}" if any(gaps) else text


def _one(numbers: Sequence[int]) -> str:
    """A number for all axes where they agree."""
    return per_axis([str(number) for number in numbers])
