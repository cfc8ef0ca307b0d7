"""One dense layer of one tap on planes as the kernels see it, and the call on raw memory."""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from atrous.operators.kernels.layer import activation_code, checked
from atrous.operators.kernels.library import PointwiseStruct, library

__all__ = ["Pointwise", "multiplied_planes"]


@dataclass(frozen=True, slots=True)
class Pointwise:
    """A float32 convolution of one tap: (batch, channels, positions) to as many filters."""

    batch: int
    channels: int
    filters: int
    positions: int
    activation: str = "none"
    threads: int = 1


@lru_cache(maxsize=4096)
def _multiplying(layer: Pointwise) -> Any:
    activation, slope = activation_code(layer.activation)
    return byref(
        PointwiseStruct(
            layer.batch,
            layer.channels,
            layer.filters,
            layer.positions,
            activation,
            layer.threads,
            slope,
        )
    )


def multiplied_planes(
    layer: Pointwise, x: int, weight: int, bias: int | None, other: int | None, out: int
) -> None:
    """Writes `activation(bias + weight * x + other)` to the memory at `out`; all are addresses."""
    code = library().atrous_pointwise_forward(_multiplying(layer), x, weight, bias, other, out)
    checked(code, "pointwise")
