"""Random inverted bottlenecks in the native kernels, against their three layers in float64.

`python -m tests.bottleneck_fuzz --draws 5000 --seed 1` runs as many as wanted, also in a build with
sanitizers (see `winograd_fuzz`). It needs NumPy only.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import replace

import numpy as np

from atrous.operators.kernels import native
from atrous.operators.kernels.bottleneck import (
    Bottleneck,
    bottlenecked,
    pack_bottleneck,
    packed_bottleneck_size,
)
from atrous.operators.kernels.layer import ACTIVATIONS, output_size
from tests.depthwise_fuzz import activated


def drawn(rng: random.Random) -> Bottleneck:
    """Strides beside rates, pads beyond the reach, single rows and columns, groups cut anywhere."""
    some = [*ACTIVATIONS, "leaky_relu 0.3"]
    channels, filters = (rng.choice([1, 3, 16, 17, 40, 64, 70, 130]) for _ in range(2))
    common = {
        "batch": rng.choice([1, 1, 2, 3]),
        "channels": channels,
        "hidden": rng.choice([1, 5, 16, 31, 48, 129, 160, 300]),
        "filters": filters,
        "activations": tuple(rng.choice(some) if rng.random() < 0.6 else "none" for _ in range(3)),
        "threads": rng.choice([1, 2, 3, 4]),
    }
    if rng.random() < 0.25:
        sizes = rng.choice([1, 5, 6, 47, 48, 100, 333]), rng.choice([1, 1, 2, 7])
        return Bottleneck(input=sizes, output=sizes, **common)
    while True:
        sizes = tuple(rng.choice([1, 2, 5, 9, 14, 23]) for _ in range(2))
        kernel = tuple(rng.choice([1, 2, 3, 3, 4, 5, 7]) for _ in range(2))
        stride = tuple(rng.choice([1, 1, 1, 2, 3]) for _ in range(2))
        dilation = tuple(rng.choice([1, 1, 2, 3, 4, 6]) for _ in range(2))
        pads = tuple((rng.randint(-1, 9), rng.randint(-1, 9)) for _ in range(2))
        spans = [
            n + lo + hi - d * (k - 1)
            for n, k, d, (lo, hi) in zip(sizes, kernel, dilation, pads, strict=True)
        ]
        if min(spans) < 1:
            continue
        made = output_size(sizes, kernel, stride, dilation, pads)
        low = tuple(lo for lo, _ in pads)
        return Bottleneck(
            input=sizes,
            output=made,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            pad=low,
            **common,
        )


def depthwise_of(x: np.ndarray, weight: np.ndarray, layer: Bottleneck) -> np.ndarray:
    """The definition, tap by tap: (batch, height, width, channels) in float64."""
    (height, width), (rows, columns) = layer.input, layer.output
    made = np.zeros((layer.batch, rows, columns, layer.hidden))
    for o in range(rows):
        for p in range(columns):
            for i in range(layer.kernel[0]):
                for j in range(layer.kernel[1]):
                    r = o * layer.stride[0] - layer.pad[0] + layer.dilation[0] * i
                    c = p * layer.stride[1] - layer.pad[1] + layer.dilation[1] * j
                    if 0 <= r < height and 0 <= c < width:
                        made[:, o, p] += x[:, r, c] * weight[:, i, j]
    return made


def aligned(size: int) -> np.ndarray:
    """Memory for so many floats that begins at a multiple of 64 bytes."""
    held = np.empty(size + 16, np.float32)
    first = -held.ctypes.data % 64 // 4
    return held[first : first + size]


def assert_agrees(layer: Bottleneck, seed: int, *, has_bias: bool, adds: bool) -> None:
    """To the rounding of short sums, whatever the threads."""
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x = some(layer.batch, *layer.input, layer.channels)
    first = some(layer.hidden, layer.channels) / np.float32(np.sqrt(layer.channels))
    last = some(layer.filters, layer.hidden) / np.float32(np.sqrt(layer.hidden))
    middle = None if layer.kernel is None else some(layer.hidden, *layer.kernel) / np.float32(2)
    sizes = layer.hidden, layer.hidden, layer.filters
    biases = [some(size) if has_bias else None for size in sizes]
    other = some(layer.batch, *layer.output, layer.filters) if adds else None

    def shifted(values: np.ndarray, at: int) -> np.ndarray:
        return values if biases[at] is None else values + biases[at]

    exact = activated(
        shifted(x.astype(np.float64) @ first.T.astype(np.float64), 0), layer.activations[0]
    )
    if middle is not None:
        exact = depthwise_of(exact, middle, layer)
        exact = activated(shifted(exact, 1), layer.activations[1])
    exact = shifted(exact @ last.T.astype(np.float64), 2) + (0 if other is None else other)
    exact = activated(exact, layer.activations[2])

    packed = aligned(packed_bottleneck_size(layer))
    held = [None if w is None else w.ctypes.data for w in (first, middle, last)]
    pack_bottleneck(
        layer, held, [None if b is None else b.ctypes.data for b in biases], packed.ctypes.data
    )
    made = []
    for threads in sorted({layer.threads, 1, 2}):
        out = np.full(exact.shape, np.nan, np.float32)
        one = replace(layer, threads=threads)
        at = None if other is None else other.ctypes.data
        bottlenecked(one, x.ctypes.data, packed.ctypes.data, at, out.ctypes.data)
        made.append(out)
    assert all((one == made[0]).all() for one in made), f"{layer} depends on the threads"
    error = float(abs(made[0] - exact).max()) if exact.size else 0.0
    scale = max(float(abs(exact).max()) if exact.size else 0.0, 4.0)
    assert error <= 4e-6 * scale, f"{layer}: off by {error / scale:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    for draw in range(asked.draws):
        layer = drawn(rng)
        assert_agrees(layer, draw, has_bias=rng.random() < 0.5, adds=rng.random() < 0.3)
    sys.stdout.write(f"{asked.draws} draws agree with three layers in float64; {native()}\n")


if __name__ == "__main__":
    main()
