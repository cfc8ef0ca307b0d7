"""Keras models at another output stride, and pairs of them: values against the models' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.applications import convnext, densenet, efficientnet, resnet

import atrous
from atrous import ConversionError
from atrous.errors import ReadError, UnsupportedError
from tests.command import atrous as command
from tests.keras_probe import assert_reads, in_float64
from tests.parity.test_keras import ALIKE


def _small(kind: Callable[..., Any], *given: Any, side: int = 64, **more: Any) -> Any:
    """A network of a library's own making, with fewer blocks and channels, and no classifier."""
    shape = (side, side, 3)
    return kind(*given, weights=None, input_shape=shape, include_top=False, **more)


def _resnet(x: Any) -> Any:
    for stage, width in enumerate((8, 8, 8, 8)):
        stride = 1 if stage == 0 else 2
        x = resnet.stack_residual_blocks_v1(x, width, 1, stride1=stride, name=f"conv{stage + 2}")
    return x


def _in_keras(name: str) -> Callable[[], Any]:
    return lambda: ALIKE[name]()[0]


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    **{name: _in_keras(name) for name in ("U-Net", "DeepLab", "WaveNet", "TCN")},
    "ResNet": lambda: _small(resnet.ResNet, _resnet, False, True),
    "Xception": lambda: _small(keras.applications.Xception, side=71),
    "InceptionV3": lambda: _small(keras.applications.InceptionV3, side=75),
    "VGG16": lambda: _small(keras.applications.VGG16),
    "DenseNet": lambda: _small(densenet.DenseNet, [1, 1, 1, 1]),
    "ConvNeXt": lambda: _small(convnext.ConvNeXt, (1, 1, 1, 1), (8, 8, 16, 16)),
    "MobileNetV2": lambda: _small(keras.applications.MobileNetV2, alpha=0.35),
    "EfficientNet": lambda: _small(efficientnet.EfficientNet, 0.25, 0.25, 64),
}
"""The twelve whose reports are compared with those of twins, the deep ones of one block a stage."""


CONVERTED = {
    "DeepLab": 4,
    "ResNet": 8,
    "Xception": 8,
    "VGG16": 8,
    "DenseNet": 8,
    "ConvNeXt": 8,
    "MobileNetV2": 8,
    "EfficientNet": 8,
}
REFUSED = {
    "InceptionV3": (8, "average_pooling2d.*leaves its padding out of the count"),
    "U-Net": (4, "conv2d_transpose.*spreads each position over 2"),
    "WaveNet": (8, "no layer in that shortcut could take a stride of 8"),
    "TCN": (8, "no layer of Keras has both"),
}


def test_each_of_the_twelve_is_converted_or_refused() -> None:
    assert sorted([*CONVERTED, *REFUSED]) == sorted(ARCHITECTURES)
    assert len(ARCHITECTURES) == 12


@pytest.mark.parametrize("name", CONVERTED)
def test_an_architecture_keeps_its_values_on_the_old_grid(name: str) -> None:
    model = ARCHITECTURES[name]()
    result = atrous.convert(model, CONVERTED[name], measure=False)
    assert result.direction == "dilate"
    x = np.random.default_rng(0).standard_normal((1, *model.input_shape[1:])).astype("float32")
    old, new = (ops.convert_to_numpy(m(x)) for m in (model, result.model))
    if name == "DeepLab":  # its head brings every map to the size of the image
        assert old.shape == new.shape
        assert result.certificate.verdict == "approximate"
        return
    assert result.certificate.outputs[0].factor == (4, 4)
    assert all(4 * n - 3 <= m <= 4 * n for n, m in zip(old.shape[1:3], new.shape[1:3], strict=True))
    if name == "EfficientNet":  # its means over the whole map are of another map
        assert result.certificate.verdict == "approximate"
        return
    assert result.certificate.verdict == "exact"
    assert np.abs(new[:, ::4, ::4] - old).max() <= 1e-4 * np.abs(old).max()


@pytest.mark.parametrize("name", REFUSED)
def test_an_architecture_is_refused_by_the_layer_and_the_reason(name: str) -> None:
    stride, why = REFUSED[name]
    with pytest.raises(ConversionError, match=why):
        atrous.convert(ARCHITECTURES[name](), stride, measure=False)


def _model(*parts: Any, size: tuple[Any, ...] = (19, 24)) -> Any:
    with in_float64():
        start = x = keras.Input((*size, 3), name="image")
        for part in parts:
            x = part()(x)
        return keras.Model(start, x)


def _conv(stride: int = 1, kernel: int = 3, **given: Any) -> Callable[[], Any]:
    return lambda: layers.Conv2D(4, kernel, stride, **{"padding": "same", **given})


