"""How long a report of a PyTorch model takes beside torchinfo's summary, in one process.

    python bench/inspect/against_torchinfo.py [--json FILE]

Both are asked for the same model in turns, after one call each that is not counted; printed are
medians of the processor's time, one thread, and their ratio. A report has fields, holes, costs and
the memory that an eager run holds; torchinfo runs the model, and has shapes and costs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import torch  # noqa: E402
import torchinfo  # noqa: E402

import atrous  # noqa: E402
from bench.sweep.sweep import build  # noqa: E402

MODELS = ("torchvision:resnet50", "torchvision:mobilenet_v2", "torchvision:densenet121")
TURNS = 9
SHAPE = (1, 3, 224, 224)


def seconds(call: Callable[[], object]) -> float:
    """The processor's time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measured(name: str) -> dict[str, object]:
    """Medians for one model, the two taking turns."""
    model = build(name).eval()
    calls: dict[str, Callable[[], object]] = {
        "atrous": lambda: str(atrous.inspect(model, SHAPE)),
        "torchinfo": lambda: str(torchinfo.summary(model, SHAPE, verbose=0, device="cpu")),
    }
    times: dict[str, list[float]] = {key: [] for key in calls}
    for turn in range(TURNS + 1):
        for key, call in calls.items():
            taken = seconds(call)
            if turn:
                times[key].append(taken)
    medians = {key: statistics.median(values) for key, values in times.items()}
    return {"model": name, **medians, "ratio": medians["atrous"] / medians["torchinfo"]}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measured(name) for name in MODELS]
    print("| model | atrous, ms | torchinfo, ms | ratio |\n| --- | --- | --- | --- |")
    for row in rows:
        ours, theirs = 1000 * float(row["atrous"]), 1000 * float(row["torchinfo"])
        print(f"| {row['model']} | {ours:.0f} | {theirs:.0f} | {row['ratio']:.2f} |")
    if options.json is not None:
        machine = f"torch {torch.__version__}, Python {platform.python_version()}"
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
