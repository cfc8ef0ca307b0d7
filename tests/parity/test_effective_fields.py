"""Measured effective fields: gradients against path counts and footprints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import atrous
from atrous.errors import GeometryError, UnsupportedError
from atrous.runners.effective_field import measured_field


def alike(*layers):
    """Convolutions of one channel whose weights are all 1."""
    model = nn.Sequential(*layers)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model.eval()


@pytest.mark.parametrize("at", [None, (0, 3)])
def test_where_all_weights_are_alike_the_gradient_counts_paths(at):
    model = alike(
        nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(1, 1, (3, 5), dilation=2, padding=(2, 4), bias=False),
        nn.Conv2d(1, 1, 2, bias=False),
    )
    found = measured_field(model, (1, 1, 33, 40), at=at, samples=2)
    foot = atrous.inspect(model, (1, 1, 33, 40)).footprint(at=at)
    assert found.at == foot.at
    counts = foot.counts / foot.counts.sum()
    assert np.allclose(found.density, counts, rtol=1e-5, atol=1e-9)
    assert found.effective().size == foot.effective().size
    assert found.effective().origin == foot.effective().origin


def test_no_gradient_lies_outside_the_footprint_and_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=4, dilation=4, groups=4),
        nn.MaxPool2d(2),
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for weights in ("given", "random"):
        found = measured_field(model, (1, 3, 24, 24), samples=6, weights=weights)
        mask = atrous.inspect(model.eval(), (1, 3, 24, 24)).footprint().mask
        model.train()
        assert not found.density[~mask].any()
        assert found.density.sum() == pytest.approx(1)
        assert found.to_dict()["weights"] == weights
        assert f"6 random inputs with {weights} weights" in str(found)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_given_inputs_are_the_samples_and_random_weights_repeat():
    model = nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.ReLU(), nn.Conv1d(4, 4, 3, padding=1))
    inputs = torch.randn(3, 2, 30, generator=torch.Generator().manual_seed(1))
    found = measured_field(model, inputs, weights="random", seed=4)
    assert (found.inputs, found.samples) == ("given", 3)
    again = measured_field(model, inputs, weights="random", seed=4)
    assert np.array_equal(found.density, again.density)


def test_an_output_without_positions_and_a_position_outside_are_refused():
    flat = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UnsupportedError, match="no spatial axes"):
        measured_field(flat, (1, 1, 8, 8))
    with pytest.raises(GeometryError, match="is not in an output of"):
        measured_field(nn.Conv2d(1, 2, 3), (1, 1, 8, 8), at=(6, 0))
