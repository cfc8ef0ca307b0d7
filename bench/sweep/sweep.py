"""NaN probing of real models, one at a time: does every footprint agree with what the model reads?

    python bench/sweep/sweep.py [--only NAME ...] [--again] [--onnx] [--limit SECONDS]

Each model is built with random weights, read, and probed by `tests/nan_probe.py`, in a process of
its own under a time limit. Results are kept in `results.json` after each model, so a run that was
stopped goes on where it was; `--again` measures anew. `--onnx` also exports the models listed for
it and compares the two reports. `python bench/sweep/table.py` writes the tables.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
importlib.import_module("tests.conftest")  # torchvision imports where its compiled ops do not load

import timm  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402

import atrous  # noqa: E402
from tests.nan_probe import assert_footprints_agree  # noqa: E402
from tests.onnx_agreement import assert_reports_agree, exported  # noqa: E402

MODELS = {
    line.split()[0]: line.endswith(" onnx")
    for line in Path(__file__).with_name("models.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
"""The models by name; true where the ONNX export is compared too."""
MOST_PARAMS = 120_000_000
ATTENDS = {"attention", "matmul", "scan"}
"""Kinds of ops that a purely convolutional network has none of."""


def build(name: str) -> torch.nn.Module:
    """The model called `timm:NAME` or `torchvision:NAME`, with random weights."""
    library, _, model = name.partition(":")
    torch.manual_seed(0)
    if library == "timm":
        return timm.create_model(model).eval()
    if hasattr(torchvision.models.segmentation, model):
        maker = getattr(torchvision.models.segmentation, model)
        return maker(weights=None, weights_backbone=None).eval()
    return torchvision.models.get_model(model, weights=None).eval()


def sizes_of(name: str, model: torch.nn.Module) -> list[int]:
    """Image sizes to try: 128 px where the model takes it, else the one it was made for."""
    config = getattr(model, "pretrained_cfg", None) or {}
    own = int(config.get("input_size", (3, 224, 224))[-1])
    if config.get("fixed_input_size"):
        return [own]
    if name in ("torchvision:inception_v3", "torchvision:swin_t", "torchvision:swin_v2_t"):
        return [192]
    return [128, own]


def measure(name: str) -> dict[str, Any]:
    """What reading and probing one model gives; an exception is its result too."""
    start = time.perf_counter()
    model = build(name)
    params = sum(p.numel() for p in model.parameters())
    found: dict[str, Any] = {"params": params}
    if params > MOST_PARAMS:
        return found | {"status": "skipped", "reason": "more than 120 M parameters"}
    report, size, refused = None, 0, ""
    for size in dict.fromkeys(sizes_of(name, model)):
        try:
            report = atrous.inspect(model, (1, 3, size, size))
            break
        except atrous.AtrousError as error:
            refused = str(error)
    if report is None:
        return found | {"status": "unread", "reason": refused[:300]}
    found |= described(report) | {"size": size}
    found["seconds_read"] = round(time.perf_counter() - start, 2)
    try:
        probed = assert_footprints_agree(model, (1, 3, size, size), report=report)
    except AssertionError as error:
        # A NaN that spreads to inputs that hold none tells nothing about what reads what.
        spread = "NaN without a NaN" in str(error)
        status = "unprobed" if spread else "disagrees"
        return found | {"status": status, "reason": str(error)[:300]}
    counts = {k: getattr(probed, k) for k in ("layers", "compared", "unread", "in_holes")}
    seconds = round(time.perf_counter() - start, 2)
    return found | {"status": "agrees", "probed": counts, "seconds": seconds}


def described(report: atrous.Inspection) -> dict[str, Any]:
    """What the report says: complete, global and by which ops, opaque and why."""
    nodes = report.network.nodes
    kinds = {node.kind for node in nodes}
    mixing = [node for node in nodes if node.mixes and not node.opaque]
    # A head: once an op has mixed all positions, no tensor holds any.
    head = False
    if mixing and not {node.kind for node in mixing} & {*ATTENDS, "concat"}:
        after = nodes[nodes.index(mixing[0]) :]
        head = not any(n > 1 for node in after for n in node.output.grid.values())
    output = report.outputs[0]
    return {
        "nodes": len(nodes),
        "complete": report.complete,
        "global": bool(mixing),
        "only_head_global": head,
        "globals": [f"{node.name} ({getattr(node.op, 'label', node.kind)})" for node in mixing],
        "global_ops": sorted({getattr(node.op, "label", node.kind) for node in mixing}),
        "opaque": sorted({f"{node.kind}: {node.opaque}" for node in nodes if node.opaque}),
        "convolutional": not kinds & ATTENDS,
        "field": [field.size for field in output.field],
        "macs": report.macs,
    }


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
            return {"agrees": False, "reason": str(error)[:300]}
    return {"agrees": True, "seconds": round(time.perf_counter() - start, 2)}


def apart(work: Callable[..., dict[str, Any]], *args: Any, limit: float) -> dict[str, Any]:
    """`work(*args)` in a process of its own, or why it gave nothing within `limit` seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, work, args))
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            return {"status": "unfinished", "reason": f"not done after {limit:.0f} s"}
        return ours.recv()
    except EOFError:
        process.join()
        return {"status": "crashed", "reason": f"exit code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _send(pipe: Connection, work: Callable[..., dict[str, Any]], args: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        pipe.send(work(*args))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        pipe.send({"status": "failed", "reason": f"{type(error).__name__}: {reason}"})


def main() -> int:
    """Measure what is missing; exit 1 where a model and its report disagree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these models alone")
    parser.add_argument("--again", action="store_true", help="also those measured before")
    parser.add_argument("--onnx", action="store_true", help="compare with ONNX exports too")
    parser.add_argument("--limit", type=float, default=180, help="seconds for one step of a model")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.only or MODELS:
        entry = results.get(name)
        if entry is None or options.again:
            entry = apart(measure, name, limit=options.limit)
            results[name] = entry
            print(f"{name}: {entry['status']} {entry.get('reason', '')}", flush=True)
        wanted = options.onnx and MODELS.get(name) and "size" in entry
        if wanted and (options.again or "onnx" not in entry):
            entry["onnx"] = apart(against_onnx, name, entry["size"], limit=options.limit)
            print(f"{name}: onnx {entry['onnx']}", flush=True)
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    return int(any(entry["status"] == "disagrees" for entry in results.values()))


if __name__ == "__main__":
    sys.exit(main())
