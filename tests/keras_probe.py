"""The oracles for Keras models: NaN, or finite changes in float64, through the model itself.

They run on Keras' torch backend and know nothing of our algebra: the outputs that turn NaN, or
differ, are those that read the position. `drawn_network` makes random models to try them on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import torch
from keras import layers, ops

import atrous
from atrous import Inspection
from atrous.network import Tensor
from atrous.network.layout import grid_of, has_axes
from tests.nan_probe import STEPS


@contextmanager
def in_float64() -> Iterator[None]:
    """A block in which Keras makes layers that compute in float64."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


def assert_reads(
    model: Any,
    shape: tuple[int, ...],
    *,
    finite: bool = False,
    report: Inspection | None = None,
    places: int | None = None,
) -> int:
    """Each output position reads just the input positions whose NaN or change it shows.

    All input positions are probed, or so many drawn `places`; returns how many pairs agreed.
    """
    report = report or atrous.inspect(model, shape)
    assert report.complete, report.opaque
    held = report.network.inputs[0]
    assert held.shape == shape
    dims = [i for i, dim in enumerate(held.layout) if has_axes(dim)]
    grid = tuple(shape[i] for i in dims)
    spots = list(np.ndindex(*grid))
    if places is not None and places < len(spots):
        spots = random.Random(0).sample(spots, places)
    outputs = [report.network.tensor(layer.tensor) for layer in report.outputs]
    seen = _shown(model, shape, dims, spots, finite)
    agreed = 0
    formats = {getattr(layer, "data_format", None) for layer in model.layers}
    last = "channels_first" not in formats
    for layer, tensor, shown in zip(report.outputs, outputs, seen, strict=True):
        found = _by_position(shown, tensor, last)
        for at in np.ndindex(*found.shape[1:]):
            mask = report.footprint(layer.name, at).mask
            for row, spot in enumerate(spots):
                expected, actual = bool(mask[spot]), bool(found[(row, *at)])
                assert actual == expected, (
                    f"{layer.name} at {at}: the model {'reads' if actual else 'does not read'} "
                    f"{spot}, the footprint says {'it does' if expected else 'it does not'}"
                )
                agreed += 1
    return agreed


def _shown(
    model: Any, shape: tuple[int, ...], dims: list[int], spots: list[Any], finite: bool
) -> list[np.ndarray]:
    """For each output, by probed position, the elements that turn NaN or differ."""
    generator = np.random.default_rng(0)
    base = generator.standard_normal((1, *shape[1:])) if finite else np.zeros((1, *shape[1:]))
    x = np.repeat(base, len(spots), axis=0)
    clean = _run(model, x)
    found = [np.zeros(array.shape, bool) for array in clean]
    for step in STEPS if finite else (np.nan,):
        changed = x.copy()
        for row, spot in enumerate(spots):
            index: list[Any] = [row, *[slice(None)] * (len(shape) - 1)]
            for dim, place in zip(dims, spot, strict=True):
                index[dim] = place
            changed[tuple(index)] += step
        for seen, before, after in zip(found, clean, _run(model, changed), strict=True):
            scale = 1e-13 * np.abs(before).max() if finite else 0
            seen |= np.abs(after - before) > scale if finite else np.isnan(after)
    return found


