"""`bench`: sources as PyTorch modules that can be run, and how much faster they run."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import nn

from atrous.errors import ReadError, UnsupportedError
from atrous.optimization.arguments import checked_engines, checked_rounding
from atrous.optimization.graph.tune import Progress
from atrous.optimization.layer.cache import Choices
from atrous.optimization.optimize import optimize_model
from atrous.optimization.records import Explanation, Rounding
from atrous.readers import read
from atrous.readers.given import as_shape, is_shape
from atrous.readers.kind import kind_of, source_name
from atrous.readers.named import make, parse
from atrous.readers.source import check_file, sized
from atrous.writers.torch.stack import Stack

__all__ = ["bench_module", "module_of"]

_STACK_INPUT = (1, 64, 128, 128)


def module_of(source: Any, input: Any = None) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The module that a source is, in evaluation mode, and tensors to run it on.

    A stack of convolutions and pools is made with random weights. `input` is a shape, several
    shapes, or tensors; random numbers, the same at every call, where it gives shapes. Raises
    `ReadError` where a module comes without a shape, `UnsupportedError` for what is no module.
    """
    given = input
    if isinstance(source, nn.Module) and kind_of(source) != "keras":
        model = source
    elif kind_of(source) == "library":
        made = make(parse(source))
        model, given = made.model, made.input if input is None else input
    elif kind_of(source) == "stack":
        network = read(source, _STACK_INPUT if input is None else input, structure_only=True)
        model, given = Stack(network), network.inputs[0].shape
    else:
        # A source that nothing reads is said to be that.
        if kind_of(source) == "file":
            check_file(source)
        elif kind_of(source) != "network":
            read(source, input, structure_only=True)
        raise UnsupportedError(
            f"{source_name(source)} is no PyTorch module, and only those can be optimized: give "
            "timm:NAME, torchvision:NAME, smp:NAME, stack:..., MODULE:FUNCTION or FILE.py:FUNCTION."
        )
    if given is None:
        raise ReadError(
            f"a {type(model).__name__} needs an input shape to run on; give --input, such as "
            "1,3,224,224."
        )
    tensors = _tensors_of(given)
    model = sized(model, list(tensors)).eval()
    return model, tensors


def bench_module(
    model: nn.Module,
    example: tuple[torch.Tensor, ...],
    *,
    threads: int | None,
    training: bool,
    fresh: bool,
    progress: Progress,
    engines: str | None = None,
    rounding: Rounding = None,
) -> Explanation:
    """What `optimize` gains on this model, on that many threads; `fresh` measures all anew."""
    names, sums = checked_engines(engines, training=training), checked_rounding(rounding)
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        choices = Choices()
        if fresh:
            choices.forget()
        made = optimize_model(
            model,
            example,
            training=training,
            rounding=sums,
            engines=names,
            choices=choices,
            progress=progress,
        )
        return made.explain()
    finally:
        torch.set_num_threads(before)


_MOST = 2**31
"""Elements of an input that is drawn: 8 GiB."""


def _tensors_of(given: Any) -> tuple[torch.Tensor, ...]:
    if isinstance(given, torch.Tensor):
        return (given,)
    several: Sequence[Any] = (
        given if isinstance(given, list | tuple) and not is_shape(given) else (given,)
    )
    generator = torch.Generator().manual_seed(0)
    for one in several:
        if not isinstance(one, torch.Tensor) and prod(as_shape(one)) > _MOST:
            raise UnsupportedError(
                f"input {tuple(as_shape(one))} has more than {_MOST} elements; give a smaller one."
            )
    return tuple(
        one if isinstance(one, torch.Tensor) else torch.randn(as_shape(one), generator=generator)
        for one in several
    )
