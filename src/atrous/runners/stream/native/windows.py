"""Steps of calls with windows along time: convolutions, transposed ones, pools, linear layers."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

from atrous.geometry import Window
from atrous.operators.kernels.stream import panels_of
from atrous.runners.stream.native.folded import with_norm_behind
from atrous.runners.stream.native.grids import (
    convolve_grid,
    only_tap,
    pool_grid,
    side_of,
    spread_grid,
)
from atrous.runners.stream.native.written import NativeStep, Written, floats_of_row, lanes, writes
from atrous.runners.stream.rules.base import Timed, Value, wide
from atrous.runners.stream.rules.resizing import Resized
from atrous.runners.stream.rules.sliding import Sliding
from atrous.runners.stream.rules.spreading import Spreading

__all__: list[str] = []

_MOST_GROUPS = 64


def _time_first(call: Timed, weight: Any) -> Any:
    """The weights of a convolution, their last two axes time's and the one beside it."""
    if weight.ndim == 3:
        return weight[..., None]
    if weight.ndim > 4:
        raise call.refusal(f"its {call.name} has more axes than time and another")
    return weight if call.operand().dim == 2 else weight.swapaxes(2, 3)


@writes("conv1d conv2d convolution")
def _convolved(written: Written, call: Timed) -> None:
    rule = written.rule(call.value)
    if isinstance(rule, Spreading):
        _transposed(written, call)
        return
    if not isinstance(rule, Sliding):
        raise call.refusal(f"its {call.name} has time in its batch")
    x, window, groups = call.operand("input"), rule.window, int(call["groups"])
    weight = _time_first(call, written.constant(call, "weight"))
    bias = written.constant(call, "bias")
    weight, bias = with_norm_behind(written, call, weight, bias, 0)
    side = side_of(written, call, weight.shape[3])
    tap = only_tap(call, side)
    if tap is None:
        convolve_grid(written, call, x, weight, bias, window, side)
        return
    weight = weight[..., tap]
    filters, each, taps = weight.shape
    fields = {"taps": taps, "dilation": window.dilation, "stride": window.stride}
    written.root(call.value)
    if each == 1 and filters == groups > 1:
        width = written.width(call.value.index, x.index)
        room = -(-width // 16) * 16
        packed = np.zeros((taps, room))
        packed[:, :filters] = weight[:, 0].T
        fields |= {"channels": width, "weight": written.stored(_rows_for(packed, width))}
        if bias is not None:
            fields["bias"] = written.padded(bias, width)
        written.add(NativeStep("depthwise", call.value.index, (x.index,), fields, window))
        return
    if groups > _MOST_GROUPS:
        raise call.refusal(f"it has {groups} groups")
    part = filters // groups
    for group in range(groups):
        mine = slice(group * part, group * part + part)
        found = _product(written, weight[mine].transpose(2, 1, 0), whole=groups == 1)
        if bias is not None:
            found["bias"] = written.padded(bias[mine], found["filters"])
        found |= fields | {"channels": each, "left_column": group * each}
        made = NativeStep(
            "product", call.value.index, (x.index,), found, window, column=group * part
        )
        written.add(made)


def _rows_for(packed: Any, width: int) -> Any:
    """Rows of weights of one tap each, of whole vectors."""
    across = -(-width // lanes()) * lanes()
    return packed[:, :across]


def _product(written: Written, weight: Any, *, whole: bool) -> dict[str, Any]:
    """Fields of a product with weights (taps, channels, filters)."""
    filters = weight.shape[2]
    if whole:
        # Columns that nothing reads are made too: rows are then whole vectors.
        more = floats_of_row(filters) - filters
        weight = np.pad(weight, ((0, 0), (0, 0), (0, more)))
    packed = written.stored(panels_of(weight))
    return {"filters": weight.shape[2], "channels": weight.shape[1], "weight": packed}


@writes("linear")
def _linear(written: Written, call: Timed) -> None:
    x, last = call.operand("input"), len(call.value.shape) - 1
    weight, bias = written.constant(call, "weight"), written.constant(call, "bias")
    filters, channels = weight.shape
    strides = written.strides[x.index]
    beside = [(x.shape[d], strides[d]) for d in written.fixed(x) if d != last and x.shape[d] > 1]
    places, jump = 1, 0
    for size, stride in reversed(beside):
        if places > 1 and stride != jump * places:
            raise call.refusal("its linear layer takes channels in another order")
        places, jump = places * size, jump or stride
    if channels > 1 and strides[last] != 1:
        raise call.refusal("its linear layer takes channels that are apart")
    written.root(call.value)
    if places == 1:
        fields = _product(written, weight.T[None], whole=True)
        if bias is not None:
            fields["bias"] = written.padded(bias, fields["filters"])
        written.add(NativeStep("product", call.value.index, (x.index,), fields))
        return
    fields = _product(written, weight.T[None], whole=False)
    fields |= {"left_places": places, "out_places": places, "left_jump": jump, "out_jump": filters}
    if bias is not None:
        fields["bias"] = written.padded(bias)
    written.add(NativeStep("grid", call.value.index, (x.index,), fields))


@writes("conv_transpose1d conv_transpose2d")
def _transposed(written: Written, call: Timed) -> None:
    x, window, groups = call.operand(), written.rule(call.value).window, int(call["groups"])
    weight = _time_first(call, written.constant(call, "weight"))
    bias = written.constant(call, "bias")
    weight, bias = with_norm_behind(written, call, weight, bias, 1)
    side = side_of(written, call, weight.shape[3])
    tap = only_tap(call, side)
    if window.stride == 1:
        # Outputs are read at their own places: what is cut off in front lies in front of them.
        window = Window(1, 1, window.dilation, pad_lo=-window.pad_lo)
    if tap is None:
        spread_grid(written, call, x, weight, bias, window, side)
        return
    weight = weight[..., tap]
    if groups > 1 and weight.shape[:2] == (groups, 1) and window.dilation == 1:
        phases = [weight[:, 0, phase :: window.stride].T for phase in range(window.stride)]
        _phases(written, call, x, [one[::-1] for one in phases], bias, window,
                [len(one) - 1 for one in phases])  # fmt: skip
        return
    if groups != 1 or window.dilation != 1:
        raise call.refusal("its transposed convolution has groups or a rate")
    channels, filters, kernel = weight.shape
    step, stride = floats_of_row(filters), window.stride
    taps = -(-kernel // stride)
    written.root(call.value)
    # Tap t of row m, which makes outputs m stride to (m + 1) stride, reads input m - t.
    packed = np.zeros((taps, channels, stride, step))
    for at in range(kernel):
        packed[taps - 1 - at // stride, :, at % stride, :filters] = weight[:, :, at]
    packed = packed.reshape(taps, channels, stride * step)
    beside = kernel % stride
    first = NativeStep(
        "product", call.value.index, (x.index,), {}, window, spread=stride, behind=taps - 1
    )
    fields = {"taps": taps, "channels": channels, "filters": stride * step}
    if bias is not None:
        each = np.zeros((stride, step))
        each[:, :filters] = bias
        fields["bias"] = written.padded(each)
    if not beside:
        first.fields = fields | {"weight": written.stored(panels_of(packed))}
        written.add(first)
        return
    # The last taps reach some phases alone, and must not be multiplied by zeros for the others.
    if taps == 1:
        raise call.refusal("its transposed convolution leaves outputs that no input reaches")
    first.behind = taps - 2
    first.fields = fields | {"taps": taps - 1, "weight": written.stored(panels_of(packed[1:]))}
    written.add(first)
    last = packed[:1, :, : beside * step]
    fields = {"taps": 1, "channels": channels, "filters": beside * step, "add": 1}
    fields["weight"] = written.stored(panels_of(last))
    written.add(
        NativeStep("product", call.value.index, (x.index,), fields, window, spread=stride,
             behind=taps - 1)
    )  # fmt: skip


def _phases(
    written: Written,
    call: Timed,
    x: Value,
    weights: list[Any],
    bias: Any,
    window: Window,
    behind: list[int],
) -> None:
    """Each position makes several, each phase of them by taps (taps, channels) of its own.

    The taps of a phase begin so many rows `behind` the position.
    """
    written.root(call.value, written.order_like(call.value, x))
    channels = written.channels(x)
    row, stride = floats_of_row(channels), len(weights)
    shared = {} if bias is None else {"bias": written.padded(bias)}
    for phase, taps in enumerate(weights):
        if not len(taps):
            raise call.refusal("it leaves outputs that no input reaches")
        room = np.zeros((len(taps), -(-channels // 16) * 16))
        room[:, :channels] = taps
        fields = shared | {"channels": channels, "taps": len(taps)}
        fields["weight"] = written.stored(_rows_for(room, channels))
        written.add(
            NativeStep("depthwise", call.value.index, (x.index,), fields, window, spread=stride,
                       column=phase * row, behind=behind[phase])
        )  # fmt: skip


@writes("upsample_linear1d")
def _between(written: Written, call: Timed) -> None:
    x, rule = call.operand(), written.rule(call.value)
    if not isinstance(rule, Resized) or rule.factor.denominator != 1 or rule.factor == 1:
        raise call.refusal("its resize is by no whole factor along time")
    if not written.is_dense(x):
        raise call.refusal("its resize takes channels that are apart")
    times, channels = int(rule.factor), written.channels(x)
    # Position m makes outputs m times - front on, each between two positions, m the later one.
    front = (times + 1) // 2
    weights, behind = [], []
    for phase in range(times):
        place = Fraction(2 * (phase - front) + 1, 2 * times) - Fraction(1, 2)
        share = float(place - floor(place))
        weights.append(np.outer([1 - share, share], np.ones(channels)))
        behind.append(-floor(place))
    _phases(written, call, x, weights, None, Window(1, times, pad_lo=front), behind)


@writes("max_pool1d avg_pool1d max_pool2d avg_pool2d")
def _pooled(written: Written, call: Timed) -> None:
    x, rule, is_flat = call.operand(), written.rule(call.value), call.name.endswith("1d")
    if not isinstance(rule, Sliding) or len(x.shape) != (3 if is_flat else 4):
        raise call.refusal(f"its {call.name} has time in its batch")
    window, op = rule.window, "largest" if call.name.startswith("max") else "mean"
    kernel = 1 if is_flat else wide(call["kernel_size"], 2)[3 - x.dim]
    divisor = wide(call["divisor_override"] or window.kernel * kernel, 1)[0]
    fields = {
        "channels": written.channels(x),
        "taps": window.kernel,
        "dilation": window.dilation,
        "stride": window.stride,
        "beta": 1 / divisor,
    }
    if is_flat or (kernel == 1 and x.shape[5 - x.dim] == call.value.shape[5 - x.dim]):
        # Each column for itself, in whatever order.
        written.like(call, x)
        written.root(call.value, written.order_like(call.value, x))
        written.add(NativeStep(op, call.value.index, (x.index,), fields, window))
        return
    side = side_of(written, call, kernel)
    last = (side.made - 1) * side.stride + side.dilation * (side.taps - 1) - side.pad
    over = side.pad or last >= side.places
    counted = call["count_include_pad"] and last < side.places + side.pad
    if op == "mean" and over and not counted and call["divisor_override"] is None:
        raise call.refusal("its mean is of fewer numbers at the sides")
    pool_grid(written, call, x, op, window, side, divisor)


@writes("repeat_interleave upsample_nearest1d")
def _repeated(written: Written, call: Timed) -> None:
    x, out = call.operand(), call.value
    factor = out.rate / x.rate
    if factor.denominator != 1 or x.dim != out.dim:
        raise call.refusal(f"its {call.name} is by no whole factor along time")
    written.like(call, x)
    written.root(out, written.order_like(out, x))
    fields = {"channels": written.channels(x)}
    written.add(NativeStep("copy", out.index, (x.index,), fields, spread=int(factor)))


@writes("upsample_nearest2d")
def _widened(written: Written, call: Timed) -> None:
    x, out, rule = call.operand(), call.value, written.rule(call.value)
    other = 5 - x.dim
    times, rest = divmod(out.shape[other], x.shape[other])
    if not isinstance(rule, Resized) or rule.factor != 1 or rest:
        raise call.refusal(f"its {call.name} is along time, or by no whole factor beside it")
    written.root(out, written.grid(out) if written.wants_grid(out) else None)
    mine, lies = written.strides[out.index], written.strides[x.index]
    dims = [(x.shape[d], mine[d], lies[d]) for d in written.fixed(x) if d != other]
    dims += [(x.shape[other], times * mine[other], lies[other]), (times, mine[other], 0)]
    written.arranged(call, x, dims)
