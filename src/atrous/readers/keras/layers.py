"""Layers that do not slide: dense, norms, activations, merges, shapes, look-ups, recurrences."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras

from atrous.network.ops import (
    Attention,
    Concat,
    Elementwise,
    Expand,
    Lookup,
    Mix,
    Permute,
    Reduce,
    Reshape,
    Scan,
)
from atrous.readers.call import NotUnderstood
from atrous.readers.keras.call import KerasCall, translates
from atrous.readers.placed import Held, Placed

__all__ = ["ELEMENTWISE", "with_activation"]

ELEMENTWISE = frozenset(
    word
    for line in (
        "relu relu6 leaky_relu elu selu celu gelu silu swish sigmoid sparse_sigmoid hard_sigmoid",
        "hard_silu hard_swish tanh hard_tanh tanh_shrink softplus softsign soft_shrink",
        "hard_shrink sparse_plus squareplus log_sigmoid exponential mish threshold linear",
    )
    for word in line.split()
)
"""The names of Keras' activations of single elements."""


def with_activation(call: KerasCall, x: Placed) -> Placed:
    """What the layer's activation makes of its result."""
    function = call.setting("activation")
    name = getattr(function, "__name__", "")
    if function is None or name == "linear":
        return x
    own = getattr(function, "__module__", "").startswith("keras.src.")
    if own and name in ELEMENTWISE:
        return call.made(Elementwise(name), x.tensor, order=x.order, out=None)
    if own and name in ("softmax", "log_softmax"):
        return call.made(Mix((x.order[-1],), name), x.tensor, order=x.order, out=None)
    made = call.run(function, x)
    if not isinstance(made, Placed):
        raise NotUnderstood(f"its activation {name or type(function).__name__} is not followed")
    return made


@translates("layers", "Activation")
def _activation(call: KerasCall) -> Placed:
    """A function of each element, or a softmax along the last dimension."""
    function, x = call.setting("activation"), call.first
    name = getattr(function, "__name__", "")
    if getattr(function, "__module__", "").startswith("keras.src.") and name in ELEMENTWISE:
        return x if name == "linear" else call.alone(name)
    if name in ("softmax", "log_softmax"):
        return call.made(Mix((x.order[-1],), name), x.tensor, order=x.order)
    return with_activation(call, x)


@translates("layers", "ReLU LeakyReLU ELU PReLU Rescaling Normalization")
def _alone(call: KerasCall) -> Placed:
    """Output `o` reads position `o`."""
    return call.alone(call.op.lower())


@translates("layers", "BatchNormalization")
def _batch_norm(call: KerasCall) -> Placed:
    """Output `o` reads position `o`: at inference the statistics are stored."""
    call.rewritten = True  # a mask is for the statistics of training
    x, axis = call.first, call.setting("axis")
    call.builder.channels_at(x.tensor, x.order[axis if isinstance(axis, int) else axis[0]])
    return call.alone("batch_norm")


@translates("layers", "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout")
@translates("layers", "GaussianDropout GaussianNoise ActivityRegularization Identity InputLayer")
@translates("layers", "RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation")
@translates("layers", "RandomTranslation RandomZoom RandomColorJitter RandomHue RandomSaturation")
@translates("layers", "RandomGaussianBlur RandomInvert RandomPosterization RandomShear")
@translates("layers", "RandomErasing RandomGrayscale RandomSharpness RandomPerspective")
@translates("ops", "StopGradient Copy")
def _same(call: KerasCall) -> Placed:
    """At inference, what comes in."""
    x = call.first
    if x.shape != call.shape:
        raise NotUnderstood("crops or resizes at inference")
    return x


@translates("layers", "Softmax")
@translates("ops", "Softmax LogSoftmax Sparsemax")
def _softmax(call: KerasCall) -> Placed:
    """Each output reads all along the axis."""
    x = call.first
    axis = call.setting("axis", -1)
    if axis is None:
        raise NotUnderstood("takes all dimensions as one")
    dims = _stored_dims(x, axis)
    others = [t for t in call.tensors() if t.name != x.tensor.name]
    if others or call["mask"] is not None:
        raise NotUnderstood("masks by data, or by numbers that are not looked at here")
    return call.made(Mix(dims, "softmax"), x.tensor, order=x.order)


