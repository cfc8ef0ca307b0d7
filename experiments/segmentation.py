"""Segmentation: a digit of 16x16 in clutter and a line of one pixel, each pixel with its class.

All but `plain`, `constant` and the mended ones are one network on other grids: with the same
weights `doubling` computes what `strided` does, at every position instead of every eighth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from experiments import scenes
from experiments.shared import CHANNELS, Prediction, Schedule, Task, alike, body, degridded, more

__all__ = ["SEGMENTATION", "Segmenter", "pictured", "schedules"]

CLASSES = scenes.LINE + 1
SHAPE = (1, 1, scenes.SIDE, scenes.SIDE)


def schedules() -> dict[str, Schedule]:
    """Five layers: one field of 33 on four grids, a small field, one with holes, and two mended."""
    doubling = Schedule(((1, 1), (1, 1), (1, 2), (1, 4), (1, 8)))
    constant = Schedule(((1, 3),) * 5)
    strided = ((1, 1), (2, 1), (2, 1), (2, 1), (1, 1))
    return {
        "plain": Schedule(((1, 1),) * 5),
        "strided": Schedule(strided),
        "strided, longer": Schedule(strided, longer=10),
        "hybrid 4": Schedule(((1, 1), (2, 1), (2, 1), (1, 1), (1, 2))),
        "hybrid 2": Schedule(((1, 1), (2, 1), (1, 1), (1, 2), (1, 4))),
        "doubling": doubling,
        "doubling, degridded": degridded(doubling, SHAPE),
        "constant": constant,
        "constant, degridded": degridded(constant, SHAPE),
    }


class Segmenter(nn.Module):
    """The stack, a 1x1 to the classes, and those linear between the positions where they are.

    Outputs of stride s stand at 0, s, 2 s, ... of the input, whose last position is one of them.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.body = body(schedule, 2)
        self.head = nn.Conv2d(CHANNELS, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        said = self.head(self.body(x))
        if said.shape[2:] == x.shape[2:]:
            return said
        return functional.interpolate(said, x.shape[2:], mode="bilinear", align_corners=True)


@dataclass(frozen=True, slots=True)
class Pictured:
    """Scenes to train with and scenes to score."""

    inputs: torch.Tensor
    targets: torch.Tensor
    test_inputs: torch.Tensor
    test_targets: torch.Tensor


def pictured(digits: scenes.Digits, draw: Any, seed: int, train: int, test: int) -> Pictured:
    """So many scenes of either kind by a drawing function, from digits that are split first."""
    random = np.random.default_rng([seed, 2])
    known, unknown = digits.split(random, len(digits.labels) // 4)
    ours, theirs = draw(known, random, train), draw(unknown, random, test)
    return Pictured(
        *map(torch.from_numpy, (ours.inputs, ours.targets, theirs.inputs, theirs.targets))
    )


def some(
    data: Pictured, order: np.random.Generator, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch, drawn with replacement."""
    chosen = torch.from_numpy(order.integers(0, len(data.inputs), batch))
    return data.inputs[chosen], data.targets[chosen]


def data(seed: int, _case: int, scale: float) -> Pictured:
    """1,000 scenes to train with and 200 to score, of the digits 0 to 4."""
    found = scenes.load()
    small = found.some(np.flatnonzero(found.labels < CLASSES - 2))
    return pictured(small, scenes.street, seed, int(1000 * scale), int(200 * scale))


def score(network: nn.Module, found: Pictured) -> dict[str, float]:
    """Intersection over union: the mean of all classes, of the five digits, of the line."""
    said = torch.cat([network(part).argmax(1) for part in found.test_inputs.split(50)])
    pairs = torch.bincount((found.test_targets * CLASSES + said).flatten(), minlength=CLASSES**2)
    table = pairs.reshape(CLASSES, CLASSES).double()
    shared = table.diag()
    iou = shared / (table.sum(0) + table.sum(1) - shared).clamp(min=1)
    return {
        "mean IoU": float(iou.mean()),
        "digits": float(iou[1 : scenes.LINE].mean()),
        "line": float(iou[scenes.LINE]),
    }


def predictions(told: Mapping[str, Mapping[str, Any]]) -> Sequence[Prediction]:
    """What follows from output strides, fields and holes."""

    def fact(name: str, key: str) -> Any:
        return told[name][key]

    return (
        Prediction(
            f"Lines: output stride {fact('doubling', 'output_stride')} is better than "
            f"{fact('hybrid 2', 'output_stride')}; a line of 1 is thinner than what lies between "
            "outputs.",
            more("line", "doubling", "hybrid 2"),
        ),
        Prediction(
            "Lines: output stride 2 is better than 4.", more("line", "hybrid 2", "hybrid 4")
        ),
        Prediction("Lines: output stride 4 is better than 8.", more("line", "hybrid 4", "strided")),
        Prediction(
            "Lines: output stride 1 stays better than 8 where 8 trains ten times as long.",
            more("line", "doubling", "strided, longer"),
        ),
        Prediction(
            f"Digits of 16: a field of {fact('doubling', 'size')} is better than one of "
            f"{fact('plain', 'size')}.",
            more("digits", "doubling", "plain"),
        ),
        Prediction(
            f"Lines: a field of {fact('plain', 'size')} does as well as one of "
            f"{fact('doubling', 'size')}, within 3 points.",
            alike("line", "plain", "doubling", 0.03),
        ),
        Prediction(
            "Digits, whose strokes are 2 to 4 wide: output stride 2 does as well as 1, within 3 "
            f"points, for {fact('hybrid 2', 'macs') / fact('doubling', 'macs'):.0%} of the MACs.",
            alike("digits", "hybrid 2", "doubling", 0.03),
        ),
        Prediction(
            f"Lines: {fact('constant', 'taps')} of {fact('constant', 'size')} positions read is "
            "worse than all of them.",
            more("line", "doubling", "constant"),
        ),
        Prediction(
            "Digits: the same holes are worse than none.", more("digits", "doubling", "constant")
        ),
        Prediction(
            "Lines: mending the holes helps.", more("line", "constant, degridded", "constant")
        ),
        Prediction(
            "Digits: mending the holes helps.", more("digits", "constant, degridded", "constant")
        ),
        Prediction(
            "Mean IoU: joining the sub-grids of doubling rates helps.",
            more("mean IoU", "doubling, degridded", "doubling"),
        ),
    )


SEGMENTATION = Task(
    name="segmentation",
    schedules=schedules,
    cases=(0,),
    shape=SHAPE,
    causal=False,
    steps=400,
    batch=8,
    rate=0.03,
    tuned=("strided", "doubling", "constant"),
    measure="mean IoU",
    build=Segmenter,
    data=data,
    draw=some,
    loss=functional.cross_entropy,
    score=score,
    predictions=predictions,
)
