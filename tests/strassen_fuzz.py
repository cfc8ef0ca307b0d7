"""Random products of rows in the native kernels, with seven products for eight, against float64.

`python -m tests.strassen_fuzz --draws 5000 --seed 1` runs as many as wanted, also in a build with
sanitizers (see `winograd_fuzz`). It needs NumPy only.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import replace

import numpy as np

from atrous.operators.kernels import native
from atrous.operators.kernels.elementwise import ElementStep, ElementwiseRun, run_elementwise
from atrous.operators.kernels.layer import ACTIVATIONS
from atrous.operators.kernels.strassen import (
    RowProduct,
    multiplied_rows,
    multiplied_rows_behind,
    pack_rows,
    packed_rows_size,
)
from tests.bottleneck_fuzz import aligned
from tests.depthwise_fuzz import activated

_ROUNDS = (1.2e-6, 3e-6, 6e-6)
"""Largest errors by levels, as shares of the root of the terms or the largest value."""


def drawn(rng: random.Random) -> RowProduct:
    """Rows beyond whole units and blocks, odd halves, filters that fill no vector or one part."""
    while True:
        levels = rng.choice([0, 1, 1, 2, 2])
        layer = RowProduct(
            rows=rng.choice([6, 7, 12, 24, 25, 47, 48, 101, 191, 193, 400]),
            channels=rng.choice([1, 2, 3, 7, 16, 33, 65, 130, 300]) << levels,
            filters=rng.choice([1, 5, 16, 17, 31, 64, 65, 100, 200, 520, 1100]),
            levels=levels,
            activation=rng.choice([*ACTIVATIONS, "leaky_relu 0.3"])
            if rng.random() < 0.4
            else "none",
            threads=rng.choice([1, 2, 3, 4]),
        )
        if rng.random() < 0.3:
            layer = replace(layer, step=layer.filters + rng.randint(1, 70))
        if layer.fits:
            return layer


def assert_agrees(layer: RowProduct, seed: int, *, has_bias: bool, adds: bool) -> None:
    """To the rounding that its levels allow, whatever the threads; nothing else is written."""
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x, weight = some(layer.rows, layer.channels), some(layer.filters, layer.channels)
    bias = some(layer.filters) if has_bias else None
    other = some(layer.rows, layer.filters) if adds else None
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    exact += 0 if bias is None else bias
    exact += 0 if other is None else other
    packed = aligned(packed_rows_size(layer))
    pack_rows(layer, weight.ctypes.data, packed.ctypes.data)
    made = []
    for threads in sorted({layer.threads, 1, 2}):
        step = layer.step or layer.filters
        held = np.full(layer.rows * step + 32, np.nan, np.float32)
        out = held[16:-16].reshape(layer.rows, step)[:, : layer.filters]
        at = [None if one is None else one.ctypes.data for one in (bias, other)]
        one = replace(layer, threads=threads)
        multiplied_rows(one, x.ctypes.data, packed.ctypes.data, *at, out.ctypes.data)
        assert np.isnan(held[:16]).all(), f"{layer} writes before its result"
        assert np.isnan(held[-16:]).all(), f"{layer} writes behind its result"
        between = held[16:-16].reshape(layer.rows, step)[:, layer.filters :]
        assert np.isnan(between).all(), f"{layer} writes between its rows"
        made.append(out)
    assert all((one == made[0]).all() for one in made), f"{layer} depends on the threads"
    error = float(abs(made[0] - activated(exact, layer.activation)).max())
    scale = max(float(abs(exact).max()), float(np.sqrt(layer.channels)))
    assert error <= _ROUNDS[layer.levels] * scale, f"{layer}: off by {error / scale:.1e}"


def drawn_pass(rng: random.Random, layer: RowProduct) -> ElementwiseRun:
    """A pass that makes a layer's rows, of images where these divide them, of up to four inputs."""
    images = rng.choice([n for n in (1, 2, 3, 4) if layer.rows % n == 0])
    lines, columns = layer.rows // images, layer.channels
    apart = columns + rng.choice([0, 0, 1, 9])
    whole = (lines * apart, apart, 1)
    kinds = [whole, whole, (columns, 0, 1), (0, 0, 1), (lines, 1, 0), (1, 0, 0), (0, 0, 0)]
    inputs = (whole, *(rng.choice(kinds) for _ in range(rng.randint(0, 3))))
    value, steps = 0, []
    for n in range(many := rng.randint(1, 4)):
        right = rng.choice([-1, *range(len(inputs))])
        out = -1 if n + 1 == many else len(inputs) + n % 2
        function = rng.choice(["none", "none", "relu", "silu"])
        steps.append(ElementStep(value, right, rng.choice(["plus", "times"]), function, out=out))
        value = out
    return ElementwiseRun(images, lines, columns, inputs, tuple(steps), 2)


def assert_fed_agrees(layer: RowProduct, before: ElementwiseRun, seed: int) -> None:
    """To the very bit with the pass, and then the product of what it makes; on any threads."""
    rng = np.random.default_rng(seed)
    sizes = (before.images, before.lines, before.columns)
    # Their memory ends with their last number.
    counts = [
        1 + sum(s * (n - 1) for s, n in zip(one, sizes, strict=True)) for one in before.inputs
    ]
    inputs = [rng.standard_normal(count).astype(np.float32) for count in counts]
    at = [one.ctypes.data for one in inputs]
    weight = rng.standard_normal((layer.filters, layer.channels)).astype(np.float32)
    bias, other = (
        rng.standard_normal(n).astype(np.float32)
        for n in (layer.filters, layer.rows * layer.filters)
    )
    packed = aligned(packed_rows_size(layer))
    pack_rows(layer, weight.ctypes.data, packed.ctypes.data)
    rest = (packed.ctypes.data, bias.ctypes.data, other.ctypes.data)
    x = np.full((layer.rows, layer.channels), np.nan, np.float32)
    run_elementwise(before, at, x.ctypes.data)
    step = layer.step or layer.filters
    wanted = np.full(layer.rows * step, np.nan, np.float32)
    multiplied_rows(layer, x.ctypes.data, *rest, wanted.ctypes.data)
    for threads in sorted({layer.threads, 1, 2}):
        made = np.full(layer.rows * step, np.nan, np.float32)
        one = replace(layer, threads=threads)
        multiplied_rows_behind(one, before, at, *rest, made.ctypes.data)
        assert np.array_equal(made, wanted, equal_nan=True), f"{layer} {before}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    for draw in range(asked.draws):
        assert_agrees(drawn(rng), draw, has_bias=rng.random() < 0.5, adds=rng.random() < 0.4)
        fed = drawn(rng)
        assert_fed_agrees(fed, drawn_pass(rng, fed), draw)
    sys.stdout.write(f"{asked.draws} draws agree with products in float64; {native()}\n")


if __name__ == "__main__":
    main()
