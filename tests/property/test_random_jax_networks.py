"""Random JAX functions: footprints against NaN and finite changes of the function itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from tests.jax_probe import UnprobedError, assert_reads, drawn_network


@pytest.mark.parametrize("seed", range(6))
def test_the_footprints_of_random_functions_are_what_nan_shows(seed: int) -> None:
    function, shape = drawn_network(seed, finite=False)
    assert assert_reads(function, shape)


@pytest.mark.parametrize("seed", range(46, 50))
def test_the_footprints_of_random_functions_are_what_finite_changes_show(seed: int) -> None:
    with jax.enable_x64(True):
        function, shape = drawn_network(seed, finite=True)
        assert assert_reads(function, shape, finite=True)


def test_a_function_that_makes_nan_by_itself_is_not_probed() -> None:
    with pytest.raises(UnprobedError, match="NaN with no NaN in its input"):
        assert_reads(lambda x: x + jnp.log(-1 - x * x), (1, 5, 1))
