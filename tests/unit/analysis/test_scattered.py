"""An output whose dimensions are a map's by size alone is not read as that map."""

import pytest

import atrous
from atrous.errors import UnsupportedError

torch = pytest.importorskip("torch")


class Scrambled(torch.nn.Module):
    """Views channels first as channels last: no position stays a position."""

    def forward(self, x):
        return x.reshape(x.shape[0], x.shape[2], x.shape[1]).transpose(1, 2)


class Kept(torch.nn.Module):
    def forward(self, x):
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1]).transpose(1, 2)


def test_channels_viewed_as_positions_are_not_a_map_of_field_one():
    report = atrous.inspect(Scrambled(), (1, 2, 20))
    assert not report.complete
    assert "transpose" in report.opaque[0]
    with pytest.raises(UnsupportedError, match="permute before reshaping"):
        report.footprint(at=10)


class Swapped(torch.nn.Module):
    """Rows and channels exchanged by a permute, and put back by a reshape, which does not."""

    def forward(self, x):
        return x.permute(0, 2, 1, 3).reshape(x.shape)


class Flattened(torch.nn.Module):
    """Tokens made a map again without the transpose that it takes."""

    def forward(self, x):
        return x.flatten(2).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("model", [Swapped(), Flattened()])
def test_channels_and_rows_mixed_by_a_reshape_are_not_a_map_of_field_one(model):
    report = atrous.inspect(model, (1, 3, 12, 12))
    assert not report.complete
    with pytest.raises(UnsupportedError, match="permute before reshaping"):
        report.footprint(at=(6, 6))


def test_a_reshape_that_keeps_positions_is_understood():
    report = atrous.inspect(Kept(), (1, 2, 20))
    assert report.complete
    assert report.footprint(at=10).mask.nonzero()[0].tolist() == [10]


@pytest.mark.parametrize("shape", [(1, 3, 12, 12), (2, 12, 12, 12)])
def test_channels_last_outputs_are_maps(shape):
    class Last(torch.nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    assert atrous.inspect(Last(), shape).complete
