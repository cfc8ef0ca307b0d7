"""A long memory: at every fourth position, say the bit of `lag` positions before.

Bits are random, so that who does not read that one says nothing better than a coin: what the field
holds decides, lag by lag. Every fourth position, because one network only has outputs there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import atrous
from experiments import scenes
from experiments.shared import (
    CHANNELS,
    Outcome,
    Prediction,
    Schedule,
    Scores,
    Task,
    alike,
    body,
    by_seed,
    degridded,
    interval,
)

__all__ = ["LAGS", "SEQUENCE", "Listener", "paths", "schedules"]

LENGTH = 192
SHAPE = (1, 1, LENGTH)
EVERY = 4
LEAST = 128
"""From here on all lags are inside."""

LAGS = (28, 29, 60, 120, 121, 126, 127)
"""The last of a field and the first behind it, for each field; and some inside, in holes or not."""


def schedules() -> dict[str, Schedule]:
    """Six causal layers each."""
    constant = Schedule(((1, 10),) * 6)
    return {
        "doubling": Schedule(tuple((1, 2**layer) for layer in range(6))),
        "two stacks": Schedule(((1, 1), (1, 2), (1, 4)) * 2),
        "strided, then dilated": Schedule(((2, 1), (2, 1), (1, 1), (1, 2), (1, 4), (1, 8))),
        "constant": constant,
        "constant, degridded": degridded(constant, SHAPE, causal=True),
    }


class Listener(nn.Module):
    """The causal stack and a 1x1 to two classes; output o of stride s hears up to s o + s - 1."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.body = body(schedule, 1, causal=True)
        self.head = nn.Conv1d(CHANNELS, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def paths(schedule: Schedule, lag: int) -> int:
    """How many paths lead from an output to the input `lag` before the last that it reads."""
    text, stride = schedule.text(causal=True), schedule.output_stride
    at = LENGTH // stride - 1
    footprint = atrous.inspect(text, SHAPE).footprint(at=(at,))
    return int(footprint.counts[stride * (at + 1) - 1 - lag])


@dataclass(frozen=True, slots=True)
class Lagged:
    """The lag, and where scored sequences come from."""

    lag: int
    seed: int
    scored: int


def data(seed: int, case: int, scale: float) -> Lagged:
    """Sequences are drawn while training; 200 others are scored."""
    return Lagged(case, seed, int(200 * scale))


def some(
    found: Lagged, random: np.random.Generator, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences, and the bits to be said at positions 3, 7, ... from `LEAST` on."""
    drawn = scenes.bits(random, batch, LENGTH, found.lag)
    targets = drawn.targets[:, LEAST + EVERY - 1 :: EVERY].astype(np.int64)
    return torch.from_numpy(drawn.inputs), torch.from_numpy(targets)


def asked(said: torch.Tensor) -> torch.Tensor:
    """Of outputs at any stride up to four, those that end where the targets do."""
    step = EVERY * said.shape[-1] // LENGTH
    return said[..., step - 1 :: step][..., LEAST // EVERY :]


def loss(said: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(asked(said), targets)


def score(network: nn.Module, found: Lagged) -> dict[str, float]:
    """The share of positions that are answered rightly; a coin has 0.5."""
    inputs, targets = some(found, np.random.default_rng([found.seed, 3]), found.scored)
    return {"accuracy": float((asked(network(inputs)).argmax(1) == targets).double().mean())}


def learnt(name: str, lags: Sequence[int]) -> Prediction:
    """Above 90% at each of these lags, on average over the seeds."""

    def judge(scores: Scores, _level: float) -> Outcome:
        means = [interval(list(by_seed(scores, name, "accuracy", lag).values())) for lag in lags]
        worst = min(found.mean for found in means)
        below = [str(lag) for lag, found in zip(lags, means, strict=True) if found.mean < 0.9]
        seen = f"worst {worst:.1%}" + (f"; below 90% at {', '.join(below)}" if below else "")
        return Outcome("failed" if below else "held", seen)

    return Prediction(f"`{name}` learns lags {', '.join(map(str, lags))}: it reads them.", judge)


def unread(name: str, lags: Sequence[int]) -> Prediction:
    """Within 2 points of a coin at each of these lags, on average over the seeds."""

    def judge(scores: Scores, _level: float) -> Outcome:
        means = [np.mean(list(by_seed(scores, name, "accuracy", lag).values())) for lag in lags]
        worst = max(means, key=lambda mean: abs(mean - 0.5))
        return Outcome("held" if abs(worst - 0.5) < 0.02 else "failed", f"furthest {worst:.1%}")

    listed = ", ".join(map(str, lags))
    return Prediction(f"`{name}` stays at a coin's 50% at lags {listed}: it reads none.", judge)


def predictions(told: Mapping[str, Mapping[str, Any]]) -> Sequence[Prediction]:
    """A lag that is read is learnt, one that is not stays chance."""
    made = []
    for name, schedule in schedules().items():
        read = [lag for lag in LAGS if paths(schedule, lag)]
        made += [learnt(name, read), unread(name, [lag for lag in LAGS if lag not in read])]

    def everywhere(scores: Scores, level: float) -> Outcome:
        lags = [lag for lag in LAGS if paths(schedules()["doubling"], lag)]
        mean: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
        for name in ("strided, then dilated", "doubling"):
            one = [by_seed(scores, name, "accuracy", lag) for lag in lags]
            seeds = set.intersection(*(set(found) for found in one))
            mean[name, 0] = {s: {"accuracy": float(np.mean([f[s] for f in one]))} for s in seeds}
        return alike("accuracy", "strided, then dilated", "doubling", 0.03)(mean, level)

    part = told["strided, then dilated"]["macs"] / told["doubling"]["macs"]
    made.append(
        Prediction(
            "Over the lags that it reads, strided, then dilated does as well as doubling, within "
            f"3 points, for {part:.0%} of the MACs.",
            everywhere,
        )
    )
    return made


SEQUENCE = Task(
    name="sequence",
    schedules=schedules,
    cases=LAGS,
    shape=SHAPE,
    causal=True,
    steps=100,
    batch=16,
    rate=0.01,
    tuned=("doubling", "strided, then dilated", "two stacks"),
    measure="accuracy",
    build=Listener,
    data=data,
    draw=some,
    loss=loss,
    score=score,
    predictions=predictions,
)
