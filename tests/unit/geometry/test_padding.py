"""Names of padding: what each leaves out, and what is refused."""

from __future__ import annotations

import pytest

from atrous.errors import GeometryError
from atrous.geometry import causal, pad, same_lower, same_upper, symmetric, torch_pads
from atrous.geometry.padding import same_torch


def test_stride_and_dilation_are_one_where_they_are_left_out() -> None:
    assert same_torch(4) == (1, 2)
    assert same_upper(8, 4) == (1, 2)
    assert same_lower(8, 4) == (2, 1)
    assert causal(4) == (3, 0)
    assert pad("causal", 4) == (3, 0)
    assert pad("same_upper", 4) == (1, 2)


@pytest.mark.parametrize(
    ("padding", "pads"),
    [
        ("same", ((4, 5), (0, 0))),
        ("valid", ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        ([3], ((3, 3), (3, 3))),
        ((1, 2), ((1, 1), (2, 2))),
    ],
)
def test_what_pytorch_is_given_is_what_each_axis_gets(
    padding: str | int | list[int], pads: tuple[tuple[int, int], ...]
) -> None:
    assert torch_pads(padding, (4, 1), (3, 1)) == pads


def test_a_kernel_and_a_dilation_of_different_ranks_are_no_window() -> None:
    with pytest.raises(ValueError, match="shorter"):
        torch_pads("same", (3, 3), (1,))


def test_a_side_that_is_not_padded_leaves_nothing_to_share() -> None:
    assert symmetric([(0, 3), (-2, -1)]) == ((0, 0), ((0, 3), (-2, -1)))


def test_an_unknown_name_of_padding_lists_the_known_ones() -> None:
    with pytest.raises(GeometryError) as error:
        pad("full", 3)  # type: ignore[arg-type]
    assert str(error.value) == (
        "padding 'full' is not known; use valid, same, same_upper, same_lower, causal or explicit "
        "numbers."
    )


def test_a_name_that_depends_on_the_length_asks_for_it() -> None:
    with pytest.raises(GeometryError) as error:
        pad("same_lower", 3, stride=2)
    assert str(error.value) == (
        "same_lower at stride 2 depends on the length of the axis; give it."
    )
