"""Masks of any shape: boxes hold each tap once, and layers read just what their weights leave."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atrous.geometry import Reads, Window, boxes, kept_taps
from atrous.readers.weights import ALL, zeros_of
from tests.oracles import drawing

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tests.nan_probe import assert_reads_by_change  # noqa: E402

PLACES = st.integers(1, 3).flatmap(
    lambda rank: st.sets(st.tuples(*[st.integers(0, 4)] * rank), min_size=1, max_size=30)
)


@drawing(150)
@given(PLACES)
def test_boxes_hold_each_place_once_and_nothing_else(places: set[tuple[int, ...]]) -> None:
    held = [place for box in boxes(places) for place in product(*box)]
    assert sorted(held) == sorted(places)


@drawing(100)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_kept_taps_are_all_but_those_unread(kernel: list[int], data: st.DataObject) -> None:
    every = list(product(*map(range, kernel)))
    gone = data.draw(st.sets(st.sampled_from(every), max_size=len(every) - 1))
    parts = kept_taps(tuple(kernel), tuple(sorted(gone)))
    held = [
        place
        for part in parts
        for place in product(
            *(range(n) if along is None else along for n, along in zip(kernel, part, strict=True))
        )
    ]
    assert sorted(held) == sorted(set(every) - gone)


@drawing(100)
@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(-2, 4),
    st.data(),
)
def test_reads_of_kept_taps_are_those_taps_of_all(
    kernel: int, stride: int, dilation: int, pad: int, data: st.DataObject
) -> None:
    window = Window(kernel, stride, dilation, pad)
    kept = tuple(sorted(data.draw(st.sets(st.integers(0, kernel - 1), min_size=1))))
    for output in range(5):
        found = list(Reads.window(window, kept).at(output))
        assert found == [window.taps(output)[tap] for tap in kept]
        # Turned round: input `i` reaches output `o` by a tap that is kept.
        back = list(Reads.transposed(window, kept).at(output))
        assert back == [
            i
            for i in range(-20, 20)
            if any(i * stride - pad + dilation * tap == output for tap in kept)
        ]


@drawing(100)
@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.data())
def test_zeros_are_found_in_whatever_filter_they_end(
    filters: int, channels: int, rows: int, columns: int, data: st.DataObject
) -> None:
    weight = np.zeros((filters, channels, rows, columns))
    for _ in range(data.draw(st.integers(0, 4))):
        place = tuple(data.draw(st.integers(0, n - 1)) for n in weight.shape)
        weight[place] = data.draw(st.sampled_from([1.0, -1e-300, np.nan, np.inf]))
    zeros = {(i, j) for i, j in np.ndindex(rows, columns) if not weight[:, :, i, j].any()}
    for numbers in (weight, torch.from_numpy(weight), torch.from_numpy(weight).transpose(0, 1)):
        found = zeros_of(numbers, (rows, columns))
        assert found == ALL if len(zeros) == rows * columns else set(found) == zeros


@drawing(25)
@given(
    st.integers(1, 2),
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
    st.tuples(st.integers(1, 2), st.integers(1, 3)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.booleans(),
    st.data(),
)
def test_any_masked_layer_reads_what_a_change_shows(
    groups: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    transposed: bool,
    data: st.DataObject,
) -> None:
    torch.manual_seed(0)
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    conv = kind(2, 2, kernel, stride, padding=padding, dilation=dilation, groups=groups)
    shape = (1, 2, 6, 5)
    try:
        made = conv(torch.zeros(shape))
    except RuntimeError:
        made = None
    assume(made is not None and made.numel())
    every = list(np.ndindex(*kernel))
    gone = data.draw(st.sets(st.sampled_from(every), max_size=len(every) - 1))
    with torch.no_grad():
        for tap in gone:
            conv.weight[(slice(None), slice(None), *tap)] = 0
    assert_reads_by_change(conv, shape)
