"""Gradients of a whole image's loss, tile by tile: every output position counts once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from atrous.errors import ArgumentError, UnsupportedError
from atrous.plan.tiles import TilePlan
from atrous.runners.tiled.torch import TorchTiles

__all__ = ["backward"]


def backward(
    engine: Any, plan: TilePlan, image: Any, gradient: Any, of_image: bool
) -> torch.Tensor | None:
    """Adds to the parameters' gradients; returns that of the image where it is wanted."""
    if not isinstance(engine, TorchTiles):
        raise UnsupportedError("gradients are those of PyTorch modules; this model is none.")
    if plan.statistics:
        raise UnsupportedError(
            f"{plan.statistics[0]}: every position has a part in its statistics, and gradients do "
            "not go through those by tiles."
        )
    given = _gradients(gradient, plan)
    total: torch.Tensor | None = None
    for tile in plan.tiles():
        part = torch.as_tensor(image[tile.read[0]])
        inputs = engine.taken([part])
        if of_image:
            inputs[0].requires_grad_()
        outputs = engine.forward(inputs, [tile])
        kept, wanted = [], []
        for cut, made, whole in zip(tile.keep, outputs, given, strict=True):
            if made.requires_grad:
                kept.append(made[cut.local])
                wanted.append(torch.as_tensor(whole[cut.target]).to(made.device, made.dtype))
        if not kept:
            raise ArgumentError("no output depends on a parameter that is trained, or the image.")
        torch.autograd.backward(kept, wanted)
        if of_image and inputs[0].grad is not None:
            if total is None:
                total = inputs[0].grad.new_zeros(plan.inputs[0].shape)
            total[tile.read[0]] += inputs[0].grad
    return total


def _gradients(gradient: Any, plan: TilePlan) -> Sequence[Any]:
    given = tuple(gradient) if isinstance(gradient, tuple | list) else (gradient,)
    shapes = [tuple(one.shape) for one in given]
    wanted = [one.shape for one in plan.outputs]
    if shapes != wanted:
        raise ArgumentError(
            f"the gradient has the shape {shapes}, and the outputs {wanted}; give one for each."
        )
    return given
