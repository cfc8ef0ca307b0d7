"""Random bilinear resizes through the native kernel, against the definition in float64.

`python -m tests.resize_fuzz --draws 5000 --seed 1` runs as many as wanted, also in a build with
`-DATROUS_SANITIZE=ON`. It needs NumPy only.
"""

from __future__ import annotations

import argparse
import random
import sys

import numpy as np

from atrous.operators.kernels import native
from atrous.operators.kernels.resize import ResizeLayer, run_resize


def drawn(rng: random.Random) -> ResizeLayer:
    """Sizes that grow, shrink and stay, of one row or column too, and rates that are no ratio.

    In planes, and with channels last, whose positions may lie apart in the result.
    """
    sizes = [rng.choice([1, 2, 3, rng.randint(1, 40)]) for _ in range(2)]
    made = [rng.choice([1, 2, n, 2 * n, 4 * n, rng.randint(1, 100)]) for n in sizes]
    scales = None
    if rng.random() < 0.3:
        scales = (rng.uniform(0.05, 3), rng.uniform(0.05, 3))
    channels = rng.choice([1, 1, 2, 3, 7, 15, 16, 17, 21, 40])
    return ResizeLayer(
        planes=rng.choice([1, 2, 7]),
        channels=channels,
        step=rng.choice([0, channels, channels + rng.randint(1, 40)]),
        input=(sizes[0], sizes[1]),
        output=(made[0], made[1]),
        corners=rng.random() < 0.5,
        scales=scales,
        threads=rng.choice([1, 2, 3]),
    )


def weights(size: int, made: int, corners: bool, scale: float | None) -> np.ndarray:
    """What each output takes of each input along an axis, as a matrix."""
    at = np.arange(made)
    if corners:
        real = at * ((size - 1) / (made - 1) if made > 1 else 0.0)
    else:
        real = np.maximum((at + 0.5) * (size / made if scale is None else scale) - 0.5, 0)
    real = np.minimum(real, size - 1)
    return np.maximum(0.0, 1 - np.abs(real[:, None] - np.arange(size)))


def expected(layer: ResizeLayer, x: np.ndarray) -> np.ndarray:
    scales = layer.scales or (None, None)
    high, wide = (
        weights(size, made, layer.corners, scale)
        for size, made, scale in zip(layer.input, layer.output, scales, strict=True)
    )
    return np.einsum("ah,phwc,bw->pabc", high, x, wide)


def result(layer: ResizeLayer, x: np.ndarray) -> np.ndarray:
    x = np.ascontiguousarray(x, np.float32)
    out = np.full((layer.planes, *layer.output, layer.step or layer.channels), 7.0, np.float32)
    run_resize(layer, x.ctypes.data, out.ctypes.data)
    assert (out[..., layer.channels :] == 7.0).all()
    return out[..., : layer.channels]


def assert_agrees(layer: ResizeLayer, seed: int) -> None:
    """To what a position rounds off in float32, on neighbours that differ by 2 at most."""
    x = np.random.default_rng(seed).uniform(-1, 1, (layer.planes, *layer.input, layer.channels))
    apart = np.abs(result(layer, x) - expected(layer, x)).max()
    assert apart <= 4e-7 * (2 + max(layer.input)), (layer, apart)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    for draw in range(given.draws):
        assert_agrees(drawn(rng), draw)
    sys.stdout.write(f"{given.draws} draws agree with the definition; {native()}\n")


if __name__ == "__main__":
    main()
