"""Times a step of training with `optimize(..., training=True)`, beside PyTorch's own modes.

    python bench/training/speed.py [NAME ...] [--older] [--again] [--quick] [--turns N] [--out FILE]

A step is forward, backward and the optimizer. Each contestant has a process of its own that stands
still outside its turns; all have the same weights, batch and threads. Steps that `speed.json` has
are left out unless `--again`, or `--older` where they are of another commit; it is written after
each, and the table of README.md at the end.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from steps import OURS, PEERS, STEPS, Step, Task, contestant, prepare

from bench.shared.alone import Build, Contest, FailedError, GoneError, Limits, alone
from bench.shared.asked import asked_for, write_whole
from bench.shared.commit import commit, commits
from bench.shared.machine import machine, sentence
from bench.shared.readme import between

HERE = Path(__file__).parent
BEGIN, END = "<!-- written by speed.py -->\n", "<!-- until here -->\n"
LIMITS = Limits(build=1800.0, turn=300.0)


def run_step(step: Step, names: list[str], threads: int, turns: int) -> dict[str, Any]:
    """All that is measured of one step."""
    seats: dict[str, Build] = {name: partial(contestant, name, threads) for name in names}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        task = Task(step.name, Path(folder))
        alone(partial(prepare, threads), task, threads, LIMITS.build)
        with Contest(seats, threads, limits=LIMITS) as contest:
            found = contest.run(task, turns=turns, seconds=0.05)
    took = {
        name: found.notes[name]
        | {"median_ms": round(times.median, 2), "min_ms": round(times.least, 2)}
        | {"turns": times.turns, "disturbed": found.disturbed.get(name, 0)}
        for name, times in found.times.items()
    }
    return {
        "name": step.name,
        "batch": list(step.batch),
        "commit": commit(),
        "contestants": took,
        "absent": found.absent,
        "turns": {
            "all": sum(found.attempts.values()),
            "disturbed": sum(found.disturbed.values()),
            "kept": sum(found.kept.values()),
        },
        "seconds": round(time.perf_counter() - start),
    }


def ratio(entry: dict[str, Any], name: str) -> float:
    """Its time over ours."""
    took = entry["contestants"]
    return (
        took[name]["median_ms"] / took[OURS]["median_ms"] if {name, OURS} <= {*took} else math.nan
    )


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    entries = list(results["steps"].values())
    others = [name for name in PEERS if name != OURS]
    heads = ["step", "batch", "ours, ms", *(f"{name}, times ours" for name in others)]
    heads += ["gradients off by", "eager's", "of its own", "eager's", "prepared in, s", "again, s"]
    rows = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for entry in entries:
        took = entry["contestants"]
        if OURS not in took:
            rows.append(f"| {entry['name']} | {entry['absent'].get(OURS, '-')} |")
            continue
        mine, plain = took[OURS], took.get("PyTorch", {})
        cells = [entry["name"], "x".join(map(str, entry["batch"])), f"{mine['median_ms']:.0f}"]
        cells += [f"{ratio(entry, name):.2f}".replace("nan", "-") for name in others]
        for key in ("gradient_error", "gradient_error_own"):
            cells += [f"{one[key]:.0e}" if key in one else "-" for one in (mine, plain)]
        rows.append(f"| {' | '.join([*cells, str(mine['optimized_s']), str(mine['again_s'])])} |")
    count, bad, kept = (sum(e["turns"][k] for e in entries) for k in ("all", "disturbed", "kept"))
    about = (
        f"{sentence(entries[-1]['machine'])} {bad / max(count, 1):.0%} of {count} turns were "
        f"disturbed and repeated, {kept} count all the same. Measured at "
        f"{commits(e['commit'] for e in entries)}."
    )
    return "\n".join([about, "", *rows]) + "\n"


def main() -> None:
    """Runs what is asked for; what is done is in the file after each step."""
    asked = asked_for(__doc__ or "", "steps", PEERS, HERE / "speed.json")
    path, threads = asked.path, asked.threads
    results: dict[str, Any] = {"schema": "atrous.bench.steps/1", "steps": {}}
    if path is not None and path.exists():
        results = json.loads(path.read_text())
    print(sentence(machine(threads)), flush=True)
    for step in STEPS:
        if not asked.names(step.name) or not asked.wants(results["steps"].get(step.name)):
            continue
        about = machine(threads)
        try:
            found = run_step(step, asked.peers, threads, asked.turns)
        except (FailedError, GoneError, RuntimeError) as failure:  # the others are measured
            print(f"{step.name}: not measured: {failure}", flush=True)
            continue
        results["steps"][step.name] = {**found, "machine": about}
        print(f"{step.name}, {found['seconds']} s", flush=True)
        for name, one in found["contestants"].items():
            print(
                f"  {name}: {one['median_ms']:.0f} ms, {ratio(found, name):.2f} times ours; "
                f"gradients off by {one['gradient_error']:.0e}, of a parameter's own "
                f"{one['gradient_error_own']:.0e}"
            )
        for name, why in found["absent"].items():
            print(f"  took no part: {name}: {why}")
        bad = found["turns"]
        print(f"  {bad['disturbed']} of {bad['all']} turns disturbed, {bad['kept']} counted")
        if path is not None:
            write_whole(path, results)
            if path == HERE / "speed.json":
                between(HERE / "README.md", BEGIN, table(results), END)


if __name__ == "__main__":
    main()
