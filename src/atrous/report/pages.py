"""Reports as pages of their own: one file that opens offline, with charts, footprints and graphs.

What a page needs is inside it: Vega for its charts, images as data, the layouts of graphs. Its
content policy forbids the browser to load anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.analysis import Inspection, Layer
from atrous.analysis.diff import diff_reports
from atrous.analysis.findings.record import SEVERITIES
from atrous.draw.charts import inspection_charts
from atrous.draw.collapsed import modules
from atrous.draw.footprints import jpeg, opened
from atrous.draw.graph import COLOURINGS, graph_svg
from atrous.draw.images import Cut, Ground, cuts, data_url, png
from atrous.draw.needs import drawing_needs
from atrous.draw.rows import listing
from atrous.draw.units import clean, share_text
from atrous.errors import AtrousError, UnsupportedError
from atrous.report.diff import DiffView
from atrous.report.html import block
from atrous.report.layers import layer_columns, layer_keys, layer_notes
from atrous.report.lines import Look, plain
from atrous.report.summary import opening, statements

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atrous.analysis import Footprint

__all__ = ["report_page"]

MOST_FOOTPRINTS = 400
"""Distinct pictures of footprints in one page."""
FOOTPRINT_BYTES = 1_200_000
"""What they may take together; layers beyond that are named as left out."""
MOST_POSITIONS = 8_000_000
"""Of one footprint: each is a number while it is counted."""
MOST_GRAPH_BOXES = 3000


def report_page(
    reports: Mapping[str, Inspection], image: Any = None, *, verdict: str = "", words: str = ""
) -> str:
    """One or two reports as a page; two stand side by side, with what differs between them.

    `image`, a path or a Pillow image, lies behind the footprints. `verdict` and `words`, in HTML,
    are those of the conversion that leads from the one to the other. Raises
    `MissingDependencyError` without the libraries of the extra `report`, `ReadError` for what is
    no image, and `UnsupportedError` for an image with an input that has not two axes.
    """
    with drawing_needs("a page"):
        import jinja2
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("atrous.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    sides = [
        _side(place, name, report, image) for place, (name, report) in enumerate(reports.items())
    ]
    charts = [{"title": chart.title, "spec": _spec(chart)} for chart in inspection_charts(reports)]
    data = {
        "charts": [chart["spec"] for chart in charts],
        "sides": [{key: side[key] for key in ("footprints", "graphs", "image")} for side in sides],
    }
    names = [side["title"] for side in sides]
    return environment.get_template("report.html").render(
        title=" and ".join(dict.fromkeys(names)) + (f": {verdict}" if verdict else ""),
        sides=sides,
        charts=charts,
        colourings=COLOURINGS,
        diff=_diff_block(reports),
        conversion=words or None,
        # In JSON, `<` may always be written so; then no text in it ends the element.
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        vega=_vega(),
        style=_part("report.css"),
        script=_part("report.js"),
    )


def _side(place: int, name: str, report: Inspection, image: Any) -> dict[str, Any]:
    found = listing(report, every=True)
    usual = {row.name for row in listing(report).rows}
    columns = layer_columns(found)
    keys = layer_keys(found)
    footprints, places, left_out = _footprints(report, "shade" if image is not None else "solid")
    by_layer = {row.name: row.layer for row in found.rows}
    return {
        "place": place,
        "name": clean(name),
        "title": clean(report.network.name or name),
        "opening": plain(opening(report)),
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
                    {"text": cell.text.strip(), "key": key, "style": cell.style}
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
        # Behind an op that mixes all positions there is no more to see.
        "first": next((name for name in reversed(places) if not by_layer[name].is_global), ""),
        "left_out": left_out,
        "modules": [clean(name) for name in modules(report)],
        "graphs": _graphs(report),
        "image": _image(report, image),
    }


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
    for layer in chosen:
        before = made.get(_passed_on(layer))
        if before in places:
            places[layer.name] = places[before]
            continue
        if min(whole, prod(axis.size for axis in layer.field)) > MOST_POSITIONS:
            left_out += 1
            continue
        try:
            footprint = report.footprint(layer.name)
        except AtrousError:
            continue
        if not footprint.box.size:
            continue
        key = (footprint.origin, footprint.box.shape, footprint.at, _digest(footprint.box))
        if key not in known:
            if len(pictures) >= MOST_FOOTPRINTS or spent > FOOTPRINT_BYTES:
                left_out += 1
                continue
            picture = _footprint_data(footprint, ground)
            spent += sum(len(cut["url"]) for cut in picture["cuts"])
            known[key] = len(pictures)
            pictures.append(picture)
        places[layer.name] = known[key]
    return pictures, places, left_out


def _digest(counts: NDArray[Any]) -> bytes:
    """The counts in few bytes: a page may have hundreds of large footprints."""
    plain = counts.dtype != object
    content = np.ascontiguousarray(counts).tobytes() if plain else repr(counts.tolist()).encode()
    return blake2b(content, digest_size=16).digest()


def _passed_on(layer: Layer) -> str:
    """The tensor whose positions the layer hands on as they are, or none."""
    node = layer.node
    kept = node is not None and len(node.inputs) == 1 and not node.mixes and not any(node.moves)
    return node.inputs[0] if node is not None and kept else ""


def _footprint_data(footprint: Footprint, ground: Ground) -> dict[str, Any]:
    size = "x".join(map(str, footprint.box.shape))
    at = ", ".join(map(str, footprint.at))
    box = footprint.effective()
    read = footprint.coverage
    text = (
        f"Output ({at}) reads {footprint.taps:,} of {size} input positions "
        f"({share_text(read)}); {footprint.box.max():,} paths at most to one of them. "
        f"{box}."
    )
    if isinstance(footprint.box.max().item(), float):
        most = f"{float(footprint.box.max()):.1e}"
        text = text.replace(f"{footprint.box.max():,}", most)
    return {"text": text, "cuts": [_cut_data(cut, ground) for cut in cuts(footprint)]}


def _cut_data(cut: Cut, ground: Ground) -> dict[str, Any]:
    through = "" if cut.through is None else f"at {cut.through[0]} = {cut.through[1]}"
    return {
        "url": data_url(png(cut.counts, ground)),
        "axes": list(cut.axes),
        "origin": list(cut.origin),
        "size": list(cut.counts.shape),
        "shape": list(cut.shape),
        "box": list(cut.effective),
        "through": through,
    }


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
    return block(DiffView(found, top=60).lines(Look(width=92, colour=True)))


def _spec(chart: Any) -> dict[str, Any]:
    spec: dict[str, Any] = chart.properties(width="container").to_dict()
    for part in ("config", "$schema"):
        spec.pop(part, None)
    # The width is the page's to say, the height the chart's.
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


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

    return files("atrous.report").joinpath("templates", name).read_text(encoding="utf-8")
