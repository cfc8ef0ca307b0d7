"""Writes the tables of README.md from `results.json`: `python bench/models/table.py [FILE]`.

With a file it prints them instead.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.shared.commit import commits
from bench.shared.machine import sentence
from bench.shared.readme import write

HERE = Path(__file__).parent
OURS, ALL = "atrous", "atrous, all engines"
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


def ours(entries: list[Entry]) -> list[str]:
    """Ours alone, and with all engines where one of the runs had that."""
    return [OURS, *([ALL] if any(ALL in e["contestants"] for e in entries) else [])]


def times(entries: list[Entry]) -> Iterator[str]:
    """Milliseconds of everybody."""
    columns = (*ours(entries), *TORCH, *OTHERS)
    yield from head("model", "input", *columns)
    for entry in entries:
        cells = [milliseconds(time(entry, name)) for name in columns]
        yield row(entry["name"], "x".join(map(str, entry["input"])), *cells)


def ratios(entries: list[Entry]) -> Iterator[str]:
    """Everybody's time over ours, and the errors side by side."""
    yield from head(
        *("model", "eager", "fastest of PyTorch", *OTHERS, "fastest of all", "error", "eager's"),
        *("optimized in, s", "again, s"),
    )
    for entry in entries:
        mine = entry["contestants"].get(OURS, {})
        plain = entry["contestants"].get("PyTorch", {})
        yield row(
            entry["name"],
            number(ratio(entry, "PyTorch")),
            number(ratio(entry, *TORCH)),
            *(number(ratio(entry, name)) for name in OTHERS),
            number(ratio(entry, *TORCH, *OTHERS)),
            f"{mine['error']:.0e}" if mine else "-",
            f"{plain['error']:.0e}" if plain else "-",
            mine.get("optimized_s", mine.get("prepared_s", "-")),
            mine.get("again_s", "-"),
        )
    yield row(
        "**geometric mean**",
        number(mean(ratio(e, "PyTorch") for e in entries)),
        number(mean(ratio(e, *TORCH) for e in entries)),
        *(number(mean(ratio(e, name) for e in entries)) for name in OTHERS),
        number(mean(ratio(e, *TORCH, *OTHERS) for e in entries)),
        *[""] * 4,
    )


def of_all_engines(entries: list[Entry]) -> Iterator[str]:
    """What the best of all engines reaches."""
    held = [e for e in entries if ALL in e["contestants"]]
    if not held:
        return
    yield from head("model", "engine", "eager", "fastest peer", "optimized in, s", "again, s")
    for entry in held:
        mine = entry["contestants"][ALL]
        yield row(
            entry["name"],
            mine.get("engine", "-"),
            number(time(entry, "PyTorch") / time(entry, ALL)),
            number(time(entry, *TORCH, *OTHERS) / time(entry, ALL)),
            mine["optimized_s"],
            mine["again_s"],
        )
    yield row(
        "**geometric mean**",
        "",
        number(mean(time(e, "PyTorch") / time(e, ALL) for e in held)),
        number(mean(time(e, *TORCH, *OTHERS) / time(e, ALL) for e in held)),
        *[""] * 2,
    )


def disturbed(entries: list[Entry]) -> str:
    """The share of turns that something else disturbed, of those that were run with that watch."""
    turns = [e["turns"] for e in entries if "turns" in e]
    if not turns:
        return ""
    count, bad, kept = (sum(t[key] for t in turns) for key in ("all", "disturbed", "kept"))
    most = max(
        (e for e in entries if "turns" in e),
        key=lambda e: e["turns"]["disturbed"] / max(e["turns"]["all"], 1),
    )
    share = most["turns"]["disturbed"] / max(most["turns"]["all"], 1)
    return (
        f"{bad / max(count, 1):.0%} of {count} turns were disturbed and repeated, most in "
        f"{most['name']} ({share:.0%}); {kept} count all the same, because every repeat was "
        f"disturbed as well. Measured at {commits(e.get('commit') for e in entries)}, in "
        f"{sum(e['seconds'] for e in entries) / 60:.0f} minutes."
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
        disturbed(entries),
        "### Milliseconds",
        "\n".join(times(entries)),
        "### Times ours",
        BESIDE,
        "\n".join(ratios(entries)),
        "### The best of all engines" if ALL in ours(entries) else "",
        "\n".join(of_all_engines(entries)),
        "### What runs the layers",
        "\n".join(chosen(entries)),
        "\n".join(missing(entries)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    write(HERE, tables)
