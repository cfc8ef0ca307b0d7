"""Tiles as tasks of a Dask cluster: workers open source and target themselves.

The model comes to each worker once, as a plug-in, which a worker that is started again gets, too.
Scheduler and client see numbers of tiles alone, and of a sweep what each tile adds to statistics,
which the client joins. A task may be done twice, where a worker died in the middle of it: it writes
the same files, and is counted once.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from atrous.errors import ArgumentError, RunError
from atrous.plan.tiles import TilePlan
from atrous.progress import step
from atrous.runners.tiled.images import Image, Prepare
from atrous.runners.tiled.parts import Writer
from atrous.runners.tiled.reductions import Reduce, reducer_of
from atrous.runners.tiled.sources import Opened, open_image
from atrous.runners.tiled.targets import Made, Place

__all__ = ["Counting", "Seen", "Shipment", "Work", "count_sweep", "seen_of"]

_USUAL = {-8: 1, -3: 32 << 20, -1: 64 << 20}
"""`M_ARENA_MAX`, `M_MMAP_THRESHOLD`, `M_TRIM_THRESHOLD` of malloc.h."""
_ATTEMPTS = 10
"""How often something is sent where workers die at that moment, a second apart."""
_AHEAD = 2
"""Tasks in flight for each thread of the cluster."""
_LOOK, _PATIENCE = 5.0, 120.0
"""Seconds after which workers are counted where no task ends, and for which none may be there.

