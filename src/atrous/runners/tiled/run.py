"""A tiled model from a source into a target: streamed, and into a path so that it can go on."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ArgumentError, AtrousError, RunError, concerning
from atrous.plan.tiles import Tile, TilePlan
from atrous.progress import step
from atrous.runners.tiled.behind import InMemory, WhatFollows
from atrous.runners.tiled.cluster import Seen, Shipment, Work, seen_of
from atrous.runners.tiled.images import Image
from atrous.runners.tiled.journal import Journal, check_alike, only_one
from atrous.runners.tiled.parts import Writer, made_of, number_of
from atrous.runners.tiled.pipeline import Engine, run_tiles
from atrous.runners.tiled.reductions import Reduce, identity_of, parts_of, reducer_of
from atrous.runners.tiled.sources import Opened
from atrous.runners.tiled.sweeps import Last
from atrous.runners.tiled.targets import Arrays, Made, NpyFile, Place, Target
from atrous.shown import Plain, how_many

__all__ = ["Progress", "Run", "TiledRun", "check_free", "run_tiled"]

Early = dict[int, Sequence[NDArray[Any]]]
"""What is kept of the outputs of tiles, by their numbers."""

Progress = Callable[[str, float], None]
"""Is told what is being done, and which share of all tiles is written."""

_SECONDS = 30
"""How often at most a folder of many files is looked at for changes."""


@dataclass(frozen=True, slots=True)
class TiledRun(Plain):
    """What a run has written: `tiles` of them, `found` of which an earlier run had finished."""

    target: str | None
    outputs: tuple[Made, ...]
    tiles: int
    found: int
    seconds: float


@dataclass(frozen=True)
class Run:
    """What is run: a model on the tiles of a plan, from images that are open."""

    plan: TilePlan
    engine: Engine
    images: Sequence[Image]
    opened: Sequence[Opened]
    ready: Callable[[Callable[[Tile], Sequence[Any]]], tuple[Last, Early]]
    """Makes ready for the images: what is left to be run, and what was made of it on the way."""
    batch: int = 1
    reduce: Reduce | str | None = None
    shipment: Shipment | None = None
    """To the workers of a Dask cluster, which run tiles; they run here where it is None."""
    behind: WhatFollows | None = None
    """Of a network that is cut, what follows: `plan` is that of its front."""

    def facts(self) -> dict[str, Any]:
        """What must stay as it is for a run to go on."""
        plan = self.plan.to_dict()
        kept = ["inputs", "outputs", "axes", "input_shapes", "resizes", "statistics", "exact"]
        # With other stages numbers are rounded otherwise; on a cluster the last run has none.
        if self.shipment is None and self.plan.stages:
            kept.append("stages")
        return {
            "model": self.engine.fingerprint(),
            "source": {
                f"{i}": one.state()
                | {
                    "order": list(image.order),
                    "channels": image.channels and list(image.channels),
                    "prepare": identity_of(image.prepare),
                }
                for i, (one, image) in enumerate(zip(self.opened, self.images, strict=True))
            },
            "plan": {key: plan[key] for key in kept} | {"batch": self.batch},
            "reduce": identity_of(reducer_of(self.reduce)),
        }


def run_tiled(
    run: Run,
    target: Arrays | Place,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TiledRun:
    """Every tile that is not finished, written to the target. See `Tiled.run`."""
    started = time.monotonic()
    if isinstance(target, Arrays):
        if resume:
            raise ArgumentError("resume goes on with a path; of an array nothing is known.")
        if run.shipment is not None:
            raise ArgumentError("a cluster writes to a path that ends in .zarr; give one.")
        _check_apart(run.opened, target)
        watch = _Watch(run.opened, [one.state() for one in run.opened])
        if run.behind is None:
            made, found = _into(run, target, None, set(), watch, (), progress)
        else:
            kept = InMemory()
            _, found = _into(run, kept, None, set(), watch, (), progress)
            made = run.behind.into(target, kept.taken())
        return TiledRun(None, made, len(run.plan), found, time.monotonic() - started)
    path = target.path
    _check_apart(run.opened, target)
    seen = seen_of(run.opened, run.images, target) if run.shipment is not None else ()
    outputs = run.plan.outputs if run.behind is None else run.behind.outputs
    if run.behind is not None:
        target.check(len(outputs))
    names = [one.name for one in outputs]
    with ExitStack() as held:
        journal = Journal(target.state(names))
        check_free(path, journal, resume, overwrite)
        held.enter_context(concerning(str(path)))
        there = resume and (path.exists() or journal.folder.exists())
        if there:
            held.enter_context(only_one(path))
        facts = run.facts()
        watch = _Watch(run.opened, [facts["source"][f"{i}"] for i in range(len(run.opened))])
        manifest = journal.read() if resume else None
        done: set[int] = set()
        known: tuple[Made, ...] = ()
        if manifest is not None:
            check_alike(manifest, facts)
            known = tuple(Made.from_dict(one) for one in manifest["outputs"])
            done = journal.done()
        if manifest is not None and manifest["finished"] and len(done) == len(run.plan):
            return TiledRun(str(path), known, len(run.plan), len(done), 0.0)

        def begin(made: Sequence[Made]) -> None:
            # What is refused before has left nothing, not even the file of a lock.
            if not there:
                held.enter_context(only_one(path))
                check_free(path, journal, False, overwrite)
            if path.exists() or journal.folder.exists():
                target.clear(journal.folder)
            if path.suffix == ".zarr":
                path.mkdir()
            journal.begin({**facts, "outputs": [one.to_dict() for one in made]})

        with _said(run, journal):
            cut = journal.folder / "cut.npy"
            place = target.target() if run.behind is None else NpyFile(cut)
            store = _Store(place, journal, begin if manifest is None else None)
            made, found = _into(run, store, journal, done, watch, known, progress, (target, seen))
            if run.behind is not None:
                made = run.behind.into(target.target(), np.load(cut))
            journal.finish([one.to_dict() for one in made])
            cut.unlink(missing_ok=True)
    return TiledRun(str(path), made, len(run.plan), found, time.monotonic() - started)


def _check_apart(opened: Sequence[Opened], target: Arrays | Place) -> None:
    """Raises `ArgumentError` where a target is a source: tiles read what others have written."""
    if isinstance(target, Arrays):
        pairs = [(one.array, other) for one in opened for other in target.arrays]
        same = any(one is other or _shares(one, other) for one, other in pairs)
    else:
        path = target.path.resolve()
        files = [file for one in opened for file in one.files]
        same = any(file == path or path in file.parents or file in path.parents for file in files)
    if same:
        raise ArgumentError("the target is the image itself; give another one.")


def _shares(one: Any, other: Any) -> bool:
    if not all(isinstance(x, np.ndarray) or _on_cpu(x) for x in (one, other)):
        return False
    return bool(np.may_share_memory(np.asarray(one), np.asarray(other)))


def _on_cpu(value: Any) -> bool:
    return hasattr(value, "detach") and value.device.type == "cpu" and not value.requires_grad


def check_free(path: Path, journal: Journal, resume: bool, overwrite: bool) -> None:
    """Raises `ArgumentError` for what is there already, unless it is to be gone on with or away."""
    if not path.exists() or overwrite:
        return
    begun = journal.read() is not None
    if resume and not begun and _holds_something(path):
        raise ArgumentError(f"{path}: no run has begun it; give another path, or overwrite=True.")
    if not resume:
        hint = "resume=True goes on with it, overwrite=True" if begun else "overwrite=True"
        raise ArgumentError(f"{path}: it is there already; {hint} begins anew.")


def _holds_something(path: Path) -> bool:
    return path.is_file() or any(p.name != ".atrous" for p in path.iterdir())


@contextmanager
def _said(run: Run, journal: Journal) -> Iterator[None]:
    """What the system raises, in one line that says how far the run came."""
    try:
        yield
    except AtrousError:
        raise
    except OSError as error:
        done = len(journal.done()) if journal.log.exists() else 0
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        fix = "make room and" if full else "mend that and"
        raise RunError(
            f"{error.strerror or error} with {done} of {how_many(len(run.plan), 'tile')} written; "
            f"{fix} go on with resume=True."
        ) from error


class _Store:
    """A target of files, made when it is known what goes into it."""

    def __init__(
        self,
        target: Target,
        journal: Journal,
        begin: Callable[[Sequence[Made]], None] | None,
    ) -> None:
        self.target, self.journal, self.begin = target, journal, begin

    def create(self, made: Sequence[Made]) -> None:
        if self.begin is not None:
            self.begin(made)
        self.target.create(made)

    def attach(self, made: Sequence[Made]) -> None:
        self.target.attach(made)

    def write(self, index: int, place: tuple[slice, ...], part: NDArray[Any]) -> None:
        self.target.write(index, place, part)

    def has(self, index: int, place: tuple[slice, ...]) -> bool:
        return self.target.has(index, place)


def _into(
    run: Run,
    target: Target,
    journal: Journal | None,
    done: set[int],
    watch: _Watch,
    known: tuple[Made, ...],
    progress: Progress | None,
    shared: tuple[Place, tuple[Seen, ...]] | None = None,
) -> tuple[tuple[Made, ...], int]:
    """What was made, and how many tiles there were already."""
    plan, reducer = run.plan, reducer_of(run.reduce)
    if known:
        target.create(known)
        writer = Writer(plan, known, target, reducer)
        there = {number for number in done if writer.has(number)}
        if there != done and journal is not None:
            journal.rewrite(there)
        done = there

    def read(tile: Tile) -> list[Any]:
        watch.look()
        found = [image[part] for image, part in zip(run.images, tile.read, strict=True)]
        watch.look()
        return found

    last, early = _tried(run, read, again=0 not in done)
    if not known:
        known = made_of(plan, run.opened, parts_of(_cropped(last.plan, 0), early[0], reducer))
        target.create(known)
    writer = Writer(plan, known, target, reducer)
    found, written = len(done), set(done)

    def finished(tile: Tile) -> None:
        written.add(number_of(plan, tile))
        _tell(progress, len(written), len(plan))

    with journal.writing() if journal is not None else nullcontext():

        def write(tile: Tile, made: Sequence[NDArray[Any]]) -> None:
            writer.write(tile, made)
            if journal is not None:
                journal.add(number_of(plan, tile))

        for number in sorted(early.keys() - done):
            tile = _cropped(last.plan, number)
            write(tile, early.pop(number))
            finished(tile)
        early.clear()
        done = set(written)
        if run.shipment is not None and journal is not None and shared is not None:
            place, seen = shared
            place = replace(place, path=place.path.resolve())

            def came(number: int, _: object) -> None:
                watch.look()
                journal.add(number)
                finished(plan.tile(number))

            engine = run.engine if run.shipment.is_empty else None
            run.shipment.send(Work(plan, engine, seen, place, known, run.reduce))
            run.shipment.run((n for n in range(1, len(plan)) if n not in done), came)
            # Clears what workers that died have left half written.
            place.target().create(known)
            watch.look(closely=True)
            return known, found
        left = _left(last.plan, done, run.batch)
        run_tiles(
            last.engine,
            left,
            last.read,
            write,
            batch=run.batch,
            finished=finished,
        )
    watch.look(closely=True)
    return known, found


def _tried(run: Run, read: Callable[[Tile], list[Any]], *, again: bool) -> tuple[Last, Early]:
    """What is run, and what was made of it, the first tile too where that is to be run `again`."""
    try:
        last, early = run.ready(read)
        if again and 0 not in early:
            tile = last.plan.tile(0)
            made = last.engine.run(list(last.read(tile)), [tile])
            early[0] = parts_of(tile, [last.engine.host(one) for one in made], None)
        return last, early
    except AtrousError:
        raise
    except Exception as error:
        kinds = {str(one.dtype).removeprefix("torch.") for one in run.images}
        text = " ".join(str(error).split()).rstrip(".")
        raise ArgumentError(
            f"{run.plan.network}: it does not run on {', '.join(sorted(kinds))}: {text}. "
            "Where it takes other numbers, give prepare=..., a function of one tile."
        ) from error


def _cropped(plan: TilePlan, number: int) -> Tile:
    """A tile whose outputs are what is kept of them."""
    tile = plan.tile(number)
    keep = (replace(one, local=(slice(None),) * len(one.local)) for one in tile.keep)
    return replace(tile, keep=tuple(keep))


def _left(plan: TilePlan, done: set[int], batch: int) -> Iterator[Tile]:
    """What is to be run, by batches that are the same whatever was finished before."""
    for start in range(1, len(plan), batch):
        numbers = range(start, min(start + batch, len(plan)))
        if not done.issuperset(numbers):
            yield from (plan.tile(number) for number in numbers)


def _tell(progress: Progress | None, count: int, total: int) -> None:
    step(f"tile {count:,} of {total:,}")
    if progress is not None:
        progress(f"tile {count:,} of {total:,}", count / total)


class _Watch:
    """Looks whether the sources stay what they were: files at each tile, folders now and then."""

    def __init__(self, opened: Sequence[Opened], states: Sequence[Mapping[str, Any]]) -> None:
        self.pairs = list(zip(opened, states, strict=True))
        self.last = time.monotonic()
        self.every = float(_SECONDS)

    def look(self, *, closely: bool = False) -> None:
        """Raises `RunError` where a source has changed."""
        now = time.monotonic()
        due = closely or now - self.last > self.every
        for one, state in self.pairs:
            if not (due or one.is_cheap):
                continue
            if any(state[key] != value for key, value in one.state().items()):
                raise RunError(
                    f"{one.name}: it has changed while it was run, so that tiles do not fit each "
                    "other; begin anew with overwrite=True."
                )
        if due:
            self.last = time.monotonic()
            self.every = max(_SECONDS, 50 * (self.last - now))
