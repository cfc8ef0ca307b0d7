"""`explain`: what each layer adds."""

from __future__ import annotations

from typing import Annotated

import typer

from atrous.cli.options import Inputs, InputValues, Json, Source, StructureOnly
from atrous.cli.output import show, show_json, working
from atrous.cli.sources import model, values

__all__ = ["explain"]


def explain(
    source: Source,
    input: Inputs = None,
    value: InputValues = None,
    output: Annotated[
        str | None, typer.Option(metavar="LAYER", help="The layer to take as the output.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="A row for every layer.")] = False,
    structure_only: StructureOnly = False,
    json: Json = False,
) -> None:
    """What each layer adds: field, holes opened or closed, sub-grids, and what it costs.

    Examples:

    - atrous explain "stack:k3d2 k3d2 k3d3" --input 1,64,128,128

    - atrous explain zoo:drn_c_26 --output layer6

    - atrous explain model.onnx --json
    """
    from atrous.report import ExplainedView
    from atrous.verbs.explain import explain as explained

    made, given = model(source, input or ())
    with working(f"reading {source}"):
        told = explained(
            made,
            given,
            output=output,
            values=values(value or ()),
            structure_only=structure_only,
        )
    if json:
        show_json(told.to_json())
    else:
        show(ExplainedView(told, every))
