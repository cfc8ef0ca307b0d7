"""A rebuilt file beside ONNX Runtime, which runs it as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atrous.errors import UnsupportedError
from atrous.frameworks.recording import recorded
from atrous.network.shapes import Shape
from atrous.readers.onnx.file import check, load
from atrous.readers.onnx.inputs import Input, Inputs
from atrous.runners.onnx import OnnxRunner, random_inputs
from atrous.runners.onnx_sizes import SizedFile
from atrous.runners.rebuilt.elements import TYPES
from atrous.runners.rebuilt.module import MOST_NUMBERS, Rebuilt

__all__ = ["RebuiltFile", "rebuilt_file"]

_BFLOAT16 = 16
_TOLERANCES = {"float16": 2e-2, "bfloat16": 2e-1, "float32": 1e-4, "float64": 1e-9}
"""Beside the largest value: what sums in another order come to."""


@dataclass(frozen=True, slots=True, eq=False)
class RebuiltFile:
    """A file as a module that agrees with ONNX Runtime, the shapes asked for, and its own."""

    module: Rebuilt
    label: str
    shapes: tuple[Shape, ...]
    own: tuple[Shape, ...]
    dtypes: tuple[torch.dtype, ...]


def rebuilt_file(source: Any, input: Input = None) -> RebuiltFile:
    """The module that does what a file does, held against ONNX Runtime on random numbers.

    They are of the sizes that the file says, and of `input` where it leaves them open. Raises
    `ReadError` for a file that cannot be read, `UnsupportedError` for one with an operator that has
    no form, or that gives other numbers, naming the node, and `MissingDependencyError` without
    onnxruntime.
    """
    loaded = load(source)
    check(loaded)
    module = Rebuilt(loaded)
    graph = loaded.model.graph
    items = [item for item in graph.input if item.name in module.inputs]
    shapes = tuple(Inputs(items, input).shapes.values())
    own = SizedFile(source).own(shapes)
    kinds = [item.type.tensor_type.elem_type or 1 for item in items]
    for item, kind in zip(items, kinds, strict=True):
        if kind not in TYPES or kind == _BFLOAT16:
            raise UnsupportedError(
                f"the input {item.name[:80]!r} is of type {kind}, which no tensor here has."
            )
    dtypes = tuple(TYPES[kind] for kind in kinds)
    for item, shape in zip(items, own, strict=True):
        if prod(shape) > MOST_NUMBERS:
            raise UnsupportedError(
                f"the input {item.name[:80]!r} holds {prod(shape):,} numbers, more than the "
                f"{MOST_NUMBERS:,} that are taken; give a shorter example."
            )
    # Nothing is computed before all sizes are known to be bounded: these hold no numbers.
    examples = [torch.empty(s, dtype=d) for s, d in zip(own, dtypes, strict=True)]
    with module.noting() if module.fixed else nullcontext():
        recorded(module, examples, {})
    _assert_agreement(module, source, own)
    return RebuiltFile(module, loaded.label, shapes, own, dtypes)


def _assert_agreement(module: Rebuilt, source: Any, own: Sequence[Shape]) -> None:
    """Raises `UnsupportedError`, naming the first node that gives other numbers."""
    runner = OnnxRunner(source if not isinstance(source, str) else Path(source))
    drawn = random_inputs(source, dict(zip(module.inputs, own, strict=True)))
    given = [torch.from_numpy(one) for one in drawn]
    with torch.inference_mode():
        made = module(*given)
    several = made if isinstance(made, tuple) else (made,)
    wanted = runner.run(drawn, runner.outputs)
    if all(
        _disagreement(one, wanted[name]) is None
        for name, one in zip(module.outputs, several, strict=True)
    ):
        return
    with torch.inference_mode():
        values = module.values(given)
    between = [
        (label, name)
        for label, names in module.made
        for name in names
        if isinstance(values.get(name), torch.Tensor)
    ]
    theirs = runner.run(drawn, [name for _, name in between])
    for label, name in between:
        reason = _disagreement(values[name], theirs[name])
        if reason is not None:
            error = UnsupportedError(
                f"PyTorch makes of it {reason}; stream the module that the file was exported from."
            )
            error.subject = label
            raise error
    raise UnsupportedError("its outputs are others in ONNX Runtime than in PyTorch.")


def _disagreement(one: torch.Tensor, other: NDArray[Any]) -> str | None:
    """How a tensor differs from an array; None where they agree."""
    if tuple(one.shape) != other.shape:
        return f"{tuple(one.shape)} where ONNX Runtime makes {other.shape}"
    tolerance = _TOLERANCES.get(str(one.dtype).removeprefix("torch."))
    if tolerance is None:
        same = np.array_equal(one.numpy(), other)
        return None if same else "other whole numbers than ONNX Runtime"
    left, right = one.double().numpy(), other.astype(np.float64)
    there = np.isfinite(left) & np.isfinite(right)
    if not np.array_equal(left[~there], right[~there], equal_nan=True):
        return "numbers where ONNX Runtime makes none, or the other way"
    worst = float(np.abs(left[there] - right[there]).max(initial=0.0))
    scale = float(np.abs(right[there]).max(initial=1e-6))
    if worst <= tolerance * scale:
        return None
    return f"other numbers than ONNX Runtime, by {worst:.2g} beside {scale:.2g}"
