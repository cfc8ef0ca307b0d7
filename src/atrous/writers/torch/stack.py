"""A plain stack as a PyTorch module, to be run and measured."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from atrous.errors import UnsupportedError
from atrous.network import Network
from atrous.network.ops import Conv, Pool

__all__ = ["Stack"]


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
