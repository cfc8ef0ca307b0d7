"""`run`: a model on an image of any size, tile by tile, from a file into a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atrous.cli.options import Json
from atrous.cli.output import measuring, show, show_json, wrote
from atrous.cli.pages import Drawn, picture_place, put
from atrous.cli.sources import function, model
from atrous.errors import MissingDependencyError, ReadError

if TYPE_CHECKING:
    from atrous.plan.tiles import Statistics, TilePlan
    from atrous.runners.tiled.run import TiledRun

__all__ = ["run"]

_MODEL_HELP = (
    "The path of an .onnx file, timm:NAME, torchvision:NAME or smp:NAME, or MODULE:FUNCTION or "
    "FILE.py:FUNCTION, which RUNS THAT CODE."
)


def run(
    source: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP, show_default=False)],
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A .npy, .zarr, .tif or .tiff.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="What is written, a .zarr or .npy.")],
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="What one tile may take, such as 2GiB; 1GiB if not."),
    ] = None,
    tile: Annotated[
        str | None,
        typer.Option(metavar="N", help="Tiles of that many positions instead; 512 or 256,512."),
    ] = None,
    statistics: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Norms, means and pools over all positions: exact gathers the image's first, in "
            "sweeps; tile takes each tile's own, and measures the error.",
        ),
    ] = None,
    scratch: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Where sweeps keep maps that memory does not hold; a temporary folder if not. "
            "none: they keep nothing, and each begins with the image.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Tiles run at a time.")] = 1,
    argmax: Annotated[
        bool, typer.Option("--argmax", help="Keep the class of the highest score alone.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="Keep 1 where a number is above T, else 0.")
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="LETTERS",
            help="What the image's dimensions are, where its file does not say: YXC is channels "
            "last; N, C, T, Z, Y, X.",
        ),
    ] = None,
    channels: Annotated[
        str | None, typer.Option(metavar="LIST", help="Only these of the image, from 0: 0,1,2.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Multiply the image first, such as by 1/255."),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="LIST", help="Then subtract this, one a channel or one.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="LIST", help="Then divide by this, one a channel or one.")
    ] = None,
    prepare: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Prepare each tile by a function of yours instead, which keeps its shape.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run the tiles on the Dask cluster there, such as tcp://host:8786; its workers "
            "open IMAGE and OUT by the same paths.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was ended.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where OUT is there already.")
    ] = False,
    shards: Annotated[
        bool, typer.Option("--shards", help="One file a tile, of many small chunks.")
    ] = False,
    preview: Annotated[
        str | None, typer.Option(metavar="PATH", help="Also a small picture of the result, a .png.")
    ] = None,
    json: Json = False,
) -> None:
    """A model on an image of any size, tile by tile: what the whole image would give.

    How much tiles overlap is worked out from the network, and nothing is blended. Only the tiles at
    hand are in memory; killed anywhere, it goes on with --resume.

    Examples:

    - atrous run models.py:segmenter scan.tif classes.zarr --scale 1/255 --argmax

    - atrous run models.py:segmenter scene.zarr scores.zarr --memory 4GiB --resume

    - atrous run "timm:resnet18?features_only=true" photo.npy maps.zarr --axes YXC --scale 1/255
    """
    from atrous.plan.cut import CutPlan
    from atrous.report import CutPlanView, TilePlanView
    from atrous.verbs.tile import tile as tiled_of

    if argmax and threshold is not None:
        raise ReadError("--argmax and --threshold both say what is kept; give one of them.")
    reduce = "argmax" if argmax else None if threshold is None else f"threshold:{threshold}"
    picture = None if preview is None else _preview_place(preview)
    ready = _prepared(scale, mean, std, prepare)
    made, _ = model(source, ())
    how: Statistics | None = statistics  # type: ignore[assignment]
    tiled = tiled_of(
        made, tile=_tile(tile), memory=memory, statistics=how, scratch=scratch, batch=batch
    )

    with ExitStack() as held:
        client = None
        if scheduler is not None:
            client = held.enter_context(_client(scheduler, (source, prepare or "")))
        told: list[Callable[[str, float], None]] = []

        def planned(plan: TilePlan | CutPlan) -> None:
            if not json:
                show(CutPlanView(plan) if isinstance(plan, CutPlan) else TilePlanView(plan))
            told.append(held.enter_context(measuring(f"running {source}")))

        try:
            done = tiled.run(
                image,
                target,
                reduce=reduce,
                client=client,
                axes=axes,
                channels=_comma_list(channels, "--channels", int),
                prepare=ready,
                resume=resume,
                overwrite=overwrite,
                shards=shards,
                progress=lambda text, share: told[0](text, share),
                planned=planned,
            )
        except KeyboardInterrupt:
            print("stopped; --resume goes on", file=sys.stderr)  # noqa: T201
            raise
    if tiled.error is not None:
        print(f"error: {tiled.error}", file=sys.stderr)  # noqa: T201
    if picture is not None:
        put(Drawn(_preview(done), picture, "--preview"))
    if json:
        show_json({"schema": "atrous.run/1", **done.to_dict()})
    else:
        _say(done)


@contextmanager
def _client(address: str, code: Sequence[str]) -> Iterator[Any]:
    """A client of the scheduler there; `code` names functions, whose files go to the workers."""
    try:
        import cloudpickle
        from distributed import Client
    except ImportError as error:
        raise MissingDependencyError(
            f"--scheduler needs {error.name}, which is not installed: pip install atrous[run]"
        ) from None
    for text in code:
        place = text.rpartition(":")[0]
        module = sys.modules.get(Path(place).stem if place.endswith(".py") else place)
        file = getattr(module, "__file__", None)
        if file is not None and (place.endswith(".py") or Path(file).is_relative_to(Path.cwd())):
            cloudpickle.register_pickle_by_value(module)
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ReadError(f"--scheduler {address}: no scheduler answers there: {text}") from None
    with client:
        yield client


def _say(done: TiledRun) -> None:
    from atrous.draw.units import shape_text

    for one in done.outputs:
        print(f"{one.name:<11} {shape_text(one.shape)} {one.dtype}")  # noqa: T201
    found = f", {done.found:,} of them before" if done.found else ""
    print(f"{'written':<11} {done.target}: {done.tiles:,} tiles{found}")  # noqa: T201
    if done.target is not None:
        wrote(Path(done.target))


def _preview_place(text: str) -> Path:
    path = picture_place(text, "--preview")
    if path.suffix.lower() != ".png":
        raise ReadError(f"--preview {text}: give it the ending .png.")
    return path


def _preview(done: TiledRun) -> bytes:
    from atrous.draw.maps import map_png
    from atrous.runners.tiled.sources import open_image

    target = Path(str(done.target))
    opened = open_image(target / done.outputs[0].name if len(done.outputs) > 1 else target)
    return map_png(opened.array)


def _tile(text: str | None) -> int | tuple[int, ...] | None:
    sizes = _comma_list(text, "--tile", int)
    return None if sizes is None else sizes[0] if len(sizes) == 1 else sizes


def _prepared(scale: str | None, mean: str | None, std: str | None, prepare: str | None) -> Any:
    """What prepares a tile; None where nothing is asked for."""
    from atrous.runners.tiled.images import Scaling

    asked = any(one is not None for one in (scale, mean, std))
    if prepare is not None:
        if asked:
            raise ReadError("--prepare does all; leave out --scale, --mean and --std.")
        return function(prepare, "--prepare")
    if not asked:
        return None
    factor = _comma_list(scale, "--scale", Fraction) or (1,)
    if len(factor) != 1:
        raise ReadError(f"--scale {scale}: give one number, such as 1/255.")
    divisors = _comma_list(std, "--std", float) or (1.0,)
    if 0 in divisors:
        raise ReadError(f"--std {std}: nothing is divided by 0; give other numbers.")
    return Scaling(float(factor[0]), _comma_list(mean, "--mean", float) or (0.0,), divisors)


def _comma_list(text: str | None, option: str, kind: Any) -> Any:
    """Numbers with commas between; None where the option is left out."""
    if text is None:
        return None
    try:
        return tuple(kind(part.strip()) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        what = "whole numbers" if kind is int else "numbers"
        raise ReadError(f"{option} {text!r}: give {what} with commas between.") from None
