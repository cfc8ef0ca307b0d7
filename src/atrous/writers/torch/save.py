"""A PyTorch model as a `.pt2` file, whole or not at all."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atrous.errors import ReadError
from atrous.files import whole_file
from atrous.readers.kind import kind_of

__all__ = ["save_torch"]


def save_torch(model: nn.Module, path: Path, source: str, example: Any) -> None:
    """Writes the exported program of a module, in evaluation mode, at its input shape.

    Raises `ReadError` where no input shape is known.
    """
    if example is None and kind_of(source) == "library":
        from atrous.readers.named import make, parse

        example = make(parse(source)).input
    shapes = [example] if example and isinstance(example[0], int) else list(example or ())
    if not shapes:
        raise ReadError("a .pt2 file is written at one input shape; give --input.")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    examples = tuple(
        shape if isinstance(shape, torch.Tensor) else torch.zeros(shape, dtype=like.dtype)
        for shape in shapes
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model.eval(), examples, strict=False)
        with whole_file(path) as made:
            torch.export.save(program, made)
