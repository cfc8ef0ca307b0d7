"""How all charts look: ink on paper, titles in a serif, the names of axes above them.

Each chart carries its look in its own parts: a configuration would keep users from laying two
charts side by side.
"""

from __future__ import annotations

from typing import Any

from atrous.draw.style import inks

__all__ = ["AXIS", "HEADER", "LEGEND", "TITLE", "VIEW", "WORDS", "upright"]

_INK = inks("light")
_SANS = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
_SERIF = (
    "'Iowan Old Style', 'Palatino Linotype', Palatino, 'URW Palladio L', P052, "
    "'Source Serif 4', Georgia, serif"
)

AXIS: dict[str, Any] = {
    "labelColor": _INK["quiet"],
    "labelFont": _SANS,
    "labelFontSize": 12,
    "titleColor": _INK["quiet"],
    "titleFont": _SANS,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "titlePadding": 8,
    "domainColor": _INK["ink"],
    "tickColor": _INK["ink"],
    "tickSize": 4,
    "gridColor": _INK["grid"],
    "labelLimit": 220,
    "labelOverlap": True,
}
LEGEND: dict[str, Any] = {
    "title": None,
    "orient": "top",
    "labelColor": _INK["ink"],
    "labelFont": _SANS,
    "labelFontSize": 12,
    "labelLimit": 300,
    "offset": 26,
    "symbolOpacity": 1,
    "symbolStrokeWidth": 2.5,
    "columnPadding": 18,
}
HEADER: dict[str, Any] = {
    "labelColor": _INK["quiet"],
    "labelFont": _SANS,
    "labelFontSize": 12,
}
TITLE: dict[str, Any] = {
    "anchor": "start",
    "frame": "bounds",
    "color": _INK["ink"],
    "font": _SERIF,
    "fontSize": 17,
    "fontWeight": 600,
    "subtitleColor": _INK["quiet"],
    "subtitleFont": _SANS,
    "subtitleFontSize": 12,
    "offset": 12,
}
VIEW: dict[str, Any] = {"stroke": None}
WORDS: dict[str, Any] = {"font": _SANS, "fontSize": 12, "color": _INK["ink"]}


def upright() -> dict[str, Any]:
    """The look of an axis upwards, whose name lies above it instead of being turned."""
    above = {
        "titleAngle": 0,
        "titleAlign": "left",
        "titleAnchor": "end",
        "titleBaseline": "bottom",
        "titleX": 0,
        "titleY": -8,
        "domain": False,
        "ticks": False,
    }
    return AXIS | above
