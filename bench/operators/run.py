"""Times one layer after the other, ours beside every peer, all of a case in turns.

    python bench/operators/run.py [--quick] [--only TEXT] [--peers PART,...] [--out FILE]

All take the same float32 numbers and the same threads, each in a process of its own that stands
still outside its turns. Written are, for each case, the medians over turns, the fastest calls, the
largest errors against float64 and how many turns something else disturbed, with the machine and the
versions beside them. `table.py` and `plot.py` read that file and measure nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from cases import Case, cases, quick_cases
from peers import (
    LAYOUTS,
    OURS,
    PEERS,
    SQUARE,
    Task,
    contestant,
    copier,
    square_product,
)

from bench.shared.alone import Build, Contest, Found
from bench.shared.commit import commit
from bench.shared.machine import machine, sentence, use_threads
from bench.shared.rounds import Times

HERE = Path(__file__).parent
COPY = "copy"


def seats(names: list[str], threads: int) -> dict[str, Build]:
    """One contestant a peer and layout; the copy comes first, for the truth that it writes."""
    found: dict[str, Build] = {COPY: partial(copier, threads)}
    for name in names:
        for layout in LAYOUTS[name]:
            found[f"{name}, {layout}"] = partial(contestant, name, layout, threads)
    return found


def product_rate(threads: int, turns: int) -> float:
    """GMAC/s of PyTorch's product of two square float32 matrices."""
    with Contest({"product": partial(square_product, threads)}, threads) as contest:
        return SQUARE**3 / contest.run(None, turns=turns).times["product"].median / 1e6


def figures(times: Times) -> dict[str, Any]:
    """Rounded, as they are written."""
    return {
        "median_ms": round(times.median, 5),
        "min_ms": round(times.least, 5),
        "turns": times.turns,
        "calls": times.calls,
    }


def run_case(case: Case, contest: Contest, truth: Path, turns: int) -> tuple[dict[str, Any], Found]:
    """All that is measured of one case."""
    found = contest.run(Task(case, truth), turns=turns)
    if COPY in found.absent:
        raise RuntimeError(f"{case.name}: no copy and no truth: {found.absent[COPY]}")
    took = {
        label: about
        | figures(found.times[label])
        | {
            "disturbed": found.disturbed.get(label, 0),
            "disturbed_kept": found.kept.get(label, 0),
        }
        for label, about in found.notes.items()
        if label != COPY
    }
    return {
        "name": case.name,
        **{k: v for k, v in asdict(case).items() if k != "pads"},
        "layer": case.layer,
        "depthwise": case.depthwise,
        "cliff": case.cliff,
        "macs": case.macs,
        "bytes": case.bytes,
        "taps_inside": round(case.taps_inside, 4),
        "disturbed_share": round(found.share, 4),
        "copy": figures(found.times[COPY]),
        "contestants": took,
        "absent": found.absent,
    }, found


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
    if found["disturbed_share"]:
        text += f" ({found['disturbed_share']:.0%} of turns disturbed)"
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
    start = time.perf_counter()
    about: dict[str, Any] = {
        "schema": "atrous.bench.operators/1",
        "quick": asked.quick,
        "turns": turns,
        "commit": commit(),
        "machine": machine(threads),
        "product_gmacs": round(product_rate(threads, turns), 2),
    }
    print(sentence(about["machine"]), flush=True)
    done: list[dict[str, Any]] = []
    attempts = disturbed = kept = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Contest(seats(names, threads), threads) as contest,
    ):
        for index, case in enumerate(chosen, 1):
            entry, found = run_case(case, contest, Path(folder) / "truth.npy", turns)
            done.append(entry)
            attempts += sum(found.attempts.values())
            disturbed += sum(found.disturbed.values())
            kept += sum(found.kept.values())
            print(f"{index}/{len(chosen)} {line(entry)}", flush=True)
            about["seconds"] = round(time.perf_counter() - start)
            about["disturbed"] = {"turns": attempts, "disturbed": disturbed, "kept": kept}
            if path is not None:
                write(path, about, done)
    for label, why in {k: v for entry in done for k, v in entry["absent"].items()}.items():
        print(f"took no part somewhere: {label}: {why}")
    print(
        f"{disturbed / max(attempts, 1):.1%} of {attempts} turns were disturbed; {kept} of them "
        "count, because every repeat was disturbed as well"
    )
    print(f"{time.perf_counter() - start:.0f} s; " + (f"written to {path}" if path else "not kept"))


if __name__ == "__main__":
    main()