@translates("layers", "MultiHeadAttention")
def _heads(call: KerasCall) -> Any:
    """As its own code says; where that would count steps, what it does without its dropout."""
    layer = call.operation
    if not call["use_causal_mask"] or not layer._dropout:
        return NotImplemented
    if type(layer)._compute_attention is not keras.layers.MultiHeadAttention._compute_attention:
        raise NotUnderstood("attends by code of its own, under a causal mask")
    masks = ("query_mask", "value_mask", "key_mask", "attention_mask", "return_attention_scores")
    if any(call[name] is not None and call[name] is not False for name in masks):
        raise NotUnderstood("masks by more than the order of steps, or hands back its scores")
    if getattr(layer, "_sliding_window", None) or getattr(layer, "_use_gate", False):
        raise NotUnderstood("attends in a sliding window, or through a gate")

    def attend(query: Any, value: Any, key: Any) -> Any:
        parts = layer._query_dense(query), layer._key_dense(key), layer._value_dense(value)
        attended = keras.ops.dot_product_attention(*parts, is_causal=True)
        return layer._output_dense(attended)

    return call.run(attend, call["query"], call["value"], call["key"] or call["value"])


@translates("layers", "Attention")
def _dot_attention(call: KerasCall) -> Any:
    """Each query reads all steps of keys and values, where the mask is causal those up to its own.

    Its own code says the rest.
    """
    if not call["use_causal_mask"]:
        return NotImplemented
    own = type(call.operation)._calculate_scores
    if own is not keras.layers.Attention._calculate_scores or call.setting("score_mode") != "dot":
        raise NotUnderstood("scores by more than products, under a causal mask")
    given = call["inputs"]
    if call["mask"] is not None or call["return_attention_scores"] or len(call.outputs) > 1:
        raise NotUnderstood("masks by data as well, or hands back its scores")
    query, value, *key = (call.plain(x) for x in given)
    return call.made(Attention(True), query, *(key or [value]), value)


@translates("layers", "LayerNormalization RMSNormalization UnitNormalization")
@translates("ops", "LayerNorm RMSNorm Normalize")
def _layer_norm(call: KerasCall) -> Placed:
    """Each output reads all along the normalized axes."""
    x = call.first
    label = "layer_norm" if call.op.startswith("Layer") else call.op.lower()
    params = (*call.held, *call.params())
    return call.made(
        Mix(_stored_dims(x, call.setting("axis", -1)), label),
        x.tensor,
        order=x.order,
        params=params,
    )


@translates("layers", "GroupNormalization")
def _group_norm(call: KerasCall) -> Placed:
    """Each output reads its whole image: all groups count as one."""
    x = call.first
    call.builder.channels_at(x.tensor, x.order[call.setting("axis")])
    op = Mix(tuple(range(1, len(x.order))), "group_norm")
    return call.made(op, x.tensor, order=x.order)


