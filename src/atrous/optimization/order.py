"""What `optimize` is asked for, as every part of the work is given it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from atrous.optimization.graph.tune import Progress
from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.timing import Timer
from atrous.optimization.records import Rounding

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: a model on inputs, and how its layers are measured."""

    model: nn.Module
    inputs: tuple[torch.Tensor, ...]
    training: bool
    rounding: Rounding
    choices: Choices
    timer: Timer
    progress: Progress
