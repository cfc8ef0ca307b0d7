"""Times whole models: `atrous.optimize` beside every mode of PyTorch, ONNX Runtime and OpenVINO.

    python bench/models/run.py [NAME ...] [--older] [--again] [--quick] [--turns N] [--out FILE]

For each model whose name holds one of the words (all, if none is given), everybody takes turns on
one input with the same threads, each in a process of its own that stands still outside its turns.
Models that the file already has are left out unless `--again`, or, if they are of another commit,
`--older`: what is compared is always of one run, and a run that was cut off goes on where it was.
`table.py` reads the file.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from cases import MODELS, Model
from ways import OURS, PEERS, Task, contestant, prepare

from bench.shared.alone import Build, Contest, FailedError, Found, GoneError, Limits, alone
from bench.shared.asked import asked_for, write_whole
from bench.shared.commit import commit
from bench.shared.machine import machine, sentence
from bench.shared.rounds import Times

HERE = Path(__file__).parent
SCHEMA = "atrous.bench.models/2"
LIMITS = Limits(build=1200.0, turn=120.0)
SECONDS = 0.05  # a turn


def figures(times: Times) -> dict[str, Any]:
    return {
        "median_ms": round(times.median, 3),
        "min_ms": round(times.least, 3),
        "turns": times.turns,
        "calls": times.calls,
    }


def written_files(case: Model, folder: Path, names: list[str], threads: int) -> Task:
    """The files that everybody reads, written by a process that ends."""
    task = Task(case.name, folder)
    export = bool({"ONNX Runtime", "OpenVINO"} & {*names})
    notes = alone(partial(prepare, threads, export), task, threads, LIMITS.build)
    if "no_onnx" in notes:
        print(f"  no ONNX file: {notes['no_onnx']}", flush=True)
    return task


def run_model(
    case: Model, names: list[str], threads: int, turns: int, least: float
) -> tuple[dict[str, Any], float]:
    """All that is measured of one model, by processes that end with it.

    `least` is the reference's best time before, and the second result the best by now.
    """
    seats: dict[str, Build] = {name: partial(contestant, name, threads) for name in names}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        task = written_files(case, Path(folder), names, threads)
        with Contest(seats, threads, limits=LIMITS) as contest:
            contest.least = min(least, contest.least)
            found = contest.run(task, turns=turns, seconds=SECONDS)
    measured = {
        "name": case.name,
        "input": list(case.input),
        "commit": commit(),
        "contestants": {name: entry(name, found) for name in found.times},
        "absent": found.absent,
        "turns": {
            "all": sum(found.attempts.values()),
            "disturbed": sum(found.disturbed.values()),
            "kept": sum(found.kept.values()),
        },
        "seconds": round(time.perf_counter() - start),
    }
    return measured, contest.least


def entry(name: str, found: Found) -> dict[str, Any]:
    """One contestant's notes and times, and how often it was disturbed."""
    return {
        **found.notes[name],
        **figures(found.times[name]),
        "disturbed": found.disturbed.get(name, 0),
        "disturbed_kept": found.kept.get(name, 0),
    }


def line(found: dict[str, Any]) -> str:
    listed = sorted(found["contestants"].items(), key=lambda item: item[1]["median_ms"])
    return "; ".join(f"{name} {c['median_ms']:.1f} ms" for name, c in listed)


def share(turns: dict[str, int]) -> str:
    """How many turns were disturbed, in words."""
    return (
        f"{turns['disturbed'] / max(turns['all'], 1):.0%} of {turns['all']} turns disturbed, "
        f"{turns['kept']} of them counted, because every repeat was disturbed as well"
    )


def read(path: Path | None) -> dict[str, Any]:
    """What the file has; nothing, where it was measured in another way."""
    if path is not None and path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        if found["schema"] == SCHEMA:
            return found
        print(f"{path} was measured in another way ({found['schema']}) and is written anew")
    return {"schema": SCHEMA, "models": {}}


def write(path: Path, results: dict[str, Any]) -> None:
    """The models in their order."""
    order = [case.name for case in MODELS]
    models = dict(sorted(results["models"].items(), key=lambda item: order.index(item[0])))
    write_whole(path, {**results, "models": models})


def main() -> None:
    """Runs what is asked for; what is done is in the file after each model."""
    asked = asked_for(__doc__ or "", "models", PEERS, HERE / "results.json")
    chosen = [case for case in MODELS if asked.names(case.name)]
    path, threads = asked.path, asked.threads
    results = read(path)
    known = {case.name for case in MODELS}
    results["models"] = {k: v for k, v in results["models"].items() if k in known}
    print(sentence(machine(threads)), flush=True)
    least = float("inf")
    total = {"all": 0, "disturbed": 0, "kept": 0}
    for index, case in enumerate(chosen, 1):
        if not asked.wants(results["models"].get(case.name)):
            continue
        about = machine(threads)
        try:
            found, least = run_model(case, asked.peers, threads, asked.turns, least)
        except (FailedError, GoneError, RuntimeError) as failure:  # the others are measured
            print(f"{index}/{len(chosen)} {case.name}: not measured: {failure}", flush=True)
            continue
        results["models"][case.name] = {**found, "machine": about}
        print(f"{index}/{len(chosen)} {case.name}, {found['seconds']} s: {line(found)}")
        for name in (n for n in found["contestants"] if n.startswith(OURS)):
            c = found["contestants"][name]
            print(f"  {name}: optimized in {c['optimized_s']} s, again in {c['again_s']} s")
        print(f"  {share(found['turns'])}", flush=True)
        for name, why in found["absent"].items():
            print(f"  took no part: {name}: {why}")
        total = {key: total[key] + found["turns"][key] for key in total}
        if path is not None:
            write(path, results)
    print(share(total) + ("; " + (f"written to {path}" if path else "not kept")))


if __name__ == "__main__":
    main()
