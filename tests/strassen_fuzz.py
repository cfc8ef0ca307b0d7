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
from atrous.operators.kernels.layer import ACTIVATIONS
from atrous.operators.kernels.strassen import (
    RowProduct,
    multiplied_rows,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    for draw in range(asked.draws):
        assert_agrees(drawn(rng), draw, has_bias=rng.random() < 0.5, adds=rng.random() < 0.4)
    sys.stdout.write(f"{asked.draws} draws agree with products in float64; {native()}\n")


if __name__ == "__main__":
    main()
