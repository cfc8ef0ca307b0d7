"""What the page shows of a report, as plain data: rows of tables, the footprint, the headline."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import log, prod
from struct import pack
from typing import Any
from zlib import compress, crc32

from atrous.analysis import Comparison, Inspection
from atrous.analysis.chain import ChainFootprint, chain_footprint
from atrous.analysis.effective import Effective
from atrous.draw.units import at_least, bytes_text, per_axis, quantity, shape_text, share_text

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
    footprint = chain_footprint(report.network, report[layer].tensor, report.input)
    if footprint is None:
        return {"cuts": [], "text": f"What {layer} reads is no product of its axes."}
    box = footprint.effective()
    at = ", ".join(map(str, footprint.at))
    size = "x".join(map(str, footprint.shape))
    text = (
        f"Output ({at}) of {layer} reads {footprint.taps:,} of {size} positions "
        f"({share_text(footprint.coverage)}); the frame holds {box}."
    )
    return {"cuts": _pictures(footprint, box), "text": text}


def _steps(report: Inspection, layer: str) -> int:
    """About how many positions are looked at on the way back from one output to the input."""
    whole = prod(report.network.tensor(report.input).grid.values())
    total = 0
    for one in report.layers:
        total += min(prod(axis.size for axis in one.field), whole)
        if one.name == layer:
            break
    return total


def _pictures(footprint: ChainFootprint, box: Effective) -> list[dict[str, Any]]:
    """One axis as a row, two as a plane, three as three planes through the middle."""
    rank = len(footprint.axes) if prod(footprint.shape) else 0
    if rank == 3:
        planes = ((1, 2, 0), (0, 2, 1), (0, 1, 2))
        return [_picture(footprint, box, down, across, rest) for down, across, rest in planes]
    return [_picture(footprint, box, rank - 2 if rank == 2 else None, rank - 1)] if rank else []


def _picture(
    footprint: ChainFootprint,
    box: Effective,
    down: int | None,
    across: int,
    rest: int | None = None,
) -> dict[str, Any]:
    """One picture: its axes, where it lies, the frame, and how dark each position is."""
    axes, factor, through = footprint.axes, 1, None
    if rest is not None:
        at = box.origin[rest] - footprint.origin[rest] + box.size[rest] // 2
        factor, through = footprint.counts[rest][at], (axes[rest], footprint.origin[rest] + at)
    rows = [1] if down is None else [factor * count for count in footprint.counts[down]]
    columns = footprint.counts[across]
    most = max(rows) * max(columns)
    picture: dict[str, Any] = {
        "axes": ("" if down is None else axes[down], axes[across]),
        "origin": (0 if down is None else footprint.origin[down], footprint.origin[across]),
        "shape": (len(rows), len(columns)),
        "frame": (
            0 if down is None else box.origin[down],
            box.origin[across],
            1 if down is None else box.size[down],
            box.size[across],
        ),
        "through": through,
        "most": f"{most:.3g}" if most > 1e6 else most,
    }
    if down is None and len(columns) <= MOST_BARS:
        picture["bars"] = [count / most for count in columns]
    else:
        picture["image"] = _data_url(_grey_png(_greys(rows, columns)))
    return picture


def _greys(rows: Sequence[int], columns: Sequence[int]) -> list[bytes]:
    """How dark each position is: 0 where nothing is read, else by the logarithm of its paths.

    Logarithms are whole numbers of small steps, so that those of a row and a column add up to the
    place of their shade in one table of all of them.
    """
    logs = [{count: log(count) for count in set(along) if count} for along in (rows, columns)]
    if not all(logs):
        return [bytes(len(columns))] * len(rows)
    low = [min(one.values()) for one in logs]
    span = sum(max(one.values()) for one in logs) - sum(low)
    if not span:
        # All alike are as dark as the most.
        low, span = [low[0], low[1] - 1], 1.0
    fine = _FINE / span
    up, along = (
        {count: round((value - least) * fine) for count, value in one.items()}
        for one, least in zip(logs, low, strict=True)
    )
    # The few different counts of the columns, each with what stands for it in a row of shades.
    kinds = list(along)
    place = dict(zip(kinds, range(len(kinds)), strict=True)) | {0: len(kinds)}
    coded = bytes(map(place.__getitem__, columns)) if len(kinds) < 256 else b""
    made = {0: bytes(len(columns))}
    for count, first in up.items():
        shades = bytes([_SHADES[first + along[kind]] for kind in kinds]) + b"\0"
        made[count] = (
            coded.translate(shades.ljust(256))
            if coded
            else bytes([shades[place[kind]] for kind in columns])
        )
    return [made[count] for count in rows]


_APART = 1 << 12
_FINE = 31 * _APART
_SHADES = b"".join(bytes((60 + (1 + step) * 195 // 32,)) * _APART for step in range(32))
_SHADES = _SHADES[_APART // 2 :]
"""Of 32 greys, the one nearest to each step from the fewest paths to the most."""


def _grey_png(rows: Sequence[bytes]) -> bytes:
    """A grey PNG that lets the page's own ink through: white most, black where nothing is read."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return pack(">I", len(content)) + kind + content + pack(">I", crc32(kind + content))

    head = pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    body = compress(b"".join(b"\0" + row for row in rows), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _data_url(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode('ascii')}"
