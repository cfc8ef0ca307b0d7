"""What `optimize` gained, as a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atrous.draw.charts import altair_module, colour_of, titled
from atrous.draw.looks import AXIS

if TYPE_CHECKING:
    from atrous.optimization.records import Explanation

__all__ = ["explanation_chart"]


def explanation_chart(found: Explanation, top: int = 24) -> Any:
    """Milliseconds of the layers that take longest, before and after `optimize`."""
    alt = altair_module()
    slowest = sorted(found.layers, key=lambda row: -row.ms_before)[:top]
    rows = [
        {"layer": f"{row.layer}, {row.op}", "when": when, "ms": ms, "strategy": row.strategy}
        for row in slowest
        for when, ms in (("before", row.ms_before), ("after", row.ms_after))
    ]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("ms:Q", title="milliseconds, linear scale", axis=alt.Axis(**AXIS)),
            y=alt.Y(
                "layer:N",
                title=None,
                sort=None,
                axis=alt.Axis(**{**AXIS, "labelLimit": 260}, domain=False),
            ),
            yOffset=alt.YOffset("when:N", sort=["before", "after"]),
            color=colour_of(alt, ["before", "after"], "when:N"),
            tooltip=["layer:N", "when:N", "strategy:N", alt.Tooltip("ms:Q", format=".3f")],
        )
    )
    times = f"{found.ms_before:.3g} ms before, {found.ms_after:.3g} ms after"
    return titled(chart, f"{found.model}: {times}", height=alt.Step(9))
