"""Trains what is missing and keeps each result: `python experiments/run.py [TASK ...] [--seeds 5]`.

Each training is written to `results.json` when it ends; a run that is cut goes on where it was.
Seeds are the outer loop, so that whatever is there is paired. `--tune` tries learning rates on a
seed of their own instead. `--quick` takes a few steps and keeps nothing. One thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.shared.machine import machine
from experiments.classification import CLASSIFICATION
from experiments.segmentation import SEGMENTATION
from experiments.sequence import SEQUENCE
from experiments.shared import Task, train

RESULTS = Path(__file__).with_name("results.json")
TASKS = {task.name: task for task in (SEGMENTATION, SEQUENCE, CLASSIFICATION)}
RATES = (0.003, 0.01, 0.03)
TUNING_SEED = 100
TUNING_CASE = 60
"""The lag that rates of the sequences are tried at."""


def kept(path: Path, found: dict[str, Any]) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.replace(path)


def begun(found: dict[str, Any], task: Task, path: Path) -> dict[str, Any]:
    """The task's results so far; ends the program where they were trained in another setting."""
    setting = task.setting()
    ours = found.setdefault(task.name, {"setting": setting, "facts": {}, "tuning": {}, "runs": {}})
    if ours["setting"] != setting:
        if ours["runs"]:
            sys.exit(
                f"{path}: {task.name} was trained in another setting (steps, rate, schedules): "
                "take its results out of the file, or give --out another one."
            )
        ours["setting"] = setting
    if not ours["facts"]:
        ours["facts"] = task.told()
    return ours


def trained(task: Task, path: Path, seeds: list[int]) -> None:
    """All trainings of a task that the file lacks."""
    found = json.loads(path.read_text()) if path.exists() else {"machine": machine(1)}
    ours = begun(found, task, path)
    for seed in seeds:
        for case in task.cases:
            data = None
            for name, schedule in task.schedules().items():
                key = f"{name} / {case} / {seed}"
                if key in ours["runs"]:
                    continue
                data = data or task.data(seed, case, 1)
                start = time.process_time()
                scores = train(task, schedule, data, seed, task.rate, task.steps)
                ours["runs"][key] = scores
                kept(path, found)
                told = ", ".join(f"{what} {value:.3f}" for what, value in scores.items())
                spent = time.process_time() - start
                print(f"{task.name}: {key}: {told} ({spent:.0f} s)", flush=True)


def tuned(task: Task, path: Path) -> None:
    """The learning rates, on the tuning seed, for the schedules that the task names."""
    found = json.loads(path.read_text()) if path.exists() else {"machine": machine(1)}
    ours = begun(found, task, path)
    case = TUNING_CASE if TUNING_CASE in task.cases else task.cases[0]
    data = task.data(TUNING_SEED, case, 1)
    for name in task.tuned:
        for rate in RATES:
            key = f"{name} / {rate:g}"
            if key in ours["tuning"]:
                continue
            scores = train(task, task.schedules()[name], data, TUNING_SEED, rate, task.steps)
            ours["tuning"][key] = scores[task.measure]
            kept(path, found)
            print(f"{task.name}: {key}: {scores[task.measure]:.3f}", flush=True)


def quick(task: Task, steps: int = 2) -> dict[str, dict[str, float]]:
    """Every schedule for so many steps on a tenth of the data, at the first case."""
    data = task.data(0, task.cases[0], 0.1)
    return {
        name: train(task, schedule, data, 0, task.rate, steps)
        for name, schedule in task.schedules().items()
    }


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of: {', '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, ... up to so many")
    parser.add_argument("--quick", action="store_true", help="two steps each, nothing is kept")
    parser.add_argument("--tune", action="store_true", help="try learning rates instead")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results.json, if left out")
    given = parser.parse_args()
    for name in given.tasks:
        if name not in TASKS:
            parser.error(f"no task is called {name}; there are {', '.join(TASKS)}")
    torch.set_num_threads(1)
    for name in given.tasks or TASKS:
        task = TASKS[name]
        if given.quick:
            for schedule, scores in quick(task).items():
                print(f"{name}: {schedule}: {scores}")
        elif given.tune:
            tuned(task, given.out)
        else:
            trained(task, given.out, list(range(given.seeds)))


if __name__ == "__main__":
    main()
