"""What scans one way is not said to depend on the whole input."""

import pytest
import torch
from torch import nn

import atrous


class Recurrent(nn.Module):
    """An LSTM along the positions, over channels last."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 4, batch_first=True, bidirectional=both)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x.transpose(1, 2))[0].transpose(1, 2)


class Summed(nn.Module):
    """A running sum along the positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(-1)


def _messages(model: nn.Module) -> list[str]:
    found = atrous.inspect(model.eval(), (1, 4, 20)).findings
    return [f.message + " " + f.fix for f in found if f.code == "global"]


@pytest.mark.parametrize("model", [Recurrent(False), Summed()])
def test_a_scan_depends_on_what_comes_before(model: nn.Module) -> None:
    x = torch.randn(1, 4, 20, generator=torch.Generator().manual_seed(0))
    later = x.clone()
    later[..., 10:] = torch.nan
    assert torch.equal(model(x)[..., :10], model(later)[..., :10])
    (message,) = _messages(model)
    assert "before its own" in message
    assert "whole input" not in message
    assert "cannot be exact" not in message


@pytest.mark.parametrize("model", [Recurrent(True), nn.Sequential(Summed(), Recurrent(True))])
def test_a_scan_both_ways_depends_on_the_whole_input(model: nn.Module) -> None:
    (message,) = _messages(model)
    assert "depends on the whole input" in message


class Reversed(nn.Module):
    """The positions in reverse order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(-1)


def test_a_reversal_reads_one_position_and_is_not_said_to_read_all() -> None:
    report = atrous.inspect(Reversed(), (1, 4, 20))
    assert report.footprint(at=3).mask.nonzero()[0].tolist() == [16]
    (message,) = _messages(Reversed())
    assert "in another order" in message
    assert "whole input" not in message
    assert "in another order" in str(report)
    assert "all positions" not in str(report).split("layer")[0]
