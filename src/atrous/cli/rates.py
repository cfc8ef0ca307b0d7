"""`rates`: what branches of these rates see at an input size and output stride."""

from __future__ import annotations

import re
from typing import Annotated, Any, cast

import typer

from atrous.cli.options import Json, Pixel, Rate
from atrous.cli.output import show, show_json
from atrous.errors import ReadError

__all__ = ["rates"]


def rates(
    size: Annotated[
        str,
        typer.Argument(
            metavar="SIZE",
            help="The input or crop in pixels: 513, one an axis: 512x1024, one axis alone: 16000,",
        ),
    ],
    rates: Annotated[
        str, typer.Option(metavar="LIST", help="The rates, separated by commas; 6x12 by axis.")
    ] = "6,12,18",
    output_stride: Annotated[
        str, typer.Option(metavar="N", help="Input pixels per position of the map.")
    ] = "16",
    kernel: Annotated[str, typer.Option(metavar="K", help="Taps along each axis.")] = "3",
    branches: Annotated[
        int | None,
        typer.Option(metavar="N", help="Choose N rates, in the place of --rates: as far as goes."),
    ] = None,
    trunk: Annotated[
        int,
        typer.Option(metavar="M", help="Positions of the map in a row that one has seen itself."),
    ] = 1,
    holes: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="With --branches: no hole in all that is reached (box), or along its axes (axes).",
        ),
    ] = "box",
    rate: Rate = None,
    pixel: Pixel = None,
    json: Json = False,
) -> None:
    """Which rates of an ASPP still see more than their centre at this crop and output stride.

    For each rate the share of its taps that lie inside the map and not on padding, and the shares
    of positions with all of them inside and with one alone. With --branches the rates are chosen:
    those of the largest reach at which no branch loses its taps and no hole is left.

    Examples:

    - atrous rates 513

    - atrous rates 769 --output-stride 8 --rates 12,24,36

    - atrous rates 513 --branches 3 --trunk 26

    - atrous rates 512x1024 --rates 6,12,18,24

    - atrous rates 1024 --pixel 0.5um

    - atrous rates 16000, --output-stride 1 --rates 1,2,4,8 --rate 16k
    """
    from atrous.report import PyramidRatesView, PyramidView
    from atrous.verbs.rates import pyramid_rates
    from atrous.verbs.rates import rates as found_of

    if branches is not None:
        if rate is not None or pixel is not None:
            raise ReadError("--branches chooses rates in positions; leave out --rate and --pixel.")
        width = _numbers(kernel, "--kernel")
        chosen = pyramid_rates(
            _numbers(size, "SIZE"),
            branches,
            output_stride=_numbers(output_stride, "--output-stride"),
            kernel=cast(Any, width),
            trunk=trunk,
            holes=cast(Any, holes),
        )
        if json:
            show_json(chosen.to_json())
        else:
            show(PyramidRatesView(chosen))
        return
    found = found_of(
        _numbers(size, "SIZE"),
        [_numbers(rate, "--rates") for rate in rates.split(",")],
        output_stride=_numbers(output_stride, "--output-stride"),
        kernel=_numbers(kernel, "--kernel"),
        trunk=trunk,
        rate=rate,
        pixel=pixel,
    )
    if json:
        show_json(found.to_json())
    else:
        show(PyramidView(found))


def _numbers(text: str, option: str) -> int | tuple[int, ...]:
    """One number for all axes, or one for each.

    >>> _numbers("513", "SIZE"), _numbers("512x1024", "SIZE"), _numbers("16000,", "SIZE")
    (513, (512, 1024), (16000,))
    """
    alone = re.fullmatch(r"\s*([0-9]{1,15})\s*,\s*", text)
    if alone is not None:
        return (int(alone[1]),)
    parts = re.split(r"[x,]", text.strip())
    if not all(re.fullmatch(r"\s*[0-9]{1,15}\s*", part) for part in parts):
        raise ReadError(
            f"{option} {text[:40]!r} is no whole number; give one, or one an axis as 6x12."
        )
    found = tuple(int(part) for part in parts)
    if option == "SIZE" and min(found) < 1:
        raise ReadError(f"{option} {text[:40]} is no whole number of at least 1; give one that is.")
    return found[0] if len(found) == 1 else found
