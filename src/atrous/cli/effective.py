"""`effective`: how strongly one output depends on each input position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from atrous.cli.options import Inputs, Json, Pixel, Rate, Source
from atrous.cli.output import show, show_json, working
from atrous.cli.pages import Drawn, chart_file, picture_place, put
from atrous.cli.sources import model, position

if TYPE_CHECKING:
    from atrous.analysis.effective_field import Weights

__all__ = ["effective"]


def effective(
    source: Source,
    input: Inputs = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", "-l", metavar="NAME", help="A layer; the last output if left out."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="INDEX", help="The output position; its middle if not.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="given (the model's own), random (drawn anew), or counted: paths, no weights.",
        ),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Measure on this image; repeat it for several."),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="How many inputs are drawn.")
    ] = 8,
    share: Annotated[float, typer.Option(help="The share that the box holds.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of drawn inputs and weights.")] = 0,
    rate: Rate = None,
    pixel: Pixel = None,
    plot: Annotated[
        str | None, typer.Option(metavar="PATH", help="Also draw it to PATH, a .png or .svg.")
    ] = None,
    json: Json = False,
) -> None:
    """The effective receptive field, measured by gradients: the box that holds 95% of it.

    The gradient of one output position is averaged over inputs, and compared with the whole field
    and with path counts. Zoo networks and stacks have no weights: their paths are counted.

    Examples:

    - atrous effective "timm:resnet18?features_only=true" --layer layer4 --weights random

    - atrous effective my.models:small --input 1,3,224,224 --image cat.jpg --plot field.png

    - atrous effective zoo:wavenet --rate 16k
    """
    from atrous.analysis.scale import check_scales
    from atrous.report import EffectiveFieldView
    from atrous.verbs.effective import effective as found_of

    place = None if plot is None else picture_place(plot, "--plot")
    check_scales(rate, pixel)
    made, given = model(source, input or ())
    with working(f"running {source}"):
        found = found_of(
            made,
            given,
            layer=layer,
            at=position(at),
            weights=cast("Weights | None", weights),
            images=image or None,
            samples=samples,
            share=share,
            seed=seed,
            rate=rate,
            pixel=pixel,
        )
    if place is not None:
        put(Drawn(chart_file(found.plot(), place.suffix[1:].lower()), place, "--plot"))
    if json:
        show_json(found.to_json())
    else:
        show(EffectiveFieldView(found))
