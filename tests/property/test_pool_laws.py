"""The native pools against folds over taps, for every instruction set that runs here."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from atrous.operators.kernels import native
from atrous.operators.kernels.library import library
from atrous.operators.kernels.pool import PoolLayer, run_pool
from tests.pool_fuzz import assert_agrees, drawn, result, values

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)


@pytest.fixture(params=native().isas or ("none",))
def instruction_set(request):
    library().atrous_use_instruction_set(request.param.encode())
    yield request.param
    library().atrous_use_instruction_set(native().isa.encode())


def test_random_pools_agree_with_the_folds_over_taps(instruction_set):
    rng = random.Random(2)
    for seed in range(80):
        assert_agrees(drawn(rng), seed)


def test_pools_do_not_depend_on_the_threads(instruction_set):
    rng = random.Random(9)
    for _ in range(15):
        pool = drawn(rng)
        x = values(pool, 0) + 0.1
        one = result(replace(pool, threads=1), x)
        for threads in (2, 5):
            np.testing.assert_array_equal(result(replace(pool, threads=threads), x), one)


@pytest.mark.parametrize("pad", [0, 1])
def test_rows_longer_than_the_cache_agree(pad):
    for last in (False, True):
        length = 20_001
        outputs = (length + 2 * pad - 3) // 2 + 1
        pool = PoolLayer(1, 9, (length,), (outputs,), (3,), (2,), (1,), (pad,), channels_last=last)
        assert_agrees(pool, 0)
        assert_agrees(replace(pool, average=True), 0)


def test_a_wrong_pool_is_noticed():
    pool = PoolLayer(1, 3, (9, 9), (9, 9), (3, 3), (1, 1), (1, 1), (1, 1))
    wrong = replace(pool, kernel=(3, 2))
    assert (result(wrong, values(pool, 0)) != result(pool, values(pool, 0))).any()


@pytest.mark.parametrize(
    "change",
    [
        {"batch": -1},
        {"kernel": (0, 3)},
        {"dilation": (1 << 61, 1)},
        {"dilation": (2, 2), "average": True},
        {"divisor": -2},
        {"pad": (1 << 60, 0)},
    ],
)
def test_what_no_pool_can_have_is_refused_before_any_memory_is_touched(change):
    pool = PoolLayer(1, 4, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    with pytest.raises(ValueError, match="the pool kernel refused"):
        run_pool(replace(pool, **change), 0, 0)


def test_padding_beyond_all_memory_is_told():
    pool = PoolLayer(1, 1, (8,), (8,), (2,), (1,), (1 << 41,), (1 << 41,))
    with pytest.raises(MemoryError, match="the pool kernel refused"):
        result(pool, values(pool, 0))


def test_empty_pools_are_no_work():
    pool = PoolLayer(0, 4, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    run_pool(pool, 0, 0)
    run_pool(replace(pool, batch=1, channels=0), 0, 0)
