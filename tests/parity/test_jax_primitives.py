"""Primitives of JAX, many in one function: NaN and finite changes say what each reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

import atrous
from tests.jax_probe import assert_reads

SHAPE = (1, 9, 7, 4)
NUMBERS = np.random.default_rng(0)
Cases = dict[str, Callable[[Any], Any]]


def _weight(*shape: int) -> Any:
    return NUMBERS.uniform(0.2, 1.0, shape).astype("float32")


def _conv(kernel: Any, strides: Any = (1, 1), pads: Any = "SAME", **given: Any) -> Any:
    def run(x: Any) -> Any:
        taps = jnp.asarray(kernel, x.dtype)
        form = given.pop("dimension_numbers", ("NHWC", "HWIO", "NHWC"))
        return lax.conv_general_dilated(x, taps, strides, pads, dimension_numbers=form, **given)

    return run


def _window(start: float, over: Any, *given: Any) -> Any:
    return lambda x: lax.reduce_window(x, jnp.asarray(start, x.dtype), over, *given)


@jax.custom_vjp
def _own(x: Any) -> Any:
    return x[:, 1:] * 2


_own.defvjp(lambda x: (_own(x), None), lambda _, g: (g,))

K = _weight(3, 3, 4, 4)
AS_NAN_SHOWS: Cases = {
    "convolution, cut and padded": _conv(K, (2, 1), [(-1, 2), (3, -2)]),
    "convolution, dilated": _conv(K, (1, 2), [(2, 1), (0, 3)], rhs_dilation=(3, 2)),
    "convolution backwards": _conv(K, (1, 1), [(2, 1), (0, 3)], lhs_dilation=(2, 3)),
    "convolution backwards with a rate": _conv(
        K, (1, 1), [(3, 1), (2, 2)], lhs_dilation=(2, 1), rhs_dilation=(2, 1)
    ),
    "convolution of a spread map, ahead": _conv(K, (3, 2), [(0, 0), (1, 0)], lhs_dilation=(2, 2)),
    "depthwise": _conv(_weight(2, 3, 1, 8), feature_group_count=4),
    "max pool": _window(-np.inf, lax.max, (1, 3, 2, 1), (1, 2, 1, 1), "SAME"),
    "min pool with holes": _window(
        np.inf, lax.min, (1, 2, 3, 1), (1, 1, 1, 1), "VALID", None, (1, 3, 2, 1)
    ),
    "pool of a spread map": _window(
        0.0, lax.add, (1, 2, 2, 1), (1, 1, 2, 1), "VALID", (1, 2, 3, 1)
    ),
    "pool along one axis": _window(
        0.0, lax.add, (1, 1, 3, 1), (1, 1, 2, 1), [(0, 0), (0, 0), (1, 0), (0, 0)]
    ),
    "average": lambda x: linen.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False),
    "pad between": lambda x: lax.pad(
        x, jnp.zeros((), x.dtype), [(0, 0, 0), (1, -2, 2), (-1, 3, 0), (0, 0, 0)]
    ),
    "slice": lambda x: x[:, 1:8:3, ::-2],
    "index": lambda x: x[:, 3],
    "part at a constant": lambda x: lax.dynamic_slice(x, (0, 7, 1, 0), (1, 4, 3, 4)),
    "part replaced": lambda x: lax.dynamic_update_slice(x, x[:, :2, :3], (0, 4, 2, 0)),
    "part set": lambda x: x.at[:, 2:5, 1].set(0.0),
    "part added to": lambda x: x.at[:, 1:3].add(x[:, 5:7]),
    "take": lambda x: jnp.take(x, np.array([5, 0, 0, 2]), 1),
    "take along both": lambda x: x[:, np.array([[4], [1]]), np.array([2, 0, 6])],
    "channels in another order": lambda x: x[..., np.array([2, 0, 1, 3])],
    "roll": lambda x: jnp.roll(x, (2, -1), (1, 2)),
    "flip": lambda x: jnp.flip(x, (1, 2)),
    "wrapped": lambda x: jnp.pad(x, ((0, 0), (2, 3), (0, 4), (0, 0)), mode="wrap"),
    "reflected": lambda x: jnp.pad(x, ((0, 0), (2, 3), (0, 6), (0, 0)), mode="reflect"),
    "mirrored": lambda x: jnp.pad(x, ((0, 0), (2, 0), (0, 3), (0, 0)), mode="symmetric"),
    "edges": lambda x: jnp.pad(x, ((0, 0), (2, 3), (0, 1), (0, 0)), mode="edge"),
    "repeat": lambda x: jnp.repeat(x, 3, 2),
    "tile": lambda x: jnp.tile(x, (1, 2, 1, 1)),
    "stacked": lambda x: jnp.stack([x, x[:, ::-1]], 3).max(3),
    "taken apart": lambda x: jnp.unstack(x, axis=1)[3],
    "split": lambda x: jnp.split(x, [2, 5], 1)[1],
    "joined": lambda x: jnp.concatenate([x[:, :, 2:], x[:, :, 2:] * 2], -1),
    "turned": lambda x: _conv(K, (2, 1))(jnp.swapaxes(x, 1, 2)),
    "second channels": lambda x: jnp.moveaxis(
        _conv(K, dimension_numbers=("NCHW", "HWIO", "NCHW"))(jnp.moveaxis(x, -1, 1)), 1, -1
    ),
    "sum from the end": lambda x: lax.cumsum(x, 1, reverse=True),
    "highest so far": lambda x: lax.cummax(x, 2),
    "mean along one axis": lambda x: x - x.mean(2, keepdims=True),
    "soft": linen.softmax,
    "chosen": lambda x: jnp.where(x > 0, x[:, ::-1], x[:, ::-1]) + x,
    "clipped": lambda x: jnp.clip(x, x[:, ::-1], 3),
    "branch of a constant": lambda x: lax.cond(True, lambda y: y[:, 1:], lambda y: y[:, :-1], x),
    "kept and run again": lambda x: jax.checkpoint(lambda y: jnp.tanh(y[:, 2:]))(x),
    "with a gradient of its own": _own,
    "for each channel": lambda x: jax.vmap(lambda y: y[:, 1:] - y[:, :-1], -1, -1)(x),
    "called twice": lambda x: jax.jit(linen.silu)(jax.jit(linen.silu)(x)[:, 1:]),
    "depth to space": lambda x: (
        x.reshape(1, 9, 7, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(1, 18, 14, 1)
    ),
    "blocks": lambda x: x.reshape(1, 3, 3, 7, 4).mean(2),
    "line by line": lambda x: jnp.einsum("bhwc,bhvc->bhwv", x, x),
    "matrix of channels": lambda x: x @ jnp.asarray(_weight(4, 3), x.dtype),
    "channels and columns": lambda x: jnp.tensordot(x, jnp.asarray(_weight(7, 4, 2)), 2),
}

ZEROS = _weight(3, 3, 4, 4)
ZEROS[0] = ZEROS[:, 1] = 0
MASK = np.triu(np.ones((3, 3), "float32"))[:, :, None, None]
AS_CHANGES_SHOW: Cases = {
    "linear up": lambda x: jax.image.resize(x, (1, 13, 21, 4), "linear"),
    "linear down": lambda x: jax.image.resize(x, (1, 4, 5, 4), "linear"),
    "linear down, sharp": lambda x: jax.image.resize(x, (1, 4, 3, 4), "linear", antialias=False),
    "cubic": lambda x: jax.image.resize(x, (1, 18, 3, 4), "cubic"),
    "Lanczos": lambda x: jax.image.resize(x, (1, 12, 4, 4), "lanczos3"),
    "nearest": lambda x: jax.image.resize(x, (1, 18, 5, 4), "nearest"),
    "shifted": lambda x: jax.image.scale_and_translate(
        x, (1, 8, 7, 4), (1,), np.array([1.5]), np.array([0.25]), "linear"
    ),
    "taps of 0": _conv(ZEROS),
    "taps of 0 backwards": _conv(ZEROS, pads=[(2, 1), (2, 3)], lhs_dilation=(2, 3)),
    "masked taps": lambda x: _conv(jnp.asarray(K) * MASK)(x),
    "after a mean": lambda x: (
        jax.image.resize(x.mean((1, 2), keepdims=True), x.shape, "linear") * x
    ),
}


def _all(cases: Cases) -> Callable[[Any], Any]:
    return lambda x: [case(x) for case in cases.values()]


def test_primitives_read_what_nan_shows() -> None:
    assert assert_reads(_all(AS_NAN_SHOWS), SHAPE, places=24) > 50_000


def test_primitives_read_what_finite_changes_show() -> None:
    with jax.enable_x64(True):
        assert assert_reads(_all(AS_CHANGES_SHOW), SHAPE, finite=True, places=24) > 10_000


def test_a_wrong_report_is_noticed() -> None:
    other = atrous.inspect(lambda x: x[:, :-1], (1, 6, 2))
    with pytest.raises(AssertionError, match="the function does not read"):
        assert_reads(lambda x: x[:, 1:], (1, 6, 2), report=other)
