"""`degrid`: other rates, or a layer more, so that no output's field has holes."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from atrous.cli.convert import checked_target, write_converted
from atrous.cli.options import Html, Image, Inputs, Json, Outputs, Source, names_of
from atrous.cli.output import show, show_json, working, wrote
from atrous.cli.pages import Drawn, image_for, place_for, placing
from atrous.cli.sources import model

__all__ = ["degrid"]


def degrid(
    source: Source,
    input: Inputs = None,
    outputs: Outputs = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            "--out",
            metavar="FILE",
            help="Where to write the result: .onnx for an .onnx file, .pt2 for a PyTorch model. "
            "Left out: only the report.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="rates: change as few rates as possible. front: put a layer of rate 1 in front. "
            "tail: put layers of falling rates behind.",
        ),
    ] = "rates",
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Join the sub-grids of a last dilated layer, too."),
    ] = False,
    largest: Annotated[
        int | None,
        typer.Option(metavar="RATE", help="The largest rate to try; twice that of the source."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="With front and tail: the layer to put them behind."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --output take the place of SOURCE itself.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="All layers of the diff.")] = False,
    html: Html = None,
    image: Image = None,
    json: Json = False,
) -> None:
    """Close the holes of dilated layers and join their sub-grids, with the fewest changes.

    The shapes of weights, MACs and sizes of maps stay, and the receptive field is at least what it
    was, or the nearest that can be. The result is not equal: it is to be trained again, from the
    weights that there are.

    Examples:

    - atrous degrid "stack:k3d2 k3d4 k3d8 k3" --input 1,64,128,128

    - atrous degrid dense.onnx -o degridded.onnx

    - atrous degrid zoo:drn_c_26 --strict

    - atrous degrid model.py:build --input 1,3,512,512 --method tail
    """
    from atrous.report import DegriddedView
    from atrous.shown import view
    from atrous.verbs.degrid import degrid as degridded

    behind = image_for(image, html)
    page = None if html is None else place_for(html, "--html", ".html")
    made, given = model(source, input or ())
    path = None if target is None else checked_target(target, source, made, overwrite)
    with working(f"degridding {source}"):
        result = degridded(
            made,
            given,
            outputs=names_of(outputs),
            method=cast(Any, method),
            strict=strict,
            largest=largest,
            at=at,
        )
        drawn = []
        if page is not None:
            drawn.append(Drawn(view(result).page(image=behind), page, "--html"))
        with placing(*drawn):
            if path is not None:
                wrote(*write_converted(result, path, made, given, None))
    if json:
        show_json(result.to_json())
    else:
        show(DegriddedView(result, every))
