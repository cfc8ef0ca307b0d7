"""Files of Keras that were made to run code, fill the memory or write elsewhere."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

import atrous
from atrous.errors import ReadError
from atrous.readers.keras.file import load_keras

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """What is in a file that Keras saved."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    keras.Sequential([keras.Input((9, 2)), layers.Conv1D(3, 3, name="conv")]).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _saved(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _changed(members: Members, change: Callable[[Any], Any]) -> Members:
    config = json.loads(members["config.json"])
    made = change(config)
    return {**members, "config.json": json.dumps(config if made is None else made).encode()}


def _layer(config: Any) -> Any:
    return config["config"]["layers"][1]


def test_a_file_that_keras_saved_is_read(tmp_path: Path, members: Members) -> None:
    path = _saved(tmp_path / "model.keras", members)
    assert atrous.inspect(path).params == atrous.inspect(str(path)).params == 21


def test_layers_of_many_kinds_are_counted_before_they_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    start = keras.Input((8, 4))
    x = layers.Dropout(0.1)(layers.GaussianNoise(0.1)(layers.BatchNormalization()(start)))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True, dropout=0.1))(x)
    x = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)
    x = layers.Normalization(mean=0.0, variance=1.0)(layers.EinsumDense("abc,cd->abd", (8, 4))(x))
    x = layers.SpectralNormalization(layers.Conv1D(4, 3))(layers.Rescaling(0.5)(x))
    keras.Model(start, layers.TimeDistributed(layers.Dense(2))(x)).save(path)
    assert load_keras(path).output_shape == (None, 6, 2)


def _unfolded(config: Any) -> Any:
    for _ in range(300):
        config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [config]}}
    return config


CONFIGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a class elsewhere": (
        lambda c: _layer(c).update(module="antigravity", class_name="Mine"),
        "conv is a Mine of antigravity, which is not Keras' own",
    ),
    "a class that nobody registered": (
        lambda c: _layer(c).update(module=None, class_name="Mine", registered_name="Custom>Mine"),
        "conv is a Custom>Mine, a class that is not registered here",
    ),
    "code in a Lambda": (
        lambda c: _layer(c).update(class_name="Lambda", registered_name=None),
        "conv is code inside the file",
    ),
    "code in an activation": (
        lambda c: _layer(c)["config"].update(
            activation={"class_name": "__lambda__", "config": {"value": ["4wAA", None, None]}}
        ),
        "conv is code inside the file",
    ),
    "a function that is no layer": (
        lambda c: _layer(c).update(module="keras.utils", class_name="get_file"),
        "without running code",
    ),
    "huge layers": (
        lambda c: _layer(c)["config"].update(filters=1 << 40),
        r"bytes of weights \(conv/kernel is 3x2x1099511627776\)",
    ),
    "layers nested beyond any model": (_unfolded, "nested more than 200 deep"),
    "no object": (lambda c: [c], "without running code"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_refused_before_anything_is_loaded(
    name: str, tmp_path: Path, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, why = CONFIGS[name]
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("it is loaded"))
    path = _saved(tmp_path / "model.keras", _changed(members, change))
    with pytest.raises(ReadError, match=why):
        load_keras(path)


ARCHIVES: dict[str, tuple[Members, str]] = {
    "a bomb in the config": ({"config.json": b" " * ((1 << 24) + 1)}, "at most 16,777,216 are"),
    "depth that no reader has": ({"config.json": b"[" * 100_000}, "nested beyond any model"),
    "no JSON": ({"config.json": b"\xff\xfe{"}, "is no JSON"),
    "a path upwards": ({"assets/../../../x": b""}, "points outside the archive"),
    "a path upwards on Windows": ({"assets\\..\\..\\x": b""}, "points outside the archive"),
    "a path from the root": ({"/tmp/x": b""}, "points outside the archive"),
    "a drive": ({"C:/x": b""}, "points outside the archive"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_refused_before_anything_is_unpacked(
    name: str, tmp_path: Path, members: Members
) -> None:
    more, why = ARCHIVES[name]
    with pytest.raises(ReadError, match=why):
        load_keras(_saved(tmp_path / "model.keras", {**members, **more}))


def test_weights_that_are_a_bomb_are_refused(tmp_path: Path, members: Members) -> None:
    path = _saved(tmp_path / "model.keras", {**members, "model.weights.h5": b"\0" * 100})
    with pytest.raises(ReadError, match="damaged"):
        load_keras(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", members["config.json"])
        archive.writestr("model.weights.h5", b"\0" * 100)
        archive.getinfo("model.weights.h5").file_size = 1 << 34  # what the archive says of it
    with pytest.raises(ReadError, match="unpacks to 17,179,869,184 bytes"):
        load_keras(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path, members: Members) -> None:
    path = _saved(tmp_path / "model.keras", members)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", members["config.json"])
    with pytest.raises(ReadError, match="two of one name"):
        load_keras(path)


def test_what_is_no_keras_file_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with pytest.raises(ReadError, match="no such file"):
        load_keras(path)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(ReadError, match=r"is no \.keras file"):
        load_keras(path)
    with pytest.raises(ReadError, match=r"holds no config\.json"):
        load_keras(_saved(path, {"weights": b""}))


def test_a_model_that_is_only_counted_leaves_nothing_to_be_made_later(
    tmp_path: Path, members: Members
) -> None:
    huge = _changed(members, lambda c: _layer(c)["config"].update(filters=1 << 40))
    with pytest.raises(ReadError, match="bytes of weights"):
        load_keras(_saved(tmp_path / "model.keras", huge))
    with keras.StatelessScope():
        pass  # at its end Keras makes the weights that are waiting


def test_a_class_that_is_registered_here_is_loaded(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("here")
    class Doubled(layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2

    path = tmp_path / "model.keras"
    start = keras.Input((9, 2))
    keras.Model(start, Doubled()(start)).save(path)
    assert atrous.inspect(path).complete
