"""Keras 3 models into networks, by the graph that Keras records; no layer is run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from atrous.errors import ReadError
from atrous.network import Builder, Network, Param, Tensor
from atrous.network.ops import Constant
from atrous.readers.call import NotUnderstood, Output, network_of, once
from atrous.readers.given import is_shape, shapes_of
from atrous.readers.keras import arrays, layers, windows
from atrous.readers.keras.call import KerasCall, translation_of
from atrous.readers.keras.graph import CallGraph, left_alone, trace
from atrous.readers.placed import Held, Order, Placed, itemsize_of

__all__ = ["read_keras", "read_keras_orders"]

_REGISTERED = (arrays, layers, windows)
_DEEPEST = 32


def read_keras(source: Any, input: Any = None, *, weights: bool = False) -> Network:
    """The network of a Keras 3 model or layer, at inference.

    `input` has the shapes as Keras counts them, channels last where the model has them so; it may
    be left out where the model says all sizes but the batch. Maps are listed with their channels
    before their positions, as those of every source. Running statistics are buffers, and no
    parameters. Nothing is run and the model is left as it was. Raises `ReadError` for a model that
    is not built, that does not take the input, or whose own code cannot be followed.
    """
    return read_keras_orders(source, input, weights=weights)[0]


def read_keras_orders(
    source: Any, input: Any = None, *, weights: bool = False
) -> tuple[Network, tuple[Order, ...]]:
    """As `read_keras`, and for each output which of its tensor's dimensions Keras' own are."""
    name = source.name
    if not isinstance(source, keras.Layer):
        raise ReadError(f"a {type(source).__name__} is no Keras model or layer.")
    if not source.built:
        raise ReadError(
            f"{name}: it is not built, so its layers have no weights yet; call it once on an "
            "example, or give it a keras.Input, then read it."
        )
    inputs = _inputs(source, input)
    with left_alone(source):
        walk = _GraphReader(source, _graph_of_call(source, inputs), weights)
        shapes = {tensor.name: tuple(tensor.shape) for tensor in walk.traced.inputs}
        sizes = {tensor.name: itemsize_of(str(tensor.dtype)) for tensor in walk.traced.inputs}
        return network_of(name, shapes, sizes, walk.translate), tuple(walk.orders)


def _inputs(model: Any, input: Any) -> Any:
    """What to call the model with: symbolic tensors of the sizes asked for, as the model takes."""
    known = model.inputs if isinstance(model, keras.Model) and _is_graph(model) else None
    if isinstance(input, Mapping):
        raise ReadError(f"{model.name}: give the shapes of its inputs in order, without names.")
    if input is not None:
        shapes = shapes_of(input)
    elif known is None:
        raise ReadError(
            f"{model.name}: a {type(model).__name__} does not say what it takes; give the input "
            "shape as Keras counts it, such as (1, 224, 224, 3)."
        )
    else:
        shapes = tuple((tensor.shape[0] or 1, *tensor.shape[1:]) for tensor in known)
        if any(size is None for shape in shapes for size in shape):
            raise ReadError(
                f"{model.name}: it takes {_spelled(known)}, which leaves sizes open; give the "
                "input shape, such as (1, 224, 224, 3)."
            )
    if known is not None and len(known) != len(shapes):
        raise ReadError(
            f"{model.name}: it takes {len(known)} inputs, {_spelled(known)}; got {len(shapes)}."
        )
    for like, shape in zip(known or (), shapes, strict=False):
        fits = len(like.shape) == len(shape) and all(
            size in (None, asked) for size, asked in zip(like.shape, shape, strict=True)
        )
        if not fits:
            raise ReadError(
                f"{model.name}: does not take {shape}: its input is {_spelled([like])}; give that, "
                "or make the model with a keras.Input that leaves sizes open."
            )
    given = None if input is None or is_shape(input) else input
    tensors = []
    for index, shape in enumerate(shapes):
        like = known[index] if known is not None else None
        tensors.append(
            keras.KerasTensor(
                shape,
                dtype=like.dtype if like is not None else _dtype_of(given, index),
                name=_input_name(like, index, len(shapes)),
            )
        )
    struct = getattr(model, "_inputs_struct", None)
    if known is not None and struct is not None:
        return keras.tree.pack_sequence_as(struct, tensors)
    if len(tensors) == 1:
        return tensors[0]
    return tensors


def _input_name(like: Any, index: int, count: int) -> str:
    if like is not None:
        return str(like._keras_history.operation.name)
    return "x" if count == 1 else f"x{index + 1}"


def _dtype_of(given: Any, index: int) -> str:
    """The type of an example; that of images where only a shape was given."""
    value = given[index] if isinstance(given, list | tuple) else given
    dtype = getattr(value, "dtype", None)
    return "float32" if dtype is None else str(keras.backend.standardize_dtype(dtype))


def _is_graph(model: Any) -> bool:
    """Whether the model is one of those that say what they take and run."""
    return isinstance(model, keras.Function | keras.Sequential) or bool(
        getattr(model, "inputs", None)
    )


def _spelled(tensors: Sequence[Any]) -> str:
    return ", ".join(
        "x".join("?" if size is None else str(size) for size in tensor.shape) for tensor in tensors
    )


def _graph_of_call(model: Any, inputs: Any) -> CallGraph:
    """What the model records when it is called on the inputs."""
    try:
        several = isinstance(inputs, list) and not _is_graph(model)
        return trace(model.call, inputs if several else [inputs], _taken(model, {}))
    except Exception as error:
        shapes = ", ".join(str(tuple(t.shape)) for t in keras.tree.flatten(inputs))
        raise ReadError(
            f"{model.name}: a {type(model).__name__} does not take {shapes}, or its code asks "
            f"for numbers: {_one_line(error)}; give a shape that it takes, or make it of Keras' "
            "layers and keras.ops (or of the functional interface), which are followed."
        ) from error


def _taken(operation: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The named arguments that the operation's own code takes; nothing is being trained."""
    parameters = inspect.signature(operation.call).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    known = {**given, "training": False}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return {key: value for key, value in known.items() if key in {*given, *parameters}}
    return {key: value for key, value in known.items() if key in parameters}


