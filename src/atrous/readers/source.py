"""What a source is, told without importing a framework that it does not come from."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from atrous.errors import ReadError
from atrous.network import Network
from atrous.readers.given import as_shape, is_shape
from atrous.readers.named import SCHEMES, read_named

__all__ = ["read"]

STACK_INPUT = (1, 64, 512, 512)


def read(source: Any, input: Any = None) -> Network:
    """The network that `source` holds, at the sizes that `input` gives.

    `source` is a `torch.nn.Module`, a `torch.export.ExportedProgram`, a path to an `.onnx` file,
    an `onnx.ModelProto`, `"zoo:NAME"`, `"stack:..."`, a model that an installed library has under a
    name (`"timm:NAME"`, `"torchvision:NAME"`, `"smp:NAME"`, with arguments as
    `"timm:resnet18?output_stride=8"`) or a `Network`. `input` is a shape with batch and channels, a
    tuple of shapes, or example tensors. Raises `ReadError` for a source that is
    none of these or cannot be read, `UnknownNameError` for a name that no known network has.

    >>> print(read("stack:k3s2x8 k3x8", (1, 3, 32, 32)))
    k3s2x8 k3x8: 2 nodes, input x 1x3x32x32, 792 parameters, 202,752 MACs
    """
    if isinstance(source, Network):
        _check_sizes(source, input)
        return source
    if isinstance(source, str) and ":" in source:
        scheme, _, rest = source.partition(":")
        if scheme == "zoo":
            from atrous.network import zoo

            return zoo.build(rest, _one_shape(input))
        if scheme == "stack":
            from atrous.network.stack import stack_network

            return stack_network(rest, _one_shape(input) or STACK_INPUT)
        if scheme in SCHEMES:
            return read_named(source, input)
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):
            raise ReadError("the source is empty: give the path of an .onnx file, or zoo:NAME.")
        path = Path(source)
        if path.suffix in {".onnx", ".pb", ".pbtxt"} or path.exists():
            return _read_onnx(path, input)
        raise ReadError(
            f"{os.fspath(source)!r} is no source: give the path of an .onnx file, zoo:NAME "
            "(`atrous zoo` lists them), timm:NAME, torchvision:NAME, smp:NAME, or stack:..."
        )
    if _is_from("torch", source):
        from atrous.readers.torch.reader import read_torch

        return read_torch(source, input)
    if _is_from("onnx", source):
        return _read_onnx(source, input)
    raise ReadError(
        f"a {type(source).__name__} is no source: give a torch.nn.Module, an ExportedProgram, an "
        "onnx.ModelProto, the path of an .onnx file, zoo:NAME, timm:NAME, torchvision:NAME, "
        "smp:NAME, stack:... or a Network."
    )


def _check_sizes(network: Network, input: Any) -> None:
    if input is None:
        return
    given = (
        [as_shape(input)]
        if not isinstance(input, list | tuple) or is_shape(input)
        else [as_shape(shape) for shape in input]
    )
    held = [tensor.shape for tensor in network.inputs]
    if given != held:
        raise ReadError(
            f"the network is read at {held}, not at {given}; read its source again at those sizes."
        )


def _read_onnx(source: Any, input: Any) -> Network:
    from atrous.readers.onnx.reader import read_onnx

    return read_onnx(source, input)


def _is_from(framework: str, source: Any) -> bool:
    # An object of a framework's class exists only where that framework is imported already.
    return framework in sys.modules and any(
        base.__module__.partition(".")[0] == framework for base in type(source).__mro__
    )


def _one_shape(input: Any) -> tuple[int, ...] | None:
    if input is None:
        return None
    single = isinstance(input, list | tuple) and len(input) == 1 and not is_shape(input)
    return as_shape(input[0] if single else input)
