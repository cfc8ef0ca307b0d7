"""Small self-contained HTML, for notebooks and pages; everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from atrous.analysis import Comparison, Inspection
from atrous.draw.rows import listing
from atrous.report.comparison import comparison_columns, comparison_notes, comparison_title
from atrous.report.layers import layer_columns, layer_notes
from atrous.report.lines import Column, Line, Span, plain
from atrous.report.summary import opening, statements

__all__ = ["block", "comparison", "report"]

_STYLES = {
    "bold": "font-weight:600",
    "dim": "opacity:.65",
    "red": "color:#c0392b",
    "yellow": "color:#a87900",
    "cyan": "color:#0b7d8a",
}


def report(inspection: Inspection) -> str:
    """The summary and the table of layers, with every column."""
    facts = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{_escaped(label)}</th>'
        f'<td style="text-align:left">{_span(Span(text, style))}</td></tr>'
        for label, text, style in statements(inspection)
    )
    found = listing(inspection)
    notes = "".join(
        f'<div style="opacity:.65">{_escaped(note)}</div>' for note in layer_notes(found)
    )
    rows = _table(layer_columns(found)) if found.rows else ""
    title = _escaped(plain(opening(inspection)))
    return (
        f'<div style="font-variant-numeric:tabular-nums"><div><b>{title}</b></div>'
        f"<table>{facts}</table>"
        f'<div style="max-height:32em;overflow:auto">{rows}</div>{notes}</div>'
    )


def comparison(found: Comparison) -> str:
    """Schemes side by side, with every column and what to know about each."""
    notes = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{_escaped(label)}</th>'
        f'<td style="text-align:left">{_escaped(text)}</td></tr>'
        for label, text, _ in comparison_notes(found)
    )
    title = _escaped(comparison_title(found))
    return (
        f'<div style="font-variant-numeric:tabular-nums"><div><b>{title}</b></div>'
        f"{_table(comparison_columns(found))}<table>{notes}</table></div>"
    )


def block(lines: Iterable[Line]) -> str:
    """Lines as they stand, in a fixed-width font."""
    text = "\n".join("".join(_span(span) for span in line) for line in lines)
    return f'<pre style="line-height:1.15;overflow-x:auto">{text}</pre>'


def _table(columns: Sequence[Column]) -> str:
    sides = ["right" if column.right else "left" for column in columns]
    head = "".join(
        f'<th style="text-align:{side}">{_escaped(column.title)}</th>'
        for column, side in zip(columns, sides, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align:{side};white-space:nowrap">{_span(cell)}</td>'
            for cell, side in zip(cells, sides, strict=True)
        )
        + "</tr>"
        for cells in zip(*(column.cells for column in columns), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _span(span: Span) -> str:
    text = escape(span.text)
    fore, _, back = span.style.partition(" on ")
    rules = [_STYLES[word] for word in fore.split() if word in _STYLES]
    rules += [f"color:{word}" for word in fore.split() if word.startswith("#")]
    if back:
        rules.append(f"background:{back}")
    return f'<span style="{";".join(rules)}">{text}</span>' if rules else text


def _escaped(text: str) -> str:
    return escape(Span(text).text)
