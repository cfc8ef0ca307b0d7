"""Writes the tables of README.md and of docs/experiments.md from `results.json`.

`python experiments/table.py`. A table stands between `<!-- table NAME -->` and `<!-- end -->`; what
is foretold is judged here, at 95% for all predictions of a task together (Bonferroni).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.run import RESULTS, TASKS
from experiments.sequence import LAGS, paths
from experiments.sequence import schedules as listening
from experiments.shared import Outcome, Prediction, Scores, by_seed, difference, interval

__all__ = ["DOCUMENTS", "filled", "judged", "scores_of", "whole"]

HERE = Path(__file__).resolve().parent
DOCUMENTS = (HERE / "README.md", HERE.parent / "docs" / "experiments.md")
BLOCK = re.compile(r"(<!-- table ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)

MISSING = "Not trained yet."

Results = dict[str, Any]


def scores_of(ours: Results) -> Scores:
    """By schedule and case, by seed, the measures."""
    found: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
    for key, scores in ours["runs"].items():
        name, case, seed = key.split(" / ")
        found.setdefault((name, int(case)), {})[int(seed)] = scores
    return found


def whole(found: Results, name: str) -> bool:
    """Whether every schedule of the task has two seeds or more at each of its cases.

    >>> whole({}, "sequence")
    False
    """
    if name not in found:
        return False
    scores, task = scores_of(found[name]), TASKS[name]
    every = [(schedule, case) for schedule in task.schedules() for case in task.cases]
    return all(len(scores.get(one, ())) > 1 for one in every)


def judged(found: Results, name: str) -> list[tuple[Prediction, Outcome]]:
    """Each prediction of a task, and what came of it."""
    ours = found[name]
    made = TASKS[name].predictions(ours["facts"])
    scores = scores_of(ours)
    return [(each, each.judge(scores, 1 - 0.05 / len(made))) for each in made]


def percent(values: list[float]) -> str:
    """The mean and half its 95% interval, in hundredths.

    >>> percent([0.5, 0.6, 0.7])
    '60.0 ± 24.8'
    """
    found = interval(values)
    return f"{100 * found.mean:.1f} ± {100 * (found.high - found.mean):.1f}"


def price(macs: int) -> str:
    return f"{macs / 1e6:.2f} M"


def outcomes(found: Results, name: str) -> str:
    """A row a schedule: what was foretold of it, what it costs, what it reached."""
    ours = found[name]
    scores = scores_of(ours)
    measures = list(next(iter(ours["runs"].values())))
    head = ["schedule", "rates", "output stride", "field", "read", "grid", "even", "MACs", "memory"]
    lines = [row(head + measures), row(["---"] * (len(head) + len(measures)))]
    for schedule, fact in ours["facts"].items():
        here = list(scores.get((schedule, 0), {}).values())
        cells = [
            schedule,
            fact["rates"],
            fact["output_stride"],
            fact["size"],
            fact["taps"],
            fact["grid"],
            f"{fact['even']:.0%}",
            price(fact["macs"]),
            f"{fact['memory'] / 1024:.0f} KiB",
        ]
        reached = [percent([one[what] for one in here]) if here else "" for what in measures]
        lines.append(row(cells + reached))
    return "\n".join(lines)


def lags(found: Results) -> str:
    """A row a schedule, a column a lag: accuracy, with the paths that read that lag."""
    ours = found["sequence"]
    scores = scores_of(ours)
    lines = [row(["schedule", *LAGS]), row(["---"] * (len(LAGS) + 1))]
    for name, schedule in listening().items():
        cells = [name]
        for lag in LAGS:
            values = [one["accuracy"] for one in scores[name, lag].values()]
            count = paths(schedule, lag)
            cells.append(f"{100 * float(np.mean(values)):.1f} ({count or 'unread'})")
        lines.append(row(cells))
    return "\n".join(lines)


def prices(found: Results) -> str:
    """A row a schedule of the sequences: field, cost."""
    head = ["schedule", "rates", "field", "read", "even", "MACs", "memory"]
    lines = [row(head), row(["---"] * len(head))]
    for schedule, fact in found["sequence"]["facts"].items():
        lines.append(
            row(
                [
                    schedule,
                    fact["rates"],
                    fact["size"],
                    fact["taps"],
                    f"{fact['even']:.0%}",
                    price(fact["macs"]),
                    f"{fact['memory'] / 1024:.1f} KiB",
                ]
            )
        )
    return "\n".join(lines)


def foretold(found: Results, name: str) -> str:
    """A row a prediction, with what came of it."""
    seen = "difference in points" if name != "sequence" else "seen"
    lines = [row(["foretold", "outcome", seen]), row(["---"] * 3)]
    for each, outcome in judged(found, name):
        verdict = f"**{outcome.verdict}**" if outcome.verdict != "held" else "held"
        lines.append(row([each.says, verdict, outcome.seen]))
    return "\n".join(lines)


CHANGES = (
    ("output stride 1", "2", "doubling", "hybrid 2"),
    ("", "4", "doubling", "hybrid 4"),
    ("", "8", "doubling", "strided"),
    ("", "8, ten times the steps", "doubling", "strided, longer"),
    ("a field of 33", "11", "doubling", "plain"),
    ("no holes", "11 of 31 read", "doubling", "constant"),
    ("these holes", "closed by `degrid`", "constant", "constant, degridded"),
    ("doubling rates", "their sub-grids joined", "doubling", "doubling, degridded"),
)
"""What is changed from what into what, and the two schedules."""


def changes(found: Results) -> str:
    """A row a change, a column a measure: from which mean to which, and whether that is told apart.

    Bold where the paired 95% interval excludes no difference, each by itself.
    """
    measures = [("segmentation", "line"), ("segmentation", "digits")]
    titles = ["from", "to", "MACs", "lines of 1 pixel", "digits, segmented"]
    if whole(found, "classification"):
        measures.append(("classification", "accuracy"))
        titles.append("digits, classified")
    lines = [row(titles), row(["---"] * len(titles))]
    macs = {name: fact["macs"] for name, fact in found["segmentation"]["facts"].items()}
    for before, after, old, new in CHANGES:
        cells = [before, after, f"x{macs[new] / macs[old]:.2f}"]
        for task, measure in measures:
            scores = scores_of(found[task])
            olds, news = (by_seed(scores, name, measure) for name in (old, new))
            between = difference(news, olds)
            said = " to ".join(f"{100 * np.mean(list(one.values())):.0f}%" for one in (olds, news))
            apart = between.low > 0 or between.high < 0
            cells.append(f"**{said}**" if apart else said)
        lines.append(row(cells))
    return "\n".join(lines)


def counts(found: Results) -> str:
    """How many predictions held, by task; on how many seeds."""
    lines = [row(["task", "seeds", "trainings", "foretold", "held", "open", "failed"])]
    lines.append(row(["---"] * 7))
    for name in TASKS:
        if not whole(found, name):
            continue
        verdicts = [outcome.verdict for _, outcome in judged(found, name)]
        seeds = min(len(trained) for trained in scores_of(found[name]).values())
        tally = [verdicts.count(word) for word in ("held", "open", "failed")]
        lines.append(row([name, seeds, len(found[name]["runs"]), len(verdicts), *tally]))
    return "\n".join(lines)


def tuning(found: Results) -> str:
    """A row a task and schedule, a column a learning rate, on the tuning seed."""
    tried = {name: found.get(name, {}).get("tuning", {}) for name in TASKS}
    rates = sorted({float(key.split(" / ")[1]) for n in TASKS for key in tried[n]})
    if not rates:
        return MISSING
    lines = [row(["task", "schedule", *(f"{rate:g}" for rate in rates)])]
    lines.append(row(["---"] * (len(rates) + 2)))
    for name, task in TASKS.items():
        for schedule in task.tuned:
            cells = [tried[name].get(f"{schedule} / {rate:g}") for rate in rates]
            if any(cell is not None for cell in cells):
                shown = ["" if cell is None else f"{100 * cell:.1f}" for cell in cells]
                lines.append(row([name, schedule, *shown]))
    return "\n".join(lines)


def row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def tables() -> dict[str, Callable[[Results], str]]:
    """Each table by its name between the marks."""

    def of(name: str, table: Callable[..., str], *more: str) -> Callable[[Results], str]:
        return lambda found: table(found, *more) if whole(found, name) else MISSING

    made: dict[str, Callable[[Results], str]] = {"counts": counts, "tuning": tuning}
    made["changes"] = of("segmentation", changes)
    made |= {"lags": of("sequence", lags), "prices": of("sequence", prices)}
    for name in TASKS:
        made[f"{name} foretold"] = of(name, foretold, name)
        if name != "sequence":
            made[name] = of(name, outcomes, name)
    return made


def filled(text: str, found: Results) -> str:
    """The document with the tables of these results in it."""
    known = tables()
    return BLOCK.sub(lambda at: f"{at[1]}\n{known[at[2]](found)}\n\n{at[3]}", text)


def main() -> None:
    """Fills both documents."""
    found = json.loads(RESULTS.read_text())
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main()
