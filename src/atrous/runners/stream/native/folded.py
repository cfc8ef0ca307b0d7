"""Batch norms as factors, for themselves or in the weights of the convolution in front."""

from __future__ import annotations

from typing import Any

import numpy as np

from atrous.frameworks.torch import name_of
from atrous.runners.stream.native.written import Written
from atrous.runners.stream.rules.base import Timed

__all__ = ["norm_factors", "with_norm_behind"]


def norm_factors(written: Written, call: Timed) -> tuple[Any, Any]:
    """What a batch norm multiplies each channel by, and what it adds."""
    mean, var = written.constant(call, "running_mean"), written.constant(call, "running_var")
    scale = 1 / np.sqrt(var + float(call["eps"]))
    weight, bias = written.constant(call, "weight"), written.constant(call, "bias")
    scale = scale if weight is None else scale * weight
    return scale, -mean * scale if bias is None else bias - mean * scale


def with_norm_behind(
    written: Written, call: Timed, weight: Any, bias: Any, axis: int
) -> tuple[Any, Any]:
    """The weights and biases of a convolution and of the batch norm that alone reads it, as one.

    `axis` of the weights is that of the filters, or of those of a group behind that of channels.
    """
    users = list(call.value.node.users)
    found = written.recipe.value(users[0]) if len(users) == 1 else None
    if found is None or name_of(users[0]) != "aten.batch_norm":
        return weight, bias
    norm = written.recipe.call(found)
    if norm["input"] is not call.node:
        return weight, bias
    scale, moved = norm_factors(written, norm)
    written.folded.add(found.index)
    bias = moved if bias is None else bias * scale + moved
    if axis == 0:
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias
    groups = int(call["groups"])
    parted = weight.reshape(groups, -1, *weight.shape[1:])
    factors = scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    return (parted * factors).reshape(weight.shape), bias
