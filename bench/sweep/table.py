"""The tables of the sweep: `python bench/sweep/table.py` writes README.md from results.json."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.shared.commit import commits
from bench.sweep.published import HERE, KINDS, Entry, costs, kind_of, results

HEAD = """# The sweep

One network of about each family of timm 1.0.31 and torchvision 0.28.0, built with random weights
(torch 2.13.0, seed 0), read by `atrous`, and probed: NaN goes into single input positions of the
real model, and at six of its layers, at up to five places each, an output turns NaN exactly where
its footprint says that it reads. Written by `python bench/sweep/table.py` from `results.json`,
which `python bench/sweep/sweep.py --onnx` measures. Images have 128 px on a side, or what the model
was made for. What models cost is compared with PyTorch in `costs.json` (`costs.py`).

timm's csatv2 mixes the images of a batch (its products of queries and keys leave out the channel
dimension), so that a NaN in one tells nothing of the others: it is probed one image at a time, by
NaN and by finite changes in float64, which must show nowhere that a footprint says is not read.
(Not everywhere that it says is read: the norm of a single number is the same whatever the number.)
"""


PAID = ("MACs", "params", "peak")


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


def agreeing(entry: Entry, cost: str) -> str:
    """Whether a cost is the one that PyTorch has; `at least` where the report says no more."""
    if cost not in entry:
        return "-"
    ours, theirs = entry[cost]
    if cost in entry["uncounted"]:
        return "at least" if ours <= theirs else "no"
    return "agree" if ours == theirs else "no"


def share(entry: Entry, of: str = "tensors") -> float | None:
    """Peak memory as reported over what the profiler sees; None where it was not compared."""
    memory = entry.get("memory", {})
    return memory["eager"] / memory[of] if memory.get("eager") else None


def costs_in_words(paid: Mapping[str, Entry]) -> str:
    """How many models cost what PyTorch says."""
    compared = {name: entry for name, entry in paid.items() if "memory" in entry}
    whole = [entry for entry in compared.values() if entry["complete"]]
    same = {
        cost: sum(agreeing(entry, cost) == "agree" for entry in whole)
        for cost in ("macs", "params")
    }
    within = {
        of: sum(abs((share(entry, of) or 0) - 1) <= 0.05 for entry in compared.values())
        for of in ("tensors", "calls", "everything")
    }
    exact = sum(share(entry) == 1 for entry in compared.values())
    return (
        f"Of {len(whole)} complete models, MACs are those that PyTorch counts (fused kernels taken "
        f"apart) in {same['macs']}, and parameters those of the module in {same['params']}. Peak "
        f"memory of the eager run is within 5% of what the profiler sees in {within['tensors']} of "
        f"{len(compared)} models, equal to the byte in {exact}. That counts the tensors, and not "
        "what a kernel frees before it returns; without what a whole call from Python makes and "
        f"frees (the indices of a max pool) it is within 5% in {within['calls']}, and with the "
        f"scratch memory of libraries, which depends on the machine, in {within['everything']}. "
        f"Measured at {commits(entry.get('commit') for entry in paid.values())}.\n"
    )


def _costs_agree(entry: Entry) -> bool:
    same = all(agreeing(entry, cost) == "agree" for cost in ("macs", "params"))
    return same and abs((share(entry) or 0) - 1) <= 0.05


def _peaks(entry: Entry) -> tuple[object, object]:
    return entry["memory"]["eager"] or "not known", entry["memory"]["tensors"]


def unlike(paid: Mapping[str, Entry]) -> Iterator[str]:
    """The table of models that cost something else than PyTorch says, where there are any."""
    rows = [
        (name, *entry["macs"], *entry["params"], *_peaks(entry), entry["memory"]["reason"])
        for name, entry in paid.items()
        if "memory" in entry and not _costs_agree(entry)
    ]
    if rows:
        head = ("model", "MACs", "PyTorch", "params", "PyTorch", "peak", "profiler", "because")
        yield table(head, rows)


def document(found: Mapping[str, Entry], paid: Mapping[str, Entry]) -> str:
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
        "## Costs\n",
        costs_in_words(paid),
        *unlike(paid),
        "## All\n",
        (
            "`field` is the local receptive field of the first output, in pixels of the input; "
            "`peak` is the peak memory reported over that which the profiler sees.\n"
        ),
        table(
            ("model", "is", "field", "mix all positions", "compared", "ONNX", *PAID),
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
                    agreeing(paid.get(name, {}), "macs"),
                    agreeing(paid.get(name, {}), "params"),
                    f"{ratio:.3f}" if (ratio := share(paid.get(name, {}))) else "-",
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
    (HERE / "README.md").write_text(document(results(), costs()))
