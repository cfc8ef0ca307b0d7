"""Weights for tests and benchmarks of models without any: drawn ones, and norms that fit them."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["calibrate", "draw"]


def calibrate(model: nn.Module, *inputs: torch.Tensor) -> None:
    """Gives every batch norm the statistics of its input, so that values stay of one size.

    The model is in evaluation mode afterwards.
    """
    model.eval()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        model(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def draw(model: nn.Module, size: int, channels: int = 3) -> nn.Module:
    """The model with every parameter drawn anew, none of them 0, and batch norms calibrated."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            if parameter.dim() > 1:
                parameter.copy_(noise * (2 / parameter[0].numel()) ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(noise * 0.1)
            else:
                parameter.copy_(noise.abs() * 0.3 + 0.7)
    dtype = next(model.parameters()).dtype
    calibrate(model, torch.randn(2, channels, size, size, generator=generator, dtype=dtype))
    return model
