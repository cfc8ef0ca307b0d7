"""Steps across another axis than time: a row is a grid of places, channels side by side in each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from atrous.geometry import Window, torch_pads
from atrous.operators.kernels.sides import Side
from atrous.operators.kernels.stream import panels_of
from atrous.runners.stream.native.written import NativeStep, Written, floats_of_row, lanes
from atrous.runners.stream.rules.base import Timed, Value, wide

__all__ = ["convolve_grid", "only_tap", "pool_grid", "side_of", "spread_grid", "sum_places"]

_MOST_GROUPS = 64


def side_of(written: Written, call: Timed, kernel: int) -> Side:
    """What lies beside time in the operand of a convolution or a pool of `kernel` taps across.

    Raises where time is no axis of the last two, or channels do not lie side by side.
    """
    x, out, rank = call.operand(), call.value, len(call.value.shape)
    strides = written.strides[x.index]
    if rank not in (3, 4) or x.dim < 2:
        raise call.refusal(f"its {call.name} has more axes than time and another")
    if x.shape[1] > 1 and strides[1] != 1:
        raise call.refusal(f"its {call.name} takes channels that are apart")
    many = 1 if written.batch > 1 else x.shape[0]
    if rank == 3:
        return Side(many, many, strides[0] if many > 1 else x.shape[1])
    if many > 1:
        raise call.refusal(f"its {call.name} is of several maps")
    other = 5 - x.dim
    stride = wide(call["stride"] or call["kernel_size"], 2)[other - 2]
    dilation = wide(call["dilation"] or 1, 2)[other - 2]
    padding = call["padding"]
    numbers = padding if isinstance(padding, str) else wide(padding, 2)[other - 2]
    ((pad, _),) = torch_pads(numbers, (kernel,), (dilation,))
    jump = strides[other] if x.shape[other] > 1 else x.shape[1]
    return Side(x.shape[other], out.shape[other], jump, kernel, stride, dilation, pad)


def only_tap(call: Timed, side: Side) -> int | None:
    """The tap across that meets the only place there is; None where there are more."""
    if side.places > 1 or side.made > 1:
        return None
    tap, rest = divmod(side.pad, side.dilation)
    if rest or not 0 <= tap < side.taps:
        raise call.refusal(f"its {call.name} reads nothing but padding")
    return tap


def convolve_grid(
    written: Written, call: Timed, x: Value, weight: Any, bias: Any, window: Window, side: Side
) -> None:
    """A convolution with weights (filters, channels of a group, taps along, taps across)."""
    groups, (filters, each, along, across) = int(call["groups"]), weight.shape
    packed = weight.transpose(2, 3, 1, 0).reshape(along, across, each, groups, filters // groups)
    written.root(call.value, written.grid(call.value))
    fields = {**side.fields(filters), "dilation": window.dilation, "stride": window.stride}
    step = NativeStep("grid", call.value.index, (x.index,), fields, window)
    _add_groups(written, call, step, packed.transpose(0, 1, 3, 2, 4), bias)


def spread_grid(
    written: Written, call: Timed, x: Value, weight: Any, bias: Any, window: Window, side: Side
) -> None:
    """A transposed convolution with weights (channels, filters of a group, along, across)."""
    if window.dilation > 1 or (side.dilation > 1 and side.stride > 1):
        raise call.refusal("its transposed convolution has a rate")
    groups, (channels, part, taps, _) = int(call["groups"]), weight.shape
    filters, stride = part * groups, window.stride
    written.root(call.value, written.grid(call.value))
    row = floats_of_row(filters * side.made)
    for phase in range(stride):
        along = weight[:, :, phase::stride][:, :, ::-1]
        for first in range(min(side.stride, side.made)):
            across, places = side.phase(first)
            if not len(across) or not along.shape[2]:
                raise call.refusal("its transposed convolution leaves out what no input reaches")
            packed = along[:, :, :, list(across)].transpose(2, 3, 0, 1)
            packed = packed.reshape(*packed.shape[:2], groups, channels // groups, part)
            fields = places.fields(filters * side.stride)
            step = NativeStep("grid", call.value.index, (x.index,), fields, window, stride)
            step.column, step.behind = phase * row + first * filters, (taps - 1 - phase) // stride
            _add_groups(written, call, step, packed, bias)


def _add_groups(written: Written, call: Timed, step: NativeStep, weight: Any, bias: Any) -> None:
    """A step like one for each group, of weights (along, across, groups, channels, filters)."""
    along, across, groups, channels, filters = weight.shape
    flat = weight.reshape(along * across, groups, channels, filters)
    if groups > 1 and channels == filters == 1:
        room = np.zeros((along * across, -(-groups // lanes()) * lanes()))
        room[:, :groups] = flat[:, :, 0, 0]
        step.op = "grid_depthwise"
        step.fields |= {"channels": groups, "taps": along, "weight": written.stored(room)}
        if bias is not None:
            step.fields["bias"] = written.padded(bias)
        written.add(step)
        return
    if groups > _MOST_GROUPS:
        raise call.refusal(f"it has {groups} groups")
    for group in range(groups):
        fields = {**step.fields, "channels": channels, "filters": filters, "taps": along}
        fields["left_column"] = group * channels
        fields["weight"] = written.stored(panels_of(flat[:, group]))
        if bias is not None:
            fields["bias"] = written.padded(bias[group * filters :][:filters])
        written.add(replace(step, fields=fields, column=step.column + group * filters))


def pool_grid(
    written: Written, call: Timed, x: Value, op: str, window: Window, side: Side, divisor: int
) -> None:
    """The largest or the mean over windows along time and across."""
    channels = call.value.shape[1]
    written.root(call.value, written.grid(call.value))
    fields = {**side.fields(channels), "channels": channels, "beta": 1 / divisor}
    fields |= {"taps": window.kernel, "dilation": window.dilation, "stride": window.stride}
    written.add(NativeStep(f"grid_{op}", call.value.index, (x.index,), fields, window))


def sum_places(written: Written, call: Timed, x: Value, dim: int, factor: float) -> None:
    """The sum of all places, times a factor, for each channel."""
    channels, strides, places = x.shape[1], written.strides[x.index], x.shape[dim]
    if len(x.shape) != 4 or dim < 2 or (channels > 1 and strides[1] != 1):
        raise call.refusal(f"its {call.name} is of a part of the channels")
    written.root(call.value)
    fields = Side(places, 1, strides[dim], places).fields(channels)
    fields |= {"channels": channels, "beta": factor}
    written.add(NativeStep("grid_mean", call.value.index, (x.index,), fields))
