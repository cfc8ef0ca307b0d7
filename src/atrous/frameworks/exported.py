"""A program that `torch.export` made, at sizes that it was not exported for.

It holds for the sizes it was exported for: numbers, or ranges where they were dynamic. PyTorch 2.13
refuses others by the first guard that fails, `Guard failed: input.size()[2] == 32`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["is_exported", "unfit"]


@dataclass(frozen=True, slots=True)
class _Size:
    """The sizes of one dimension: from `least` to `most`, or without end for None."""

    least: int
    most: int | None

    def takes(self, size: int) -> bool:
        return self.least <= size and (self.most is None or size <= self.most)

    def __str__(self) -> str:
        if self.least == self.most:
            return str(self.least)
        return f"({self.least} up)" if self.most is None else f"({self.least} to {self.most})"


def is_exported(module: Any) -> bool:
    """Whether a module is that of an exported program, `program.module()`."""
    return isinstance(module, torch.fx.GraphModule) and hasattr(module, "range_constraints")


def unfit(held: Any, shapes: Sequence[Sequence[int]]) -> str:
    """Which input of a program, or of the module of one, was not exported for its shape.

    A sentence without its end; empty where every input fits in, and for every other module.

    >>> program = torch.export.export(torch.nn.Conv1d(1, 1, 3), (torch.zeros(1, 1, 9),))
    >>> unfit(program, [(1, 1, 12)])[:53], unfit(program, [(1, 1, 9)])
    ("input 'input' was exported for 1x1x9, not for 1x1x12;", '')
    """
    if not isinstance(held, torch.export.ExportedProgram) and not is_exported(held):
        return ""
    for (name, known), given in zip(_inputs(held), shapes, strict=False):
        sizes = [_size(size, held.range_constraints) for size in known]
        pairs = enumerate(zip(sizes, given, strict=False))
        wrong = [place for place, (size, n) in pairs if not size.takes(n)]
        if len(sizes) == len(given) and not wrong:
            continue
        places = [str(place) for place in wrong if place != 1]  # 1 has the channels
        noun = "dimension" if len(places) == 1 else "dimensions"
        where = f", with dynamic_shapes for {noun} {' and '.join(places)}" if places else ""
        return (
            f"input {name!r} was exported for {_text(sizes)}, not for {_text(given)}; give a size "
            "that it was exported for, or the module that it was exported from, or export that "
            f"again{where}"
        )
    return ""


def _inputs(held: Any) -> list[tuple[str, Any]]:
    """The name and the shape of each input."""
    nodes = [node for node in held.graph.nodes if node.op == "placeholder"]
    if isinstance(held, torch.export.ExportedProgram):
        nodes = [node for node in nodes if node.name in held.graph_signature.user_inputs]
    values = [(str(node.target), node.meta.get("val")) for node in nodes]
    return [(name, value.shape) for name, value in values if isinstance(value, torch.Tensor)]


def _size(size: Any, ranges: Any) -> _Size:
    if isinstance(size, int):
        return _Size(size, size)
    found = ranges.get(size.node.expr)
    if found is None:
        return _Size(0, None)
    return _Size(int(found.lower), int(found.upper) if found.upper.is_finite else None)


def _text(sizes: Iterable[Any]) -> str:
    return "x".join(map(str, sizes)) or "()"
