"""Tiles read, run and written side by side: while one is computed the next is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atrous.plan.tiles import Tile
from atrous.runners.tiled.heap import give_back

__all__ = ["Engine", "Finished", "end_to_end", "run_tiles", "share_of"]

Read = Callable[[Tile], Sequence[Any]]
"""The inputs of a tile, as the model takes them."""
Write = Callable[[Tile, Sequence[NDArray[Any]]], None]
"""What is kept of a tile's outputs, into the targets."""
Finished = Callable[[Tile], None]


class Engine(Protocol):
    """A model that runs on tiles of one shape."""

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:
        """The outputs for inputs stacked along the batch."""

    def host(self, made: Any) -> NDArray[Any]:
        """One output as an array in main memory."""

    def fingerprint(self) -> str:
        """What tells the model from another: a hash of its operations and its weights."""


def run_tiles(
    engine: Engine,
    tiles: Iterable[Tile],
    read: Read,
    write: Write,
    *,
    batch: int = 1,
    finished: Finished | None = None,
) -> None:
    """All tiles, in their order; `finished` is called when what is kept of a tile is written.

    One tile is read ahead and one written behind, each in a thread of its own, so that at most
    three are in memory (times `batch`). What reading, running or writing raises is raised here, and
    nothing is begun after it.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        written: deque[tuple[list[Tile], Future[None]]] = deque()

        def settle(most: int) -> None:
            while len(written) > most:
                done, future = written.popleft()
                future.result()
                if finished is not None:
                    for tile in done:
                        finished(tile)

        for group, inputs in _read_ahead(reader, tiles, read, batch):
            made = [engine.host(one) for one in engine.run(inputs, group)]
            # The next tile's maps would be taken beside what this one's have left.
            give_back()
            settle(0)
            written.append((group, writer.submit(_written, write, group, made)))
            del inputs, made
        settle(0)


def _read_ahead(
    reader: ThreadPoolExecutor, tiles: Iterable[Tile], read: Read, batch: int
) -> Iterator[tuple[list[Tile], list[Any]]]:
    ahead: deque[tuple[list[Tile], Future[list[Any]]]] = deque()
    groups = iter(tiles)
    while True:
        if len(ahead) < 2:
            group = list(islice(groups, batch))
            if group:
                ahead.append((group, reader.submit(_inputs_of, read, group)))
                if len(ahead) < 2:
                    continue
        if not ahead:
            return
        group, future = ahead.popleft()
        yield group, future.result()
        del future


def _inputs_of(read: Read, group: Sequence[Tile]) -> list[Any]:
    return end_to_end([read(tile) for tile in group])


def end_to_end(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """The inputs of several tiles, laid end to end along the batch."""
    if len(parts) == 1:
        return list(parts[0])
    return [_joined_arrays(arrays) for arrays in zip(*parts, strict=True)]


def _joined_arrays(arrays: Sequence[Any]) -> Any:
    if not all(hasattr(one, "detach") for one in arrays):
        return np.concatenate(arrays)
    import torch

    return torch.cat(list(arrays))


def _written(write: Write, group: Sequence[Tile], made: Sequence[NDArray[Any]]) -> None:
    for place, tile in enumerate(group):
        write(tile, [share_of(one, place, len(group)) for one in made])


def share_of(made: NDArray[Any], place: int, count: int) -> NDArray[Any]:
    """What one tile made, of `count` that were run together."""
    if count == 1:
        return made
    each = made.shape[0] // count
    return made[place * each : (place + 1) * each]
