"""One dense layer by minimal filtering as the kernels see it, and the calls on raw memory."""

from __future__ import annotations

from ctypes import Array, byref, c_int64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from atrous.operators.kernels.layer import ACTIVATIONS, checked
from atrous.operators.kernels.library import WinogradStruct, library

__all__ = ["Winograd", "by_weight", "filtered", "pack", "packed_size"]


@dataclass(frozen=True, slots=True)
class Winograd:
    """A dense float32 convolution of stride 1 along two axes, channels last on both sides.

    Output `o` reads inputs `o - pad + dilation * j`; along each axis `tile` outputs of one phase of
    the dilation are made at a time, from `tile + kernel - 1` products: 1, or 4 to 8. With `turned`
    the weights are those of the layer whose data gradient this is, (channels, filters, taps).
    """

    batch: int
    channels: int
    filters: int
    input: tuple[int, int]
    output: tuple[int, int]
    kernel: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    tile: tuple[int, int]
    activation: str = "none"
    threads: int = 1
    turned: bool = False


@lru_cache(maxsize=4096)
def _filtering(layer: Winograd) -> Any:
    def two(values: tuple[int, ...]) -> Array[c_int64]:
        return (c_int64 * 2)(*values)

    return byref(
        WinogradStruct(
            batch=layer.batch,
            channels=layer.channels,
            filters=layer.filters,
            input=two(layer.input),
            output=two(layer.output),
            kernel=two(layer.kernel),
            dilation=two(layer.dilation),
            pad=two(layer.pad),
            tile=two(layer.tile),
            activation=ACTIVATIONS[layer.activation],
            threads=layer.threads,
            turned=int(layer.turned),
        )
    )


def packed_size(layer: Winograd) -> int:
    """How many floats its packed weights are; they differ between instruction sets."""
    size = int(library().atrous_winograd_weights(_filtering(layer)))
    if size < 1:
        raise ValueError("the winograd kernel refused: an argument is out of range.")
    return size


def pack(layer: Winograd, weight: int, packed: int) -> None:
    """Writes the weights as the kernel reads them to the memory at `packed`, aligned to 64."""
    checked(library().atrous_winograd_pack(_filtering(layer), weight, packed), "winograd")


def filtered(
    layer: Winograd, x: int, packed: int, bias: int | None, other: int | None, out: int
) -> None:
    """Writes `activation(bias + x * weight + other)` to the memory at `out`; all are addresses."""
    code = library().atrous_winograd_forward(_filtering(layer), x, packed, bias, other, out)
    checked(code, "winograd")


def by_weight(layer: Winograd, x: int, grad: int, out: int) -> None:
    """Writes the gradient by the weights, (filters, channels, taps), to the memory at `out`."""
    checked(library().atrous_winograd_weight_gradient(_filtering(layer), x, grad, out), "winograd")
