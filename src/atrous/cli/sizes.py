"""`sizes`: which input sizes a network takes."""

from __future__ import annotations

from typing import Annotated

import typer

from atrous.cli.options import Inputs, InputValues, Json, Pixel, Rate, Source
from atrous.cli.output import show, show_json, working
from atrous.cli.sources import model, values

__all__ = ["sizes"]


def sizes(
    source: Source,
    input: Inputs = None,
    value: InputValues = None,
    at_least: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=100_000,
            help="Read at least the sizes up to N one by one, at most 100000.",
        ),
    ] = 0,
    rate: Rate = None,
    pixel: Pixel = None,
    json: Json = False,
) -> None:
    """Which input sizes run, drop nothing, keep every join aligned, and come out as large.

    The network is read at one length after the other until what it does repeats, so that the
    answer is for every size. --input need not run: what to pad or crop is said then.

    Examples:

    - atrous sizes zoo:unet

    - atrous sizes model.onnx --input 1,3,250,250

    - atrous sizes denoiser.onnx --input 1,1,16000 --rate 16k

    - atrous sizes "timm:resnet18d?features_only=true" --input 1,3,224,224
    """
    from atrous.analysis.scale import check_scales
    from atrous.report import SizesView
    from atrous.verbs.sizes import sizes as found_of

    check_scales(rate, pixel)
    made, given = model(source, input or ())
    with working(f"reading {source}"):
        found = found_of(made, given, values=values(value or ()), enough=at_least)
    if rate is not None or pixel is not None:
        found = found.scaled(rate=rate, pixel=pixel)
    if json:
        show_json(found.to_json())
    else:
        show(SizesView(found))
