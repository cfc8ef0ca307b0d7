"""`design`: schedules that no other beats."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from atrous.cli.options import Inputs, Json, Rate
from atrous.cli.output import show, show_json, working
from atrous.cli.pages import Drawn, chart_file, picture_place, put
from atrous.cli.sources import shapes
from atrous.errors import ReadError

__all__ = ["design"]


def design(
    receptive_field: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Input positions to see along each axis, 513; 64ms with --rate; 100:200 is a "
            "range in which more is better. Left out: the input's size.",
            show_default=False,
        ),
    ] = None,
    input: Inputs = None,
    output_stride: Annotated[
        int, typer.Option(metavar="N", help="The product of the strides.")
    ] = 1,
    kernel: Annotated[str, typer.Option(metavar="LIST", help="Kernels, such as 2,3,5.")] = "3",
    depth: Annotated[str, typer.Option(metavar="N", help="Layers: 8, or 4:12.")] = "1:12",
    rates: Annotated[
        str, typer.Option(metavar="N", help="The largest rate, or a list of rates: 1,2,4.")
    ] = "64",
    strides: Annotated[str, typer.Option(metavar="LIST", help="Strides, such as 2,4.")] = "2",
    channels: Annotated[
        str, typer.Option(metavar="C", help="One number, one a stage, or one a layer: 64,128,256.")
    ] = "64",
    layer: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="conv, or separable: one of each channel by itself, and one of kernel 1.",
        ),
    ] = "conv",
    minimise: Annotated[
        str, typer.Option(metavar="PRICE", help="macs, params, memory, latency or state.")
    ] = "macs",
    macs: Annotated[
        str | None, typer.Option(metavar="N", help="A limit: 5G, 300M.", show_default=False)
    ] = None,
    params: Annotated[
        str | None, typer.Option(metavar="N", help="A limit: 2M.", show_default=False)
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="A limit: 64MiB.", show_default=False)
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(metavar="MS", help="A limit, measured here.", show_default=False),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="A limit on a stream's state.", show_default=False),
    ] = None,
    holes: Annotated[bool, typer.Option("--holes/--no-holes", help="Allow holes.")] = False,
    subgrids: Annotated[
        bool, typer.Option("--subgrids/--no-subgrids", help="Allow sub-grids that never meet.")
    ] = False,
    causal: Annotated[bool, typer.Option("--causal", help="Pad the past alone.")] = False,
    look_ahead: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="A limit on samples behind an output's hop: 40, or 5ms with --rate.",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        int | None,
        typer.Option(metavar="N", help="Show design N whole, with its code.", show_default=False),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Also draw the front to PATH, .png or .svg.", show_default=False
        ),
    ] = None,
    rate: Rate = None,
    json: Json = False,
) -> None:
    """The schedules of kernel, stride and dilation that no other beats for what is needed.

    All chains of convolutions within the options are searched; what is returned is the front over
    the price, the field and how evenly paths fall on it.

    Examples:

    - atrous design --receptive-field 513 --output-stride 8 --depth 4:12 --minimise memory

    - atrous design --receptive-field 256 --kernel 2,3 --input 1,32,16000 --causal --minimise state

    - atrous design --receptive-field 64ms --rate 16k --input 1,64,16000 --code 1
    """
    from typing import cast

    from atrous.report import DesignsView, DesignView
    from atrous.search import LayerKind, Price
    from atrous.verbs.design import Allowed
    from atrous.verbs.design import design as designed

    given: Any = shapes(input) if input else (1, 3, 512, 512)
    place = None if plot is None else picture_place(plot, "--plot")
    allowed: list[Allowed] = []
    if holes:
        allowed.append("holes")
    if subgrids:
        allowed.append("subgrids")
    with working("searching schedules"):
        found = designed(
            _field(receptive_field),
            input=given,
            output_stride=output_stride,
            kernels=_list(kernel, "--kernel"),
            depth=_list(depth.replace(":", ","), "--depth"),
            rates=int(rates) if rates.isdecimal() else _list(rates, "--rates"),
            strides=_list(strides, "--strides"),
            channels=_list(channels, "--channels"),
            minimise=cast("Price", minimise),
            macs=_amount(macs, "--macs"),
            params=_amount(params, "--params"),
            memory=memory,
            latency=latency,
            state=state,
            causal=causal,
            look_ahead=_samples(look_ahead),
            rate=rate,
            allow=tuple(allowed),
            layer=cast("LayerKind", layer),
        )
    if code is not None and not 1 <= code <= len(found):
        there = "there is 1 design" if len(found) == 1 else f"there are {len(found)} designs"
        raise ReadError(f"--code {code}: {there}; give 1 to {len(found)}.")
    if place is not None:
        with working(f"drawing {place.name}"):
            put(Drawn(chart_file(found.plot(), place.suffix[1:].lower()), place, "--plot"))
    if json:
        show_json(found.to_json() if code is None else found[code - 1].to_json())
    elif code is None:
        show(DesignsView(found))
    else:
        show(DesignView(found[code - 1]))


def _field(text: str | None) -> Any:
    if text is None or text.strip().endswith("ms"):
        return text
    ends = _list(text.replace(":", ","), "--receptive-field")
    return ends[0] if len(ends) == 1 else ends


def _samples(text: str | None) -> Any:
    if text is None or text.strip().endswith("ms"):
        return text
    ends = _list(text, "--look-ahead")
    return ends[0] if len(ends) == 1 else text


def _list(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers, separated by commas.

    >>> _list("2,3,5", "--kernel")
    (2, 3, 5)
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise ReadError(f"{option} {text[:40]!r}; give whole numbers, separated by commas.")
    return tuple(map(int, parts))


_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def _amount(text: str | None, option: str) -> float | None:
    """A number with its unit.

    >>> _amount("1.5G", "--macs"), _amount(None, "--macs")
    (1500000000.0, None)
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([kMGT]?)", text.strip())
    if found is None:
        raise ReadError(f"{option} {text[:40]!r}; give a number such as 300M or 5G.")
    return float(found[1]) * _UNITS[found[2]]
