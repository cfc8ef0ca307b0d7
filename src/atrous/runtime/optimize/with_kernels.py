"""Our own depthwise kernels, and the exact strategies for dense convolutions."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from atrous.convert.records import Refusal
from atrous.runtime.optimize.activations import Activation
from atrous.runtime.optimize.calls import Call
from atrous.runtime.optimize.registry import Implementation, Runs, register

__all__: list[str] = []

_ACTIVATIONS = ("relu", "relu6", "silu", "hardswish", "gelu")


def _kernels() -> Any:
    """The module with the depthwise kernels; None where it is not there."""
    try:
        return importlib.import_module("atrous.runtime.kernels.torch_depthwise")
    except ImportError:
        return None


def _applies(call: Call) -> bool | Refusal:
    if not call.is_depthwise:
        return False
    if call.dtype not in ("float32", "float64"):
        return Refusal("depthwise", "", f"the kernels compute in float32, not in {call.dtype}.")
    if _kernels() is None:
        return Refusal("depthwise", "", "the depthwise kernels are not installed.")
    return True


def _activates(activation: Activation, _call: Call) -> bool:
    return activation.name in _ACTIVATIONS


def _prepare(weight: torch.Tensor, bias: torch.Tensor | None, call: Call) -> Runs:
    depthwise = _kernels().depthwise
    weight = weight.contiguous()
    stride, dilation, padding = call.stride, call.dilation, call.padding
    name = call.activation.name
    return lambda x: depthwise(x, weight, bias, stride, dilation, padding, name)


register(Implementation("depthwise kernel", _applies, _prepare, _activates))
