"""Steps of calls at one position: views, functions of one number, of two, norms of channels."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch

from atrous.geometry import Window
from atrous.runners.stream.native.written import NativeStep, Written, outermost, writes
from atrous.runners.stream.rules.base import Timed, Value
from atrous.runners.stream.rules.calling import called
from atrous.runners.stream.rules.ends import Cropped, Padded, Repeated
from atrous.runners.stream.rules.shapes import Reshaped

__all__: list[str] = []


@writes(
    "alias clone contiguous detach dropout alpha_dropout feature_dropout lift_fresh positive to"
)
@writes("feature_alpha_dropout _to_copy")
def _handed_on(written: Written, call: Timed) -> None:
    written.alias(call.value, call.operand().index)


@writes("view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as")
def _viewed(written: Written, call: Timed) -> None:
    x, out = call.operand("self"), call.value
    if written.channels(x) == written.channels(out):
        written.alias(out, x.index)
        return
    rule, behind = written.rule(out), prod(out.shape[out.dim + 1 :])
    if not isinstance(rule, Reshaped) or rule.split == 1 or behind > 1:
        raise call.refusal(f"its {call.name} writes time in other digits")
    written.root(out)
    fields, window = {"channels": written.channels(x), "taps": 1}, Window(1, rule.split)
    written.add(NativeStep("shuffle", out.index, (x.index,), fields, window, spread=rule.split))


@writes("permute transpose t movedim swapaxes swapdims numpy_T mT")
def _turned(written: Written, call: Timed) -> None:
    x = call.operand("self")
    # Dimensions of sizes that are all different show where each has gone.
    sizes = torch.empty([d + 2 for d in range(len(x.shape))], device="meta")
    order = [size - 2 for size in called(call)[1](sizes).shape]
    wide = [d for d in order if d != x.dim and x.shape[d] > 1]
    if wide != sorted(wide):
        raise call.refusal(f"its {call.name} puts channels in another order")
    written.alias(call.value, x.index)


@writes("chunk split split_with_sizes unsafe_chunk unsafe_split")
def _chunked(written: Written, call: Timed) -> None:
    x = call.operand("self")
    _axis(written, call, x)
    written.alias(call.value, x.index)
    sizes = [_columns_in(x, tuple(one.shape)) for one in call.node.meta["val"]]
    written.parts[call.value.index] = tuple(sum(sizes[:i]) for i in range(len(sizes)))


def _columns_in(x: Value, shape: tuple[int, ...]) -> int:
    """Numbers of one position in a part of a value."""
    return prod(n for d, n in enumerate(shape) if d != x.dim)


@writes("getitem")
def _item(written: Written, call: Timed) -> None:
    x = call.operand()
    starts = written.parts[x.index]
    column = starts[call.node.args[1]] // written.batch
    written.alias(call.value, x.index, column)


def _axis(written: Written, call: Timed, x: Value) -> int:
    """The dimension that a call works along, whose parts must lie behind one another."""
    dim = int(call["dim"] or 0) % len(x.shape)
    shape = [
        1 if d == x.dim or (d == 0 and written.batch > 1) else n for d, n in enumerate(x.shape)
    ]
    if dim == x.dim or (dim == 0 and written.batch > 1) or not outermost(shape, dim):
        raise call.refusal(f"its {call.name} takes channels that are apart")
    return dim


@writes("slice slice_copy narrow")
def _sliced(written: Written, call: Timed) -> None:
    x, rule = call.operand("self"), written.rule(call.value)
    if isinstance(rule, Cropped):
        window = rule.window
        if window.stride == 1:
            written.alias(call.value, x.index, shift=-window.pad_lo)
            return
        fields = {"channels": written.channels(x), "stride": window.stride, "beta": 1.0}
        written.root(call.value)
        written.add(NativeStep("mean", call.value.index, (x.index,), fields, window))
        return
    dim = _axis(written, call, x)
    if int(call["step"] or 1) != 1:
        raise call.refusal("it takes channels that are apart")
    start = int(call["start"] or 0)
    start = max(start + x.shape[dim], 0) if start < 0 else min(start, x.shape[dim])
    each = written.channels(x) // x.shape[dim]
    written.alias(call.value, x.index, start * each)


@writes("pad constant_pad_nd reflection_pad1d replication_pad1d")
def _padded(written: Written, call: Timed) -> None:
    rule = written.rule(call.value)
    # The ends are not made here; between them what is padded is what there is, moved on.
    if type(rule) not in (Padded, Repeated):
        raise call.refusal("it pads channels")
    written.alias(call.value, call.operand().index, shift=-rule.low)


@writes("cat concat concatenate")
def _joined(written: Written, call: Timed) -> None:
    rule = written.rule(call.value)
    if isinstance(rule, Padded):
        written.alias(call.value, rule.inputs[0], shift=-rule.low)
        return
    shape = [
        1 if d == call.value.dim or (d == 0 and written.batch > 1) else n
        for d, n in enumerate(call.value.shape)
    ]
    if not outermost(shape, int(call["dim"] or 0) % len(shape)):
        raise call.refusal("it joins channels that are apart")
    written.root(call.value)
    column = 0
    for index in rule.inputs:
        count = written.channels(written.values[index])
        made = NativeStep("copy", call.value.index, (index,), {"channels": count}, column=column)
        written.add(made)
        column += count


@writes("glu")
def _gated(written: Written, call: Timed) -> None:
    x, half = call.operand("self"), written.channels(call.value)
    dim = int(-1 if call["dim"] is None else call["dim"]) % len(x.shape)
    shape = [
        1 if d == x.dim or (d == 0 and written.batch > 1) else n for d, n in enumerate(x.shape)
    ]
    if not outermost(shape, dim):
        raise call.refusal("its glu takes channels that are apart")
    written.root(call.value)
    fields = {"combine": "times", "channels": half, "right_column": half}
    fields |= {"right_function": "sigmoid", "one": 0}
    written.add(NativeStep("binary", call.value.index, (x.index, x.index), fields))


# What goes on along time, and what is made of positions.


@writes("cumsum")
def _so_far(written: Written, call: Timed) -> None:
    x = call.operand("self")
    if not written.rule(call.value).stateful:
        raise call.refusal("its cumsum is not along time")
    written.root(call.value)
    fields = {"channels": written.channels(x)}
    written.add(NativeStep("so_far", call.value.index, (x.index,), fields, carries=True))


@writes("arange zeros ones full")
def _positions(written: Written, call: Timed) -> None:
    rule, out = written.rule(call.value), call.value
    first, step = 0.0, 0.0
    if rule.counted:
        first, step = float(call["start"] or 0), float(call["step"] or 1)
    else:
        first = float({"zeros": 0, "ones": 1}.get(call.name, call["fill_value"] or 0))
    _counted_rows(written, call, step, first, int(out.rate * written.recipe.period))


@writes("zeros_like ones_like full_like")
def _filled(written: Written, call: Timed) -> None:
    first = {"zeros_like": 0, "ones_like": 1}.get(call.name, call["fill_value"] or 0)
    _counted_rows(written, call, 0.0, float(first), 1)


def _counted_rows(written: Written, call: Timed, step: float, first: float, stride: int) -> None:
    """Numbers that go by the position alone."""
    written.root(call.value)
    fields = {"channels": written.channels(call.value), "alpha": step, "beta": first}
    written.add(NativeStep("count", call.value.index, (), fields | {"stride": stride}))


@writes("sum mean")
def _summed(written: Written, call: Timed) -> None:
    x = call.operand("self")
    named = call["dim"]
    dims = range(len(x.shape)) if named in (None, []) else named
    dims = {d % len(x.shape) for d in ([dims] if isinstance(dims, int) else dims)}
    wide = {d for d, n in enumerate(x.shape) if n > 1 and d != x.dim}
    wide -= {0} if written.batch > 1 else set()
    if x.dim in dims or (written.batch > 1 and 0 in dims) or not wide <= dims:
        raise call.refusal(f"its {call.name} is of a part of the channels")
    count = written.channels(x)
    written.root(call.value)
    fields = {"channels": count, "beta": 1 / count if call.name == "mean" else 1.0}
    written.add(NativeStep("sum", call.value.index, (x.index,), fields))


# Functions of one number.

_PLAIN = {
    "rsqrt": "root_below",
    "relu": "relu", "relu6": "relu6", "silu": "silu", "hardswish": "hardswish", "tanh": "tanh",
    "sigmoid": "sigmoid", "exp": "exp", "square": "square", "sin": "sine", "sqrt": "root",
    "reciprocal": "reciprocal", "abs": "absolute",
}  # fmt: skip


def unary(written: Written, call: Timed, function: str, **fields: Any) -> None:
    """A function of each number of a value, alone or with constants for each channel."""
    x = call.operand()
    written.like(call, x)
    written.root(call.value)
    width = written.width(call.value.index, x.index)
    for key in ("weight", "bias"):
        if key in fields:
            fields[key] = written.padded(fields[key], width)
    fields = {"function": function, "channels": width, **fields}
    written.add(NativeStep("unary", call.value.index, (x.index,), fields))


@writes(" ".join(_PLAIN))
def _plain(written: Written, call: Timed) -> None:
    unary(written, call, _PLAIN[call.name])


@writes("gelu")
def _gelu(written: Written, call: Timed) -> None:
    if call["approximate"] not in (None, "none"):
        raise call.refusal("its gelu is the one by tanh")
    unary(written, call, "gelu")


@writes("leaky_relu")
def _leaky(written: Written, call: Timed) -> None:
    unary(written, call, "leaky", alpha=float(call["negative_slope"]))


@writes("elu")
def _elu(written: Written, call: Timed) -> None:
    if call["scale"] != 1 or call["input_scale"] != 1:
        raise call.refusal("its elu is scaled")
    unary(written, call, "elu", alpha=float(call["alpha"]))


@writes("neg")
def _negative(written: Written, call: Timed) -> None:
    unary(written, call, "scaled", alpha=-1.0)


@writes("hardtanh clamp clip")
def _clamped(written: Written, call: Timed) -> None:
    low, high = ("min_val", "max_val") if call.name == "hardtanh" else ("min", "max")
    found = [call[low], call[high]]
    if any(isinstance(one, torch.fx.Node) for one in found):
        raise call.refusal("it clamps by tensors")
    ends = [default if one is None else float(one) for one, default in
            zip(found, (-np.inf, np.inf), strict=True)]  # fmt: skip
    unary(written, call, "clamped", alpha=ends[0], beta=ends[1])


@writes("pow")
def _power(written: Written, call: Timed) -> None:
    exponent = call["exponent"]
    known = {2: "square", 0.5: "root", -1: "reciprocal"}
    if not isinstance(exponent, int | float) or exponent not in known:
        raise call.refusal("its power is none of 2, 1/2, -1")
    unary(written, call, known[exponent])


@writes("prelu _prelu_kernel")
def _prelu(written: Written, call: Timed) -> None:
    slopes = written.constant(call, "weight").ravel()
    x = call.operand("self")
    if slopes.size == 1:
        unary(written, call, "leaky", alpha=float(slopes[0]))
        return
    shape = [1] * len(x.shape)
    shape[1] = slopes.size
    unary(written, call, "leaky_each", weight=written.each(call, slopes.reshape(shape)))


@writes("batch_norm _native_batch_norm_legit_no_training _batch_norm_no_update")
def _batch_norm(written: Written, call: Timed) -> None:
    if call.name != "batch_norm":
        raise call.refusal("its batch norm has several results")
    mean, var = written.constant(call, "running_mean"), written.constant(call, "running_var")
    scale = 1 / np.sqrt(var + float(call["eps"]))
    weight, bias = written.constant(call, "weight"), written.constant(call, "bias")
    scale = scale if weight is None else scale * weight
    moved = -mean * scale if bias is None else bias - mean * scale
    shape = [1] * len(call.value.shape)
    shape[1] = scale.size
    each = [written.each(call, one.reshape(shape)) for one in (scale, moved)]
    unary(written, call, "scaled_each", weight=each[0], bias=each[1])


@writes("layer_norm")
def _layer_norm(written: Written, call: Timed) -> None:
    x = call.operand("input")
    count = written.channels(x)
    if prod(call["normalized_shape"]) != count:
        raise call.refusal("its norm is of a part of the channels")
    fields: dict[str, Any] = {"channels": count, "alpha": float(call["eps"])}
    for key in ("weight", "bias"):
        found = written.constant(call, key)
        if found is not None:
            fields[key] = written.padded(found)
    written.root(call.value)
    written.add(NativeStep("norm", call.value.index, (x.index,), fields))


# Functions of two.

_PAIRS = {
    "add": "plus", "sub": "minus", "mul": "times", "div": "over", "maximum": "more",
    "minimum": "less",
    "rsub": "minus",
}  # fmt: skip


@writes("add sub rsub mul div maximum minimum")
def _pair(written: Written, call: Timed) -> None:
    if (call["alpha"] or 1) != 1 or call["rounding_mode"] is not None:
        raise call.refusal(f"its {call.name} has a factor or rounds")
    sides = [call["self"], call["other"]]
    values = [call.known.value(side) if isinstance(side, torch.fx.Node) else None for side in sides]
    if values[0] is not None and values[1] is not None:
        if call.name == "rsub":
            values.reverse()
        _of_two(written, call, values[0], values[1])
        return
    timed = 0 if values[0] is not None else 1
    number = written.constant(call, ("other", "self")[timed])
    number = written.each(call, number) if np.size(number) > 1 else float(np.reshape(number, -1)[0])
    _with_constant(written, call, number, flipped=bool(timed) or call.name == "rsub")


def _of_two(written: Written, call: Timed, left: Value, right: Value) -> None:
    kind, one = _PAIRS[call.name], False
    counts = [written.channels(side) for side in (left, right)]
    if counts[0] == 1 < counts[1] and kind not in ("minus", "over"):
        left, right = right, left
        one = True
    elif counts[1] == 1 < counts[0]:
        one = True
    written.like(call, *((left,) if one else (left, right)))
    written.root(call.value)
    sources = (left.index, right.index)
    width = written.width(call.value.index, left.index, *(() if one else (right.index,)))
    fields = {"combine": kind, "channels": width, "one": int(one)}
    written.add(NativeStep("binary", call.value.index, sources, fields))


def _with_constant(written: Written, call: Timed, number: Any, *, flipped: bool) -> None:
    """A value and a number, or one for each channel."""
    kind = _PAIRS[call.name]
    each = isinstance(number, np.ndarray)
    if flipped and kind == "over":
        if each or number != 1:
            raise call.refusal("it divides a constant")
        unary(written, call, "reciprocal")
        return
    if kind in ("more", "less"):
        raise call.refusal(f"its {call.name} is with a constant")
    scale: Any = None
    moved: Any = None
    if kind == "plus":
        moved = number
    elif kind == "minus":
        scale = -np.ones_like(number) if flipped else None
        moved = number if flipped else -number
    elif kind == "times":
        scale = number
    else:
        with np.errstate(divide="ignore"):
            scale = 1 / np.asarray(number)
    if each:
        found = {"weight": scale, "bias": moved}
        found = {key: one for key, one in found.items() if one is not None}
        unary(written, call, "scaled_each", **found)
        return
    alpha = 1.0 if scale is None else float(scale)
    unary(written, call, "scaled", alpha=alpha, beta=0.0 if moved is None else float(moved))
