"""Random dense layers by minimal filtering in the native kernels, against sums in float64.

`python -m tests.winograd_fuzz --draws 5000 --seed 1` runs as many as wanted; with `ATROUS_LIBRARY`
set to a build with `-DATROUS_SANITIZE=ON` and the sanitizer's library preloaded, every access is
checked as well. It needs NumPy only.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass, replace
from itertools import product
from math import prod, sqrt

import numpy as np

from atrous.operators.kernels import native
from atrous.operators.kernels.layer import ACTIVATIONS, output_size
from atrous.operators.kernels.winograd import Winograd, by_weight, filtered, pack, packed_size
from atrous.operators.tiles import Rest
from tests.depthwise_fuzz import activated, padded

# What tiles of so many products may round off, as a share of the largest sum before it is
# activated: at least twice what 20,000 draws gave. The errors of two axes multiply.
ROUNDS_OFF = {1: 1.5, 4: 1.7, 5: 2.4, 6: 3.6, 7: 5.0, 8: 7.5}
UNIT = 4e-7


@dataclass(frozen=True)
class Case:
    layer: Winograd
    padding: tuple[tuple[int, int], ...]
    has_bias: bool
    adds: bool
    seed: int


def drawn(rng: random.Random, seed: int) -> Case:
    """Rates above the map, uneven and negative padding, channels that fill no vector; every third
    layer in parts: kernels of many taps, and strides; every third with tiles of two kinds."""
    tiles = {1: [1], 2: [3, 4, 5, 6, 7], 3: [2, 3, 4, 5, 6], 4: [2, 3, 4, 5], 5: [2, 3, 4]}
    cut = rng.random() < 0.33
    kernels = [1, 2, 3, 4, 6, 7, 11] if cut else [1, 2, 3, 3, 3, 4, 5]
    short = not cut and rng.random() < 0.2  # phases of at most 4 outputs, for closed tiles
    while True:
        kernel = tuple(3 if short else rng.choice(kernels) for _ in range(2))
        stride = tuple(rng.choice([1, 1, 2, 3, 4]) if cut else 1 for _ in range(2))
        dilation = tuple(rng.choice([1, 1, 2, 3, 5, 16]) for _ in range(2))
        sizes = tuple(rng.randint(1, 24) for _ in range(2))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple((rng.randint(-2, r), rng.randint(-2, r)) for r in reach)
        if short:
            sizes = tuple(rng.randint(2, min(4 * d, 24)) for d in dilation)
            padding = tuple((d, d) for d in dilation)
        enough = all(
            n + lo + hi >= r and n + min(lo, 0) + min(hi, 0) > 0
            for n, (lo, hi), r in zip(sizes, padding, reach, strict=True)
        )
        if enough:
            break
    filters = rng.choice([1, 2, 8, 15, 16, 33, 64, 65, 100])
    output = output_size(sizes, kernel, stride, dilation, padding)
    spread, crop, whole = (1, 1), (0, 0), None
    if rng.random() < 0.2:  # phases of filters, written side by side
        spread = tuple(rng.choice([1, 2, 3]) for _ in range(2))
        filters = spread[0] * spread[1] * rng.choice([16, 32, 48])
        crop = tuple(rng.randint(0, s - 1) for s in spread)
        whole = tuple(
            max(n * s - c - rng.randint(0, s), 1)
            for n, s, c in zip(output, spread, crop, strict=True)
        )
        if spread == (1, 1):
            crop, whole = (0, 0), None
    one = [1] if cut else []
    taps = tuple(rng.choice([*one, 2, 3, 4, 5]) if cut and k > 1 else k for k in kernel)
    tile = tuple(rng.choice(tiles[k]) for k in taps)
    rests, closed = (Rest(), Rest()), (False, False)
    if short:
        ends = [ended(rng, n, d) for n, d in zip(sizes, dilation, strict=True)]
        tile, rests, closed = (tuple(kinds) for kinds in zip(*ends, strict=True))
    elif rng.random() < 0.3:
        rests = tuple(
            Rest(rng.choice(tiles[k]), rng.randint(0, 3), rng.randint(0, 3)) for k in taps
        )
    return Case(
        Winograd(
            batch=rng.choice([1, 1, 2, 3]),
            channels=rng.choice([1, 3, 8, 15, 16, 17, 32, 40, 130, 200]),
            filters=filters,
            input=sizes,
            output=output,
            kernel=kernel,
            dilation=dilation,
            pad=tuple(lo for lo, _ in padding),
            tile=tile,
            taps=taps,
            stride=stride,
            spread=spread,
            cut=crop,
            whole=whole,
            activation=rng.choice([*ACTIVATIONS, "leaky_relu 0.3"])
            if rng.random() < 0.4
            else "none",
            threads=rng.choice([1, 2, 3]),
            turned=max(stride) == 1 and rng.random() < 0.3,
            rests=rests,
            closed=closed,
        ),
        padding,
        rng.random() < 0.5,
        rng.random() < 0.3,
        seed,
    )


def ended(rng: random.Random, size: int, dilation: int) -> tuple[int, Rest, bool]:
    """Tiles of an axis with short phases, closed ones wherever they may be, or not."""
    longest = -(-size // dilation)
    main = longest <= 3 and rng.random() < 0.8
    tile = rng.randint(max(longest, 2), 3) if main else rng.randint(2, 6)
    if longest == 1 or longest > 4:
        return tile, Rest(), main
    end = rng.randint(longest - 1, 3)
    return tile, Rest(end, 0, 1, True) if rng.random() < 0.8 else Rest(), main


def given(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    layer, rng = case.layer, np.random.default_rng(case.seed)

    def some(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    x = some(layer.batch, *layer.input, layer.channels)
    weight = some(layer.filters, layer.channels, *layer.kernel)
    bias = some(layer.filters) if case.has_bias else None
    other = some(*result_shape(layer)) if case.adds else None
    return x, weight, bias, other


def result_shape(layer: Winograd) -> tuple[int, ...]:
    phases = layer.spread[0] * layer.spread[1]
    return (layer.batch, *(layer.whole or layer.output), layer.filters // phases)


def side_by_side(layer: Winograd, out: np.ndarray) -> np.ndarray:
    """Outputs with their phases as filters, place by place."""
    made = np.zeros(result_shape(layer))
    each = made.shape[-1]
    for h, w in product(range(made.shape[1]), range(made.shape[2])):
        (i, a), (j, b) = (
            divmod(at + cut, step)
            for at, cut, step in zip((h, w), layer.cut, layer.spread, strict=True)
        )
        if i < out.shape[1] and j < out.shape[2]:
            phase = a * layer.spread[1] + b
            made[:, h, w] = out[:, i, j, phase * each : (phase + 1) * each]
    return made


def expected(case: Case, x, weight, bias, other) -> np.ndarray:
    """The sums before their activation, (batch, high, wide, filters)."""
    layer = case.layer
    wide = np.moveaxis(padded(np.moveaxis(x.astype(np.float64), -1, 1), case.padding), 1, -1)
    out = np.zeros((layer.batch, *layer.output, layer.filters))
    for tap in product(*map(range, layer.kernel)):
        h, w = (
            slice(d * j, d * j + s * (n - 1) + 1, s)
            for d, j, s, n in zip(layer.dilation, tap, layer.stride, layer.output, strict=True)
        )
        out += wide[:, h, w] @ weight[(..., *tap)].T.astype(np.float64)
    out += 0 if bias is None else bias
    out = out if layer.whole is None else side_by_side(layer, out)
    return out if other is None else out + other


def result(layer: Winograd, x, weight, bias, other) -> np.ndarray:
    """What the kernel gives; nothing outside of the packed weights and the result is written."""
    if layer.turned:
        weight = np.ascontiguousarray(np.swapaxes(weight, 0, 1)[:, :, ::-1, ::-1])
    size = packed_size(layer)
    held = np.full(size + 32, np.nan, np.float32)
    start = -held.ctypes.data % 64 // 4
    pack(layer, weight.ctypes.data, held.ctypes.data + 4 * start)
    assert np.isfinite(held[start : start + size]).all()
    assert np.isnan(held[start + size :]).all()
    out = np.full(result_shape(layer), np.nan, np.float32)
    at = [None if one is None else one.ctypes.data for one in (bias, other)]
    filtered(layer, x.ctypes.data, held.ctypes.data + 4 * start, *at, out.ctypes.data)
    return out


def rounds_off(layer: Winograd) -> float:
    """What tiles of this size round off, and sums of thousands of terms with the root of these.

    A kernel of 11x11 in 36 parts, 50, 200 and 400 channels: 3.5, 6.0 and 8.8e-7 in the mean.
    """
    parts = prod(-(-k // taps) for k, taps in zip(layer.kernel, layer.taps, strict=True))
    bound = UNIT * max(1.0, sqrt(parts * layer.channels / 2000))
    for tile, taps, rest in zip(layer.tile, layer.taps, layer.rests, strict=True):
        # Closed tiles round off no more than the smallest ones at points.
        points = max(tile, 1 if rest.closed else rest.outputs) + taps - 1
        bound *= ROUNDS_OFF[max(points, 1 if taps == 1 else 4)]
    return bound


def assert_agrees(case: Case) -> np.ndarray:
    """Within what tiles of this size round off."""
    layer = case.layer
    x, weight, bias, other = given(case)
    sums = expected(case, x, weight, bias, other)
    found = result(layer, x, weight, bias, other)
    bound = rounds_off(layer)
    scale = max(float(abs(sums).max()), float(np.sqrt(weight[0].size)))
    error = float(abs(found - activated(sums, layer.activation)).max())
    assert error <= bound * scale, f"{case}: off by {error / scale:.1e}, bound {bound:.1e}"
    return found


def in_one_part(layer: Winograd) -> bool:
    return layer.stride == layer.spread == (1, 1) and layer.taps == layer.kernel


def gradient(layer: Winograd, x, grad) -> np.ndarray:
    """The kernel's gradient by the weights."""
    out = np.full((layer.filters, layer.channels, *layer.kernel), np.nan, np.float32)
    by_weight(layer, x.ctypes.data, grad.ctypes.data, out.ctypes.data)
    return out


