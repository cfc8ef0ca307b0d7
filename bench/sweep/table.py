"""The tables of the sweep: `python bench/sweep/table.py` writes README.md from results.json."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.shared.commit import commits
from bench.sweep.published import HERE, KINDS, Entry, kind_of, results

HEAD = """# The sweep

One network of about each family of timm 1.0.31 and torchvision 0.28.0, built with random weights
(torch 2.13.0, seed 0), read by `atrous`, and probed: NaN goes into single input positions of the
real model, and at six of its layers, at up to five places each, an output turns NaN exactly where
its footprint says that it reads. Written by `python bench/sweep/table.py` from `results.json`,
which `python bench/sweep/sweep.py --onnx` measures. Images have 128 px on a side, or what the model
was made for. Peak memory against PyTorch's profiler is in `memory.json` (`memory.py`).

timm's csatv2 mixes the images of a batch (its products of queries and keys leave out the channel
dimension), so that a NaN in one tells nothing of the others: it is probed one image at a time, by
NaN and by finite changes in float64, which must show nowhere that a footprint says is not read.
(Not everywhere that it says is read: the norm of a single number is the same whatever the number.)
"""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    lines = [list(head), *(list(map(str, row)) for row in rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    text.insert(1, f"|{' --- |' * len(lines[0])}")
    return "\n".join(text) + "\n"


def onnx_of(entry: Entry) -> str:
    """What the comparison with the ONNX export came to, in a word or the reason."""
    if "onnx" not in entry:
        return "-"
    return "agrees" if entry["onnx"].get("agrees") else "no"


def document(found: Mapping[str, Entry]) -> str:
    """The whole document."""
    kinds = {name: kind_of(entry) for name, entry in found.items()}
    counts = Counter(kinds.values())
    plain = [n for n, e in found.items() if e.get("convolutional") and e["status"] == "agrees"]
    whole = sum(found[n]["complete"] for n in plain)
    probed = [e["probed"] for e in found.values() if "probed" in e]
    compared = sum(p["compared"] for p in probed)
    unread = sum(p["unread"] for p in probed)
    twice = [e for e in found.values() if "onnx" in e]
    same = sum(bool(e["onnx"].get("agrees")) for e in twice)
    parts = [
        HEAD,
        (
            f"Read at {commits(entry.get('commit') for entry in found.values())}; "
            f"probed at {commits(p.get('commit') for p in probed)}.\n"
        ),
        table(
            ("", "models", "means"),
            ((kind, counts[kind], means) for kind, means in KINDS.items()),
        ),
        (
            f"{compared:,} comparisons in {len(probed)} models, {unread:,} of them of positions "
            f"that are not read: {counts['disagrees']} disagreements. Of {len(plain)} purely "
            "convolutional models (no attention, product of two maps or recurrence) "
            f"{whole} are complete. Compared with their ONNX exports: {same} of {len(twice)} "
            "reports are the same in costs, in the field of every sliding layer, and in the last "
            "footprint.\n"
        ),
        "## Partial, unprobed, and not run\n",
        table(
            ("model", "is", "because"),
            (
                (name, kinds[name], entry.get("reason") or "; ".join(entry.get("opaque", ())))
                for name, entry in found.items()
                if kinds[name] in ("partial", "unprobed", "not run", "disagrees")
            ),
        ),
        "## All\n",
        "`field` is the local receptive field of the first output, in pixels of the input.\n",
        table(
            ("model", "is", "field", "mix all positions", "compared", "ONNX"),
            (
                (
                    name,
                    kinds[name],
                    "x".join(map(str, entry.get("field", ()))) or "-",
                    f"{len(entry['globals'])}: {', '.join(entry['global_ops'])}"
                    if entry.get("globals")
                    else "-",
                    entry.get("probed", {}).get("compared", "-"),
                    onnx_of(entry),
                )
                for name, entry in found.items()
            ),
        ),
    ]
    differing = [
        (name, entry["onnx"].get("reason", ""))
        for name, entry in found.items()
        if "onnx" in entry and not entry["onnx"].get("agrees")
    ]
    if differing:
        shown = ((name, " ".join(why.split()).replace("|", "/")[:160]) for name, why in differing)
        parts += ["## ONNX exports that differ or were not made\n", table(("model", "why"), shown)]
    return "\n".join(parts)


if __name__ == "__main__":
    (HERE / "README.md").write_text(document(results()))
