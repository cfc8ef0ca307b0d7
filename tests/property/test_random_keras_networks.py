"""Random Keras models: footprints against NaN and against finite changes of the model itself."""

from __future__ import annotations

import pytest

from tests.keras_probe import assert_reads, drawn_network


@pytest.mark.parametrize("seed", range(40))
def test_the_footprints_of_random_models_are_what_nan_shows(seed: int) -> None:
    model, shape = drawn_network(seed, finite=False)
    assert assert_reads(model, shape)


@pytest.mark.parametrize("seed", range(40, 60))
def test_the_footprints_of_random_models_are_what_finite_changes_show(seed: int) -> None:
    model, shape = drawn_network(seed, finite=True)
    assert assert_reads(model, shape, finite=True)
