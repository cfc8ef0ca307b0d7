"""The installed package alone, without its tests' other needs: `python tests/smoke.py [--kernels]`.

For wheels on machines where only they are installed. With `--kernels` the native ones must be in.
"""

from __future__ import annotations

import sys

import numpy as np

import atrous
from atrous.operators.kernels import native


def main() -> None:
    """A convolution on whichever kernels there are, against sums; a report; every public name."""
    if "--kernels" in sys.argv:
        assert native().available, native()
    rng = np.random.default_rng(0)
    for dilation in (1, 3, 9):
        x = rng.normal(size=(1, 8, 40)).astype(np.float32)
        weight = rng.normal(size=(8, 1, 3)).astype(np.float32)
        found = atrous.conv(x, weight, dilation=dilation, groups=8)
        long = found.shape[-1]
        wanted = sum(
            x[..., k * dilation : k * dilation + long] * weight[:, :, k].reshape(1, 8, 1)
            for k in range(3)
        )
        assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5)
    report = atrous.inspect("zoo:resnet18", (1, 3, 224, 224))
    assert (report.complete, report["layer4.1.conv2"].field[0].size) == (True, 435)
    for name in atrous.__all__:
        getattr(atrous, name)
    assert "torch" not in sys.modules
    print(f"atrous {atrous.__version__} works here, {native()}")  # noqa: T201


if __name__ == "__main__":
    main()