PIECES: dict[str, tuple[list[Callable[[], Any]], str]] = {
    "strides": ([_conv(2), _conv(2, kernel=4), _conv(), _conv(dilation_rate=2)], "exact"),
    "an even kernel": ([_conv(2, kernel=2), _conv(kernel=4)], "exact"),
    "valid": ([_conv(2, padding="valid"), _conv(padding="valid"), _conv(3)], "exact"),
    "padded by hand": (
        [lambda: layers.ZeroPadding2D(((0, 1), (2, 1))), _conv(2, padding="valid"), _conv()],
        "exact",
    ),
    "depthwise": ([lambda: layers.DepthwiseConv2D(3, 2, "same"), _conv()], "exact"),
    "separable": (
        [
            _conv(2),
            lambda: layers.SeparableConv2D(4, 3, 2, "same", activation="tanh"),
            lambda: layers.SeparableConv2D(4, 3, padding="same"),
        ],
        "exact",
    ),
    "maxima": (
        [
            _conv(2),
            lambda: layers.MaxPooling2D(3, 2, "same"),
            lambda: layers.MaxPooling2D((2, 3), 2),
            lambda: layers.MaxPooling2D(3, 1, "same"),
            _conv(),
        ],
        "exact",
    ),
    "means": (
        [_conv(2), lambda: layers.AveragePooling2D(2), lambda: layers.AveragePooling2D(2), _conv()],
        "exact",
    ),
    "nested": (
        [
            _conv(2),
            lambda: keras.Sequential([keras.Input((10, 12, 4)), _conv(2)(), layers.ReLU()]),
            _conv(),
        ],
        "exact",
    ),
    "a squeeze": ([_conv(2), lambda: layers.LayerNormalization(), _conv()], "exact"),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_keep_their_values_on_the_old_grid(name: str) -> None:
    parts, verdict = PIECES[name]
    model = _model(*parts)
    result = atrous.convert(model, 1)
    assert result.certificate.verdict == verdict
    assert all(one.state == "measured" for one in result.certificate.outputs)
    x = np.random.default_rng(0).standard_normal((1, *model.input_shape[1:]))
    old, new = (ops.convert_to_numpy(m(x)) for m in (model, result.model))
    rows, columns = (int(f) for f in result.certificate.outputs[0].factor)
    assert rows * columns > 1
    found = new[:, ::rows, ::columns][:, : old.shape[1], : old.shape[2]]
    assert np.abs(found - old).max() <= 1e-6 * np.abs(old).max()


def test_a_rate_is_traded_for_a_stride() -> None:
    model = _model(_conv(), _conv(dilation_rate=2), _conv(dilation_rate=2))
    result = atrous.convert(model, 2)
    assert result.direction == "stride"
    assert result.certificate.verdict == "exact"
    first = next(layer for layer in result.model.layers if hasattr(layer, "strides"))
    assert first.strides == (2, 2)


def test_a_size_left_open_is_fixed_where_paddings_follow_it_and_stays_open_where_none_do() -> None:
    same = _model(_conv(2), _conv(), size=(None, None))
    result = atrous.convert(same, 1, input=(1, 20, 24, 3))
    assert result.model.input_shape == (None, 20, 24, 3)
    assert any("takes 20x24x3 alone" in note for note in result.notes)
    patches = _model(_conv(4, kernel=4, padding="valid"), _conv(kernel=1), size=(None, None))
    result = atrous.convert(patches, 4, input=(1, 24, 24, 3))
    assert result.model.input_shape == (None, None, None, 3)


def test_outputs_name_the_layer_up_to_which_a_model_is_converted() -> None:
    model = ARCHITECTURES["VGG16"]()
    result = atrous.convert(model, 4, outputs="block4_conv1", measure=False)
    assert result.model.output_shape == (None, 16, 16, 512)
    with pytest.raises(UnsupportedError, match=r"nothing is no layer of the model itself"):
        atrous.convert(model, 4, outputs="nothing")


def test_the_model_itself_is_left_as_it_was() -> None:
    model = _model(_conv(2), _conv())
    before = [len(layer._inbound_nodes) for layer in model.layers]
    config, weights = model.get_config(), model.get_weights()
    atrous.convert(model, 1)
    assert model.get_config() == config
    assert [len(layer._inbound_nodes) for layer in model.layers] == before
    for one, two in zip(weights, model.get_weights(), strict=True):
        assert np.array_equal(one, two)


def test_what_is_converted_can_be_saved_and_read_again(tmp_path: Path) -> None:
    parts = [_conv(2), lambda: layers.MaxPooling2D(3, 2, "same"), lambda: layers.MaxPooling2D(2)]
    result = atrous.convert(_model(*parts), 1)
    result.model.save(tmp_path / "dense.keras")
    assert atrous.audit(result.model, tmp_path / "dense.keras").verdict == "exact"


class Mine(layers.Layer):
    """A layer of one's own around a strided one."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.conv = layers.Conv2D(4, 3, 2, "same", name="conv")

    def call(self, x: Any) -> Any:
        return self.conv(x)


def _twice() -> Any:
    start = keras.Input((16, 16, 3))
    shared = layers.Conv2D(3, 3, 2, "same", name="shared")
    return keras.Model(start, shared(shared(start)))


def _sliced() -> Any:
    start = keras.Input((16, 16, 3))
    return keras.Model(start, layers.Conv2D(3, 3, padding="same")(start[:, ::2, ::2]))


NOT: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "own code": (
        lambda: _model(lambda: Mine(name="mine"), _conv()),
        ConversionError,
        "it lies inside mine, whose own code is not rewritten",
    ),
    "twice": (_twice, ConversionError, "shared: it is called at 2 places"),
    "an operation": (_sliced, ConversionError, "is an operation in the graph and no layer"),
    "means in their padding": (
        lambda: _model(_conv(2), lambda: layers.AveragePooling2D(3, 1, "same", name="mean")),
        ConversionError,
        "mean: it is an average that leaves its padding out of the count",
    ),
}


@pytest.mark.parametrize("name", NOT)
def test_what_layers_cannot_say_is_refused_by_name(name: str) -> None:
    make, kind, why = NOT[name]
    with pytest.raises(kind, match=why):
        atrous.convert(make(), 1)


def test_a_model_whose_own_code_calls_its_layers_is_refused() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layers.Conv2D(3, 3, 2)

        def call(self, x: Any) -> Any:
            return self.conv(x)

    model = Own()
    model(np.zeros((1, 9, 9, 3)))
    with pytest.raises(UnsupportedError, match="calls its layers in code of its own"):
        atrous.convert(model, 1, input=(1, 9, 9, 3))


def test_an_audit_finds_the_layer_that_somebody_forgot() -> None:
    def built(stride: int, rate: int) -> Any:
        return _model(_conv(stride, name="a"), _conv(dilation_rate=rate, name="b"))

    reference = built(2, 1)
    found = atrous.audit(reference, built(1, 1))
    assert found.verdict == "broken"
    assert found.causes[0].layer == "b"
    assert atrous.audit(reference, built(2, 1)).verdict == "exact"
    assert atrous.audit(reference, built(1, 1), outputs="a").verdict != "broken"
    # The size is even along one axis, so `same` pads the strided layer elsewhere than the dense.
    assert atrous.audit(reference, built(1, 2)).verdict != "exact"
    odd = [
        _model(_conv(s, name="a"), _conv(dilation_rate=r, name="b"), size=(19, 25))
        for s, r in ((2, 1), (1, 2))
    ]
    assert atrous.audit(*odd).verdict == "exact"


def test_an_audit_of_models_with_other_weights_or_kinds_says_so() -> None:
    small, large = _model(_conv(name="a")), _model(_conv(name="a"), _conv(name="b"))
    found = atrous.audit(small, large)
    assert found.verdict == "broken"
    with pytest.raises(ReadError, match="of the kind keras"):
        atrous.audit(small, "stack:k3")


def test_what_does_not_run_keras_models_says_so() -> None:
    model = _model(_conv())
    with pytest.raises(atrous.AtrousError, match="a Keras model runs through Keras"):
        atrous.optimize(model, np.zeros((1, 19, 24, 3)))


def rated(*rates: int, branches: bool = False, sizes: tuple[int | None, ...] = (25, 25)) -> Any:
    """A strided stem, and layers of these rates behind it, one after the other or side by side."""
    start = keras.Input((*sizes, 2), name="image")
    x = layers.Conv2D(2, 3, strides=2, padding="same", name="stem")(start)
    made = []
    for i, rate in enumerate(rates):
        made.append(layers.Conv2D(2, 3, padding="same", dilation_rate=rate, name=f"rated{i}")(x))
        x = x if branches else made[-1]
    if branches:
        x = layers.Conv2D(2, 3, padding="same", name="end")(layers.Concatenate()(made))
    return keras.Model(start, x, name="rated")


@pytest.mark.parametrize(
    "model",
    [
        lambda: rated(2, 2),
        lambda: rated(7, 3, branches=True),
        lambda: rated(2, 2, sizes=(None, None)),
    ],
)
def test_degridded_models_read_all_of_their_field(model: Callable[[], Any]) -> None:
    before = model()
    done = atrous.degrid(before, (1, 25, 25, 2))
    assert done.trained_again
    assert done.certificate.verdict == "broken"
    assert_reads(done.model, (1, 25, 25, 2), places=40)
    field = atrous.inspect(done.model, (1, 25, 25, 2)).outputs[0].field
    assert all(axis.coverage == 1 for axis in field)
    assert [layer.name for layer in done.model.layers] == [layer.name for layer in before.layers]
    for one, other in zip(before.get_weights(), done.model.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_degridded_model_is_written_and_read(tmp_path: Path) -> None:
    path, target = tmp_path / "model.keras", tmp_path / "whole.keras"
    rated(2, 2).save(path)
    result = command("degrid", str(path), "-o", str(target))
    assert result.returncode == 0
    assert result.stderr.startswith(f"wrote {target}, ")
    field = atrous.inspect(keras.models.load_model(target)).outputs[0].field
    assert all(axis.coverage == 1 for axis in field)


def test_layers_are_not_put_into_keras_models() -> None:
    with pytest.raises(UnsupportedError, match=r"method='rates'.*tail: .* conv k3 rate 1"):
        atrous.degrid(rated(2, 2), method="tail")
