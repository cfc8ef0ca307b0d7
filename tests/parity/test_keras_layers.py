"""Each layer of Keras that is read, and functions of `keras.ops`, against the layer itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers as L  # noqa: N812 - short in a table of layers
from keras import ops

import atrous
from tests.keras_probe import assert_reads, in_float64

Make = Callable[[], Callable[[Any], Any]]

LINE, MAP, CUBE = (1, 11, 4), (1, 7, 9, 4), (1, 5, 4, 6, 2)

MAPS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "strided same": (lambda: L.Conv2D(3, (3, 4), (2, 3), "same"), MAP),
    "dilated same": (lambda: L.Conv2D(3, (3, 2), 1, "same", dilation_rate=(2, 3)), MAP),
    "grouped": (lambda: L.Conv2D(6, 3, groups=2, activation="relu"), MAP),
    "causal": (lambda: L.Conv1D(3, 3, padding="causal", dilation_rate=3), LINE),
    "causal strided": (lambda: L.Conv1D(3, 4, strides=2, padding="causal"), LINE),
    "3d": (lambda: L.Conv3D(2, (2, 3, 1), (1, 2, 2), "same"), CUBE),
    "depthwise": (lambda: L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2), MAP),
    "depthwise 1d": (lambda: L.DepthwiseConv1D(4, 1, "same", dilation_rate=2), LINE),
    "separable": (lambda: L.SeparableConv2D(3, 3, 2, "same", activation="tanh"), MAP),
    "separable 1d": (lambda: L.SeparableConv1D(3, 2, dilation_rate=3), LINE),
    "back same": (lambda: L.Conv2DTranspose(3, (3, 4), (2, 3), "same"), MAP),
    "back valid": (lambda: L.Conv2DTranspose(3, (2, 3), (3, 2)), MAP),
    "back extra": (lambda: L.Conv2DTranspose(3, 3, 2, "same", output_padding=1), MAP),
    "back extra valid": (lambda: L.Conv1DTranspose(3, 4, 3, output_padding=2), LINE),
    "back dilated": (lambda: L.Conv1DTranspose(3, 3, 1, "same", dilation_rate=2), LINE),
    "back even": (lambda: L.Conv1DTranspose(3, 2, 5, "same"), LINE),
    "back 3d": (lambda: L.Conv3DTranspose(2, 3, 2, "same"), CUBE),
    "max same": (lambda: L.MaxPooling2D(3, 2, "same"), MAP),
    "max": (lambda: L.MaxPooling2D((2, 3)), MAP),
    "average same": (lambda: L.AveragePooling2D((4, 3), (3, 1), "same"), MAP),
    "average 1d": (lambda: L.AveragePooling1D(3, 2, "same"), LINE),
    "average 3d": (lambda: L.AveragePooling3D(2, 2, "same"), CUBE),
    "adaptive": (lambda: L.AdaptiveAveragePooling2D((3, 4)), MAP),
    "adaptive max": (lambda: L.AdaptiveMaxPooling1D(4), LINE),
    "upsampling 1d": (lambda: L.UpSampling1D(3), LINE),
    "upsampling": (lambda: L.UpSampling2D((2, 3)), MAP),
    "upsampling 3d": (lambda: L.UpSampling3D((1, 2, 3)), CUBE),
    "padding": (lambda: L.ZeroPadding2D(((1, 0), (2, 3))), MAP),
    "padding 1d": (lambda: L.ZeroPadding1D(2), LINE),
    "cropping": (lambda: L.Cropping2D(((1, 0), (2, 3))), MAP),
    "cropping 3d": (lambda: L.Cropping3D(1), CUBE),
    "dense": (lambda: L.Dense(3, activation="softmax"), MAP),
    "einsum dense": (lambda: L.EinsumDense("abcd,de->abce", (7, 9, 3)), MAP),
    "batch norm": (lambda: L.BatchNormalization(), MAP),
    "layer norm": (lambda: L.LayerNormalization(), MAP),
    "rms norm": (lambda: L.RMSNormalization(), MAP),
    "unit norm": (lambda: L.UnitNormalization(), MAP),
    "spectral norm": (lambda: L.SpectralNormalization(L.Conv2D(3, 3)), MAP),
    "softmax": (lambda: L.Softmax(), MAP),
    "softmax along rows": (lambda: L.Softmax(axis=1), MAP),
    "leaky": (lambda: L.LeakyReLU(), MAP),
    "prelu": (lambda: L.PReLU(shared_axes=[1, 2]), MAP),
    "activation": (lambda: L.Activation("gelu"), MAP),
    "dropout": (lambda: keras.Sequential([L.Dropout(0.5), L.Conv2D(3, 2)]), MAP),
    "noise": (lambda: keras.Sequential([L.GaussianNoise(0.5), L.Conv2D(3, 2)]), MAP),
    "rescaling": (lambda: L.Rescaling(0.5), MAP),
    "permute": (lambda: L.Permute((2, 1, 3)), MAP),
    "reshape": (lambda: L.Reshape((63, 4)), MAP),
    "lstm": (lambda: L.LSTM(3, return_sequences=True), LINE),
    "gru backwards": (lambda: L.GRU(3, return_sequences=True, go_backwards=True), LINE),
    "rnn": (lambda: L.SimpleRNN(3, return_sequences=True), LINE),
    "both ways": (lambda: L.Bidirectional(L.LSTM(3, return_sequences=True)), LINE),
    "distributed": (lambda: L.TimeDistributed(L.Dense(3)), LINE),
    "distributed maps": (lambda: L.TimeDistributed(L.Conv1D(3, 3)), MAP),
    "conv of functions": (lambda: Own(), MAP),
    "lambda": (lambda: L.Lambda(lambda x: ops.relu(x[:, 1:]) + x[:, :-1]), MAP),
    "pad": (lambda: lambda x: ops.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)]), MAP),
    "mirror": (lambda: lambda x: ops.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)], "reflect"), MAP),
    "roll": (lambda: lambda x: ops.roll(x, 2, axis=1), MAP),
    "flip": (lambda: lambda x: ops.flip(x, axis=2), MAP),
    "cut": (lambda: lambda x: x[:, 1:-1, ::2], MAP),
    "one row": (lambda: lambda x: x[:, 3], MAP),
    "new axis": (lambda: lambda x: x[:, None, :, :, 0], MAP),
    "split": (lambda: lambda x: ops.split(x, [3], axis=1)[1], MAP),
    "repeat": (lambda: lambda x: ops.repeat(x, 3, axis=1), MAP),
    "tile": (lambda: lambda x: ops.tile(x, (1, 2, 1, 1)), MAP),
    "stack": (lambda: lambda x: ops.stack([x, x * 2.0], axis=-1), MAP),
    "transpose": (lambda: lambda x: ops.transpose(x, (0, 2, 1, 3)), MAP),
    "swap": (lambda: lambda x: ops.swapaxes(x, 1, 2), MAP),
    "move": (lambda: lambda x: ops.moveaxis(x, 1, 3), MAP),
    "mean of rows": (lambda: lambda x: ops.mean(x, axis=1), MAP),
    "max of channels": (lambda: lambda x: ops.max(x, axis=-1, keepdims=True), MAP),
    "cumulative": (lambda: lambda x: ops.cumsum(x, axis=1), MAP),
    "broadcast": (lambda: lambda x: x + ops.mean(x, axis=1, keepdims=True), MAP),
    "constant": (lambda: lambda x: ops.maximum(x, 0.0) * ops.arange(4, dtype=x.dtype), MAP),
    "matmul": (lambda: lambda x: ops.matmul(x, ops.ones((4, 3), dtype=x.dtype)), MAP),
    "conv op": (lambda: lambda x: ops.conv(x, _ones(x, 3, 3, 4, 2), 2, "same"), MAP),
    "depthwise op": (lambda: lambda x: ops.depthwise_conv(x, _ones(x, 2, 2, 4, 1)), MAP),
    "max op": (lambda: lambda x: ops.max_pool(x, 3, 2, "same"), MAP),
}

FINITE: dict[str, tuple[Make, tuple[int, ...]]] = {
    "bilinear": (lambda: L.UpSampling2D((2, 3), interpolation="bilinear"), MAP),
    "bicubic": (lambda: L.UpSampling2D(3, interpolation="bicubic"), MAP),
    "resizing": (lambda: L.Resizing(11, 5), MAP),
    "resizing nearest": (lambda: L.Resizing(4, 13, interpolation="nearest"), MAP),
    "resizing smooth": (lambda: L.Resizing(4, 13, antialias=True), MAP),
    "group norm": (lambda: L.GroupNormalization(2), MAP),
    "attention": (lambda: _Itself(L.MultiHeadAttention(2, 3)), LINE),
    "dot attention": (lambda: lambda x: L.Attention()([x, x]), LINE),
    "causal heads": (lambda: _Itself(L.MultiHeadAttention(2, 3), use_causal_mask=True), LINE),
    "causal heads trained with dropout": (
        lambda: _Itself(L.MultiHeadAttention(2, 3, dropout=0.1), use_causal_mask=True),
        LINE,
    ),
    "causal groups": (lambda: _Itself(L.GroupQueryAttention(3, 4, 2), use_causal_mask=True), LINE),
    "causal dot attention": (
        lambda: lambda x: L.Attention(use_scale=True)([x, x], use_causal_mask=True),
        LINE,
    ),
}

UNKNOWN: dict[str, tuple[Make, str]] = {
    "window": (lambda: _Itself(L.MultiHeadAttention(2, 3, sliding_window=3)), "numbers of its own"),
    "sums": (
        lambda: lambda x: L.AdditiveAttention()([x, x], use_causal_mask=True),
        "more than products",
    ),
    "scores": (
        lambda: lambda x: L.Attention()([x, x], use_causal_mask=True, return_attention_scores=True),
        "hands back its scores",
    ),
    "concat": (
        lambda: lambda x: L.Attention(score_mode="concat")([x, x], use_causal_mask=True),
        "more than products",
    ),
    "softmax": (
        lambda: lambda x: L.Softmax()(x, mask=ops.ones((1, 11, 4)) > 0),
        "numbers that are not looked at",
    ),
}


def _ones(x: Any, *shape: int) -> Any:
    return ops.ones(shape, dtype=x.dtype)


class Own(L.Layer):
    """A layer of one's own, made of layers and functions, with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = L.Conv2D(3, 3, 2, "same")

    def build(self, _: Any) -> None:
        self.scale = self.add_weight(shape=(3,), name="scale")

    def call(self, x: Any) -> Any:
        return ops.relu(self.conv(x)) * self.scale