def _stored_dims(x: Placed, axis: Any) -> tuple[int, ...]:
    """The dimensions of the tensor that Keras' axes are."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    return tuple(sorted(x.order[dim] for dim in axes))


@translates("layers", "Dense")
def _dense(call: KerasCall) -> Placed:
    """Each output reads all of the last dimension at one place of the others."""
    x = call.plain(call.first)
    kernel = call.numbers("kernel")
    op = call.linear(x, kernel.shape[-1], kernel, columns=True)
    return with_activation(call, call.made(op, x))


@translates("layers", "Embedding")
def _embedding(call: KerasCall) -> Placed:
    """Output `o` reads index `o`, for a row of the table in a new last dimension."""
    return call.made(Lookup(call.shape[-1]), call.plain(call.first))


@translates("layers", "Add Subtract Multiply Average Maximum Minimum")
def _merge(call: KerasCall) -> Placed:
    """Output `o` reads all operands at `o`; smaller ones get new dimensions behind the batch."""
    (values,) = list(call.arguments.values())[:1]
    rank = len(call.shape)
    parts = []
    for value in values:
        missing = rank - len(value.shape)
        if missing and isinstance(value, Placed):
            shape = (value.shape[0], *(1,) * missing, *value.shape[1:])
            value = Placed.plain(call.step(Reshape(shape), call.plain(value)))
        parts.append(value)
    return call.joined(call.op.lower(), parts)


@translates("layers", "Concatenate")
@translates("ops", "Concatenate")
def _concatenate(call: KerasCall) -> Placed:
    """Operand `p` is read at `o` minus the sizes before it along the axis."""
    values = next(iter(call.arguments.values()))
    placed = [value for value in values if isinstance(value, Placed)]
    plain = tuple(range(len(call.shape)))
    order = next((v.order for v in placed if v.order != plain), plain)
    parts = [
        call.turned(Placed.plain(call.constant(v)) if isinstance(v, Held) else v, order)
        for v in values
    ]
    axis = order[call.setting("axis", -1)]
    if len(parts) == 1:
        return Placed(parts[0], order)
    return call.made(Concat(axis), *parts, order=order)


@translates("layers", "Flatten Reshape")
@translates("ops", "Reshape Ravel ExpandDims Squeeze View")
def _reshape(call: KerasCall) -> Placed:
    """The same elements in the order that Keras has them, under a new shape."""
    x, shape = call.first, call.shape
    if x.shape == shape:
        return x
    return call.made(Reshape(shape), call.plain(x))


@translates("layers", "Permute")
@translates("ops", "Transpose Moveaxis Swapaxes")
def _permute(call: KerasCall) -> Placed:
    """The dimensions in a new order."""
    x = call.first
    rank = len(x.order)
    axes = _new_order(call, rank)
    return call.made(Permute(tuple(x.order[axis] for axis in axes)), x.tensor)


def _new_order(call: KerasCall, rank: int) -> Sequence[int]:
    """Which dimension each of the new ones was."""
    if call.op == "Permute":
        return (0, *call.setting("dims"))
    if call.op == "Transpose":
        axes = call.setting("axes")
        return tuple(range(rank))[::-1] if axes is None else [axis % rank for axis in axes]
    if call.op == "Swapaxes":
        order = list(range(rank))
        one, other = call.setting("axis1"), call.setting("axis2")
        order[one], order[other] = order[other], order[one]
        return order
    source = [axis % rank for axis in call.setting("source")]
    target = [axis % rank for axis in call.setting("destination")]
    order = [axis for axis in range(rank) if axis not in source]
    for where, axis in sorted(zip(target, source, strict=True)):
        order.insert(where, axis)
    return order


@translates("layers", "RepeatVector")
def _repeat_vector(call: KerasCall) -> Placed:
    """The vector at each of the new positions."""
    batch, times, size = call.shape
    grown = call.step(Reshape((batch, 1, size)), call.plain(call.first))
    return call.made(Expand((batch, times, size)), grown)


@translates("layers", "TimeDistributed")
def _time_distributed(call: KerasCall) -> Placed:
    """The layer inside at each step by itself."""
    if call["mask"] is not None:
        raise NotUnderstood("skips steps that data decides")
    x = call.first
    steps = prod(x.shape[:2])
    each = Placed.plain(call.step(Reshape((steps, *x.shape[2:])), call.plain(x)))
    made = call.run(call.operation.layer, each)
    if not isinstance(made, Placed):
        raise NotUnderstood("makes several tensors of each step")
    return call.made(Reshape(call.shape), call.plain(made))


@translates("layers", "LSTM GRU SimpleRNN")
def _recurrent(call: KerasCall) -> Any:
    """Output `o` reads all steps up to `o`, from the other end where it goes backwards."""
    layer = call.operation
    kernels = (layer.cell.kernel, layer.cell.recurrent_kernel)
    macs = sum(prod(kernel.shape) for kernel in kernels)
    return _scanned(call, macs, layer.units, layer.go_backwards, "forward")


@translates("layers", "Bidirectional")
def _bidirectional(call: KerasCall) -> Any:
    """Output `o` reads all steps: up to `o` for one half of its channels, from `o` for the other.

    Halves that are added, or not merged, count as reading all.
    """
    layers = (call.operation.forward_layer, call.operation.backward_layer)
    if any(not hasattr(getattr(layer, "cell", None), "recurrent_kernel") for layer in layers):
        raise NotUnderstood("runs layers that are no LSTM, GRU or SimpleRNN both ways")
    if call.operation.merge_mode is None:
        raise NotUnderstood("leaves both ways apart")
    macs = sum(
        prod(layer.cell.kernel.shape) + prod(layer.cell.recurrent_kernel.shape) for layer in layers
    )
    return _scanned(call, macs, call.shape[-1], False, "both")


def _scanned(call: KerasCall, macs: int, channels: int, backwards: bool, direction: Any) -> Any:
    x = call.plain(call.first)
    others = [tensor for tensor in call.tensors() if tensor.name != x.name]
    others = [tensor for tensor in others if tensor.name != call.first.tensor.name]
    if backwards:
        x = call.picked(x, 1, range(x.shape[1])[::-1], out=None)
    sequences = bool(getattr(call.operation, "return_sequences", False))
    label = call.op.lower()
    op = Scan(1, direction, channels, macs, label)
    if sequences and not call.several:
        return call.made(op, x, *others)
    whole = call.step(op, x, *others, params=call.held)
    made: list[Any] = []
    for index in range(len(call.outputs)):
        shape = call.shape_of(index)
        if sequences and not index:
            made.append(Placed.plain(whole))
            continue
        last = call.step(Reduce((1,), label="last"), whole)
        if last.shape != shape:
            raise NotUnderstood("hands back states of another size than its output")
        made.append(call.made(Elementwise("last"), last, out=index, params=()))
    return made if call.several else made[0]


@translates("layers", "ConvLSTM1D ConvLSTM2D ConvLSTM3D")
def _conv_lstm(call: KerasCall) -> Any:
    """Not followed: how far an output reads grows with the steps before it."""
    raise NotUnderstood(
        f"a {call.op} convolves its own state at each step, so how far an output reads grows "
        "with the steps before it"
    )