def _run(model: Any, x: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        made = model(x, training=False)
    return [ops.convert_to_numpy(part) for part in keras.tree.flatten(made)]


def _by_position(shown: np.ndarray, tensor: Tensor, last: bool) -> np.ndarray:
    """What was seen by row and position: channels, wherever Keras has them, taken together."""
    layout = tensor.layout
    if len(layout) > 2 and not has_axes(layout[1]) and has_axes(layout[-1]):
        moved = np.moveaxis(shown, -1, 1)
        if moved.shape[1:] == tensor.shape[1:] and (last or shown.shape[1:] != moved.shape[1:]):
            shown = moved
    kept = tuple(i for i, dim in enumerate(layout) if i and not has_axes(dim))
    return shown.any(axis=kept).reshape(len(shown), *grid_of(layout).values())


def drawn_network(seed: int, *, finite: bool) -> tuple[Any, tuple[int, ...]]:
    """A random functional model over one to three axes, and the shape of its input."""
    rng = random.Random(seed)
    rank = rng.choice([1, 1, 2, 2, 2, 3])
    keras.config.set_image_data_format("channels_first" if rng.random() < 0.2 else "channels_last")
    try:
        with in_float64():
            return _Drawn(rng, rank, finite).model(seed)
    finally:
        keras.config.set_image_data_format("channels_last")


class _Drawn:
    def __init__(self, rng: random.Random, rank: int, finite: bool) -> None:
        self.rng, self.rank, self.finite = rng, rank, finite
        self.last = keras.config.image_data_format() == "channels_last"

    def model(self, seed: int) -> tuple[Any, tuple[int, ...]]:
        rng = self.rng
        most = (24, 12, 6)[self.rank - 1]
        sizes = [rng.randint(most // 2, most) for _ in range(self.rank)]
        inside = (*sizes, 4) if self.last else (4, *sizes)
        x = start = keras.Input(inside, name="image")
        seen = [x]
        for _ in range(rng.randint(2, 6)):
            for _ in range(20):
                kind = rng.choice(self.kinds())
                try:
                    y = self.step(kind, x)
                except ValueError:
                    continue
                if kind == "transposed":
                    seen = []
                lengths = self.lengths(y)
                if min(lengths) >= 1 and np.prod(lengths) <= 40 ** min(self.rank, 2):
                    x = y
                    break
            for earlier in reversed(seen):
                if earlier.shape == x.shape and rng.random() < 0.3:
                    x = rng.choice(
                        [
                            layers.Add(),
                            layers.Concatenate(axis=self.axis),
                            lambda pair: pair[0] + pair[1],
                        ]
                    )([x, earlier])
                    break
            if x.shape[self.axis] != 4:
                x = self.conv("Conv", filters=4, kernel_size=1)(x)
            seen.append(x)
        return keras.Model(start, x, name=f"drawn_{seed}"), (1, *inside)

    @property
    def axis(self) -> int:
        return -1 if self.last else 1

    def lengths(self, x: Any) -> list[int]:
        return list(x.shape[1:-1] if self.last else x.shape[2:])

    def kinds(self) -> list[str]:
        kinds = ["conv", "conv", "conv", "depthwise", "separable", "back", "back", "average"]
        kinds += ["pad", "crop", "nearest", "slice", "roll", "flip", "norm", "dense", "nested"]
        kinds += ["functions", "layer_norm", "transposed"]
        return kinds + (["linear"] if self.finite else ["max", "max", "relu"])

    def conv(self, name: str, **given: Any) -> Any:
        rank = "" if name.endswith("Transpose") else f"{self.rank}D"
        if name.endswith("Transpose"):
            name = f"Conv{self.rank}DTranspose"
        return getattr(layers, f"{name}{rank}")(**given)

    def window(self) -> dict[str, Any]:
        rng = self.rng
        strides, rates = rng.choice([(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)])
        kernel = tuple(rng.randint(1, 4) for _ in range(self.rank))
        padding = rng.choice(["same", "same", "valid"])
        found = {"kernel_size": kernel, "strides": strides, "dilation_rate": rates}
        return {**found, "padding": padding}

    def step(self, kind: str, x: Any) -> Any:
        rng, rank = self.rng, self.rank
        if kind == "conv":
            given = self.window()
            if rank == 1 and self.last and rng.random() < 0.4:
                given["padding"] = "causal"
            return self.conv("Conv", filters=4, groups=rng.choice([1, 2]), **given)(x)
        if kind in ("depthwise", "separable"):
            if rank == 3:
                raise ValueError
            more = {"filters": 4} if kind == "separable" else {}
            return self.conv(f"{kind.capitalize()}Conv", **more, **self.window())(x)
        if kind == "back":
            given = self.window()
            if rng.random() < 0.3:
                given["output_padding"] = rng.randint(0, max(given["strides"] - 1, 0))
            return self.conv("Transpose", filters=4, **given)(x)
        if kind in ("max", "average"):
            name = (
                f"{kind.capitalize()}Pooling{rank}D" if kind == "max" else f"AveragePooling{rank}D"
            )
            size, strides = rng.randint(1, 4), rng.choice([None, 1, 2, 3])
            return getattr(layers, name)(size, strides, rng.choice(["same", "valid"]))(x)
        if kind in ("crop", "nearest") and rank == 1 and not self.last:
            raise ValueError  # these two take the last dimension for channels, whatever is set
        if kind in ("pad", "crop"):
            pairs = [(rng.randint(0, 2), rng.randint(0, 2)) for _ in range(rank)]
            name = f"{'ZeroPadding' if kind == 'pad' else 'Cropping'}{rank}D"
            return getattr(layers, name)(pairs[0] if rank == 1 else pairs)(x)
        if kind == "nearest":
            return getattr(layers, f"UpSampling{rank}D")(rng.choice([1, 2, 3]))(x)
        if kind == "linear":
            if rank != 2:
                raise ValueError
            if rng.random() < 0.5:
                return layers.UpSampling2D(rng.choice([2, 3]), interpolation="bilinear")(x)
            sizes = [rng.randint(3, 16) for _ in range(2)]
            return layers.Resizing(*sizes, interpolation=rng.choice(["nearest", "bilinear"]))(x)
        if kind == "slice":
            cut = slice(rng.randint(0, 1), rng.choice([None, -1]), rng.choice([1, 1, 2]))
            return x[:, cut] if self.last else x[:, :, cut]
        if kind == "roll":
            return ops.roll(x, rng.randint(-2, 2), axis=1 if self.last else 2)
        if kind == "flip":
            return ops.flip(x, axis=1 if self.last else 2)
        if kind == "norm":
            return layers.BatchNormalization(axis=self.axis)(x)
        if kind == "layer_norm":
            if self.finite or not self.last:  # on torch Keras normalizes last axes alone
                raise ValueError
            return layers.LayerNormalization(axis=self.axis)(x)
        if kind == "relu":
            return layers.ReLU()(x)
        if kind == "dense":
            if not self.last:
                raise ValueError
            return layers.Dense(4)(x)
        if kind == "nested":
            inside = keras.Input(x.shape[1:])
            y = self.step(rng.choice(["conv", "average", "nearest"]), inside)
            return keras.Model(inside, self.step("conv", y))(x)
        if kind == "transposed":
            if rank != 2:
                raise ValueError
            order = (2, 1, 3) if self.last else (1, 3, 2)
            return layers.Permute(order)(x)
        assert kind == "functions"
        y = ops.pad(x, [(0, 0), *((1, 1) if 0 < i < 3 else (0, 0) for i in range(1, len(x.shape)))])
        if self.finite:
            return y * 2.0
        return ops.relu(y)
