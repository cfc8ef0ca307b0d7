"""`inspect`: what each layer sees and costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, cast

import typer

from atrous.cli.annotation import annotation_place, put_annotation
from atrous.cli.options import (
    Animate,
    Html,
    Image,
    Inputs,
    InputValues,
    Json,
    Pixel,
    Rate,
    Source,
    StructureOnly,
)
from atrous.cli.output import show, show_json, working
from atrous.cli.pages import Drawn, animation_place, image_for, place_for, placing
from atrous.cli.sources import (
    difference,
    load,
    model,
    other_report,
    position,
    trained,
)
from atrous.errors import AtrousError, ReadError, UnsupportedError, unknown
from atrous.shown import how_many

if TYPE_CHECKING:
    from atrous.plan.cut import CutPlan
    from atrous.plan.tiles import Statistics, TilePlan
    from atrous.report import Sort


__all__ = ["inspect"]


def inspect(
    source: Source,
    input: Inputs = None,
    value: InputValues = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", "-l", metavar="NAME", help="One layer in depth, with its footprint drawn."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="INDEX", help="With --layer: the output position; its middle if not."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The layer to report on as the network's output."),
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="BY", help="order, name, field, macs, params or memory.")
    ] = "order",
    depth: Annotated[
        int | None, typer.Option(min=1, help="Fold layers into modules of that many names.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only that many rows.")] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Also layers that move no positions and cost no MACs."),
    ] = False,
    diff: Annotated[
        str | None,
        typer.Option(
            metavar="OLD",
            help="What differs from OLD: a SOURCE, or a report saved with --json (a .json file).",
        ),
    ] = None,
    rate: Rate = None,
    pixel: Pixel = None,
    html: Html = None,
    image: Image = None,
    animate: Animate = None,
    graph: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Write the network as a graph, modules folded, to .svg."),
    ] = None,
    annotate: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="For viewers: a copy to .onnx (netron), or into a folder (Model Explorer).",
        ),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(
            metavar="OPTIMIZER",
            help="Also the memory of training with sgd, adamw, 'sgd?momentum=0.9' or another one.",
        ),
    ] = None,
    autocast: Annotated[
        str | None, typer.Option(metavar="TYPE", help="With --training: bfloat16 or float16.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="With --training: the largest batch that fits, 8GiB."),
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            metavar="N|SIZE",
            help="How an image of that input is cut into exact tiles: of 2048 positions (or "
            "512,1024), or as large as 2GiB allows; nothing is run.",
        ),
    ] = None,
    statistics: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="With --tiles: norms, means and pools over all positions, exact in sweeps or by "
            "each tile's own (tile).",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="How it runs live along time: latency, hop, what it keeps; nothing is run.",
        ),
    ] = False,
    axis: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --stream: the axis that is time, of several."),
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With --stream: the context that chunks of N positions need without state.",
        ),
    ] = None,
    structure_only: StructureOnly = False,
    json: Json = False,
) -> None:
    """What each layer sees and costs: receptive field, holes, stride, MACs, memory.

    --html writes a page that opens offline, with charts, the footprint of every layer and the
    graph; with --diff OLD (a SOURCE) both stand side by side.

    MODULE:FUNCTION and FILE.py:FUNCTION import that code from here and call it, so give only code
    that you trust. It returns a PyTorch module, a path, a Network, or a model and an example input.

    Examples:

    - atrous inspect zoo:resnet50

    - atrous inspect model.onnx --layer conv3

    - atrous inspect "stack:k3 k3d2 k3d4" --input 1,16,64,64

    - atrous inspect "timm:resnet18d?features_only=true&output_stride=8"

    - atrous inspect my.models:small --input 1,3,224,224 --sort macs --top 10

    - atrous inspect timm:resnet50 --input 8,3,224,224 --training adamw --budget 8GiB

    - atrous inspect vad.onnx --input x=1,1,512 --input state=2,1,128 --value sr=16000

    - atrous inspect vocoder.onnx --rate 22.05k

    - atrous inspect "stack:k3d2 k3d2" --input 1,1,24,24 --animate footprint.svg

    - atrous inspect model.onnx --diff before.json

    - atrous inspect model.onnx --html report.html --image photo.jpg

    - atrous inspect model.onnx --annotate annotated.onnx

    - atrous inspect unet.onnx --input 1,3,16384,16384 --tiles 2GiB

    - atrous inspect my.models:vocoder --input 1,80,200 --stream --rate 86.13 --chunk 25
    """
    from atrous.analysis import inspect_network
    from atrous.analysis.resampled import resampled_strides
    from atrous.analysis.scale import check_scales
    from atrous.report import SORTS, DiffView, InspectionView, LayerView, Listed
    from atrous.shown import view

    if sort not in SORTS:
        raise unknown("order", sort, SORTS)
    if at is not None and layer is None:
        raise ReadError("--at is a position of one layer's output; give --layer as well.")
    if diff is not None and (layer is not None or depth is not None or sort != "order"):
        raise ReadError("--diff lists layers as they run; leave out --layer, --depth and --sort.")
    if training is None and (autocast is not None or budget is not None):
        raise ReadError("--autocast and --budget are for --training; give an optimizer with it.")
    if tiles is not None:
        asked = (layer, output, diff, depth, training, html, animate, graph, annotate, rate, pixel)
        if any(one is not None for one in asked) or value:
            raise ReadError(
                "--tiles shows the tiles alone; give only --input, --statistics and --json with it."
            )
        _show_tiles(source, input or (), tiles, statistics, json=json)
        return
    if statistics is not None:
        raise ReadError("--statistics is for --tiles; give a size of tiles with it.")
    if stream:
        others = (layer, output, diff, depth, training, html, animate, graph, annotate, pixel)
        if any(one is not None for one in others) or value:
            raise ReadError(
                "--stream shows the stream alone; give only --input, --rate, --axis, --chunk and "
                "--json with it."
            )
        _show_stream(source, input or (), axis, rate, chunk, json=json)
        return
    if axis is not None or chunk is not None:
        raise ReadError("--axis and --chunk are for --stream; give it as well.")
    place = position(at)
    if html is not None and layer is not None:
        raise ReadError("--html has every layer; leave out --layer.")
    check_scales(rate, pixel)
    behind = image_for(image, html)
    page = None if html is None else place_for(html, "--html", ".html")
    moving = None if animate is None else animation_place(animate)
    drawn_at = None if graph is None else place_for(graph, "--graph", ".svg")
    noted = None if annotate is None else annotation_place(annotate, source, input or ())
    how = input or (), structure_only, value or ()
    report = inspect_network(load(source, *how), output=output)
    if training is not None:
        made = trained(source, input or (), training, autocast, budget)
        report = replace(report, training=made)
    if rate is not None or pixel is not None:
        report = report.scaled(rate=rate, pixel=pixel)
    chosen = None if layer is None else report[layer]
    beside = None if diff is None or page is None else other_report(diff, *how)
    found = None if diff is None else difference(diff, report, *how)
    drawn = []
    if moving is not None:
        drawn.append(Drawn(view(report.footprint(layer, place)).moving(0.5), moving, "--animate"))
    if drawn_at is not None:
        drawn.append(Drawn(report.graph(), drawn_at, "--graph"))
    if page is not None:
        with working(f"drawing {page.name}"):
            text = view(report).page(image=behind, beside=beside)
        drawn.append(Drawn(text, page, "--html"))
    footprint = report.footprint(layer, place) if chosen and chosen.field else None
    with placing(*drawn):
        if noted is not None:
            put_annotation(noted, report)
    if found is not None:
        if json:
            show_json(found.to_json())
        else:
            show(DiffView(found, every, top))
        return
    if chosen is None:
        if json:
            show_json(report.to_json())
        else:
            show(InspectionView(report, Listed(every, depth, cast("Sort", sort), top)))
        return
    beside_it = (p for p in report.pyramids if chosen.name in {b.layer for b in p.branches})
    pyramid = next(beside_it, None)
    if json:
        shown = None if footprint is None else footprint.to_dict()
        rates = None if pyramid is None else pyramid.to_dict()
        scaled = {"scaled": chosen.scaled(report.scales)} if report.scales else {}
        data = {**chosen.to_dict(), **scaled, "pyramid": rates, "footprint": shown}
        show_json({"schema": "atrous.layer/1", **data})
    else:
        whys = dict.fromkeys(map(str, resampled_strides(report, chosen).values()))
        show(LayerView(chosen, footprint, pyramid, tuple(whys), report.scales))


def _show_tiles(
    source: str, inputs: Sequence[str], asked: str, statistics: str | None, *, json: bool
) -> None:
    from atrous.analysis.requirements import bytes_of
    from atrous.plan.cut import CutPlan
    from atrous.readers.source import made_of
    from atrous.report import CutPlanView, TilePlanView
    from atrous.verbs.tile import plan_tiles

    sizes = asked.replace(" ", "").split(",")
    by_size = all(size.isdecimal() for size in sizes)
    if not by_size:
        try:
            bytes_of(asked)
        except ReadError:
            raise ReadError(
                f"--tiles {asked} is neither a size of tiles, such as 512, nor one of memory, "
                "such as 2GiB."
            ) from None
    made, given = model(source, inputs)
    made, usual = made_of(made)
    shape = usual if given is None else given
    numbers = tuple(map(int, sizes)) if by_size else ()
    size = None if not by_size else numbers[0] if len(numbers) == 1 else numbers
    memory = None if by_size else asked

    def planned(how: Statistics | None) -> TilePlan | CutPlan:
        return plan_tiles(made, shape, tile=size, memory=memory, statistics=how)

    with working(f"planning tiles of {source}"):
        try:
            plan = planned(cast("Statistics | None", statistics))
        except UnsupportedError as error:
            if statistics is None:
                _say_sweeps(error, planned)
            raise
    if json:
        show_json(plan.to_dict())
    else:
        show(CutPlanView(plan) if isinstance(plan, CutPlan) else TilePlanView(plan))


def _say_sweeps(
    error: UnsupportedError, planned: Callable[[Statistics], TilePlan | CutPlan]
) -> None:
    """Adds to a refusal what the plan is where statistics are gathered, if that goes."""
    from atrous.draw.units import bytes_text, share_text
    from atrous.plan.cut import CutPlan

    try:
        plan = planned("exact")
    except AtrousError:
        return
    if isinstance(plan, CutPlan) or plan.sweeps < 2:
        return
    text = str(error.args[0]).rstrip(".")
    work, memory = share_text(plan.recomputed), bytes_text(plan.memory_bytes)
    tiles = how_many(len(plan), "tile")
    found = f"{tiles}, {plan.sweeps} sweeps, {work} more work, {memory} a tile"
    error.args = (f"{text}. With --statistics exact: {found}.",)


def _show_stream(
    source: str,
    inputs: Sequence[str],
    axis: str | None,
    rate: str | None,
    chunk: int | None,
    *,
    json: bool,
) -> None:
    from atrous.analysis.scale import per_rate
    from atrous.readers.source import made_of
    from atrous.report import ContextView, StreamPlanView
    from atrous.verbs.plan_stream import plan_stream

    scale = None if rate is None else per_rate(rate)
    made, given = model(source, inputs)
    made, usual = made_of(made)
    with working(f"planning a stream of {source}"):
        plan = plan_stream(made, usual if given is None else given, axis=axis)
    if scale is not None:
        plan = plan.at_rate(1000 / scale.step)
    context = None if chunk is None else plan.context(chunk)
    if json:
        show_json(plan.to_dict() if context is None else context.to_dict())
    else:
        show(StreamPlanView(plan) if context is None else ContextView(context))
