"""Many streams of one model side by side: each begins, goes on and ends when it likes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol

from atrous.errors import ArgumentError, ArgumentTypeError
from atrous.shown import how_many, some

if TYPE_CHECKING:
    import torch

    from atrous.runners.stream.engine import Held, Steps
    from atrous.runners.stream.native.engine import NativeSteps
    from atrous.runners.stream.recipe import Recipe
    from atrous.runners.stream.state import StreamState

__all__ = ["Slots"]

USUAL = 8
"""Streams that run as one batch where nothing else is asked for."""


class _Alone(Protocol):
    """One stream of the model, which says what fits and what comes back."""

    _recipe: Recipe
    _engine: Steps | NativeSteps

    @property
    def name(self) -> str: ...

    @property
    def axis(self) -> int: ...

    def _taken(self, chunk: Any) -> torch.Tensor: ...

    def _given(self, made: list[torch.Tensor], chunk: Any) -> Any: ...

    def _none(self) -> list[torch.Tensor]: ...

    def _held_of(self, state: StreamState) -> Held: ...

    def _state_of(self, held: Held, *, ended: bool) -> StreamState: ...


@dataclass(slots=True, eq=False)
class _Group:
    """Streams whose states lie in one batch, in the order of `keys`."""

    keys: list[Hashable]
    held: Held


class Slots:
    """Streams that open, go on and close each at its own time, each as if it were alone.

    In PyTorch those that stand alike and get chunks of one length run as one batch: all that have
    begun, and are the same number of samples behind a multiple of the hop. By the native kernels
    each runs for itself, and all share the packed weights. See `Stream.slots`.
    """

    def __init__(self, stream: _Alone, most: int | None) -> None:
        from atrous.runners.stream.batched import batches_of
        from atrous.runners.stream.engine import Steps

        if most is not None and most < 1:
            raise ArgumentError(f"most={most} streams cannot run at once; give 1 or more.")
        self._stream = stream
        engine = stream._engine
        self._native = None if most is not None or isinstance(engine, Steps) else engine
        self._own: dict[Hashable, NativeSteps] = {}
        several = USUAL if self._native is None else 1
        self._alone, *larger = batches_of(stream._recipe, several if most is None else most)
        self._batches = {one.size: one for one in (self._alone, *larger)}
        self._exactly = any(one.counted for one in self._batches.values())
        self._counts: dict[Hashable, int] = {}
        self._groups: dict[Hashable, _Group] = {}
        self._names = count()
        # One stream in PyTorch begins and ends all others: one thread at a time.
        self._one = RLock()

    def __repr__(self) -> str:
        return (
            f"Slots of {self._stream.name}: {how_many(len(self), 'stream')} open, "
            f"up to {self.together} at once"
        )

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(list(self._counts))

    def __contains__(self, key: object) -> bool:
        return key in self._counts

    @property
    def together(self) -> int:
        """The most streams that run as one batch; 1 where the model runs on no larger one."""
        return max(self._batches)

    def open(self, key: Hashable = None, state: StreamState | None = None) -> Hashable:
        """Begins a stream, or goes on from a state, and returns the key by which it is known.

        Any key that can be in a dict serves; a number is found where none is given. Raises
        `ArgumentError` where one is open under the key, or the state is of another model or of a
        stream that has ended.
        """
        if key is None:
            key = next(name for name in self._names if name not in self._counts)
        elif key in self._counts:
            raise ArgumentError(
                f"{self._stream.name}: a stream is open as {key!r}; close it, or take another key."
            )
        if state is None:
            with self._one:
                self._alone.steps.reset()
                held = self._alone.steps.held
        else:
            held = self._stream._held_of(state)
            if state.ended:
                raise ArgumentError(
                    f"{self._stream.name}: the state is of a stream that has ended."
                )
        self._counts[key] = held.count
        if self._native is None:
            self._groups[key] = _Group([key], held)
        else:
            self._own[key] = self._native.twin()
            self._own[key].held = held
        return key

    def push(self, chunks: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """What is certain of each stream once its chunk is there, by key: as `Stream.push` does it.

        Streams that are not among the keys stay as they are. Raises as `Stream.push` does, and
        `ArgumentError` for a key under which no stream is open; all streams are then as they were.
        """
        stream = self._stream
        if not isinstance(chunks, Mapping):
            raise ArgumentTypeError(
                f"{stream.name}: chunks are a {type(chunks).__name__}; give a dict by keys."
            )
        with self._one if self._native is None else nullcontext():
            return self._pushed_each(chunks)

    def _pushed_each(self, chunks: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        stream = self._stream
        taken: dict[Hashable, torch.Tensor] = {}
        for key, chunk in chunks.items():
            self._checked(key)
            taken[key] = stream._taken(chunk)
        alike: dict[tuple[int, int], list[Hashable]] = {}
        found: dict[Hashable, list[torch.Tensor]] = {}
        for key, new in taken.items():
            more = new.shape[stream.axis]
            if more:
                alike.setdefault((self._standing(key), more), []).append(key)
            else:
                found[key] = stream._none()
        for (_, more), keys in alike.items():
            for group in self._grouped(keys) if self._native is None else ():
                found.update(self._pushed(group, taken))
            for key in keys if self._native is not None else ():
                found[key] = self._own[key].alone(self._own[key].push, taken[key])
                self._counts[key] += more
        return {key: stream._given(found[key], chunk) for key, chunk in chunks.items()}

    def close(self, key: Hashable) -> Any:
        """The outputs that are left of a stream, as `Stream.flush` gives them; its key is free.

        Raises `RunError` where the model takes no input as long as what was pushed; the stream
        then stays open, and `drop` gives it up.
        """
        self._checked(key)
        with self._one:
            steps = self._alone.steps
            steps.held = self._state(key)
            made = steps.alone(steps.finish)
            self.drop(key)
        return self._stream._given(made, None)

    def drop(self, key: Hashable) -> None:
        """Gives a stream up, and what is left of it."""
        self._checked(key)
        if self._native is None:
            self._left_by({key})
            del self._groups[key]
        else:
            del self._own[key]
        del self._counts[key]

    def count(self, key: Hashable) -> int:
        """Input samples that were pushed into a stream."""
        self._checked(key)
        return self._counts[key]

    def state(self, key: Hashable) -> StreamState:
        """What is kept of a stream at this moment, as a copy: for `open`, or for `Stream.state`."""
        self._checked(key)
        return self._stream._state_of(self._state(key), ended=False)

    def _checked(self, key: Hashable) -> None:
        if key not in self._counts:
            known = some([repr(one) for one in self._counts]) or "none"
            raise ArgumentError(
                f"{self._stream.name}: no stream is open as {key!r}; open it first. "
                f"Open are: {known}."
            )

    def _standing(self, key: Hashable) -> int:
        """Alike for streams that go on alike."""
        samples = self._counts[key]
        if not samples:
            return -1
        return samples if self._exactly else self._alone.steps.schedule.alike(samples)

    def _state(self, key: Hashable) -> Held:
        """The state of one stream."""
        if self._native is not None:
            return self._own[key].held
        group = self._groups[key]
        held = self._batches[len(group.keys)].one(group.held, group.keys.index(key))
        held.count = self._counts[key]
        return held

    def _left_by(self, keys: Set[Hashable]) -> None:
        """Streams whose batches some others leave get states of their own."""
        for key in keys:
            for other in self._groups[key].keys:
                if other not in keys and len(self._groups[other].keys) > 1:
                    self._groups[other] = _Group([other], self._state(other).copy())

    def _grouped(self, keys: Sequence[Hashable]) -> list[_Group]:
        """Batches of all these streams; those that were one before stay one."""
        sizes, left = list(self._sizes(len(keys))), set(keys)
        found = []
        for key in keys:
            group = self._groups[key]
            if key in left and len(group.keys) in sizes and left.issuperset(group.keys):
                sizes.remove(len(group.keys))
                left -= set(group.keys)
                found.append(group)
        rest = iter([key for key in keys if key in left])
        return [*found, *(self._joined([next(rest) for _ in range(size)]) for size in sizes)]

    def _sizes(self, many: int) -> Iterator[int]:
        """The batches that so many streams make, the largest first."""
        for size in sorted(self._batches, reverse=True):
            yield from [size] * (many // size)
            many %= size

    def _joined(self, keys: list[Hashable]) -> _Group:
        """One batch of streams of several."""
        states = [self._state(key) for key in keys]
        group = _Group(keys, self._batches[len(keys)].joined(states))
        self._left_by(set(keys))
        self._groups.update(dict.fromkeys(keys, group))
        return group

    def _pushed(
        self, group: _Group, taken: Mapping[Hashable, torch.Tensor]
    ) -> Iterator[tuple[Hashable, list[torch.Tensor]]]:
        """What one batch makes, stream by stream."""
        batch = self._batches[len(group.keys)]
        group.held.count = self._counts[group.keys[0]]
        made, group.held = batch.pushed(group.held, [taken[key] for key in group.keys])
        for key, one in zip(group.keys, made, strict=True):
            self._counts[key] += taken[key].shape[self._stream.axis]
            yield key, one
