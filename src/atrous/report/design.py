"""Designs: what each sees and costs beside the others, why it is there, and its code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atrous.draw.units import bytes_text, quantity, shape_text
from atrous.report.html import escaped, grid
from atrous.report.inspection import InspectionView
from atrous.report.lines import Column, Line, Look, Span, folded, line, table, wrapped, wrapped_text
from atrous.report.view import LinesView
from atrous.search import Design, Designs
from atrous.search.space import power_of_ten
from atrous.shown import how_many, view

__all__ = ["DesignView", "DesignsView"]

_INDENT = 10


@view.register(Design)
@dataclass(frozen=True, slots=True)
class DesignView(LinesView):
    """The stack, what it reaches and costs, its report by layer, and PyTorch that builds it."""

    record: Design
    code: bool = True

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        out = wrapped(Span("stack", "bold"), found.stack, _INDENT, look)
        out += wrapped(Span("why", "bold"), found.why, _INDENT, look)
        out += wrapped(Span("sees", "bold"), _sees(found), _INDENT, look)
        out += wrapped(Span("costs", "bold"), _costs(found), _INDENT, look)
        out += [(), *InspectionView(found.report).lines(look)]
        if self.code:
            out += [(), *(line(Span(row)) for row in found.code().split("\n"))]
        return out


@view.register(Designs)
@dataclass(frozen=True, slots=True)
class DesignsView(LinesView):
    """What was searched, and a row for each design."""

    record: Designs

    def lines(self, look: Look) -> list[Line]:
        out = [
            line(Span(row, "bold"))
            for row in wrapped_text(_designs_title(self.record), look.width, look)
        ]
        out += [(), *table(folded(_design_columns(self.record), look.width), look), ()]
        return out + wrapped(Span("searched", "bold"), _searched(self.record), _INDENT, look)

    def html(self) -> str:
        title, said = escaped(_designs_title(self.record)), escaped(_searched(self.record))
        return f"<div><b>{title}</b>{grid(_design_columns(self.record))}<p>{said}</p></div>"

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.fronts import front_chart
        from atrous.draw.offline import offline

        rows = [
            {
                "price": one.price,
                "evenness": None if one.evenness is None else round(100 * one.evenness),
                "field": one.field,
                "stack": one.stack,
            }
            for one in self.record
        ]
        return offline(front_chart(rows, self.record.space.minimise))


def _designs_title(found: Designs) -> str:
    space = found.space
    field = (
        f"{space.least:,}" if space.enough == space.least else f"{space.least:,} to {space.most:,}"
    )
    shape = (1, space.channels_in, *space.sizes)
    return (
        f"{how_many(len(found), 'design')} for a field of {field} at output stride "
        f"{space.output_stride} on {shape_text(shape)}"
    )


def _searched(found: Designs) -> str:
    space = found.space
    low, high = space.depth
    kind = "separable layer" if space.layer == "separable" else "layer"
    layers = f"{low} to {high} {kind}s" if low < high else how_many(high, kind)
    rates = f"rates {space.rates[0]} to {space.rates[-1]}"
    said = (
        f"{power_of_ten(found.covered)} schedules, all of them: {layers}, kernels "
        f"{_comma_listed(space.kernels)}, {rates}, fields up to {space.most:,}; none beats these "
        f"in {_PRICES[space.minimise]}, field"
    )
    if space.holes:
        return f"{said}; holes are allowed."
    grids = "" if space.subgrids else " and sub-grids"
    return f"{said} and evenness, without holes{grids}."


_PRICES = {
    "macs": "MACs",
    "params": "parameters",
    "memory": "memory",
    "latency": "measured time",
    "state": "state",
}


def _comma_listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _design_columns(found: Designs) -> list[Column]:
    def column(title: str, texts: Sequence[str]) -> Column:
        return Column(title, tuple(map(Span, texts)))

    columns = [
        Column("stack", tuple(Span(one.stack, "bold") for one in found), False, 24),
        column("field", [_field_text(one) for one in found]),
    ]
    if any(one.evenness is not None for one in found):
        columns.append(
            column("even", [f"{one.evenness:.0%}" for one in found if one.evenness is not None])
        )
    else:
        columns.append(column("read", [f"{one.coverage:.0%}" for one in found]))
    columns += [
        column("MACs", [quantity(one.macs) for one in found]),
        column("params", [quantity(one.params) for one in found]),
        column("memory", [bytes_text(one.memory_bytes) for one in found]),
    ]
    if all(one.latency_ns for one in found):
        columns.append(column("ms", [f"{(one.latency_ns or 0) / 1e6:.3g}" for one in found]))
    if all(one.state_bytes is not None for one in found):
        columns.append(column("state", [bytes_text(one.state_bytes or 0) for one in found]))
    columns.append(Column("why", tuple(Span(one.why) for one in found), False, 12))
    return columns


def _field_text(one: Design) -> str:
    return str(one.field) if one.scale is None else f"{one.field} ({one.scale.text(one.field)})"


def _sees(one: Design) -> str:
    stride = one.report.outputs[0].output_stride[0]
    read = f"{one.coverage:.0%} of them read"
    if one.look_ahead is not None:
        ahead = (
            str(one.ahead) if one.scale is None else f"{one.ahead} ({one.scale.text(one.ahead)})"
        )
        read += f", {ahead} of them behind its hop of {stride}" if one.ahead else ", none ahead"
    said = f"{_field_text(one)} input positions at output stride {stride}, {read}"
    return (
        said if one.evenness is None else f"{said}, paths {one.evenness:.0%} as wide as even ones"
    )


def _costs(one: Design) -> str:
    counts = f"{quantity(one.macs)}MACs, {quantity(one.params)} parameters"
    said = f"{counts}, {bytes_text(one.memory_bytes)}"
    if one.latency_ns:
        said += f", {one.latency_ns / 1e6:.3g} ms"
    if one.state_bytes is not None:
        said += f", {bytes_text(one.state_bytes)} of state in a stream"
    return said
