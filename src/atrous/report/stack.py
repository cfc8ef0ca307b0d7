"""How a text in the stack notation was read: one line a layer, branches as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atrous.network.stack import StackJoin, StackLayer, StackPart
from atrous.report.lines import Column, Line, Look, Span, line, table
from atrous.report.view import LinesView

__all__ = ["StackView", "parts_to_dict"]

_CALLED = {
    "conv": "convolution",
    "dw": "depthwise",
    "max": "max pool",
    "avg": "mean pool",
    "tconv": "transposed",
    "up": "upsampling",
    "global": "global mean",
    "concat": "concat",
    "add": "sum",
}
_TITLES = ("kernel", "stride", "dilation", "padding", "channels")
_SHORTEST = 8


@dataclass(frozen=True, slots=True)
class StackView(LinesView):
    """The parts of a stack as a table; usual values stand in parentheses."""

    parts: Sequence[StackPart]

    def lines(self, look: Look) -> list[Line]:
        rows = list(_rows(self.parts, "", look))
        names = Column("layer", tuple(Span(row.name, "bold") for row in rows), right=False)
        texts = Column("typed", tuple(Span(row.text) for row in rows), False, _SHORTEST)
        kinds = Column("is", tuple(Span(row.kind) for row in rows), right=False)
        values = [
            Column(title, tuple(_cell(row.values[i]) for row in rows))
            for i, title in enumerate(_TITLES)
        ]
        note = "in parentheses: what is usual where nothing is written"
        return [*table([names, texts, kinds, *values], look), line(Span(note, "dim"))]


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    text: str
    kind: str
    values: tuple[str, ...] = ("",) * len(_TITLES)


def _rows(parts: Sequence[StackPart], lead: str, look: Look) -> Iterator[_Row]:
    """The rows of parts; `lead` stands before their names."""
    for part in parts:
        if isinstance(part, StackLayer):
            yield _Row(lead + part.name, str(part), _CALLED[part.kind], _values(part))
            continue
        for place, branch in enumerate(part.branches, 1):
            first, rest = _signs(place, look)
            if not branch:
                yield _Row(lead + first, "(empty)", "identity")
            for i, row in enumerate(_rows(branch, "", look)):
                yield _Row(lead + (rest if i else first) + row.name, row.text, row.kind, row.values)
        yield _Row(lead + _signs(0, look)[0] + part.name, "", _CALLED[part.how])


def _signs(place: int, look: Look) -> tuple[str, str]:
    """What leads the first line and the others of a branch, of the join where `place` is 0."""
    if place == 0:
        return ("└─ " if look.unicode else "`- "), "   "
    if look.unicode:
        return ("┌─ " if place == 1 else "├─ "), "│  "
    return (",- " if place == 1 else "|- "), "|  "


def _values(layer: StackLayer) -> tuple[str, ...]:
    """Kernel, stride, dilation, padding and channels as shown."""
    if layer.kind == "global":
        return ("",) * len(_TITLES)
    if layer.kind == "up":
        return ("", _listed_numbers(layer.stride), "", "", "")
    padding = layer.padding if isinstance(layer.padding, str) else _listed_numbers(layer.padding)
    pool = layer.kind in ("max", "avg")
    kept = "" if pool else "(kept)"
    return (
        _listed_numbers(layer.kernel),
        _usual(_listed_numbers(layer.stride), "1"),
        _usual(_listed_numbers(layer.dilation), "1"),
        _usual(padding, "same"),
        kept if layer.channels is None else str(layer.channels),
    )


def _listed_numbers(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def _usual(text: str, usual: str) -> str:
    return f"({text})" if text == usual else text


def _cell(text: str) -> Span:
    return Span(text, "dim" if text.startswith("(") else "")


def parts_to_dict(parts: Sequence[StackPart]) -> list[dict[str, object]]:
    """The parts as plain data."""
    return [
        {
            "name": part.name,
            "kind": part.how,
            "branches": [parts_to_dict(branch) for branch in part.branches],
        }
        if isinstance(part, StackJoin)
        else {
            "name": part.name,
            "kind": part.kind,
            "text": str(part),
            "kernel": list(part.kernel),
            "stride": list(part.stride),
            "dilation": list(part.dilation),
            "padding": part.padding if isinstance(part.padding, str) else list(part.padding),
            "channels": part.channels,
        }
        for part in parts
    ]
