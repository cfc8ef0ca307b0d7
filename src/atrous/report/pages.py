"""Reports as pages of their own: one file that opens offline, with charts, footprints and graphs.

What a page needs is inside it: Vega for its charts, images as data, the layouts of graphs. Its
content policy forbids the browser to load anything else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from math import prod
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from atrous.analysis import Inspection, Layer
from atrous.analysis.diff import diff_reports
from atrous.analysis.findings.record import SEVERITIES
from atrous.analysis.inspection import layer_footprint
from atrous.analysis.paths import Walks
from atrous.draw.charts import inspection_charts
from atrous.draw.collapsed import modules
from atrous.draw.colours import named, parts
from atrous.draw.footprints import jpeg, opened
from atrous.draw.graph import COLOURINGS, graph_svg
from atrous.draw.images import SHADES, Cut, Ground, cuts, data_url, png
from atrous.draw.needs import drawing_needs
from atrous.draw.rows import listing
from atrous.draw.style import inks, style_sheet
from atrous.draw.units import at_least, bytes_text, per_axis, quantity, share_text
from atrous.errors import AtrousError, UnsupportedError, clean
from atrous.report.diff import DiffView
from atrous.report.html import classed
from atrous.report.layers import layer_columns, layer_keys, layer_notes
from atrous.report.lines import Look, plain
from atrous.report.summary import opening, statements

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atrous.analysis import Footprint

__all__ = ["MOST_POSITIONS", "chart_spec", "footprint_data", "rendered", "report_page"]

MOST_FOOTPRINTS = 400
"""Distinct pictures of footprints in one page."""
MOST_STEPS = 120_000
"""From layer to layer on the way back to the input, for all footprints of a page together."""
FOOTPRINT_BYTES = 1_200_000
"""What they may take together; layers beyond that are named as left out."""
MOST_POSITIONS = 8_000_000
"""Of one footprint: each is a number while it is counted."""
MOST_GRAPH_BOXES = 3000
FINE = 254
"""Steps of the bars of a footprint along one axis."""


def report_page(
    reports: Mapping[str, Inspection], image: Any = None, *, verdict: str = "", words: str = ""
) -> str:
    """One or two reports as a page; two stand side by side, with what differs between them.

    `image`, a path or a Pillow image, lies behind the footprints. `verdict` and `words`, in HTML,
    are those of the conversion that leads from the one to the other. Raises
    `MissingDependencyError` without the libraries of the extra `report`, `ReadError` for what is
    no image, and `UnsupportedError` for an image with an input that has not two axes.
    """
    sides = [
        _side(place, name, report, image) for place, (name, report) in enumerate(reports.items())
    ]
    charts = [
        {"title": chart.description, "spec": chart_spec(chart)}
        for chart in inspection_charts(reports)
    ]
    data = {
        "charts": [chart["spec"] for chart in charts],
        "sides": [
            {key: side[key] for key in ("footprints", "graphs", "image", "scales")}
            for side in sides
        ],
    }
    names = [side["title"] for side in sides]
    return rendered(
        "report.html",
        data,
        title=" and ".join(dict.fromkeys(names)) + (f": {verdict}" if verdict else ""),
        sides=sides,
        charts=charts,
        colourings=COLOURINGS,
        diff=_diff_block(reports),
        conversion=words or None,
    )


def rendered(template: str, data: Mapping[str, Any], **values: Any) -> str:
    """A page from its template, with what all pages have: the sheet, the scripts, the data."""
    with drawing_needs("a page"):
        import jinja2
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("atrous.report", "templates"),
        autoescape=True,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(
        **values,
        # In JSON, `<` may always be written so; then no text in it ends the element.
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        vega=_vega(),
        style=_tight(style_sheet()) + _part("report.css"),
        ramps={theme: _ramp(theme) for theme in ("light", "dark")},
        script=_part("report.js"),
    )


def _printable(value: Any) -> Any:
    """What a template writes; of names from outside only what is printable."""
    # What is markup was made here.
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _side(place: int, name: str, report: Inspection, image: Any) -> dict[str, Any]:
    found = listing(report, every=True)
    usual = {row.name for row in listing(report).rows}
    columns = layer_columns(found)
    keys = layer_keys(found)
    footprints, places, left_out = _footprints(report, "shade" if image is not None else "ink")
    by_layer = {row.name: row.layer for row in found.rows}
    return {
        "place": place,
        "name": clean(name),
        "title": clean(report.network.name or name),
        "opening": plain(opening(report)).removeprefix(f"{clean(report.network.name)}: "),
        "numbers": _numbers(report),
        "wide": len(report.network.tensor(report.input).grid) != 2,
        "scales": {
            axis: {"step": float(scale.step), "unit": scale.unit}
            for axis, scale in report.scales.items()
        },
        "facts": [
            (label, text) for label, text, _ in statements(report) if label not in SEVERITIES
        ],
        "findings": report.findings,
        "opaque": report.opaque,
        "columns": [{"title": column.title.strip(), "right": column.right} for column in columns],
        "rows": [
            {
                "usual": row.name in usual,
                "cells": [
                    {"text": cell.text.strip(), "key": _short(key), "style": cell.style}
                    for cell, key in zip(cells, key_row, strict=True)
                ],
            }
            for row, cells, key_row in zip(
                found.rows, zip(*(c.cells for c in columns), strict=True), keys, strict=True
            )
        ],
        "notes": [note for note in layer_notes(listing(report)) if "--all" not in note],
        "footprints": footprints,
        "places": [(layer, place) for layer, place in places.items()],
        "first": _widest({name: by_layer[name] for name in places}),
        "left_out": left_out,
        "modules": [clean(name) for name in modules(report)],
        "graphs": _graphs(report),
        "image": _image(report, image),
    }


def _widest(layers: Mapping[str, Layer]) -> str:
    """The layer that sees farthest, the last of equals: what a page shows first.

    Behind an op that mixes all positions there is no more to see.
    """
    sizes = {
        name: prod(axis.size for axis in layer.field)
        for name, layer in layers.items()
        if not layer.is_global
    }
    return max(reversed(sizes), key=lambda name: sizes[name], default="")


def _short(key: float | str) -> float | str:
    """A whole number without its point: a page has thousands."""
    return int(key) if isinstance(key, float) and key.is_integer() else key


def _numbers(report: Inspection) -> list[tuple[str, str, str]]:
    """What a reader asks first: label, number, and what it is a number of."""
    found: list[tuple[str, str, str]] = []
    last = report.outputs[-1] if report.outputs else None
    if last is not None and last.field:
        axes = ", ".join(axis.axis for axis in last.field)
        size = per_axis([str(axis.size) for axis in last.field])
        if last.opaque:
            found.append((f"receptive field of {clean(last.name)}", "?", "not understood"))
        else:
            units = dict.fromkeys(
                scale.text(axis.size)
                for axis in last.field
                if (scale := report.scales.get(axis.axis))
            )
            along = f"positions along {axes}" + "".join(f", {text}" for text in units)
            local = ", local" if last.is_global else ""
            found.append((f"receptive field of {clean(last.name)}{local}", size, along))
            cover = per_axis([share_text(axis.coverage) for axis in last.field])
            found.append(
                (
                    "read of it",
                    cover,
                    "along each axis: " + ("no holes" if cover == "100%" else "the rest are holes"),
                )
            )
            stride = per_axis([str(axis.stride) for axis in last.field])
            found.append(("output stride", stride, "input positions per output"))
    missing = report.uncounted
    compute = at_least(quantity(report.macs), missing.get("macs", ()), short=True)
    memory = at_least(bytes_text(report.peak_memory_bytes), missing.get("memory", ()), short=True)
    found.append(("compute", compute, "MACs"))
    found.append(("parameters", quantity(report.params), bytes_text(report.parameter_bytes)))
    found.append(("peak memory", memory, "of activations"))
    return found


def _footprints(
    report: Inspection, ground: Ground
) -> tuple[list[dict[str, Any]], dict[str, int], int]:
    """Pictures of footprints, which layer has which, and how many layers found no room.

    Layers that only pass positions on have their input's footprint: each picture is kept once.
    """
    pictures: list[dict[str, Any]] = []
    known: dict[Any, int] = {}
    places: dict[str, int] = {}
    spent = left_out = 0
    whole = prod(report.network.tensor(report.input).grid.values())
    chosen = [layer for layer in report.layers if layer.field and layer.node is not None]
    made = {layer.tensor: layer.name for layer in chosen}
    walks = Walks()
    # The last one is there in any case; then those that are near the input cost least.
    for layer in (*chosen[-1:], *chosen[:-1]):
        before = made.get(_passed_on(layer))
        if before in places:
            places[layer.name] = places[before]
            continue
        if min(whole, prod(axis.size for axis in layer.field)) > MOST_POSITIONS:
            left_out += 1
            continue
        if walks.steps > MOST_STEPS:
            left_out += 1
            continue
        try:
            footprint = layer_footprint(report, layer, walks=walks)
        except AtrousError:
            continue
        if not footprint.box.size:
            continue
        key = (footprint.origin, footprint.box.shape, footprint.at, _digest(footprint.box))
        if key not in known:
            if len(pictures) >= MOST_FOOTPRINTS or spent > FOOTPRINT_BYTES:
                left_out += 1
                continue
            picture = footprint_data(footprint, report, ground)
            spent += sum(len(cut["url"]) for cut in picture["cuts"])
            known[key] = len(pictures)
            pictures.append(picture)
        places[layer.name] = known[key]
    order = [layer.name for layer in chosen if layer.name in places]
    return pictures, {name: places[name] for name in order}, left_out


def _digest(counts: NDArray[Any]) -> bytes:
    """The counts in few bytes: a page may have hundreds of large footprints."""
    plain = counts.dtype != object
    # Numbers of thousands of digits take long to be written in tens.
    content = (
        np.ascontiguousarray(counts).tobytes()
        if plain
        else " ".join(map(hex, counts.ravel().tolist())).encode()
    )
    return blake2b(content, digest_size=16).digest()


def _passed_on(layer: Layer) -> str:
    """The tensor whose positions the layer hands on as they are, or none."""
    node = layer.node
    kept = node is not None and len(node.inputs) == 1 and not node.mixes and not any(node.moves)
    return node.inputs[0] if node is not None and kept else ""


def _lengths_said(footprint: Footprint, report: Inspection) -> str:
    """How far the box goes in the units of its axes."""
    texts = [
        f"{size} positions of {axis} are {scale.text(size)}"
        for axis, size in zip(footprint.axes, footprint.box.shape, strict=True)
        if (scale := report.scales.get(axis)) is not None
    ]
    return f" {'; '.join(texts)}." if texts else ""


def _count_text(count: Any) -> str:
    """A number of paths, short enough for a legend."""
    if count < 1e6:
        return f"{int(count):,}"
    if count < 1e300:
        return f"{float(count):.1e}"
    # Whole numbers may lie beyond float64: their logarithms do not.
    digits, part = divmod(math.log10(count), 1)
    return f"{10**part:.1f}e+{digits:.0f}"


def footprint_data(footprint: Footprint, report: Inspection, ground: Ground) -> dict[str, Any]:
    """The cuts of a footprint as pictures with their places, and what is seen in a sentence."""
    size = "x".join(map(str, footprint.box.shape))
    at = ", ".join(map(str, footprint.at))
    box = footprint.effective()
    read = footprint.coverage
    top = footprint.box.max()
    exact = isinstance(top, np.integer) or top < 1e6
    number = f"{top:,}" if exact else _count_text(top)
    most = "1 path" if top == 1 else f"{number} paths"
    text = (
        f"Output ({at}) reads {footprint.taps:,} of {size} input positions "
        f"({share_text(read)}); {most} at most to one of them. {box}."
    )
    text += _lengths_said(footprint, report)
    return {"text": text, "cuts": [_cut_data(cut, ground) for cut in cuts(footprint, box)]}


def _cut_data(cut: Cut, ground: Ground) -> dict[str, Any]:
    through = "" if cut.through is None else f"{cut.through[0]} = {cut.through[1]}"
    read = cut.counts[cut.counts > 0]
    least, most = (read.min(), read.max()) if read.size else (0, 0)
    # Bars are as fine as a byte can say, pixels as fine as an eye can tell.
    flat = cut.counts.shape[0] == 1 and not cut.axes[0]
    found = {
        "url": data_url(png(cut.counts, ground, FINE if flat else SHADES)),
        "flat": flat,
        "holes": cut.holes,
        "paths": [_count_text(least), _count_text(most)],
        "logs": [round(math.log10(least), 4), round(math.log10(most), 4)] if read.size else [0, 0],
        "axes": list(cut.axes),
        "origin": list(cut.origin),
        "size": list(cut.counts.shape),
        "shape": list(cut.shape),
        "box": list(cut.effective),
        "through": through,
    }
    # What is not there goes without saying: a page has hundreds of cuts.
    return {name: value for name, value in found.items() if value or isinstance(value, list)}


def _graphs(report: Inspection) -> dict[str, str]:
    """The graph of every module's inside, as long as there is room for all of them."""
    names = modules(report)
    if len(report.layers) + len(names) > MOST_GRAPH_BOXES:
        names = names[:1]
    drawn = {}
    for name in names:
        # One that is too tangled is left out; its place in the page says so.
        with suppress(UnsupportedError):
            drawn[clean(name)] = graph_svg(report, name)
    return drawn


