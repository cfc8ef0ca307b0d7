"""Writes the table of README.md from `results.json`: `python bench/convert/table.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.shared.commit import commits

HERE = Path(__file__).parent
MARK = "<!-- written by table.py -->"


def largest(errors):
    """The largest relative error over all sizes."""
    return max((float(error) for error, _ in errors.values()), default=float("nan"))


def cell(entry):
    """What came of one output stride."""
    if "refused" in entry:
        return "refused"
    text = entry["verdict"]
    if entry["errors"] and entry["verdict"] != "broken":
        text += f" {largest(entry['errors']):.0e}"
    gated = entry.get("gated")
    if gated:
        if "refused" in gated:
            text += "; gated: not run"
        else:
            text += f"; gated: {gated['verdict']} {largest(gated['errors']):.0e}"
    return text


def rows(results):
    """One row a model."""
    for name, found in results.items():
        if "failed" in found:
            yield f"| {name} | not made: {found['failed'].splitlines()[0][:80]} | | | | |"
            continue
        entries = [found.get(stride, {}) for stride in ("16", "8", "4")]
        cells = [cell(entry) if entry else "" for entry in entries]
        kept = [e for e in entries if "class" in e]
        same = "yes" if all(e["class"] and e["keys"] for e in kept) and kept else "no"
        seconds = max((e["seconds"] for e in kept), default=0)
        yield f"| {name} | {' | '.join(cells)} | {same if kept else ''} | {seconds} |"


def document(before, results):
    """The README with the table of these results in it."""
    exact = approximate = 0
    for found in results.values():
        entries = [e for e in found.values() if isinstance(e, dict)]
        verdicts = {e.get("verdict", "refused") for e in entries}
        exact += verdicts == {"exact"} and max(largest(e["errors"]) for e in entries) <= 1e-12
        approximate += "approximate" in verdicts
    summary = (
        f"{len(results)} models: {exact} exact at every output stride and size, to a relative "
        f"error of at most 1e-12; {approximate} approximate somewhere. Made at "
        f"{commits(found.get('commit') for found in results.values())}."
    )
    lines = [
        summary,
        "",
        "| model | 16 | 8 | 4 | class and keys kept | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows(results),
        "",
    ]
    return before.split(MARK)[0] + MARK + "\n\n" + "\n".join(lines)


def main():
    """Puts the table into the README."""
    path = HERE / "README.md"
    results = json.loads((HERE / "results.json").read_text())
    path.write_text(document(path.read_text(), results))


if __name__ == "__main__":
    main()
