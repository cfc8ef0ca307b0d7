"""Copies of Keras models, layer by layer, with other layers in places and the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

__all__ = ["Stand", "as_graph", "copied", "numbers_of", "same_weights"]

Stand = Callable[[Any, str], Any]
"""What stands for a layer of this name in the model: called on its inputs; None for a copy."""


def as_graph(model: Any) -> Any:
    """The model as a graph of layers; None where its own code calls them."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model if isinstance(model, keras.Function) and model.inputs else None


def copied(
    model: Any,
    stand: Stand | None = None,
    *,
    shapes: Sequence[Sequence[int]] | None = None,
    dtype: str = "",
) -> Any:
    """A copy of a graph of layers, its weights included, with `stand`s in place of some layers.

    `shapes` are those of its inputs, where they are to be fixed; a `dtype` is that of all floating
    numbers in it. Raises `ValueError` or `TypeError` where a layer cannot be made anew.
    """
    copies: list[tuple[Any, Any]] = []
    with numbers_of(dtype):
        made = _copy(model, "", stand, shapes, dtype, copies)
    for one, two in copies:
        same_weights(one, two)
        for weight, copy in zip(one.weights, two.weights, strict=True):
            copy._path = weight.path  # it says who built the layer, which is no matter here
    return made


@contextmanager
def numbers_of(dtype: str) -> Iterator[None]:
    """A block in which Keras makes and joins numbers of a type; its usual one where it is empty."""
    usual = keras.config.dtype_policy(), keras.config.floatx()
    try:
        if dtype:
            keras.config.set_floatx(dtype)
            keras.config.set_dtype_policy(dtype)
        yield
    finally:
        keras.config.set_floatx(usual[1])
        keras.config.set_dtype_policy(usual[0])


def same_weights(source: Any, target: Any) -> None:
    """Gives a layer the weights of one like it, and all inside it theirs."""
    for one, two in zip(_inside(source), _inside(target), strict=True):
        held: dict[str, Any] = {}
        one.save_own_variables(held)
        two.load_own_variables(held)


def _inside(layer: Any) -> Iterator[Any]:
    yield layer
    for part in getattr(layer, "_layers", ()):
        yield from _inside(part)


def _copy(
    model: Any,
    prefix: str,
    stand: Stand | None,
    shapes: Sequence[Sequence[int | None]] | None,
    dtype: str,
    copies: list[tuple[Any, Any]],
) -> Any:
    known: dict[int, Any] = {}

    def clone(layer: Any) -> Any:
        if id(layer) not in known:
            known[id(layer)] = fresh(layer)
        return known[id(layer)]

    def fresh(layer: Any) -> Any:
        name = f"{prefix}{layer.name}"
        inside = as_graph(layer)
        if inside is not None:
            return _nested(inside, f"{name}.", stand, dtype, copies)
        other = None if stand is None else stand(layer, name)
        if other is None:
            other = type(layer).from_config(_config(layer, dtype))
        made = getattr(other, "layer", other)
        if isinstance(layer, keras.Layer) and isinstance(made, keras.Layer):
            copies.append((layer, made))
        return other

    graph = as_graph(model)
    inputs = [
        keras.Input(
            batch_shape=tensor.shape if shapes is None else (tensor.shape[0], *shapes[index][1:]),
            dtype=dtype if dtype and "float" in str(tensor.dtype) else tensor.dtype,
            name=tensor._keras_history.operation.name,
        )
        for index, tensor in enumerate(graph.inputs)
    ]
    held = keras.tree.pack_sequence_as(graph._inputs_struct, inputs)
    return keras.models.clone_model(graph, input_tensors=held, clone_function=clone)


def _nested(
    graph: Any, prefix: str, stand: Stand | None, dtype: str, copies: list[tuple[Any, Any]]
) -> Callable[..., Any]:
    """A graph inside another, copied for the sizes that it is given where its own are fixed."""
    made: list[Any] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        if not made:
            given = [tensor.shape for tensor in keras.tree.flatten(args)]
            shapes = [
                [None if own is None else size for own, size in zip(t.shape, shape, strict=True)]
                for t, shape in zip(graph.inputs, given, strict=True)
            ]
            made.append(_copy(graph, prefix, stand, shapes, dtype, copies))
        return made[0](*args, **kwargs)

    return call


def _config(layer: Any, dtype: str) -> dict[str, Any]:
    config: dict[str, Any] = layer.get_config()
    if dtype and "dtype" in config and "int" not in str(getattr(layer, "compute_dtype", "")):
        config["dtype"] = dtype
    return config
