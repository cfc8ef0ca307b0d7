"""Operators that mix numbers: products, norms, reductions, softmax."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.nn import functional

from atrous.errors import ReadError
from atrous.runners.rebuilt.call import Made, RebuiltCall, rebuilds

__all__: list[str] = []


@rebuilds("MatMul")
def _product(call: RebuiltCall) -> Made:
    x, y = call.tensor(0), call.tensor(1)
    if isinstance(y, torch.nn.Parameter) and y.dim() == 2 and x.dim() > 1:
        return functional.linear(x, y.t())
    return torch.matmul(x, y)


@rebuilds("Gemm")
def _matrices(call: RebuiltCall) -> Made:
    x, y, bias = call.tensor(0), call.tensor(1), call.optional(2)
    if x.dim() != 2 or y.dim() != 2:
        raise ReadError(f"Gemm takes two matrices, got {tuple(x.shape)} and {tuple(y.shape)}.")
    alpha, beta = call.real("alpha", 1.0), call.real("beta", 1.0)
    x = x.t() if call.integer("transA") else x
    weight = y if call.integer("transB") else y.t()
    plain = bias is None or (beta == 1 and bias.numel() == weight.shape[0] == bias.shape[-1])
    if alpha == 1 and plain:
        return functional.linear(x, weight, None if bias is None else bias.reshape(-1))
    made = functional.linear(x, weight) * alpha
    return made if bias is None else made + bias * beta


@rebuilds("Einsum")
def _einsum(call: RebuiltCall) -> Made:
    return torch.einsum(call.text("equation"), [call.tensor(i) for i in range(len(call.given))])


@rebuilds("BatchNormalization")
def _batch_norm(call: RebuiltCall) -> Made:
    if call.integer("training_mode") or any(call.node.output[1:]):
        raise call.refusal("takes the statistics of its own input")
    x, scale, bias, mean, var = (call.tensor(i) for i in range(5))
    eps = call.real("epsilon", 1e-5)
    return functional.batch_norm(x, mean, var, scale, bias, False, 0.0, eps)


@rebuilds("InstanceNormalization")
def _instance_norm(call: RebuiltCall) -> Made:
    x, scale, bias = (call.tensor(i) for i in range(3))
    eps = call.real("epsilon", 1e-5)
    return functional.instance_norm(x, weight=scale, bias=bias, eps=eps)


@rebuilds("GroupNormalization")
def _group_norm(call: RebuiltCall) -> Made:
    x, scale, bias = (call.tensor(i) for i in range(3))
    groups, eps = call.integer("num_groups", 1), call.real("epsilon", 1e-5)
    if call.version < 21 and scale.numel() == groups != x.shape[1]:
        scale, bias = (one.repeat_interleave(x.shape[1] // groups) for one in (scale, bias))
    return functional.group_norm(x, groups, scale, bias, eps)


@rebuilds("LayerNormalization", "RMSNormalization")
def _layer_norm(call: RebuiltCall) -> Made:
    x, scale = call.tensor(0), call.optional(1)
    axis, eps = call.axis(call.integer("axis", -1), x.dim()), call.real("epsilon", 1e-5)
    if any(call.node.output[1:]):
        raise call.refusal("gives the statistics of its norm")
    shape = tuple(x.shape[axis:])
    if scale is not None and tuple(scale.shape) != shape:
        scale = scale.expand(shape)
    if call.op == "RMSNormalization":
        return functional.rms_norm(x, shape, scale, eps)
    bias = call.optional(2)
    if bias is not None and tuple(bias.shape) != shape:
        bias = bias.expand(shape)
    return functional.layer_norm(x, shape, scale, bias, eps)


@rebuilds("LpNormalization")
def _unit(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    d = call.axis(call.integer("axis", -1), x.dim())
    return x / torch.linalg.vector_norm(x, call.integer("p", 2), d, keepdim=True)


@rebuilds("Softmax", "LogSoftmax")
def _softmax(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    function: Any = torch.softmax if call.op == "Softmax" else torch.log_softmax
    d = call.axis(call.integer("axis", -1 if call.version >= 13 else 1), x.dim())
    if call.version >= 13 or prod(x.shape[d + 1 :]) == 1:
        made: torch.Tensor = function(x, d)
        return made
    made = function(x.reshape(*x.shape[:d], -1), d)
    return made.reshape(x.shape)


_REDUCED: dict[str, Callable[[torch.Tensor, list[int], bool], torch.Tensor]] = {
    "ReduceMean": lambda x, dims, keep: x.mean(dims, keep),
    "ReduceSum": lambda x, dims, keep: x.sum(dims, keep),
    "ReduceMax": lambda x, dims, keep: x.amax(dims, keep),
    "ReduceMin": lambda x, dims, keep: x.amin(dims, keep),
    "ReduceL1": lambda x, dims, keep: x.abs().sum(dims, keep),
    "ReduceL2": lambda x, dims, keep: x.square().sum(dims, keep).sqrt(),
    "ReduceSumSquare": lambda x, dims, keep: x.square().sum(dims, keep),
    "ReduceLogSum": lambda x, dims, keep: x.sum(dims, keep).log(),
    "ReduceLogSumExp": lambda x, dims, keep: x.logsumexp(dims, keep),
}


@rebuilds(*_REDUCED)
def _reduced(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    axes = call.whole_since("axes", 1, 13 if call.op == "ReduceSum" else 18)
    if axes is None and call.integer("noop_with_empty_axes"):
        return x
    dims = list(range(x.dim())) if axes is None else call.axes(axes, x.dim())
    return _REDUCED[call.op](x, dims, bool(call.integer("keepdims", 1)))


@rebuilds("ArgMax", "ArgMin")
def _place_of_extreme(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    if call.integer("select_last_index"):
        raise call.refusal("takes the last of several extremes")
    d, keep = call.axis(call.integer("axis"), x.dim()), bool(call.integer("keepdims", 1))
    return x.argmax(d, keep) if call.op == "ArgMax" else x.argmin(d, keep)
