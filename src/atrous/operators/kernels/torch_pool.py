"""Pools on PyTorch tensors, float32 and float64 on the CPU, without autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch

from atrous.operators.kernels.pool import PoolLayer, run_pool
from atrous.operators.kernels.threads import on_threads, share_threads

__all__ = ["prepare_pool"]

share_threads()

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def prepare_pool(pool: PoolLayer) -> Callable[[torch.Tensor], torch.Tensor]:
    """`run(x)`: the pool of (N, C, *sizes), in the layout that `pool` names.

    It runs on PyTorch's threads of the moment. Raises `ValueError` for an input of other sizes.

    >>> import torch
    >>> from atrous.operators.kernels import native
    >>> run = prepare_pool(PoolLayer(1, 1, (6,), (2,), (2,), (1,), (4,), (0,)))
    >>> x = torch.tensor([[[3.0, 1.0, 4.0, 1.0, 5.0, 9.0]]])
    >>> run(x).flatten().tolist() if native().available else [5.0, 9.0]
    [5.0, 9.0]
    """
    given = (pool.batch, pool.channels, *pool.input)
    shape = (pool.batch, pool.channels, *pool.output)
    dtype = torch.float64 if pool.wide else torch.float32
    form = _LAST[len(shape)] if pool.channels_last else torch.contiguous_format
    layer = on_threads(pool)

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.shape != given or x.dtype != dtype:
            raise ValueError(f"pool: prepared for {given} in {dtype}, not for this input.")
        x = x.resolve_neg().contiguous(memory_format=form)
        out = torch.empty(shape, dtype=dtype, memory_format=form)
        run_pool(layer(), x.data_ptr(), out.data_ptr())
        return out

    return run
