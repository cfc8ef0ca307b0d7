"""Small self-contained HTML, for notebooks and pages; everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from atrous.report.lines import Column, Line, Span

__all__ = ["block", "classed", "escaped", "grid", "inline"]

# 60% of a colour in the text around it: at least 4.5:1 on light and on dark pages. A browser that
# knows no `color-mix` keeps to the text's own colour.
_STYLES = {
    "bold": "font-weight:600",
    "dim": "opacity:.65",
    "red": "color:color-mix(in srgb,#d64534 60%,currentcolor)",
    "yellow": "color:color-mix(in srgb,#c08a00 60%,currentcolor)",
    "cyan": "color:color-mix(in srgb,#0e93a3 60%,currentcolor)",
}


def block(lines: Iterable[Line]) -> str:
    """Lines as they stand, in a fixed-width font."""
    text = "\n".join("".join(inline(span) for span in line) for line in lines)
    return f'<pre style="line-height:1.15;overflow-x:auto">{text}</pre>'


def classed(lines: Iterable[Line]) -> str:
    """Lines as they stand, their styles as classes: for a page that has a sheet of its own."""
    return "\n".join("".join(_marked(span) for span in line) for line in lines)


def _marked(span: Span) -> str:
    names = [word for word in span.style.split() if word in _STYLES]
    text = escape(span.text)
    return f'<span class="{" ".join(names)}">{text}</span>' if names else text


def grid(columns: Sequence[Column]) -> str:
    """A table with every column."""
    sides = ["right" if column.right else "left" for column in columns]
    head = "".join(
        f'<th style="text-align:{side}">{escaped(column.title)}</th>'
        for column, side in zip(columns, sides, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align:{side};white-space:nowrap">{inline(cell)}</td>'
            for cell, side in zip(cells, sides, strict=True)
        )
        + "</tr>"
        for cells in zip(*(column.cells for column in columns), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def inline(span: Span) -> str:
    """A piece of text in its style."""
    text = escape(span.text)
    fore, _, back = span.style.partition(" on ")
    rules = [_STYLES[word] for word in fore.split() if word in _STYLES]
    rules += [f"color:{word}" for word in fore.split() if word.startswith("#")]
    if back:
        rules.append(f"background:{back}")
    return f'<span style="{";".join(rules)}">{text}</span>' if rules else text


def escaped(text: str) -> str:
    """Printable text, with no markup in it."""
    return escape(Span(text).text)
