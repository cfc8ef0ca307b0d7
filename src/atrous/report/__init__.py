"""Records as text, for terminals and for notebooks; computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from atrous.analysis import Comparison, Field, Inspection, Layer
from atrous.analysis.check import Check
from atrous.analysis.diff import Diff
from atrous.draw.rows import SORTS, Sort, listing
from atrous.report.checks import check_lines, outcome_text
from atrous.report.comparison import comparison_lines
from atrous.report.diff import diff_lines
from atrous.report.layer import field_lines, layer_lines
from atrous.report.layers import layer_table
from atrous.report.lines import Line, Look, text_of
from atrous.report.networks import network_lines
from atrous.report.summary import summary

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from atrous.analysis import Footprint
    from atrous.analysis.inspection import Colouring, Kind
    from atrous.convert import Certificate
    from atrous.runtime.conversion import Conversion
    from atrous.runtime.optimize.records import Explanation

__all__ = [
    "SORTS",
    "Listed",
    "Look",
    "Sort",
    "View",
    "certificate_html",
    "certificate_text",
    "certificate_view",
    "check_html",
    "check_text",
    "check_view",
    "comparison_html",
    "comparison_plot",
    "comparison_text",
    "comparison_view",
    "conversion_html",
    "conversion_page",
    "conversion_plot",
    "conversion_text",
    "conversion_view",
    "diff_html",
    "diff_text",
    "diff_view",
    "explanation_html",
    "explanation_plot",
    "explanation_text",
    "explanation_view",
    "field_html",
    "field_view",
    "footprint_html",
    "footprint_plot",
    "footprint_text",
    "footprint_view",
    "inspection_graph",
    "inspection_html",
    "inspection_page",
    "inspection_plot",
    "inspection_text",
    "inspection_view",
    "layer_html",
    "layer_text",
    "layer_view",
    "networks_view",
    "outcome_text",
]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the table of layers lists; see `rows.listing`."""

    every: bool = False
    depth: int | None = None
    sort: Sort = "order"
    top: int | None = None


_USUAL = Listed()


