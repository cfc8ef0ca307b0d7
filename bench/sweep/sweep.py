"""Probing of real models, one at a time: does every footprint agree with what the model reads?

    python bench/sweep/sweep.py [--only NAME ...] [--again | --changed] [--onnx]
                                [--limit SECONDS] [--processes N] [--minutes M]

Each model is built with random weights, read, and probed by `tests/nan_probe.py`, in a process of
its own under a time limit; where a NaN reaches other images, by finite changes too. Results are
kept in `results.json` after each model, with the commit that they were made at, so a run that was
stopped (or that starts no more models after M minutes) goes on where it was. `--again` measures
anew what another commit made; `--changed` reads it anew, and probes where the reading is not what
was published. `--onnx` also exports the models listed for it and compares the two reports.
`python bench/sweep/table.py` writes the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import torch  # noqa: E402

import atrous  # noqa: E402
from bench.shared.apart import Job, run_apart  # noqa: E402
from bench.shared.commit import CHANGED, commit  # noqa: E402
from bench.sweep.published import MODELS, RESULTS, Entry, differences, results  # noqa: E402
from bench.sweep.reading import build, read, warm  # noqa: E402
from tests.nan_probe import Probed, assert_footprints_agree  # noqa: E402
from tests.onnx_agreement import assert_reports_agree, exported  # noqa: E402


def measure(name: str, published: Entry | None = None) -> dict[str, Any]:
    """What reading and probing one model gives; where it reads as `published`, no more is asked."""
    start = time.perf_counter()
    model, report, found = read(name)
    found["seconds_read"] = round(time.perf_counter() - start, 2)
    if report is None:
        return found
    kept = ("status", "reason", "probed", "seconds", "onnx")
    if published and "probed" in published and not differences(published, found):
        return found | {key: published[key] for key in kept if key in published}
    found |= probed(model, report, found["size"])
    return found | {"seconds": round(time.perf_counter() - start, 2)}


def probed(model: torch.nn.Module, report: atrous.Inspection, size: int) -> dict[str, Any]:
    """Whether the model reads what the footprints say, and how much of that was looked at.

    Where a NaN spreads to other images of a batch, NaN and finite changes go in one at a time.
    """
    alone = ({"alone": True}, {"alone": True, "finite": True, "silent": True})
    try:
        try:
            told = [_agreed(model, report, size)]
        except AssertionError as error:
            if "without a change" not in str(error):
                raise
            told = [_agreed(model, report, size, **options) for options in alone]
    except AssertionError as error:
        nothing = "can be watched" in str(error)
        return {"status": "unprobed" if nothing else "disagrees", "reason": str(error)[:300]}
    except Exception as error:
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:300]}
    counts = {k: sum(getattr(one, k) for one in told) for k in ("compared", "unread", "in_holes")}
    by = "NaN" if len(told) == 1 else "NaN and finite changes, one image at a time"
    seen = {"layers": told[0].layers, **counts, "by": by, "commit": commit()}
    return {"status": "agrees", "probed": seen}


def _agreed(
    model: torch.nn.Module, report: atrous.Inspection, size: int, **options: bool
) -> Probed:
    return assert_footprints_agree(model, (1, 3, size, size), report=report, **options)


def against_onnx(name: str, size: int) -> dict[str, Any]:
    """Whether the report of the model's ONNX export is the report of the model."""
    model = build(name)
    start = time.perf_counter()
    ours = atrous.inspect(model, (1, 3, size, size))
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = exported(model, size, Path(folder) / "model.onnx")
        except Exception as error:
            return {"agrees": False, "reason": f"export: {type(error).__name__}: {error}"[:300]}
        try:
            assert_reports_agree(ours, atrous.inspect(path))
        except (AssertionError, atrous.AtrousError) as error:
            why = str(error).replace(folder, "")
            return {"agrees": False, "reason": why[:300]}
    return {"agrees": True, "seconds": round(time.perf_counter() - start, 2)}


def _jobs(options: argparse.Namespace, found: Mapping[str, Entry]) -> Iterator[Job]:
    """What is still to be measured."""
    fixed = not commit().endswith(CHANGED)
    for name in options.only or MODELS:
        entry = found.get(name)
        anew = options.again or options.changed
        done = fixed and entry and entry.get("commit") == commit() and not options.only
        if entry is None or (anew and not done):
            yield Job(name, measure, (name, entry if options.changed else None))


def _exports(options: argparse.Namespace, found: Mapping[str, Entry]) -> Iterator[Job]:
    for name in options.only or MODELS:
        entry = found.get(name, {})
        if "onnx" in MODELS.get(name, ()) and "size" in entry:
            done = entry.get("onnx", {}).get("commit") == commit() and not options.only
            if "onnx" not in entry or (options.again and not done):
                yield Job(name, against_onnx, (name, entry["size"]))


def _write(found: Mapping[str, Entry]) -> None:
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    os.replace(part, RESULTS)  # noqa: PTH105 - whole or not at all


def main() -> int:
    """Measure what is missing; exit 1 where a model and its report disagree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these models alone")
    parser.add_argument("--again", action="store_true", help="also those measured before")
    parser.add_argument("--changed", action="store_true", help="those that read differently")
    parser.add_argument("--onnx", action="store_true", help="compare with ONNX exports too")
    parser.add_argument("--limit", type=float, default=180, help="seconds for one step of a model")
    parser.add_argument("--processes", type=int, default=1, help="models at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no more then")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warm()
    found = results() if RESULTS.exists() else {}
    limits = {
        "limit": options.limit,
        "processes": options.processes,
        "minutes": options.minutes,
    }
    for name, entry in run_apart(list(_jobs(options, found)), **limits):
        before = found.get(name)
        if before and entry["status"] == "unfinished":
            print(f"{name}: {entry['reason']}; what was found before is kept", flush=True)
            continue
        found[name] = {"commit": commit()} | entry
        said = differences(before, entry) if before else ()
        told = filter(None, (entry["status"], entry.get("reason"), *said))
        print(f"{name}: {'; '.join(told)}", flush=True)
        _write(found)
    if options.onnx:
        for name, entry in run_apart(list(_exports(options, found)), **limits):
            found[name]["onnx"] = entry | {"commit": commit()}
            print(f"{name}: onnx {entry}", flush=True)
            _write(found)
    return int(any(entry["status"] == "disagrees" for entry in found.values()))


if __name__ == "__main__":
    sys.exit(main())
