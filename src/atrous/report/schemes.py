"""A comparison as a page: footprints at one scale, the table, growth, what to know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from atrous.analysis import Comparison, Scheme
from atrous.draw.charts import growth_chart
from atrous.errors import AtrousError, clean
from atrous.report.lines import Column
from atrous.report.pages import MOST_POSITIONS, chart_spec, footprint_data, rendered

__all__ = ["comparison_page"]

_MOST_DRAWN = 12


def comparison_page(
    comparison: Comparison,
    title: str,
    columns: Sequence[Column],
    notes: Iterable[tuple[str, str, str]],
) -> str:
    """All schemes on one page, with the columns and notes of their table.

    Raises `MissingDependencyError` without the extra `report`.
    """
    drawn = [found for scheme in comparison for found in _its_footprint(scheme)][:_MOST_DRAWN]
    growth = growth_chart(comparison)
    return rendered(
        "compare.html",
        {"charts": [chart_spec(growth)], "sides": [], "schemes": drawn},
        title=clean(title),
        sides=[],
        charts=[{"title": "Receptive field by depth"}],
        drawn=bool(drawn),
        left_out=_left_out(len(comparison) - len(drawn)),
        columns=[{"title": column.title.strip(), "right": column.right} for column in columns],
        rows=_cells_of_rows(comparison, columns),
        notes=_notes(notes),
    )


def _its_footprint(scheme: Scheme) -> list[dict[str, Any]]:
    """The footprint of a scheme's output, if there is one that a page has room for."""
    report = scheme.report
    whole = prod(report.network.tensor(report.input).grid.values())
    size = prod(axis.size for axis in scheme.field)
    if not scheme.field or min(whole, size) > MOST_POSITIONS:
        return []
    try:
        footprint = report.footprint()
    except AtrousError:
        return []
    if not footprint.box.size:
        return []
    found = footprint_data(footprint, report, "ink")
    scales = {axis: {"step": float(s.step), "unit": s.unit} for axis, s in report.scales.items()}
    return [{**found, "name": clean(scheme.name), "scales": scales}]


def _left_out(count: int) -> str:
    return "" if not count else "1 scheme is" if count == 1 else f"{count} schemes are"


def _cells_of_rows(comparison: Comparison, columns: Sequence[Column]) -> list[list[dict[str, Any]]]:
    costs = {
        "MACs": [scheme.macs for scheme in comparison],
        "memory": [scheme.peak_memory_bytes for scheme in comparison],
        "params": [scheme.params for scheme in comparison],
    }
    return [
        [
            {
                "text": column.cells[row].text.strip(),
                "style": column.cells[row].style,
                "share": _share_of_most(costs.get(column.title.strip(), []), row),
            }
            for column in columns
        ]
        for row in range(len(comparison))
    ]


def _share_of_most(values: list[int], row: int) -> float | None:
    """How long a bar is, in percent of the longest; none for what is no cost."""
    if not values:
        return None
    return round(100 * values[row] / max(*values, 1), 1)


def _notes(notes: Iterable[tuple[str, str, str]]) -> list[tuple[str, list[str]]]:
    """What to know, each label once."""
    found: list[tuple[str, list[str]]] = []
    for label, text, _ in notes:
        if label or not found:
            found.append((clean(label), []))
        found[-1][1].append(clean(text))
    return found
