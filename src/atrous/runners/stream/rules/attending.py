"""Attention in a window that slides along time, by a mask that no input reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from atrous.readers.torch.bands import Band, band_of
from atrous.runners.stream.rules.base import Ends, Local, Rule, Step, Timed, plain_form, rule
from atrous.runners.stream.rules.calling import called

__all__ = ["Attending"]

_MOST = 1 << 26
"""Numbers of a mask that are looked at."""


class Attending(Rule):
    """Attention of each position to a band of positions around it."""

    def __init__(
        self, inputs: Sequence[int], band: Band, call: Any, *, placed: torch.Tensor | None
    ) -> None:
        super().__init__(inputs)
        self.band, self.call, self.like = band, call, placed

    @property
    def ahead(self) -> int:
        """How many later positions are seen."""
        return self.band.low + self.band.width - 1

    def ready(self, made: Sequence[int], sure: int) -> int:
        """As many as have all that they may see."""
        query, key, value = (made[i] for i in self.inputs)
        return max(0, min(sure, query, key - self.ahead, value - self.ahead))

    def first(self, done: int) -> tuple[int, ...]:
        """The first position that is seen."""
        return (done, done + self.band.low, done + self.band.low)

    def needs(self, outputs: range) -> tuple[range, ...]:
        """The positions that attend, and all that they see."""
        seen = range(outputs.start + self.band.low, outputs.stop + self.ahead)
        return (outputs, seen, seen)

    def settled(self, done: int) -> bool:
        """Once nothing in front of the input would be seen."""
        return done + self.band.low >= 0

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
        """Attention of the outputs to what there is of the positions that they see."""
        mask, call = self.band.mask(outputs, stretches[1]), self.call
        if mask.is_floating_point() and self.like is not None:
            mask = mask.to(self.like.dtype)
        mask = mask if self.like is None else mask.to(self.like.device)
        return lambda query, key, value: call(query, key, value, mask)


@rule("scaled_dot_product_attention")
def _attention(call: Timed) -> Rule:
    operands = [call.operand(key) for key in ("query", "key", "value")]
    behind = [len(one.shape) - one.dim for one in operands]
    if all(place > 2 for place in behind):
        return Local(*called(call))
    mask = call["attn_mask"]
    whole = "attention over all of time, which is known only at the end; attention in a bounded"
    if not isinstance(mask, torch.fx.Node) or call["is_causal"]:
        raise call.refusal(f"it is {whole} window, by a mask, would be a stream")
    if behind != [2, 2, 2] or len({one.rate for one in operands}) > 1 or call["dropout_p"]:
        raise call.refusal(f"it is {whole} window of its own positions would be a stream")
    masks = call.known.tables(mask)
    if masks is None:
        raise call.refusal("its mask depends on the input, so what it sees is not known before")
    if any(one.numel() > _MOST for one in masks):
        raise call.refusal("its mask is too large to be looked at; give a shorter example")
    if any(one.shape[-2] != one.shape[-1] for one in masks):
        raise call.refusal("its mask is of other positions than those that attend")
    band = band_of(masks)
    if isinstance(band, str):
        raise call.refusal(
            f"{band}; attention in a bounded window is a stream, and shows it where the example is "
            "longer than the window"
        )
    target = plain_form(call.node.target)._op
    scale, shared = call["scale"], bool(call["enable_gqa"])

    def run(query: Any, key: Any, value: Any, mask: torch.Tensor) -> Any:
        return target(query, key, value, mask, 0.0, False, scale=scale, enable_gqa=shared)

    meta = call.node.meta["val"]
    like = torch.empty(0, dtype=meta.dtype, device=meta.device)
    return Attending([one.index for one in operands], band, run, placed=like)
