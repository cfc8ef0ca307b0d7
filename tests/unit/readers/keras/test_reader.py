"""How Keras models are found, named, counted and refused."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import atrous
from atrous.errors import ReadError
from tests.keras_probe import assert_reads


def test_layers_are_called_as_keras_calls_them_those_of_nested_models_below_it() -> None:
    inner = keras.Sequential([layers.Conv2D(3, 3, name="a"), layers.ReLU(name="b")], name="inner")
    start = keras.Input((9, 9, 2), name="image")
    end = layers.Conv2D(1, 1, name="head")(inner(start))
    report = atrous.inspect(keras.Model(start, end))
    assert report["head"].name == "head"
    assert report["inner.a"].macs == 7 * 7 * 3 * 9 * 2
    assert report["inner"].name == "inner.b"
    assert report.network.inputs[0].name == "image"
    assert report.network.inputs[0].shape == (1, 9, 9, 2)


def test_a_shared_layer_has_its_parameters_once_and_its_calls_each_for_itself() -> None:
    shared = layers.Conv1D(4, 3, padding="same", name="shared")
    start = keras.Input((12, 4))
    report = atrous.inspect(keras.Model(start, shared(shared(start))))
    assert [layer.field[0].size for layer in report.layers if layer.macs] == [3, 5]
    assert report.params == 4 * 4 * 3 + 4


def test_several_inputs_and_outputs_are_read() -> None:
    one, two = keras.Input((8, 8, 3), name="one"), keras.Input((8, 8, 3), name="two")
    joined = layers.Concatenate()([layers.Conv2D(2, 3, padding="same")(one), two])
    model = keras.Model({"one": one, "two": two}, [joined, layers.Conv2D(2, 3)(joined)])
    report = atrous.inspect(model)
    assert [tensor.name for tensor in report.network.inputs] == ["one", "two"]
    assert len(report.outputs) == 2
    assert report.complete


def test_running_statistics_are_buffers_and_frozen_weights_are_parameters() -> None:
    model = keras.Sequential(
        [keras.Input((9, 3)), layers.Conv1D(4, 3, name="conv"), layers.BatchNormalization()]
    )
    model.get_layer("conv").trainable = False
    report = atrous.inspect(model)
    params = report.network.params
    assert report.params == model.count_params() - 8
    assert sum(param.count for param in params.values() if param.trainable) == 8
    (kernel,) = (param for name, param in params.items() if name.endswith("conv.kernel"))
    assert not kernel.trainable
    assert not kernel.buffer


def test_a_model_of_a_class_of_ones_own_is_followed_and_left_as_it_was() -> None:
    class Mine(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = layers.Conv1D(4, 3, dilation_rate=2, name="first")
            self.second = layers.Conv1D(4, 3, name="second")

        def call(self, x: Any) -> Any:
            y = ops.relu(self.first(x))
            return self.second(y) + y[:, 1:-1]

    model = Mine()
    model(np.zeros((1, 20, 2)))
    before = len(model.first._inbound_nodes)
    report = atrous.inspect(model, (1, 20, 2))
    assert report["first"].field[0].size == 5
    assert report.outputs[0].field[0].size == 7
    assert len(model.first._inbound_nodes) == before


def test_a_kernel_that_is_masked_is_not_read_where_it_is_0() -> None:
    model = keras.Sequential([keras.Input((9, 2)), layers.Conv1D(3, 3, use_bias=False)])
    kernel = np.ones((3, 2, 3))
    kernel[1] = 0
    model.layers[0].set_weights([kernel])
    (field,) = atrous.inspect(model).outputs[0].field
    assert (field.size, field.taps) == (3, 2)


@pytest.mark.parametrize("kind", [layers.UpSampling1D, layers.Cropping1D])
def test_what_has_no_data_format_takes_the_last_dimension_for_channels(kind: Any) -> None:
    start = keras.Input((2, 9))
    model = keras.Model(start, kind(1)(layers.Conv1D(9, 3, data_format="channels_first")(start)))
    report = atrous.inspect(model)
    assert report.complete
    assert sorted(report.network.tensor(report.outputs[0].tensor).shape) == sorted(
        (1, *model.output_shape[1:])
    )


def test_unknown_layers_are_named_with_the_reason() -> None:
    class Hidden(layers.Layer):
        def call(self, x: Any) -> Any:
            return ops.convert_to_tensor(ops.convert_to_numpy(x))

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    start = keras.Input((9, 2))
    report = atrous.inspect(keras.Model(start, Hidden(name="hidden")(start)))
    assert not report.complete
    assert report.opaque[0].startswith("hidden: its code is not followed")


def test_a_convolutional_recurrence_is_named_and_not_guessed() -> None:
    start = keras.Input((4, 6, 6, 2))
    report = atrous.inspect(keras.Model(start, layers.ConvLSTM2D(2, 3, name="cells")(start)))
    assert not report.complete
    assert "convolves its own state" in report.opaque[0]


def test_a_model_that_is_not_built_says_what_to_do() -> None:
    with pytest.raises(ReadError, match=r"is not built.*call it once on an example"):
        atrous.inspect(keras.Sequential([layers.Conv1D(2, 3)]), (1, 9, 2))


def test_open_sizes_are_asked_for_and_fixed_ones_are_kept() -> None:
    start = keras.Input((None, None, 3))
    model = keras.Model(start, layers.Conv2D(2, 3)(start))
    with pytest.raises(ReadError, match=r"it takes \?x\?x\?x3, which leaves sizes open"):
        atrous.inspect(model)
    assert atrous.inspect(model, (1, 9, 9, 3)).complete
    start = keras.Input((8, 8, 3))
    model = keras.Model(start, layers.Conv2D(2, 3)(start))
    with pytest.raises(ReadError, match=r"does not take \(1, 9, 9, 3\)"):
        atrous.inspect(model, (1, 9, 9, 3))


def test_sizes_go_by_the_shapes_that_keras_has() -> None:
    start = keras.Input((None, None, 3))
    y = layers.MaxPooling2D(2)(layers.Conv2D(2, 3, padding="same")(start))
    found = atrous.sizes(keras.Model(start, layers.MaxPooling2D(2)(y)), (1, 30, 40, 3))
    assert found.period == 4


def test_a_wrong_footprint_is_noticed() -> None:
    start = keras.Input((9, 2))
    model = keras.Model(start, layers.Conv1D(2, 3, padding="causal")(start))
    other = keras.Model(start, layers.Conv1D(2, 3, padding="same")(start))
    with pytest.raises(AssertionError, match="the model"):
        assert_reads(model, (1, 9, 2), report=atrous.inspect(other))
