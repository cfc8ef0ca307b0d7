"""The bench of training sees a gradient that is wrong, in a large parameter and in a small one."""

from __future__ import annotations

import pytest
import torch

from bench.shared.gradients import gradient_error

TRUTH = {
    "wide": torch.tensor([4.0, -8.0], dtype=torch.float64),
    "small": torch.tensor([0.5, 0.25], dtype=torch.float64),
    "bias before a norm": torch.tensor([1e-9], dtype=torch.float64),
}


@pytest.mark.parametrize(
    ("name", "place", "value", "whole", "own"),
    [
        ("wide", 1, -8.0, 0.0, 0.0),
        ("wide", 0, 6.0, 0.25, 0.25),
        ("small", 1, 0.0, 0.03125, 0.5),
        ("bias before a norm", 0, -8e-6, 1e-6, 0.0),
    ],
)
def test_the_largest_difference_of_all_and_of_its_own_parameter(name, place, value, whole, own):
    found = {key: one.float().clone() for key, one in TRUTH.items()}
    found[name][place] = value
    assert gradient_error(found, TRUTH) == pytest.approx((whole, own), rel=1e-3, abs=1e-9)


def test_a_parameter_without_a_gradient_is_an_error():
    with pytest.raises(KeyError):
        gradient_error({"wide": torch.ones(2)}, TRUTH)
