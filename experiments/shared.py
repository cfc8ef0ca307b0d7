"""What all tasks share: schedules, networks, training, what is foretold, and the statistics.

Networks of one task have the same layers, channels and kernels, hence as many parameters of the
same shapes: a seed gives all of them the same first weights, the same data and the same order of
it. Only strides and dilations differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import atrous

__all__ = [
    "Between",
    "Outcome",
    "Prediction",
    "Schedule",
    "Task",
    "alike",
    "body",
    "by_seed",
    "degridded",
    "difference",
    "facts",
    "interval",
    "more",
    "train",
]

CHANNELS = 16


@dataclass(frozen=True, slots=True)
class Schedule:
    """Stride and dilation of each layer of kernel 3, and how many times the usual steps it trains.

    >>> Schedule(((2, 1), (1, 4))).text()
    'stack:k3s2x16 k3d4x16'
    >>> Schedule(((2, 1), (1, 4))).output_stride
    2
    """

    layers: tuple[tuple[int, int], ...]
    longer: int = 1

    @property
    def output_stride(self) -> int:
        """Positions of the input for one of the output."""
        return int(np.prod([stride for stride, _ in self.layers]))

    def text(self, causal: bool = False) -> str:
        """As a stack that `atrous` reads."""
        return "stack:" + " ".join(
            "k3"
            + (f"s{stride}" if stride > 1 else "")
            + (f"d{rate}" if rate > 1 else "")
            + ("causal" if causal else "")
            + f"x{CHANNELS}"
            for stride, rate in self.layers
        )

    def short(self) -> str:
        """The rates, with the strides that are not 1.

        >>> Schedule(((1, 1), (2, 1), (1, 4))).short()
        '1, 1 (stride 2), 4'
        """
        return ", ".join(
            f"{rate} (stride {stride})" if stride > 1 else str(rate) for stride, rate in self.layers
        )


@cache
def degridded(schedule: Schedule, shape: tuple[int, ...], causal: bool = False) -> Schedule:
    """What `atrous.degrid` makes of it at an input `(1, 1, ...)`."""
    made = atrous.degrid(schedule.text(causal), shape).model
    windows = [node.op.windows[0] for node in made.nodes]
    return Schedule(tuple((window.stride, window.dilation) for window in windows))


def body(schedule: Schedule, axes: int, causal: bool = False) -> nn.Sequential:
    """The layers as a module: convolution, batch norm, ReLU, padded as the stack's text says.

    `(n, 1, ...)` becomes `(n, 16, ...)`. Causal layers of stride s are padded by extent - s before
    and s - 1 behind.
    """
    convolution, norm = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d))[axes - 1]
    parts: list[nn.Module] = []
    wide = 1
    for stride, rate in schedule.layers:
        if causal:
            parts.append(nn.ConstantPad1d((2 * rate + 1 - stride, stride - 1), 0.0))
        padding = 0 if causal else rate
        parts += [
            convolution(wide, CHANNELS, 3, stride, padding, rate, bias=False),
            norm(CHANNELS),
            nn.ReLU(),
        ]
        wide = CHANNELS
    return nn.Sequential(*parts)


@dataclass(frozen=True, slots=True)
class Facts:
    """What `atrous` says of a schedule before anything is trained.

    `size`, `taps`, `gap`, `grid` are of one axis: the field, the positions of it that are read,
    the longest run between them that is not, and the grid that all of them lie on. `even` is how
    evenly paths fall on it, 1 where all positions have as many. `macs` and `memory` (bytes of
    activations alive at the worst moment) are of the whole network at one input in inference.
    """

    rates: str
    output_stride: int
    size: int
    taps: int
    gap: int
    grid: int
    even: float
    findings: list[str]
    macs: int
    memory: int
    params: int


def facts(schedule: Schedule, network: nn.Module, shape: tuple[int, ...], causal: bool) -> Facts:
    """The field by the schedule's text, the price by the network that is trained."""
    seen = atrous.inspect(schedule.text(causal), shape)
    field = seen.outputs[0].field[0]
    price = atrous.inspect(network.eval(), shape)
    return Facts(
        schedule.short(),
        schedule.output_stride,
        field.size,
        field.taps,
        field.max_gap,
        field.step,
        round(evenness(schedule), 2),
        [finding.code for finding in seen.findings],
        price.macs,
        price.peak_memory_bytes,
        price.params,
    )


def evenness(schedule: Schedule) -> float:
    """Standard deviation of where the paths from an output end, over that of as many to each place.

    Along one axis; `size` positions in a row, as many paths to each, have sqrt((size^2 - 1) / 12).

    >>> evenness(Schedule(((1, 3), (1, 1))))
    1.0
    """
    counts = atrous.inspect(schedule.text(), (1, 1, 1025)).footprint().counts
    at = np.flatnonzero(counts)
    paths = counts[at].astype(float)
    spread = np.average((at - np.average(at, weights=paths)) ** 2, weights=paths)
    return float(np.sqrt(12 * spread / ((at[-1] - at[0] + 1) ** 2 - 1)))


