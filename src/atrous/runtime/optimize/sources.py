"""Sources as PyTorch modules that can be run and measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from atrous.errors import ReadError, UnsupportedError
from atrous.network import Network
from atrous.network.ops import Conv, Pool
from atrous.readers import SCHEMES, read
from atrous.readers.given import as_shape, is_shape
from atrous.readers.named import make, parse
from atrous.runtime.optimize.cache import Choices
from atrous.runtime.optimize.driver import optimize_model
from atrous.runtime.optimize.records import Explanation
from atrous.runtime.optimize.tune import Progress

__all__ = ["bench_module", "module_of"]

_STACK_INPUT = (1, 64, 128, 128)


def module_of(source: Any, input: Any = None) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The module that a source is, in evaluation mode, and tensors to run it on.

    A stack of convolutions and pools is made with random weights. `input` is a shape, several
    shapes, or tensors; random numbers, the same at every call, where it gives shapes. Raises
    `ReadError` where a module comes without a shape, `UnsupportedError` for what is no module.
    """
    given = input
    if isinstance(source, nn.Module):
        model = source
    elif isinstance(source, str) and source.partition(":")[0] in SCHEMES and ":" in source:
        made = make(parse(source))
        model, given = made.model, made.input if input is None else input
    elif isinstance(source, str) and source.startswith("stack:"):
        network = read(source, _STACK_INPUT if input is None else input)
        model, given = Stack(network), network.inputs[0].shape
    else:
        raise UnsupportedError(
            f"{_name(source)} is no PyTorch module, and only those can be optimized: give "
            "timm:NAME, torchvision:NAME, smp:NAME, stack:..., MODULE:FUNCTION or FILE.py:FUNCTION."
        )
    if given is None:
        raise ReadError(
            f"a {type(model).__name__} needs an input shape to run on; give --input, such as "
            "1,3,224,224."
        )
    model.eval()
    return model, _examples(given)


def bench_module(
    model: nn.Module,
    example: tuple[torch.Tensor, ...],
    *,
    threads: int | None,
    training: bool,
    fresh: bool,
    progress: Progress,
) -> Explanation:
    """What `optimize` gains on this model, on that many threads; `fresh` measures all anew."""
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        choices = Choices()
        if fresh:
            choices.forget()
        made = optimize_model(model, example, training=training, choices=choices, progress=progress)
        return made.explain()
    finally:
        torch.set_num_threads(before)


_MOST = 2**31
"""Elements of an input that is drawn: 8 GiB."""


class Stack(nn.Module):
    """A plain stack of convolutions and pools with random weights, under the network's names."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._steps: list[tuple[str, tuple[int, ...]]] = []
        channels = network.inputs[0].shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for node in network.nodes:
                module, pads = _layer(node.name, node.op, channels)
                self.add_module(node.name, module)
                self._steps.append((node.name, pads))
                channels = node.output.shape[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's map."""
        for name, pads in self._steps:
            if pads:
                x = functional.pad(x, pads)
            x = self.get_submodule(name)(x)
        return x


def _layer(name: str, op: object, channels: int) -> tuple[nn.Module, tuple[int, ...]]:
    """The module of one layer, and the zeros that it does not pad by itself."""
    if not isinstance(op, Conv | Pool):
        kind = getattr(op, "kind", type(op).__name__)
        raise UnsupportedError(
            f"{name}: a stack with {kind} is not made into modules; give conv, dw, max or avg."
        )
    windows = op.windows
    rank = len(windows)
    kernel, stride, dilation = (
        tuple(getattr(window, part) for window in windows)
        for part in ("kernel", "stride", "dilation")
    )
    both = tuple(max(min(w.pad_lo, w.pad_hi), 0) for w in windows)
    rest: list[int] = []
    for window, pad in zip(reversed(windows), reversed(both), strict=True):
        rest += [window.pad_lo - pad, window.pad_hi - pad]
    left = tuple(rest) if any(rest) else ()
    if isinstance(op, Conv):
        conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        return conv(channels, op.channels, kernel, stride, both, dilation, op.groups), left
    if any(w.pad_lo or w.pad_hi for w in windows) and (left or op.how != "max"):
        raise UnsupportedError(f"{name}: a padded {op.how} pool is not made into a module.")
    if op.how == "max":
        pool: Any = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1]
        return pool(kernel, stride, both, dilation), ()
    if set(dilation) != {1}:
        raise UnsupportedError(f"{name}: PyTorch has no average pool with a rate.")
    mean: Any = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1]
    return mean(kernel, stride), ()


def _examples(given: Any) -> tuple[torch.Tensor, ...]:
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


def _name(source: Any) -> str:
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        return name if len(name) <= 60 else Path(name).name[:60]
    return f"a {type(source).__name__}"
