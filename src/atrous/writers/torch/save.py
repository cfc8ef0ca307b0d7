"""A PyTorch model, or a part of it, as a `.pt2` file, written whole or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atrous.errors import ReadError
from atrous.files import whole_file
from atrous.frameworks.modules import run_of
from atrous.frameworks.torch import quiet
from atrous.readers.kind import kind_of
from atrous.readers.torch.reader import read_torch
from atrous.refusal import Refusal
from atrous.writers.torch.part import part_of

__all__ = ["save_torch"]


def save_torch(
    model: nn.Module, path: Path, source: Any, example: Any, names: Sequence[str] | None = None
) -> None:
    """Writes the exported program of a module, in evaluation mode, at its input shape.

    Where `names` gives modules, only the part that makes what they make is written. Raises
    `ReadError` where no input shape is known, or where the program or the part cannot be made.
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
        model.eval()
        whole = names is None or _are_all(model, names, examples)
        part = model if whole or names is None else part_of(model, names, examples)
        if isinstance(part, Refusal):
            raise ReadError(f"{path.name} cannot be written: {part}")
        with quiet():
            try:
                program = torch.export.export(part, examples, strict=False)
            except Exception as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ReadError(
                    f"{path.name} cannot be written: torch.export cannot follow the result "
                    f"({reason[:160]}); name modules before that (--outputs) to write a part."
                ) from error
        # Not to the file itself: where a disk is full, torch's writer ends the process.
        held = BytesIO()
        torch.export.save(program, held)
        with whole_file(path) as made:
            made.write_bytes(held.getbuffer())


def _are_all(model: nn.Module, names: Sequence[str], examples: tuple[Any, ...]) -> bool:
    """Whether the names are those of the model's outputs, and not of modules."""
    if all(run_of(model, name) is not None for name in names):
        return False
    try:
        return set(read_torch(model, examples, eager=False).outputs) == set(names)
    except ReadError:
        return False