class _Itself(L.Layer):
    def __init__(self, attention: Any, **given: Any) -> None:
        super().__init__()
        self.attention, self.given = attention, given

    def build(self, shape: Any) -> None:
        self.attention.build(shape, shape)

    def call(self, x: Any) -> Any:
        return self.attention(x, x, **self.given)


def _model(make: Make, shape: tuple[int, ...]) -> Any:
    with in_float64():
        start = keras.Input(shape[1:])
        return keras.Model(start, make()(start))


@pytest.mark.parametrize("name", MAPS)
def test_a_layer_reads_what_nan_shows(name: str) -> None:
    make, shape = MAPS[name]
    assert assert_reads(_model(make, shape), shape)


@pytest.mark.parametrize("name", FINITE)
def test_a_layer_reads_what_finite_changes_show(name: str) -> None:
    make, shape = FINITE[name]
    assert assert_reads(_model(make, shape), shape, finite=True)


@pytest.mark.parametrize("name", UNKNOWN)
def test_attention_under_another_mask_is_named_and_not_guessed(name: str) -> None:
    make, why = UNKNOWN[name]
    report = atrous.inspect(_model(make, LINE), LINE)
    assert not report.complete
    assert why in report.opaque[0]


@pytest.mark.parametrize("name", [*MAPS, *FINITE])
def test_a_layer_has_the_shape_and_the_parameters_that_keras_says(name: str) -> None:
    make, shape = {**MAPS, **FINITE}[name]
    model = _model(make, shape)
    report = atrous.inspect(model, shape)
    tensor = report.network.tensor(report.outputs[0].tensor)
    assert sorted(tensor.shape[1:]) == sorted(model.output_shape[1:])
    params = report.network.params.values()
    assert sum(param.count for param in params) == model.count_params()
    trained = sum(p.count for p in params if p.trainable and not p.buffer)
    assert trained == sum(int(w.value.numel()) for w in model.trainable_weights)
