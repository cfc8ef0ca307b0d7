"""`annotate`: what each layer sees and costs, where viewers of models show it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atrous.analysis import inspect_network
from atrous.readers import read
from atrous.writers.viewers.write import annotation_target, write_annotation

__all__ = ["annotate"]


def annotate(
    source: Any,
    target: str | os.PathLike[str],
    input: Any = None,
    *,
    values: Mapping[str, Any] | None = None,
) -> tuple[Path, ...]:
    """Writes what `inspect` says of each node for viewers of models; the files written.

    `target` is an `.onnx` file: a copy of the source whose nodes carry it as metadata, which netron
    shows, and which computes the same; external data is copied only to another folder. Or it is a
    folder, which gets node data for Model Explorer, one JSON file for each of receptive field,
    output stride, share not read, MACs and memory, by the ids that its nodes have there.
    `source` is an ONNX file, an `onnx.ModelProto` or, into a folder, an exported program; `input`
    and `values` are those of `inspect`. A node that is not understood is left out of what is not
    known of it. Raises `ReadError` for another source, or where nothing can be written.

    >>> import atrous, tempfile
    >>> atrous.annotate("zoo:resnet18", tempfile.gettempdir())
    Traceback (most recent call last):
    atrous.errors.ReadError: viewers show the nodes of an ONNX file or of an exported program; ...
    """
    path = annotation_target(source, target)
    report = inspect_network(read(source, input, values=values))
    return write_annotation(source, path, report).files
