"""`check`: whether networks keep rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from atrous.cli.options import SOURCE_HELP, Inputs, InputValues, Json, Pixel, Rate, StructureOnly
from atrous.cli.output import show, show_json
from atrous.cli.sources import load, trained

if TYPE_CHECKING:
    from atrous.analysis import Inspection
    from atrous.cli.settings import Asked

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
        list[str] | None, typer.Option(metavar="RULE", help="Of each output, per axis: '>=300'.")
    ] = None,
    coverage: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="The share of it read: '==100%'.")
    ] = None,
    output_stride: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="Input positions per output: '==8'.")
    ] = None,
    look_back: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Of each output, along time: '<=1000', '<=2s'."),
    ] = None,
    look_ahead: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="The same, ahead of its place: '<=40ms'."),
    ] = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="No output reads ahead of its own time.")
    ] = False,
    macs: Annotated[list[str] | None, typer.Option(metavar="RULE", help="In all: '<=20G'.")] = None,
    flops: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="In all, two for each MAC: '<=40G'.")
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="In all: '<=25M'.")
    ] = None,
    memory: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="Peak of activations: '<=512MiB'.")
    ] = None,
    training_memory: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Peak of training, parameters included: '<=8GB'."),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(
            metavar="OPTIMIZER", help="With --training-memory: sgd if left out, adamw, ..."
        ),
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
    baseline: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="What rules with a sign count from: --macs '<=+2%'."),
    ] = None,
    rate: Rate = None,
    pixel: Pixel = None,
    config: Annotated[
        str, typer.Option(metavar="PATH", help="The file with [tool.atrous].")
    ] = "pyproject.toml",
    structure_only: StructureOnly = False,
    json: Json = False,
) -> None:
    """Whether networks keep rules: exit code 0, or 1 and a line for each broken rule.

    A rule is one of <= >= == != < > and a number, with k M G T (counts), MiB GiB MB GB (memory), %
    (coverage), ms s (with --rate) or um mm m (with --pixel); several are separated by commas, and
    all must hold, for every output and axis. With a sign, '<=+2%' or '<=-1M', it counts from the
    --baseline. Quote them, for the shell. Without rules, those of [tool.atrous] in pyproject.toml
    count; its keys are the same words, and `source`, `input`, `value`, `layer` and `no`.

    Examples:

    - atrous check zoo:resnet50 --receptive-field ">=300" --macs "<=5G" --no gridding

    - atrous check model.onnx --output-stride "==8" --memory "<=512MiB"

    - atrous check timm:resnet50 --input 16,3,224,224 --training adamw --training-memory "<=8GB"

    - atrous check denoiser.onnx --causal --look-back "<=500ms" --rate 16k

    - atrous check slide.onnx --receptive-field ">=100um" --pixel 0.5um

    - atrous check new.onnx --baseline old.onnx --macs "<=+2%" --params "<=+0%"

    - atrous check
    """
    from atrous.analysis import inspect_network
    from atrous.analysis.check import check_report
    from atrous.cli.settings import asked_checks, asked_on_line
    from atrous.report import CheckView

    rules = {
        "receptive-field": receptive_field,
        "coverage": coverage,
        "output-stride": output_stride,
        "look-back": look_back,
        "look-ahead": look_ahead,
        "macs": macs,
        "flops": flops,
        "params": params,
        "memory": memory,
        "training-memory": training_memory,
    }
    found = []
    line = asked_on_line(
        source,
        input,
        layer,
        rules,
        no,
        value,
        causal=causal,
        baseline=baseline,
        rate=rate,
        training=training,
        pixel=pixel,
    )
    for asked in asked_checks(line, config):
        assert asked.source is not None

        def report_of(name: str, asked: Asked = asked) -> Inspection:
            report = inspect_network(load(name, asked.inputs, structure_only, asked.values))
            report = report.scaled(rate=asked.rate, pixel=asked.pixel)
            if asked.optimizer is None:
                return report
            return replace(report, training=trained(name, asked.inputs, asked.optimizer))

        kept = check_report(
            report_of(asked.source),
            asked.rules,
            forbidden=asked.forbidden,
            layer=asked.layer,
            causal=asked.causal,
            baseline=None if asked.baseline is None else report_of(asked.baseline),
        )
        found.append((asked.source, kept))
        if not json:
            show(CheckView(kept, asked.source))
    if json:
        checks = [{"source": name, **kept.to_dict()} for name, kept in found]
        holds = all(kept for _, kept in found)
        show_json({"schema": "atrous.check/1", "holds": holds, "checks": checks})
    if not all(kept for _, kept in found):
        raise typer.Exit(1)
