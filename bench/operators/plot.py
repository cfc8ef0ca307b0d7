"""Draws docs/time_against_rate.svg from `results.json`, or docs/products_against_rate.svg.

    python bench/operators/plot.py [FILE [SVG]]
    python bench/operators/plot.py dense.json docs/products_against_rate.svg

Time of a layer against its rate, for us and every peer, and of dense layers with fewer products
what their sums round off: nothing is measured here. Written by hand
rather than by a plotting library, so that the picture is small, the same on every machine, and its
text stays text.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ink:
    """How one contestant is drawn: colour, width, and dashes for channels last."""

    names: tuple[str, ...]
    title: str
    color: str
    width: float = 1.5


INKS = (
    Ink(("atrous", "atrous, prepared"), "atrous", "#c2185b", 3),
    Ink(("PyTorch",), "PyTorch", "#e07b00"),
    Ink(("torch.compile", "torch.compile, frozen"), "torch.compile", "#8a6d3b"),
    Ink(("ONNX Runtime",), "ONNX Runtime", "#1f77b4"),
    Ink(("OpenVINO",), "OpenVINO", "#5e35b1"),
    Ink(("JAX",), "JAX", "#2e7d32"),
)
LAYOUTS = (("contiguous", ""), ("channels_last", "5 3"))
FEWER = (
    Ink(("atrous: winograd 4",), "tiles of 4", "#c2185b", 3),
    Ink(("atrous: winograd 5",), "tiles of 5", "#d66a9c", 2.2),
    Ink(("atrous: winograd 6",), "tiles of 6", "#e6a9c6", 2.2),
    Ink(("PyTorch",), "PyTorch", "#e07b00"),
    Ink(("ONNX Runtime",), "ONNX Runtime", "#1f77b4"),
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes: which cases, and what of each contestant."""

    title: str
    suite: str
    op: str = "forward"
    layer: str = ""
    value: str = "median_ms"

    def takes(self, entry: Entry) -> bool:
        """Whether the case belongs here."""
        if (entry["suite"], entry["op"]) != (self.suite, self.op) or "causal" in entry["layer"]:
            return False
        return entry["layer"] == self.layer if self.layer else entry["flat"]


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, in which colours, and what is said of it."""

    title: str
    inks: tuple[Ink, ...]
    panels: tuple[Panel, ...]
    note: str


LAYOUT_NOTE = "both axes logarithmic; solid: contiguous, dashed: channels last; lower is better"
DEPTHWISE = Picture(
    "Time of dilated layers against their rate",
    INKS,
    (
        Panel("depthwise 3x3, C128, 128x128", "FACTS"),
        Panel("depthwise 7x7, C64, 128x128", "large-kernel attention"),
        Panel("depthwise 3x3x3, C32, 16x48x48", "3-D medical"),
        Panel("3x3, data gradient", "FACTS", "data gradient"),
        Panel("3x3, weight gradient", "FACTS", "weight gradient"),
        Panel("1-D, kernel 3, C512, 4000 frames", "Conv-TasNet"),
    ),
    f"milliseconds against the rate, {LAYOUT_NOTE}",
)
DENSE = Picture(
    "Dense layers with fewer products: time and rounding against their rate",
    FEWER,
    tuple(
        Panel(f"C{c}, 65x65: {what}", "dense3", layer=f"C{c} 65x65 K3x3", value=value)
        for value, what in (("median_ms", "ms"), ("error", "error"))
        for c in (64, 256, 512)
    ),
    "above milliseconds, below the largest error over the largest output, against the rate; solid: "
    "contiguous, dashed: channels last",
)
COLUMNS = 3
WIDTH, HEIGHT = 300, 230  # of a panel
LEFT, TOP, RIGHT, BOTTOM = 44, 30, 12, 34  # margins inside a panel
LEGEND = 58


@dataclass(frozen=True, slots=True)
class Line:
    """One contestant's times over the rates."""

    ink: Ink
    dashes: str
    points: tuple[tuple[int, float], ...]


