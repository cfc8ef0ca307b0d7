"""One model through both readers: what their reports have in common, and an export to compare."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from atrous import Inspection
from tests.exporting import export

SLIDING = {"conv", "conv_transpose", "pool", "resize"}


def exported(model: nn.Module, size: int, path: Path, optimize: bool = False) -> Path:
    """The model as an ONNX file, at one square image of `size` pixels."""
    return export(model, torch.zeros(1, 3, size, size), path, dynamo=True, optimize=optimize)


def sliding(report: Inspection) -> list[object]:
    """What slides, in execution order: shape, cost, and the whole record of its field."""
    return sorted(
        (layer.output_shape, layer.macs, layer.op, repr(layer.field), layer.is_global)
        for layer in report.layers
        if layer.op in SLIDING
    )


def assert_reports_agree(ours: Inspection, theirs: Inspection) -> None:
    """Costs, every sliding layer's field, the outputs and the last footprint are the same."""
    assert (ours.complete, theirs.complete) == (True, True), (ours.opaque, theirs.opaque)
    assert theirs.macs == ours.macs
    # A file has no parameters that nobody reads.
    assert theirs.params == ours.params - ours.unused_params
    assert sliding(theirs) == sliding(ours)
    for a, b in zip(theirs.outputs, ours.outputs, strict=True):
        assert (a.output_shape, a.field, a.is_global) == (b.output_shape, b.field, b.is_global)
    assert theirs.footprint().taps == ours.footprint().taps