def assert_gradient_agrees(case: Case) -> np.ndarray:
    """The gradient by the weights of the sum of outputs times `grad`, tap by tap."""
    layer = case.layer
    if not in_one_part(layer):
        return np.zeros(0, np.float32)
    x = given(case)[0]
    shape = (layer.batch, *layer.output, layer.filters)
    grad = np.random.default_rng(case.seed + 1).standard_normal(shape).astype(np.float32)
    wide = np.moveaxis(padded(np.moveaxis(x.astype(np.float64), -1, 1), case.padding), 1, -1)
    sums = np.zeros((layer.filters, layer.channels, *layer.kernel))
    flat = grad.reshape(-1, layer.filters).astype(np.float64)
    for tap in product(*map(range, layer.kernel)):
        h, w = (
            slice(d * j, d * j + n)
            for d, j, n in zip(layer.dilation, tap, layer.output, strict=True)
        )
        sums[(..., *tap)] = flat.T @ wide[:, h, w].reshape(-1, layer.channels)
    found = gradient(layer, x, grad)
    bound = rounds_off(layer)
    scale = max(float(abs(sums).max()), float(np.sqrt(len(flat))))
    error = float(abs(found - sums).max())
    assert error <= bound * scale, f"gradient of {case}: off by {error / scale:.1e}"
    return found


def assert_same_on_any_threads(case: Case) -> None:
    """Bit for bit."""
    x = given(case)[0]
    grad = np.ones((case.layer.batch, *case.layer.output, case.layer.filters), np.float32)
    made = {
        (
            result(layer, *given(case)).tobytes(),
            gradient(layer, x, grad).tobytes() if in_one_part(layer) else b"",
        )
        for layer in (replace(case.layer, threads=n) for n in (1, 2, 5))
    }
    assert len(made) == 1, f"{case} depends on the threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    for draw in range(asked.draws):
        case = drawn(rng, draw)
        assert_agrees(case)
        assert_gradient_agrees(case)
    sys.stdout.write(f"{asked.draws} draws agree with the sums over taps; {native()}\n")


if __name__ == "__main__":
    main()
