"""Times one layer after the other, ours beside every peer, all of a case in turns.

    python bench/operators/run.py [--quick] [--only TEXT] [--peers PART,...] [--out FILE]

All take the same float32 numbers and the same threads. Written are, for each case, the medians over
turns, the fastest calls and the largest errors against float64, with the machine and the versions
beside them. `table.py` and `plot.py` read that file and measure nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from cases import Case, cases, quick_cases
from machine import machine, sentence, use_threads
from peers import FORMATS, LAYOUTS, OURS, PEERS, Problem, copy
from rounds import Contestant, Times, take_turns

HERE = Path(__file__).parent
COPY = "copy"


def product_rate(turns: int) -> float:
    """GMAC/s of PyTorch's product of two square float32 matrices: what arithmetic can reach."""
    n = 1024
    a, b = torch.randn(n, n), torch.randn(n, n)
    a @ b
    found = take_turns([Contestant("product", lambda: a @ b)], turns=turns)
    return n**3 / found["product"].median / 1e6


def figures(times: Times) -> dict[str, Any]:
    """Rounded, as they are written."""
    return {
        "median_ms": round(times.median, 5),
        "min_ms": round(times.least, 5),
        "turns": times.turns,
        "calls": times.calls,
    }


def run_case(case: Case, names: list[str], threads: int, turns: int) -> dict[str, Any]:
    """All that is measured of one case."""
    torch._dynamo.reset()
    problem = Problem(case, threads)
    entrants: list[Contestant] = []
    described: dict[str, dict[str, Any]] = {}
    absent: dict[str, str] = {}
    for name in names:
        for layout in LAYOUTS[name]:
            if layout == "channels_last" and problem.x.dim() not in FORMATS:
                continue
            label = f"{name}, {layout}"
            try:
                way = PEERS[name](problem, layout)
                if way is None:
                    continue
                error = problem.error(way.value())
            except Exception as failure:  # one peer that cannot must not end the run
                absent[label] = f"{type(failure).__name__}: {str(failure)[:200]}"
                continue
            entrants.append(Contestant(label, way.call))
            described[label] = {"by": name, "layout": layout, "error": float(f"{error:.2e}")}
    entrants.append(Contestant(COPY, copy(problem).call))
    times = take_turns(entrants, turns=turns)
    return {
        "name": case.name,
        **{k: v for k, v in asdict(case).items() if k != "pads"},
        "layer": case.layer,
        "depthwise": case.depthwise,
        "cliff": case.cliff,
        "macs": case.macs,
        "bytes": case.bytes,
        "taps_inside": round(case.taps_inside, 4),
        "copy": figures(times[COPY]),
        "contestants": {label: about | figures(times[label]) for label, about in described.items()},
        "absent": absent,
    }


def line(found: dict[str, Any]) -> str:
    """One case in one line: ours and the fastest peer."""
    best: dict[bool, tuple[float, str]] = {}
    for label, c in found["contestants"].items():
        ours = c["by"].startswith(OURS)
        best[ours] = min(best.get(ours, (float("inf"), "")), (c["median_ms"], label))
    text = f"{found['name']}"
    if True in best:
        text += f"; {best[True][0]:.3f} ms"
    if False in best:
        text += f"; {best[False][1]} {best[False][0]:.3f} ms"
    if len(best) == 2:
        text += f", {best[False][0] / best[True][0]:.2f} times ours"
    return text


def write(path: Path, about: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """One case a line, so that two files can be compared."""
    head = json.dumps(about, indent=1)[:-2]
    rows = ",\n  ".join(json.dumps(entry) for entry in found)
    path.write_text(f'{head},\n "cases": [\n  {rows}\n ]\n}}\n')


def main() -> None:
    """Runs what is asked for; what is done is in the file after each case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few cases, few turns")
    parser.add_argument("--only", default="", help="cases whose name contains this, in any case")
    parser.add_argument("--peers", default="", help=f"parts of names, of: {'; '.join(PEERS)}")
    parser.add_argument("--turns", type=int, help="turns of each contestant; 7, or 3 when quick")
    parser.add_argument("--threads", type=int, help="as many as PyTorch takes, if left out")
    parser.add_argument("--out", type=Path, help="results.json beside this file, unless quick")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    asked = parser.parse_args()
    chosen = quick_cases() if asked.quick else cases()
    chosen = [case for case in chosen if asked.only.lower() in case.name.lower()]
    if asked.list:
        print("\n".join(case.name for case in chosen))
        return
    words = asked.peers.lower().split(",")
    names = [name for name in PEERS if any(word in name.lower() for word in words)]
    if not names:
        parser.error(f"no peer is named like {asked.peers}; there are {'; '.join(PEERS)}")
    turns = asked.turns or (3 if asked.quick else 7)
    partial = asked.quick or asked.only or asked.peers
    path = asked.out or (None if partial else HERE / "results.json")
    threads = use_threads(asked.threads)
    torch.set_grad_enabled(False)
    torch._dynamo.config.recompile_limit = 64  # a case compiles one function in several layouts
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    about: dict[str, Any] = {
        "schema": "atrous.bench.operators/1",
        "quick": asked.quick,
        "turns": turns,
        "machine": machine(threads),
        "product_gmacs": round(product_rate(turns), 2),
    }
    print(sentence(about["machine"]), flush=True)
    done: list[dict[str, Any]] = []
    for index, case in enumerate(chosen, 1):
        done.append(run_case(case, names, threads, turns))
        print(f"{index}/{len(chosen)} {line(done[-1])}", flush=True)
        about["seconds"] = round(time.perf_counter() - start)
        if path is not None:
            write(path, about, done)
    for label, why in {k: v for entry in done for k, v in entry["absent"].items()}.items():
        print(f"took no part somewhere: {label}: {why}")
    print(f"{time.perf_counter() - start:.0f} s; " + (f"written to {path}" if path else "not kept"))


if __name__ == "__main__":
    main()
