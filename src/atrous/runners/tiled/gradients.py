"""Gradients of a whole image's loss, tile by tile: every output position counts once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from atrous.errors import ArgumentError, UnsupportedError
from atrous.plan.tiles import Map, Tile, TilePlan
from atrous.runners.tiled.torch import TorchTiles

__all__ = ["backward"]


def backward(
    engine: Any, plan: TilePlan, images: Sequence[Any], gradient: Any, of_images: bool
) -> tuple[torch.Tensor | None, ...] | None:
    """Adds to the parameters' gradients; returns those of the images where they are wanted.

    An image of whole numbers has none. Statistics are to be gathered before: what the loss changes
    with them is gathered over all tiles, and goes on to the maps that they were counted of, once
    more over the image for each sweep.
    """
    if not isinstance(engine, TorchTiles):
        raise UnsupportedError("gradients are those of PyTorch modules; this model is none.")
    if not plan.exact:
        raise UnsupportedError(
            f"{plan.statistics[0]}: by each tile's own statistics this is another model, whose "
            "gradients are none of the image's; give statistics='exact'."
        )
    given = _gradients(gradient, plan)
    totals: list[torch.Tensor | None] = [None] * len(images)
    held = engine.leaves()

    def taken(tile: Tile) -> list[torch.Tensor]:
        inputs = engine.taken([image[p] for image, p in zip(images, tile.read, strict=True)])
        for one in inputs:
            if of_images and one.is_floating_point():
                one.requires_grad_()
        return inputs

    def collect(tile: Tile, inputs: Sequence[torch.Tensor]) -> None:
        for index, (one, part) in enumerate(zip(inputs, tile.read, strict=True)):
            if not of_images or one.grad is None:
                continue
            total = totals[index]
            if total is None:
                total = totals[index] = one.grad.new_zeros(plan.inputs[index].shape)
            total[part] += one.grad

    for tile in plan.tiles():
        inputs = taken(tile)
        # A first layer that works in place must not write to what gradients are wanted of.
        outputs = engine.forward([one.clone() for one in inputs] if held else inputs, [tile])
        kept, wanted = [], []
        for one, cut, made, whole in zip(plan.outputs, tile.keep, outputs, given, strict=True):
            if made.requires_grad and _stands_for(plan, tile, one):
                kept.append(made[cut.local])
                wanted.append(torch.as_tensor(whole[cut.target]).to(made.device, made.dtype))
        if not any(made.requires_grad for made in outputs):
            raise ArgumentError(
                "no output depends on a parameter that is trained, or the image, or gradients are "
                "switched off here."
            )
        if kept:
            torch.autograd.backward(kept, wanted)
            collect(tile, inputs)
    # What statistics had a part in, by the chain rule: those of the last sweep first.
    for sweep in range(plan.sweeps - 1, 0, -1):
        for tile in plan.tiles():
            inputs = taken(tile)
            pulled = engine.pulled([one.clone() for one in inputs], tile, sweep)
            if pulled.requires_grad:
                pulled.backward()
                collect(tile, inputs)
    return tuple(totals) if of_images else None


def _stands_for(plan: TilePlan, tile: Tile, output: Map) -> bool:
    """Whether a tile is the one whose output counts, where an output has no axis that is cut."""
    places = zip(plan.axes, tile.index, strict=True)
    return not any(place for axis, place in places if axis.axis not in output.axes)


def _gradients(gradient: Any, plan: TilePlan) -> Sequence[Any]:
    given = tuple(gradient) if isinstance(gradient, tuple | list) else (gradient,)
    shapes = [tuple(one.shape) for one in given]
    wanted = [one.shape for one in plan.outputs]
    if shapes != wanted:
        raise ArgumentError(
            f"the gradient has the shape {shapes}, and the outputs {wanted}; give one for each."
        )
    return given
