"""`inspect`: what each layer sees and costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atrous.analysis import Inspection, inspect_network
from atrous.readers import read
from atrous.verbs.training import training as memory_of_training

if TYPE_CHECKING:
    from atrous.readers.torch.optimizers import Optimizers

__all__ = ["inspect"]


def inspect(
    source: Any,
    input: Any = None,
    *,
    output: str | None = None,
    values: Mapping[str, Any] | None = None,
    structure_only: bool = False,
    training: str | Optimizers | None = None,
) -> Inspection:
    """What each layer of `source` sees and costs.

    `source` is a `torch.nn.Module`, a `torch.export.ExportedProgram`, a Keras 3 model, a path to an
    `.onnx` file, an `onnx.ModelProto`, `"zoo:NAME"`, `"stack:..."`, `"timm:NAME"`,
    `"torchvision:NAME"`, `"smp:NAME"` or a `Network`. `input` is the input shape
    with batch and channels, several shapes, or example tensors; an ONNX file that leaves nothing
    but the batch open and a known network need none. A Keras model takes its shape as Keras counts
    it, and needs none where it says one. For a PyTorch module arguments may be lists
    and dicts of these, and a mapping has them by name: `{"x": (1, 3, 64, 64), "mask": None}`. A
    module whose way depends on values is read as it runs, on random numbers where shapes are
    given. Of an ONNX file it may be a mapping from names
    of inputs to shapes and of open dimensions to sizes, and `values` one from names of inputs that
    decide what runs to their numbers: `{"sr": 16000}`. `output` names the layer to report on as the
    output.

    Taps whose weight is 0 for all channels (masked, pruned) are not read, and named; with
    `structure_only` no weight is looked at. With `training`, the name of an optimizer, the memory
    of training the module is in `.training` as well; see `atrous.training`.

    >>> import atrous
    >>> report = atrous.inspect("stack:k3s2x64 k3s2x128 k3d2x128 k3d4x128", (1, 3, 512, 512))
    >>> report.outputs[0].field[0].size, report.outputs[0].output_stride
    (55, (Fraction(4, 1), Fraction(4, 1)))
    """
    network = read(source, input, values=values, structure_only=structure_only)
    report = inspect_network(network, output=output)
    if training is None:
        return report
    return replace(report, training=memory_of_training(source, input, optimizer=training))
