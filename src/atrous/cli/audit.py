"""`audit`: what a converted model has in common with its original."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from atrous.cli.options import Inputs, Json, Outputs, Pixel, Rate, names_of
from atrous.cli.output import show, show_json, working
from atrous.cli.sources import (
    model,
)

__all__ = ["audit"]


def audit(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE",
            help="The original: a SOURCE of `inspect`; for stacks see `atrous stack --help`.",
        ),
    ],
    candidate: Annotated[
        str, typer.Argument(metavar="CANDIDATE", help="What somebody converted from it.")
    ],
    input: Inputs = None,
    outputs: Outputs = None,
    rate: Rate = None,
    pixel: Pixel = None,
    json: Json = False,
) -> None:
    """What a converted model has in common with its original: exit code 0, or 1 if it is broken.

    Follows both graphs side by side, runs both on the same inputs with the same weights, and says
    for each output which positions hold the same values, at which phase and margin, and which
    layer is the first at fault and what it should be.

    Examples:

    - atrous audit "timm:resnet18d?features_only=true"
    "timm:resnet18d?features_only=true&output_stride=8"

    - atrous audit original.onnx dense.onnx

    - atrous audit models.py:plain models.py:dilated --input 1,3,224,224
    """
    from atrous.analysis.scale import check_scales
    from atrous.report import CertificateView
    from atrous.verbs.audit import audit as audited

    check_scales(rate, pixel)
    one, given = model(reference, input or ())
    two, _ = model(candidate, ())
    with working(f"comparing {candidate} with {reference}"):
        certificate = audited(one, two, input=given, outputs=names_of(outputs))
    # What a function made is called what was typed.
    certificate = replace(certificate, reference=reference, candidate=candidate)
    if rate is not None or pixel is not None:
        certificate = certificate.scaled(rate=rate, pixel=pixel)
    if json:
        show_json(certificate.to_json())
    else:
        show(CertificateView(certificate))
    if certificate.verdict == "broken":
        raise typer.Exit(1)
