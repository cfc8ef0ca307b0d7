"""The probes themselves: batches that mix, axes where others have channels, wrong footprints."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import atrous
from tests.nan_probe import assert_footprints_agree

SHAPE = (1, 2, 12, 14)
WAYS = ({"alone": True}, {"alone": True, "finite": True, "silent": True})


class MixesTheBatch(nn.Module):
    """Each image has the mean of all images added; then a convolution of the rate given."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, dilation=rate, padding=rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x + x.mean(0, keepdim=True))


class TakesChannelsForDepth(nn.Module):
    """A convolution of three axes, one of which is what others have for channels."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3, dilation=(1, rate, 1), padding=(1, rate, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.unsqueeze(1))


class NormOfOne(nn.Module):
    """A norm of a single number, which is the same whatever the number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3)
        self.norm = nn.LayerNorm(1)
        self.last = nn.Linear(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.conv(x).permute(0, 2, 3, 1)))


KINDS = (MixesTheBatch, TakesChannelsForDepth)


def test_a_nan_in_a_batch_that_mixes_says_nothing() -> None:
    with pytest.raises(AssertionError, match="without a change of the input"):
        assert_footprints_agree(MixesTheBatch(2), SHAPE)


def test_three_axes_are_probed_where_there_is_one_channel() -> None:
    assert assert_footprints_agree(TakesChannelsForDepth(2), SHAPE).unread > 0


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_one_image_at_a_time_agrees(
    kind: type[MixesTheBatch | TakesChannelsForDepth], options: dict[str, bool]
) -> None:
    assert assert_footprints_agree(kind(2), SHAPE, **options).in_holes > 0


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_one_image_at_a_time_notices_a_wrong_rate(
    kind: type[MixesTheBatch | TakesChannelsForDepth], options: dict[str, bool]
) -> None:
    report = atrous.inspect(kind(1), SHAPE)
    with pytest.raises(AssertionError, match="the model"):
        assert_footprints_agree(kind(2), SHAPE, report=report, **options)


def test_a_read_that_no_change_shows_may_be_silent() -> None:
    options = {"alone": True, "finite": True}
    with pytest.raises(AssertionError, match="does not read"):
        assert_footprints_agree(NormOfOne(), SHAPE, **options)
    assert assert_footprints_agree(NormOfOne(), SHAPE, **options, silent=True).unread > 0
