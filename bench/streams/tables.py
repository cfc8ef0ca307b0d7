"""Tables of what `speed.py` measured: `python bench/streams/tables.py` writes them again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.shared.machine import sentence
from bench.shared.readme import between

__all__ = ["tables"]

OURS, OFFLINE = "atrous", "offline"
NAMES = ("torch.cat", "TorchStream", "guessed context", OFFLINE)


def tail(found: dict[str, Any]) -> str:
    """The 99.9th percentile, or the slowest of fewer than a thousand blocks."""
    if found["p999_ms"] is not None:
        return f"{found['p999_ms']:.2f}"
    return f"{found['worst_ms']:.2f} of {found['calls']}"


def row(block: str, cells: dict[str, Any]) -> str:
    """One length of blocks: ours, and the others beside it by time for each step."""
    ours = cells[OURS]
    parts = [block, f"{ours['real_time_factor']:.3f}", f"{ours['ms']:.2f}", tail(ours)]
    for name in NAMES:
        one = cells.get(name)
        if one is None:
            parts.append("-")
            continue
        ratio = one["real_time_factor"] / ours["real_time_factor"]
        more = "" if name == OFFLINE else f", {tail(one)}"
        parts.append(f"{ratio:.2f}{more}")
    return f"| {' | '.join(parts)} |"


def about(found: dict[str, Any]) -> str:
    """Rates, latencies, differences and states in sentences."""
    off = ", ".join(f"{name} {value:.1e}" for name, value in found["off"].items())
    some = next(iter(found["blocks"].values()), {})
    state = ", ".join(
        f"{name} {one['state_bytes']:,}" for name, one in some.items() if one["state_bytes"]
    )
    left, right = found["guess"]
    said = [
        f"{found['rate']:,.0f} {found['step']}s a second, latency {found['latency']}.",
        f"Ours runs in {'the native kernels' if found['engine'] == 'native' else 'PyTorch'}.",
        f"Guessed context: {left} before a block, {right} behind it.",
        f"Off the offline run: {off}.",
        f"State: the least {found['least_bytes']:,} bytes; {state}.",
    ]
    said += [f"{name}: {why}." for name, why in found["absent"].items()]
    return " ".join(said)


def tables(results: dict[str, Any], *, last: bool = False) -> str:
    """A table for each network; of its last row alone where only that is asked for."""
    out = []
    for found in results["networks"]:
        rows = [row(block, cells) for block, cells in found["blocks"].items()]
        if last and len(rows) > 1:
            out.append(rows[-1])
            continue
        heads = ["block", "real-time factor", "median ms", "99.9% ms", *NAMES]
        out += [f"**{found['name']}**", "", about(found), "", f"| {' | '.join(heads)} |"]
        out += ["| " + " | ".join("---" for _ in heads) + " |", *rows]
        out += [] if last else [""]
    if not last:
        at = f"commit {results['commit']}. {sentence(results['machine'])}"
        out.append(at[0].upper() + at[1:])
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    home = Path(__file__).parent
    kept = json.loads((home / "speed.json").read_text())
    between(home / "README.md", "<!-- speed -->", tables(kept), "<!-- /speed -->")
