"""Steps of calls at one position: views, functions of one number, of two, norms of channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from atrous.geometry import Window
from atrous.operators.kernels.columns import columns_of, is_dense
from atrous.operators.kernels.torch_carried import SumsSoFar
from atrous.runners.stream.native.folded import norm_factors
from atrous.runners.stream.native.grids import sum_places
from atrous.runners.stream.native.written import HANDED_ON, NativeStep, Written, outermost, writes
from atrous.runners.stream.rules.base import Timed, Value
from atrous.runners.stream.rules.calling import called
from atrous.runners.stream.rules.ends import Cropped, Padded, Repeated
from atrous.runners.stream.rules.shapes import Reshaped

__all__: list[str] = []


@writes(" ".join(HANDED_ON))
def _handed_on(written: Written, call: Timed) -> None:
    written.alias(call.value, call.operand().index)


@writes("view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as")
def _viewed(written: Written, call: Timed) -> None:
    x, out = call.operand("self"), call.value
    if written.channels(x) == written.channels(out):
        found = written.seen_through(x, lambda one: one.view(out.shape))
        if found is not None:
            written.placed(call, x, *found[0])
            return
        # The numbers do not lie as their order has them: then they are put that way.
        written.root(out)
        flat, lies = written.plain(x), written.strides[x.index]
        written.arranged(call, x, [(x.shape[d], flat[d], lies[d]) for d in written.fixed(x)])
        return
    rule, behind = written.rule(out), prod(out.shape[out.dim + 1 :])
    if not isinstance(rule, Reshaped) or rule.split == 1 or behind > 1:
        raise call.refusal(f"its {call.name} writes time in other digits")
    if not written.is_plain(x):
        raise call.refusal(f"its {call.name} takes channels in another order")
    written.root(out)
    fields, window = {"channels": written.channels(x), "taps": 1}, Window(1, rule.split)
    written.add(NativeStep("shuffle", out.index, (x.index,), fields, window, spread=rule.split))


@writes("permute transpose t movedim swapaxes swapdims numpy_T mT select expand")
def _turned(written: Written, call: Timed) -> None:
    x = call.operand("self")
    found = written.seen_through(x, called(call)[1])
    if found is None:
        raise call.refusal(f"its {call.name} puts channels in another order")
    written.placed(call, x, *found[0])


@writes("chunk split split_with_sizes unsafe_chunk unsafe_split tensor_split unbind")
def _chunked(written: Written, call: Timed) -> None:
    x = call.operand("self")
    found = written.seen_through(x, called(call)[1])
    if found is None:
        raise call.refusal(f"its {call.name} takes channels that are apart")
    written.alias(call.value, x.index)
    written.parts[call.value.index] = found


@writes("getitem")
def _item(written: Written, call: Timed) -> None:
    x = call.operand()
    written.placed(call, x, *written.parts[x.index][call.node.args[1]])


@writes("slice slice_copy narrow")
def _sliced(written: Written, call: Timed) -> None:
    x, rule = call.operand("self"), written.rule(call.value)
    if isinstance(rule, Cropped):
        window = rule.window
        if window.stride == 1:
            written.alias(call.value, x.index, shift=-window.pad_lo)
            return
        written.like(call, x)
        fields = {"channels": written.channels(x), "stride": window.stride, "beta": 1.0}
        written.root(call.value, written.order_like(call.value, x))
        written.add(NativeStep("mean", call.value.index, (x.index,), fields, window))
        return
    _turned(written, call)


@writes("pad constant_pad_nd reflection_pad1d replication_pad1d")
def _padded(written: Written, call: Timed) -> None:
    rule, x, out = written.rule(call.value), call.operand(), call.value
    # The ends are not made here; between them what is padded is what there is, moved on.
    if type(rule) in (Padded, Repeated):
        written.alias(out, x.index, shift=-rule.low)
        return
    if call.name not in ("pad", "constant_pad_nd") or call["mode"] not in (None, "constant"):
        raise call.refusal(f"its {call.name} repeats channels at the sides")
    amounts = [*call["pad"], *[0] * (2 * len(out.shape) - len(call["pad"]))]
    lows, highs = amounts[-2::-2], amounts[::-2]
    if any(min(lows[d], highs[d]) < 0 for d in written.fixed(out)):
        raise call.refusal("its pad cuts channels")
    written.root(out, written.grid(out) if written.wants_grid(out) else None)
    filled = {"channels": written.channels(out), "beta": float(call["value"] or 0), "stride": 1}
    written.add(NativeStep("count", out.index, (), filled))
    mine, lies = written.strides[out.index], written.strides[x.index]
    dims = [(x.shape[d], mine[d], lies[d]) for d in written.fixed(out)]
    first = sum(mine[d] * lows[d] for d in written.fixed(out))
    window = Window(1, 1, pad_lo=rule.low) if isinstance(rule, Padded) else None
    written.arranged(call, x, dims, first, window=window)


@writes("cat concat concatenate stack")
def _joined(written: Written, call: Timed) -> None:
    rule, out = written.rule(call.value), call.value
    if isinstance(rule, Padded):
        written.alias(out, rule.inputs[0], shift=-rule.low)
        return
    shape = [1 if d not in written.fixed(out) else n for d, n in enumerate(out.shape)]
    dim, inputs = int(call["dim"] or 0) % len(shape), [written.values[i] for i in rule.inputs]
    if dim not in written.fixed(out):
        raise call.refusal(f"its {call.name} is along the batch")
    column, is_flat = 0, all(map(written.is_plain, inputs)) and outermost(shape, dim)
    if is_flat and not written.wants_grid(out):
        written.root(out)
        for x in inputs:
            fields = {"channels": written.channels(x)}
            written.add(NativeStep("copy", out.index, (x.index,), fields, column=column))
            column += written.channels(x)
        return
    written.root(out, written.grid(out) if written.wants_grid(out) else None)
    mine = written.strides[out.index]
    for x in inputs:
        sizes, lies = list(x.shape), list(written.strides[x.index])
        if call.name == "stack":
            sizes.insert(dim, 1)
            lies.insert(dim, 0)
        dims = [(sizes[d], mine[d], lies[d]) for d in written.fixed(out)]
        written.arranged(call, x, dims, column)
        column += sizes[dim] * mine[dim]


@writes("glu")
def _gated(written: Written, call: Timed) -> None:
    x, half = call.operand("self"), written.channels(call.value)
    dim = int(-1 if call["dim"] is None else call["dim"]) % len(x.shape)
    shape = [
        1 if d == x.dim or (d == 0 and written.batch > 1) else n for d, n in enumerate(x.shape)
    ]
    if not outermost(shape, dim) or not written.is_plain(x):
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
    written.like(call, x)
    written.root(call.value, written.order_like(call.value, x))
    fields = {"channels": written.channels(x)}
    shape = tuple(1 if d == x.dim else n for d, n in enumerate(x.shape))
    carry = SumsSoFar(shape, columns_of(written.wide(x)))
    written.add(NativeStep("so_far", call.value.index, (x.index,), fields, carry=carry))


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
    # All numbers are the same: they lie as those of what it is like.
    x = call.operand()
    if written.is_dense(x) and written.inner(x) == written.inner(call.value):
        written.strides[call.value.index] = written.order_like(call.value, x)


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
    if x.dim in dims or (written.batch > 1 and 0 in dims):
        raise call.refusal(f"its {call.name} is of a part of the channels")
    if wide - dims:
        ends = wide & dims
        if wide - dims != {1} or len(ends) != 1:
            raise call.refusal(f"its {call.name} is of a part of the channels")
        across = ends.pop()
        factor = 1 / x.shape[across] if call.name == "mean" else 1.0
        sum_places(written, call, x, across, factor)
        return
    if not written.is_dense(x):
        raise call.refusal(f"its {call.name} takes channels that are apart")
    count = written.channels(x)
    written.root(call.value)
    fields = {"channels": count, "beta": 1 / count if call.name == "mean" else 1.0}
    written.add(NativeStep("sum", call.value.index, (x.index,), fields))


# Functions of one number.

_PLAIN = {
    "rsqrt": "root_below", "cos": "cosine", "log": "logarithm",
    "relu": "relu", "relu6": "relu6", "silu": "silu", "hardswish": "hardswish", "tanh": "tanh",
    "sigmoid": "sigmoid", "exp": "exp", "square": "square", "sin": "sine", "sqrt": "root",
    "reciprocal": "reciprocal", "abs": "absolute",
}  # fmt: skip


def unary(written: Written, call: Timed, function: str, **fields: Any) -> None:
    """A function of each number of a value, alone or with constants for each channel."""
    x = call.operand()
    written.like(call, x)
    written.root(call.value, written.order_like(call.value, x))
    width = written.width(call.value.index, x.index)
    for key in ("weight", "bias"):
        if key in fields:
            fields[key] = written.padded(written.in_columns(x, fields[key]), width)
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
    if ends[0] > ends[1]:
        raise call.refusal("its lower bound is above the upper one")
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
    if call.value.index in written.folded:
        written.alias(call.value, call.operand("input").index)
        return
    scale, moved = norm_factors(written, call)
    shape = [1] * len(call.value.shape)
    shape[1] = scale.size
    each = [written.each(call, one.reshape(shape)) for one in (scale, moved)]
    unary(written, call, "scaled_each", weight=each[0], bias=each[1])


@writes("layer_norm rms_norm")
def _layer_norm(written: Written, call: Timed) -> None:
    x = call.operand("input")
    rank, count = len(x.shape), written.channels(x)
    inner = range(rank - len(call["normalized_shape"]), rank)
    strides = written.strides[x.index]
    each = [(x.shape[d], strides[d]) for d in inner if x.shape[d] > 1]
    if not written.is_dense(x) or not is_dense(each) or x.dim in inner:
        raise call.refusal(f"its {call.name} is of channels that are apart")
    eps = 2.0**-23 if call["eps"] is None else float(call["eps"])
    fields = {"channels": count, "alpha": eps, "one": int(call.name == "rms_norm")}
    fields["filters"] = count // prod(size for size, _ in each)
    _normed(
        written, call, x, fields, [call[key] and written.constant(call, key) for key in _AFFINE]
    )


@writes("group_norm")
def _group_norm(written: Written, call: Timed) -> None:
    x = call.operand("input")
    # Along time it would be one of all positions so far: here time is the batch.
    if x.dim != 0 or not written.is_plain(x):
        raise call.refusal("its group norm takes channels in another order")
    fields: dict[str, Any] = {"channels": written.channels(x), "filters": int(call["num_groups"])}
    fields["alpha"] = float(call["eps"])
    shape = [x.shape[1] if d == 1 else 1 for d in range(len(x.shape))]
    affine = [call[key] and written.constant(call, key).reshape(shape) for key in _AFFINE]
    _normed(written, call, x, fields, affine)


_AFFINE = ("weight", "bias")


def _normed(
    written: Written, call: Timed, x: Value, fields: dict[str, Any], affine: Sequence[Any]
) -> None:
    """A norm of each part of the channels, its weights of the shape of what it makes."""
    for key, found in zip(_AFFINE, affine, strict=True):
        if found is not None:
            fields[key] = written.padded(written.in_columns(x, written.each(call, found)))
    written.root(call.value, written.order_like(call.value, x))
    written.add(NativeStep("norm", call.value.index, (x.index,), fields))


@writes("softmax log_softmax _softmax _log_softmax")
def _shares(written: Written, call: Timed) -> None:
    x, dim = call.operand(), int(call["dim"])
    wide, dim = [d for d in written.fixed(x) if x.shape[d] > 1], dim % len(x.shape)
    if wide not in ([], [dim]) or dim not in written.fixed(x) or not written.is_dense(x):
        raise call.refusal(f"its {call.name} is over a part of the channels")
    written.root(call.value)
    fields = {"channels": written.channels(x), "one": int("log" in call.name)}
    written.add(NativeStep("softmax", call.value.index, (x.index,), fields))


# Functions of two.

_PAIRS = {
    "add": "plus", "sub": "minus", "mul": "times", "div": "over", "maximum": "more",
    "minimum": "less",
    "rsub": "minus",
}  # fmt: skip


@writes("add sub rsub mul div maximum minimum")
def _pair(written: Written, call: Timed) -> None:
    if call["alpha"] not in (None, 1) or call["rounding_mode"] is not None:
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
    kind, one, out = _PAIRS[call.name], False, call.value
    if written.batch > 1 and len(left.shape) != len(right.shape):
        raise call.refusal(f"its {call.name} puts the batch beside channels")
    counts = [written.channels(side) for side in (left, right)]
    if counts[0] == 1 < counts[1] and kind not in ("minus", "over"):
        left, right = right, left
        one = True
    elif counts[1] == 1 < counts[0]:
        one = True
    full = [side for side in (left, right) if _fills(written, side, out)]
    if not full:
        raise call.refusal(f"its {call.name} joins values of different shapes")
    order = written.order_like(out, full[0])
    written.root(out, order)
    fields = {"combine": kind, "one": int(one)}
    sources = [left.index, right.index]
    for i, side in enumerate((left, right) if not one else (left,)):
        if not _fills(written, side, out) or written.order_like(out, side) != order:
            # It lies otherwise, or is for several channels: it is put where the result will be.
            sources[i] = out.index
            behind = len(out.shape) - len(side.shape)
            lies = [0] * behind + list(written.strides[side.index])
            sizes = [1] * behind + list(side.shape)
            dims = [
                (out.shape[d], order[d], lies[d] if sizes[d] > 1 else 0) for d in written.fixed(out)
            ]
            written.arranged(call, side, dims)
    whole = [i for i in sources if i != out.index]
    fields["channels"] = written.width(out.index, *(whole[:1] if one else whole))
    written.add(NativeStep("binary", out.index, (sources[0], sources[1]), fields))


def _fills(written: Written, x: Value, out: Value) -> bool:
    """Whether a value has a number for each of a result, and no column between them."""
    sizes = [[n for n in written.inner(one) if n > 1] for one in (x, out)]
    return sizes[0] == sizes[1] and written.is_dense(x)


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
        if (np.abs(scale[scale != np.inf]) > np.finfo(np.float32).max).any():
            raise call.refusal("it divides by a number whose inverse is no float32")
    if each:
        found = {"weight": scale, "bias": moved}
        found = {key: one for key, one in found.items() if one is not None}
        unary(written, call, "scaled_each", **found)
        return
    alpha = 1.0 if scale is None else float(scale)
    unary(written, call, "scaled", alpha=alpha, beta=0.0 if moved is None else float(moved))
