"""Random depthwise layers through the native kernels, against sums over taps in float64.

`python -m tests.depthwise_fuzz --draws 5000 --seed 1` runs as many as wanted; with `ATROUS_LIBRARY`
set to a build with `-DATROUS_SANITIZE=ON` and the sanitizer's library preloaded, every access is
checked as well. It needs NumPy only.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from atrous.operators.kernels import native
from atrous.operators.kernels.layer import (
    ACTIVATIONS,
    Depthwise,
    data_gradient,
    forward,
    output_size,
    weight_gradient,
)


@dataclass(frozen=True)
class Case:
    layer: Depthwise
    padding: tuple[tuple[int, int], ...]
    has_bias: bool
    seed: int


def drawn(rng: random.Random, seed: int) -> Case:
    """Strides that do not divide, rates above 1, even kernels, uneven and negative padding.

    Now and then lines of many channels, which the kernels cut into pieces.
    """
    axes = rng.choice([1, 2, 2, 3])
    largest = {1: 300, 2: 40, 3: 13}[axes]
    long = axes == 1 and rng.random() < 0.06
    largest *= 3 if long else 1
    kernels = [1, 2, 3, 3, 4, 5] + [7, 9, 11] * (not long) + [13, 21] * (axes < 3 and not long)
    while True:
        kernel = tuple(rng.choice(kernels) for _ in range(axes))
        stride = tuple(rng.choice([1, 1, 1, 2, 3, 5]) for _ in range(axes))
        dilation = tuple(rng.choice([1, 1, 2, 3, 5, 8, 16]) for _ in range(axes))
        sizes = tuple(rng.randint(1, largest) for _ in range(axes))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple((rng.randint(-2, r), rng.randint(-2, r)) for r in reach)
        enough = all(
            n + lo + hi >= r and n + min(lo, 0) + min(hi, 0) > 0
            for n, (lo, hi), r in zip(sizes, padding, reach, strict=True)
        )
        if enough:
            break
    last = long or rng.random() < 0.5
    return Case(
        Depthwise(
            batch=rng.choice([1, 1, 2, 3] if not long else [1, 1, 2]),
            channels=rng.choice(
                [520, 1030] if long else [1, 2, 3, 5, 8, 12, 16, 24, 33, 40, 64, 100]
            ),
            input=sizes,
            output=output_size(sizes, kernel, stride, dilation, padding),
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            pad=tuple(lo for lo, _ in padding),
            wide=rng.random() < 0.3,
            channels_last=last,
            activation=rng.choice([*ACTIVATIONS, "leaky_relu 0.3"])
            if rng.random() < 0.4
            else "none",
            threads=rng.choice([1, 2, 3]),
            packed=last and rng.random() < 0.5,
        ),
        padding,
        rng.random() < 0.5,
        seed,
    )


def activated(x: np.ndarray, name: str) -> np.ndarray:
    if name == "relu":
        return np.maximum(x, 0)
    if name.startswith("leaky_relu"):
        return np.where(x < 0, x * float(name.partition(" ")[2] or 0.01), x)
    if name == "relu6":
        return np.clip(x, 0, 6)
    if name == "silu":
        return x / (1 + np.exp(-x))
    if name == "hardswish":
        return x * np.clip(x + 3, 0, 6) / 6
    if name == "gelu":
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    if name == "tanh":
        return np.tanh(x)
    if name == "sigmoid":
        return 1 / (1 + np.exp(-x))
    return x


def tap_slices(layer: Depthwise, padding, tap) -> tuple[slice, ...]:
    """What one tap reads of the padded input, for all outputs."""
    return tuple(
        slice(d * j, d * j + s * (n - 1) + 1, s)
        for d, j, s, n in zip(layer.dilation, tap, layer.stride, layer.output, strict=True)
    )


def padded(x: np.ndarray, padding) -> np.ndarray:
    edges = [(0, 0), (0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in padding)]
    x = np.pad(x, edges)
    cut = [slice(max(-lo, 0), x.shape[2 + a] - max(-hi, 0)) for a, (lo, hi) in enumerate(padding)]
    return x[(slice(None), slice(None), *cut)]


def forward_sums(case: Case, x, weight, bias) -> np.ndarray:
    """The output before its activation."""
    layer = case.layer
    wide = padded(x, case.padding)
    out = np.zeros((layer.batch, layer.channels, *layer.output))
    term = np.empty_like(out)  # once: a new map for each tap would take longer than its products
    one = (1,) * len(layer.kernel)
    for tap in product(*map(range, layer.kernel)):
        at = (slice(None), slice(None), *tap_slices(layer, case.padding, tap))
        out += np.multiply(weight[(slice(None), 0, *tap)].reshape(1, -1, *one), wide[at], term)
    return out if bias is None else out + bias.reshape(1, -1, *one)


def expected(case: Case, x, weight, bias, grad):
    """The output before its activation, and the two gradients of `(output * grad).sum()`."""
    layer = case.layer
    wide = padded(x, case.padding)
    out = forward_sums(case, x, weight, bias)
    by_wide, by_weight, term = np.zeros(wide.shape), np.zeros(weight.shape), np.empty(grad.shape)
    axes = tuple(range(len(layer.kernel)))
    for tap in product(*map(range, layer.kernel)):
        at = (slice(None), slice(None), *tap_slices(layer, case.padding, tap))
        factor = weight[(slice(None), 0, *tap)].reshape(1, -1, *(1 for _ in axes))
        by_wide[at] += np.multiply(factor, grad, term)
        terms = np.multiply(wide[at], grad, term)
        by_weight[(slice(None), 0, *tap)] = terms.sum(axis=(0, *(2 + a for a in axes)))
    # Back through the padding: what it added has no gradient, what it cut away has none either.
    inner = [
        slice(max(lo, 0), by_wide.shape[2 + a] - max(hi, 0))
        for a, (lo, hi) in enumerate(case.padding)
    ]
    by_x = np.zeros(x.shape)
    held = tuple(
        slice(max(-lo, 0), x.shape[2 + a] - max(-hi, 0)) for a, (lo, hi) in enumerate(case.padding)
    )
    by_x[(slice(None), slice(None), *held)] = by_wide[(slice(None), slice(None), *inner)]
    return out, by_x, by_weight


def in_layout(x: np.ndarray, last: bool) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1) if last else x)


def from_layout(x: np.ndarray, last: bool) -> np.ndarray:
    return np.moveaxis(x, -1, 1) if last else x


def empty(shape, dtype, last: bool) -> np.ndarray:
    order = (shape[0], *shape[2:], shape[1]) if last else shape
    return np.full(order, np.nan, dtype)


def results(case: Case, x, weight, bias, grad):
    """What the kernels give: the output, and the gradients by input and weights."""
    layer = case.layer
    dtype = np.float64 if layer.wide else np.float32
    last = layer.channels_last
    x, grad = in_layout(x, last).astype(dtype), in_layout(grad, last).astype(dtype)
    taps = weight.reshape(layer.channels, -1)
    weights = np.ascontiguousarray((taps.T if layer.packed else taps).astype(dtype))
    biases = None if bias is None else bias.astype(dtype)
    out = empty((layer.batch, layer.channels, *layer.output), dtype, last)
    by_x = empty((layer.batch, layer.channels, *layer.input), dtype, last)
    by_weight = empty((layer.channels, 1, *layer.kernel), dtype, False)
    address = None if biases is None else biases.ctypes.data
    forward(layer, x.ctypes.data, weights.ctypes.data, address, out.ctypes.data)
    linear = replace(layer, activation="none")
    data_gradient(linear, grad.ctypes.data, weights.ctypes.data, None, by_x.ctypes.data)
    weight_gradient(linear, x.ctypes.data, grad.ctypes.data, by_weight.ctypes.data)
    return from_layout(out, last), from_layout(by_x, last), by_weight


def inputs(case: Case):
    layer, rng = case.layer, np.random.default_rng(case.seed)
    dtype = np.float64 if layer.wide else np.float32

    def some(*shape):
        return rng.standard_normal(shape).astype(dtype).astype(np.float64)

    x = some(layer.batch, layer.channels, *layer.input)
    weight = some(layer.channels, 1, *layer.kernel)
    bias = some(layer.channels) if case.has_bias else None
    return x, weight, bias, some(layer.batch, layer.channels, *layer.output)


@dataclass(frozen=True)
class Sums:
    """What one case is given, and what comes of it tap by tap, before its activation."""

    given: tuple[np.ndarray | None, ...]
    made: tuple[np.ndarray, ...]


def summed(case: Case) -> Sums:
    given = inputs(case)
    return Sums(given, expected(case, *given))


def assert_agrees(case: Case, sums: Sums | None = None) -> None:
    """Within 2 units in the last place of the largest value, times the root of the terms."""
    layer = case.layer
    sums = sums or summed(case)
    before, by_x, by_weight = sums.made
    found = results(case, *sums.given)
    unit = np.finfo(np.float64 if layer.wide else np.float32).eps
    wanted = (activated(before, layer.activation), by_x, by_weight)
    taps, places = math.prod(layer.kernel), layer.batch * math.prod(layer.output)
    for name, got, want, terms, scale in zip(
        ("output", "gradient by the input", "gradient by the weights"),
        found,
        wanted,
        (taps, taps, places),
        # What the activation saw counts: it may lie near zero while its input does not.
        (abs(before).max(), abs(by_x).max(), abs(by_weight).max()),
        strict=True,
    ):
        bound = 2 * unit * math.sqrt(terms) * max(scale, 1)
        error = abs(got - want).max()
        assert error <= bound, f"{name} of {case}: off by {error}, bound {bound}"


def to_small(x: np.ndarray, kind: str) -> np.ndarray:
    """The nearest values of 16 bits, as those bits; ties to even."""
    if kind == "float16":
        return np.asarray(x, np.float16).view(np.uint16)
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_small(bits: np.ndarray, kind: str) -> np.ndarray:
    if kind == "float16":
        return bits.view(np.float16).astype(np.float64)
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


LARGEST = {"float16": 65504.0, "bfloat16": 2.0**128 - 2.0**120}


def assert_small_agrees(case: Case, kind: str, scale: float = 1.0) -> None:
    """Forward in 16 bits: half a unit in their last place, and what sums in float32 round off.

    Inputs times `scale`: down to numbers below the normal ones, up to sums beyond the largest one,
    which become infinite.
    """
    layer, last = replace(case.layer, small=kind, wide=False), case.layer.channels_last
    x, weight, bias, _ = inputs(case)
    x, bias = x * scale, None if bias is None else bias * scale
    given = [None if one is None else to_small(one, kind) for one in (x, weight, bias)]
    exact = [None if one is None else from_small(one, kind) for one in given]
    with np.errstate(over="ignore"):  # a gate of a large negative number is 0
        want = activated(forward_sums(case, *exact), layer.activation)
    taps = given[1].reshape(layer.channels, -1)
    arrays = [in_layout(given[0], last), np.ascontiguousarray(taps.T if layer.packed else taps)]
    shape = (layer.batch, layer.channels, *layer.output)
    out = np.full((shape[0], *shape[2:], shape[1]) if last else shape, 0x7E01, np.uint16)
    address = None if given[2] is None else given[2].ctypes.data
    forward(layer, arrays[0].ctypes.data, arrays[1].ctypes.data, address, out.ctypes.data)
    got = from_layout(from_small(out, kind), last)
    half = 2.0**-11 if kind == "float16" else 2.0**-8
    sums = 2e-6 * math.sqrt(taps.shape[1]) * max(abs(want).max(), scale)
    # Beyond the largest number by half a unit all are infinite.
    beyond = abs(want) + sums > LARGEST[kind] * (1 - half)
    assert (abs(got[beyond]) >= LARGEST[kind] * (1 - 2 * half) - 2 * sums).all(), (
        f"{kind} of {case}"
    )
    assert (np.sign(got[beyond]) == np.sign(want[beyond])).all(), f"{kind} of {case}"
    error = abs(got[~beyond] - want[~beyond]) - half * abs(want[~beyond])
    tiny = 2.0**-25 if kind == "float16" else 0
    assert error.max(initial=0) <= sums + tiny, f"{kind} of {case}: off by {error.max()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="in 16 bits alone")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    for draw in range(given.draws):
        case = drawn(rng, draw)
        if not given.small:
            assert_agrees(case)
        scale = rng.choice([1, 1, 1e-6, 1e4])
        assert_small_agrees(case, ("float16", "bfloat16")[draw % 2], scale)
    sys.stdout.write(f"{given.draws} draws agree with the sums over taps; {native()}\n")


if __name__ == "__main__":
    main()
