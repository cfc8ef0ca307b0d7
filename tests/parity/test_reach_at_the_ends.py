"""What outputs at the input's ends read: NaN through PyTorch's own model at every position."""

from __future__ import annotations

from collections.abc import Callable
from math import floor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.analysis.check import check_report
from atrous.analysis.ends import is_causal
from atrous.analysis.requirements import parse_rules

LENGTH = 23


class Written(nn.Module):
    """A function of the input and one convolution."""

    def __init__(self, function: Callable[..., torch.Tensor], conv: nn.Module | None = None):
        super().__init__()
        self.function, self.conv = function, conv or nn.Conv1d(2, 2, 3, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, self.conv)


def padded(lo: int, hi: int, mode: str) -> Callable[..., torch.Tensor]:
    return lambda x, conv: conv(functional.pad(x, (lo, hi), mode=mode))


NETWORKS: dict[str, tuple[Callable[..., torch.Tensor], nn.Module | None]] = {
    "reflected in front": (padded(4, 0, "reflect"), None),
    "reflected on both sides": (padded(3, 2, "reflect"), nn.Conv1d(2, 2, 4, stride=2)),
    "wrapped in front": (padded(4, 0, "circular"), None),
    "wrapped behind": (padded(0, 4, "circular"), None),
    "repeated in front": (padded(4, 0, "replicate"), None),
    "zeros in front": (padded(4, 0, "constant"), None),
    "rolled on": (lambda x, conv: conv(x.roll(2, 2)), None),
    "cut, then wrapped": (lambda x, conv: padded(3, 1, "circular")(x[..., 2:-3], conv), None),
    "mirror laid in front": (lambda x, conv: conv(torch.cat([x[..., 1:5].flip(2), x], 2)), None),
    "its end laid in front": (lambda x, conv: conv(torch.cat([x[..., -4:], x], 2)), None),
    "two in a row": (lambda x, conv: torch.cat([x, 2 * conv(x)], 2), nn.Conv1d(2, 2, 1)),
    "turned and cropped": (lambda x, conv: padded(4, 0, "reflect")(x, conv)[..., 4:], None),
    "past alone": (lambda x, conv: conv(functional.pad(x, (5, 0)))[..., :-1], None),
    "zeros between, then cut": (
        lambda x, conv: conv(x)[..., 1:],
        nn.ConvTranspose1d(2, 2, 2, stride=3, dilation=2),
    ),
    "zeros of another layer": (
        lambda x, conv: functional.pad(conv(x), (3, 4)),
        nn.Conv1d(2, 2, 3, stride=3, padding=2),
    ),
    "wrapped, then up": (
        lambda x, conv: functional.interpolate(padded(2, 0, "circular")(x, conv), scale_factor=1.5),
        None,
    ),
}  # fmt: skip


def read_by_nan(model: nn.Module) -> np.ndarray:
    """Which outputs turn NaN with each input position: outputs first."""
    with torch.no_grad():
        columns = []
        for position in range(LENGTH):
            x = torch.ones(1, 2, LENGTH)
            x[..., position] = torch.nan
            columns.append(model(x).isnan().any(1)[0].numpy())
    return np.stack(columns, axis=1)


def inspected(name: str) -> tuple[atrous.Inspection, np.ndarray]:
    model = Written(*NETWORKS[name]).eval()
    return atrous.inspect(model, (1, 2, LENGTH)), read_by_nan(model)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_and_last_position_inside_are_those_that_turn_outputs_nan(name: str) -> None:
    report, read = inspected(name)
    start, stop = report.times().inside()
    assert len(start) == len(read)
    for output, row in enumerate(read):
        places = np.flatnonzero(row)
        got = (start[output], stop[output])
        assert got == (places[0], places[-1] + 1) if len(places) else got[0] == got[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_causal_where_no_output_turns_nan_by_a_later_position(name: str) -> None:
    report, read = inspected(name)
    stride = report.outputs[0].field[0].stride
    outputs, positions = np.nonzero(read)
    places = np.array([floor(o * stride) for o in outputs])
    ahead, back = max(positions - places), max(places - positions)
    check = check_report(report, causal=True)
    assert bool(check) == (ahead <= 0)
    assert is_causal(report.network, report.outputs[0], "t") == (ahead <= 0)
    assert ("causal: " in str(report)) == (ahead <= 0)
    for way, most in ("look-ahead", ahead), ("look-back", back):
        outcome = check_report(report, parse_rules(way, "<=99")).outcomes[0]
        # Inside, a field says more than the short input has room for.
        assert outcome.got is not None
        assert outcome.got >= most
        assert outcome.got == most or outcome.got <= 6


def test_a_pad_that_reflects_the_future_is_a_leak_and_one_that_repeats_the_first_is_none() -> None:
    leaks = {
        name: [f.layer for f in inspected(name)[0].findings if f.code == "leak"]
        for name in (
            "reflected in front",
            "wrapped in front",
            "repeated in front",
            "past alone",
        )
    }
    assert list(leaks.values()) == [["pad"], ["pad"], [], []]


def test_a_recurrence_behind_a_reflected_pad_reads_ahead_at_the_start() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.rnn = nn.Conv1d(2, 2, 3), nn.GRU(2, 2, batch_first=True)

        def forward(self, x: torch.Tensor, mode: str = "reflect") -> torch.Tensor:
            return self.rnn(self.conv(functional.pad(x, (2, 0), mode=mode)).mT)[0]

    report = atrous.inspect(Encoder(), (1, 2, LENGTH))
    outcome = check_report(report, causal=True).outcomes[0]
    assert not outcome.holds
    assert outcome.got == 2
    assert "at the input's ends, by pad, ahead 2" in " ".join(str(report).split())
    assert not check_report(report, parse_rules("look-ahead", "<=1"))


class Handing(nn.Module):
    """Between two causal layers, a function that hands one position to all the others."""

    def __init__(self, function, channels=4):
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 4, 3), nn.Conv1d(channels, 4, 3)
        self.function = function

    def forward(self, x):
        x = self.function(self.first(nn.functional.pad(x, (2, 0))))
        return self.second(nn.functional.pad(x, (2, 0)))


@pytest.mark.parametrize(
    ("function", "channels", "causal"),
    [
        (lambda x: torch.cat([x, x[..., -1:].expand(-1, -1, x.shape[-1])], 1), 8, False),
        (lambda x: torch.cat([x, x[..., :1].expand(-1, -1, x.shape[-1])], 1), 8, True),
        (lambda x: x * x[..., -1].sum(1)[:, None, None], 4, False),
        (lambda x: x * x[..., 0].sum(1)[:, None, None], 4, True),
        (
            lambda x: torch.einsum("bct,bc->bt", x, x[..., -1])[:, None].expand(-1, 4, -1),
            4,
            False,
        ),
    ],
)
def test_a_position_that_was_taken_out_and_meets_all_others_counts(function, channels, causal):
    torch.manual_seed(0)
    model = Handing(function, channels).double().eval()
    x = torch.randn(1, 4, 20, dtype=torch.float64)
    changed = x.clone()
    changed[..., 1:] += 1
    with torch.no_grad():
        assert bool((model(changed) == model(x))[..., 0].all()) is causal
    report = atrous.inspect(model, (1, 4, 20))
    assert is_causal(report.network, report.outputs[0], "t") is causal
