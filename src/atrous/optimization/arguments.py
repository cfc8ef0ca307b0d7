"""What `optimize` is given, checked before any work is done."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from atrous.errors import ArgumentError, ArgumentTypeError, MissingDependencyError, clean
from atrous.frameworks.exported import is_exported
from atrous.optimization.engines.tried import ENGINES, missing
from atrous.optimization.records import Rounding

__all__ = ["checked_engines", "checked_example", "checked_rounding"]

OURS = "atrous"
"""The name of our own strategies among engines."""


def checked_rounding(rounding: Any) -> Rounding:
    """`rounding` as given; `ArgumentError` for what is no way to round."""
    if rounding not in (None, "direct", "winograd"):
        raise ArgumentError(
            f"rounding={rounding!r} names no sums; give 'direct' or 'winograd', or leave it out "
            "for fewer products where they round off little."
        )
    return rounding  # type: ignore[no-any-return]


def checked_engines(engines: Any, *, training: bool) -> tuple[str, ...]:
    """The names of the engines to try, `"atrous"` for ours among them.

    None takes what ATROUS_ENGINES names, and without it every one, for training ours alone; the
    missing ones included: that they are missing is said where engines are explained. Raises
    `ArgumentError` for a name that no engine has, and `MissingDependencyError` for one that is
    asked for and not installed.
    """
    owner, given = "engines", engines
    if engines is None:
        owner, given = "ATROUS_ENGINES", os.environ.get("ATROUS_ENGINES")
    if given is None:
        return (OURS,) if training else (OURS, *ENGINES)
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ArgumentTypeError(
            f"engines is {_what(engines)}; give one or several names of {_engine_names()}."
        )
    names = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not names:
        raise ArgumentError(
            f"{owner}={given!r} names none; give one or several of {_engine_names()}."
        )
    for name in names:
        if name != OURS and name not in ENGINES:
            raise ArgumentError(
                f"{owner}={clean(name[:80])!r} is no engine; there are {_engine_names()}."
            )
        if name != OURS and (lacks := missing(ENGINES[name])):
            raise MissingDependencyError(f"{owner}={name!r}: {lacks}; there are {_engine_names()}.")
    return names


def _engine_names() -> str:
    """Every name, and of engines that are missing how they are installed."""
    said = [f"{OURS!r}"]
    for engine in ENGINES.values():
        lacks = missing(engine)
        said.append(f"{engine.name!r} ({engine.install})" if lacks else f"{engine.name!r}")
    return ", ".join(said)


def checked_example(model: Any, example: Any, *, training: bool) -> tuple[torch.Tensor, ...]:
    """The example's tensors.

    Raises `ArgumentError` or `ArgumentTypeError` naming the argument, the rule and the fix.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"model is a {type(model).__name__}; optimize works on a torch.nn.Module, so give one."
        )
    inputs = (example,) if isinstance(example, torch.Tensor) else example
    if not isinstance(inputs, list | tuple) or not inputs:
        raise ArgumentTypeError(
            f"example is {_what(example)}; give a tensor such as the model is called with, "
            "torch.randn(1, 3, 224, 224), or a tuple of tensors."
        )
    for place, value in enumerate(inputs):
        if not isinstance(value, torch.Tensor):
            raise ArgumentTypeError(
                f"example[{place}] is a {type(value).__name__}; every input is a tensor. Wrap a "
                "model that takes more in a module that takes tensors."
            )
        if value.device.type != "cpu" or value.layout != torch.strided:
            kind = value.device.type if value.device.type != "cpu" else str(value.layout)
            raise ArgumentError(
                f"example[{place}] is a tensor of {kind}; optimize measures dense tensors on the "
                "CPU: give example.cpu(), and the model on the CPU as well."
            )
        if not value.numel():
            raise ArgumentError(
                f"example[{place}] has shape {tuple(value.shape)}, which is empty; there is "
                "nothing to measure, so give every size at least 1."
            )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.device.type != "cpu":
            raise ArgumentError(
                f"model has {name!r} on {tensor.device}; optimize measures on the CPU, so give "
                "model.cpu()."
            )
    if not training and not is_exported(model):  # an exported one has its mode for good
        for path, part in model.named_modules():
            if part.training and (path == "" or _differs(part)):
                where = f"its {path!r} is" if path else "it is"
                raise ArgumentError(
                    f"model is to run for inference and {where} in training mode; call "
                    "model.eval(), or give training=True."
                )
    return tuple(inputs)


def _differs(part: nn.Module) -> bool:
    """Whether a module does something else in training."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    return isinstance(part, kinds)


def _what(example: Any) -> str:
    if isinstance(example, list | tuple):
        return "empty"
    text = repr(example)
    return f"{text[:40]}" if len(text) <= 40 else f"a {type(example).__name__}"
