"""Random dense layers of one tap on planes in the native kernels, against products in float64.

`python -m tests.pointwise_fuzz --draws 5000 --seed 1` runs as many as wanted, also in a build with
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
from atrous.operators.kernels.pointwise import Pointwise, multiplied_planes
from tests.depthwise_fuzz import activated


def drawn(rng: random.Random) -> Pointwise:
    """Sizes that fill no vector, one position, more filters and channels than a block holds."""
    return Pointwise(
        batch=rng.choice([1, 1, 2, 3]),
        channels=rng.choice([1, 2, 7, 16, 33, 128, 129, 300]),
        filters=rng.choice([1, 2, 5, 6, 7, 48, 96, 97, 200]),
        positions=rng.choice([1, 3, 15, 16, 17, 63, 64, 65, 127, 200]),
        activation=rng.choice([*ACTIVATIONS, "leaky_relu 0.3"]) if rng.random() < 0.4 else "none",
        threads=rng.choice([1, 2, 3]),
    )


def assert_agrees(layer: Pointwise, seed: int, *, has_bias: bool, adds: bool) -> None:
    """To the rounding of short sums, whatever the threads."""
    rng = np.random.default_rng(seed)

    def some(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    x, weight = (
        some(layer.batch, layer.channels, layer.positions),
        some(layer.filters, layer.channels),
    )
    bias = some(layer.filters) if has_bias else None
    other = some(layer.batch, layer.filters, layer.positions) if adds else None
    exact = weight.astype(np.float64) @ x.astype(np.float64)
    exact += 0 if bias is None else bias[:, None]
    exact += 0 if other is None else other
    made = []
    for threads in {layer.threads, 2}:
        out = np.full(exact.shape, np.nan, np.float32)
        at = [None if one is None else one.ctypes.data for one in (bias, other)]
        one = replace(layer, threads=threads)
        multiplied_planes(one, x.ctypes.data, weight.ctypes.data, *at, out.ctypes.data)
        made.append(out)
    assert all((one == made[0]).all() for one in made), f"{layer} depends on the threads"
    error = float(abs(made[0] - activated(exact, layer.activation)).max())
    scale = max(float(abs(exact).max()), float(np.sqrt(layer.channels)))
    assert error <= 6e-7 * scale, f"{layer}: off by {error / scale:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    for draw in range(asked.draws):
        assert_agrees(drawn(rng), draw, has_bias=rng.random() < 0.5, adds=rng.random() < 0.3)
    sys.stdout.write(f"{asked.draws} draws agree with products in float64; {native()}\n")


if __name__ == "__main__":
    main()
