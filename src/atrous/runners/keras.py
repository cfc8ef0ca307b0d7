"""Runs Keras models on random inputs, in float64 where their layers can be made so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from atrous.frameworks.keras import as_graph, copied, numbers_of
from atrous.shown import some

__all__ = ["KerasRunner", "draw_keras", "drawn_inputs", "share_keras"]


class KerasRunner:
    """A model, as a copy in float64, or as it is where it cannot be copied so.

    Some functions of Keras make float32 of float64; `narrow` says whether one did.
    """

    def __init__(self, model: Any, *, double: bool) -> None:
        graph = as_graph(model)
        self.double = double and graph is not None
        self.model = copied(graph, dtype="float64") if self.double else model
        self.narrow = not self.double

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """What the model makes of the inputs at inference, output by output."""
        with numbers_of("float64" if self.double else ""):
            if self.double:
                made = self._through(self.model, list(inputs))
            else:
                held = list(inputs) if len(inputs) > 1 else inputs[0]
                made = self.model(held, training=False)
        return [np.asarray(keras.ops.convert_to_numpy(x)) for x in keras.tree.flatten(made)]

    def _through(self, graph: Any, inputs: Any) -> Any:
        """What a graph makes of its inputs, with a look at what each operation in it makes."""

        def watched(operation: Any) -> Any:
            inside = as_graph(operation)

            def call(*args: Any, **kwargs: Any) -> Any:
                if inside is not None and not kwargs:
                    return self._through(inside, keras.tree.flatten(args))
                made = operation(*args, **kwargs)
                for x in keras.tree.flatten(made):
                    dtype = str(keras.backend.standardize_dtype(x.dtype))
                    self.narrow |= "float" in dtype and dtype != "float64"
                return made

            return call

        return graph._run_through_graph(inputs, operation_fn=watched)


def drawn_inputs(model: Any, shapes: Sequence[Sequence[int]], seed: int, dtype: str) -> list[Any]:
    """One random array for each input: normal numbers, and indices of 0 and 1."""
    generator = np.random.default_rng(seed)
    kinds = [str(t.dtype) for t in getattr(model, "inputs", None) or ()] or [dtype] * len(shapes)
    return [
        generator.standard_normal(shape).astype(dtype)
        if "float" in kind
        else generator.integers(0, 2, shape).astype(kind)
        for shape, kind in zip(shapes, kinds, strict=True)
    ]


def draw_keras(model: Any, seed: int = 0) -> None:
    """Draws every weight anew, so that no branch that is switched off at the start hides.

    Filters keep the size of what they are given; scales and variances lie around 1.
    """
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if "float" not in str(weight.dtype):
            continue
        shape, name = tuple(weight.shape), weight.path.rpartition("/")[2]
        if len(shape) > 1:
            taken = np.prod(shape[:2] if "depthwise" in name else shape[:-1])
            drawn = generator.standard_normal(shape) * (2 / taken) ** 0.5
        elif name in ("bias", "beta", "moving_mean", "mean"):
            drawn = generator.standard_normal(shape) * 0.1
        else:
            drawn = generator.random(shape) + 0.5
        weight.assign(drawn)


def share_keras(source: Any, target: Any) -> str:
    """Gives a model the weights of another: by name, or in order where names differ.

    Returns why that cannot be; empty where it is done.
    """
    first, second = ([weight.path for weight in model.weights] for model in (source, target))
    given = list(source.weights)
    if first != second and len(set(first)) == len(first) and set(first) == set(second):
        given = [given[first.index(path)] for path in second]
    if len(first) != len(second):
        return f"only one of both has {some(sorted(set(first) ^ set(second)), 3)}"
    pairs = list(zip(given, target.weights, strict=True))
    for a, b in pairs:
        if tuple(a.shape) != tuple(b.shape):
            return f"{a.path} is {tuple(a.shape)}, and {b.path} {tuple(b.shape)}"
    for a, b in pairs:
        b.assign(keras.ops.convert_to_numpy(a))
    return ""
