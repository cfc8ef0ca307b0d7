"""Charts of reports, as Altair charts: for notebooks, pages, PNG and SVG.

Altair draws with Vega, of which one bundle of 0.8 MB makes every chart of a page live offline, and
whose charts become PNG and SVG without a browser. Plotly would put 4.5 MB into each page, Bokeh
needs a browser for pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from atrous.analysis.inspection import Kind
from atrous.draw.colours import MARK, SERIES
from atrous.draw.looks import AXIS, HEADER, LEGEND, TITLE, VIEW, WORDS, upright
from atrous.draw.needs import drawing_needs
from atrous.draw.rows import Row, listing
from atrous.draw.units import bytes_text, quantity
from atrous.errors import unknown

if TYPE_CHECKING:
    from atrous.analysis import Comparison, Inspection
    from atrous.analysis.scale import Scale

__all__ = [
    "KINDS",
    "altair_module",
    "colour_of",
    "comparison_chart",
    "cost_chart",
    "coverage_chart",
    "field_chart",
    "growth_chart",
    "inspection_chart",
    "inspection_charts",
    "memory_chart",
    "resolution_chart",
    "stages",
    "titled",
]

KINDS: tuple[str, ...] = get_args(Kind)
Named = Mapping[str, "Inspection"]

WIDTH, HEIGHT = 560, 200
MOST_STAGES = 16
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("bytes", 1))


def altair_module(what: str = "plot") -> Any:
    """Altair, or the error that says how to get it."""
    with drawing_needs(what):
        import altair
    return altair


def inspection_chart(reports: Named, kind: Kind = "overview") -> Any:
    """The chart called `kind`, or all of them below one another.

    Several reports share each chart, so that they compare. Raises `UnknownNameError` for a kind
    that does not exist.
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS)
    if kind != "overview":
        return _CHARTS[kind](reports)
    alt = altair_module()
    charts = inspection_charts(reports) or [memory_chart(reports)]
    return alt.vconcat(
        *charts, spacing=32, title=alt.TitleParams(_title(reports), **TITLE)
    ).resolve_scale(color="independent", strokeDash="independent")


def inspection_charts(reports: Named) -> list[Any]:
    """All charts of `inspection_chart` for which there is something to draw, one by one."""
    rows = [row for report in reports.values() for row in _shown(report)]
    nodes = any(report.layers for report in reports.values())
    there = {
        "field": any(row.layer.field for row in rows),
        "resolution": any(_grid(row) for row in rows),
        "coverage": any(row.layer.field for row in rows),
        "cost": any(stages(report) for report in reports.values()),
        "memory": nodes,
    }
    return [chart(reports) for kind, chart in _CHARTS.items() if there[kind]]


def field_chart(reports: Named) -> Any:
    """Receptive field against depth, with the positions really read and the input's size."""
    alt = altair_module()
    rows: list[dict[str, Any]] = []
    for name, report in reports.items():
        for depth, row in enumerate(_shown(report), 1):
            for axis in row.layer.field:
                common = {"report": name, "depth": depth, "layer": row.name, "axis": axis.axis}
                rows += [
                    {**common, "what": "field", "positions": axis.size},
                    {**common, "what": "read", "positions": axis.taps},
                ]
    rows = _axes_joined(rows, ("report", "depth", "layer", "what", "positions"))
    widest = max((row["positions"] for row in rows), default=0)
    rows = _stepped(rows, "depth", ("report", "what", "axis"))
    scale = _scale(reports)
    units = "" if scale is None else f" and {scale.unit}"
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=_layers(alt, rows),
            y=alt.Y(
                "positions:Q",
                title=f"input positions{units}, square-root scale",
                scale=alt.Scale(type="sqrt"),
                axis=alt.Axis(**upright(), **_in_units(reports)),
            ),
            color=colour_of(alt, _keys(rows, reports), "series:N"),
            strokeDash=alt.StrokeDash(
                "what:N",
                scale=alt.Scale(domain=["field", "read"], range=[[1, 0], [2, 3]]),
                legend=_legend(alt, "datum.label == 'field' ? 'field, end to end' : 'of it read'"),
            ),
            detail="axis:N",
            tooltip=["report:N", "layer:N", "axis:N", "what:N", "positions:Q"],
        )
    )
    sizes: list[dict[str, Any]] = [
        {"label": f"input, {axis}", "positions": length}
        for report in list(reports.values())[:1]
        for axis, length in report.network.tensor(report.input).grid.items()
    ]
    sizes = _axes_joined(sizes, ("positions",), key="label")
    rule = alt.Chart(alt.Data(values=sizes)).encode(y="positions:Q")
    marks = rule.mark_rule(color=MARK, strokeDash=[2, 3])
    # Above its rule a name of the upmost would lie on that of the axis.
    upmost = 0.8 * max([widest, *(size["positions"] for size in sizes)])
    high = [size for size in sizes if size["positions"] >= upmost]
    for named, shift in ((high, 10), ([size for size in sizes if size not in high], -6)):
        if named:
            text = alt.Chart(alt.Data(values=named)).encode(y="positions:Q", text="label:N")
            marks += text.mark_text(**WORDS, align="left", dx=4, dy=shift, x=0)
    return titled(lines + marks, "Receptive field by depth")


