"""One depthwise layer as the kernels see it, and the three calls on raw memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from ctypes import Array, byref, c_int64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from atrous.geometry import Window
from atrous.operators.kernels.library import LayerStruct, library

__all__ = [
    "ACTIVATIONS",
    "Depthwise",
    "activation_code",
    "checked",
    "data_gradient",
    "forward",
    "layer_of",
    "output_size",
    "thread_count",
    "three",
    "weight_gradient",
]

# The activations that the kernels apply to a result before it is stored, by their numbers; behind
# "leaky_relu" its slope may follow: "leaky_relu 0.2".
ACTIVATIONS = {
    "none": 0,
    "relu": 1,
    "relu6": 2,
    "silu": 3,
    "hardswish": 4,
    "gelu": 5,
    "tanh": 6,
    "sigmoid": 7,
    "leaky_relu": 8,
}
_SLOPE = 0.01
"""Of a leaky ReLU that says none, as in PyTorch."""

_SMALL: dict[str, Literal["float16", "bfloat16"]] = {"float16": "float16", "bfloat16": "bfloat16"}
_TYPES = {"float16": 2, "bfloat16": 3}
_CODES = {1: "an argument is out of range", 2: "there is no memory for its scratch space"}


@dataclass(frozen=True, slots=True)
class Depthwise:
    """A depthwise convolution of one channel multiplier; sizes are those of 1 to 3 axes.

    Always described forwards, also for its gradients: output `o` reads inputs
    `o * stride - pad + dilation * j`. `pad` is the low padding; the high one follows from `output`.
    `wide` is float64 rather than float32; `small` names the type of 16 bits that maps, weights and
    bias have, with float32 sums, for `forward` alone. `channels_last` is the layout of both maps,
    `packed` says that weights come as (taps, channels) rather than (channels, taps).
    """

    batch: int
    channels: int
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad: tuple[int, ...]
    wide: bool = False
    channels_last: bool = False
    activation: str = "none"
    threads: int = 1
    packed: bool = False
    small: Literal["", "float16", "bfloat16"] = ""


def layer_of(
    x: Any,
    outputs: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
    last: bool,
    activation: str = "none",
    threads: int | None = None,
    packed: bool = False,
) -> Depthwise:
    """The layer between maps like `x`, an array or a tensor, and maps of sizes `outputs`.

    It runs on as many threads as PyTorch does where that is there, else on all that there are.
    """
    return Depthwise(
        batch=x.shape[0],
        channels=x.shape[1],
        input=tuple(x.shape[2:]),
        output=tuple(outputs),
        kernel=tuple(kernel),
        stride=tuple(stride),
        dilation=tuple(dilation),
        pad=tuple(lo for lo, _ in padding),
        wide=str(x.dtype).endswith("float64"),
        channels_last=last,
        activation=activation,
        threads=threads or thread_count(),
        packed=packed,
        small=_SMALL.get(str(x.dtype).removeprefix("torch."), ""),
    )


def activation_code(activation: str) -> tuple[int, float]:
    """The number of an activation, and its slope: that of `leaky_relu` may stand behind its name.

    >>> activation_code("relu"), activation_code("leaky_relu 0.25")
    ((1, 0.0), (8, 0.25))
    """
    name, blank, slope = activation.partition(" ")
    try:
        number = float(slope) if blank else _SLOPE
    except ValueError:
        number = None
    if name not in ACTIVATIONS or number is None or (blank and name != "leaky_relu"):
        raise ValueError(
            f"no activation is named {activation[:40]!r}; there are {', '.join(ACTIVATIONS)}, and "
            'a slope behind the last one: "leaky_relu 0.2".'
        )
    return ACTIVATIONS[name], number if name == "leaky_relu" else 0.0


def thread_count() -> int:
    """PyTorch's where that is there, else the machine's."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def output_size(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> tuple[int, ...]:
    """The spatial sizes that a convolution gives.

    >>> output_size((8, 9), (3, 3), (2, 1), (1, 2), ((1, 1), (0, 2)))
    (4, 7)
    """
    windows = Window.of_axes(kernel, stride, dilation, padding)
    return tuple(w.output_length(n) for w, n in zip(windows, sizes, strict=True))


def three(values: tuple[int, ...], fill: int) -> Array[c_int64]:
    """One number for each of three axes, for missing leading ones `fill`."""
    return (c_int64 * 3)(*((fill,) * (3 - len(values)) + values))


@lru_cache(maxsize=4096)
def _struct(layer: Depthwise) -> Any:
    activation, slope = activation_code(layer.activation)
    return byref(
        LayerStruct(
            batch=layer.batch,
            channels=layer.channels,
            input=three(layer.input, 1),
            output=three(layer.output, 1),
            kernel=three(layer.kernel, 1),
            stride=three(layer.stride, 1),
            dilation=three(layer.dilation, 1),
            pad=three(layer.pad, 0),
            dtype=_TYPES.get(layer.small, int(layer.wide)),
            layout=int(layer.channels_last),
            activation=activation,
            threads=layer.threads,
            packed_weight=int(layer.packed),
            slope=slope,
        )
    )


def forward(layer: Depthwise, x: int, weight: int, bias: int | None, out: int) -> None:
    """Writes `activation(bias + x * weight)` to the memory at `out`; all are addresses."""
    checked(library().atrous_depthwise_forward(_struct(layer), x, weight, bias, out), "depthwise")


def data_gradient(layer: Depthwise, grad: int, weight: int, bias: int | None, out: int) -> None:
    """Writes the gradient by the input; with a bias, that is the transposed convolution."""
    code = library().atrous_depthwise_data_gradient(_struct(layer), grad, weight, bias, out)
    checked(code, "depthwise")


def weight_gradient(layer: Depthwise, x: int, grad: int, out: int) -> None:
    """Writes the gradient by the weights, as (channels, taps)."""
    code = library().atrous_depthwise_weight_gradient(_struct(layer), x, grad, out)
    checked(code, "depthwise")


def checked(code: int, kernel: str) -> None:
    """Raises what a kernel's answer means, unless it is 0."""
    if code == 2:
        raise MemoryError(f"the {kernel} kernel refused: {_CODES[code]}.")
    if code != 0:
        raise ValueError(f"the {kernel} kernel refused: {_CODES.get(code, code)}.")
