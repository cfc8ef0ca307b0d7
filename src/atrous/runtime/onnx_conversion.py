"""ONNX files from end to end: read, plan, rewrite, read again, certify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from atrous.convert.asked import Asked, plan_for
from atrous.convert.network_edits import network_edits
from atrous.errors import AtrousError
from atrous.network.shapes import Shapes
from atrous.readers import read
from atrous.readers.onnx.file import load
from atrous.readers.onnx.inputs import declared
from atrous.refusal import Refusal
from atrous.runtime.conversion import beside, certified
from atrous.runtime.converted import Conversion
from atrous.runtime.onnx_pair import OnnxPair
from atrous.runtime.rewrite_onnx import rewritten

__all__ = ["convert_onnx"]


def _open(source: Any) -> bool:
    """Whether the file leaves a size of its inputs open."""
    graph = load(source).model.graph
    sizes = [size for item in graph.input for size in declared(item) or ["?"]]
    return not all(isinstance(size, int) for size in sizes)


def convert_onnx(source: Any, input: Any, asked: Asked) -> Conversion:
    """The conversion of a file or message; its model is an `onnx.ModelProto`."""
    network = read(source, input)
    plan = plan_for(network, asked)
    if plan.resampled:
        raise Refusal(
            "resample",
            plan.resampled[0].join,
            "its inputs no longer fit, and resampling at joins is not written into ONNX files; "
            "convert the PyTorch model and export that, or convert the part before the join "
            "(outputs=...).",
        ).error()
    made = rewritten(source, plan)
    if isinstance(made, Refusal):
        raise made.error()
    shapes = tuple(tensor.shape for tensor in network.inputs)
    folder = source.resolve().parent if isinstance(source, Path) else None
    pair = OnnxPair(source, made.model, asked.names, folder=folder)
    after = pair.networks(shapes)[1]
    plan = replace(plan, notes=(*plan.notes, *made.notes))
    others: list[Shapes] = []
    for more in beside(shapes, network.inputs) if _open(source) else ():
        try:
            pair.networks(more)
        except AtrousError:
            continue  # the file has one size
        others.append(more)
    return certified(made.model, plan, network_edits(plan), pair, shapes, asked, after, others)
