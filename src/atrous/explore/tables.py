"""What the page shows of a report, as HTML: tables and the footprint; everything is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import prod

from atrous.analysis import Comparison, Inspection
from atrous.draw.images import Cut, cuts, data_url, png
from atrous.draw.units import at_least, bytes_text, per_axis, quantity, shape_text, share_text
from atrous.errors import AtrousError

__all__ = ["comparison_table", "footprint_figure", "layer_numbers", "totals"]

MOST_STEPS = 15_000_000
"""A second or two: more would keep the page from answering."""


def totals(report: Inspection) -> str:
    """One line: what the output sees, and what the whole costs."""
    last = report.outputs[-1]
    field = per_axis([str(axis.size) for axis in last.field]) or "none"
    read = min((axis.coverage for axis in last.field), default=0.0)
    macs = at_least(quantity(report.macs, "MAC"), report.uncounted.get("macs"))
    memory = at_least(bytes_text(report.peak_memory_bytes), report.uncounted.get("memory"))
    return (
        f"Output {shape_text(last.output_shape, known=last.sized)}; receptive field {field}, "
        f"{share_text(read)} read "
        f"along the axis with most holes; {macs}, "
        f"{quantity(report.params)} parameters, peak memory {memory}."
    )


def layer_numbers(report: Inspection) -> str:
    """The table of layers: sizes, field, coverage, stride and cost."""
    head = (
        "layer",
        "op",
        "output",
        "field",
        "read",
        "coverage",
        "stride",
        "MACs",
        "params",
        "memory",
    )
    rows = [
        (
            layer.name,
            f"{layer.op} {layer.detail}",
            shape_text(layer.output_shape, known=layer.sized),
            per_axis([str(axis.size) for axis in layer.field]),
            per_axis([str(axis.taps) for axis in layer.field]),
            share_text(min((axis.coverage for axis in layer.field), default=0.0)),
            per_axis([str(axis.stride) for axis in layer.field]),
            "?" if layer.uncounted else quantity(layer.macs),
            quantity(layer.params),
            bytes_text(layer.activation_bytes),
        )
        for layer in report.layers
    ]
    return _table("Layers", head, rows)


def comparison_table(found: Comparison) -> str:
    """Schemes side by side."""
    head = ("scheme", "layers", "output", "field", "read", "unread", "MACs", "memory")
    rows = [
        (
            scheme.name,
            scheme.source,
            shape_text(scheme.output_shape),
            per_axis([str(axis.size) for axis in scheme.field]),
            share_text(scheme.coverage or 0.0),
            "not known" if scheme.unread is None else share_text(float(scheme.unread)),
            quantity(scheme.macs),
            bytes_text(scheme.peak_memory_bytes),
        )
        for scheme in found
    ]
    return _table("Schemes", head, rows)


def footprint_figure(report: Inspection, layer: str) -> tuple[str, str]:
    """The footprint of a layer's middle as SVG, and what it says; or nothing and the reason."""
    if _steps(report, layer) > MOST_STEPS:
        return "", f"{layer} reads too much to be counted while you wait; try a smaller input."
    try:
        footprint = report.footprint(layer)
    except AtrousError as error:
        return "", str(error)
    drawn = "".join(map(_figure, cuts(footprint)))
    box = footprint.effective()
    at = ", ".join(map(str, footprint.at))
    size = "x".join(map(str, footprint.box.shape))
    text = (
        f"Output ({at}) of {layer} reads {footprint.taps:,} of {size} positions "
        f"({share_text(footprint.coverage)}); the frame holds {box}."
    )
    return drawn, text


def _steps(report: Inspection, layer: str) -> int:
    """About how many positions are looked at on the way back from one output to the input."""
    whole = prod(report.network.tensor(report.input).grid.values())
    total = 0
    for one in report.layers:
        total += min(prod(axis.size for axis in one.field), whole)
        if one.name == layer:
            break
    return total


def _figure(cut: Cut) -> str:
    (top, left), (tall, wide) = cut.origin, cut.counts.shape
    pad = max(1, round(0.04 * max(tall, wide)))
    view = f"{left - pad} {top - pad} {wide + 2 * pad} {tall + 2 * pad}"
    shape = 'preserveAspectRatio="none" style="height:3rem"' if cut.shape[0] == 1 else ""
    y, x, high, across = cut.effective
    names = " and ".join(axis for axis in cut.axes if axis)
    return (
        f'<svg viewBox="{view}" role="img" aria-label="Footprint over {escape(names)}" {shape}>'
        f'<image href="{data_url(png(cut.counts))}" x="{left}" y="{top}" width="{wide}" '
        f'height="{tall}" preserveAspectRatio="none"/>'
        f'<rect class="frame" x="{x}" y="{y}" width="{across}" height="{high}"/></svg>'
    )


def _table(label: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<table class="numbers" aria-label="{escape(label)}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