def _sized(shape: Sequence[int | None]) -> tuple[int, ...] | None:
    """A shape; None where Keras leaves a size open."""
    sizes = tuple(size for size in shape if size is not None)
    return sizes if len(sizes) == len(shape) else None


def _cannot_follow(error: Exception) -> str:
    """What keeps code from being followed on tensors without numbers, and the way out."""
    if "KerasTensor is symbolic" in str(error):
        return (
            "it asks for numbers, or has a weight of its own in front of an operator; write it in "
            "keras.ops, and `x * self.weight`"
        )
    return _one_line(error)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 240 else text[:237] + "..."


class _GraphReader:
    """One graph of operations, ready to be translated any number of times."""

    def __init__(self, model: Any, traced: CallGraph, weights: bool) -> None:
        self.traced = traced
        self.weights = weights
        self.params = _params_of(model)
        self.runs: dict[tuple[Any, ...], CallGraph] = {}
        self.depth = 0
        self.orders: list[Order] = []

    def translate(self, builder: Builder, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Every node as ops of the builder; the tensors that are the outputs."""
        values: dict[int, Any] = {
            id(tensor): Placed.plain(inputs[tensor.name]) for tensor in self.traced.inputs
        }
        if keras.config.image_data_format() == "channels_last":
            for tensor in builder.inputs:
                if len(tensor.shape) > 2:
                    builder.channels_at(tensor, len(tensor.shape) - 1, usually=True)
        self._run(builder, self.traced, values, "")
        builder.own(param for param in self.params.values() if not param.buffer)
        outputs = []
        self.orders = []
        for index, out in enumerate(keras.tree.flatten(self.traced.outputs)):
            value = values.get(id(out))
            if isinstance(value, Placed):
                outputs.append(value.tensor)
                self.orders.append(value.order)
            elif hasattr(out, "shape"):
                self.orders.append(tuple(range(len(out.shape))))
                outputs.append(builder.add(Constant(tuple(out.shape)), name=f"output{index}"))
        return outputs

    def _run(
        self, builder: Builder, traced: CallGraph, values: dict[int, Any], prefix: str
    ) -> None:
        """Note the values of all tensors that the graph makes."""
        for node in traced.nodes:
            made = self._node(builder, node, values, prefix)
            several = made if isinstance(made, list | tuple) else [made]
            for tensor, value in zip(node.outputs, several, strict=False):
                values[id(tensor)] = Placed.plain(value) if isinstance(value, Tensor) else value

    def _node(self, builder: Builder, node: Any, values: dict[int, Any], prefix: str) -> Any:
        """The values that one node makes: ops where it depends on the input, or constants."""
        operation, name = node.operation, f"{prefix}{node.operation.name}"
        args, kwargs = keras.tree.map_structure(
            lambda value: self._value(value, values),
            (node.arguments.args, node.arguments.kwargs),
        )
        call = KerasCall(
            builder,
            type(operation).__name__,
            _named(operation, args, kwargs),
            [Output(_sized(out.shape), itemsize_of(str(out.dtype))) for out in node.outputs],
            name,
            name,
            name,
            several=len(node.outputs) > 1,
            operation=operation,
            follow=self._follow,
            held=self._held(operation),
            weights=self.weights,
        )
        if not call.tensors():
            params = once((*call.held, *call.params()))
            return [Held(tuple(out.shape), params) for out in node.outputs]
        translation = translation_of(operation)
        if translation is not None:

            def translated(call: KerasCall) -> Any:
                made = translation(call)
                return self._followed(call, node, values) if made is NotImplemented else made

            return call.translated(translated)
        if not isinstance(operation, keras.Layer | keras.Function):
            return call.opaque("is not in the table of operations")
        return call.translated(lambda call: self._followed(call, node, values))

    def _followed(self, call: KerasCall, node: Any, values: dict[int, Any]) -> Any:
        """A layer that is in no table, by what its own code does."""
        operation = call.operation
        if any(_sized(tensor.shape) is None for tensor in node.input_tensors):
            args, kwargs = keras.tree.map_structure(
                lambda value: self._value(value, values),
                (node.arguments.args, _taken(operation, node.arguments.kwargs)),
            )
            return self._follow(call, operation.call, args, kwargs)

        def record() -> CallGraph:
            return trace(
                operation.call, node.arguments.args, _taken(operation, node.arguments.kwargs)
            )

        return self._inlined(call, self._once(call, record), values)

    def _follow(
        self, call: KerasCall, function: Callable[..., Any], args: Sequence[Any], kwargs: Any
    ) -> Any:
        """A function of values, by what it does with tensors of their shapes."""
        given = [v for v in keras.tree.flatten([args, kwargs]) if isinstance(v, Placed)]
        dtype = call.operation.compute_dtype if isinstance(call.operation, keras.Layer) else None

        def record() -> CallGraph:
            symbols, named = keras.tree.map_structure(
                lambda v: (
                    keras.KerasTensor(v.shape, dtype or "float32") if isinstance(v, Placed) else v
                ),
                (tuple(args), dict(kwargs)),
            )
            return trace(function, symbols, named)

        traced = self._once(call, record)
        values = {id(s): v for s, v in zip(traced.inputs, given, strict=True)}
        return self._inlined(call, traced, values)

    def _once(self, call: KerasCall, record: Callable[[], CallGraph]) -> CallGraph:
        """The graph that a call records; it is recorded once for all translations."""
        call.followed += 1
        key = (call.name, call.followed, str(call.outputs))
        if key not in self.runs:
            try:
                self.runs[key] = record()
            except NotUnderstood:
                raise
            except Exception as error:
                raise NotUnderstood(f"its code is not followed: {_cannot_follow(error)}") from error
        return self.runs[key]

    def _inlined(self, call: KerasCall, traced: CallGraph, values: dict[int, Any]) -> Any:
        """The ops of a graph inside a call; its parameters are those of the last of them."""
        if self.depth >= _DEEPEST:
            raise NotUnderstood("calls itself")
        mark = call.builder.mark()
        self.depth += 1
        try:
            inside = {id(t): values[id(t)] for t in traced.inputs if id(t) in values}
            self._run(call.builder, traced, inside, f"{call.name}.")
        finally:
            self.depth -= 1
        call.builder.credit(mark, call.held)
        made = [
            inside.get(id(out), self._value(out, inside))
            for out in keras.tree.flatten(traced.outputs)
        ]
        return made if call.several or len(made) > 1 else made[0]

    def _value(self, value: Any, values: Mapping[int, Any]) -> Any:
        """An argument: a tensor of the network, numbers that depend on none, or a plain value."""
        if isinstance(value, keras.KerasTensor):
            return values.get(id(value))
        if isinstance(value, keras.Variable):
            load = (lambda: keras.ops.convert_to_numpy(value)) if self.weights else None
            return Held(tuple(value.shape), self._held_of([value]), load)
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            return Held(tuple(value.shape), (), lambda: keras.ops.convert_to_numpy(value))
        return value

    def _held(self, operation: Any) -> tuple[Param, ...]:
        """The parameters of a layer, of those inside it as well."""
        return self._held_of(getattr(operation, "weights", ()))

    def _held_of(self, variables: Sequence[Any]) -> tuple[Param, ...]:
        return once(self.params[id(v)] for v in variables if id(v) in self.params)


def _named(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[Any, Any]:
    """The arguments by their names in the operation's own call, nested ones in lists."""
    try:
        bound: Mapping[Any, Any] = inspect.signature(operation.call).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {**dict(enumerate(args)), **kwargs}
    found: dict[Any, Any] = {}
    for name, value in bound.items():
        if name == "kwargs" and isinstance(value, Mapping):
            found.update(value)
        elif isinstance(value, tuple) and any(isinstance(part, Placed) for part in value):
            found[name] = list(value)
        else:
            found[name] = value
    return found


def _params_of(model: Any) -> dict[int, Param]:
    """The variables of a model by identity, each under a name of its own.

    What a layer made as no parameter (running statistics, a count) is a buffer; what was frozen
    later is none.
    """
    state = {
        id(variable)
        for layer in model._flatten_layers()
        for variable in layer._non_trainable_variables
    }
    found: dict[int, Param] = {}
    names: set[str] = set()
    for variable in model.weights:
        if id(variable) in found:
            continue
        name = str(variable.path).replace("/", ".")
        count = 1
        while name in names:
            count += 1
            name = f"{variable.path.replace('/', '.')}@{count}"
        names.add(name)
        size = 1
        for length in variable.shape:
            size *= length
        found[id(variable)] = Param(
            name,
            size,
            itemsize_of(str(variable.dtype)),
            bool(variable.trainable),
            id(variable) in state,
        )
    return found
