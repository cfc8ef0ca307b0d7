"""Random element-wise runs and group norms through the native kernels, against float64.

`python -m tests.elementwise_fuzz --draws 5000 --seed 1` runs as many as wanted, also in a build
with `-DATROUS_SANITIZE=ON`. It needs NumPy only.
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
    AxisSums,
    ElementStep,
    ElementwiseRun,
    GroupNorm,
    group_norm_factors,
    norm_parts,
    run_elementwise,
    sum_parts,
    summed_up,
)

erf = np.vectorize(math.erf, otypes=[float])

FUNCTIONS = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "absolute": np.abs,
    "square": np.square,
    "sine": np.sin,
    "cosine": np.cos,
}
"""Functions that magnify little what was rounded before them."""
WITH_NUMBERS = {
    "leaky": lambda x, a, _: np.where(x < 0, a * x, x),
    "elu": lambda x, a, _: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    "scaled": lambda x, a, b: a * x + b,
    "clamped": np.clip,
}
"""The same with two parameters."""
POSITIVE = {
    "exp": np.exp,
    "root": np.sqrt,
    "root_below": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "logarithm": np.log,
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

    run: ElementwiseRun
    seed: int
    over: int = -1


def drawn(rng: random.Random, seed: int = 0) -> Draw:
    """Lines shorter and longer than a chunk, inputs that differ along any axes, used places."""
    images = rng.choice([1, 1, 2, 3])
    columns = rng.choice([1, 3, 16, 33, rng.randint(1, 300), rng.randint(1000, 4000)])
    lines = rng.choice([1, 2, rng.randint(1, 70)]) if columns > 300 else rng.randint(1, 200)
    count = rng.randint(1, 5)
    sizes = (images, lines, columns)
    inputs = [
        _lying(sizes, 7, 0),
        *(_lying(sizes, rng.randint(0, 7), rng.choice([0, 0, 1, 5])) for _ in range(count - 1)),
    ]
    rng.shuffle(inputs)
    scratch = rng.randint(1, 4)
    written: list[int] = []
    steps: list[ElementStep] = []
    if rng.random() < 0.15:
        steps.append(ElementStep(rng.randrange(count), function=rng.choice([*POSITIVE])))
        return Draw(ElementwiseRun(images, lines, columns, tuple(inputs), tuple(steps)), seed)
    many = rng.randint(1, 5)
    for n in range(many):
        values = [*range(count), *written]
        left, right = rng.choice(values), rng.choice([-1, *values])
        combine = rng.choice([*COMBINE])
        if combine == "over" and right >= count:  # a divisor that may be anything
            combine = "plus"
        function = rng.choice(["none", "none", *FUNCTIONS, *WITH_NUMBERS])
        low, high = sorted((rng.uniform(-2, 2), rng.uniform(-2, 2)))
        alpha, beta = (
            (low, high) if function == "clamped" else (rng.uniform(-1, 1), rng.uniform(-1, 1))
        )
        out = -1 if n + 1 == many else rng.randint(count, count + scratch - 1)
        steps.append(ElementStep(left, right, combine, function, alpha, beta, out))
        if out >= 0 and out not in written:
            written.append(out)
    run = ElementwiseRun(
        images,
        lines,
        columns,
        tuple(inputs),
        tuple(steps),
        scratch,
        rng.choice([1, 2, 3]),
    )
    return Draw(run, seed, inputs.index(_lying(sizes, 7, 0)) if rng.random() < 0.3 else -1)


def _lying(sizes: tuple[int, int, int], kind: int, apart: int) -> tuple[int, int, int]:
    """Strides of an input that differs along the axes of the bits of `kind`, its lines apart."""
    column = kind >> 2 & 1
    line = (sizes[2] * column or 1) + apart if kind >> 1 & 1 else 0
    return (line * sizes[1] or sizes[2] * column or 1) if kind & 1 else 0, line, column


def inputs_of(draw: Draw) -> list[np.ndarray]:
    """Arrays in float32 with as many axes as the run, whose memory ends with their last number."""
    run, made = draw.run, np.random.default_rng(draw.seed)
    sizes = (run.images, run.lines, run.columns)
    found = []
    for steps in run.inputs:
        shape = tuple(size if step else 1 for step, size in zip(steps, sizes, strict=True))
        count = 1 + sum(step * (size - 1) for step, size in zip(steps, shape, strict=True))
        held = made.uniform(0.5, 2, count)
        if run.steps[0].function not in POSITIVE:
            held *= made.choice([-1, 1], count)
        held = held.astype(np.float32)
        strides = [4 * step for step in steps]
        found.append(np.lib.stride_tricks.as_strided(held, shape, strides))
    return found


def expected(run: ElementwiseRun, inputs: list[np.ndarray]) -> tuple[np.ndarray, float]:
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
        elif step.function in WITH_NUMBERS:
            made = WITH_NUMBERS[step.function](made, step.alpha, step.beta)
        else:
            made = FUNCTIONS[step.function](made)
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
    group_norm_factors(norm, *at)
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
    assert np.abs(found[1] - shifts).max() <= 4e-6 * size * (1 + np.abs(scales).max()), (
        norm,
        found,
    )


def drawn_sums(rng: random.Random) -> AxisSums:
    columns = rng.choice([1, 3, 16, rng.randint(1, 300), rng.randint(2000, 5000)])
    return AxisSums(
        images=rng.choice([1, 2, 3]),
        lines=rng.choice([1, 2, 127, 128, rng.randint(1, 400 if columns < 500 else 20)]),
        columns=columns,
        along_lines=rng.random() < 0.5,
        squared=rng.random() < 0.5,
        scale=rng.choice([1.0, rng.uniform(-2, 2)]),
        threads=rng.choice([1, 2, 3]),
    )


def sums_of(sums: AxisSums, x: np.ndarray) -> np.ndarray:
    x = np.ascontiguousarray(x, np.float32)
    made = np.full((sums.images, sums.columns if sums.along_lines else sums.lines), 7.0, np.float32)
    parts = np.full(sum_parts(sums), 7.0)
    summed_up(sums, *(one.ctypes.data for one in (x, made, parts)))
    return made


def assert_sums_agree(sums: AxisSums, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((sums.images, sums.lines, sums.columns)) + rng.choice([0, 5])
    x = x.astype(np.float32).astype(float)
    axis, of = 1 if sums.along_lines else 2, x * x if sums.squared else x
    apart = np.abs(sums_of(sums, x) - of.sum(axis) * sums.scale)
    assert (apart <= 1e-6 * (1 + np.abs(of).sum(axis) * abs(sums.scale))).all(), (sums, apart.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    for number in range(given.draws):
        assert_agrees(drawn(rng, number))
        assert_norm_agrees(drawn_norm(rng), number)
        assert_sums_agree(drawn_sums(rng), number)
    sys.stdout.write(f"{given.draws} draws agree with the definition; {native()}\n")


if __name__ == "__main__":
    main()
