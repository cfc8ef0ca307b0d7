"""The table of README.md, from results.json: `python bench/sizes/table.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.shared.commit import commits
from bench.shared.readme import write

COLUMNS = {
    "period": "period",
    "least": "least",
    "sizes": "sizes",
    "joins": "fail at a join",
    "same": "as large",
    "drops": "drops",
    "aligned": "joins line up",
    "fits": "pad and crop",
    "periods": "a period on",
    "shapes": "other shapes",
    "real": "with numbers",
}


def row(name, found):
    """One model."""
    if "failed" in found:
        gaps = " |" * (len(COLUMNS) + 1)
        return f"| {name} | not measured: {found['failed'].splitlines()[0][:90]}{gaps}"
    values = ["" if found.get(k) is None else found[k] for k in COLUMNS]
    return f"| {name} | {' | '.join(map(str, values))} | {len(found['wrong'])} |"


def tables(results):
    """All models, and the sums in front."""
    held = [found for found in results.values() if "failed" not in found]
    wrong = sum(len(found["wrong"]) for found in held)

    def count(key):
        return f"{sum(found.get(key) or 0 for found in held):,}"

    counted = (
        f"{len(held)} models, {count('sizes')} sizes, of which {count('joins')} fail at a join; "
        f"{count('real')} also run with numbers. Held against the runs beside that: "
        f"{count('same')} times whether outputs are as large as the input, {count('drops')} times "
        f"what is dropped, {count('aligned')} times whether joins line up "
        f"({count('undecided')} are too close to borders to tell), {count('fits')} times `pad` or "
        f"`crop`, {count('periods')} times a size and one a period on, {count('shapes')} shapes "
        f"off the lines and sizes up to 1200. {wrong:,} disagreements. At {count('broken')} sizes "
        "ONNX Runtime pools one position where the standard's formula, rounded down, has none; "
        f"they count as not running. Measured at {commits(found['commit'] for found in held)}."
    )
    return "\n".join(
        [
            counted,
            "",
            f"| model | {' | '.join(COLUMNS.values())} | disagreements |",
            f"| --- |{' --- |' * (len(COLUMNS) + 1)}",
            *(row(name, found) for name, found in results.items()),
            "",
        ]
    )


if __name__ == "__main__":
    write(Path(__file__).parent, tables)
