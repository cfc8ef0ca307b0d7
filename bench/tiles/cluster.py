"""Tiles on two workers of a Dask cluster beside two processes that have half of the image each.

    python bench/tiles/cluster.py [--size N] [--tile N] [--turns N]

Both read a `.npy` and write a `.zarr`, one thread a process, and take turns; each is timed from the
call of `run` to its end, with everything imported and the model planned once. Then a model that
does nothing, in small tiles: what a task costs the cluster beside its work. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from models import built

import atrous


def image_at(path: Path, channels: int, rows: int, columns: int) -> None:
    held = np.lib.format.open_memmap(path, "w+", np.float32, (1, channels, rows, columns))
    random = np.random.default_rng(0)
    for row in range(0, rows, 256):
        part = held[:, :, row : row + 256]
        part[...] = random.standard_normal(part.shape, np.float32)
    held.flush()


def half(name: str, tile: int, source: Path, target: Path, gates: Any) -> None:
    """A process that runs its half whenever both are let through."""
    torch.set_num_threads(1)
    model, _ = built(name)
    tiled = atrous.tile(model, tile=tile)
    tiled.run(source, target, overwrite=True)
    ready, done, going = gates
    while True:
        ready.wait()
        if not going.value:
            return
        tiled.run(source, target, overwrite=True)
        done.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="U-Net, transposed")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    from distributed import Client, LocalCluster

    folder = Path(tempfile.mkdtemp())
    model, channels = built(given.model)
    image_at(folder / "whole.npy", channels, given.size, given.size)
    image_at(folder / "half.npy", channels, given.size // 2, given.size)
    context = multiprocessing.get_context("spawn")
    gates = (context.Barrier(3), context.Barrier(3), context.Value("b", True))
    workers = [
        context.Process(
            target=half,
            args=(given.model, given.tile, folder / "half.npy", folder / f"half{i}.zarr", gates),
        )
        for i in range(2)
    ]
    for worker in workers:
        worker.start()
    times: dict[str, list[float]] = {"two processes": [], "two workers": []}
    local = LocalCluster(n_workers=2, threads_per_worker=1, processes=True)
    with local as cluster, Client(cluster) as client:
        client.run(torch.set_num_threads, 1)
        tiled = atrous.tile(model, tile=given.tile)
        asked = {"client": client, "overwrite": True}
        tiled.run(folder / "whole.npy", folder / "whole.zarr", **asked)
        for _ in range(given.turns):
            gates[0].wait()
            start = time.perf_counter()
            gates[1].wait()
            times["two processes"].append(time.perf_counter() - start)
            start = time.perf_counter()
            tiled.run(folder / "whole.npy", folder / "whole.zarr", **asked)
            times["two workers"].append(time.perf_counter() - start)
        gates[2].value = False
        gates[0].wait()
        idle = atrous.tile(nn.Conv2d(1, 1, 1).eval(), tile=64)
        image_at(folder / "small.npy", 1, 2048, 2048)
        idle.run(folder / "small.npy", folder / "small.zarr", **asked)
        start = time.perf_counter()
        idle.run(folder / "small.npy", folder / "small.zarr", **asked)
        small = (time.perf_counter() - start) / (2048 // 64) ** 2
    plan = tiled.plan((1, channels, given.size, given.size))
    medians = {name: median(taken) for name, taken in times.items()}
    found = {
        "model": given.model,
        "tiles": len(plan),
        "seconds": {name: [round(s, 2) for s in taken] for name, taken in times.items()},
        "workers over processes": round(medians["two processes"] / medians["two workers"], 3),
        "milliseconds for each small tile": round(1e3 * small, 2),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(found))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
