"""One dense layer by minimal filtering as the kernels see it, and the calls on raw memory."""

from __future__ import annotations

from ctypes import Array, byref, c_int64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from atrous.operators.convolution import Convolution
from atrous.operators.kernels.layer import activation_code, checked, thread_count
from atrous.operators.kernels.library import WinogradStruct, library
from atrous.operators.tiles import Rest, Tiling

__all__ = ["Spread", "Winograd", "by_weight", "dense_layer", "filtered", "pack", "packed_size"]


@dataclass(frozen=True, slots=True)
class Winograd:
    """A dense float32 convolution along two axes, channels last on both sides.

    Output `o` reads inputs `stride * o - pad + dilation * j`. Along each axis the taps of each
    phase of the stride are cut into parts of `taps`, and `tile` outputs of one phase of the
    dilation are made at a time, from `tile + taps - 1` products of each part: 1, or 4 to 8. With
    `turned` the weights are those of the layer whose data gradient this is, (channels, filters,
    taps). Filters may be phases of as many each, `spread` along each axis: output `o` of phase `p`
    is place `o * spread + p - cut` of a map of `whole`. Along each axis phases end with `rests`,
    and tiles may be `closed` (`atrous.operators.tiles`).
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
    taps: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    spread: tuple[int, int] = (1, 1)
    cut: tuple[int, int] = (0, 0)
    whole: tuple[int, int] | None = None
    activation: str = "none"
    threads: int = 1
    turned: bool = False
    rests: tuple[Rest, Rest] = (Rest(), Rest())
    closed: tuple[bool, bool] = (False, False)


@dataclass(frozen=True, slots=True)
class Spread:
    """Filters in phases of as many each, `step` along each axis, whose outputs lie side by side.

    Output `o` of phase `p` is place `o * step + p - cut` of a map of `sizes`.
    """

    step: tuple[int, ...]
    cut: tuple[int, ...]
    sizes: tuple[int, ...]


def dense_layer(
    call: Convolution, tiling: Tiling, activation: str = "none", spread: Spread | None = None
) -> Winograd:
    """The layer of a convolution along one or two axes with one group, `ValueError` for others."""
    if call.rank > 2 or call.groups != 1 or call.transposed:
        raise ValueError("winograd: for one or two axes and one group only.")
    one = (1,) * (2 - call.rank)

    def two(values: tuple[int, ...], fill: tuple[int, ...] = one) -> tuple[int, int]:
        first, second = fill + values
        return first, second

    return Winograd(
        batch=call.batch,
        channels=call.in_channels,
        filters=call.out_channels,
        input=two(call.sizes),
        output=two(call.outputs),
        kernel=two(call.kernel),
        dilation=two(call.dilation),
        pad=two(tuple(lo for lo, _ in call.padding), (0,) * len(one)),
        tile=two(tiling.outputs),
        taps=two(tiling.taps),
        stride=two(call.stride),
        spread=two(spread.step) if spread else (1, 1),
        cut=two(spread.cut, (0,) * len(one)) if spread else (0, 0),
        whole=two(spread.sizes) if spread else None,
        activation=activation,
        threads=thread_count(),
        rests=_last_two(tiling.rests, Rest()),
        closed=_last_two(tiling.closed, False),
    )


def _last_two(values: tuple[Any, ...], fill: Any) -> tuple[Any, Any]:
    first, second = (fill, fill, *values)[-2:]
    return first, second


@lru_cache(maxsize=4096)
def _filtering(layer: Winograd) -> Any:
    def two(values: tuple[int, ...]) -> Array[c_int64]:
        return (c_int64 * 2)(*values)

    activation, slope = activation_code(layer.activation)
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
            taps=two(layer.taps),
            stride=two(layer.stride),
            spread=two(layer.spread),
            cut=two(layer.cut),
            whole=two(layer.whole or layer.output),
            activation=activation,
            slope=slope,
            threads=layer.threads,
            turned=int(layer.turned),
            mixed=int(any(layer.closed) or any(rest.outputs for rest in layer.rests)),
            rest=two(tuple(rest.outputs for rest in layer.rests)),
            rests=(c_int64 * 2 * 2)(*(two((rest.longest, rest.shorter)) for rest in layer.rests)),
            closed=two(
                tuple(
                    main + 2 * rest.closed
                    for main, rest in zip(layer.closed, layer.rests, strict=True)
                )
            ),
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
