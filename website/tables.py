"""Records as Markdown: tables, cells, pictures."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.lessons import Table
from atrous.report.lesson import cell_text

__all__ = ["markdown_table", "rows_of"]


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table, the first `left` columns to the left and the others to the right."""
    sides = [" --- " if place < left else " ---: " for place in range(len(heads))]
    lines = [heads, sides, *rows]
    return "\n".join("|" + "|".join(_cell(cell) for cell in line) + "|" for line in lines) + "\n"


def rows_of(table: Table) -> str:
    """A computed table with its title."""
    rows = [
        [cell_text(cell, column.unit) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    heads = [column.title for column in table.columns]
    return f"*{table.title}*\n\n{markdown_table(heads, rows)}"


def _cell(text: str) -> str:
    return text if set(text) <= set(" -:") else f" {text} ".replace("|", "\\|")
