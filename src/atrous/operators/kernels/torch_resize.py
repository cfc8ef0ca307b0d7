"""Bilinear resizes of PyTorch tensors, float32 on the CPU, without autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from atrous.operators.kernels.resize import ResizeLayer, run_resize
from atrous.operators.kernels.threads import on_threads, share_threads
from atrous.operators.kernels.torch_layouts import in_channels_last, in_planes, part_of

__all__ = ["prepare_resize"]

share_threads()


def prepare_resize(
    layer: ResizeLayer, given: tuple[int, ...], *, last: bool = False
) -> Callable[[torch.Tensor], torch.Tensor]:
    """`run(x)`: the resize of maps of the shape `given`, (N, C, height, width).

    The layer's planes are N C, or with channels `last` N, of positions of C channels; so do the
    maps lie that are made, and maps that come otherwise are copied. With channels last
    `run.into(whole, at, x)` writes to the channels of `whole` from `at` on. Both run on PyTorch's
    threads of the moment, and raise `ValueError` for an input of other sizes.

    >>> import torch
    >>> from atrous.operators.kernels import native
    >>> run = prepare_resize(ResizeLayer(1, (1, 2), (1, 4)), (1, 1, 1, 2))
    >>> x = torch.tensor([[[[0.0, 8.0]]]])
    >>> run(x).flatten().tolist() if native().available else [0.0, 2.0, 6.0, 8.0]
    [0.0, 2.0, 6.0, 8.0]
    """
    batch, channels = given[:2]
    made = (batch, *layer.output, channels) if last else (batch, channels, *layer.output)
    now = on_threads(layer)

    def resized(layer: ResizeLayer, out: int, x: torch.Tensor) -> None:
        if x.shape != given or x.dtype != torch.float32:
            raise ValueError(f"resize: prepared for {given} in float32, not for this input.")
        x = x.resolve_neg()
        x = in_channels_last(x) if last else in_planes(x)
        run_resize(layer, x.data_ptr(), out)

    def run(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty(made, dtype=torch.float32)
        resized(now(), out.data_ptr(), x)
        return out.movedim(-1, 1) if last else out

    def into(whole: torch.Tensor, at: int, x: torch.Tensor) -> torch.Tensor:
        out = part_of(whole, at, (batch, channels, *layer.output))
        resized(replace(now(), step=whole.shape[1]), out.data_ptr(), x)
        return out

    if last:
        run.into = into  # type: ignore[attr-defined]
    return run
