"""A stream's steady state as an ONNX file: a block and what is kept in, and the same out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atrous.errors import ArgumentError, MissingDependencyError, UnsupportedError
from atrous.files import whole_file
from atrous.frameworks.torch import quiet
from atrous.runners.stream.engine import Held, Steps

__all__ = ["KEY", "Kept", "kept_tensors", "write_block"]

KEY = "atrous.stream"
"""The entry of the file's metadata that describes the stream."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One tensor that is kept from block to block: the value or the cell that it belongs to."""

    name: str
    value: int
    cell: int | None
    tensor: torch.Tensor

    @property
    def real(self) -> torch.Tensor:
        """The tensor as a file has it: complex numbers as pairs."""
        return torch.view_as_real(self.tensor) if self.tensor.is_complex() else self.tensor


def kept_tensors(held: Held) -> list[Kept]:
    """All that is kept, by the names that the file gives it."""
    found = [Kept(f"kept_{i}", i, None, one) for i, one in enumerate(held.kept) if one is not None]
    for i, cell in enumerate(held.cells):
        found += [Kept(f"state_{i}_{j}", i, j, one) for j, one in enumerate(cell)]
    return found


class _Block(nn.Module):  # type: ignore[misc]
    """One push of a block of each input: the state comes in and goes out beside it."""

    def __init__(self, steps: Steps, held: Held) -> None:
        super().__init__()
        self._run = (steps, held)

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        steps, before = self._run
        count = len(steps.recipe.inputs)
        chunks, state = given[:count], given[count:]
        kept: list[torch.Tensor | None] = list(before.kept)
        cells = [list(cell) for cell in before.cells]
        for one, given in zip(kept_tensors(before), state, strict=True):
            tensor = torch.view_as_complex(given) if one.tensor.is_complex() else given
            if one.cell is None:
                kept[one.value] = tensor
            else:
                cells[one.value][one.cell] = tensor
        mine = steps.held
        steps.held = Held(before.count, kept, cells, before.others)
        try:
            made = steps.push(*chunks)
            after = kept_tensors(steps.held)
        finally:
            steps.held = mine
        return (*made, *(one.real for one in after))


def write_block(steps: Steps, path: Path, block: int, about: Mapping[str, Any]) -> None:
    """Writes the push of `block` samples, as it is once the stream is settled.

    Raises `ArgumentError` for a block that is no multiple of the hop: what is kept would change in
    size from block to block.
    """
    schedule, recipe = steps.schedule, steps.recipe
    name = recipe.trials.axis.name
    if block < 1 or block % schedule.period:
        raise ArgumentError(
            f"{name}: a block of {block} is no multiple of the hop, {schedule.period}; what is "
            "kept has one size in the file, so blocks are multiples of it."
        )
    placed = [v.layer for v, one in zip(recipe.values, recipe.rules, strict=True) if one.counted]
    if placed:
        raise UnsupportedError(
            f"{name}: {placed[0]} counts positions from the beginning, which a file of one block "
            "does not."
        )
    axis, several = recipe.trials.axis, len(recipe.inputs) > 1

    def silence(length: int) -> list[torch.Tensor]:
        shapes = axis.sized([int(rate * length) for rate in axis.rates])
        return [steps.empty(i).new_zeros(shape) for i, shape in enumerate(shapes)]

    mine = steps.held
    try:
        steps.reset()
        settled = -(-schedule.settled // block) * block
        with torch.no_grad():
            steps.push(*silence(settled))
            before = steps.held.copy()
            module = _Block(steps, before).eval()
            chunks = silence(block)
            example = (*chunks, *(one.real for one in kept_tensors(before)))
            made = module(*example)
            count = len(recipe.outputs)
            names = [one.name for one in kept_tensors(before)]
            inputs = [f"input_{i}" for i in range(len(chunks))] if several else ["input"]
            outputs = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
            try:
                with quiet():
                    program: Any = torch.onnx.export(
                        module,
                        example,
                        dynamo=True,
                        verbose=False,
                        input_names=[*inputs, *names],
                        output_names=[*outputs, *(f"next_{one}" for one in names)],
                    )
            except ImportError:
                raise MissingDependencyError(
                    "PyTorch's ONNX exporter needs onnxscript; pip install onnxscript."
                ) from None
            except torch.onnx.OnnxExporterError as error:
                raise UnsupportedError(
                    "PyTorch's exporter has no ONNX for what a block of this stream does "
                    f"({type(error.__cause__ or error).__name__}); stream it in PyTorch."
                ) from None
        model = program.model_proto
    finally:
        steps.held = mine
    described = {
        **about,
        "block": block,
        "settled": settled,
        "inputs": [
            {"name": name, "axis": value.dim, "block": chunk.shape[value.dim]}
            for name, value, chunk in zip(inputs, recipe.inputs, chunks, strict=True)
        ],
        "made": [one.shape[v.dim] for one, v in zip(made[:count], recipe.outputs, strict=True)],
        "state": [
            {
                "input": one.name,
                "output": f"next_{one.name}",
                "shape": list(one.real.shape),
                "dtype": str(one.real.dtype).removeprefix("torch."),
                "zero": 0,
            }
            for one in kept_tensors(before)
        ],
    }
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(described)
    try:
        with whole_file(path) as made_at:
            made_at.write_bytes(model.SerializeToString())
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be written: {error.strerror or error}.") from None
