"""How dark the footprint's positions are: 32 shades by the logarithm of their paths."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.explore.tables import _greys

counts = st.lists(st.integers(0, 10**6), min_size=1, max_size=12)


@given(counts, counts)
def test_each_position_has_the_shade_of_its_own_logarithm(rows, columns):
    paths = [[row * column for column in columns] for row in rows]
    read = [log(one) for row in paths for one in row if one]
    for made, row in zip(_greys(rows, columns), paths, strict=True):
        assert len(made) == len(row)
        for grey, count in zip(made, row, strict=True):
            if not count:
                assert grey == 0
            else:
                low, high = min(read), max(read)
                step = 31 * (log(count) - low) / (high - low) if high - low > 1e-9 else 31
                # Between two shades either will do.
                near = {round(step - 1e-6), round(step + 1e-6)}
                assert grey in {60 + (1 + one) * 195 // 32 for one in near}


@pytest.mark.parametrize("kinds", [255, 256, 700])
def test_many_different_columns_are_shaded_like_few(kinds):
    columns = list(range(1, kinds + 1))
    [few] = _greys([1], [1, kinds])
    [many] = _greys([1], columns)
    assert (many[0], many[-1]) == (few[0], few[-1]) == (66, 255)
    assert sorted(many) == list(many)
