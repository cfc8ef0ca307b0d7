"""A plain stack as a PyTorch module, to be run and measured."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from atrous.errors import UnsupportedError
from atrous.frameworks.torch import seed_all
from atrous.geometry import symmetric
from atrous.network import Network
from atrous.network.ops import Conv, Pool
from atrous.operators.strategies import padded

__all__ = ["Stack"]

Pads = tuple[tuple[int, int], ...]


class Stack(nn.Module):
    """A plain stack of convolutions and pools with random weights, under the network's names."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._steps: list[tuple[str, Pads]] = []
        channels = network.inputs[0].shape[1]
        with torch.random.fork_rng(devices=[]):
            seed_all(0)
            for node in network.nodes:
                module, pads = _module_of(node.name, node.op, channels)
                self.add_module(node.name, module)
                self._steps.append((node.name, pads))
                channels = node.output.shape[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's map."""
        for name, pads in self._steps:
            x = self.get_submodule(name)(padded(x, pads))
        return x


def _module_of(name: str, op: object, channels: int) -> tuple[nn.Module, Pads]:
    """The module of one layer, and the zeros that it does not pad by itself."""
    if not isinstance(op, Conv | Pool):
        kind = getattr(op, "kind", type(op).__name__)
        raise UnsupportedError(
            f"{name}: a stack with {kind} is not made into modules; give conv, dw, max or avg."
        )
    rank, kernel, stride, dilation = len(op.windows), op.kernel, op.stride, op.dilation
    both, left = symmetric(op.padding)
    if isinstance(op, Conv):
        conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        return conv(channels, op.channels, kernel, stride, both, dilation, op.groups), left
    if any(map(any, op.padding)) and (any(map(any, left)) or op.how != "max"):
        raise UnsupportedError(f"{name}: a padded {op.how} pool is not made into a module.")
    if op.how == "max":
        pool: Any = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1]
        return pool(kernel, stride, both, dilation), ()
    if set(dilation) != {1}:
        raise UnsupportedError(f"{name}: PyTorch has no average pool with a rate.")
    mean: Any = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1]
    return mean(kernel, stride), ()
