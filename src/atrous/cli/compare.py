"""`compare`: schemes of stride and dilation side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from atrous.cli.options import Animate, Html, Inputs, Json, Pixel, Rate, StructureOnly
from atrous.cli.output import show, show_json, working
from atrous.cli.pages import Drawn, animation_place, place_for, put
from atrous.cli.sources import (
    load,
    named_sources,
    shapes,
    stack_text,
)
from atrous.errors import ReadError
from atrous.shown import view

__all__ = ["compare"]


def compare(
    stacks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STACK",
            help='Each in quotes, such as "k3s2x64 k3d2"; NAME=STACK names it. See '
            "`atrous stack --help`. Or any SOURCE of `inspect`. Left out: the usual schemes.",
            show_default=False,
        ),
    ] = None,
    input: Inputs = None,
    kernel: Annotated[
        int | None, typer.Option(metavar="K", help="Of the usual schemes; 3 unless given.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(metavar="N", help="How many convolutions each has; 4.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(metavar="C", help="How many channels each makes; 64.")
    ] = None,
    animate: Animate = None,
    html: Html = None,
    structure_only: StructureOnly = False,
    rate: Rate = None,
    pixel: Pixel = None,
    json: Json = False,
) -> None:
    """Stride, dilation, both or pooling: what each sees, keeps and costs on one input.

    The input is 1,3,512,512 unless given, or 1,3,24,24 with --animate.

    The usual schemes are convolutions without either (plain), with stride 2 in each (strided), with
    rate 2 in each or with rates 1, 2, 4 and so on (dilated), with stride 2 in the first half and
    rates 1, 2, 4 and so on after it (hybrid), and with max pooling in place of the stride (pooled).

    "field by layer" is how many positions one output sees, after each layer; "read" how many of
    those it really reads, along an axis; "unread" how much of the input no output reads.

    Examples:

    - atrous compare --input 1,3,512,512 --depth 5

    - atrous compare --input 1,1,16000 --kernel 2 --rate 16k

    - atrous compare --depth 3 --animate schemes.svg

    - atrous compare --html schemes.html

    - atrous compare "k3d2 k3d2 k3d2" even="k3d1 k3d2 k3d3" --input 1,64,65,65
    """
    from atrous.analysis import compare_networks
    from atrous.analysis.scale import check_scales
    from atrous.report import ComparisonView
    from atrous.verbs.compare import compare as compared

    check_scales(rate, pixel)
    picture = None if animate is None else animation_place(animate)
    usual = "1,3,512,512" if picture is None else "1,3,24,24"
    page = None if html is None else place_for(html, "--html", ".html")
    if stacks:
        for name, value in (("kernel", kernel), ("depth", depth), ("channels", channels)):
            if value is not None:
                raise ReadError(f"--{name} is for the usual schemes; write it into the stacks.")
        named = named_sources(stacks)
        networks = {}
        for name, source in named.items():
            own = input is None and not source.startswith("stack:")
            networks[name] = load(source, [] if own else input or [usual], structure_only)
        table = compare_networks(networks, {n: stack_text(s) for n, s in named.items()})
    else:
        table = compared(
            input=shapes(input or [usual]),
            kernel=3 if kernel is None else kernel,
            depth=4 if depth is None else depth,
            channels=64 if channels is None else channels,
        )
    if rate is not None or pixel is not None:
        table = table.scaled(rate=rate, pixel=pixel)
    drawn = []
    if picture is not None:
        drawn.append(Drawn(view(table).moving(0.5), picture, "--animate"))
    if page is not None:
        with working(f"drawing {page.name}"):
            drawn.append(Drawn(ComparisonView(table).page(), page, "--html"))
    put(*drawn)
    if json:
        show_json(table.to_json())
    else:
        show(ComparisonView(table))