def _image(report: Inspection, image: Any) -> str:
    if image is None:
        return ""
    grid = report.network.tensor(report.input).grid
    if len(grid) != 2:
        raise UnsupportedError(
            f"an image lies over two axes, but the input has {len(grid)}: "
            f"{', '.join(grid) or 'none'}; leave the image out."
        )
    height, width = grid.values()
    picture = opened(image)
    # As sharp as a screen shows it, and in the input's proportions.
    scale = min(1.0, 1024 / max(height, width))
    shown = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    return data_url(jpeg(shown), "image/jpeg")


def _diff_block(reports: Mapping[str, Inspection]) -> str:
    if len(reports) != 2:
        return ""
    (_, one), (_, two) = reports.items()
    found = diff_reports(one.to_dict(), two.to_dict())
    return classed(DiffView(found, top=60).lines(Look(width=92, colour=True)))


def chart_spec(chart: Any) -> dict[str, Any]:
    """A chart as wide as its place, in the page's colours."""
    spec: dict[str, Any] = chart.properties(width="container").to_dict()
    for part in ("config", "$schema"):
        spec.pop(part, None)
    # The width is the page's to say, the height the chart's.
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return cast(dict[str, Any], _inked(spec))


def _inked(part: Any) -> Any:
    """A chart's description with its colours by name, so that the page's theme gives them."""
    if isinstance(part, dict):
        return {key: _inked(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_inked(value) for value in part]
    return named(part) if isinstance(part, str) else part


def _ramp(theme: Literal["light", "dark"]) -> list[tuple[str, str]]:
    """The colours from few paths to many, as tables of a filter: channel and values."""
    stops = [parts(inks(theme)[f"ramp-{letter}"]) for letter in "abcde"]
    return [
        (channel, " ".join(f"{stop[place] / 255:.3f}" for stop in stops))
        for place, channel in enumerate("RGB")
    ]


@cache
def _vega() -> str:
    """Vega, Vega-Lite and their loader in one script."""
    with drawing_needs("a page"):
        import vl_convert
    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Inside strings `\\/` is `/`; elsewhere in a script neither of the two can stand.
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _part(name: str) -> str:
    from importlib.resources import files

    return _tight(files("atrous.report").joinpath("templates", name).read_text(encoding="utf-8"))


def _tight(text: str) -> str:
    """A sheet or a script without the blanks that only its readers need."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
