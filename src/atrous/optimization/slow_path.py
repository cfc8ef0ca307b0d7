"""Why PyTorch runs a convolution slowly, where its own words or the layer's parameters tell.

PyTorch says which backend it takes. Of oneDNN, the usual one, these refusals are known (PyTorch
2.13, x86-64, float32, channels first), and its own log was seen to agree: its depthwise kernel
takes no padding in front of the last axis wider than its block of registers, 6 positions with
AVX-512 and fewer without, and that of volumes takes no rate. Nothing is said of what is not known.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from math import prod

import torch

from atrous.frameworks.torch import convolution_backend

__all__ = ["FEW", "slow_path"]

_PLAIN = {
    "Slow2d": "thnn_conv2d",
    "Slow3d": "slow_conv3d",
    "SlowDilated2d": "slow_conv_dilated2d",
    "SlowDilated3d": "slow_conv_dilated3d",
}
_WIDEST = 6
"""Positions of padding that oneDNN's depthwise kernel takes at most, whatever the vectors are."""
FEW = 20_480
"""Numbers of an input up to which PyTorch gives no single dense image with small kernels to oneDNN.

Of a volume the last axis does not count.
"""


def slow_path(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> str:
    """The path of PyTorch that runs this convolution and why, where it is a slow one.

    Empty where it is not, and where that is not known.
    """
    rank = weight.dim() - 2
    if x.dim() != weight.dim() or x.device.type != "cpu":
        return ""
    given = (stride, padding, dilation)
    spread = [[*numbers] * (rank if len(numbers) == 1 else 1) for numbers in given]
    backend = convolution_backend(x, weight, bias, spread[0], spread[1], spread[2], groups)
    # Undilated in float32, PyTorch takes its own path where that is the faster one.
    if backend in _PLAIN and ("Dilated" in backend or x.dtype != torch.float32):
        return f"`{_PLAIN[backend]}`, PyTorch's own path: {_no_onednn(x)}"
    if backend == "Mkldnn" and _is_usual(x, weight, groups):
        return _generic(rank, spread[1], spread[2])
    return ""


def _no_onednn(x: torch.Tensor) -> str:
    if x.dtype == torch.float64:
        return "oneDNN has no convolution in float64"
    enabled = torch.backends.mkldnn.enabled
    if x.dtype in (torch.bfloat16, torch.float16) and enabled:
        return f"oneDNN is not given {str(x.dtype).removeprefix('torch.')} on this processor"
    is_small = x.shape[0] == 1 and prod(x.shape[:4]) <= FEW
    if is_small and x.dtype == torch.float32 and enabled:
        return "so small an input is not given to oneDNN"
    return "it is not given to oneDNN"


def _is_usual(x: torch.Tensor, weight: torch.Tensor, groups: int) -> bool:
    """Whether this is a depthwise layer of the kind for which oneDNN's refusals are known."""
    is_depthwise = weight.shape[1] == 1 and weight.shape[0] == x.shape[1] == groups > 1
    # Weights in channels last, of which one channel does not show, take the input along.
    is_first = x.is_contiguous() and weight.stride(1) == prod(weight.shape[2:])
    usual = x.dtype == weight.dtype == torch.float32 and is_first
    return is_depthwise and usual and platform.machine() in ("x86_64", "AMD64")


def _generic(rank: int, padding: Sequence[int], dilation: Sequence[int]) -> str:
    if rank == 3 and max(dilation) > 1:
        return "oneDNN's generic path: its depthwise kernel for volumes takes no rate"
    if rank < 3 and padding[-1] > _WIDEST:
        return (
            f"oneDNN's generic path: its depthwise kernel takes no padding wider than {_WIDEST} "
            f"along the last axis, here {padding[-1]}"
        )
    return ""
