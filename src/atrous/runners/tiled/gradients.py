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
    engine: Any, plan: TilePlan, images: Sequence[Any], gradient: Any, of_images: bool
) -> tuple[torch.Tensor | None, ...] | None:
    """Adds to the parameters' gradients; returns those of the images where they are wanted.

    An image of whole numbers has none.
    """
    if not isinstance(engine, TorchTiles):
        raise UnsupportedError("gradients are those of PyTorch modules; this model is none.")
    if plan.statistics:
        raise UnsupportedError(
            f"{plan.statistics[0]}: every position has a part in its statistics, and gradients do "
            "not go through those by tiles."
        )
    given = _gradients(gradient, plan)
    totals: list[torch.Tensor | None] = [None] * len(images)
    for tile in plan.tiles():
        parts = [image[part] for image, part in zip(images, tile.read, strict=True)]
        inputs = engine.taken(parts)
        for one in inputs:
            if of_images and one.is_floating_point():
                one.requires_grad_()
        outputs = engine.forward(inputs, [tile])
        kept, wanted = [], []
        for cut, made, whole in zip(tile.keep, outputs, given, strict=True):
            if made.requires_grad:
                kept.append(made[cut.local])
                wanted.append(torch.as_tensor(whole[cut.target]).to(made.device, made.dtype))
        if not kept:
            raise ArgumentError(
                "no output depends on a parameter that is trained, or the image, or gradients are "
                "switched off here."
            )
        torch.autograd.backward(kept, wanted)
        for index, (one, part) in enumerate(zip(inputs, tile.read, strict=True)):
            if not of_images or one.grad is None:
                continue
            total = totals[index]
            if total is None:
                total = totals[index] = one.grad.new_zeros(plan.inputs[index].shape)
            total[part] += one.grad
    return tuple(totals) if of_images else None


def _gradients(gradient: Any, plan: TilePlan) -> Sequence[Any]:
    given = tuple(gradient) if isinstance(gradient, tuple | list) else (gradient,)
    shapes = [tuple(one.shape) for one in given]
    wanted = [one.shape for one in plan.outputs]
    if shapes != wanted:
        raise ArgumentError(
            f"the gradient has the shape {shapes}, and the outputs {wanted}; give one for each."
        )
    return given