Dask's nannies start a killed worker again, which takes seconds where it imports PyTorch.
"""
_UNPACKING = threading.Lock()


@dataclass(frozen=True)
class Seen:
    """An image as a worker opens it."""

    path: Path
    order: tuple[int | None, ...]
    channels: tuple[int, ...] | None
    prepare: Prepare | None

    def open(self) -> Image:
        """The image."""
        opened = open_image(self.path)
        return Image(opened.array, self.order, opened.name, self.channels, self.prepare)


@dataclass
class SentWork:
    """What a worker needs for any tile; what it opens, and the lock of its threads, stay there.

    `engine` is None where it was sent before, with other work.
    """

    plan: TilePlan
    engine: Any
    seen: tuple[Seen, ...]
    _open: Any = field(default=None, repr=False, kw_only=True)
    _lock: Any = field(default_factory=threading.Lock, repr=False, kw_only=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


@dataclass
class Counting(SentWork):
    """Counts any tile of an image in any sweep."""

    def run(self, number: int, known: Mapping[str, Any]) -> Any:
        """What tile `number` adds to the statistics of the first sweep that is not `known`."""
        sweep = 1 + max((one.sweep for one in self.plan.gathered if one.layer in known), default=0)
        tile = self.plan.tile(number)
        with self._lock:
            if self._open is None:
                self._open = [one.open() for one in self.seen]
        given = [image[part] for image, part in zip(self._open, tile.read, strict=True)]
        with self._lock:
            self.engine.learn(known)
            return self.engine.shares(given, tile, sweep)


@dataclass
class Work(SentWork):
    """Runs any tile, from the image into the target."""

    place: Place
    made: tuple[Made, ...]
    reduce: Reduce | str | None

    def run(self, number: int, known: Mapping[str, Any]) -> None:
        """Tile `number`, on the disk when this returns, by statistics that are `known`, if any.

        Threads of a worker read and write side by side; one at a time computes.
        """
        images, writer = self._opened()
        tile = self.plan.tile(number)
        given = [image[part] for image, part in zip(images, tile.read, strict=True)]
        with self._lock:
            if known:
                self.engine.learn(known)
            made = [self.engine.host(one) for one in self.engine.run(given, [tile])]
        writer.write(tile, made)

    def _opened(self) -> tuple[list[Image], Writer]:
        with self._lock:
            if self._open is None:
                target = self.place.target()
                target.attach(self.made)
                writer = Writer(self.plan, self.made, target, reducer_of(self.reduce))
                self._open = [one.open() for one in self.seen], writer
            found: tuple[list[Image], Writer] = self._open
            return found


class Shipment:
    """Work that the workers of a cluster have, and those have that come later.

    The model is sent once. Statistics are sent beside it when a sweep is through.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._name = f"atrous-{uuid.uuid4().hex[:12]}"
        self._sent: list[str] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was sent, the model neither."""
        return not self._sent

    def send(self, held: SentWork | dict[str, Any]) -> None:
        """Sends work, or statistics."""
        from distributed import WorkerPlugin

        name = f"{self._name}-{len(self._sent)}"
        self._sent.append(name)
        for left in range(_ATTEMPTS, 0, -1):
            try:
                self.client.register_plugin(_shipped(WorkerPlugin, held), name=name)
                return
            except OSError:
                # A worker died while it was sent to; the one that takes its place is sent it, too.
                if left == 1:
                    raise
                time.sleep(1)

    def close(self) -> None:
        """Workers let all of it go."""
        while self._sent:
            name = self._sent.pop()
            with suppress(Exception):
                self.client.unregister_worker_plugin(name)

    def run(self, numbers: Iterator[int], finished: Callable[[int, Any], None]) -> None:
        """Does the work on tiles; `finished` is called here with what each gives.

        Where a task raises, nothing is begun any more, and what runs is waited for: none writes
        into the target when this returns.
        """
        from distributed import KilledWorker

        threads = sum(self.client.nthreads().values())
        if not threads:
            raise RunError("the cluster has no workers; start some.")
        names = tuple(self._sent)

        def submit(number: int) -> Any:
            return self.client.submit(_task, names, number, key=f"{names[-1]}-{number}", pure=False)

        running = {submit(number) for number in islice(numbers, threads * _AHEAD)}
        try:
            while running:
                for future in self._ended(running):
                    try:
                        number, made = future.result(timeout=_LOOK)
                    except TimeoutError:
                        if future.status == "error":
                            raise
                        # Its worker died with what it gave: it is made again, by another one.
                        continue
                    except KilledWorker as error:
                        raise RunError(
                            "workers died of a tile again and again; it may need more memory than "
                            "they have: give them more, or the run smaller tiles."
                        ) from error
                    running.discard(future)
                    # Else what it gave would be made again where its worker dies.
                    future.release()
                    finished(number, made)
                    running.update(submit(following) for following in islice(numbers, 1))
        finally:
            # What has not begun is dropped; what runs is let end, since it writes.
            with suppress(Exception):
                while any(not one.done() for one in running) and self.client.nthreads():
                    _wait(running, "ALL_COMPLETED")
            for future in running:
                future.release()

    def _ended(self, running: set[Any]) -> list[Any]:
        """Tasks that have ended. Raises `RunError` where for long no worker is there to run any."""
        since: float | None = None
        while True:
            _wait(running, "FIRST_COMPLETED")
            ended = [one for one in running if one.done()]
            if ended:
                return ended
            if self.client.nthreads():
                since = None
                continue
            since = time.monotonic() if since is None else since
            if time.monotonic() - since >= _PATIENCE:
                raise RunError(
                    f"the cluster has had no workers for {_PATIENCE:.0f} seconds; start some and "
                    "go on with resume=True."
                )
            step("waiting for workers of the cluster")


def _wait(running: set[Any], until: str) -> None:
    """Waits for tasks, but not for long."""
    from distributed import wait

    with suppress(TimeoutError):
        wait(list(running), timeout=_LOOK, return_when=until)


def count_sweep(shipment: Shipment, plan: TilePlan, engine: Any, sweep: int) -> None:
    """Gathers the statistics of one sweep on a cluster, and tells all workers of them.

    What tiles add is joined in their order, so that it is the same however tasks come.
    """
    early: dict[int, Any] = {}
    following = 0

    def came(number: int, shares: Any) -> None:
        nonlocal following
        early[number] = shares
        while following in early:
            engine.join(early.pop(following))
            following += 1
            step(f"sweep {sweep} of {plan.sweeps}: tile {following:,} of {len(plan):,}")

    shipment.run(iter(range(len(plan))), came)
    layers = [one.layer for one in plan.gathered if one.sweep == sweep]
    shipment.send({layer: engine.found[layer] for layer in layers})


def _shipped(base: type, held: Any) -> Any:
    """A plug-in that holds something; a class of its own, as distributed is imported late.

    It is unpacked by the first task: a worker that imports a model's libraries before it answers
    may be taken for dead, and one that is started again given up.
    """
    from distributed.protocol import pickle

    class Shipped(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.packed: bytes | None = pickle.dumps(held)
            self.client = _process()

        def setup(self, worker: Any) -> None:  # noqa: ARG002
            # A worker within the client's process leaves that process's memory alone.
            if _process() != self.client:
                _allocate_as_usual()

    return Shipped()


def _unpacked(plugin: Any) -> Any:
    from distributed.protocol import pickle

    with _UNPACKING:
        if plugin.packed is not None:
            plugin.held, plugin.packed = pickle.loads(plugin.packed), None
        return plugin.held


def _allocate_as_usual() -> None:
    """Lets threads of a worker allocate as the main thread of any process does.

    Dask starts workers with a bound (`MALLOC_TRIM_THRESHOLD_`) under which glibc maps every block
    above 128 KiB by itself, and threads have arenas of their own that give theirs back: each map
    of a tile is then cleared anew. These are the bounds that glibc comes to by itself.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in _USUAL.items():
            libc.mallopt(option, value)


def _process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def _task(names: Sequence[str], number: int) -> tuple[int, Any]:
    """On a worker: one tile, by what was sent under these names: work, and statistics beside it."""
    from distributed import get_worker

    plugins = get_worker().plugins
    held = [_unpacked(plugins[name]) for name in names]
    works = [one for one in held if not isinstance(one, dict)]
    if works[-1].engine is None:
        works[-1].engine = works[0].engine
    known = {layer: sums for one in held if isinstance(one, dict) for layer, sums in one.items()}
    return number, works[-1].run(number, known)


def seen_of(sources: Sequence[Opened], images: Sequence[Image], place: Place) -> tuple[Seen, ...]:
    """The images by their paths. Raises `ArgumentError` for what workers cannot open."""
    if place.path.suffix != ".zarr":
        raise ArgumentError(f"{place.path}: many machines write into .zarr; end it so.")
    found = []
    for one, image in zip(sources, images, strict=True):
        if len(one.files) != 1:
            raise ArgumentError(
                f"{one.name}: workers open the image themselves; give the path of a file."
            )
        found.append(Seen(one.files[0], image.order, image.channels, image.prepare))
    return tuple(found)
