"""Inverted bottlenecks by the kernels, on PyTorch tensors: float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from atrous.operators.kernels.bottleneck import (
    Bottleneck,
    bottlenecked,
    pack_bottleneck,
    packed_bottleneck_size,
)
from atrous.operators.kernels.threads import on_threads, share_threads
from atrous.operators.kernels.torch_layouts import in_channels_last

__all__ = ["prepare_bottleneck"]

share_threads()

_ALIGNED = 64

Part = tuple[torch.Tensor, "torch.Tensor | None"]
"""A layer's weight and bias."""


def prepare_bottleneck(
    layer: Bottleneck,
    parts: Sequence[Part | None],
    given: tuple[int, ...],
    made: tuple[int, ...],
    *,
    axis: int,
) -> Callable[..., torch.Tensor]:
    """`run(x)` or `run(x, other)`: what the layers make of `x`, plus `other`, channels last.

    `parts` are weight and bias of the layer into the hidden channels, of the depthwise one or
    None, and of the layer out of them; `given` and `made` are the shapes of `x` and the result,
    whose channels lie along `axis`, 1 or -1. Neither input is written to; what has another layout
    is copied.
    """
    weights = [None if part is None else _resolved(part[0]) for part in parts]
    biases = [None if part is None or part[1] is None else _resolved(part[1]) for part in parts]
    size = packed_bottleneck_size(layer)
    held = torch.empty(size + _ALIGNED // 4, dtype=torch.float32)
    packed = held.data_ptr() + -held.data_ptr() % _ALIGNED
    pack_bottleneck(
        layer, [_address_of(w) for w in weights], [_address_of(b) for b in biases], packed
    )
    now = on_threads(layer)
    shape = (made[0], *made[2:], made[1]) if axis == 1 else made

    def run(x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        for one, wanted in ((x, given), (other, made)):
            if one is not None and (one.shape != wanted or one.dtype != torch.float32):
                raise ValueError(f"bottleneck: prepared for {wanted} in float32, not this input.")
        x = _laid(x, axis)
        other = None if other is None else _laid(other, axis)
        out = torch.empty(shape, dtype=torch.float32)
        bottlenecked(now(), x.data_ptr(), packed, _address_of(other), out.data_ptr())
        return out.movedim(-1, 1) if axis == 1 else out

    # The tensor behind the address lives as long as the function.
    run.tensors = held  # type: ignore[attr-defined]
    return run


def _resolved(x: torch.Tensor) -> torch.Tensor:
    return x.detach().resolve_neg().contiguous()


def _laid(x: torch.Tensor, axis: int) -> torch.Tensor:
    return in_channels_last(x.resolve_neg()) if axis == 1 else x.resolve_neg().contiguous()


def _address_of(x: torch.Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()
