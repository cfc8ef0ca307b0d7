"""The table of README.md, from results.json: `python bench/sizes/table.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.shared.commit import commits
from bench.shared.readme import write


def row(name, found):
    """One model."""
    if "failed" in found:
        return f"| {name} | not measured: {found['failed'].splitlines()[0][:90]} | | | | | |"
    values = [found[k] for k in ("period", "least", "sizes", "joins", "real")]
    return f"| {name} | {' | '.join(map(str, values))} | {len(found['wrong'])} |"


def tables(results):
    """All models, and the sums in front."""
    held = [found for found in results.values() if "failed" not in found]
    counts = {k: sum(found[k] for found in held) for k in ("sizes", "joins", "real")}
    wrong = sum(len(found["wrong"]) for found in held)
    counted = (
        f"{len(held)} models, {counts['sizes']:,} sizes, of which {counts['joins']:,} fail at a "
        f"join; {counts['real']:,} also run with numbers: {wrong:,} disagreements. Measured at "
        f"{commits(found['commit'] for found in held)}."
    )
    lines = [
        counted,
        "",
        "| model | period | least | sizes | fail at a join | with numbers | disagreements |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(row(name, found) for name, found in results.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write(Path(__file__).parent, tables)
