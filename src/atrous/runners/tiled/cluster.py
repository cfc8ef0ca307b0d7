"""Tiles as tasks of a Dask cluster: workers open source and target themselves.

The model comes to each worker once, as a plug-in, which a worker that is started again gets, too.
Scheduler and client see numbers of tiles alone. A task may be done twice, where a worker died in
the middle of it: it writes the same files.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from atrous.errors import ArgumentError, RunError
from atrous.plan.tiles import TilePlan
from atrous.runners.tiled.images import Image, Prepare
from atrous.runners.tiled.parts import Writer
from atrous.runners.tiled.pipeline import Engine
from atrous.runners.tiled.reductions import Reduce, reducer_of
from atrous.runners.tiled.sources import Opened, open_image
from atrous.runners.tiled.targets import Made, Place

__all__ = ["Seen", "Work", "run_tasks", "seen_of"]

_USUAL = {-8: 1, -3: 32 << 20, -1: 64 << 20}
"""`M_ARENA_MAX`, `M_MMAP_THRESHOLD`, `M_TRIM_THRESHOLD` of malloc.h."""
_AHEAD = 2
"""Tasks in flight for each thread of the cluster."""


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
class Work:
    """All that a worker needs for any tile of a run; what is open stays where it is."""

    plan: TilePlan
    engine: Engine
    seen: tuple[Seen, ...]
    place: Place
    made: tuple[Made, ...]
    reduce: Reduce | str | None
    _open: tuple[list[Image], Writer] | None = field(default=None, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def run(self, number: int) -> int:
        """Tile `number`, from the image into the target, on the disk when this returns.

        Threads of a worker read and write side by side; one at a time computes.
        """
        images, writer = self._opened()
        tile = self.plan.tile(number)
        given = [image[part] for image, part in zip(images, tile.read, strict=True)]
        with self._lock:
            made = [self.engine.host(one) for one in self.engine.run(given, [tile])]
        writer.write(tile, made)
        return number

    def _opened(self) -> tuple[list[Image], Writer]:
        with self._lock:
            if self._open is None:
                target = self.place.target()
                target.attach(self.made)
                writer = Writer(self.plan, self.made, target, reducer_of(self.reduce))
                self._open = [one.open() for one in self.seen], writer
            return self._open


def run_tasks(
    client: Any, work: Work, numbers: Iterator[int], finished: Callable[[int], None]
) -> None:
    """Runs tiles on a cluster, so many at a time; `finished` is called here as each is written.

    Where a task raises, nothing is begun any more, and what runs is waited for: none writes into
    the target when this returns.
    """
    from distributed import KilledWorker, WorkerPlugin, as_completed, wait

    name = f"atrous-{uuid.uuid4().hex[:12]}"
    client.register_plugin(_shipped(WorkerPlugin, work), name=name)
    threads = sum(client.nthreads().values())
    if not threads:
        raise RunError("the cluster has no workers; start some.")

    def submit(number: int) -> Any:
        return client.submit(_task, name, number, key=f"{name}-{number}", pure=False)

    running = {submit(number) for number in islice(numbers, threads * _AHEAD)}
    try:
        queue = as_completed(list(running))
        for future in queue:
            running.discard(future)
            try:
                number = future.result()
                # Else what it gave would be made again where its worker dies.
                future.release()
                finished(number)
            except KilledWorker as error:
                raise RunError(
                    "workers died of a tile again and again; it may need more memory than they "
                    "have: give them more, or the run smaller tiles."
                ) from error
            for following in islice(numbers, 1):
                more = submit(following)
                running.add(more)
                queue.add(more)
    finally:
        # What has not begun is dropped; what runs is let end, since it writes.
        with suppress(Exception):
            wait(list(running))
        for future in running:
            future.release()
        with suppress(Exception):
            client.unregister_worker_plugin(name)


def _shipped(base: type, work: Work) -> Any:
    """A plug-in that holds the work; a class of its own, as distributed is imported late."""

    class Shipped(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.work = work
            self.client = _process()

        def setup(self, worker: Any) -> None:  # noqa: ARG002
            # A worker within the client's process leaves that process's memory alone.
            if _process() != self.client:
                _allocate_as_usual()

    return Shipped()


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


def _task(name: str, number: int) -> int:
    """On a worker: one tile of the run that was shipped under this name."""
    from distributed import get_worker

    work: Work = get_worker().plugins[name].work
    return work.run(number)


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
