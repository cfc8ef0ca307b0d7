"""One image repeated for each of its windows: the batch is no axis of the map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.nan_probe import assert_reads_by_change


class QueryForEachWindow(nn.Module):
    """A small map repeated along the batch and added to each window of the large one."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.query = nn.Conv2d(2, 3, 3, 2, 1)
        self.last = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, query, h = len(x), self.query(x), x.shape[2] // 4
        if self.how == "repeat_interleave":
            query = query.repeat_interleave(h * h, dim=0)
        else:
            query = query.repeat(h * h, 1, 1, 1)
        tiles = self.conv(x).view(n, 3, h, 4, h, 4).permute(0, 2, 4, 1, 3, 5)
        tiles = tiles.reshape(-1, 3, 4, 4) + query
        tiles = tiles.view(n, h, h, 3, 4, 4).permute(0, 3, 1, 4, 2, 5)
        return self.last(tiles.reshape(n, 3, 4 * h, 4 * h))


class RepeatsAMapOfOne(nn.Module):
    """A map of a single position laid out over the places of another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, dilation=2, padding=2)
        self.whole = nn.Conv1d(2, 2, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.whole(x).repeat_interleave(9, dim=2)


@pytest.mark.parametrize("how", ["repeat_interleave", "repeat"])
def test_an_image_is_repeated_for_its_windows(how: str) -> None:
    report = assert_reads_by_change(QueryForEachWindow(how), (1, 2, 8, 8))
    assert list(report.network.tensor("x").grid) == ["h", "w"]


def test_a_map_of_one_position_is_repeated() -> None:
    assert_reads_by_change(RepeatsAMapOfOne(), (1, 2, 9))
