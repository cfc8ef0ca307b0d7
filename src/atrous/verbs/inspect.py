"""`inspect`: what each layer sees and costs."""

from __future__ import annotations

from typing import Any

from atrous.analysis import Inspection, inspect_network
from atrous.readers import read

__all__ = ["inspect"]


def inspect(
    source: Any, input: Any = None, *, output: str | None = None, structure_only: bool = False
) -> Inspection:
    """What each layer of `source` sees and costs.

    `source` is a `torch.nn.Module`, a `torch.export.ExportedProgram`, a path to an `.onnx` file,
    an `onnx.ModelProto`, `"zoo:NAME"`, `"stack:..."`, `"timm:NAME"`, `"torchvision:NAME"`,
    `"smp:NAME"` or a `Network`. `input` is the input shape
    with batch and channels, several shapes, or example tensors; an ONNX file with static shapes
    and a known network need none. `output` names the layer to report on as the output.

    Taps whose weight is 0 for all channels (masked, pruned) are not read, and named; with
    `structure_only` no weight is looked at.

    >>> import atrous
    >>> report = atrous.inspect("stack:k3s2x64 k3s2x128 k3d2x128 k3d4x128", (1, 3, 512, 512))
    >>> report.outputs[0].field[0].size, report.outputs[0].output_stride
    (55, (Fraction(4, 1), Fraction(4, 1)))
    """
    return inspect_network(read(source, input, structure_only=structure_only), output=output)
