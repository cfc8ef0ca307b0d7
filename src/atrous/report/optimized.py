"""What `optimize` did, in words and a table: the whole first, then a row for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from atrous.draw.units import ms_text, shape_text, shortened
from atrous.optimization.records import EngineTime, Explanation, LayerChoice
from atrous.report.lines import GAP, Column, Line, Look, Span, line, table, wrapped
from atrous.report.view import LinesView
from atrous.shown import how_many, some, view

__all__ = ["ExplanationView"]

_INDENT = 14
_OURS = 2
"""The original and ours: a table of engines has more."""
_PLAIN = "torch"
_TELLS = 0.0005
"""Milliseconds: less is shown as nothing."""
_MODES = {
    "graph": "one graph, weights folded and packed",
    "layers": "layer by layer",
    "engine": "the whole by",
    "original": "the original, unchanged",
}


@view.register(Explanation)
@dataclass(frozen=True, slots=True)
class ExplanationView(LinesView):
    """Times of the whole, how it runs, and the table; `top` keeps that many rows.

    Where there are more rows than `top`, the slowest before are kept, still in order.
    """

    record: Explanation
    top: int | None = None

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        out = [_opening(found), *_facts(found, look)]
        if len(found.engines) > _OURS:
            out += [(), *table(_engine_columns(found), look)]
        if found.layers:
            rows = _shown(found.layers, self.top)
            out += [(), *table(_columns(rows, look), look)]
            if len(rows) < len(found.layers):
                left = len(found.layers) - len(rows)
                out.append(line(Span(f"and {how_many(left, 'more layer')}: see --all", "dim")))
        return out

    def plot(self, kind: str = "", *, image: object = None, beside: object = None) -> Any:  # noqa: ARG002
        from atrous.draw.offline import offline
        from atrous.draw.timings import explanation_chart

        return offline(explanation_chart(self.record))


def _opening(found: Explanation) -> Line:
    times = f"{ms_text(found.ms_before)} -> {ms_text(found.ms_after)}"
    if found.mode == "original":
        return line(Span(f"{found.model}: "), Span("kept as it is", "bold yellow"), f": {times}")
    return line(
        Span(f"{found.model}: "),
        Span(f"{found.ratio:.2f} times as fast", "bold cyan"),
        Span(f": {times}", "bold"),
    )


def _facts(found: Explanation, look: Look) -> Iterator[Line]:
    for note in found.notes:
        yield from wrapped(Span("note", "bold"), note, _INDENT, look)
    runs = _MODES[found.mode]
    if found.mode == "graph":
        runs += ", channels last" if found.layout == "channels_last" else ", channels first"
    if found.mode == "layers" and found.layout == "channels_last":
        runs += ", channels last"
    if found.mode == "engine":
        runs += f" {found.engine}"
    if found.training:
        runs += ", with gradients"
    if found.layers and found.mode != "graph":
        runs += "; below, each layer alone"
    yield from wrapped(Span("runs as", "bold"), runs, _INDENT, look)
    yield from wrapped(
        Span("difference", "bold"),
        f"{_difference_of(found.max_difference)} of the largest output",
        _INDENT,
        look,
    )
    spreads = [
        f"{one.engine} {_quartiles(one)}" for one in found.engines[:_OURS] if one.ms is not None
    ]
    if len(found.engines) <= _OURS and spreads:
        said = f"{', '.join(spreads)} (quartiles of turns)"
        yield from wrapped(Span("spread", "bold"), said, _INDENT, look)
    for one in found.engines:
        if one.why:
            yield from wrapped(Span("left out", "bold"), f"{one.engine}: {one.why}", _INDENT, look)
    by_reason: dict[str, list[str]] = {}
    for row in found.layers:
        if row.slow_path:
            by_reason.setdefault(row.slow_path, []).append(row.layer)
    for reason, layers in by_reason.items():
        said = f"{some(layers)}: before by {reason.replace('`', '')}."
        yield from wrapped(Span("slow path", "bold"), said, _INDENT, look)
    shapes = ", ".join(shape_text(shape) for shape in found.input)
    yield from wrapped(Span("input", "bold"), shapes, _INDENT, look)
    versions = ", ".join(f"{name} {version}" for name, version in found.versions)
    threads = how_many(found.threads, "thread")
    yield from wrapped(
        Span("measured", "bold"), f"{found.machine}, {threads}, {versions}", _INDENT, look
    )


def _shown(layers: tuple[LayerChoice, ...], top: int | None) -> tuple[LayerChoice, ...]:
    if top is None or len(layers) <= top:
        return layers
    slow = sorted(range(len(layers)), key=lambda at: -layers[at].ms_before)[:top]
    return tuple(layers[at] for at in sorted(slow))


def _columns(rows: tuple[LayerChoice, ...], look: Look) -> list[Column]:
    """A column for each figure; of rounding as much as the width allows."""

    def cells(texts: list[str]) -> tuple[Span, ...]:
        return tuple(Span(text) for text in texts)

    errors, ratios = [_rounding(row) for row in rows], [_of_direct(row) for row in rows]
    ways = [[Column("error (direct)", cells(errors))], [Column("of direct", cells(ratios))], []]
    tried = [
        [
            Column("layer", cells([row.layer for row in rows]), right=False, shrink=least),
            Column("op", cells([row.op for row in rows]), right=False, shrink=14),
            Column("strategy", tuple(_strategy(row) for row in rows), right=False),
            Column("before", cells([_time(row.ms_before) for row in rows])),
            Column("after", cells([_time(row.ms_after) for row in rows])),
            Column("difference", cells([_difference_of(row.max_difference) for row in rows])),
            *rounded,
        ]
        for rounded in (ways if any(errors) else ways[-1:])
        for least in (12, 8)
    ]

    def width(columns: list[Column]) -> int:
        each = [column.within(column.least, look).width for column in columns]
        return sum(each) + GAP * (len(each) - 1)

    return next((one for one in tried if width(one) <= look.width), tried[-1])


def _time(ms: float) -> str:
    """The time of a layer; unknown where the clock gave less than it can tell."""
    return ms_text(ms) if ms >= _TELLS else "?"


def _of_direct(row: LayerChoice) -> str:
    """The rounding of a layer's sums in times of what the definition's round off."""
    if row.error is None or not row.direct_error:
        return ""
    return f"{row.error / row.direct_error:.1f}x"


def _engine_columns(found: Explanation) -> list[Column]:
    """What the whole took by each engine that was timed; the one handed out stands out."""

    def cells(texts: Iterable[str]) -> tuple[Span, ...]:
        return tuple(
            Span(text, "cyan" if one.engine == found.engine else "")
            for text, one in zip(texts, each, strict=True)
        )

    each = [one for one in found.engines if one.ms is not None]
    return [
        Column("engine", cells(one.engine for one in each), right=False),
        Column("whole", cells(ms_text(one.ms or 0.0) for one in each)),
        Column("quartiles", cells(map(_quartiles, each))),
        Column("difference", cells(_difference_of(one.difference) for one in each)),
    ]


def _quartiles(one: EngineTime) -> str:
    if one.low is None or one.high is None:
        return ""
    return f"{ms_text(one.low).removesuffix(' ms')} to {ms_text(one.high)}"


def _rounding(row: LayerChoice) -> str:
    """What the layer's sums round off, beside what the definition's do."""
    if row.error is None or row.direct_error is None:
        return ""
    return f"{row.error:.1e} ({row.direct_error:.1e})"


def _strategy(row: LayerChoice) -> Span:
    return Span(shortened(row.strategy, 20), "" if row.strategy == _PLAIN else "cyan")


def _difference_of(difference: float | None) -> str:
    if difference is None:
        return "?"
    return f"{difference:.1e}" if difference else "0"