@dataclass(frozen=True, slots=True)
class View:
    """A report that is laid out when it is known how wide it may be.

    `text(look)` is the plain text; Rich prints it as wide as its console and in colour.
    """

    lines: Callable[[Look], Sequence[Line]]

    def text(self, look: Look | None = None) -> str:
        """Plain text, without blanks at the ends of lines."""
        return text_of(self.lines(replace(look or Look(), colour=False)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        look = Look(
            options.max_width,
            max(options.size.height - 4, 10) if console.is_terminal else Look().height,
            unicode=not options.ascii_only,
            colour=console.color_system is not None and not console.no_color,
        )
        for line in self.lines(look):
            text = Text(no_wrap=True, overflow="ignore", end="\n")
            for span in line:
                text.append(span.text, span.style or None)
            yield text


def inspection_text(
    inspection: Inspection, width: int = 80, *, unicode: bool = True, listed: Listed = _USUAL
) -> str:
    """The report in plain text: the summary first, then the table of layers."""
    return inspection_view(inspection, listed).text(Look(width, unicode=unicode))


def inspection_view(inspection: Inspection, listed: Listed = _USUAL) -> View:
    """The report, as wide as where it is printed."""

    def lines(look: Look) -> list[Line]:
        found = listing(
            inspection, every=listed.every, depth=listed.depth, sort=listed.sort, top=listed.top
        )
        return [*summary(inspection, look), (), *layer_table(found, look, listed.sort)]

    return View(lines)


def inspection_html(inspection: Inspection) -> str:
    """The report as HTML, escaped and with no references to anything else."""
    from atrous.report import html

    return html.report(inspection)


def inspection_page(
    inspection: Inspection, *, image: Any = None, beside: Inspection | None = None
) -> str:
    """The report as one HTML file; see `Inspection.to_html`."""
    from atrous.report.pages import report_page

    return report_page(_named(inspection, beside), image)


def conversion_page(conversion: Conversion, image: Any = None) -> str:
    """A conversion as one HTML file; see `Conversion.to_html`."""
    from atrous.report.pages import conversion_page as page

    return page(conversion, image)


def inspection_plot(inspection: Inspection, kind: Kind, beside: Inspection | None) -> Any:
    """See `Inspection.plot`."""
    from atrous.draw.charts import inspection_chart

    return inspection_chart(_named(inspection, beside), kind)


def inspection_graph(inspection: Inspection, module: str, colour: Colouring) -> str:
    """See `Inspection.graph`."""
    from atrous.draw.graph import graph_svg

    return graph_svg(inspection, module, colour)


def footprint_plot(footprint: Footprint, image: Any) -> Any:
    """See `Footprint.plot`."""
    from atrous.draw.footprints import footprint_chart

    return footprint_chart(footprint, image)


def comparison_plot(comparison: Comparison) -> Any:
    """See `Comparison.plot`."""
    from atrous.draw.charts import comparison_chart

    return comparison_chart(comparison)


def conversion_plot(conversion: Conversion, kind: Kind) -> Any:
    """See `Conversion.plot`."""
    from atrous.draw.charts import inspection_chart
    from atrous.report.pages import sides_of

    return inspection_chart(sides_of(conversion), kind)


def explanation_plot(explanation: Explanation) -> Any:
    """See `Explanation.plot`."""
    from atrous.draw.charts import explanation_chart

    return explanation_chart(explanation)


def _named(inspection: Inspection, beside: Inspection | None) -> dict[str, Inspection]:
    """One report, or the other one first: what changed stands on the right."""
    name = inspection.network.name or "network"
    if beside is None:
        return {name: inspection}
    other = beside.network.name or "network"
    return {f"{other} (before)" if other == name else other: beside, name: inspection}


def layer_view(layer: Layer, footprint: Footprint | None = None) -> View:
    """One layer in depth; with its footprint drawn, where one is given."""

    def lines(look: Look) -> Iterator[Line]:
        yield from layer_lines(layer, look)
        if footprint is not None:
            yield ()
            yield from _drawing(footprint, look)

    return View(lambda look: list(lines(look)))


def layer_text(layer: Layer, footprint: Footprint | None = None, width: int = 80) -> str:
    """One layer in depth, in plain text."""
    return layer_view(layer, footprint).text(Look(width))


def layer_html(layer: Layer) -> str:
    """One layer in depth, as HTML."""
    return _block(layer_view(layer))


def field_view(field: Field) -> View:
    """The numbers of one axis."""
    return View(lambda look: field_lines((field,), look))


def field_html(field: Field) -> str:
    """The numbers of one axis, as HTML."""
    return _block(field_view(field))


def footprint_view(footprint: Footprint) -> View:
    """A footprint, drawn."""
    return View(lambda look: _drawing(footprint, look))


def footprint_text(footprint: Footprint, width: int = 80, height: int = 40) -> str:
    """A footprint, drawn in plain text of at most that size."""
    return footprint_view(footprint).text(Look(width, height))


def footprint_html(footprint: Footprint) -> str:
    """A footprint, drawn as HTML."""
    return _block(footprint_view(footprint))


def check_view(check: Check, name: str = "") -> View:
    """What came of the rules on one network, called `name` where its own name says less."""
    return View(lambda _: check_lines(check, name))


def check_text(check: Check, name: str = "") -> str:
    """What came of the rules on one network, in plain text."""
    return check_view(check, name).text()


def check_html(check: Check) -> str:
    """What came of the rules on one network, as HTML."""
    return _block(check_view(check))


def comparison_view(comparison: Comparison) -> View:
    """Schemes side by side, as wide as where they are printed."""
    return View(lambda look: comparison_lines(comparison, look))


def comparison_text(comparison: Comparison, width: int = 80, *, unicode: bool = True) -> str:
    """Schemes side by side, in plain text."""
    return comparison_view(comparison).text(Look(width, unicode=unicode))


def comparison_html(comparison: Comparison) -> str:
    """Schemes side by side, as HTML, escaped and with no references to anything else."""
    from atrous.report import html

    return html.comparison(comparison)


def diff_view(diff: Diff, *, every: bool = False, top: int | None = None) -> View:
    """What a change did, as wide as where it is printed."""
    return View(lambda look: diff_lines(diff, look, every=every, top=top))


def diff_text(diff: Diff, width: int = 80) -> str:
    """What a change did, in plain text."""
    return diff_view(diff).text(Look(width))


def diff_html(diff: Diff) -> str:
    """What a change did, as HTML."""
    return _block(diff_view(diff))


def conversion_view(conversion: Conversion, *, every: bool = True) -> View:
    """A conversion: verdict, price and diff, as wide as where it is printed."""
    from atrous.report.conversion import conversion_lines

    return View(lambda look: conversion_lines(conversion, look, every=every))


def conversion_text(conversion: Conversion, width: int = 80) -> str:
    """A conversion, in plain text."""
    return conversion_view(conversion).text(Look(width))


def conversion_html(conversion: Conversion) -> str:
    """A conversion, as HTML."""
    return _block(conversion_view(conversion))


def certificate_view(certificate: Certificate) -> View:
    """A certificate, as wide as where it is printed."""
    from atrous.report.conversion import certificate_lines

    return View(lambda look: certificate_lines(certificate, look))


def certificate_text(certificate: Certificate, width: int = 80) -> str:
    """A certificate, in plain text."""
    return certificate_view(certificate).text(Look(width))


def certificate_html(certificate: Certificate) -> str:
    """A certificate, as HTML."""
    return _block(certificate_view(certificate))


def explanation_view(explanation: Explanation, *, top: int | None = None) -> View:
    """What `optimize` did, as wide as where it is printed; at most `top` layers."""
    from atrous.report.optimized import explanation_lines

    return View(lambda look: explanation_lines(explanation, look, top=top))


def explanation_text(explanation: Explanation, width: int = 80) -> str:
    """What `optimize` did, in plain text."""
    return explanation_view(explanation).text(Look(width))


def explanation_html(explanation: Explanation) -> str:
    """What `optimize` did, as HTML."""
    return _block(explanation_view(explanation))


def networks_view(known: Sequence[tuple[str, str, Inspection]]) -> View:
    """The list of known networks: name, one line about it, and its report."""
    return View(lambda look: network_lines(known, look))


def _drawing(footprint: Footprint, look: Look) -> list[Line]:
    # Only drawings need numpy.
    from atrous.report.drawing import drawing

    return drawing(footprint, look)


def _block(view: View) -> str:
    from atrous.report import html

    return html.block(view.lines(Look(width=100, colour=True)))
