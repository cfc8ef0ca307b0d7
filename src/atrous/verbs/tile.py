"""`tile` and `cut_into_tiles`: a model on images of any size, tile by tile, and how it is cut."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.analysis.memory import (
    blocked_copies,
    memory_of,
    peak_of,
    resident_peak_of,
    thrifty_peak,
)
from atrous.analysis.requirements import bytes_of
from atrous.certification.resized import resized
from atrous.errors import ArgumentError, AtrousError, ReadError, UnsupportedError
from atrous.network import Network
from atrous.network.shapes import Shape
from atrous.network.walk import pruned
from atrous.plan.cut import CutPlan, cut_within
from atrous.plan.stages import in_stages
from atrous.plan.tiles import Statistics, TilePlan
from atrous.plan.tiling import cut_into_tiles
from atrous.progress import step
from atrous.readers import read
from atrous.readers.given import is_shape, shapes_of
from atrous.readers.kind import kind_of, source_name
from atrous.readers.named import make, parse
from atrous.readers.source import check_file
from atrous.refusal import Refusal
from atrous.runners.tiled.pipeline import Engine
from atrous.runners.tiled.tiled import Tiled

if TYPE_CHECKING:
    from atrous.readers.onnx.file import Source
    from atrous.runners.onnx_sizes import SizedFile
    from atrous.runners.tiled.planning import Halves

__all__ = ["Planner", "plan_tiles", "tile"]

USUAL_MEMORY = "1GiB"
_TRIALS = 8
"""How many sizes of tiles are read at most to find the largest that a budget allows."""


def tile(
    model: Any,
    input: Any = None,
    *,
    tile: int | Sequence[int] | None = None,
    memory: int | str | None = None,
    statistics: Statistics | None = None,
    scratch: str | PathLike[str] | None = None,
    batch: int = 1,
) -> Tiled:
    """The model by tiles, which give what the whole image gives, at every position.

    `model` is a PyTorch module, `"timm:NAME"` and the like, or an `.onnx` file. Tiles stand for
    `tile` input positions along each axis, or are as large as `memory` allows (bytes, or `"2GiB"`;
    1 GiB if neither is given); the halo that they read beside that is worked out from the network,
    never guessed. `input` is
    the shape of an image, which is then planned at once: what cannot run by tiles raises here, and
    not when the first image comes. `batch` tiles are run at a time.

    Where a network ends in what sees all positions (a classifier, attention), `memory` cuts it: a
    front runs by tiles while maps are large, and what is behind runs whole on a small map. With
    exact statistics those of norms and means in the front are gathered in sweeps as well.

    Norms, means, maxima and pools over all positions are refused unless `statistics` says how they
    go by tiles. `"exact"`: sweeps over the image gather what they need, one for each that depends
    on another; results are those of the whole image. Each sweep keeps the maps through which all
    that follows passes, and the next goes on with them, so that together they cost about one run:
    in memory where they take at most half of `memory` (or of 1 GiB), else in the folder `scratch`
    (one for temporary files if None), in files that end with the process. The plan says how many
    bytes (`plan.scratch_bytes`). With `scratch="none"` nothing is kept, and each sweep begins with
    the image.
    `"tile"`: each tile has statistics of its own, which is another result: one sweep, but at the
    first image of each shape, which is run exactly as well to measure the error on its first,
    middle and last tile (`tiled.error`).

    A file that fixes the size of its input runs at the size of a tile where that is the same
    network layer by layer; at images of another size, where no operator holds a size.

    The first image is also used to see that the model takes no number from the size of its input,
    such as a division by it, which no layer shows: one tile is run at a second size.

    So do numbers that depend on the place, which are held against those of a tile elsewhere.

    Raises `UnsupportedError` naming the layer where positions of a tile depend on those far away,
    `ArgumentError` for a tile or a budget that cannot be kept; the least that can is said.

    >>> import atrous, torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, dilation=4, padding=4)).double()
    >>> tiled = atrous.tile(model, tile=64)
    >>> image = torch.rand(1, 1, 200, 300, dtype=torch.double)
    >>> bool((tiled(image) - model(image)).abs().max() < 1e-14), tiled.plan(image.shape).grid
    (True, (4, 5))
    """
    if kind_of(model) == "library":
        model = make(parse(model)).model
    elif kind_of(model) in ("network", "zoo", "stack"):
        raise UnsupportedError(
            f"{source_name(model)}: it has no weights; tiles run PyTorch modules and .onnx files."
        )
    if kind_of(model) == "file":
        check_file(model)
    if not _is_count(batch):
        raise ArgumentError(f"batch={batch!r} is no number of tiles; give one of at least 1.")
    planner = Planner(model, tile=tile, memory=memory, statistics=statistics, scratch=scratch)
    tiled = Tiled(planner, planner.engine, int(batch))
    if input is not None:
        tiled.plan(*shapes_of(input) if is_shape(input) else (one.shape for one in input))
    return tiled


def plan_tiles(
    source: Any,
    input: Any = None,
    *,
    tile: int | Sequence[int] | None = None,
    memory: int | str | None = None,
    statistics: Statistics | None = None,
    scratch: str | PathLike[str] | None = None,
) -> TilePlan | CutPlan:
    """How an image of the shape `input` is cut into tiles; nothing is run.

    `source` is that of `inspect`. See `tile`.

    >>> import atrous
    >>> plan = atrous.plan_tiles("zoo:unet", (1, 3, 4096, 4096), tile=1024)
    >>> plan.grid, plan.halo[0], plan.origins, round(plan.recomputed, 2)
    ((4, 4), (94, 94), (16, 16), 0.41)
    """
    shapes = shapes_of(input) if input is not None else None
    planner = Planner(source, tile=tile, memory=memory, statistics=statistics, scratch=scratch)
    return planner.plan(shapes)


_HELD = 8
"""Networks kept between plans: the whole image is asked for again and again."""


@dataclass(frozen=True)
class Planner:
    """Plans for images of any shape, of one model."""

    source: Any
    tile: int | Sequence[int] | None = None
    memory: int | str | None = None
    statistics: Statistics | None = None
    reader: Callable[..., Network] = read
    scratch: str | PathLike[str] | None = None
    _read: dict[tuple[Shape, ...] | None, Network] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.tile is not None and self.memory is not None:
            raise ArgumentError("tile=... and memory=... both say how large tiles are; give one.")
        if self.statistics not in (None, "exact", "tile"):
            raise ArgumentError(f"statistics={self.statistics!r} is none of 'exact' and 'tile'.")
        if self.scratch not in (None, "none") and not Path(self.scratch).is_dir():
            raise ArgumentError(f"scratch={str(self.scratch)!r} is no folder; make it first.")
        if self.memory is not None:
            try:
                bytes_of(self.memory)
            except ReadError:
                raise ArgumentError(
                    f"memory={self.memory!r} is no size of memory; give a number and a unit, such "
                    "as 2GiB."
                ) from None

    @cached_property
    def name(self) -> str:
        """What the source is called."""
        return source_name(self.source)

    @property
    def scratch_folder(self) -> Path:
        """Where maps are kept between sweeps that memory does not hold."""
        return Path(tempfile.gettempdir() if self.scratch in (None, "none") else self.scratch)

    @cached_property
    def rank(self) -> int | None:
        """How many dimensions the images have, batch and channels included; None if not known."""
        if kind_of(self.source) == "module":
            from atrous.runners.tiled.torch import rank_of

            return rank_of(self.source)
        return None if self._file is None else self._file.rank

    @cached_property
    def _file(self) -> SizedFile | None:
        """An ONNX file, whose sizes may be fixed."""
        if kind_of(self.source) not in ("file", "message"):
            return None
        from atrous.runners.onnx_sizes import SizedFile

        return SizedFile(self.source)

    def network(self, shapes: tuple[Shape, ...] | None) -> Network:
        """The source at these shapes."""
        if shapes not in self._read:
            if len(self._read) > _HELD:
                self._read.clear()
            if shapes is None:
                found = self.reader(self.source)
            elif self._file is not None and self._file.own(shapes) != shapes:
                found = self._file.network(shapes)
            else:
                found = self.reader(self.source, shapes[0] if len(shapes) == 1 else shapes)
            self._read[shapes] = found
        return self._read[shapes]

    def plan(self, shapes: tuple[Shape, ...] | None) -> TilePlan | CutPlan:
        """The plan for an image of these shapes."""
        if shapes is not None and self._file is not None:
            self._file.check(shapes)
        network = self.network(shapes)
        if self.tile is not None:
            steps = _steps(network, self.tile)
            if any(step < network.inputs[0].grid.get(axis, 1) for axis, step in steps.items()):
                self._check_way(network)
            return self._tiles(network, steps)
        return self._within(network, self._budget)

    @property
    def _budget(self) -> int:
        return bytes_of(self.memory or USUAL_MEMORY)

    def _tiles(self, network: Network, steps: Mapping[str, int]) -> TilePlan:
        """Tiles of these steps, with sweeps that go on where others ended if there are any."""
        plan = self._planned(network, steps)
        if self.statistics != "exact" or self.scratch == "none":
            return plan
        whole = {axis.axis for axis in plan.axes if axis.count == 1 and axis.length > 1}
        if any(
            step < network.inputs[0].grid.get(axis, 1)
            for axis, step in steps.items()
            if axis in whole
        ):
            # What leaves nothing to cut is the halo of all layers: sweeps have less of one.
            with suppress(UnsupportedError):
                found = self._staged(network, self._planned(network, steps, anyhow=True))
                if found.stages and found.memory_bytes < plan.memory_bytes:
                    return found
        return self._staged(network, plan)

    def _staged(self, network: Network, plan: TilePlan) -> TilePlan:
        if plan.sweeps < 2:
            return plan
        step(f"planning {plan.sweeps} sweeps")

        def peak(part: Network) -> int:
            blocks = None if network.eager is None else blocked_copies(part)
            return memory_of(part, keep_inputs=False, workspace=blocks).peak_bytes

        return in_stages(plan, network, self._at_tile, peak, self._budget)

    def beside(self, plan: TilePlan) -> TilePlan:
        """The same image in tiles of a quarter of the side, or a period more if none are less."""
        network = self.network(tuple(one.shape for one in plan.inputs))
        kind: Statistics | None = "exact" if plan.gathered else self.statistics
        planner = replace(self, statistics=kind)
        less = {axis.axis: axis.fewer for axis in plan.axes if axis.count > 1}
        with suppress(UnsupportedError):
            found = planner._tiles(network, less)
            if found.input_shapes != plan.input_shapes:
                return found
        return planner._tiles(network, {axis.axis: axis.step + axis.period for axis in plan.axes})

    def exact(self, plan: TilePlan) -> TilePlan:
        """The same tiles with the statistics of the whole image, gathered in sweeps."""
        network = self.network(tuple(one.shape for one in plan.inputs))
        steps = {axis.axis: axis.step for axis in plan.axes}
        planner = replace(self, statistics="exact")
        return planner._tiles(network, steps)

    def engine(self, plan: TilePlan) -> Engine:
        """What runs the model on tiles of a plan."""
        kind = kind_of(self.source)
        if kind == "module":
            from atrous.runners.tiled.torch import TorchTiles

            return TorchTiles(self.source, plan)
        if self._file is not None:
            source = self._file.opened(plan.input_shapes)
            if plan.sweeps > 1:
                from atrous.runners.tiled.onnx_sweeps import OnnxSweeps

                return OnnxSweeps(source, plan)
            from atrous.runners.tiled.onnx import OnnxTiles

            return OnnxTiles(source, plan)
        raise UnsupportedError(
            f"{self.name}: tiles run PyTorch modules and .onnx files; this is neither."
        )

    def _at_tile(self, shapes: tuple[Shape, ...]) -> Network:
        """The source at the size of a tile."""
        try:
            return self.network(shapes)
        except ReadError as error:
            sizes = " and ".join("x".join(map(str, shape)) for shape in shapes)
            raise UnsupportedError(f"it does not run on a tile of {sizes}: {error}") from error

    def _planned(
        self, network: Network, steps: Mapping[str, int], *, anyhow: bool = False
    ) -> TilePlan:
        size = "x".join(map(str, steps.values()))
        step(f"planning tiles of {size}")
        found = cut_into_tiles(
            network,
            steps,
            self._at_tile,
            resident_peak_of,
            statistics=self.statistics,
            anyhow=anyhow,
        )
        if isinstance(found, Refusal):
            error = UnsupportedError(found.reason)
            error.subject = found.layer or self.name
            raise error
        return found

    def _check_way(self, network: Network) -> None:
        """Raises `UnsupportedError` where the values of a part decide what is done with it."""
        if network.decided:
            raise UnsupportedError(
                f"{self.name}: values decide its way in {network.decided}, and those of a tile may "
                "decide otherwise than the image's; decide before the model."
            )

    def _depth_first(self, plan: CutPlan) -> Any:
        """The module with a front by tiles, as the plan says."""
        from atrous.runners.tiled.front import DepthFirst

        shapes = tuple(one.shape for one in plan.front.inputs)
        return DepthFirst(self.source, plan, self.network(shapes))

    def halves(self, plan: CutPlan) -> Halves:
        """What runs the front on tiles, and the back behind it."""
        if kind_of(self.source) == "module":
            from atrous.runners.tiled.front import TorchHalves

            return TorchHalves(self._depth_first(plan))
        from atrous.runners.tiled.onnx_cut import OnnxHalves

        source, front, back = self._in_halves(plan)
        assert self._file is not None
        by_tiles = self._file.opened(plan.front.input_shapes)
        return OnnxHalves(plan.front, source, by_tiles, front, back)

    def to_onnx(self, plan: CutPlan, path: Path) -> None:
        """Writes the model as the plan cuts it into an ONNX file."""
        from atrous.writers.onnx.save import save_onnx

        if plan.front.gathered:
            raise UnsupportedError(
                f"{plan.front.statistics[0]}: its statistics are gathered in sweeps, which are no "
                "part of a file; call the tiled model itself."
            )
        model, folder = self._as_loop(plan)
        save_onnx(model, path, source=folder)

    def _as_loop(self, plan: CutPlan) -> tuple[Any, Path | None]:
        """The ONNX model with its front in a loop, and the folder where its weights may lie."""
        from atrous.writers.onnx.looped import looped

        if kind_of(self.source) == "module":
            from atrous.runners.tiled.front import exported_halves

            front, back = exported_halves(self._depth_first(plan))
            return looped(front, back, plan.front), None
        source, front, back = self._in_halves(plan)
        return looped(front, back, plan.front, front.graph.input[0].name), source.folder

    def _in_halves(self, plan: CutPlan) -> tuple[Source, Any, Any]:
        """A file, its front and its back as ONNX models."""
        if self._file is None:
            raise UnsupportedError(
                f"{self.name}: tiles run PyTorch modules and .onnx files; this is neither."
            )
        from atrous.readers.onnx.parts import with_sizes_of
        from atrous.readers.onnx.reader import follow_onnx
        from atrous.writers.onnx.halves import halves

        shapes = tuple(one.shape for one in plan.front.inputs)
        source = self._file.opened(shapes)
        maker = self.network(shapes).maker(plan.tensor)
        followed = follow_onnx(source, list(shapes))
        sizes = {name: value.shape for name, value in followed.values.items()}
        front, back = halves(
            with_sizes_of(source.model, sizes),
            plan.tensor if maker is None else maker.origin,
            plan.front.input_shapes[0],
            plan.front.outputs[0].shape,
            # Sweeps run the file itself, opened at the size of a tile.
            check=not plan.front.gathered,
        )
        return source, front, back

    def _cut(self, network: Network, budget: int, error: UnsupportedError) -> CutPlan:
        """A front by tiles and a back that runs whole, where not all of a network is local."""
        step("choosing where to cut")
        exact = self.statistics == "exact"

        def at(front: Network, shapes: tuple[Shape, ...]) -> Network | None:
            found = resized(front, shapes)
            if found is None and exact and self._file is not None:
                # Reshapes around norms hold sizes, which the file opened elsewhere follows.
                with suppress(AtrousError):
                    found = pruned(self.network(shapes), list(front.outputs))
            return found

        found = cut_within(
            network,
            budget,
            at,
            thrifty_peak,
            peak_of(network),
            statistics="exact" if exact else None,
            keep=self.scratch != "none",
        )
        if isinstance(found, Refusal):
            why = str(error.args[0]).partition(";")[0].rstrip(".")
            asked = self.memory or USUAL_MEMORY
            error.args = (f"{why}; with memory={asked!r} no cut before it helps: {found}",)
            raise error
        return found

    def _within(self, network: Network, budget: int) -> TilePlan | CutPlan:
        """The largest tiles, alike along all axes, that stay within a budget of bytes."""
        longest = max(network.inputs[0].grid.values(), default=1)
        try:
            whole = self._planned(network, {})
        except UnsupportedError as error:
            # What it makes is no map, as tokens are none: it has a back, if anything.
            self._check_way(network)
            return self._cut(network, budget, error)
        if whole.memory_bytes <= budget:
            return whole
        self._check_way(network)
        try:
            least = self._tiles(network, dict.fromkeys(network.axes, 1))
        except UnsupportedError as error:
            return self._cut(network, budget, error)
        if least.memory_bytes > budget:
            raise ArgumentError(
                f"memory={self.memory or USUAL_MEMORY!r} is less than the smallest tile needs: "
                f"{least.memory_bytes:,} bytes for {_run_size(least)}; give at least that."
            )
        rank = len(network.axes)
        fits, beyond = least, longest
        for _ in range(_TRIALS):
            low = max(axis.step for axis in fits.axes)
            # Bytes grow as positions do: the halo's too, so what is aimed at falls a little short.
            side = min(max(axis.size for axis in fits.axes), longest)
            kept = fits.scratch_bytes if fits.in_memory else 0
            ratio = ((budget - kept) / max(fits.memory_bytes - kept, 1)) ** (1 / rank)
            aim = int(side * ratio) - (side - low)
            aim = min(max(aim, low + 1), beyond - 1)
            if aim <= low:
                break
            found = self._tiles(network, dict.fromkeys(network.axes, aim))
            reached = max(axis.step for axis in found.axes if axis.count > 1)
            if reached <= low:
                break
            if found.memory_bytes <= budget:
                fits = found
                if found.memory_bytes > 0.9 * budget:
                    break
            else:
                beyond = reached
        return self._balanced(network, fits)

    def _balanced(self, network: Network, plan: TilePlan) -> TilePlan:
        """As many tiles, the last one as large as the others: less is computed twice."""
        steps = {axis.axis: -(-axis.length // axis.count) for axis in plan.axes}
        steps = {axis.axis: -(-steps[axis.axis] // axis.period) * axis.period for axis in plan.axes}
        if plan.tile_shape == tuple(steps.values()):
            return plan
        return self._tiles(network, steps)


def _run_size(plan: TilePlan) -> str:
    return "x".join(str(axis.size) for axis in plan.axes)


def _steps(network: Network, tile: int | Sequence[int]) -> Mapping[str, int]:
    axes = network.axes
    sizes = tuple(tile) if isinstance(tile, Sequence) else (tile,) * len(axes)
    if len(sizes) != len(axes) or not all(map(_is_count, sizes)):
        raise ArgumentError(
            f"tile={tile!r} is no size of tiles; give one of at least 1, or one for each of "
            f"{', '.join(axes)}."
        )
    return dict(zip(axes, (int(n) for n in sizes), strict=True))


def _is_count(n: Any) -> bool:
    """Whether a number is whole and at least 1; NumPy's are as well."""
    return type(n) is not bool and isinstance(n, Integral) and int(n) >= 1
