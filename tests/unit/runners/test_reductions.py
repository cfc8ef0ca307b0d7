"""Functions told from each other by their code and by what they hold."""

from functools import partial

import numpy as np
import pytest

from atrous.errors import ArgumentError
from atrous.runners.tiled.images import Scaling
from atrous.runners.tiled.reductions import identity_of, reducer_of


def by(factor):
    def scaled(tile):
        return tile * factor

    return scaled


def counting(n):
    def again(tile):
        return again(tile - n) if tile.any() else tile

    return again


class Table:
    def __init__(self, values):
        self.values = np.array(values)

    def __call__(self, tile):
        return self.values[tile]


@pytest.mark.parametrize(
    "make",
    [
        by,
        counting,
        lambda n: partial(np.clip, a_min=0, a_max=n),
        lambda n: Table([0, n]),
        lambda n: Scaling(n),
        lambda n: reducer_of(f"threshold:{n}"),
        lambda n: by(np.array([n])),
        lambda n: by(partial(max, n)),
    ],
)
def test_the_same_function_made_again_is_the_same_and_another_is_not(make):
    assert identity_of(make(2)) == identity_of(make(2))
    assert identity_of(make(2)) != identity_of(make(3))


def test_what_no_reduction_is_called_is_refused():
    assert identity_of(reducer_of(None)) is None
    for name in ("softmax", "threshold", "threshold:x"):
        with pytest.raises(ArgumentError, match="give 'argmax', 'threshold"):
            reducer_of(name)
