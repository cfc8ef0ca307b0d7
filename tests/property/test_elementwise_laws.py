"""Laws of element-wise passes and norms: the definition, on any threads, unsound ones refused."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from atrous.operators.kernels import native
from atrous.operators.kernels.elementwise import (
    AxisSums,
    ElementStep,
    ElementwiseRun,
    GroupNorm,
    elementwise_natively,
    norm_parts,
    run_elementwise,
    sum_parts,
)
from tests.elementwise_fuzz import (
    Draw,
    assert_agrees,
    assert_norm_agrees,
    assert_sums_agree,
    drawn,
    drawn_norm,
    drawn_sums,
    factors_of,
    inputs_of,
    result,
    sums_of,
)

pytestmark = pytest.mark.skipif(not elementwise_natively(), reason=native().reason)


@pytest.mark.parametrize("seed", range(6))
def test_passes_and_norms_agree_with_the_definition(seed):
    rng = random.Random(seed)
    for number in range(30):
        assert_agrees(drawn(rng, number))
        assert_norm_agrees(drawn_norm(rng), number)
        assert_sums_agree(drawn_sums(rng), number)


def test_no_result_depends_on_the_threads():
    rng = random.Random(1)
    for number in range(20):
        draw = replace(drawn(rng, number), over=-1)
        one, two = (
            result(replace(draw, run=replace(draw.run, threads=threads)), inputs_of(draw))
            for threads in (1, 3)
        )
        np.testing.assert_array_equal(one, two)
        norm = replace(drawn_norm(rng), positions=5000)
        x = np.random.default_rng(0).standard_normal((norm.images, norm.channels, 5000))
        ones = np.ones(norm.channels)
        made = [factors_of(replace(norm, threads=threads), x, ones, ones) for threads in (1, 3)]
        np.testing.assert_array_equal(*made)
        sums = drawn_sums(rng)
        x = np.random.default_rng(0).standard_normal((sums.images, sums.lines, sums.columns))
        made = [sums_of(replace(sums, threads=threads), x) for threads in (1, 3)]
        np.testing.assert_array_equal(*made)


STEPS = ElementStep
TIMES = STEPS(0, 1, "times", out=3)


@pytest.mark.parametrize(
    "steps",
    [
        (TIMES, STEPS(3, 2)),
        (TIMES, STEPS(2, 3, function="relu")),
        (TIMES, STEPS(3, 2, function="silu")),
        (TIMES, STEPS(3, 2, out=4), STEPS(4, 3, "times")),  # the product is read again
        (TIMES, STEPS(3, 2, out=3), STEPS(3, 0, "times", out=4), STEPS(4, 3)),
        (TIMES, STEPS(3, 2, out=4), STEPS(4, 0, out=3), STEPS(3, 4, "minus")),
        (TIMES, STEPS(3, 3)),
        (TIMES, STEPS(3, 2, "minus")),
        (STEPS(0, 1, "times", "relu", out=3), STEPS(3, 2)),
        (TIMES, STEPS(0, 2, out=4), STEPS(4, 3)),
    ],
)
@pytest.mark.parametrize("scale", [(0, 0, 1), (0, 1, 0), (0, 0, 0)])
@pytest.mark.parametrize("shift", [(0, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("columns", [5, 37, 2000])
def test_a_product_and_the_sum_behind_it_give_what_they_give_apart(steps, scale, shift, columns):
    inputs = ((7 * columns, columns, 1), scale, shift)
    assert_agrees(Draw(ElementwiseRun(1, 7, columns, inputs, steps, 2), 0))


def test_a_product_is_rounded_before_the_sum_behind_it_so_that_what_is_equal_cancels():
    x = np.random.default_rng(0).standard_normal(37).astype(np.float32)
    given, out = [x, -(x * x)], np.full(37, np.nan, np.float32)
    run = ElementwiseRun(1, 1, 37, ((0, 0, 1),) * 2, (STEPS(0, 0, "times", out=2), STEPS(2, 1)), 1)
    run_elementwise(run, [one.ctypes.data for one in given], out.ctypes.data)
    assert not out.any()


def test_passes_of_many_steps_are_made_in_full():
    x, scale, shift = (
        np.random.default_rng(n).standard_normal(20).astype(np.float32) for n in range(3)
    )
    one = (TIMES, STEPS(3, 2, out=4), STEPS(4, function="tanh", out=3))
    steps = (*one, *(STEPS(3, 2, "minus", "tanh", out=3),) * 70, STEPS(3))
    run = ElementwiseRun(1, 1, 20, ((0, 0, 1),) * 3, steps, 2)
    out = np.empty(20, np.float32)
    run_elementwise(run, [n.ctypes.data for n in (x, scale, shift)], out.ctypes.data)
    wanted = np.tanh(x.astype(float) * scale + shift)
    for _ in range(70):
        wanted = np.tanh(wanted - shift)
    np.testing.assert_allclose(out, wanted, atol=1e-4)


def test_what_is_not_a_number_stays_where_it_is():
    run = ElementwiseRun(1, 1, 40, ((0, 0, 1),) * 2, (ElementStep(0, 1, "plus", "relu"),))
    x, y = np.zeros((2, 40), np.float32)
    x[3], y[5], x[39] = np.nan, np.inf, np.nan
    out = np.empty(40, np.float32)
    run_elementwise(run, [x.ctypes.data, y.ctypes.data], out.ctypes.data)
    assert [*np.flatnonzero(np.isnan(out))] == [3, 39]
    assert [*np.flatnonzero(np.isinf(out))] == [5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"images": 0},
        {"lines": -1},
        {"columns": 0},
        {"columns": 1 << 61},
        {"inputs": ()},
        {"inputs": ((0, 0, 2),)},
        {"inputs": ((0, -1, 1),)},
        {"inputs": ((1 << 60, 0, 1),)},
        {"inputs": ((0, 0, 1),) * 25},
        {"scratch": 24},
        {"scratch": -1},
        {"steps": ()},
        {"steps": (ElementStep(1),)},
        {"steps": (ElementStep(0, 1),)},
        {"steps": (ElementStep(0, out=0), ElementStep(0))},
        {"steps": (ElementStep(0, out=2), ElementStep(0))},
        {"steps": (ElementStep(0, function="leaky_each"),)},
    ],
)
def test_what_is_no_run_is_refused(wrong):
    run = ElementwiseRun(
        **{"images": 1, "lines": 1, "columns": 1, "inputs": ((0, 0, 1),)}
        | {"steps": (ElementStep(0, out=1), ElementStep(1)), "scratch": 1}
        | wrong
    )
    with pytest.raises(ValueError, match="element-wise kernel refused"):
        run_elementwise(run, [0] * len(run.inputs), 0)


@pytest.mark.parametrize("wrong", [{"groups": 0}, {"groups": 3}, {"images": 0}, {"positions": 0}])
def test_what_is_no_norm_is_refused(wrong):
    norm = GroupNorm(
        **{"images": 1, "channels": 4, "groups": 2, "positions": 5, "epsilon": 1e-5} | wrong
    )
    assert norm_parts(norm) == 0
    if norm.groups == 2:
        assert sum_parts(AxisSums(norm.images, norm.channels, norm.positions)) == 0
