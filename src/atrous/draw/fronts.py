"""A front of designs: what each costs against how evenly it sees, its field beside the point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atrous.draw.charts import HEIGHT, WIDTH, altair_module
from atrous.draw.colours import MARK
from atrous.draw.looks import TITLE

__all__ = ["front_chart"]


def front_chart(rows: Sequence[Mapping[str, Any]], price: str) -> Any:
    """An Altair chart of rows with `price`, `evenness` in percent or None, `field` and `stack`."""
    alt = altair_module()
    words = "evenness of paths, percent", "field, input positions"
    even = all(row["evenness"] is not None for row in rows)
    wide = not even or len({row["evenness"] for row in rows}) < len({row["field"] for row in rows})
    up, beside = ("field", "evenness") if wide else ("evenness", "field")
    base = alt.Chart(alt.Data(values=[dict(row) for row in rows])).encode(
        x=alt.X("price:Q", title=price, scale=alt.Scale(zero=False), axis=alt.Axis(format="~s")),
        y=alt.Y(f"{up}:Q", title=words[wide], scale=alt.Scale(zero=False, padding=12)),
        tooltip=["stack:N", "field:Q", "price:Q", "evenness:Q"],
    )
    points = base.mark_point(filled=True, size=60, color=MARK)
    labels = base.mark_text(align="left", dx=8, fontSize=9).encode(text=f"{beside}:Q")
    title = alt.TitleParams(f"no schedule beats these; {words[not wide]} beside each", **TITLE)
    return alt.layer(points, labels).properties(width=WIDTH, height=2 * HEIGHT, title=title)
