"""One axis at its actual size: borders against NumPy's own padding, and what follows no window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atrous.errors import GeometryError
from atrous.geometry import AxisMap, Border, Everything, Local, Prefix, Reads, Table, Taps, Window
from atrous.geometry.axis import fold_back
from tests.oracles import counted, drawing
from tests.property.drawn import Drawn, rules, windows

NUMPY = {"clamp": "edge", "reflect": "reflect", "wrap": "wrap"}


@drawing(300)
@given(windows(), st.integers(1, 12), st.sampled_from(["drop", "clamp", "reflect", "wrap"]))
def test_a_window_reads_the_padded_input_that_numpy_makes(
    window: Window, length: int, border: Border
) -> None:
    room = length + window.pad_lo + window.pad_hi - window.extent
    assume(room >= 0)
    outputs = room // window.stride + 1
    lo, hi = max(window.pad_lo, 0), max(window.pad_hi, 0)
    if border == "drop":
        padded = np.pad(np.arange(length), (lo, hi), constant_values=-1)
    else:
        padded = np.pad(np.arange(length), (lo, hi), mode=NUMPY[border])  # type: ignore[call-overload]
    padded = padded[lo - window.pad_lo :]
    moved = Local(Reads.window(window), length, outputs, border)
    for output in range(outputs):
        first = output * window.stride
        seen = padded[first : first + window.extent : window.dilation].tolist()
        assert len(seen) == window.kernel
        assert dict(moved.at(output).items()) == counted(p for p in seen if p >= 0)


@drawing(150)
@given(rules(), st.integers(1, 9), st.integers(1, 12))
def test_dropped_reads_are_those_outside_the_input(rule: Drawn, length: int, outputs: int) -> None:
    moved = Local(rule.reads, length, outputs)
    for output in range(outputs):
        inside = {p: m for p, m in rule.enumerated(output).items() if 0 <= p < length}
        assert dict(moved.at(output).items()) == inside


@drawing(150)
@given(
    st.sampled_from(["drop", "clamp", "reflect", "wrap"]),
    st.integers(1, 7),
    st.integers(-4, 10),
)
def test_folding_leaves_positions_inside_where_they_are(
    border: Border, length: int, position: int
) -> None:
    target = fold_back(border, length)(position)
    if 0 <= position < length:
        assert target == position
    elif border == "drop":
        assert target is None
    else:
        assert target is not None
        assert 0 <= target < length


@drawing(60)
@given(st.integers(2, 7), st.integers(-40, 40))
def test_reflection_goes_to_and_fro_between_the_two_ends(length: int, position: int) -> None:
    here, step = 0, 1
    for _ in range(abs(position)):
        if not 0 <= here + step < length:
            step = -step
        here += step
    assert fold_back("reflect", length)(position) == here


@drawing(60)
@given(st.integers(0, 9), st.integers(1, 5))
def test_everything_reads_every_position(length: int, outputs: int) -> None:
    moved = Everything(length, outputs)
    assert all(list(moved.at(o)) == list(range(length)) for o in range(outputs))


@drawing(60)
@given(st.integers(1, 9), st.booleans())
def test_a_prefix_reads_its_past_and_itself(length: int, reverse: bool) -> None:
    moved = Prefix(length, length, reverse)
    for output in range(length):
        expected = range(output, length) if reverse else range(output + 1)
        assert list(moved.at(output)) == list(expected)


@drawing(40)
@given(st.lists(st.lists(st.integers(0, 8), max_size=4), min_size=1, max_size=4))
def test_a_table_reads_its_rows(rows: Sequence[Sequence[int]]) -> None:
    table = Table(9, tuple(Taps.of(row) for row in rows))
    assert table.outputs == len(rows)
    for output, row in enumerate(rows):
        assert dict(table.at(output).items()) == counted(row)


@pytest.mark.parametrize(
    "moved",
    [Local(Reads.identity(), 4, 4), Everything(4, 4), Prefix(4, 4), Table(4, (Taps.of([0]),) * 4)],
    ids=lambda moved: type(moved).__name__,
)
@pytest.mark.parametrize("output", [-1, 4])
def test_an_output_that_does_not_exist_is_refused(moved: AxisMap, output: int) -> None:
    with pytest.raises(GeometryError, match=f"output {output} does not exist .* use 0 to 3"):
        moved.at(output)
