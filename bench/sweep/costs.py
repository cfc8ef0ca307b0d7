"""What reports say that models cost, against PyTorch: peak memory, products and parameters.

    python bench/sweep/costs.py [NAME ...]

Writes `costs.json`, the models named or all of the sweep. Memory is compared with what PyTorch's
profiler sees (`tests/memory_probe.py`): the inputs and all tensors, without parameters and without
what a kernel frees before it returns. `calls` also leaves out what a whole call from Python makes
and frees, such as the indices of a max pool; `everything` counts the scratch memory of libraries
too. MACs are compared with PyTorch's own counter (`tests/products_probe.py`), parameters with
those of the module. `python bench/sweep/table.py` writes the table.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import torch  # noqa: E402

from bench.shared.commit import commit  # noqa: E402
from bench.sweep.published import COSTS, MODELS  # noqa: E402
from bench.sweep.reading import read  # noqa: E402
from tests.memory_probe import profiled_peak  # noqa: E402
from tests.products_probe import counted_macs  # noqa: E402


def measured(name: str) -> dict[str, Any]:
    """One model's costs as reported and as PyTorch has them, or why there are none."""
    model, report, found = read(name)
    if report is None:
        return {"commit": commit(), "reason": found["reason"]}
    x = torch.randn(1, 3, found["size"], found["size"])
    peak = profiled_peak(model, x)
    eager = report.eager
    return {
        "commit": commit(),
        "size": found["size"],
        "complete": report.complete,
        "uncounted": list(report.uncounted),
        "macs": [report.macs, counted_macs(model, x)],
        "params": [report.params, sum(p.numel() for p in model.parameters())],
        "memory": {
            "eager": eager.peak_bytes if eager else None,
            "reason": eager.reason if eager else "",
            "graph": report.memory.peak_bytes,
            "tensors": peak.tensors,
            "calls": peak.calls,
            "everything": peak.everything,
        },
    }


def main() -> None:
    """Measure, print and write."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    for name in sys.argv[1:] or MODELS:
        try:
            entry = measured(name)
        except Exception as error:
            entry = {"commit": commit(), "reason": f"{type(error).__name__}: {error}"[:300]}
        found[name] = entry
        print(name, _line(entry), flush=True)
        COSTS.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")


def _line(entry: dict[str, Any]) -> str:
    if "memory" not in entry:
        return str(entry["reason"])
    parts = [
        f"{what} {ours:,}" + ("" if ours == theirs else f" and not {theirs:,}")
        for what in ("macs", "params")
        for ours, theirs in [entry[what]]
    ]
    memory = entry["memory"]
    ours = memory["eager"] or memory["graph"]
    shares = [f"{what} {ours / memory[what]:.4f}" for what in ("tensors", "calls", "everything")]
    return "; ".join([*parts, f"memory {ours:,} of {', '.join(shares)} {memory['reason']}"])


if __name__ == "__main__":
    main()