def resolution_chart(reports: Named) -> Any:
    """The sizes of the maps, one after the other: the pyramid."""
    alt = altair_module()
    rows = [
        {"report": name, "depth": depth, "layer": row.name, "axis": axis, "positions": length}
        for name, report in reports.items()
        for depth, row in enumerate(_shown(report), 1)
        for axis, length in _grid(row).items()
    ]
    rows = _axes_joined(rows, ("report", "depth", "layer", "positions"))
    rows = _stepped(rows, "depth", ("report", "axis"))
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=_layers(alt, rows),
            y=alt.Y(
                "positions:Q",
                title="positions of the map, square-root scale",
                scale=alt.Scale(type="sqrt"),
                axis=alt.Axis(**upright()),
            ),
            color=colour_of(alt, _keys(rows, reports), "series:N"),
            detail="axis:N",
            tooltip=["report:N", "layer:N", "axis:N", "positions:Q"],
        )
    )
    return titled(chart, "Resolution of the maps")


def coverage_chart(reports: Named) -> Any:
    """Holes: what each layer reads of its field, and what the output reads of each layer's map."""
    alt = altair_module()
    rows: list[dict[str, Any]] = []
    for name, report in reports.items():
        depths = {row.layer.name: depth for depth, row in enumerate(_shown(report), 1)}
        read = [
            (row.name, depth, "input, by this layer", min(a.coverage for a in row.layer.field))
            for depth, row in enumerate(_shown(report), 1)
            if row.layer.field
        ]
        read += [
            (layer, depths[layer], "this map, by the output", share)
            for layer, share in _least_coverage(report).items()
            if layer in depths
        ]
        rows += [
            {"report": name, "layer": layer, "depth": depth, "series": what, "share": share}
            for layer, depth, what, share in sorted(read, key=lambda one: (one[2], one[1]))
        ]
    rows = _stepped(rows, "depth", ("report", "series"))
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=_layers(alt, rows),
            y=alt.Y(
                "share:Q",
                title="share of the field that is read, along the least axis",
                axis=alt.Axis(**upright(), format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            color=colour_of(alt, ["input, by this layer", "this map, by the output"], "series:N"),
            strokeDash=_dash(alt, reports),
            tooltip=["report:N", "layer:N", "series:N", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    return titled(chart, "Coverage: holes opened and filled")


def cost_chart(reports: Named) -> Any:
    """MACs, parameters and activations of each stage, as shares of the whole."""
    alt = altair_module()
    rows: list[dict[str, Any]] = []
    for name, report in reports.items():
        for stage, cost in stages(report).items():
            for what, (value, whole, text) in cost.items():
                rows.append(
                    {
                        "report": name,
                        "stage": stage,
                        "what": what,
                        "value": value,
                        "share": value / whole if whole else 0.0,
                        "text": text,
                    }
                )
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(height={"band": 0.9})
        .encode(
            x=alt.X(
                "share:Q",
                title="share of the whole network, linear scale",
                axis=alt.Axis(**AXIS, format="%", tickCount=6),
            ),
            y=alt.Y("stage:N", title=None, sort=None, axis=alt.Axis(**AXIS, domain=False)),
            yOffset=alt.YOffset("series:N", sort=_costs(rows, reports)),
            color=colour_of(alt, list(dict.fromkeys(row["what"] for row in rows)), "what:N"),
            **_paler(alt, reports),
            tooltip=[
                "report:N",
                "stage:N",
                "what:N",
                "text:N",
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    # A number: a page that says the width cannot leave the height to the bars.
    return titled(chart, "Cost by stage", height=max(11 * len(rows), 60))


def memory_chart(reports: Named) -> Any:
    """Bytes of activations alive while each layer runs, with the peak marked.

    Of a module, those of its eager run; of everything else, those of the graph.
    """
    alt = altair_module()
    rows, peaks = [], []
    most = max((alive for one in reports.values() for _, alive in _memory_course(one)), default=0)
    unit, size_of = next((u, n) for u, n in _UNITS if most >= n or n == 1)
    for name, report in reports.items():
        course: list[dict[str, Any]] = [
            {
                "report": name,
                "series": name,
                "step": step,
                "layer": layer,
                "bytes": alive,
                "alive": alive / size_of,
                "size": bytes_text(alive),
            }
            for step, (layer, alive) in enumerate(_memory_course(report), 1)
        ]
        rows += _stepped(_where_changed(course, "bytes"), "step", ("report",))
        top = max(course, key=lambda row: row["bytes"], default=None)
        if top is not None:
            size = bytes_text(report.peak_memory_bytes)
            text = f"{size}, {report.peak_memory_layer}"
            left = int(top["step"]) > len(course) / 2
            side = "right" if left else "left"
            peaks.append({**top, "at": top["step"], "text": text, "size": size, "align": side})
    area = (
        alt.Chart(alt.Data(values=rows))
        .mark_area(interpolate="step-after", line=True, opacity=0.16)
        .encode(
            x=_layers(alt, rows, "layers in the order they run"),
            y=alt.Y(
                "alive:Q",
                title=f"{unit} of activations alive, linear scale",
                stack=None,
                # Room above the peak for its name.
                scale=alt.Scale(domainMax=1.12 * max((p["alive"] for p in peaks), default=1)),
                axis=alt.Axis(**upright()),
            ),
            color=colour_of(alt, list(reports), "series:N", several=len(reports) > 1),
            tooltip=["report:N", "layer:N", alt.Tooltip("size:N", title="alive")],
        )
    )
    marks = alt.Chart(alt.Data(values=peaks)).encode(x="at:Q", y="alive:Q")
    points = marks.mark_point(color=MARK, filled=True, size=60, opacity=1)
    labels = [
        marks.transform_filter(f"datum.align == '{side}'")
        .mark_text(**WORDS, align=side, dx=-8 if side == "right" else 8, dy=-8)
        .encode(text="size:N")
        for side in dict.fromkeys(peak["align"] for peak in peaks)
    ]
    chart = alt.layer(area, points, *labels)
    # A layer's name may be longer than the room beside its peak.
    found = [f"peak of {peak['report']}: " * (len(peaks) > 1) + peak["text"] for peak in peaks]
    said = found if len(peaks) > 1 else [f"peak {text}" for text in found]
    return titled(chart, "Activation memory while it runs", said=said)


def _memory_course(report: Inspection) -> Iterator[tuple[str, int]]:
    """What is alive, layer by layer, in the run or the graph whose peak the report gives."""
    eager = report.eager
    if eager is not None and eager.peak_bytes is not None:
        return zip(eager.layers, eager.alive, strict=True)
    names = (layer.name for layer in report.layers)
    return zip(names, report.memory.alive, strict=True)


def growth_chart(found: Comparison) -> Any:
    """Schemes: how far the output sees after each layer."""
    alt = altair_module()
    grown = [
        {"scheme": scheme.name, "depth": depth, "positions": size}
        for scheme in found
        for depth, size in enumerate(scheme.fields, 1)
    ]
    names = [scheme.name for scheme in found]
    return titled(
        alt.Chart(alt.Data(values=grown))
        .mark_line(point=alt.OverlayMarkDef(size=40))
        .encode(
            x=alt.X(
                "depth:Q",
                title="layers that move or compute, in order",
                axis=_whole_numbers(alt, max((len(scheme.fields) for scheme in found), default=1)),
            ),
            y=alt.Y(
                "positions:Q",
                title="field, input positions, linear scale",
                axis=alt.Axis(**upright()),
            ),
            color=colour_of(alt, names, "scheme:N"),
            shape=alt.Shape("scheme:N", scale=alt.Scale(domain=names), legend=_legend(alt)),
            tooltip=["scheme:N", "depth:Q", "positions:Q"],
        ),
        "Receptive field by depth",
        height=260,
    )


def comparison_chart(found: Comparison) -> Any:
    """Schemes: the field's growth with depth, and what the output costs."""
    alt = altair_module()
    names = [scheme.name for scheme in found]
    growth = growth_chart(found).properties(width=300)
    bars = [
        {"scheme": scheme.name, "what": what, "value": value, "text": text}
        for scheme in found
        for what, value, text in (
            ("MACs", scheme.macs, quantity(scheme.macs, "MAC")),
            ("peak memory", scheme.peak_memory_bytes, bytes_text(scheme.peak_memory_bytes)),
            ("read", scheme.coverage or 0.0, f"{scheme.coverage or 0.0:.0%}"),
        )
    ]
    base = alt.Chart().encode(
        y=alt.Y("scheme:N", title=None, sort=None, axis=alt.Axis(**AXIS, domain=False)),
        x=alt.X("value:Q", title=None, axis=None),
    )
    prices = (
        alt.layer(
            base.mark_bar().encode(
                color=colour_of(alt, names, "scheme:N"), tooltip=["scheme:N", "what:N", "text:N"]
            ),
            base.mark_text(**WORDS, align="left", dx=3).encode(text="text:N"),
            data=alt.Data(values=bars),
        )
        .properties(width=130, height=alt.Step(22), view=alt.ViewBackground(**VIEW))
        .facet(column=alt.Column("what:N", title=None, sort=None, header=alt.Header(**HEADER)))
        .resolve_scale(x="independent")
    )
    shape = "x".join(map(str, found.input or ()))
    return alt.hconcat(growth, prices, title=alt.TitleParams(f"Schemes on {shape}", **TITLE))


def stages(report: Inspection) -> dict[str, dict[str, tuple[int, int, str]]]:
    """MACs, parameters and activation bytes of each stage: value, whole and text.

    Stages are the modules at the greatest depth at which there are no more than sixteen that cost.
    """
    rows = _priced(report, 1)
    for depth in range(2, 6):
        deeper = _priced(report, depth)
        if len(deeper) > MOST_STAGES:
            break
        rows = deeper
    whole = (report.macs, report.params, report.activation_bytes)
    found: dict[str, dict[str, tuple[int, int, str]]] = {}
    for row in rows:
        costs = {
            "MACs": (row.macs, whole[0], quantity(row.macs, "MAC")),
            "parameters": (row.params, whole[1], quantity(row.params)),
            "activations": (row.activation_bytes, whole[2], bytes_text(row.activation_bytes)),
        }
        found[row.name] = costs
    return found


def _priced(report: Inspection, depth: int) -> list[Row]:
    rows = listing(report, depth=depth, every=True).rows
    return [row for row in rows if row.macs or row.params or row.activation_bytes]


_CHARTS: dict[str, Callable[[Named], Any]] = {
    "field": field_chart,
    "resolution": resolution_chart,
    "coverage": coverage_chart,
    "cost": cost_chart,
    "memory": memory_chart,
}


def _shown(report: Inspection) -> Sequence[Row]:
    return listing(report).rows


def _grid(row: Row) -> Mapping[str, int]:
    node = row.layer.node
    return {} if node is None else node.output.grid


def _least_coverage(report: Inspection) -> dict[str, float]:
    """What the last output reads of each layer's map, of the least axis; empty where not known."""
    last = report.outputs[-1] if report.outputs else None
    if last is None or last.opaque or last.parts or not last.field:
        return {}
    return {
        seen.name: min(axis.coverage for axis in seen.field)
        for seen in report.trace()
        if seen.field
    }


def _axes_joined(
    rows: Sequence[dict[str, Any]], same: Iterable[str], key: str = "axis"
) -> list[dict[str, Any]]:
    """Rows of axes that say the same become one row that names them all."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    names = tuple(same)
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    joined = []
    for members in found.values():
        texts = [str(row[key]) for row in members]
        joined.append({**members[0], key: ", ".join(dict.fromkeys(texts))})
    if key == "axis":
        # One line an axis, unless all axes agree everywhere.
        if any("," not in row["axis"] for row in joined) and any("," in r["axis"] for r in joined):
            return [dict(row) for row in rows]
        return joined
    for row in joined:
        parts = [part for part in row[key].split(", ") if part != "input"]
        row[key] = "input, " + ", ".join(parts)
    return joined


def _keys(rows: list[dict[str, Any]], reports: Named) -> list[str]:
    """Gives each row its series: the axis, the report, or both; returns all in order."""
    several = len(reports) > 1
    for row in rows:
        axis = row["axis"]
        row["series"] = f"{row['report']}, {axis}" if several else axis
    return list(dict.fromkeys(row["series"] for row in rows))


def _costs(rows: list[dict[str, Any]], reports: Named) -> list[str]:
    """Gives each row its series; returns all, what is compared side by side."""
    for row in rows:
        row["series"] = f"{row['what']}, {row['report']}" if len(reports) > 1 else row["what"]
    kinds = dict.fromkeys(row["what"] for row in rows)
    return [row["series"] for kind in kinds for row in _firsts(rows, kind)]


def _firsts(rows: Sequence[dict[str, Any]], kind: str) -> Iterable[dict[str, Any]]:
    """One row of each report."""
    return {row["report"]: row for row in rows if row["what"] == kind}.values()


def _paler(alt: Any, reports: Named) -> dict[str, Any]:
    """Of several reports, all but the last in paler colours."""
    if len(reports) < 2:
        return {}
    shades = [0.4 + 0.6 * place / (len(reports) - 1) for place in range(len(reports))]
    scale = alt.Scale(domain=list(reports), range=shades)
    return {"opacity": alt.Opacity("report:O", scale=scale, legend=_legend(alt))}


def _where_changed(course: Sequence[dict[str, Any]], value: str) -> list[dict[str, Any]]:
    """Only where the value changes, and the end: steps look the same with fewer points."""
    return [
        row
        for place, row in enumerate(course)
        if place in (0, len(course) - 1) or row[value] != course[place - 1][value]
    ]


def _stepped(
    rows: Sequence[dict[str, Any]], number: str, line: Sequence[str]
) -> list[dict[str, Any]]:
    """Where the step of each layer begins, half a layer before its number, and the last ends.

    `line` names what is the same along one line; the rows of each are in order.
    """
    last = {tuple(row[key] for key in line): row for row in rows}
    return [
        *({**row, "at": row[number] - 0.5} for row in rows),
        *({**row, "at": row[number] + 0.5} for row in last.values()),
    ]


def _layers(
    alt: Any, rows: Sequence[dict[str, Any]], title: str = "layers that move or compute, in order"
) -> Any:
    """The axis of rows that are `_stepped`: each layer is one wide, its number in the middle."""
    end = max((row["at"] for row in rows), default=1.5)
    return alt.X(
        "at:Q",
        title=title,
        scale=alt.Scale(domain=[0.5, end], nice=False, zero=False),
        axis=_whole_numbers(alt, int(end)),
    )


def _whole_numbers(alt: Any, most: int) -> Any:
    """Numbers from 1 on, some dozen at most: Vega's own choice has halves where they are few."""
    steps = (lead * 10**power for power in range(10) for lead in (1, 2, 5))
    step = next(one for one in steps if most <= 14 * one)
    values = sorted({1, *range(step, most + 1, step)})
    look = AXIS | {"labelFlush": False, "labelSeparation": 6}
    return alt.Axis(**look, format="d", values=values, grid=False)


def colour_of(alt: Any, names: Sequence[str], by: str, *, several: bool = True) -> Any:
    """The colour of each name, with a legend where there are several."""
    colours = [SERIES[place % len(SERIES)] for place in range(len(names))]
    legend = _legend(alt) if several else None
    return alt.Color(by, scale=alt.Scale(domain=list(names), range=colours), legend=legend)


def _legend(alt: Any, words: str = "") -> Any:
    """A legend in one row above its chart; `words` is an expression for its labels."""
    return alt.Legend(**LEGEND, **({"labelExpr": words} if words else {}))


def _scale(reports: Named) -> Scale | None:
    """How much a position is, where all axes of all reports agree in it."""
    found = {
        report.scales.get(axis)
        for report in reports.values()
        for axis in report.network.tensor(report.input).grid
    }
    return found.pop() if len(found) == 1 else None


def _in_units(reports: Named) -> dict[str, Any]:
    """Labels of an axis of positions, with what they come to where positions have a scale."""
    scale = _scale(reports)
    if scale is None:
        return {}
    length = f"format(datum.value * {float(scale.step)!r}, '.3~r')"
    return {"labelExpr": f"datum.label + ' \u00b7 ' + {length} + ' {scale.unit}'"}


def _dash(alt: Any, reports: Named) -> Any:
    if len(reports) < 2:
        return alt.Undefined
    return alt.StrokeDash("report:N", sort=list(reports), legend=_legend(alt))


def _title(reports: Named) -> str:
    return " and ".join(reports)


def titled(chart: Any, title: str, height: Any = HEIGHT, said: Sequence[str] = ()) -> Any:
    """The chart in the size of all charts, with its title, which is read out as well.

    Below the title stands what is `said`.
    """
    alt = altair_module()
    named = alt.TitleParams(title, **TITLE, **({"subtitle": list(said)} if said else {}))
    return chart.properties(
        title=named, width=WIDTH, height=height, description=title, view=alt.ViewBackground(**VIEW)
    )
