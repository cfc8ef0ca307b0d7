"""Laws of the native resize: it is the definition, on any threads, and refuses what is unsound."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from atrous.operators.kernels import native
from atrous.operators.kernels.resize import ResizeLayer, run_resize
from tests.resize_fuzz import assert_agrees, drawn, result

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)


@pytest.mark.parametrize("seed", range(8))
def test_resizes_agree_with_the_definition(seed):
    rng = random.Random(seed)
    for draw in range(25):
        assert_agrees(drawn(rng), draw)


def test_no_result_depends_on_the_threads():
    rng = random.Random(1)
    for _ in range(20):
        layer = drawn(rng)
        x = np.random.default_rng(0).standard_normal((layer.planes, *layer.input, layer.channels))
        one, two = (result(replace(layer, threads=threads), x) for threads in (1, 3))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "given",
    [
        *({"planes": -1}, {"input": (0, 4)}, {"output": (4, 0)}),
        *({"channels": 0}, {"channels": 4, "step": 3}),
    ],
)
def test_what_is_no_resize_is_refused(given):
    layer = ResizeLayer(**{"planes": 1, "input": (4, 4), "output": (8, 8), **given})
    with pytest.raises(ValueError, match="resize: no map of"):
        run_resize(layer, 0, 0)
