"""How far gradients are from those in float64."""

from __future__ import annotations

import torch

__all__ = ["gradient_error"]

SMALL = 1e-3
"""Of the largest gradient: where a parameter's are all below it, they are not looked at alone."""


def gradient_error(
    found: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]
) -> tuple[float, float]:
    """The largest difference as a share of the largest gradient of all, and of its own parameter.

    The second leaves out parameters whose gradients are next to nothing, such as the bias before a
    batch norm, which is 0 but for rounding.
    """
    most = max(float(one.abs().max()) for one in truth.values())
    whole = own = 0.0
    for name, right in truth.items():
        off = float((found[name].double() - right).abs().max())
        large = float(right.abs().max())
        whole = max(whole, off / most)
        if large >= SMALL * most:
            own = max(own, off / large)
    return whole, own
