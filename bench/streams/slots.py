"""Many streams at once beside one after the other: `python bench/streams/slots.py [--most 8]`.

The networks of `networks.py`, one thread, blocks of 16 steps of noise for each of the streams. Both
ways take turns; the medians of a round of pushes, for all streams together.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import atrous
from bench.shared.machine import machine, sentence, use_threads
from bench.shared.rounds import clock
from bench.streams.networks import NETWORKS, Network

BLOCK, SECONDS = 16, 3.0


def row(network: Network, most: int) -> str:
    """The times of one network."""
    model = network.model()
    alone = [atrous.stream(model, network.shape) for _ in range(most)]
    many = alone[0].slots(most)
    keys = [many.open() for _ in alone]
    beginning = network.input(4 * network.length)
    for live in alone:
        live.push(beginning)
    many.push(dict.fromkeys(keys, beginning))
    block = network.input(BLOCK)
    chunks = dict.fromkeys(keys, block)
    ways = {
        "each": lambda: [live.push(block) for live in alone],
        "slots": lambda: many.push(chunks),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    made = [[way() for way in ways.values()] for _ in range(2)][-1]
    off = max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip(made[1].values(), made[0], strict=True)
    )
    gc.collect()
    gc.disable()
    while sum(taken["each"]) < SECONDS or len(taken["each"]) < 5:
        for name, way in ways.items():
            taken[name].append(clock(way))
    gc.enable()
    each, slots = (1e3 * statistics.median(one) for one in taken.values())
    return (
        f"| {network.name} | {many.together} | {each:.1f} | {slots:.1f} | {slots / each:.2f} "
        f"| {off:.1e} |"
    )


def main() -> None:
    """Prints a row for each network."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--most", type=int, default=8)
    most = asked.parse_args().most
    use_threads(1)
    print(f"{most} streams, blocks of {BLOCK}. {sentence(machine(1))}\n")
    print("| network | at once | each alone, ms | slots, ms | ratio | off by |")
    print("| --- | --- | --- | --- | --- | --- |")
    with torch.inference_mode():
        for network in NETWORKS:
            print(row(network, most), flush=True)


if __name__ == "__main__":
    main()
