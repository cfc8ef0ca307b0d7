"""The share of the input that no output reads, against NaN at each position of the input."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import pytest
import torch
from hypothesis import given, reject

import atrous
from atrous.analysis.unread import read_mask, unread_share
from atrous.network import Builder
from tests.oracles import drawing
from tests.parity.stacks import run_stack, stacks


def probed(run, shape: tuple[int, ...]) -> torch.Tensor:
    """True at each input position that turns some output NaN; one row of a batch probes one."""
    count = prod(shape[2:])
    x = torch.zeros(count, shape[1], count)
    x[torch.arange(count), :, torch.arange(count)] = float("nan")
    found = torch.isnan(run(x.reshape(count, *shape[1:])))
    return found.flatten(1).any(dim=1).reshape(shape[2:])


@pytest.mark.parametrize(("rank", "length"), [(1, 24), (2, 9), (3, 4)])
def test_unread_positions_of_stacks_are_those_whose_nan_reaches_no_output(rank, length):
    @drawing(40)
    @given(stacks(rank, ("conv", "dw", "max", "avg", "tconv", "up")))
    def check(text: str) -> None:
        shape = (1, 2, *(length + axis for axis in range(rank)))
        try:
            network = atrous.read(f"stack:{text}", shape)
        except atrous.GeometryError:
            reject()
        expected = probed(lambda x: run_stack(text, x), shape)
        assert torch.equal(torch.as_tensor(read_mask(network, "x")), expected), text
        missed = Fraction(int((~expected).sum()), expected.numel())
        assert unread_share(network, "x") == missed, text

    check()


class Branches(torch.nn.Module):
    """A 1x7 beside a 7x1, each with holes of its own: their union is no product of axes."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = torch.nn.Conv2d(1, 1, (1, 3), stride=5, dilation=(1, 2), padding=(0, 2))
        self.tall = torch.nn.Conv2d(1, 1, (3, 1), stride=5, dilation=(2, 1), padding=(2, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.flat(x) + self.tall(x)


def test_branches_are_united_and_not_boxed():
    model = Branches().eval()
    network = atrous.read(model, (1, 1, 19, 17))
    with torch.no_grad():
        expected = probed(model, (1, 1, 19, 17))
    mask = read_mask(network, network.inputs[0].name)
    assert torch.equal(torch.as_tensor(mask), expected)
    rows, columns = expected.any(1), expected.any(0)
    assert not torch.equal(expected, rows[:, None] & columns), "the test needs a union of boxes"


def test_an_output_that_is_cropped_later_does_not_count():
    b = Builder()
    x = b.input("x", (1, 1, 12))
    y = b.conv(x, 1, 1)
    network = b.build(b.pad(y, [(-2, -3)]))
    assert read_mask(network, "x").tolist() == [2 <= i < 9 for i in range(12)]


def test_an_input_that_nothing_reads_is_unread():
    b = Builder()
    x, z = b.input("x", (1, 1, 4)), b.input("z", (1, 1, 4))
    network = b.build(b.conv(z, 1, 1))
    assert (unread_share(network, "x"), unread_share(network, "z")) == (1, 0)
    assert x.name == "x"
