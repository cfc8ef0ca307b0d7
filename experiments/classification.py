"""Classification: which digit of 16x16 stands somewhere among pieces of others.

The schedules of the segmentation, with the mean of the last map and one linear layer behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments import scenes
from experiments.segmentation import SHAPE, Pictured, pictured, schedules, some
from experiments.shared import CHANNELS, Prediction, Schedule, Task, alike, body, more

__all__ = ["CLASSIFICATION", "Classifier"]


class Classifier(nn.Module):
    """The stack, the mean over its map, and a linear layer to ten digits."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.body = body(schedule, 2)
        self.head = nn.Linear(CHANNELS, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


def data(seed: int, _case: int, scale: float) -> Pictured:
    """2,000 scenes to train with and 500 to score, of all ten digits."""
    return pictured(scenes.load(), scenes.one_digit, seed, int(2000 * scale), int(500 * scale))


def score(network: nn.Module, found: Pictured) -> dict[str, float]:
    """The share of scenes whose digit is named."""
    said = torch.cat([network(part).argmax(1) for part in found.test_inputs.split(100)])
    return {"accuracy": float((said == found.test_targets).double().mean())}


def predictions(told: Mapping[str, Mapping[str, Any]]) -> Sequence[Prediction]:
    """What follows from fields and holes: one answer for the scene needs no fine grid."""
    size, small = told["doubling"]["size"], told["plain"]["size"]
    taps = told["constant"]["taps"]
    return (
        Prediction(
            f"A field of {size} is better than one of {small} for digits of 16.",
            more("accuracy", "doubling", "plain"),
        ),
        Prediction(
            "Output stride 8 does as well as 1, within 3 points: the field is the same.",
            alike("accuracy", "strided", "doubling", 0.03),
        ),
        Prediction(
            "So it does where both train for as many MACs.",
            alike("accuracy", "strided, longer", "doubling", 0.03),
        ),
        Prediction(
            "Output stride 4 does as well as 1, within 3 points.",
            alike("accuracy", "hybrid 4", "doubling", 0.03),
        ),
        Prediction(
            "Output stride 2 does as well as 1, within 3 points.",
            alike("accuracy", "hybrid 2", "doubling", 0.03),
        ),
        Prediction(
            f"Reading {taps} of {told['constant']['size']} positions is worse than reading all.",
            more("accuracy", "doubling", "constant"),
        ),
        Prediction("Mending the holes helps.", more("accuracy", "constant, degridded", "constant")),
        Prediction(
            "Joining the sub-grids of doubling rates changes nothing, within 3 points.",
            alike("accuracy", "doubling, degridded", "doubling", 0.03),
        ),
    )


CLASSIFICATION = Task(
    name="classification",
    schedules=schedules,
    cases=(0,),
    shape=SHAPE,
    causal=False,
    steps=500,
    batch=8,
    rate=0.01,
    tuned=("strided", "doubling", "constant"),
    measure="accuracy",
    build=Classifier,
    data=data,
    draw=some,
    loss=functional.cross_entropy,
    score=score,
    predictions=predictions,
)
