"""Steps of calls with windows along time: convolutions, transposed ones, pools, linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from atrous.geometry import Window
from atrous.operators.kernels.stream import panels_of
from atrous.runners.stream.native.written import NativeStep, Written, floats_of_row, writes
from atrous.runners.stream.rules.base import Timed, wide
from atrous.runners.stream.rules.sliding import Sliding
from atrous.runners.stream.rules.spreading import Spreading

__all__: list[str] = []

_MOST_GROUPS = 64


def _planes_of_time(call: Timed) -> Any:
    """The operand, of shape (batch, channels, time). Raises where it is another."""
    x = call.operand()
    if len(x.shape) != 3 or x.dim != 2:
        raise call.refusal(f"its {call.name} has more axes than time")
    return x


@writes("conv1d convolution")
def _convolved(written: Written, call: Timed) -> None:
    rule = written.rule(call.value)
    if isinstance(rule, Spreading):
        _transposed(written, call)
        return
    x = _planes_of_time(call)
    if not isinstance(rule, Sliding):
        raise call.refusal(f"its {call.name} has time in its batch")
    weight, bias = written.constant(call, "weight"), written.constant(call, "bias")
    window, groups = rule.window, int(call["groups"])
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
    from atrous.runners.stream.native.written import lanes

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
    x = call.operand("input")
    weight, bias = written.constant(call, "weight"), written.constant(call, "bias")
    if written.channels(x) != weight.shape[1]:
        raise call.refusal("its linear layer is one of several at each position")
    written.root(call.value)
    fields = _product(written, weight.T[None], whole=True)
    if bias is not None:
        fields["bias"] = written.padded(bias, fields["filters"])
    written.add(NativeStep("product", call.value.index, (x.index,), fields))


@writes("conv_transpose1d")
def _transposed(written: Written, call: Timed) -> None:
    x, rule = _planes_of_time(call), written.rule(call.value)
    weight, bias = written.constant(call, "weight"), written.constant(call, "bias")
    window, groups = rule.window, int(call["groups"])
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
    for tap in range(kernel):
        packed[taps - 1 - tap // stride, :, tap % stride, :filters] = weight[:, :, tap]
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
    x: Any,
    weights: list[Any],
    bias: Any,
    window: Window,
    behind: list[int],
) -> None:
    """Each position makes several, each phase of them by taps (taps, channels) of its own.

    The taps of a phase begin so many rows `behind` the position.
    """
    written.root(call.value)
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


@writes("max_pool1d avg_pool1d")
def _pooled(written: Written, call: Timed) -> None:
    x, rule = _planes_of_time(call), written.rule(call.value)
    if not isinstance(rule, Sliding):
        raise call.refusal(f"its {call.name} has time in its batch")
    window = rule.window
    divisor = wide(call["divisor_override"] or window.kernel, 1)[0]
    fields = {
        "channels": written.channels(x),
        "taps": window.kernel,
        "dilation": window.dilation,
        "stride": window.stride,
        "beta": 1 / divisor,
    }
    written.root(call.value)
    op = "largest" if call.name.startswith("max") else "mean"
    written.add(NativeStep(op, call.value.index, (x.index,), fields, window))


@writes("repeat_interleave upsample_nearest1d")
def _repeated(written: Written, call: Timed) -> None:
    x, out = call.operand(), call.value
    factor = out.rate / x.rate
    if factor.denominator != 1 or x.dim != out.dim:
        raise call.refusal(f"its {call.name} is by no whole factor along time")
    written.root(out)
    fields = {"channels": written.channels(x)}
    written.add(NativeStep("copy", out.index, (x.index,), fields, spread=int(factor)))