def lines(entries: list[Entry], inks: tuple[Ink, ...], of: Panel) -> list[Line]:
    """All lines of a panel; of several forms of one contestant, the least at each rate."""
    chosen = [entry for entry in entries if of.takes(entry)]
    found = []
    for ink in reversed(inks):
        for layout, dashes in LAYOUTS:
            points = []
            for entry in sorted(chosen, key=lambda e: e["dilation"]):
                times = [
                    c[of.value]
                    for c in entry["contestants"].values()
                    if c["by"] in ink.names and c["layout"] == layout
                ]
                if times:
                    points.append((entry["dilation"], min(times)))
            if points:
                found.append(Line(ink, dashes, tuple(points)))
    return found


def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(words)}</text>"
    )


def stroke(points: list[tuple[float, float]], color: str, width: float, dashes: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"'
        f' stroke-linejoin="round"{dashed}/>'
    )


def milliseconds(exponent: int) -> str:
    return f"{10**exponent:g}"


def panel(drawn: list[Line], title: str, x0: float, y0: float) -> list[str]:
    """One pair of axes, both logarithmic, and its lines."""
    out = [text(x0 + LEFT, y0 + 18, title, "start", 12)]
    times = [t for line in drawn for _, t in line.points]
    rates = sorted({r for line in drawn for r, _ in line.points})
    if not times:
        return [*out, text(x0 + WIDTH / 2, y0 + HEIGHT / 2, "not measured")]
    low = math.floor(math.log10(min(times)))
    high = max(math.ceil(math.log10(max(times))), low + 1)
    left, right = x0 + LEFT, x0 + WIDTH - RIGHT
    top, bottom = y0 + TOP, y0 + HEIGHT - BOTTOM
    span = max(math.log2(rates[-1]), 1)

    def place(rate: int, time: float) -> tuple[float, float]:
        return (
            left + math.log2(rate) / span * (right - left),
            bottom - (math.log10(time) - low) / (high - low) * (bottom - top),
        )

    for exponent in range(low, high + 1):
        y = place(1, 10**exponent)[1]
        out.append(stroke([(left, y), (right, y)], "#dddddd", 1))
        out.append(text(left - 5, y + 4, milliseconds(exponent), "end"))
    out += [text(place(rate, 1)[0], bottom + 15, str(rate)) for rate in rates]
    for line in drawn:
        points = [place(*point) for point in line.points]
        out.append(stroke(points, line.ink.color, line.ink.width, line.dashes))
        out += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{line.ink.width:.1f}" fill="{line.ink.color}"/>'
            for x, y in points
        ]
    return out


def legend(of: Picture, width: float, y: float, quick: bool) -> list[str]:
    out = []
    step = (width - 2 * LEFT) / len(of.inks)
    for index, ink in enumerate(of.inks):
        x = LEFT + index * step
        out.append(stroke([(x, y), (x + 24, y)], ink.color, ink.width))
        out.append(text(x + 30, y + 4, ink.title, "start", 12))
    note = of.note + (" (a quick run)" if quick else "")
    out.append(text(LEFT, y + 26, note, "start", 12))
    return out


def picture(found: dict[str, Any]) -> str:
    """The whole picture as SVG that refers to nothing outside itself."""
    suites = {entry["suite"] for entry in found["cases"]}
    of = DENSE if suites <= {"dense3", "dense3 ASPP"} else DEPTHWISE
    width = COLUMNS * WIDTH + 10
    height = -(-len(of.panels) // COLUMNS) * HEIGHT + LEGEND
    body = [
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *legend(of, width, 18, found["quick"]),
    ]
    for index, each in enumerate(of.panels):
        x0 = (index % COLUMNS) * WIDTH
        y0 = LEGEND + (index // COLUMNS) * HEIGHT
        body += panel(lines(found["cases"], of.inks, each), each.title, x0, y0)
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" fill="#222222" role="img">'
    )
    title = f"<title>{of.title}</title>"
    return "\n".join([start, title, *body, "</svg>\n"])


def main() -> None:
    """Reads one file and writes another."""
    given = [Path(a) for a in sys.argv[1:]]
    source = given[0] if given else Path(__file__).with_name("results.json")
    target = given[1] if len(given) > 1 else ROOT / "docs" / "time_against_rate.svg"
    target.write_text(picture(json.loads(source.read_text())), encoding="utf-8")


if __name__ == "__main__":
    main()
