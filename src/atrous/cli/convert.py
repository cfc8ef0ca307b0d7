"""`convert`: stride for dilation, or back, with the weights kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from atrous.cli.options import Html, Image, Inputs, Json, Outputs, Pixel, Rate, Source, names_of
from atrous.cli.output import show, show_json, working, wrote
from atrous.cli.pages import Drawn, image_for, place_for, placing, refusals
from atrous.cli.sources import (
    model,
)
from atrous.errors import ReadError
from atrous.files import is_there, is_writable, whole_file
from atrous.progress import step

if TYPE_CHECKING:
    from atrous.certification.conversion import Conversion

__all__ = ["checked_target", "convert", "write_converted"]


def convert(
    source: Source,
    output_stride: Annotated[
        str,
        typer.Option(
            "--output-stride", "-s", metavar="STRIDE", help="One number, or one an axis: 8 or 8,16."
        ),
    ],
    input: Inputs = None,
    outputs: Outputs = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write the result: .onnx for an .onnx file, .pt2 for a PyTorch model, "
            ".keras for a Keras model. "
            "Left out: only the report. Where --outputs names modules, the part of a PyTorch model "
            "that makes them.",
        ),
    ] = None,
    heads: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="scale: a dilated head behind the changed map keeps its reach in input pixels. "
            "keep: it keeps its rates.",
        ),
    ] = "scale",
    tail: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="Where the original drops the last positions of a map. crop: borders stay exact. "
            "keep: the map keeps its size.",
        ),
    ] = "crop",
    resample: Annotated[
        bool,
        typer.Option(
            "--resample",
            help="Where the inputs of a join no longer fit (a decoder's skips), resample the "
            "larger one linearly; what lies behind is approximate.",
        ),
    ] = False,
    measure: Annotated[
        bool, typer.Option(help="Run both in float64 as well, beside the proof by structure.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --output take the place of SOURCE itself.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="All layers of the diff.")] = False,
    rate: Rate = None,
    pixel: Pixel = None,
    html: Html = None,
    image: Image = None,
    json: Json = False,
) -> None:
    """Stride for dilation, or back, with the weights kept and the result proven.

    A smaller output stride than now takes strides out and dilates what follows; a larger one puts
    strides where dilation allows. The report starts with the verdict: exact (borders included),
    interior (beyond a margin), shifted (at another phase), approximate (some layers mix all
    positions) or broken. A conversion that would compute something else is refused, and nothing is
    written.

    Examples:

    - atrous convert model.onnx --output-stride 8 -o dense.onnx

    - atrous convert "timm:resnet18d?features_only=true" --output-stride 8

    - atrous convert zoo:resnet50 --output-stride 16 --outputs layer4

    - atrous convert published_os8.onnx --output-stride 32 -o cheap.onnx

    - atrous convert zoo:resnet50 --output-stride 8 --outputs layer4 --html change.html

    - atrous convert slide.onnx --output-stride 8 --pixel 0.5um
    """
    from atrous.analysis.scale import check_scales
    from atrous.report import ConversionView
    from atrous.shown import view
    from atrous.verbs.convert import convert as converted

    stride = _stride(output_stride)
    check_scales(rate, pixel)
    behind = image_for(image, html)
    page = None if html is None else place_for(html, "--html", ".html")
    made, given = model(source, input or ())
    path = None if target is None else checked_target(target, source, made, overwrite)
    with working(f"converting {source}"):
        result = converted(
            made,
            stride,
            input=given,
            outputs=names_of(outputs),
            heads=cast(Any, heads),
            tail=cast(Any, tail),
            resample=resample,
            measure=measure,
        )
        if rate is not None or pixel is not None:
            result = result.scaled(rate=rate, pixel=pixel)
        drawn = []
        if page is not None:
            drawn.append(Drawn(view(result).page(image=behind), page, "--html"))
        with placing(*drawn):
            if path is not None:
                wrote(*write_converted(result, path, made, given, names_of(outputs)))
    if json:
        show_json(result.to_json())
    else:
        show(ConversionView(result, every))


def _stride(text: str) -> int | tuple[int, ...]:
    """One number, or one an axis.

    >>> _stride("8"), _stride("8,16")
    (8, (8, 16))
    """
    try:
        values = tuple(int(part) for part in re.split(r"[,x]", text.strip().strip("()[]")))
    except ValueError:
        raise ReadError(
            f"--output-stride {text!r} is no stride; give one number, or one an axis, such as 8,16."
        ) from None
    return values[0] if len(values) == 1 else values


def checked_target(target: str, source: str, made: Any, overwrite: bool) -> Path:
    """Where to write, known to be possible before any work is done."""
    from atrous.readers.kind import kind_of
    from atrous.readers.source import check_file

    path, kind = Path(target), kind_of(made)
    is_file = kind == "file"
    if is_file:
        check_file(made)
    wanted = {"file": ".onnx", "message": ".onnx", "keras": ".keras"}.get(kind, ".pt2")
    if kind in ("zoo", "stack"):
        raise ReadError(
            f"{source} has no weights, so there is nothing to write; leave out --output."
        )
    if not target:
        raise ReadError(f"--output is empty; name a file, such as converted{wanted}.")
    with refusals("--output", path):
        is_folder = path.is_dir()
    if is_folder:
        raise ReadError(f"--output {target} is a folder; name a file in it.")
    if path.suffix != wanted:
        raise ReadError(
            f"--output {target}: {source} is written as a {wanted} file; name one, such as "
            f"{path.with_suffix(wanted).name}."
        )
    if not path.parent.is_dir():
        raise ReadError(f"--output {target}: there is no folder {path.parent}; make it first.")
    if not is_writable(path):
        raise ReadError(f"--output {target}: nothing can be written there; name another place.")
    from_file = isinstance(made, str) and is_there(Path(made))
    if from_file and not overwrite and is_there(path) and path.samefile(made):
        raise ReadError(
            f"--output {target} is the source itself, which would be lost; name another file, or "
            "give --overwrite as well."
        )
    return path


def write_converted(
    result: Conversion, path: Path, made: Any, given: Any, names: Sequence[str] | None
) -> tuple[Path, ...]:
    """Writes the result, or of a PyTorch model whose outputs are named that part; the files."""
    step(f"writing {path.name}")
    if path.suffix == ".onnx":
        from atrous.writers.onnx.save import save_onnx

        source = Path(made) if isinstance(made, str) else None
        return save_onnx(result.model, path, source=source)
    if path.suffix == ".keras":
        with refusals("--output", path), whole_file(path) as part:
            result.model.save(part)
        return (path,)
    from atrous.writers.torch.save import save_torch

    with refusals("--output", path):
        save_torch(result.model, path, made, given, names)
    return (path,)
