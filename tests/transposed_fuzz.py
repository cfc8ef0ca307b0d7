"""Random matrices transposed by the native kernel, against numpy's copy.

`python -m tests.transposed_fuzz --draws 5000 --seed 1` runs as many as wanted, also in a build with
`-DATROUS_SANITIZE=ON`. It needs NumPy only.
"""

from __future__ import annotations

import argparse
import random
import sys

import numpy as np

from atrous.operators.kernels import native
from atrous.operators.kernels.transposed import transpose_natively

SIZES = (1, 2, 3, 4, 5, 8, 15, 16, 17, 21, 31, 33, 63, 64, 65, 130)
LONG = (1023, 1024, 1025, 1040, 2049)


def assert_transposes(rng: random.Random) -> None:
    """Every bit comes to its place, whatever number it is of, and nothing beside it is written."""
    images, rows, columns = (rng.choice([*SIZES[:3]]), *rng.choices(SIZES + LONG[:3], k=2))
    if rng.random() < 0.3:
        rows, columns = rng.sample([rng.choice(LONG), rng.randint(1, 100)], 2)
    x = np.random.default_rng(rng.getrandbits(32)).integers(0, 2**32, (images, rows, columns))
    x = x.astype(np.uint32)
    out = np.full(x.size + 64, 7, np.uint32)
    inner = out[32:-32]
    threads = rng.choice([1, 2, 3])
    transpose_natively(*x.shape, x.ctypes.data, inner.ctypes.data, threads=threads)
    np.testing.assert_array_equal(inner.reshape(images, columns, rows), x.swapaxes(1, 2))
    assert (out[:32] == 7).all()
    assert (out[-32:] == 7).all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    for _ in range(given.draws):
        assert_transposes(rng)
    sys.stdout.write(f"{given.draws} draws agree with numpy; {native()}\n")


if __name__ == "__main__":
    main()
