"""Bilinear resizes of PyTorch tensors in planes, float32 on the CPU, without autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch

from atrous.operators.kernels.resize import ResizeLayer, run_resize
from atrous.operators.kernels.threads import on_threads, share_threads

__all__ = ["prepare_resize"]

share_threads()


def prepare_resize(layer: ResizeLayer, batch: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """`run(x)`: the resize of (N, C, height, width), contiguous, N C being the layer's planes.

    It runs on PyTorch's threads of the moment. Raises `ValueError` for an input of other sizes.

    >>> import torch
    >>> from atrous.operators.kernels import native
    >>> run = prepare_resize(ResizeLayer(1, (1, 2), (1, 4)), 1)
    >>> x = torch.tensor([[[[0.0, 8.0]]]])
    >>> run(x).flatten().tolist() if native().available else [0.0, 2.0, 6.0, 8.0]
    [0.0, 2.0, 6.0, 8.0]
    """
    channels = layer.planes // batch
    given = (batch, channels, *layer.input)
    now = on_threads(layer)

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.shape != given or x.dtype != torch.float32:
            raise ValueError(f"resize: prepared for {given} in float32, not for this input.")
        x = x.resolve_neg().contiguous()
        out = torch.empty((batch, channels, *layer.output), dtype=torch.float32)
        run_resize(now(), x.data_ptr(), out.data_ptr())
        return out

    return run
