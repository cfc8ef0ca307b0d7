"""Sampling at stored coordinates against PyTorch's grid_sample, far outside the map too."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from atrous.geometry import sampled

OUTSIDE: list[Literal["zeros", "border", "reflection"]] = ["zeros", "border", "reflection"]
COORDINATES = [x / 7 for x in range(-45, 46)] + [-1.0, 1.0, -0.6, 0.2, 0.999, 3.0, 5.0, -7.0]


def weights(length: int, how: str, outside: str, aligned: bool) -> torch.Tensor:
    """What each output (last axis) makes of each position of a map, by float64."""
    eye = torch.eye(length, dtype=torch.float64)[:, None, None, :]
    points = torch.tensor(COORDINATES, dtype=torch.float64)
    grid = torch.stack([points, torch.zeros_like(points)], -1).expand(length, 1, -1, 2)
    mode = "bilinear" if how == "linear" else how
    found = torch.nn.functional.grid_sample(
        eye, grid, mode, padding_mode=outside, align_corners=aligned
    )
    return found[:, 0, 0]


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("outside", OUTSIDE)
def test_linear_reads_what_weighs_anything(
    length: int, aligned: bool, outside: Literal["zeros", "border", "reflection"]
) -> None:
    reads = sampled(COORDINATES, length, "linear", outside, align_corners=aligned)
    weighs = weights(length, "linear", outside, aligned)
    for output in range(len(COORDINATES)):
        must = {i for i in range(length) if weighs[i, output].abs() > 2**-16}
        read = set(reads.at(output))
        near = {q for p in must for q in (p - 1, p, p + 1)}  # on a sample rounding decides
        assert must <= read <= must | near, COORDINATES[output]
        assert len(read) <= 2 or not must - read


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("outside", OUTSIDE)
def test_nearest_reads_the_closest(
    length: int, aligned: bool, outside: Literal["zeros", "border", "reflection"]
) -> None:
    reads = sampled(COORDINATES, length, "nearest", outside, align_corners=aligned)
    weighs = weights(length, "nearest", outside, aligned)
    for output in range(len(COORDINATES)):
        must = {i for i in range(length) if weighs[i, output]}
        read = set(reads.at(output))
        assert must <= read, COORDINATES[output]
        assert len(read) <= 2


@pytest.mark.parametrize(
    ("point", "linear", "nearest"),
    [
        (2.0, [2], [2]),
        (2.25, [2, 3], [2]),
        (2.5, [2, 3], [2]),  # a tie goes to the even side
        (3.5, [3, 4], [4]),
        (2.5 + 1e-6, [2, 3], [2, 3]),  # rounding decides
        (2.5 - 1e-6, [2, 3], [2, 3]),
        (2.0 + 1e-6, [1, 2, 3], [2]),
        (2.0 - 1e-6, [1, 2, 3], [2]),
        (4.0 + 1e-6, [3, 4], [4]),
        (4.75, [4], []),
        (-0.25, [0], [0]),
        (-1.0, [], []),
    ],
)
def test_rounding_decides_close_to_a_sample_and_to_the_middle(
    point: float, linear: list[int], nearest: list[int]
) -> None:
    coordinate = point / 2 - 1  # of 5 positions, corners aligned
    assert list(sampled([coordinate], 5, "linear", align_corners=True).at(0)) == linear
    assert list(sampled([coordinate], 5, "nearest", align_corners=True).at(0)) == nearest


def test_outer_edges_are_the_ends_where_nothing_else_is_said() -> None:
    reads = sampled([-1.0, 1.0], 4, "linear")  # points -1/2 and 7/2, zeros outside
    assert [list(reads.at(o)) for o in range(2)] == [[0], [3]]


def test_the_ends_are_outer_edges_unless_told_otherwise() -> None:
    assert list(sampled([-0.25], 4, "linear").at(0)) == [1]
    assert list(sampled([-0.25], 4, "linear", align_corners=True).at(0)) == [1, 2]


def test_rounding_decides_closer_than_its_bound_to_a_sample_and_not_at_it() -> None:
    at, nearer = 2.0**-16, 2.0**-17
    reads = sampled([at, nearer], 3, "linear", align_corners=True)  # the points 1 + these
    assert [list(reads.at(o)) for o in range(2)] == [[1, 2], [0, 1, 2]]
