"""The activations that a layer can end with, in the names that each library gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from atrous.operators.kernels.layer import ACTIVATIONS

__all__ = ["NONE", "Activation", "activated", "by_kernels", "of_aten", "onednn"]

_aten: Any = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function by name, with its parameters.

    >>> str(Activation("hardtanh", (-1.0, 1.0)))
    'hardtanh(-1.0, 1.0)'
    """

    name: str
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}{self.values}" if self.values else self.name

    def __bool__(self) -> bool:
        return self.name != "none"

    @property
    def kernel(self) -> str:
        """How the kernels know it: the slope of a leaky ReLU stands behind its name.

        >>> Activation("leaky_relu", (0.1,)).kernel
        'leaky_relu 0.1'
        """
        return f"{self.name} {self.values[0]!r}" if self.name == "leaky_relu" else self.name


NONE = Activation("none")

_IN_PLACE: dict[str, Callable[..., Any]] = {
    "relu": torch.relu_,
    "relu6": lambda x: _aten.hardtanh_.default(x, 0.0, 6.0),
    "hardtanh": _aten.hardtanh_.default,
    "silu": _aten.silu_.default,
    "hardswish": _aten.hardswish_.default,
    "hardsigmoid": _aten.hardsigmoid_.default,
    "gelu": lambda x: _aten.gelu_.default(x, approximate="none"),
    "gelu_tanh": lambda x: _aten.gelu_.default(x, approximate="tanh"),
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
    "leaky_relu": _aten.leaky_relu_.default,
    "elu": _aten.elu_.default,
    "mish": _aten.mish_.default,
}

_ONEDNN: dict[str, tuple[str, str]] = {
    "none": ("none", ""),
    "relu": ("relu", ""),
    "relu6": ("hardtanh", ""),
    "hardtanh": ("hardtanh", ""),
    "silu": ("swish", ""),
    "hardswish": ("hardswish", ""),
    "hardsigmoid": ("hardsigmoid", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "sigmoid": ("sigmoid", ""),
    "tanh": ("tanh", ""),
    "leaky_relu": ("leaky_relu", ""),
}

_BY_ATEN = {
    "aten.relu.default": "relu",
    "aten.hardtanh.default": "hardtanh",
    "aten.relu6.default": "relu6",
    "aten.silu.default": "silu",
    "aten.hardswish.default": "hardswish",
    "aten.hardsigmoid.default": "hardsigmoid",
    "aten.gelu.default": "gelu",
    "aten.sigmoid.default": "sigmoid",
    "aten.tanh.default": "tanh",
    "aten.leaky_relu.default": "leaky_relu",
    "aten.elu.default": "elu",
    "aten.mish.default": "mish",
}
_BY_KERNELS = frozenset(ACTIVATIONS) - {"none"}
_DEFAULTS: dict[str, tuple[float, ...]] = {
    "hardtanh": (-1.0, 1.0),
    "leaky_relu": (0.01,),
    "elu": (1.0, 1.0, 1.0),
}


def by_kernels(activation: Activation, _call: object) -> bool:
    """Whether the native kernels apply it to what they make, before it leaves the cache."""
    return activation.name in _BY_KERNELS


def of_aten(target: Any, values: tuple[Any, ...], approximate: str = "none") -> Activation | None:
    """The activation that a call of `target` with these arguments, after the tensor, is."""
    name = _BY_ATEN.get(str(target))
    if name is None or not all(isinstance(value, int | float) for value in values):
        return None
    if name == "gelu":
        return Activation("gelu_tanh" if approximate == "tanh" else "gelu")
    defaults = _DEFAULTS.get(name, ())
    given = tuple(float(value) for value in values) + defaults[len(values) :]
    if name == "hardtanh" and given == (0.0, 6.0):
        return Activation("relu6")
    return Activation(name, given)


def activated(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """`x` with the activation applied in place."""
    if activation:
        _IN_PLACE[activation.name](x, *activation.values)
    return x


def onednn(activation: Activation) -> tuple[str, list[float], str] | None:
    """Attribute, scalars and algorithm by which oneDNN's fused operations know it."""
    found = _ONEDNN.get(activation.name)
    if found is None:
        return None
    values = [0.0, 6.0] if activation.name == "relu6" else list(activation.values)
    return found[0], values, found[1]
