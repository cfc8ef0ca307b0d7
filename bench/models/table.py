"""Writes the tables of README.md from `results.json`: `python bench/models/table.py [FILE]`.

With a file it prints them instead.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from machine import sentence
from readme import write

HERE = Path(__file__).parent
OURS = "atrous"
TORCH = ("PyTorch", "PyTorch, channels last", "torch.compile", "torch.compile, frozen")
OTHERS = ("ONNX Runtime", "OpenVINO")
BESIDE = (
    "The other's time over ours, above 1 where we are faster. Errors are the largest, relative to "
    "the largest output of the model in float64."
)
Entry = dict[str, Any]


def time(entry: Entry, *names: str) -> float:
    """The smallest median among those; infinite where none took part."""
    found = [entry["contestants"][n]["median_ms"] for n in names if n in entry["contestants"]]
    return min(found, default=math.inf)


def ratio(entry: Entry, *names: str) -> float:
    """Their time over ours: above 1 we are faster."""
    theirs, mine = time(entry, *names), time(entry, OURS)
    return theirs / mine if math.isfinite(theirs) and math.isfinite(mine) else math.nan


def mean(values: Iterable[float]) -> float:
    logs = [math.log(v) for v in values if math.isfinite(v)]
    return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan


def milliseconds(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"


def number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*names: str) -> list[str]:
    return [row(*names), row(*("---" for _ in names))]


def times(entries: list[Entry]) -> Iterator[str]:
    """Milliseconds of everybody."""
    columns = (OURS, *TORCH, *OTHERS)
    yield from head("model", "input", *columns)
    for entry in entries:
        cells = [milliseconds(time(entry, name)) for name in columns]
        yield row(entry["name"], "x".join(map(str, entry["input"])), *cells)


def ratios(entries: list[Entry]) -> Iterator[str]:
    """Everybody's time over ours, and the errors side by side."""
    yield from head(
        "model", "eager", "fastest of PyTorch", *OTHERS, "error", "eager's", "optimized in, s"
    )
    for entry in entries:
        mine = entry["contestants"].get(OURS, {})
        plain = entry["contestants"].get("PyTorch", {})
        yield row(
            entry["name"],
            number(ratio(entry, "PyTorch")),
            number(ratio(entry, *TORCH)),
            *(number(ratio(entry, name)) for name in OTHERS),
            f"{mine['error']:.0e}" if mine else "-",
            f"{plain['error']:.0e}" if plain else "-",
            mine.get("prepared_s", "-"),
        )
    yield row(
        "**geometric mean**",
        number(mean(ratio(e, "PyTorch") for e in entries)),
        number(mean(ratio(e, *TORCH) for e in entries)),
        *(number(mean(ratio(e, name) for e in entries)) for name in OTHERS),
        "",
        "",
        "",
    )


def chosen(entries: list[Entry]) -> Iterator[str]:
    """What ran the layers."""
    for entry in entries:
        found = entry["contestants"].get(OURS, {}).get("strategies", {})
        if found:
            listed = ", ".join(
                f"{name} {count}" for name, count in sorted(found.items(), key=lambda i: -i[1])
            )
            yield f"- {entry['name']}: {listed}"


def missing(entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        for name, why in entry["absent"].items():
            yield f"- {entry['name']}: {name} took no part ({why.splitlines()[0][:120]})"


def tables(found: dict[str, Any]) -> str:
    entries = list(found["models"].values())
    parts = [
        sentence(entries[-1]["machine"]),
        "### Milliseconds",
        "\n".join(times(entries)),
        "### Times ours",
        BESIDE,
        "\n".join(ratios(entries)),
        "### What runs the layers",
        "\n".join(chosen(entries)),
        "\n".join(missing(entries)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    write(HERE, tables)
