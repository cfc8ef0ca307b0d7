"""One pool as the kernels see it, and the call on raw memory."""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from atrous.operators.kernels.layer import checked, three
from atrous.operators.kernels.library import PoolStruct, library

__all__ = ["PoolLayer", "run_pool"]


@dataclass(frozen=True, slots=True)
class PoolLayer:
    """The largest or the average of each window's inputs; sizes are those of 1 to 3 axes.

    Output `o` reads inputs `o * stride - pad + dilation * j`, those that lie inside; averages know
    no dilation. They are divided by `divisor`, or where that is 0 by the number of inputs, with
    those in the padding, as wide on either side, if `counts_padding`.
    """

    batch: int
    channels: int
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad: tuple[int, ...]
    average: bool = False
    divisor: int = 0
    counts_padding: bool = True
    wide: bool = False
    channels_last: bool = False
    threads: int = 1


@lru_cache(maxsize=4096)
def _pooling(pool: PoolLayer) -> Any:
    return byref(
        PoolStruct(
            batch=pool.batch,
            channels=pool.channels,
            input=three(pool.input, 1),
            output=three(pool.output, 1),
            kernel=three(pool.kernel, 1),
            stride=three(pool.stride, 1),
            dilation=three(pool.dilation, 1),
            pad=three(pool.pad, 0),
            divisor=pool.divisor,
            dtype=int(pool.wide),
            layout=int(pool.channels_last),
            threads=pool.threads,
            average=int(pool.average),
            include_pad=int(pool.counts_padding),
        )
    )


def run_pool(pool: PoolLayer, x: int, out: int) -> None:
    """Writes what the pool makes of the map at `x` to the memory at `out`; both are addresses."""
    checked(library().atrous_pool(_pooling(pool), x, out), "pool")
