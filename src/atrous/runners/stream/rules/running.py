"""Sums so far, and statistics of all positions so far in place of those of all of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from atrous.runners.stream.rules.base import Ends, Rule, Step, Timed

__all__ = ["Carried", "running_norm", "running_sum"]


class Carried(Rule):
    """What goes on from position to position with something carried along."""

    stateful = True

    def __init__(
        self,
        inputs: Sequence[int],
        call: Callable[..., Any],
        start: Callable[[], list[torch.Tensor]],
    ) -> None:
        super().__init__(inputs)
        self.call, self._start = call, start

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
        """The call, which takes what is carried first and writes it there."""
        return self.call

    def initial(self) -> list[torch.Tensor]:
        """What is carried into the first position."""
        return self._start()


def running_sum(call: Timed) -> Rule:
    """`cumsum` along time: the sum so far is carried."""
    x, dim = call.operand(), call.value.dim
    meta = call.node.meta["val"]

    def start() -> list[torch.Tensor]:
        shape = [1 if d == dim else size for d, size in enumerate(x.shape)]
        return [torch.zeros(shape, dtype=meta.dtype, device=meta.device)]

    def run(cell: list[torch.Tensor], new: torch.Tensor) -> torch.Tensor:
        made = new.cumsum(dim, dtype=meta.dtype) + cell[0]
        if made.shape[dim]:
            cell[0] = made.narrow(dim, made.shape[dim] - 1, 1).clone()
        return made

    return Carried([x.index], run, start)


def running_norm(call: Timed) -> Rule:
    """A norm over time by the statistics of what there was so far, where that is asked for."""
    if not call.known.running:
        raise call.refusal(
            f"its {call.name} takes statistics over all of time, which are known only at the end; "
            "running=True takes those of what came so far, which is another result"
        )
    x, dim = call.operand("input"), call.value.dim
    batch, channels = x.shape[:2]
    if call.name not in {"group_norm", "instance_norm"} or dim < 2:
        raise call.refusal(f"its {call.name} has no running form, since its weights go by position")
    groups = channels if call.name == "instance_norm" else int(call["num_groups"])
    affine = [None if call[key] is None else call.constant(key) for key in ("weight", "bias")]
    eps = float(call["eps"])
    meta = call.node.meta["val"]

    def start() -> list[torch.Tensor]:
        sums = torch.zeros((2, batch, groups, 1), dtype=torch.float64, device=meta.device)
        return [sums, torch.zeros((), dtype=torch.float64, device=meta.device)]

    def run(cell: list[torch.Tensor], new: torch.Tensor) -> torch.Tensor:
        along = new.movedim(dim, -1)
        if not along.shape[-1]:
            return new
        # Sums in float64: a variance by them loses half the digits.
        parts = along.reshape(along.shape[0], groups, -1, along.shape[-1]).double()
        sums = torch.stack([parts.sum(2), parts.square().sum(2)]).cumsum(-1) + cell[0]
        steps = torch.arange(1, along.shape[-1] + 1, device=new.device)
        counts = cell[1] + parts.shape[2] * steps
        cell[0], cell[1] = sums[..., -1:].clone(), counts[-1].clone()
        mean, square = sums / counts
        spread = (square - mean.square()).clamp(min=0) + eps
        made = (parts - mean.unsqueeze(2)) * spread.rsqrt().unsqueeze(2)
        made = made.reshape(along.shape).movedim(-1, dim)
        by_channel = [1, channels] + [1] * (made.dim() - 2)
        if affine[0] is not None:
            made = made * affine[0].view(by_channel)
        if affine[1] is not None:
            made = made + affine[1].view(by_channel)
        return made.to(new.dtype)

    return Carried([x.index], run, start)
