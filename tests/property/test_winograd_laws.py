"""The native minimal filtering against the definition in float64, on random dense layers."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from atrous.operators.kernels import native
from atrous.operators.kernels.winograd import Winograd, packed_size
from atrous.operators.tiles import Rest
from tests.winograd_fuzz import (
    Case,
    assert_agrees,
    assert_gradient_agrees,
    assert_same_on_any_threads,
    drawn,
    result,
)

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)


def test_random_layers_agree_with_the_sums_over_taps():
    rng = random.Random(7)
    for draw in range(300):
        case = drawn(rng, draw)
        assert_agrees(case)
        assert_gradient_agrees(case)


def test_no_result_depends_on_the_threads():
    rng = random.Random(8)
    for draw in range(40):
        assert_same_on_any_threads(drawn(rng, draw))


def test_more_channels_than_a_round_holds_and_more_tiles_than_a_block():
    layer = Winograd(1, 2100, 70, (26, 26), (26, 26), (3, 3), (2, 2), (2, 2), (6, 6), (3, 3))
    case = Case(layer, ((2, 2), (2, 2)), True, True, 1)
    assert_agrees(case)
    assert_gradient_agrees(case)
    assert_same_on_any_threads(case)


@pytest.mark.parametrize("rests", [(Rest(1, 1, 3), Rest()), (Rest(), Rest(1, 2, 0))])
def test_tiles_of_one_position_are_of_two_kinds(rests):
    """Then those of one kind are not all positions in their order."""
    layer = Winograd(2, 8, 16, (12, 21), (12, 21), (1, 1), (3, 1), (0, 0), (1, 1), (1, 1))
    assert_agrees(Case(replace(layer, rests=rests), ((0, 0), (0, 0)), True, False, 0))


def test_a_wrong_weight_is_noticed():
    case = Case(
        Winograd(1, 16, 16, (9, 9), (9, 9), (3, 3), (1, 1), (1, 1), (4, 4), (3, 3)),
        ((1, 1), (1, 1)),
        False,
        False,
        1,
    )
    assert_agrees(case)
    shifted = Case(
        Winograd(1, 16, 16, (9, 9), (9, 9), (3, 3), (1, 1), (0, 1), (4, 4), (3, 3)),
        ((1, 1), (1, 1)),
        False,
        False,
        1,
    )
    with pytest.raises(AssertionError, match="off by"):
        assert_agrees(shifted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tile": (7, 4)},
        {"tile": (0, 4)},
        {"kernel": (65, 3)},
        {"kernel": (0, 3)},
        {"taps": (6, 3), "tile": (2, 4)},
        {"taps": (1, 3)},
        {"taps": (2, 3), "tile": (2, 4)},
        {"stride": (0, 1)},
        {"stride": (2, 1), "turned": True},
        {"stride": (2**40, 1), "dilation": (2**40, 1)},
        {"dilation": (0, 1)},
        {"channels": 0},
        {"channels": 2**60},
        {"filters": 2**40, "channels": 2**40},
        {"input": (2**40, 2**40)},
        {"output": (2**62, 3)},
        {"pad": (2**62, 0)},
        {"rests": (Rest(8, 1, 1), Rest())},
        {"rests": (Rest(1, 1, 1), Rest())},
        {"rests": (Rest(3, -1, 1), Rest())},
        {"rests": (Rest(3, 2**61, 1), Rest())},
        {"closed": (True, False)},
        {"rests": (Rest(3, 3, 1, closed=True), Rest())},
        {"closed": (True, False), "tile": (3, 4), "dilation": (4, 1)},
        {"closed": (True, False), "tile": (2, 4), "dilation": (3, 1), "pad": (3, 1)},
    ],
)
def test_what_is_out_of_range_is_refused_before_any_memory_is_taken(wrong):
    fields = {
        "batch": 1,
        "channels": 16,
        "filters": 16,
        "input": (9, 9),
        "output": (9, 9),
        "kernel": (3, 3),
        "dilation": (1, 1),
        "pad": (1, 1),
        "tile": (4, 4),
        "taps": (3, 3),
    }
    layer = Winograd(**{**fields, **wrong})
    with pytest.raises(ValueError, match="out of range"):
        packed_size(layer)


def test_a_tile_takes_in_what_is_no_number():
    # Products of a tile mix its inputs: unlike the definition, all of its outputs are affected.
    x = np.zeros((1, 8, 8, 16), np.float32)
    x[0, 0, 0, 0] = np.nan
    layer = Winograd(1, 16, 16, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (4, 4), (3, 3))
    made = result(layer, x, np.ones((16, 16, 3, 3), np.float32), None, None)
    assert np.isnan(made[0, :4, :4]).all()
    assert np.isfinite(made[0, 5:, 5:]).all()
