"""Every `.onnx` file in a folder: is it read, is all of it understood, and is what is said true?

    python bench/wild/survey.py FOLDER [--only TEXT ...] [--limit SECONDS]

`FOLDER` is what `fetch.py` filled. Each different file is inspected in a process of its own, at the
sizes of `sizes.json` or, for what that does not name, an open batch of 1, 3 channels, 96 by 128
pixels, 16000 samples and 32 of anything else. A file that is complete is run by ONNX Runtime: its
outputs must have the shapes that the report has, and single input positions are changed, to NaN and
by finite steps; no output position may change that does not read the one changed. Results are kept
in `results.json`; `python bench/wild/table.py` writes the tables.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
SIZES = Path(__file__).with_name("sizes.json")
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

import atrous  # noqa: E402
from atrous.readers.onnx.inputs import declared  # noqa: E402
from bench.shared.commit import commit  # noqa: E402
from tests.onnx_probe import on_grid  # noqa: E402

PLACES, OUTPUTS, SECONDS = 12, 24, 30
STEPS = (np.nan, 0.37, -3.0, 60.0)
CHANNELS, SIDES, SAMPLES, REST = 3, (96, 128), 16000, 32


def asked_of(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shapes and the values at which a file is read."""
    model = onnx.load(file, load_external_data=False)
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in held]
    named = json.loads(SIZES.read_text(encoding="utf-8"))
    given = next((one for text, one in named.items() if text in file.as_posix()), {})
    values = {k: v for k, v in given.get("values", {}).items() if any(i.name == k for i in inputs)}
    said = {i.name: declared(i) or [] for i in inputs if i.name not in values}
    # What stands first anywhere and not alone is a batch, also where it stands second.
    batches = {sizes[0]: 1 for sizes in said.values() if len(sizes) > 1 and sizes[0] != "?"}
    opened = {**batches, **given.get("open", {})}
    shapes: dict[str, Any] = {}
    for name, sizes in said.items():
        if any(isinstance(size, str) for size in sizes):
            own = given.get("input", {}).get(name, _usual(sizes, opened))
            pairs = zip(sizes, own, strict=True)
            shapes[name] = tuple(size if isinstance(size, int) else n for size, n in pairs)
    return shapes, values


def _usual(said: list[int | str], opened: dict[Any, int]) -> tuple[int, ...]:
    """The shape of an input whose open sizes nobody names."""
    image = len(said) == 4
    found = []
    for place, size in enumerate(said):
        if isinstance(size, int):
            found.append(size)
        elif size in opened:
            found.append(opened[size])
        elif place == 0:
            found.append(1 if len(said) > 1 else SAMPLES)
        elif image:
            found.append(CHANNELS if place == 1 else SIDES[place - 2])
        else:
            found.append(SAMPLES if len(said) == 2 and "wave" in str(size) else REST)
    return tuple(found)


def measure(file: Path) -> dict[str, Any]:
    """What reading and probing one file gives."""
    start = time.perf_counter()
    sizes, values = asked_of(file)
    try:
        report = atrous.inspect(file, sizes or None, values=values or None)
    except atrous.AtrousError as error:
        return {"status": "refused", "reason": str(error)[:300]}
    found: dict[str, Any] = {
        "status": "complete" if report.complete else "partial",
        "reasons": [text[:200] for text in report.opaque[:4]],
        "not_followed": sum(bool(node.opaque) for node in report.network.nodes),
        "inputs": {tensor.name: list(tensor.shape) for tensor in report.network.inputs},
        "layers": len(report.layers),
        "macs": report.macs,
        "integer_macs": report.integer_macs,
        "params": report.params,
        "fields": [[axis.size for axis in out.field] for out in report.outputs[:2]],
        "global": any(out.is_global for out in report.outputs),
        "seconds": round(time.perf_counter() - start, 2),
    }
    if report.complete:
        structure = atrous.inspect(file, sizes or None, values=values or None, structure_only=True)
        try:
            found |= probe(file, report, structure, values)
        except Exception as error:
            found["probe"] = f"not run: {type(error).__name__}: {str(error)[:160]}"
    return found


