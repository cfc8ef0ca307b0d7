"""The memory of training as reported, against PyTorch's profiler over real steps.

    python bench/training/run.py [NAME ...]

Writes `results.json` and the table of README.md: the models named, or all. Each is trained for two
steps on a batch of 2 by SGD with momentum, the loss being the sum of the outputs, with one thread
on the CPU. `tensors` leaves out what a kernel frees before it returns, `everything` counts it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import torch  # noqa: E402

from bench.shared.commit import commit  # noqa: E402
from tests.memory_probe import profiled_steps  # noqa: E402
from tests.torchvision_schemas import let_torchvision_import  # noqa: E402

let_torchvision_import()

import timm  # noqa: E402
import torchvision  # noqa: E402

import atrous  # noqa: E402

HERE = Path(__file__).parent
RESULTS, TABLE = HERE / "results.json", HERE / "README.md"
SIDES = {
    "inception": 299,
    "vit": 224,
    "deit": 224,
    "levit": 224,
    "swin": 224,
    "mixer": 224,
    "cait": 224,
    "coat": 224,
}
MODELS = (HERE / "models.txt").read_text().split()


def summed(output: Any) -> torch.Tensor:
    """The sum of all outputs."""
    parts = list(output.values()) if isinstance(output, dict) else output
    if not isinstance(parts, list | tuple):
        return parts.sum()
    total = parts[0].sum()
    for part in parts[1:]:
        total = total + part.sum()
    return total


def measured(name: str) -> dict[str, Any]:
    """One model's peaks as reported and as the profiler has them."""
    library, _, plain = name.partition(":")
    torch.manual_seed(0)
    if library == "timm":
        model = timm.create_model(plain)
    else:
        known = torchvision.models
        segments = plain in known.list_models(module=known.segmentation)
        more = {"weights_backbone": None} if segments else {}
        model = known.get_model(plain, weights=None, **more)
    side = next((side for part, side in SIDES.items() if part in plain), 96)
    shape = (2, 3, 8, 64, 64) if plain == "r3d_18" else (2, 3, side, side)
    make = partial(torch.optim.SGD, lr=1e-3, momentum=0.9)
    start = time.process_time()
    found = atrous.training(model, shape, optimizer=make, loss=summed)
    took = time.process_time() - start
    x = torch.zeros(shape)
    peaks = profiled_steps(model, (x,), make, summed)
    steps = [
        {"reported": ours.peak_bytes, "tensors": real.tensors, "everything": real.everything}
        for ours, real in zip((found.first, found.later), peaks, strict=True)
    ]
    return {
        "commit": commit(),
        "input": list(shape),
        "steps": steps,
        "at": [found.later.phase, found.later.at],
        "linear": found.batch is not None and found.batch.linear,
        "seconds": round(took, 1),
    }


def table(found: dict[str, Any]) -> str:
    """The results as a table."""
    heads = [
        *("model", "input", "a later step, as reported", "of the profiler's tensors"),
        *("of everything", "first step, of tensors", "peak in"),
    ]
    rows = [f"| {' | '.join(heads)} |", "| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for name, entry in found.items():
        if "steps" not in entry:
            rows.append(f"| {name} | | | | | | {entry['reason']} |")
            continue
        first, later = entry["steps"]
        shape = "x".join(map(str, entry["input"]))
        rows.append(
            f"| {name} | {shape} | {later['reported']:,} B | {_share(later, 'tensors')} "
            f"| {_share(later, 'everything')} | {_share(first, 'tensors')} "
            f"| {entry['at'][0]} of {entry['at'][1]} |"
        )
    return "\n".join(rows)


def _share(step: dict[str, int], of: str) -> str:
    missing = step["reported"] - step[of]
    return "the same" if not missing else f"{step['reported'] / step[of]:.6f} ({missing:+,} B)"


def main() -> None:
    """Measure, print and write."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in sys.argv[1:] or MODELS:
        try:
            found[name] = measured(name)
        except Exception as error:
            found[name] = {"commit": commit(), "reason": f"{type(error).__name__}: {error}"[:200]}
        print(name, found[name].get("steps", found[name]), flush=True)
        found = dict(sorted(found.items()))
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    if TABLE.exists():
        head = TABLE.read_text().partition("| model |")[0]
        TABLE.write_text(f"{head}{table(found)}\n")


if __name__ == "__main__":
    main()
