"""Strides that are fractions because a map is resampled to a size that its stride does not make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from atrous.analysis.inspection import Inspection
from atrous.analysis.layer import Layer
from atrous.network import Node
from atrous.network.ops import Resize
from atrous.shown import Plain

__all__ = ["ResampledStride", "resampled_strides"]


@dataclass(frozen=True, slots=True)
class ResampledStride(Plain):
    """Why positions of a layer lie a fraction apart along one axis, exactly.

    `layer` resamples a map of `inputs` positions, `before` apart, to `outputs`: they lie
    `before * inputs / outputs` apart, and where corners are `aligned`
    `before * (inputs - 1) / (outputs - 1)`. `by_sizes` is the input's size by the output's.
    """

    layer: str
    axis: str
    inputs: int
    outputs: int
    before: Fraction
    aligned: bool
    stride: Fraction
    by_sizes: Fraction

    def __str__(self) -> str:
        if self.aligned:
            sizes = f"{self.inputs} to {self.outputs}, corners aligned"
            quotient = f"{self.before} x {self.inputs - 1}/{self.outputs - 1}"
        else:
            sizes = f"{self.inputs} to {self.outputs}"
            quotient = f"{self.before} x {self.inputs}/{self.outputs}"
        return f"{self.layer} resamples {sizes}: {quotient}; by sizes {self.by_sizes}"


def resampled_strides(report: Inspection, layer: Layer) -> dict[str, ResampledStride]:
    """For each axis along which that is why `layer` has a stride that is not whole.

    >>> import atrous
    >>> report = atrous.inspect("zoo:deeplabv3_resnet50_os16")
    >>> print(resampled_strides(report, report.outputs[-1])["h"])
    out resamples 33 to 520: 16 x 33/520; by sizes 1
    """
    odd = [axis for axis in layer.field if axis.stride.denominator > 1]
    if not odd:
        return {}
    by_tensor = {one.tensor: one for one in report.layers}
    lengths = report.network.tensor(report.input).grid
    found: dict[str, ResampledStride] = {}
    for field in odd:
        why = _why(report, by_tensor, layer, field.axis, field.stride)
        own = report.network.tensor(layer.tensor).grid.get(field.axis)
        if why is None or not own:
            continue
        node, before = why
        ratio = Fraction(lengths[field.axis], own)
        op = node.op
        grid = report.network.tensor(node.inputs[0]).grid
        aligned = isinstance(op, Resize) and op.coordinates == "align_corners"
        one = ResampledStride(
            node.name,
            field.axis,
            grid[field.axis],
            node.output.grid[field.axis],
            before,
            aligned,
            field.stride,
            ratio,
        )
        steps = (one.inputs - 1, one.outputs - 1) if aligned else (one.inputs, one.outputs)
        # Said only where it is all of the reason.
        if ratio != field.stride and before * Fraction(*steps) == field.stride:
            found[field.axis] = one
    return found


def _why(
    report: Inspection, by_tensor: Mapping[str, Layer], layer: Layer, axis: str, stride: Fraction
) -> tuple[Node, Fraction] | None:
    """The node that resamples, and the stride before it: back along layers of the same stride."""
    network, tensor = report.network, layer.tensor
    while True:
        node = network.maker(tensor)
        if node is None:
            return None
        strides = {
            name: next((f.stride for f in by_tensor[name].field if f.axis == axis), None)
            for name in node.inputs
            if name in by_tensor
        }
        if isinstance(node.op, Resize):
            before = strides.get(node.inputs[0])
            return None if before is None or before == stride else (node, before)
        tensor = next((name for name, held in strides.items() if held == stride), "")
        if not tensor:
            return None
