"""`check`: whether networks keep rules."""

from __future__ import annotations

from typing import Annotated

import typer

from atrous.cli.options import SOURCE_HELP, Inputs, InputValues, Json, StructureOnly
from atrous.cli.output import show, show_json
from atrous.cli.sources import (
    load,
)

__all__ = ["check"]


def check(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help=f"{SOURCE_HELP} Left out: those of [tool.atrous] in pyproject.toml.",
            show_default=False,
        ),
    ] = None,
    input: Inputs = None,
    value: InputValues = None,
    receptive_field: Annotated[
        str | None, typer.Option(metavar="RULE", help="Of each output, per axis: '>=300'.")
    ] = None,
    coverage: Annotated[
        str | None, typer.Option(metavar="RULE", help="The share of it read: '==100%'.")
    ] = None,
    output_stride: Annotated[
        str | None, typer.Option(metavar="RULE", help="Input positions per output: '==8'.")
    ] = None,
    macs: Annotated[str | None, typer.Option(metavar="RULE", help="In all: '<=20G'.")] = None,
    params: Annotated[str | None, typer.Option(metavar="RULE", help="In all: '<=25M'.")] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="RULE", help="Peak of activations: '<=512MiB'.")
    ] = None,
    no: Annotated[
        list[str] | None,
        typer.Option(metavar="CODES", help="Findings that must not be: gridding,checkerboard."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", "-l", metavar="NAME", help="Where field, coverage and stride are looked at."
        ),
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="PATH", help="The file with [tool.atrous].")
    ] = "pyproject.toml",
    structure_only: StructureOnly = False,
    json: Json = False,
) -> None:
    """Whether networks keep rules: exit code 0, or 1 and a line for each broken rule.

    A rule is one of <= >= == != < > and a number, with k M G T (counts), KiB MiB GiB (memory) or %
    (coverage); several are separated by commas, and all must hold, for every output and axis.
    Quote them, for the shell. Without rules, those of [tool.atrous] in pyproject.toml count; its
    keys are the same words, and `source`, `input`, `value`, `layer` and `no`.

    Examples:

    - atrous check zoo:resnet50 --receptive-field ">=300" --macs "<=5G" --no gridding

    - atrous check model.onnx --output-stride "==8" --memory "<=512MiB"

    - atrous check
    """
    from atrous.analysis import inspect_network
    from atrous.analysis.check import check_report
    from atrous.cli.settings import asked_checks
    from atrous.report import CheckView

    rules = {
        "receptive-field": receptive_field,
        "coverage": coverage,
        "output-stride": output_stride,
        "macs": macs,
        "params": params,
        "memory": memory,
    }
    found = []
    for asked in asked_checks(source, input, layer, rules, no, config, value):
        assert asked.source is not None
        network = load(asked.source, asked.inputs, structure_only, asked.values)
        report = inspect_network(network)
        kept = check_report(report, asked.rules, forbidden=asked.forbidden, layer=asked.layer)
        found.append((asked.source, kept))
        if not json:
            show(CheckView(kept, asked.source))
    if json:
        checks = [{"source": name, **kept.to_dict()} for name, kept in found]
        holds = all(kept for _, kept in found)
        show_json({"schema": "atrous.check/1", "holds": holds, "checks": checks})
    if not all(kept for _, kept in found):
        raise typer.Exit(1)
