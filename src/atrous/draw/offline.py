"""Altair's charts, drawn in notebooks as SVG: nothing is loaded from the network.

Altair's own renderer writes a script into the notebook that loads Vega from the network, and the
Vega that comes with JupyterLab is older than Altair's. These charts are Altair's in all else, and
what is made of one with Altair's methods and operators (`properties`, `|`, `&`, `+`, `facet`,
`repeat`) is one, too. A renderer that the user has enabled keeps its place.

Imports Altair: imported where a chart is drawn.
"""

from __future__ import annotations

import io
import re
from hashlib import sha1
from typing import Any

from atrous.draw.images import svg_bundle
from atrous.draw.needs import drawing_needs

with drawing_needs("plot"):
    import altair as alt

__all__ = ["chart_svg", "offline"]

_NAMED = re.compile(r'(\bid="|url\(#)((?:clip|gradient_)\d+)')


def chart_svg(chart: Any) -> str:
    """The chart as SVG, in the theme that the options of Altair's renderer say.

    Clips and gradients have names that no other picture on a page has.
    """
    file = io.StringIO()
    with drawing_needs("a chart in a notebook"):
        import vl_convert  # noqa: F401 - without it, Altair's message names no extra of this package
    chart.save(file, format="svg", embed_options=alt.renderers.options.get("embed_options"))
    svg = file.getvalue()
    own = sha1(svg.encode(), usedforsecurity=False).hexdigest()[:8]
    return _NAMED.sub(rf"\1\2-{own}", svg)


def offline(chart: Any) -> Any:
    """The chart itself, which from now on draws without a network."""
    own = _CHARTS.get(type(chart))
    if own is not None:
        # Altair takes what is set on a chart for a part of its description.
        object.__setattr__(chart, "__class__", own)
    return chart


def _told_as(chart: Any) -> str:
    title = getattr(chart, "title", "")
    text = getattr(title, "text", title)
    return text if isinstance(text, str) else "chart"


class _Drawn:
    """What these charts do otherwise: they draw themselves, and pages hold their scripts."""

    def _repr_mimebundle_(self, *args: Any, **kwds: Any) -> Any:
        if alt.renderers.active != "default":
            return super()._repr_mimebundle_(*args, **kwds)  # type: ignore[misc]
        return svg_bundle(chart_svg(self), _told_as(self), repr(self))

    def save(self, fp: Any, format: Any = None, *args: Any, **kwds: Any) -> None:
        """Altair's `save`; HTML holds its scripts, unless `inline` is False."""
        if (format or str(fp).rpartition(".")[2]) == "html":
            kwds.setdefault("inline", True)
        super().save(fp, format, *args, **kwds)  # type: ignore[misc]

    def to_html(self, *args: Any, **kwds: Any) -> Any:
        """Altair's `to_html`; the page holds its scripts, unless `inline` is False."""
        return super().to_html(*args, **{"inline": True, **kwds})  # type: ignore[misc]

    def repeat(self, *args: Any, **kwds: Any) -> Any:
        """Altair's `repeat`."""
        return offline(super().repeat(*args, **kwds))  # type: ignore[misc]

    def __add__(self, other: Any) -> Any:
        return offline(super().__add__(other))  # type: ignore[misc]

    def __and__(self, other: Any) -> Any:
        return offline(super().__and__(other))  # type: ignore[misc]

    def __or__(self, other: Any) -> Any:
        return offline(super().__or__(other))  # type: ignore[misc]

    # Python asks the chart on the right first where its class is derived from that on the left.
    def __radd__(self, other: Any) -> Any:
        return offline(type(other).__add__(other, self))

    def __rand__(self, other: Any) -> Any:
        return offline(type(other).__and__(other, self))

    def __ror__(self, other: Any) -> Any:
        return offline(other.__class__.__or__(other, self))


class _Faceted(_Drawn):
    """Those that can be repeated for each value of a column."""

    def facet(self, *args: Any, **kwds: Any) -> Any:
        """Altair's `facet`."""
        return offline(super().facet(*args, **kwds))  # type: ignore[misc]


class Chart(_Faceted, alt.Chart):
    """`altair.Chart`."""


class LayerChart(_Faceted, alt.LayerChart):
    """`altair.LayerChart`."""


class FacetChart(_Drawn, alt.FacetChart):
    """`altair.FacetChart`."""


class RepeatChart(_Drawn, alt.RepeatChart):
    """`altair.RepeatChart`."""


class ConcatChart(_Drawn, alt.ConcatChart):
    """`altair.ConcatChart`."""


class HConcatChart(_Drawn, alt.HConcatChart):
    """`altair.HConcatChart`."""


class VConcatChart(_Drawn, alt.VConcatChart):
    """`altair.VConcatChart`."""


_CHARTS: dict[type, type] = {
    alt.Chart: Chart,
    alt.LayerChart: LayerChart,
    alt.FacetChart: FacetChart,
    alt.RepeatChart: RepeatChart,
    alt.ConcatChart: ConcatChart,
    alt.HConcatChart: HConcatChart,
    alt.VConcatChart: VConcatChart,
}
