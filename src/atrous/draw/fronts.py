"""A front of designs: what each costs against how evenly it sees, its field beside the point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atrous.draw.charts import HEIGHT, WIDTH, altair_module
from atrous.draw.colours import MARK

__all__ = ["front_chart"]


def front_chart(rows: Sequence[Mapping[str, Any]], price: str) -> Any:
    """An Altair chart of rows with `price`, `evenness` in percent or None, `field` and `stack`."""
    alt = altair_module()
    even = all(row["evenness"] is not None for row in rows)
    across = "evenness" if even else "field"
    title = "evenness of paths, percent" if even else "field, input positions"
    base = alt.Chart(alt.Data(values=[dict(row) for row in rows])).encode(
        x=alt.X("price:Q", title=price, scale=alt.Scale(zero=False), axis=alt.Axis(format="~s")),
        y=alt.Y(f"{across}:Q", title=title, scale=alt.Scale(zero=False)),
        tooltip=["stack:N", "field:Q", "price:Q", "evenness:Q"],
    )
    line = base.mark_line(interpolate="step-after", color=MARK, opacity=0.5)
    points = base.mark_point(filled=True, size=60, color=MARK)
    words = base.mark_text(align="left", dx=8, dy=8).encode(text="field:Q")
    return alt.layer(line, points, words).properties(width=WIDTH, height=HEIGHT)
