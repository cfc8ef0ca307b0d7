"""Random JAX functions: footprints against NaN and finite changes of the function itself."""

from __future__ import annotations

import jax
import pytest

from tests.jax_probe import assert_reads, drawn_network


@pytest.mark.parametrize("seed", range(6))
def test_the_footprints_of_random_functions_are_what_nan_shows(seed: int) -> None:
    function, shape = drawn_network(seed, finite=False)
    assert assert_reads(function, shape)


@pytest.mark.parametrize("seed", range(46, 50))
def test_the_footprints_of_random_functions_are_what_finite_changes_show(seed: int) -> None:
    with jax.enable_x64(True):
        function, shape = drawn_network(seed, finite=True)
        assert assert_reads(function, shape, finite=True)
