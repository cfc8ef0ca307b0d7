"""How fast streams are: `python bench/streams/speed.py [names] [--quick]`.

Five networks at the size of their papers, on one thread. `atrous.stream` beside caches joined with
`torch.cat`, TorchStream, re-decoding with a guessed context, and the offline run of a whole clip,
which takes turns with them. Each is held against the offline run before it is timed. TorchStream
takes part where it is installed: `pip install torchstream-lib==1.0.2`.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.shared.asked import write_whole
from bench.shared.commit import commit
from bench.shared.machine import machine, use_threads
from bench.shared.readme import between
from bench.shared.rounds import rotated
from bench.streams.networks import NETWORKS, Network
from bench.streams.tables import tables
from bench.streams.ways import Way, ways

HOME = Path(__file__).parent
OFFLINE = "offline"
CLIP = {"frame": 60, "step": 9000, "sample": 9000}
"""Steps of a clip for the offline run, and for what precedes the blocks."""
MIXED = (1, 3, 10, 2, 40, 7)
"""Lengths of the blocks with which each way is held against the offline run, of 60 in all."""
SECONDS = 0.25
"""Of one turn."""
TURNS, MOST = 12, 3000
EXACT = 1e-4
"""Of the largest value: what is further off than that is another result."""


def held(way: Way, network: Network, model: nn.Module) -> float:
    """How far a way is off the offline run, of the largest value."""
    x = network.input(CLIP[network.step])
    whole, scale = model(x), x.shape[2] // CLIP["frame"]
    way.begin()
    pieces, start = [], 0
    lengths = cycle(n * scale for n in MIXED)
    while start < x.shape[2]:
        count = min(next(lengths), x.shape[2] - start)
        pieces.append(way.push(x[..., start : start + count]))
        start += count
    last = way.end()
    found = torch.cat([*pieces, *([] if last is None else [last])], 2)[..., way.late :]
    wanted = whole if last is not None else whole[..., : found.shape[2]]
    if found.shape != wanted.shape:
        return float("inf")
    worst = (found - wanted)[..., way.warm :].abs().max()
    return float(worst / whole.abs().max())


def blocks_of(network: Network, block: int) -> Iterator[Tensor]:
    """Blocks of noise without end."""
    many = max(4, min(64, 4096 // block))
    return cycle([one.clone() for one in network.input(many * block).split(block, 2)])


def clocked(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def timed(
    network: Network, model: nn.Module, found: Sequence[Way], block: int, turns: int
) -> dict[str, Any]:
    """The times of each way on blocks of one length, and of the offline run, in turns."""
    calls: dict[str, Callable[[], object]] = {}
    state: dict[str, int] = {}
    settle = network.input(max(CLIP[network.step], block))
    for way in found:
        blocks = blocks_of(network, block)
        way.begin()
        for piece in settle.split(512, 2):
            way.push(piece)
        calls[way.name] = lambda way=way, blocks=blocks: way.push(next(blocks))
        for _ in range(3):
            calls[way.name]()
        state[way.name] = way.state_bytes()
    clip = network.input(CLIP[network.step])
    calls[OFFLINE] = lambda: model(clip)
    taken: dict[str, list[list[float]]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for index in range(turns):
            for name in rotated(list(calls), index):
                taken[name].append(turn(calls[name], 1 if name == OFFLINE else MOST // turns))
    finally:
        gc.enable()
    steps = dict.fromkeys(calls, block) | {OFFLINE: clip.shape[2]}
    return {
        name: {**figures(times, steps[name], network.rate), "state_bytes": state.get(name)}
        for name, times in taken.items()
    }


def turn(call: Callable[[], object], most: int) -> list[float]:
    """Seconds of some calls, behind one that is not counted."""
    if most > 1:
        call()
    found: list[float] = []
    while not found or (sum(found) < SECONDS and len(found) < most):
        found.append(clocked(call))
    return found


def figures(turns: Sequence[Sequence[float]], steps: int, rate: float) -> dict[str, Any]:
    """Medians over turns, the 99.9th percentile where there are a thousand calls, and the worst."""
    median = statistics.median(statistics.median(one) for one in turns)
    all_of_them = [one for each in turns for one in each]
    count = len(all_of_them)
    return {
        "ms": 1e3 * median,
        "real_time_factor": median / (steps / rate),
        "p999_ms": 1e3 * float(np.quantile(all_of_them, 0.999)) if count >= 1000 else None,
        "worst_ms": 1e3 * max(all_of_them),
        "calls": count,
    }


def measured(network: Network, turns: int, some: Sequence[int]) -> dict[str, Any]:
    """All of one network."""
    model = network.model()
    found, absent = ways(network, model)
    off = {way.name: held(way, network, model) for way in found}
    for way in found:
        if way.exact and not off[way.name] <= EXACT:
            raise SystemExit(f"{network.name}: {way.name} is off by {off[way.name]:.1e}.")
    ours = found[0].live
    result: dict[str, Any] = {
        "name": network.name,
        "step": network.step,
        "rate": network.rate,
        "guess": network.guess,
        "latency": str(ours.latency),
        "engine": ours.engine,
        "least_bytes": ours.plan.least_bytes,
        "off": off,
        "absent": absent,
        "late": {way.name: way.late for way in found},
        "blocks": {},
    }
    for block in network.blocks:
        if some and block not in some:
            continue
        result["blocks"][str(block)] = timed(network, model, found, block, turns)
        print(tables({"networks": [result]}, last=True), end="", flush=True)
    return result


def main() -> None:
    """Measures, prints, and keeps what is asked for."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("names", nargs="*", help="words of networks' names; all if left out")
    asked.add_argument("--blocks", type=int, nargs="*", default=[], help="these alone")
    asked.add_argument("--quick", action="store_true", help="two turns, nothing is kept")
    asked.add_argument("--turns", type=int, default=TURNS)
    asked.add_argument("--threads", type=int, default=1)
    given = asked.parse_args()
    use_threads(given.threads)
    turns = 2 if given.quick else given.turns
    results: dict[str, Any] = {"commit": commit(), "machine": machine(given.threads)}
    with torch.inference_mode():
        results["networks"] = [
            measured(one, turns, given.blocks)
            for one in NETWORKS
            if not given.names or any(word.lower() in one.name.lower() for word in given.names)
        ]
    if given.quick or given.names or given.blocks:
        return
    write_whole(HOME / "speed.json", results)
    between(HOME / "README.md", "<!-- speed -->", tables(results), "<!-- /speed -->")


if __name__ == "__main__":
    main()