def probe(
    file: Path, report: atrous.Inspection, structure: atrous.Inspection, values: dict[str, Any]
) -> dict[str, Any]:
    """How many pairs of positions were compared, and how many show reads that are denied."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    runner = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = _feed(runner, report, values)
    network, outputs = report.network, report.outputs
    names = [output.name for output in runner.get_outputs()]
    made_here = {layer.name for layer in report.layers}
    base = dict(zip(names, runner.run(None, feed), strict=True))
    assert len(names) == len(outputs), "the session has other outputs"
    shapes = [
        f"{name}: {array.shape} where the report has {tuple(output.output_shape)}"
        for (name, array), output in zip(base.items(), outputs, strict=True)
        if output.sized and tuple(array.shape) != tuple(output.output_shape)
    ]
    x = network.tensor(report.input)
    spatial = [i for i, dim in enumerate(x.layout) if any(atom.axis for atom in dim)]
    rng = random.Random(0)
    places = _drawn(rng, [range(x.shape[i]) for i in spatial], PLACES)
    counts = {"compared": 0, "denied": 0, "silent": 0}
    wrong: list[str] = []
    begun = time.perf_counter()
    masks = [
        [_masks(r, out.name, network, rng) if out.name in made_here else {} for out in outputs]
        for r in (report, structure)
    ]
    for place in places:
        if counts["compared"] and time.perf_counter() - begun > SECONDS:
            break
        where: list[Any] = [slice(None)] * len(x.shape)
        for dim, index in zip(spatial, place, strict=True):
            where[dim] = index
        seen: list[dict[tuple[int, ...], bool]] = [{} for _ in outputs]
        for step in STEPS:
            moved = feed[x.name].copy()
            if moved.dtype.kind == "f":
                moved[tuple(where)] = step if step != step else moved[tuple(where)] + step
            else:
                moved[tuple(where)] = (moved[tuple(where)] + 1 + int(abs(np.nan_to_num(step)))) % 3
            made = runner.run(None, {**feed, x.name: moved})
            for index, (name, array) in enumerate(zip(names, made, strict=True)):
                changed = ~((array == base[name]) | ((array != array) & (base[name] != base[name])))
                grid = on_grid(changed, network.tensor(outputs[index].tensor).layout)
                told = masks[step != step][index]
                for at, mask in told.items():
                    differs = bool(grid[at])
                    seen[index][at] = seen[index].get(at, False) or differs
                    if differs and not mask[place]:
                        counts["denied"] += 1
                        wrong.append(f"{name} at {at} changes with {place} by {step}")
        for index, told in enumerate(masks[0]):
            counts["compared"] += len(told)
            counts["silent"] += sum(
                bool(mask[place]) and not seen[index][at] for at, mask in told.items()
            )
    again = runner.run(None, feed)
    steady = all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(again, base.values(), strict=True)
    )
    return {**counts, "wrong": wrong[:3], "shapes": shapes[:3], "steady": steady}


def _masks(
    report: atrous.Inspection, name: str, network: atrous.Network, rng: random.Random
) -> dict[tuple[int, ...], Any]:
    """The footprints of some positions of an output."""
    lengths = network.tensor(report[name].tensor).grid.values()
    drawn = _drawn(random.Random(0), [range(n) for n in lengths], OUTPUTS)
    begun = time.perf_counter()
    found: dict[tuple[int, ...], Any] = {}
    for at in rng.sample(drawn, len(drawn)):
        if not found or time.perf_counter() - begun < SECONDS / 8:
            found[at] = report.footprint(name, at or None).mask
    return found


def _drawn(rng: random.Random, ranges: list[range], count: int) -> list[tuple[int, ...]]:
    """Some positions, the corners among them; all where they are few."""
    total = 1
    for one in ranges:
        total *= len(one)
    if total <= count:
        return list(product(*ranges))
    corners = {tuple(one[0] for one in ranges), tuple(one[-1] for one in ranges)}
    while len(corners) < count:
        corners.add(tuple(rng.choice(one) for one in ranges))
    return sorted(corners)


def _feed(
    runner: onnxruntime.InferenceSession, report: atrous.Inspection, values: dict[str, Any]
) -> dict[str, Any]:
    """Something for every input: noise, small whole numbers, full lengths."""
    rng = np.random.default_rng(0)
    shapes = {tensor.name: tensor.shape for tensor in report.network.inputs}
    longest = max((max(s, default=1) for s in shapes.values()), default=1)
    feed = {}
    for item in runner.get_inputs():
        kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16}.get(item.type)
        if item.name in values:
            held = np.int64 if kind is None else kind
            feed[item.name] = np.broadcast_to(
                np.asarray(values[item.name], held), [int(s) for s in item.shape]
            ).copy()
        elif kind is not None:
            feed[item.name] = rng.normal(size=shapes[item.name]).astype(kind)
        else:
            dtype = {"tensor(bool)": bool, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8}
            made = rng.integers(1, 3, shapes[item.name]).astype(dtype.get(item.type, np.int64))
            if "len" in item.name:
                made[...] = longest
            if "mask" in item.name:
                made[...] = 1
            feed[item.name] = made
    return feed


def different(folder: Path) -> list[tuple[str, Path]]:
    """The files, each content once, by package and path."""
    found: dict[str, tuple[str, Path]] = {}
    for file in sorted(folder.rglob("*.onnx")):
        key = hashlib.sha256(file.read_bytes()).hexdigest()
        found.setdefault(key, (file.relative_to(folder).as_posix(), file))
    return list(found.values())


def main() -> None:
    """Measures what is asked for; one file where that is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--limit", type=float, default=150)
    parser.add_argument("--one", action="store_true", help="FOLDER is a file; prints its result.")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.folder)))
        return
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    files = different(given.folder)
    results = {name: kept[name] for name, _ in files if name in kept}
    for name, file in files:
        if given.only and not any(text in name for text in given.only):
            continue
        command = [sys.executable, __file__, str(file), "--one"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=given.limit, check=False
            )
            found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
            found = found or {"status": "failed", "reason": done.stderr.strip()[-300:]}
        except subprocess.TimeoutExpired:
            found = {"status": "too slow", "reason": f"more than {given.limit:.0f} s"}
        results[name] = {"commit": commit(), **found}
        print(name, found["status"], found.get("reason", found.get("probe", "")), flush=True)
        text = json.dumps(dict(sorted(results.items())), indent=1)
        RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
