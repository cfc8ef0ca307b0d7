"""`bench`: how much faster a model runs on this machine, layer by layer."""

from __future__ import annotations

from typing import Annotated

import typer

from atrous.cli.options import Inputs, Json, Source
from atrous.cli.output import measuring, show, show_json
from atrous.cli.sources import model
from atrous.errors import MissingDependencyError

__all__ = ["bench"]


def bench(
    source: Source,
    input: Inputs = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, metavar="N", help="Threads to run on; as many as PyTorch takes."
        ),
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Measure forward and backward, gradients kept.")
    ] = False,
    engines: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What is tried of atrous, torch.compile, onnxruntime and openvino, with commas "
            "between; by default all that is installed.",
        ),
    ] = None,
    rounding: Annotated[
        str | None,
        typer.Option(
            metavar="SUMS",
            help="direct: the definition's sums; winograd: fewer products; by default the fewest "
            "that round off little.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what was measured before.")
    ] = False,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only that many rows, the slowest layers.")
    ] = 20,
    every: Annotated[bool, typer.Option("--all", help="All layers.")] = False,
    json: Json = False,
) -> None:
    """How much faster a PyTorch model runs by `atrous.optimize`, measured here, layer by layer.

    Runs the model as it is and optimized, in turns, on random input, and shows the medians; for
    each layer the strategy that won, what it and the operations fused into it took before and
    after, and the largest difference. A network without weights (stack:..., zoo:NAME) gets random
    ones where it is a plain stack; an .onnx file has no PyTorch modules.

    Examples:

    - atrous bench torchvision:mobilenet_v3_large

    - atrous bench "timm:mobilenetv2_100?output_stride=8&features_only=true" --input 1,3,513,513

    - atrous bench "stack:dwk3d1 dwk3d4 dwk3d16" --input 1,64,128,128 --threads 1

    - atrous bench my.models:small --input 1,3,224,224 --json

    - atrous bench torchvision:resnet18 --engines atrous,onnxruntime
    """
    made, given = model(source, input or ())
    try:
        from atrous.verbs.bench import module_of
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"bench runs models with {error.name}, which is not installed: "
            "pip install atrous[torch]"
        ) from None
    from atrous.report import ExplanationView
    from atrous.verbs.bench import bench_module

    with measuring(f"measuring {source}") as progress:
        runs, example = module_of(made, given)
        found = bench_module(
            runs,
            example,
            threads=threads,
            training=training,
            fresh=fresh,
            progress=progress,
            engines=engines,
            rounding=rounding,  # type: ignore[arg-type]  # checked there
        )
    if json:
        show_json(found.to_json())
    else:
        show(ExplanationView(found, None if every else top))
