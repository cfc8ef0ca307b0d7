"""A model that runs on images of any size, tile by tile, and gives what the whole image gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ArgumentError, ArgumentTypeError, ReadError, UnsupportedError
from atrous.network.shapes import Shape
from atrous.plan.cut import CutPlan
from atrous.plan.tiles import Tile, TilePlan
from atrous.progress import step
from atrous.runners.tiled.heap import give_back
from atrous.runners.tiled.images import kinds_said, like_image
from atrous.runners.tiled.pipeline import Engine, run_tiles
from atrous.runners.tiled.planning import Halves, Planning
from atrous.runners.tiled.reductions import (
    Reduce,
    check_part,
    parts_of,
    reduced_shape,
    reduced_target,
    reducer_of,
)
from atrous.runners.tiled.scratch import Scratch
from atrous.runners.tiled.sweeps import Last, TileError, error_of, gather
from atrous.runners.tiled.trials import check_batch, check_outputs, trials

if TYPE_CHECKING:
    from torch.nn import Module

    from atrous.runners.tiled.images import Image, Prepare
    from atrous.runners.tiled.run import Early, Progress, Run, TiledRun
    from atrous.runners.tiled.sources import Opened
    from atrous.runners.tiled.targets import Place

__all__ = ["Reduce", "Tiled"]

Read = Callable[[Tile], Sequence[Any]]

_NOT_BY_TILES = "reduce is done tile by tile, and the back of this network is not."
_CHANNELS = 4
"""A last dimension of so many at most may be the colours of a picture."""


class Tiled:
    """A model by tiles: `tiled(image)` is what `model(image)` gives, in bounded memory.

    `tiled.plan(shape)` says how an image of that shape is cut. See `atrous.tile`.
    """

    def __init__(
        self,
        planner: Planning,
        engines: Callable[[TilePlan], Engine],
        batch: int = 1,
    ) -> None:
        self._planner, self._engines = planner, engines
        self._plans: dict[tuple[Shape, ...], TilePlan | CutPlan] = {}
        self._halved: dict[int, Halves] = {}
        self._ready: tuple[TilePlan, Engine] | None = None
        self._checked: set[object] = set()
        self.error: TileError | None = None
        """What `statistics="tile"` misses, measured on the first image of each shape."""
        self.batch = batch

    def plan(self, *shapes: Sequence[int]) -> TilePlan | CutPlan:
        """The plan for an image of this shape, batch and channels included."""
        asked = tuple(tuple(int(n) for n in shape) for shape in shapes)
        if asked not in self._plans:
            self._plans[asked] = self._planner.plan(asked)
        return self._plans[asked]

    def __call__(self, *images: Any, reduce: Reduce | str | None = None) -> Any:
        """The outputs of the whole image; one array, or a tuple where the model has several.

        `images` are what the model takes, anything with `shape`, `dtype` and slicing. Tensors give
        tensors, all else NumPy arrays. `reduce`, `"argmax"`, `"threshold:0.5"` or a function of one
        tile of an output, is applied to each tile: what it leaves out is never held as a whole.
        """
        for image in images:
            if not hasattr(image, "shape") or not hasattr(image, "dtype"):
                raise ArgumentTypeError(
                    f"an image is anything with shape, dtype and slicing, such as an array; got a "
                    f"{type(image).__name__}."
                )
        plan = self.plan(*(image.shape for image in images))
        if isinstance(plan, CutPlan):
            return self._cut(plan, images[0], reduce)
        reducer = reducer_of(reduce)
        whole: list[NDArray[Any] | None] = [None] * len(plan.outputs)

        def write(tile: Tile, made: Sequence[NDArray[Any]]) -> None:
            for index, part in enumerate(parts_of(tile, made, reducer)):
                output, kept = plan.outputs[index], tile.keep[index]
                target = reduced_target(kept.target, output.axes, part.ndim)
                found = whole[index]
                if found is None:
                    shape, _ = reduced_shape(output, part.shape)
                    found = whole[index] = np.empty(shape, part.dtype)
                found[check_part(output.name, part, target, found.shape)] = part

        def read(tile: Tile) -> list[Any]:
            return [image[part] for image, part in zip(images, tile.read, strict=True)]

        with kinds_said(plan.network, images), self._scratch(plan) as scratch:
            made: set[tuple[int, ...]] = set()

            def done(tile: Tile, outputs: list[NDArray[Any]]) -> None:
                write(tile, outputs)
                made.add(tile.index)

            last = self._check_sizes(plan, self._engine(plan), read, scratch, done)
            run_tiles(
                last.engine,
                (tile for tile in last.plan.tiles() if tile.index not in made),
                last.read,
                write,
                batch=self._batched(plan),
            )
        found = tuple(like_image(images[0], one) for one in whole)
        return found[0] if len(found) == 1 else found

    def run(
        self,
        source: Any,
        target: Any,
        *,
        reduce: Reduce | str | None = None,
        client: Any = None,
        axes: str | None = None,
        channels: Sequence[int] | None = None,
        prepare: Prepare | None = None,
        resume: bool = False,
        overwrite: bool = False,
        shards: bool = False,
        progress: Progress | None = None,
        planned: Callable[[TilePlan | CutPlan], object] | None = None,
    ) -> TiledRun:
        """Streams the image in `source` through the model into `target`, and says what was made.

        `source` is an array (anything with `shape`, `dtype` and slicing) or the path of a `.npy`,
        `.zarr` or TIFF file, of which only the tiles are read; several inputs are a tuple. `axes`
        names its dimensions where they are not the model's (`"YXC"`: channels last), `channels`
        picks some, and `prepare` is a function of one tile, position by position, that makes of it
        what the model takes.

        `target` is an array that takes slices, a tuple of them where there are several outputs, or
        a path that ends in `.zarr` (format 3; chunks are what tiles keep, with `shards` one file a
        tile) or `.npy`. Into a path the run can be killed at any moment: with `resume` it goes on
        behind the tiles that are on the disk, and gives what an undisturbed run gives. It is
        refused where the model, the source, the plan or `reduce` are others than at the beginning.

        Of a network that is cut the tiles are those of its front; what follows is run and written
        when all of them are there.

        `planned` is handed the plan before anything is run, `progress` each finished tile as text
        and the share of all that is written.

        With `client`, a `distributed.Client`, the workers of a Dask cluster run the tiles: from a
        path into a `.zarr`, which they open themselves.

        Raises `ArgumentError` for what does not fit, before anything is written, and `RunError`
        where a run cannot go on: a region that is not to be read, a full disk, a source that
        changes.
        """
        from atrous.runners.tiled.cluster import Counting, Shipment, count_sweep, seen_of
        from atrous.runners.tiled.images import as_image
        from atrous.runners.tiled.journal import Journal
        from atrous.runners.tiled.parts import number_of
        from atrous.runners.tiled.run import Run, check_free, run_tiled
        from atrous.runners.tiled.sources import open_image
        from atrous.runners.tiled.targets import Arrays, target_at

        place: Arrays | Place
        if isinstance(target, str | PathLike):
            place = target_at(target, shards=shards)
            check_free(place.path, Journal(place.state()), resume, overwrite)
        else:
            place = Arrays(target if isinstance(target, tuple | list) else (target,))
        with ExitStack() as held:
            opened = [open_image(s) for s in (source if isinstance(source, tuple) else (source,))]
            for one in opened:
                held.callback(one.close)
            images = [
                as_image(
                    one.array,
                    name=one.name,
                    axes=axes or one.axes,
                    rank=self._planner.rank,
                    channels=channels,
                    prepare=prepare,
                )
                for one in opened
            ]
            plan = self._planned(images, axes)
            if isinstance(plan, CutPlan):
                scratch = held.enter_context(self._scratch(plan.front))
                run = self._cut_run(plan, images, opened, reduce, client, scratch)
                if planned is not None:
                    planned(plan)
                return run_tiled(run, place, resume=resume, overwrite=overwrite, progress=progress)
            if client is not None and _needs_all(plan):
                raise UnsupportedError(
                    f"{plan.network}: workers begin with the image, of which a tile needs all; run "
                    "it here, where sweeps go on with maps that are kept."
                )
            if planned is not None:
                planned(plan)
            engine = self._engine(plan)
            scratch = held.enter_context(self._scratch(plan))
            shipment = None if client is None else Shipment(client)
            # Workers elsewhere find no maps here: each sweep begins with the image.
            begun = plan if shipment is None else replace(plan, stages=())

            def count(sweep: int) -> None:
                assert shipment is not None
                if shipment.is_empty:
                    assert not isinstance(place, Arrays)
                    shipment.send(Counting(begun, engine, seen_of(opened, images, place)))
                count_sweep(shipment, begun, engine, sweep)

            def ready(read: Read) -> tuple[Last, Early]:
                early: Early = {}

                def done(tile: Tile, outputs: list[NDArray[Any]]) -> None:
                    # Tiles of a batch are rounded as they are in one, in each run of an image.
                    if not any(tile.index) or self._batched(plan) == 1:
                        kept = parts_of(tile, outputs, None)
                        early[number_of(plan, tile)] = [one.copy() for one in kept]

                elsewhere = None if shipment is None else count
                return self._check_sizes(begun, engine, read, scratch, done, elsewhere), early

            if shipment is not None:
                held.callback(shipment.close)
            run = Run(plan, engine, images, opened, ready, self._batched(plan), reduce, shipment)
            return run_tiled(run, place, resume=resume, overwrite=overwrite, progress=progress)

    def _cut_run(
        self,
        plan: CutPlan,
        images: Sequence[Image],
        opened: Sequence[Opened],
        reduce: Reduce | str | None,
        client: Any,
        scratch: Scratch,
    ) -> Run:
        """The run of a front by tiles, and of a back behind it on the whole map."""
        from atrous.runners.tiled.behind import WhatFollows, front_ready
        from atrous.runners.tiled.run import Run

        if reduce is not None:
            raise ArgumentError(_NOT_BY_TILES)
        if client is not None:
            raise UnsupportedError(
                f"{plan.network}: it is cut, and its back runs whole, on one machine; run it here."
            )
        halves = self._halves(plan)

        def ready(read: Read) -> tuple[Last, Early]:
            return front_ready(plan.front, halves, read, scratch), {}

        behind = WhatFollows(plan.outputs, halves.behind)
        return Run(plan.front, halves.tiles, images, opened, ready, behind=behind)

    def _planned(self, images: Sequence[Image], axes: str | None) -> TilePlan | CutPlan:
        """The plan of images that are open; where none is made, whether axes are missing."""
        try:
            return self.plan(*(image.shape for image in images))
        except ReadError as error:
            last = images[0].shape[-1]
            if axes is None and last <= _CHANNELS < min(images[0].shape[-3:-1], default=0):
                said = str(error.args[0]).rstrip(".")
                error.args = (f"{said}; where the last dimension is channels, give axes='YXC'.",)
            raise

    def _engine(self, plan: TilePlan) -> Engine:
        if self._ready is None or self._ready[0] is not plan:
            self._ready = (plan, self._engines(plan))
        return self._ready[1]

    def module(self, *shape: int) -> Module:
        """A PyTorch module for images of this shape, with a front by tiles: less memory at a time.

        Raises `UnsupportedError` where the plan does not cut the network: tiles then need no back,
        and are run by calling this.
        """
        plan = self._cut_plan(shape)
        found: Module | None = self._halves(plan).module
        if found is None:
            raise UnsupportedError("of an .onnx file there is no PyTorch module; use to_onnx.")
        if plan.front.gathered:
            raise UnsupportedError(
                f"{plan.front.statistics[0]}: its statistics are gathered in sweeps, which are no "
                "part of a module; call the tiled model itself."
            )
        return found

    def _cut_plan(self, shape: Sequence[int]) -> CutPlan:
        plan = self.plan(shape)
        if not isinstance(plan, CutPlan):
            raise UnsupportedError(
                "the network is not cut at this size and memory: call the tiled model itself."
            )
        return plan

    def to_onnx(self, path: str | Path, *shape: int) -> None:
        """Writes the model for images of this shape as an ONNX file that needs less memory.

        A loop over the tiles runs the front, whose layers are in the file once; any runtime that
        knows loops runs it. Its inputs and outputs are called as those of a file that was given,
        the input of a module `image`. Of a PyTorch module this needs `onnxscript`, as PyTorch's
        exporter does.
        """
        self._planner.to_onnx(self._cut_plan(shape), Path(path))

    def backward(self, image: Any, gradient: Any, *, of_image: bool = False) -> Any:
        """Adds the gradients of a whole image's loss to the parameters' `.grad`, tile by tile.

        `gradient` is that of the loss by the output, an array of its shape (a tuple where there are
        several outputs), as `torch.autograd.grad(loss, output)` gives it for `output =
        tiled(image)`. Every position counts once, so the sums are those of a backward pass through
        the whole image; what differs is the order of additions. Batch norms are as in evaluation.
        Exact statistics are gathered anew, and what the loss changes with them goes back through
        one run of the image for each sweep; through maxima and lengths it does not go.
        With `of_image` the gradient by the image is returned. Several inputs are a tuple, and so
        are their gradients.

        >>> import atrous, torch
        >>> model = torch.nn.Conv2d(1, 2, 3, padding=1)
        >>> image = torch.rand(1, 1, 40, 40)
        >>> tiled = atrous.tile(model, tile=16)
        >>> output = tiled(image).requires_grad_()
        >>> (by_output,) = torch.autograd.grad(output.square().mean(), output)
        >>> tiled.backward(image, by_output)
        >>> model.weight.grad.shape
        torch.Size([2, 1, 3, 3])
        """
        images = tuple(image) if isinstance(image, tuple | list) else (image,)
        plan = self.plan(*(one.shape for one in images))
        if isinstance(plan, CutPlan):
            raise UnsupportedError(
                "gradients go through tiles alone, and a network with a back has more; give a tile."
            )
        from atrous.runners.tiled.gradients import backward

        if _needs_all(plan):
            raise UnsupportedError(
                f"{plan.network}: gradients begin with the image, of which a tile needs all; run "
                "it as a whole."
            )
        engine = self._engine(plan)
        if plan.gathered:
            gather(
                plan,
                engine,
                lambda tile: [one[part] for one, part in zip(images, tile.read, strict=True)],
            )
        made = backward(engine, plan, images, gradient, of_image)
        return made if made is None or isinstance(image, tuple | list) else made[0]

    def _cut(self, plan: CutPlan, image: Any, reduce: Reduce | str | None) -> Any:
        """The outputs by a front in tiles and a back on the whole map."""
        if reduce is not None:
            raise ArgumentError(_NOT_BY_TILES)
        halves = self._halves(plan)
        runs = halves.module
        if runs is None or plan.front.gathered:
            from atrous.runners.tiled.behind import by_halves

            with kinds_said(plan.network, [image]), self._scratch(plan.front) as kept:
                found = tuple(
                    like_image(image, one) for one in by_halves(plan, halves, image, kept)
                )
            return found[0] if len(found) == 1 else found

        import torch

        from atrous.runners.tiled.torch import tensor_of

        given = tensor_of(image)
        like = next((p for p in runs.parameters() if p.is_floating_point()), None)
        if like is not None:
            given = given.to(like.device, like.dtype if given.is_floating_point() else None)
        with torch.inference_mode(), kinds_said(plan.network, [image]):
            made = runs(given)
        outputs = made if isinstance(made, tuple) else (made,)
        is_tensor = isinstance(image, torch.Tensor)
        found = tuple(one.to(image.device) if is_tensor else one.cpu().numpy() for one in outputs)
        return found[0] if len(found) == 1 else found

    def _halves(self, plan: CutPlan) -> Halves:
        if id(plan) not in self._halved:
            self._halved[id(plan)] = self._planner.halves(plan)
        return self._halved[id(plan)]

    @contextmanager
    def _scratch(self, plan: TilePlan) -> Iterator[Scratch]:
        """Where sweeps of one image keep maps."""
        folder = self._planner.scratch_folder
        kept = Scratch(None if plan.in_memory else folder)
        try:
            yield kept
        finally:
            kept.close()

    def _check_sizes(
        self,
        plan: TilePlan,
        engine: Engine,
        read: Read,
        scratch: Scratch,
        done: Callable[[Tile, list[NDArray[Any]]], None],
        count: Callable[[int], None] | None = None,
    ) -> Last:
        """What is left to be run when all statistics are gathered; checks each size of tiles once.

        Tiles of another size at both ends give the same where both have it. The outputs of the
        first and the last tile, handed to `done`, need not be made again. Raises `UnsupportedError`
        where others differ: the model takes a number from its input's size or from positions in it.
        """
        last = Last(plan, engine, read)
        if not plan.exact:
            self._measure(plan, engine, read)
            return last
        last = replace(last, beside=self._beside(plan))
        if plan.gathered:
            last = gather(plan, engine, read, last.beside, scratch, count)
        if last.beside is None:
            return last
        others, runs = last.beside
        if plan.gathered and not plan.stages:
            runs.begin(engine)
        for trial in trials(last.plan, others, last.read):
            made = [last.engine.host(one) for one in last.engine.run(trial.given, [trial.tile])]
            give_back()
            beside = [runs.host(one) for one in runs.run(trial.beside, [trial.other])]
            check_outputs(last.plan, trial, made, beside)
            del beside
            if not trial.drawn:
                done(trial.tile, made)
            # What a trial made is gone before the next one runs.
            del made, trial
            give_back()
        self._check_batch(plan, engine, read)
        self._checked.add(_sizes_of(plan))
        return last

    def _check_batch(
        self, plan: TilePlan, engine: Engine, read: Callable[[Tile], Sequence[Any]]
    ) -> None:
        if self._batched(plan) > 1 and len(plan) > 1:
            check_batch(plan, engine, read)

    def _beside(self, plan: TilePlan) -> tuple[TilePlan, Engine] | None:
        """The image in tiles of another size, and what runs them; None where nothing is checked."""
        if len(plan) == 1 or _sizes_of(plan) in self._checked:
            return None
        other = self._planner.beside(plan)
        if other.input_shapes == plan.input_shapes:
            return None
        return other, self._engines(other)

    def _measure(
        self, plan: TilePlan, engine: Engine, read: Callable[[Tile], Sequence[Any]]
    ) -> None:
        """Once for each plan: what tiles with statistics of their own miss, on some tiles."""
        if id(plan) in self._checked:
            return
        exact = self._planner.exact(plan)
        other = self._engines(exact)
        with self._scratch(exact) as scratch:
            self._check_sizes(exact, other, read, scratch, lambda *_: None)
        self.error = error_of(plan, engine, exact, other, read)
        step(str(self.error))
        self._check_batch(plan, engine, read)
        self._checked.add(id(plan))

    def _batched(self, plan: TilePlan) -> int:
        return 1 if plan.resizes or plan.gathered else self.batch


def _needs_all(plan: TilePlan) -> bool:
    """Whether it is cut by its sweeps alone: from the image on, a tile needs all of an axis."""
    return any(axis.count > 1 and axis.size == axis.length for axis in plan.axes)


def _sizes_of(plan: TilePlan) -> object:
    """What a model is run at: an image of another size, in tiles of the same, shows no more."""
    return plan.input_shapes, tuple(stage.shapes for stage in plan.stages)
