"""Runs into files, killed at random and gone on with: `python -m tests.kill_runs --kills 50`.

Each run is a process of its own that SIGKILL ends at a random moment: a third of them anywhere,
before the first file too, the others between and within tiles. After each kill the files of all
tiles in the log must be those of an undisturbed run, and at most one more tile may be on the disk;
at the end all files must be the same. `--workers 2` kills workers of a Dask cluster instead,
`--sweeps` while they gather statistics.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import zarr  # noqa: F401 - once for all processes
from filelock import FileLock  # noqa: F401 - once for all processes
from torch import nn

import atrous
from atrous.runners.tiled import cluster

KINDS = ("a.zarr", "s.zarr", "a.npy")


@dataclass(frozen=True)
class Job:
    """One tiled run, by the name of its target: one of `KINDS`."""

    folder: Path
    kind: str
    tiled: atrous.Tiled

    def run(self, target: Path) -> None:
        """Runs it here, from where it was left."""
        source, shards = self.folder / "in.npy", self.kind == "s.zarr"
        self.tiled.run(source, target, resume=True, shards=shards)

    def started(self, target: Path) -> int:
        """The process that runs it."""
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            self.run(target)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def state(self, target: Path) -> Path:
        """Where its journal is."""
        hidden = target.with_name(f".{target.name}.atrous")
        return hidden if target.suffix == ".npy" else target / ".atrous"


def files_of(target: Path) -> dict[str, bytes]:
    """Everything that a run makes for others."""
    if target.is_file():
        return {"": target.read_bytes()}
    found = (path for path in target.rglob("*") if path.is_file() and ".atrous" not in path.parts)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in found}


def finished(state: Path) -> set[int]:
    """The tiles of the whole lines of a log."""
    log = state / "tiles.log"
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return {int(line.split()[0]) for line in lines}


def assert_finished_tiles_are_right(job: Job, target: Path, right: Path) -> None:
    done = finished(job.state(target))
    if target.suffix == ".npy":
        if not done:
            return
        one, other = (np.load(path, mmap_mode="r") for path in (target, right))
        for number in done:
            row, column = divmod(number, 5)
            part = (..., slice(row * 48, row * 48 + 48), slice(column * 48, column * 48 + 48))
            assert np.array_equal(one[part], other[part]), f"{target}: tile {number}"
        return
    made, wanted = files_of(target), files_of(right)
    chunks = {name for name in made if name.startswith("c/") and not name.endswith(".partial")}
    for number in done:
        name = "c/0/0/{}/{}".format(*divmod(number, 5))
        assert made.get(name) == wanted[name], f"{target}: {name}"
    assert len(chunks) <= len(done) + 1, f"{len(chunks)} chunks of {len(done)} finished tiles"


def kill(kills: int, seed: int, folder: Path, kinds: Sequence[str] = KINDS) -> Iterator[str]:
    """Kills so many runs, and tells of each target that is finished."""
    draw = random.Random(seed)
    tiled = _drawn(folder, seed, (1, 1, 400, 470))
    jobs = [Job(folder, kind, tiled) for kind in kinds]
    took = {}
    for job in jobs:
        began = time.monotonic()
        assert ended(job.started(folder / f"right_{job.kind}")) == 0
        took[job.kind] = time.monotonic() - began
    count = targets = 0
    while count < kills:
        job = jobs[targets % len(jobs)]
        target, right = folder / f"{targets}_{job.kind}", folder / f"right_{job.kind}"
        met: list[int] = []
        while True:
            child = job.started(target)
            if count < kills:
                _wait(draw, job.state(target), took[job.kind])
                os.kill(child, signal.SIGKILL)
            code = ended(child)
            assert code in (0, -signal.SIGKILL), f"a run failed with {code}"
            if code == 0:
                break
            count += 1
            assert_finished_tiles_are_right(job, target, right)
            met.append(len(finished(job.state(target))))
        assert files_of(target) == files_of(right), target
        targets += 1
        yield f"{target.name}: the same files after kills at {met} of 25 tiles"
    yield f"{count} kills, {targets} targets: each the same as undisturbed"


def _drawn(
    folder: Path, seed: int, shape: tuple[int, ...], *, sweeps: bool = False
) -> atrous.Tiled:
    """A model with random weights by tiles, and in the folder an image for it."""
    image = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    np.save(folder / "in.npy", image)
    torch.manual_seed(seed)
    norm = nn.GroupNorm(2, 16) if sweeps else nn.Identity()
    layers = [
        nn.Conv2d(1, 16, 3, 2, 1),
        norm,
        nn.ReLU(),
        nn.Conv2d(16, 3, 5, padding=4, dilation=2),
    ]
    how = "exact" if sweeps else None
    return atrous.tile(nn.Sequential(*layers).eval(), shape, tile=96, statistics=how)


def _wait(draw: random.Random, state: Path, took: float) -> None:
    """Until a random moment of a run that takes so long."""
    if draw.random() < 1 / 3:
        time.sleep(draw.uniform(0, took))
        return
    wanted, end = len(finished(state)) + draw.randrange(6), time.monotonic() + 2 * took
    while len(finished(state)) < wanted and time.monotonic() < end:
        time.sleep(0.0005)
    time.sleep(draw.uniform(0, took / 40))


def kill_workers(kills: int, seed: int, folder: Path, *, sweeps: bool = False) -> Iterator[str]:
    """A run on a Dask cluster of two processes, of which so many are killed in the middle of it.

    With `sweeps` in the middle of the sweep that gathers statistics, before the run.
    """
    from distributed import Client, LocalCluster

    draw = random.Random(seed)
    tiled = _drawn(folder, seed, (1, 1, 900, 1000), sweeps=sweeps)
    tiled.run(folder / "in.npy", folder / "right.zarr")
    moments = sorted(draw.sample(range(2, 80), kills))
    asked = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**asked) as cluster_here, Client(cluster_here) as client:

        def told(count: int) -> None:
            if moments and count >= moments[0]:
                del moments[0]
                os.kill(draw.choice(list(client.run(os.getpid).values())), signal.SIGKILL)

        def progress(text: str, _share: float) -> None:
            if not sweeps:
                told(int(text.split()[1]))

        def step(text: str) -> None:
            if text.startswith("sweep 1 "):
                told(int(text.split()[-3]))

        with patch.object(cluster, "step", step):
            made = tiled.run(folder / "in.npy", folder / "a.zarr", client=client, progress=progress)
    assert not moments
    assert files_of(folder / "a.zarr") == files_of(folder / "right.zarr")
    where = "a sweep of" if sweeps else "a run of"
    yield f"{kills} workers killed in {where} {made.tiles} tiles: the same files"


def ended(child: int) -> int:
    """The exit code of a process, or the signal that ended it, below 0."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(say: Callable[[str], None] = print) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--workers", type=int, default=0, help="kill so many of a Dask cluster")
    parser.add_argument("--sweeps", action="store_true", help="kill workers while they count")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if asked.workers:
            killed = kill_workers(asked.workers, asked.seed, Path(folder), sweeps=asked.sweeps)
            for line in killed:
                say(line)
            return
        for line in kill(asked.kills, asked.seed, Path(folder), asked.kinds):
            say(line)


if __name__ == "__main__":
    main()
