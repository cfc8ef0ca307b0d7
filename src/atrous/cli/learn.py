"""`learn`: stride and dilation, statement by statement."""

from __future__ import annotations

from typing import Annotated

import typer

from atrous.cli.options import Inputs, Json
from atrous.cli.output import show, show_json
from atrous.cli.sources import shapes
from atrous.errors import ReadError

__all__ = ["learn"]


def learn(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="One of the topics that are listed without it, or `all`.",
            show_default=False,
        ),
    ] = None,
    kernel: Annotated[int, typer.Option(metavar="K", help="Of every layer.")] = 3,
    stride: Annotated[int, typer.Option(metavar="S", help="Where stride is tried.")] = 2,
    dilation: Annotated[int, typer.Option(metavar="D", help="Where dilation is tried.")] = 2,
    depth: Annotated[int, typer.Option(metavar="N", help="Layers of a stack.")] = 4,
    channels: Annotated[int, typer.Option(metavar="C", help="Channels of every layer.")] = 64,
    input: Inputs = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also take times, on this machine.")
    ] = False,
    json: Json = False,
) -> None:
    """What is said of stride and dilation: whether it holds, and what is exactly true.

    Every number is computed when you ask, with your own kernel, stride, rate, depth and input.

    Examples:

    - atrous learn

    - atrous learn strided

    - atrous learn receptive-field --kernel 5 --dilation 3

    - atrous learn all --input 1,1,16000 --kernel 2
    """
    from atrous.lessons import topics
    from atrous.report import LessonsView, TopicsView
    from atrous.verbs.learn import learn as lesson

    known = topics()
    if topic is None:
        numbers = (kernel, stride, dilation, depth, channels) != (3, 2, 2, 4, 64)
        if numbers or input or measure:
            raise ReadError("these numbers are for a topic; give a TOPIC, or `all`.")
        if json:
            show_json({"schema": "atrous.topics/1", "topics": [one.to_dict() for one in known]})
        else:
            show(TopicsView([(one.name, one.title, len(one.claims)) for one in known]))
        return
    shape = shapes(input or ["1,3,128,128"])
    sizes = tuple(n for n in shape if isinstance(n, int)) if isinstance(shape, tuple) else ()
    if not sizes or sizes != shape:
        raise ReadError("learn takes one --input, such as 1,3,128,128.")
    names = [one.name for one in known] if topic == "all" else [topic]
    told = [
        lesson(
            name,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            depth=depth,
            channels=channels,
            input=sizes,
            measure=measure,
        )
        for name in names
    ]
    if not json:
        show(LessonsView(told))
    elif topic == "all":
        show_json({"schema": "atrous.lessons/1", "lessons": [one.to_dict() for one in told]})
    else:
        show_json(told[0].to_json())
