"""Operators that work number by number."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch.nn import functional

from atrous.runners.rebuilt.call import Made, RebuiltCall, rebuilds

__all__ = ["TYPES"]

_ALONE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin,
    "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil,
    "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf, "Exp": torch.exp,
    "Floor": torch.floor, "HardSwish": functional.hardswish, "IsNaN": torch.isnan,
    "Log": torch.log, "Mish": functional.mish, "Neg": torch.neg, "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Round": torch.round,
    "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh,
    "Softplus": functional.softplus, "Softsign": functional.softsign, "Sqrt": torch.sqrt,
    "Tan": torch.tan, "Tanh": torch.tanh,
}  # fmt: skip
_PAIRED: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Pow": operator.pow,
    "And": operator.and_, "Or": operator.or_, "Xor": operator.xor, "Equal": operator.eq,
    "Greater": operator.gt, "GreaterOrEqual": operator.ge, "Less": operator.lt,
    "LessOrEqual": operator.le,
}  # fmt: skip
TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32,
    7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip


@rebuilds(*_ALONE)
def _alone(call: RebuiltCall) -> Made:
    return _ALONE[call.op](call.tensor(0))


@rebuilds("Identity", "Dropout")
def _handed_on(call: RebuiltCall) -> Made:
    if len(call.node.output) > 1 and call.node.output[1]:
        raise call.refusal("gives the mask of its dropout")
    return call.value(0)


@rebuilds(*_PAIRED)
def _paired(call: RebuiltCall) -> Made:
    left, right = call.operands()
    made: torch.Tensor = _PAIRED[call.op](left, right)
    return made


@rebuilds("Div")
def _divided(call: RebuiltCall) -> Made:
    left, right = call.operands()
    first = left if isinstance(left, torch.Tensor) else right
    if first.is_floating_point():
        made: torch.Tensor = left / right
        return made
    return torch.div(call.tensor(0), right, rounding_mode="trunc")


@rebuilds("Mod")
def _rest(call: RebuiltCall) -> Made:
    left, right = call.tensor(0), call.operands()[1]
    return torch.fmod(left, right) if call.integer("fmod") else torch.remainder(left, right)


@rebuilds("Sum", "Mean")
def _added(call: RebuiltCall) -> Made:
    total = reduce(operator.add, call.operands())
    made: torch.Tensor = total / len(call.given) if call.op == "Mean" else total
    return made


@rebuilds("Max", "Min")
def _extremes(call: RebuiltCall) -> Made:
    most = call.op == "Max"

    def farther(left: Any, right: Any) -> Any:
        if not isinstance(left, torch.Tensor):
            left, right = right, left
        if isinstance(right, torch.Tensor):
            return torch.maximum(left, right) if most else torch.minimum(left, right)
        return torch.clamp(left, min=right) if most else torch.clamp(left, max=right)

    made: torch.Tensor = reduce(farther, sorted(call.operands(), key=_is_plain))
    return made


def _is_plain(one: Any) -> bool:
    return not isinstance(one, torch.Tensor)


@rebuilds("Where")
def _chosen(call: RebuiltCall) -> Made:
    where, left, right = call.tensor(0), call[1], call[2]
    if isinstance(left, torch.Tensor) or isinstance(right, torch.Tensor):
        # A plain number takes the type of the other side.
        rank = max(len(one.shape) for one in call.given if one is not None)
        a, b = call.operand(1, rank), call.operand(2, rank)
        made: torch.Tensor = torch.where(where, a, b)
        return made
    return torch.where(where, call.tensor(1), call.tensor(2))


@rebuilds("Clip")
def _clipped(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    if call.version < 11:
        ends = [call.real(key) if call.has(key) else None for key in ("min", "max")]
    else:
        ends = [None if call[i] is None else call.operand(i, x.dim()) for i in (1, 2)]
    if ends == [None, None]:
        return x
    if any(isinstance(one, torch.Tensor) for one in ends):
        ends = [call.optional(i) for i in (1, 2)]
    return torch.clamp(x, *ends)


@rebuilds("LeakyRelu")
def _leaky(call: RebuiltCall) -> Made:
    return functional.leaky_relu(call.tensor(0), call.real("alpha", 0.01))


@rebuilds("Elu")
def _elu(call: RebuiltCall) -> Made:
    return functional.elu(call.tensor(0), call.real("alpha", 1.0))


@rebuilds("Celu")
def _celu(call: RebuiltCall) -> Made:
    return functional.celu(call.tensor(0), call.real("alpha", 1.0))


@rebuilds("Selu")
def _selu(call: RebuiltCall) -> Made:
    alpha = call.real("alpha", 1.67326319217681884765625)
    return functional.elu(call.tensor(0), alpha) * call.real("gamma", 1.05070102214813232421875)


@rebuilds("HardSigmoid")
def _hard_sigmoid(call: RebuiltCall) -> Made:
    x = call.tensor(0) * call.real("alpha", 0.2) + call.real("beta", 0.5)
    return torch.clamp(x, 0, 1)


@rebuilds("ThresholdedRelu")
def _thresholded(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    return torch.where(x > call.real("alpha", 1.0), x, 0.0)


@rebuilds("Gelu")
def _gelu(call: RebuiltCall) -> Made:
    return functional.gelu(call.tensor(0), approximate=call.text("approximate", "none"))


@rebuilds("PRelu")
def _prelu(call: RebuiltCall) -> Made:
    x, slope = call.tensor(0), call.tensor(1)
    shape = (1,) * (x.dim() - slope.dim()) + tuple(slope.shape)
    by_channel = x.dim() > 1 and all(n == 1 for d, n in enumerate(shape) if d != 1)
    if by_channel and slope.numel() in (1, x.shape[1]):
        return functional.prelu(x, slope.reshape(-1))
    return torch.where(x > 0, x, x * slope)


@rebuilds("Cast", "CastLike")
def _cast(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    if call.op == "CastLike":
        return x.to(call.tensor(1).dtype)
    kind = call.integer("to")
    if kind not in TYPES:
        raise call.refusal(f"casts to the type {kind}, which no tensor here has")
    return x.to(TYPES[kind])


@rebuilds("CumSum")
def _cumulative_sum(call: RebuiltCall) -> Made:
    x, axis = call.tensor(0), call.whole(1, "axis")
    if call.integer("reverse") or call.integer("exclusive"):
        raise call.refusal("sums backwards, or without a position's own")
    return torch.cumsum(x, call.axis(axis[0] if axis else 0, x.dim()))
