"""What the page shows of a report, as plain data: rows of tables, the footprint, the headline."""

from __future__ import annotations

import io
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from atrous.analysis import Comparison, Inspection
from atrous.draw.images import Cut, cuts, data_url, levels
from atrous.draw.needs import drawing_needs
from atrous.draw.units import at_least, bytes_text, per_axis, quantity, shape_text, share_text
from atrous.errors import AtrousError

__all__ = [
    "LAYER_HEAD",
    "SCHEME_HEAD",
    "footprint_picture",
    "headline",
    "layer_rows",
    "scheme_rows",
    "totals",
]

MOST_STEPS = 15_000_000
"""A second or two: more would keep the page from answering."""
MOST_BARS = 1024

LAYER_HEAD = (
    "layer",
    "op",
    "output",
    "field",
    "read",
    "coverage",
    "stride",
    "MACs",
    "params",
    "memory",
)
SCHEME_HEAD = ("scheme", "layers", "output", "field", "read", "unread", "MACs", "memory")


def headline(report: Inspection) -> dict[str, object]:
    """What one output of the stack sees: its field, the positions read, and along which axes."""
    field = report.outputs[-1].field
    return {
        "field": per_axis([f"{axis.size:,}" for axis in field]) or "none",
        "read": per_axis([f"{axis.taps:,}" for axis in field]) or "none",
        "all": all(axis.taps == axis.size for axis in field),
        "axes": [axis.axis for axis in field],
    }


def totals(report: Inspection) -> str:
    """One line: what comes out, and what the whole costs."""
    last = report.outputs[-1]
    macs = at_least(quantity(report.macs, "MAC"), report.uncounted.get("macs"))
    memory = at_least(bytes_text(report.peak_memory_bytes), report.uncounted.get("memory"))
    return (
        f"Output {shape_text(last.output_shape, known=last.sized)}, {macs}, "
        f"{quantity(report.params)} parameters, peak memory {memory}."
    )


def layer_rows(report: Inspection) -> list[tuple[str, ...]]:
    """The table of layers: sizes, field, coverage, stride and cost."""
    return [
        (
            layer.name,
            f"{layer.op} {layer.detail}",
            shape_text(layer.output_shape, known=layer.sized),
            per_axis([str(axis.size) for axis in layer.field]),
            per_axis([str(axis.taps) for axis in layer.field]),
            share_text(min((axis.coverage for axis in layer.field), default=0.0)),
            per_axis([str(axis.stride) for axis in layer.field]),
            "?" if layer.uncounted else quantity(layer.macs),
            quantity(layer.params),
            bytes_text(layer.activation_bytes),
        )
        for layer in report.layers
    ]


def scheme_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Schemes side by side."""
    return [
        (
            scheme.name,
            scheme.source,
            shape_text(scheme.output_shape),
            per_axis([str(axis.size) for axis in scheme.field]),
            share_text(scheme.coverage or 0.0),
            "not known" if scheme.unread is None else share_text(float(scheme.unread)),
            quantity(scheme.macs),
            bytes_text(scheme.peak_memory_bytes),
        )
        for scheme in found
    ]


def footprint_picture(report: Inspection, layer: str) -> Mapping[str, object]:
    """The footprint of a layer's middle as images or bars, and what it says; or the reason."""
    if _steps(report, layer) > MOST_STEPS:
        said = f"{layer} reads too much to be counted while you wait; try a smaller input."
        return {"cuts": [], "text": said}
    try:
        footprint = report.footprint(layer)
    except AtrousError as error:
        return {"cuts": [], "text": str(error)}
    box = footprint.effective()
    at = ", ".join(map(str, footprint.at))
    size = "x".join(map(str, footprint.box.shape))
    text = (
        f"Output ({at}) of {layer} reads {footprint.taps:,} of {size} positions "
        f"({share_text(footprint.coverage)}); the frame holds {box}."
    )
    return {"cuts": [_picture(cut) for cut in cuts(footprint)], "text": text}


def _steps(report: Inspection, layer: str) -> int:
    """About how many positions are looked at on the way back from one output to the input."""
    whole = prod(report.network.tensor(report.input).grid.values())
    total = 0
    for one in report.layers:
        total += min(prod(axis.size for axis in one.field), whole)
        if one.name == layer:
            break
    return total


def _picture(cut: Cut) -> dict[str, Any]:
    """One picture: its axes, where it lies, the frame, and how dark each position is."""
    picture: dict[str, Any] = {
        "axes": cut.axes,
        "origin": cut.origin,
        "shape": cut.counts.shape,
        "frame": cut.effective,
        "through": cut.through,
        "most": f"{int(cut.counts.max()):.3g}" if cut.counts.max() > 1e6 else int(cut.counts.max()),
    }
    if cut.shape[0] == 1 and cut.counts.shape[1] <= MOST_BARS:
        most = cut.counts.max()
        picture["bars"] = [float(count) / float(most) for count in cut.counts[0].tolist()]
    else:
        picture["image"] = data_url(_mask(cut))
    return picture


def _mask(cut: Cut) -> bytes:
    """A PNG that lets the page's own ink through: white most, black where nothing is read."""
    with drawing_needs("drawing a footprint"):
        from PIL import Image
    found = levels(cut.counts)
    grey = np.where(found > 0, 60 + found.astype(np.uint16) * 195 // 32, 0).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey, mode="L").save(file, "PNG")
    return file.getvalue()
