"""Random element-wise runs and group norms through the native kernels, against float64.

`python -m tests.elementwise_fuzz --draws 5000 --seed 1` runs as many as wanted, also in a build with
`-DATROUS_SANITIZE=ON`. It needs NumPy only.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from dataclasses import dataclass

import numpy as np

from atrous.operators.kernels import native
from atrous.operators.kernels.elementwise import (
    Channels,
    Elementwise,
    GroupNorm,
    Step,
    channel_means,
    channel_parts,
    norm_factors,
    norm_parts,
    run_elementwise,
)

erf = np.vectorize(math.erf, otypes=[float])

FUNCTIONS = {
    "none": lambda x, a, b: x,
    "relu": lambda x, a, b: np.maximum(x, 0),
    "relu6": lambda x, a, b: np.clip(x, 0, 6),
    "silu": lambda x, a, b: x / (1 + np.exp(-x)),
    "hardswish": lambda x, a, b: x * np.clip(x + 3, 0, 6) / 6,
    "gelu": lambda x, a, b: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "tanh": lambda x, a, b: np.tanh(x),
    "sigmoid": lambda x, a, b: 1 / (1 + np.exp(-x)),
    "leaky": lambda x, a, b: np.where(x < 0, a * x, x),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    "scaled": lambda x, a, b: a * x + b,
    "absolute": lambda x, a, b: np.abs(x),
    "clamped": lambda x, a, b: np.clip(x, a, b),
    "square": lambda x, a, b: x * x,
    "sine": lambda x, a, b: np.sin(x),
    "cosine": lambda x, a, b: np.cos(x),
}
"""Functions that magnify little what was rounded before them."""
POSITIVE = {
    "exp": lambda x: np.exp(x),
    "root": lambda x: np.sqrt(x),
    "root_below": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "logarithm": lambda x: np.log(x),
}
"""Functions that are tried on numbers of 0.5 to 2 alone."""
COMBINE = {
    "plus": np.add,
    "minus": np.subtract,
    "times": np.multiply,
    "over": np.divide,
    "more": np.maximum,
    "less": np.minimum,
}


@dataclass(frozen=True)
class Draw:
    """A run, and what it is given: arrays of 0.5 to 2 or of their negatives, by its inputs."""

    run: Elementwise
    seed: int
    over: int = -1


def drawn(rng: random.Random, seed: int = 0) -> Draw:
    """Lines shorter and longer than a chunk, inputs that differ along any axes, places used anew."""
    images = rng.choice([1, 1, 2, 3])
    columns = rng.choice([1, 3, 16, 33, rng.randint(1, 300), rng.randint(1000, 4000)])
    lines = rng.choice([1, 2, rng.randint(1, 70)]) if columns > 300 else rng.randint(1, 200)
    count = rng.randint(1, 5)
    kinds = [7, *(rng.randint(0, 7) for _ in range(count - 1))]
    rng.shuffle(kinds)
    scratch = rng.randint(1, 4)
    written: list[int] = []
    steps: list[Step] = []
    if rng.random() < 0.15:
        steps.append(Step(kinds.index(7), function=rng.choice([*POSITIVE])))
        return Draw(Elementwise(images, lines, columns, tuple(kinds), tuple(steps)), seed)
    many = rng.randint(1, 5)
    for n in range(many):
        values = [*range(count), *written]
        left, right = rng.choice(values), rng.choice([-1, *values])
        combine = rng.choice([*COMBINE])
        if combine == "over" and right >= count:  # a divisor that may be anything
            combine = "plus"
        function = rng.choice(["none", "none", *FUNCTIONS])
        low, high = sorted((rng.uniform(-2, 2), rng.uniform(-2, 2)))
        alpha, beta = (low, high) if function == "clamped" else (rng.uniform(-1, 1), rng.uniform(-1, 1))
        out = -1 if n + 1 == many else rng.randint(count, count + scratch - 1)
        steps.append(Step(left, right, combine, function, alpha, beta, out))
        if out >= 0 and out not in written:
            written.append(out)
    run = Elementwise(
        images,
        lines,
        columns,
        tuple(kinds),
        tuple(steps),
        scratch,
        rng.choice([1, 2, 3]),
    )
    return Draw(run, seed, kinds.index(7) if rng.random() < 0.3 else -1)


def inputs_of(draw: Draw) -> list[np.ndarray]:
    """Arrays of their own memory, in float32, each with as many axes as the run."""
    run, made = draw.run, np.random.default_rng(draw.seed)
    sizes = (run.images, run.lines, run.columns)
    found = []
    for kind in run.inputs:
        shape = tuple(size if kind >> axis & 1 else 1 for axis, size in enumerate(sizes))
        x = made.uniform(0.5, 2, shape)
        if run.steps[0].function not in POSITIVE:
            x *= made.choice([-1, 1], shape)
        found.append(x.astype(np.float32))
    return found


def expected(run: Elementwise, inputs: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """The result in float64, and the largest number on the way."""
    values: dict[int, np.ndarray] = {n: x.astype(float) for n, x in enumerate(inputs)}
    most, made = 2.0, values[0]
    for step in run.steps:
        made = values[step.left]
        if step.right >= 0:
            made = COMBINE[step.combine](made, values[step.right])
            most = max(most, float(np.abs(made).max()))
        if step.function in POSITIVE:
            made = POSITIVE[step.function](made)
        else:
            made = FUNCTIONS[step.function](made, step.alpha, step.beta)
        most = max(most, float(np.abs(made).max()))
        values[step.out] = made
    return np.broadcast_to(made, (run.images, run.lines, run.columns)), most


def result(draw: Draw, inputs: list[np.ndarray]) -> np.ndarray:
    run = draw.run
    out = np.full((run.images, run.lines, run.columns), 7.0, np.float32)
    if draw.over >= 0:
        inputs = [*inputs]
        out = inputs[draw.over] = inputs[draw.over].copy()
    run_elementwise(run, [x.ctypes.data for x in inputs], out.ctypes.data)
    return out


def assert_agrees(draw: Draw) -> None:
    """To what a few operations round off of the largest number on the way."""
    inputs = inputs_of(draw)
    wanted, most = expected(draw.run, inputs)
    apart = np.abs(result(draw, inputs) - wanted).max()
    assert apart <= 2e-5 * most * (1 + most), (draw, apart, most)


def drawn_norm(rng: random.Random) -> GroupNorm:
    groups = rng.choice([1, 1, 2, 4])
    return GroupNorm(
        images=rng.choice([1, 2, 3]),
        channels=groups * rng.choice([1, 2, 5, rng.randint(1, 40)]),
        groups=groups,
        positions=rng.choice([1, 7, 64, rng.randint(1, 2000)]),
        epsilon=rng.choice([1e-5, 1e-3]),
        channels_last=rng.random() < 0.5,
        threads=rng.choice([1, 2, 3]),
    )


def factors_of(norm: GroupNorm, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    made = np.full((2, norm.images, norm.channels), 7.0, np.float32)
    parts = np.full(norm_parts(norm), 7.0)
    x, weight, bias = (np.ascontiguousarray(one, np.float32) for one in (x, weight, bias))
    at = [one.ctypes.data for one in (x, weight, bias, made, parts)]
    norm_factors(norm, *at)
    return made


def assert_norm_agrees(norm: GroupNorm, seed: int) -> None:
    """On numbers whose mean may be far from zero."""
    rng = np.random.default_rng(seed)
    shape = (norm.images, norm.groups, norm.channels // norm.groups * norm.positions)
    x = rng.standard_normal(shape) + rng.choice([0, 0, 10, -300])
    weight, bias = rng.uniform(-2, 2, (2, norm.channels))
    x = x.astype(np.float32).astype(float)
    scale = 1 / np.sqrt(x.var(2, keepdims=True) + norm.epsilon)
    each = norm.channels // norm.groups
    scales = np.repeat(scale[..., 0], each, 1) * weight
    shifts = bias - np.repeat(x.mean(2), each, 1) * scales
    if norm.channels_last:
        x = x.reshape(norm.images, norm.channels, norm.positions).swapaxes(1, 2)
    found = factors_of(norm, x, weight, bias)
    size = 1 + np.abs(shifts).max() + np.abs(scales).max()
    assert np.abs(found[0] - scales).max() <= 2e-6 * size * np.abs(scales).max(), (norm, found[0])
    assert np.abs(found[1] - shifts).max() <= 4e-6 * size * (1 + np.abs(scales).max()), (norm, found)


def assert_means_agree(norm: GroupNorm, seed: int) -> None:
    """Of the channels of what a norm is for."""
    rng = np.random.default_rng(seed)
    maps = Channels(norm.images, norm.channels, norm.positions, norm.channels_last, norm.threads)
    x = rng.standard_normal((maps.images, maps.channels, maps.positions)) + rng.choice([0, 5])
    given = np.ascontiguousarray(x.swapaxes(1, 2) if maps.channels_last else x, np.float32)
    made = np.full((maps.images, maps.channels), 7.0, np.float32)
    parts = np.full(channel_parts(maps), 7.0)
    channel_means(maps, *(one.ctypes.data for one in (given, made, parts)))
    assert np.abs(made - x.mean(2)).max() <= 4e-6, maps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    for number in range(given.draws):
        assert_agrees(drawn(rng, number))
        norm = drawn_norm(rng)
        assert_norm_agrees(norm, number)
        assert_means_agree(norm, number)
    sys.stdout.write(f"{given.draws} draws agree with the definition; {native()}\n")


if __name__ == "__main__":
    main()
