"""Writes the table of `README.md` from `results.json`.

python bench/wild/table.py
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent
sys.path[:0] = [str(HOME.parents[1])]

from bench.shared.commit import commits  # noqa: E402
from bench.shared.readme import write  # noqa: E402

FIELDS = (
    "`field` is the local receptive field of the first output, `*` where some op mixes all "
    "positions; of the MACs those that multiply whole numbers are in brackets."
)


def tables(results: dict[str, dict[str, Any]]) -> str:
    """The figures, what is not complete and why, and every file."""
    counts = Counter(found["status"] for found in results.values())
    packages = {name.partition("/")[0] for name in results}
    probed = [found for found in results.values() if found.get("compared")]
    compared, denied, silent = (
        sum(found[key] for found in probed) for key in ("compared", "denied", "silent")
    )
    wrong = [name for name, found in results.items() if found.get("denied") or found.get("shapes")]
    lines = [
        f"{len(results)} different files of {len(packages)} packages, at "
        f"{commits(found.get('commit') for found in results.values())}: "
        + ", ".join(f"{count} {status}" for status, count in counts.most_common())
        + ".",
        "",
        f"{len(probed)} complete files ran in ONNX Runtime: {compared:,} pairs of an input and an "
        f"output position compared, {denied} in which an output changed that is said not to read "
        f"the input, {silent:,} in which none changed though one is said to be read (saturated, "
        "rectified or rounded away, or a place that the data did not choose). "
        + (f"Wrong: {', '.join(wrong)}." if wrong else "Every shape is the one that came out."),
        "",
        "## Not complete",
        "",
        "| file | is | because |",
        "| --- | --- | --- |",
    ]
    for name, found in results.items():
        if found["status"] != "complete":
            reasons = found.get("reason") or "; ".join(found.get("reasons", [])[:2])
            lines.append(f"| {name} | {found['status']} | {_cell(reasons)} |")
    lines += [
        "",
        "## All",
        "",
        FIELDS,
        "",
        "| file | is | layers | field | MACs | compared |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(name, found) for name, found in results.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, found: dict[str, Any]) -> str:
    """One file."""
    fields = found.get("fields") or [[]]
    field = "x".join(map(str, fields[0])) + "*" * bool(found.get("global"))
    macs = _short(found["macs"]) if "macs" in found else "-"
    if found.get("integer_macs"):
        macs += f" ({_short(found['integer_macs'])})"
    compared = str(found["compared"]) if "compared" in found else _cell(found.get("probe", "-"))
    cells = (name, found["status"], str(found.get("layers", "-")), field or "-", macs, compared)
    return f"| {' | '.join(cells)} |"


def _short(count: int) -> str:
    """A count with three digits."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def _cell(text: str) -> str:
    """Text that fits into a table."""
    return " ".join(text.split()).replace("|", "\\|")[:220]


if __name__ == "__main__":
    write(HOME, tables)
