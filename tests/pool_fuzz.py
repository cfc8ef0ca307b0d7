"""Random pools through the native kernels, against folds over taps.

`python -m tests.pool_fuzz --draws 5000 --seed 1` runs as many as wanted; with `ATROUS_LIBRARY` set
to a build with `-DATROUS_SANITIZE=ON` and the sanitizer's library preloaded, every access is
checked as well. It needs NumPy only.
"""

from __future__ import annotations

import argparse
import random
import sys
from itertools import product

import numpy as np

from atrous.geometry import Window
from atrous.operators.kernels import native
from atrous.operators.kernels.pool import PoolLayer, run_pool


def drawn(rng: random.Random) -> PoolLayer:
    """Strides that do not divide, rates, windows beyond the map, and partial last windows."""
    axes = rng.choice([1, 2, 2, 3])
    largest = {1: 300, 2: 40, 3: 13}[axes]
    average = rng.random() < 0.5
    while True:
        kernel = tuple(rng.choice([1, 2, 2, 3, 3, 4, 5, 7, 9]) for _ in range(axes))
        stride = tuple(rng.choice([1, 1, 2, 2, 3, 5]) for _ in range(axes))
        dilation = tuple(1 if average else rng.choice([1, 1, 2, 3, 8]) for _ in range(axes))
        sizes = tuple(rng.randint(1, largest) for _ in range(axes))
        pads = tuple(rng.randint(0, k // 2) for k in kernel)
        windows = Window.of_axes(kernel, stride, dilation, pads)
        if all(n + 2 * w.pad_lo >= w.extent for n, w in zip(sizes, windows, strict=True)):
            break
    ceil = rng.random() < 0.4
    return PoolLayer(
        batch=rng.choice([1, 1, 2]),
        channels=rng.choice([1, 2, 3, 5, 8, 16, 24, 33, 70]),
        input=sizes,
        output=tuple(w.output_length(n, ceil) for n, w in zip(sizes, windows, strict=True)),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        pad=pads,
        average=average,
        divisor=rng.choice([0, 0, 0, 3]) if average else 0,
        counts_padding=rng.random() < 0.5,
        wide=rng.random() < 0.3,
        channels_last=rng.random() < 0.5,
        threads=rng.choice([1, 2, 3]),
    )


def expected(pool: PoolLayer, x: np.ndarray) -> np.ndarray:
    """The fold of what every tap reads, with what does not count in the padding."""
    nothing = 0.0 if pool.average else -np.inf
    fits = [
        max((o - 1) * s + (k - 1) * d + 1 - p - n, p)
        for o, s, k, d, p, n in zip(
            pool.output, pool.stride, pool.kernel, pool.dilation, pool.pad, pool.input, strict=True
        )
    ]
    edges = [(0, 0), (0, 0), *zip(pool.pad, fits, strict=True)]
    wide = np.pad(x, edges, constant_values=nothing)
    # An input counts once, a position of the padding where it is asked for, what is beyond never.
    counted = np.pad(np.ones(pool.input), edges[2:])
    if pool.counts_padding:
        counted[tuple(slice(0, p + n + p) for p, n in zip(pool.pad, pool.input, strict=True))] = 1
    folded = np.full((*x.shape[:2], *pool.output), nothing)
    count = np.zeros(pool.output)
    for tap in product(*map(range, pool.kernel)):
        at = tuple(
            slice(d * j, d * j + s * (n - 1) + 1, s)
            for d, j, s, n in zip(pool.dilation, tap, pool.stride, pool.output, strict=True)
        )
        read = wide[(slice(None), slice(None), *at)]
        folded = folded + read if pool.average else np.maximum(folded, read)
        count += counted[at]
    return folded / (pool.divisor or count) if pool.average else folded


def result(pool: PoolLayer, x: np.ndarray) -> np.ndarray:
    dtype = np.float64 if pool.wide else np.float32
    last = pool.channels_last
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1) if last else x, dtype=dtype)
    shape = (pool.batch, pool.channels, *pool.output)
    out = np.full((shape[0], *shape[2:], shape[1]) if last else shape, 7.0, dtype)
    run_pool(pool, x.ctypes.data, out.ctypes.data)
    return np.moveaxis(out, -1, 1) if last else out


def values(pool: PoolLayer, seed: int) -> np.ndarray:
    """Few different values, so that there are ties; some are NaN or infinite."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 8, (pool.batch, pool.channels, *pool.input)) / 4.0
    if seed % 2:
        for value, share in ((np.nan, 0.02), (-np.inf, 0.05), (np.inf, 0.01)):
            x[rng.random(x.shape) < share] = value
    return x


def assert_agrees(pool: PoolLayer, seed: int) -> None:
    """Maxima are equal, averages to a few units in the last place: these sums are exact."""
    x = values(pool, seed)
    with np.errstate(invalid="ignore"):
        want, got = expected(pool, x), result(pool, x)
    if not pool.average:
        np.testing.assert_array_equal(got, want, err_msg=str(pool))
        return
    unit = np.finfo(np.float64 if pool.wide else np.float32).eps
    np.testing.assert_allclose(got, want, rtol=2 * unit, atol=0, err_msg=str(pool))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    for draw in range(given.draws):
        assert_agrees(drawn(rng), draw)
    sys.stdout.write(f"{given.draws} draws agree with the folds over taps; {native()}\n")


if __name__ == "__main__":
    main()
