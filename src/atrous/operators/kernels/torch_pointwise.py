"""Dense layers of one tap on planes, by the kernels, on PyTorch tensors: float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch

from atrous.operators.convolution import Convolution
from atrous.operators.kernels.pointwise import Pointwise, multiplied_planes
from atrous.operators.kernels.threads import on_threads, share_threads

__all__ = ["prepare_pointwise"]

share_threads()


def prepare_pointwise(
    weight: torch.Tensor, bias: torch.Tensor | None, call: Convolution, activation: str = "none"
) -> Callable[..., torch.Tensor]:
    """`run(x)` or `run(x, other)`: `activation(bias + weight * x + other)`, contiguous.

    For kernels of one tap without stride or padding in one group, and the sizes of `call`. Neither
    input is written to; what has another layout is copied.
    """
    matrix = weight.detach().resolve_neg().reshape(weight.shape[:2]).contiguous()
    bias = None if bias is None else bias.detach().resolve_neg().contiguous()
    given, made = (call.batch, call.in_channels, *call.sizes), call.shape
    layer = Pointwise(call.batch, call.in_channels, call.out_channels, prod(call.sizes), activation)
    now = on_threads(layer)

    def run(x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        for one, shape in ((x, given), (other, made)):
            if one is not None and (one.shape != shape or one.dtype != torch.float32):
                raise ValueError(f"pointwise: prepared for {shape} in float32, not this input.")
        x = x.resolve_neg().contiguous()
        other = None if other is None else other.resolve_neg().contiguous()
        out = torch.empty(made, dtype=torch.float32)
        shift, sum_with = (None if one is None else one.data_ptr() for one in (bias, other))
        multiplied_planes(now(), x.data_ptr(), matrix.data_ptr(), shift, sum_with, out.data_ptr())
        return out

    return run
