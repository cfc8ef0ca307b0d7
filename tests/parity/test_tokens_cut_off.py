"""A token in front of a map's positions, cut off again: behind it the map is the map it was."""

from __future__ import annotations

import torch
from torch import nn

from tests.nan_probe import assert_reads_by_change


class TokenInFront(nn.Module):
    """A token laid in front, a linear layer over all, the token cut off, a dilated convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 3))
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.mix = nn.Linear(3, 4)
        self.last = nn.Conv2d(4, 2, 3, dilation=2, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        rows = self.first(x).flatten(2).transpose(1, 2)
        rows = self.mix(torch.cat((self.token.expand(n, -1, -1), rows), dim=1))
        return self.last(rows[:, 1:].transpose(1, 2).reshape(n, 4, h, w))


def test_behind_the_token_the_map_has_its_own_axes() -> None:
    torch.manual_seed(0)
    report = assert_reads_by_change(TokenInFront(), (1, 2, 6, 7))
    assert [field.size for field in report.outputs[0].field] == [7, 7]