@dataclass(frozen=True, slots=True)
class Task:
    """A task: its networks, its data, what is measured, and what is foretold of it.

    `data(seed, case, scale)` is made once for all schedules of a seed; `score(network, data)` is
    the measures of a trained one by name, each a share from 0 to 1. `cases` are what is trained
    apart, the lags of a sequence; a task without any has the one 0.
    """

    name: str
    schedules: Callable[[], Mapping[str, Schedule]]
    cases: tuple[int, ...]
    shape: tuple[int, ...]
    causal: bool
    steps: int
    batch: int
    rate: float
    tuned: tuple[str, ...]
    measure: str
    build: Callable[[Schedule], nn.Module]
    data: Callable[[int, int, float], Any]
    draw: Callable[[Any, np.random.Generator, int], tuple[torch.Tensor, torch.Tensor]]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    score: Callable[[nn.Module, Any], dict[str, float]]
    predictions: Callable[[Mapping[str, Mapping[str, Any]]], Sequence[Prediction]]

    def setting(self) -> dict[str, Any]:
        """What results of different runs must have in common to stand in one table."""
        return {
            "steps": self.steps,
            "batch": self.batch,
            "rate": self.rate,
            "channels": CHANNELS,
            "shape": list(self.shape),
            "schedules": {name: list(map(list, s.layers)) for name, s in self.schedules().items()},
        }

    def told(self) -> dict[str, dict[str, Any]]:
        """The facts of each schedule, as plain data."""
        return {
            name: asdict(facts(one, self.build(one), self.shape, self.causal))
            for name, one in self.schedules().items()
        }


def train(
    task: Task, schedule: Schedule, data: Any, seed: int, rate: float, steps: int
) -> dict[str, float]:
    """Trains one network from the seed's weights, in the seed's order, and scores it.

    Adam, the learning rate up to `rate` and down again in one cycle. Weights, order and data are
    three streams of the seed, the same for all schedules.
    """
    torch.manual_seed(seed)
    network = task.build(schedule)
    steps *= schedule.longer
    order = np.random.default_rng([seed, 1])
    adam = torch.optim.Adam(network.parameters(), rate)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, rate, total_steps=max(steps, 2))
    for _ in range(steps):
        inputs, targets = task.draw(data, order, task.batch)
        loss = task.loss(network(inputs), targets)
        adam.zero_grad()
        loss.backward()
        adam.step()
        cycle.step()
    network.eval()
    with torch.no_grad():
        return {name: round(value, 5) for name, value in task.score(network, data).items()}


@dataclass(frozen=True, slots=True)
class Between:
    """A mean, and the interval that holds the true one at the level that was asked for."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], level: float = 0.95) -> Between:
    """Student's interval of a mean: mean +- t s / sqrt(n), with n - 1 degrees of freedom.

    Values that are all alike have an interval of no width; one value alone has one without ends.

    >>> interval([1.0, 2.0, 3.0])  # 2 +- 4.303 / sqrt(3)
    Between(mean=2.0, low=-0.484..., high=4.484...)
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Between(mean, -np.inf, np.inf)
    from scipy import stats  # a second to import, and only tables need it

    reach = float(stats.t.ppf((1 + level) / 2, len(values) - 1))
    half = reach * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Between(mean, mean - half, mean + half)


def difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], level: float = 0.95
) -> Between:
    """The interval of the mean difference over the seeds that both have, paired by seed.

    >>> difference({1: 0.5, 2: 0.7, 3: 0.9}, {1: 0.4, 2: 0.5, 3: 0.6, 4: 0.0})
    Between(mean=0.2..., low=-0.048..., high=0.448...)
    """
    both = sorted(ours.keys() & theirs.keys())
    return interval([round(ours[seed] - theirs[seed], 6) for seed in both], level)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a prediction: `held`, `failed`, or `open` where the interval leaves both."""

    verdict: Literal["held", "failed", "open"]
    seen: str


Scores = Mapping[tuple[str, int], Mapping[int, Mapping[str, float]]]
"""For a schedule and a case, by seed, the measures."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A sentence that follows from the field, and how the outcome is judged at a level."""

    says: str
    judge: Callable[[Scores, float], Outcome]


def by_seed(scores: Scores, name: str, measure: str, case: int = 0) -> dict[int, float]:
    """The measure of a schedule, by seed."""
    return {seed: found[measure] for seed, found in scores[name, case].items()}


def points(found: Between) -> str:
    """In hundredths: the mean, and the interval.

    >>> points(Between(0.123, 0.1, 0.146))
    '+12.3 (+10.0 to +14.6)'
    """
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def more(measure: str, ours: str, theirs: str) -> Callable[[Scores, float], Outcome]:
    """Held where the interval of `ours` less `theirs` is above 0, failed where it is below."""

    def judge(scores: Scores, level: float) -> Outcome:
        found = difference(by_seed(scores, ours, measure), by_seed(scores, theirs, measure), level)
        verdict = "held" if found.low > 0 else "failed" if found.high < 0 else "open"
        return Outcome(verdict, points(found))

    return judge


def alike(
    measure: str, ours: str, theirs: str, margin: float
) -> Callable[[Scores, float], Outcome]:
    """Held where the interval lies within the margin, failed where it excludes it, else open."""

    def judge(scores: Scores, level: float) -> Outcome:
        found = difference(by_seed(scores, ours, measure), by_seed(scores, theirs, measure), level)
        if -margin < found.low and found.high < margin:
            return Outcome("held", points(found))
        outside = found.low > margin or found.high < -margin
        return Outcome("failed" if outside else "open", points(found))

    return judge
