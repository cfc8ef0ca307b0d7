"""Networks as graphs in SVG, laid out by Graphviz's `dot`, which pygraphviz's wheels bring along.

Graphviz gets boxes of known sizes and gives back places and curves; the picture is drawn here, so
that a page can restyle it, and readers of screens get names instead of shapes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, get_args
from xml.etree import ElementTree as Xml

from atrous.analysis.inspection import Colouring
from atrous.draw.collapsed import Box, Collapsed, collapse
from atrous.draw.colours import parts
from atrous.draw.needs import drawing_needs
from atrous.draw.style import inks
from atrous.draw.units import quantity, shape_text, share_text
from atrous.errors import UnsupportedError, clean, unknown
from atrous.shown import how_many

if TYPE_CHECKING:
    from atrous.analysis import Inspection

__all__ = ["COLOURINGS", "GraphSvg", "graph_svg"]

COLOURINGS: tuple[str, ...] = get_args(Colouring)

MOST_TANGLED = 60_000
"""Boxes times edges beyond a chain: the layout takes seconds from there on."""
_POINTS = 72.0
_LETTER, _HEIGHT, _SMALL = 6.6, 38.0, 5.6
_BAR = 5.0
_LETTERS = 11
_STRONGEST = 0.42
"""Of a tint over the paper: ink on it can still be read."""
_BARS = {"coverage": "seen", "cost": "seen", "resolution": "reach"}
_TINTS = {"coverage": "hole", "cost": "seen", "resolution": "reach"}
_ALONE = Lock()
"""Graphviz keeps state that threads may not share."""


class GraphSvg(str):
    """A graph as SVG text, which notebooks show as the picture that it is."""

    __slots__ = ()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from atrous.draw.images import svg_bundle

        said = f"a graph as SVG, {len(self):,} characters"
        return svg_bundle(str(self), "graph of the network", said)


def graph_svg(report: Inspection, module: str = "", colour: Colouring = "coverage") -> str:
    """The inside of a module as SVG text (`GraphSvg`); modules in it are one box each.

    A bar in each box is as long as the share of its field that it reads (`"coverage"`), as its
    share of the MACs (`"cost"`), or as the resolution of its output (`"resolution"`: all of it at
    stride 1, nothing at 64); boxes with holes, or with more of the rest, are tinted. A mark counts
    the findings inside. Raises `UnknownNameError` for what has no such name, and
    `UnsupportedError` where so many edges cross that laying them out would take minutes.
    """
    if colour not in COLOURINGS:
        raise unknown("colouring", colour, COLOURINGS)
    folded = collapse(report, module)
    tangle = len(folded.boxes) * (len(folded.edges) - len(folded.boxes) + 1)
    if tangle > MOST_TANGLED:
        raise UnsupportedError(
            f"{module or 'the network'} has {how_many(len(folded.boxes), 'box')} and "
            f"{len(folded.edges)} "
            "edges, too tangled to lay out; draw the modules in it."
        )
    laid = _laid_out(folded)
    return GraphSvg(Xml.tostring(_drawn(report, folded, laid, colour), encoding="unicode"))


@dataclass(frozen=True, slots=True)
class _Laid:
    """Centres of boxes and curves of edges, in points from the top left, and the whole size."""

    size: tuple[float, float]
    centres: dict[str, tuple[float, float]]
    curves: tuple[tuple[tuple[float, float], ...], ...]


def _width(box: Box) -> float:
    return max(48.0, 18 + max(len(box.label) * _LETTER, len(_below(box)) * _SMALL))


def _below(box: Box) -> str:
    if box.kind in ("input", "output"):
        return shape_text(box.shape) if box.shape else ""
    if box.detail and box.kind in ("module", "elementwise"):
        return box.detail
    return f"{box.kind} {box.detail}".strip()


def _laid_out(folded: Collapsed) -> _Laid:
    with drawing_needs("drawing a network"):
        import pygraphviz  # type: ignore[import-untyped]
    # Names of layers may hold anything: Graphviz sees numbers.
    numbers = {box.name: str(place) for place, box in enumerate(folded.boxes)}
    with _ALONE, _quiet():
        graph = pygraphviz.AGraph(
            directed=True, rankdir="TB", nodesep="0.25", ranksep="0.3", splines="spline"
        )
        for box in folded.boxes:
            graph.add_node(
                numbers[box.name],
                label="",
                shape="box",
                fixedsize="true",
                width=f"{_width(box) / _POINTS:.4f}",
                height=f"{_HEIGHT / _POINTS:.4f}",
            )
        for edge in folded.edges:
            graph.add_edge(numbers[edge.start], numbers[edge.end], arrowhead="none")
        graph.layout("dot")
        _, _, wide, tall = _floats(graph.graph_attr["bb"])
        centres = {}
        for box in folded.boxes:
            x, y = _floats(graph.get_node(numbers[box.name]).attr["pos"])
            centres[box.name] = (x, tall - y)
        curves = []
        for edge in folded.edges:
            text = graph.get_edge(numbers[edge.start], numbers[edge.end]).attr["pos"]
            pairs = (_floats(part) for part in text.split() if not part.startswith(("e,", "s,")))
            curves.append(tuple((x, tall - y) for x, y in pairs))
        graph.close()
    return _Laid((wide, tall), centres, tuple(curves))


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


@contextmanager
def _quiet() -> Iterator[None]:
    """Graphviz's font library writes about the machine's font settings; no letters are drawn."""
    before = os.environ.get("FONTCONFIG_FILE")
    os.environ["FONTCONFIG_FILE"] = os.devnull
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("FONTCONFIG_FILE", None)
        else:
            os.environ["FONTCONFIG_FILE"] = before


def _drawn(report: Inspection, folded: Collapsed, laid: _Laid, colour: Colouring) -> Xml.Element:
    wide, tall = laid.size
    svg = Xml.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"-8 -8 {wide + 16:.1f} {tall + 16:.1f}",
        width=f"{wide + 16:.0f}",
        height=f"{tall + 16:.0f}",
        role="group",
    )
    svg.set(
        "aria-label", clean(f"Graph of {folded.module or report.network.name or 'the network'}")
    )
    svg.set("class", "graph")
    # What most texts share is said once.
    svg.set("font-family", "system-ui, sans-serif")
    svg.set("font-size", str(_LETTERS))
    svg.set("text-anchor", "middle")
    svg.set("fill", inks()["ink"])
    lines = Xml.SubElement(svg, "g", fill="none", stroke=inks()["quiet"])
    lines.set("stroke-width", "1.3")
    lines.set("class", "edges")
    for curve in laid.curves:
        start, *rest = curve
        path = f"M{start[0]:.1f},{start[1]:.1f}C" + " ".join(f"{x:.1f},{y:.1f}" for x, y in rest)
        Xml.SubElement(lines, "path", d=path)
    for box in folded.boxes:
        _node(svg, box, laid.centres[box.name], report, colour)
    return svg


def _node(
    svg: Xml.Element, box: Box, centre: tuple[float, float], report: Inspection, colour: Colouring
) -> None:
    wide, (x, y) = _width(box), centre
    ends = box.kind in ("input", "output")
    group = Xml.SubElement(svg, "g", {"class": f"box {box.kind}"})
    if box.opens:
        group.set("data-module", clean(box.name))
    shares = {} if ends else {way: _share(box, report, way) for way in COLOURINGS}
    known = {way: share for way, share in shares.items() if share is not None}
    for way, part in known.items():
        group.set(f"data-{way}", f"{part:.4g}")
    share = known.get(colour)
    ink = inks()
    left, top = x - wide / 2, y - _HEIGHT / 2
    rect = Xml.SubElement(
        group,
        "rect",
        {"class": "body"},
        x=f"{left:.1f}",
        y=f"{top:.1f}",
        width=f"{wide:.1f}",
        height=f"{_HEIGHT:.1f}",
        rx="19" if ends else "4",
        fill=ink["raised"] if share is None else _tinted(share, colour),
        stroke=ink["quiet" if ends else "ink"],
    )
    if box.opens:
        rect.set("stroke-width", "2.4")
    Xml.SubElement(rect, "title").text = clean(_told(box))
    if known:
        where = (left + 6, top + _HEIGHT - _BAR - 3, wide - 12)
        Xml.SubElement(group, "path", {"class": "track"}, d=_strip(*where), fill=ink["hair"])
        drawn = _strip(*where[:2], where[2] * (share or 0))
        Xml.SubElement(group, "path", {"class": "bar"}, d=drawn, fill=ink[_BARS[colour]])
    below = _below(box)
    lift = 4 if known else 0
    _text(group, box.label, x, y + (-2 if below else 4) - lift, _LETTERS, ink["ink"])
    if below:
        _text(group, below, x, y + 11 - lift, 9, ink["quiet"], "below")
    if box.findings:
        mark = Xml.SubElement(group, "g", {"class": "mark"})
        at = {"cx": f"{x + wide / 2:.1f}", "cy": f"{y - _HEIGHT / 2:.1f}"}
        Xml.SubElement(mark, "circle", at, r="8", fill=ink["warn"])
        count = str(len(box.findings))
        _text(mark, count, x + wide / 2, y - _HEIGHT / 2 + 3.5, 10, ink["on-ink"])


def _strip(x: float, y: float, wide: float) -> str:
    return f"M{x:.1f},{y:.1f}h{wide:.1f}v{_BAR - 1:g}h{-wide:.1f}z"


def _text(
    home: Xml.Element, text: str, x: float, y: float, size: int, ink: str, kind: str = ""
) -> None:
    made = Xml.SubElement(home, "text", x=f"{x:.1f}", y=f"{y:.1f}")
    if ink != inks()["ink"]:
        made.set("fill", ink)
    if kind:
        made.set("class", kind)
    if size != _LETTERS:
        made.set("font-size", str(size))
    made.text = clean(text)


def _told(box: Box) -> str:
    """All about a box in words, for a pointer that rests on it and for readers of screens."""
    parts = [f"{box.label}: {_below(box)}"]
    if box.shape:
        parts.append(f"output {shape_text(box.shape)}")
    if box.macs:
        parts.append(quantity(box.macs, "MAC"))
    if box.coverage is not None:
        parts.append(f"{share_text(box.coverage)} of the field read")
    if box.stride is not None:
        parts.append(f"stride {box.stride:g}")
    if box.findings:
        parts.append("findings: " + ", ".join(box.findings))
    return ", ".join(parts)


def _share(box: Box, report: Inspection, colour: str) -> float | None:
    if colour == "coverage":
        return box.coverage
    if colour == "cost":
        return box.macs / report.macs if report.macs else 0.0
    # Each halving of the resolution takes the same from it.
    return None if box.stride is None else 1 - math.log2(min(max(box.stride, 1), 64)) / 6


def _tinted(share: float, colour: str) -> str:
    """Paper with as much ink in it as there is to see: holes, cost or resolution."""
    amount = _STRONGEST * (1 - share if colour == "coverage" else share)
    paper, ink = parts(inks()["raised"]), parts(inks()[_TINTS[colour]])
    mixed = (round(p + (i - p) * amount) for p, i in zip(paper, ink, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
