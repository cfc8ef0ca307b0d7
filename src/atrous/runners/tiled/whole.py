"""A model or a function on a whole image at once, and what it gives as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ArgumentError
from atrous.network.shapes import Shape
from atrous.readers.kind import kind_of, source_name

__all__ = ["arrays_of", "changed_from", "drawn", "run_whole"]


def run_whole(whole: Any, images: Sequence[Any]) -> list[NDArray[Any]]:
    """The outputs of a module in evaluation mode, of a file in ONNX Runtime, or of a function."""
    kind = kind_of(whole)
    if kind == "module":
        import torch

        from atrous.frameworks.torch import in_mode

        given = [x if isinstance(x, torch.Tensor) else torch.from_numpy(x) for x in images]
        with in_mode(whole, training=False), torch.inference_mode():
            return arrays_of(whole(*given))
    if kind in ("file", "message"):
        from atrous.runners.onnx import OnnxRunner

        runner = OnnxRunner(whole)
        made = runner.run([np.asarray(x) for x in images], runner.outputs)
        return [made[name] for name in runner.outputs]
    if not callable(whole):
        raise ArgumentError(
            f"{source_name(whole)}: nothing runs it; give a PyTorch module, an .onnx file or a "
            "function of the image."
        )
    return arrays_of(whole(*images))


def arrays_of(made: Any) -> list[NDArray[Any]]:
    """What a function gives, one or several, tensors of any device among them, as arrays."""
    if isinstance(made, Mapping):
        made = list(made.values())
    if isinstance(made, tuple | list):
        return [array for one in made for array in arrays_of(one)]
    return [np.asarray(made.detach().cpu() if hasattr(made, "detach") else made)]


def changed_from(image: Any, dim: int, position: int, *, before_it: bool = False) -> Any:
    """A copy whose numbers from a position on (or before it) are mirrored in their range."""
    copy = image.clone() if hasattr(image, "clone") else np.array(image)
    where = slice(0, position) if before_it else slice(position, None)
    part = (*(slice(None),) * dim, where)
    copy[part] = (image.max() - image[part]) + image.min()
    return copy


def drawn(whole: Any, shapes: Sequence[Shape]) -> tuple[Any, ...]:
    """Random inputs of these shapes, as a model takes them."""
    if kind_of(whole) in ("file", "message"):
        from atrous.readers.onnx.file import load
        from atrous.runners.onnx import random_inputs

        graph = load(whole).model.graph
        stored = {item.name for item in graph.initializer}
        names = [item.name for item in graph.input if item.name not in stored]
        return tuple(random_inputs(whole, dict(zip(names, shapes, strict=True))))
    import torch

    first = next((p for p in whole.parameters() if p.is_floating_point()), None)
    like = {} if first is None else {"dtype": first.dtype, "device": first.device}
    chance = torch.Generator(device=like.get("device", "cpu")).manual_seed(0)
    return tuple(torch.randn(shape, generator=chance, **like) for shape in shapes)
