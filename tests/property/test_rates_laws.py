"""Rates on maps: shares of taps inside, against convolutions of ones over ones."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional

import atrous
from atrous.analysis.rates import branch_of, percent, pyramids_of, same_branch
from atrous.geometry import Window, inside_counts
from tests.exporting import export

CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def taps_inside(sizes, windows):
    """How many taps of each output lie inside: a kernel of ones slid over a map of ones."""
    ones = torch.ones(1, 1, *sizes, dtype=torch.double)
    flat = [pad for w in reversed(windows) for pad in (w.pad_lo, w.pad_hi)]
    kernel = torch.ones(1, 1, *(w.kernel for w in windows), dtype=torch.double)
    made = CONVOLVE[len(sizes)](
        functional.pad(ones, flat),
        kernel,
        stride=tuple(w.stride for w in windows),
        dilation=tuple(w.dilation for w in windows),
    )
    return made[0, 0].numpy().round().astype(int)


def assert_is_as_counted(branch, counts):
    taps = branch.taps
    assert branch.inside == Fraction(int(counts.sum()), counts.size * taps)
    assert branch.full == Fraction(int((counts == taps).sum()), counts.size)
    assert branch.alone == Fraction(int((counts == 1).sum()), counts.size)
    assert branch.empty == Fraction(int((counts == 0).sum()), counts.size)


@pytest.mark.parametrize("seed", range(60))
def test_the_shares_are_those_of_ones_convolved_with_ones(seed):
    draw = random.Random(seed)
    rank = draw.choice([1, 2, 2, 3])
    sizes = tuple(draw.randint(1, 9 if rank == 3 else 40) for _ in range(rank))
    rate = tuple(draw.randint(1, 12 if rank == 3 else 45) for _ in range(rank))
    kernel = tuple(draw.randint(1, 5) for _ in range(rank))
    branch = same_branch(sizes, rate, kernel)
    assert_is_as_counted(branch, taps_inside(sizes, branch.windows))
    assert branch.mean_taps == branch.inside * branch.taps


@pytest.mark.parametrize("seed", range(60))
def test_counts_hold_for_any_window(seed):
    draw = random.Random(seed)
    while True:
        window = Window(
            draw.randint(1, 6), draw.randint(1, 4), draw.randint(1, 9),
            draw.randint(0, 30), draw.randint(0, 30),
        )  # fmt: skip
        length = draw.randint(1, 30)
        if length + window.pad_lo + window.pad_hi >= window.extent:
            break
    counts = taps_inside((length,), (window,))
    found = inside_counts(window, length)
    assert found == {n: int((counts == n).sum()) for n in found}
    assert sum(found.values()) == len(counts)


def test_a_wrong_count_is_noticed():
    branch = same_branch((9, 9), (2, 2), (3, 3))
    counts = taps_inside((9, 9), branch.windows)
    counts[0, 0] += 1
    with pytest.raises(AssertionError):
        assert_is_as_counted(branch, counts)


@pytest.mark.parametrize("size", [1, 2, 7, 12, (5, 11), (1, 9), (8,)])
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_limits_are_the_largest_rates_found_one_by_one(size, kernel):
    found = atrous.rates(size, (1,), output_stride=1, kernel=kernel)
    rank = len(found.map)

    def largest(holds):
        tried = range(1, max(found.map) + 3)
        return max((r for r in tried if holds(counts[r])), default=0)

    counts = {}
    for rate in range(1, max(found.map) + 3):
        branch = same_branch(found.map, (rate,) * rank, (kernel,) * rank)
        counts[rate] = taps_inside(found.map, branch.windows)
    assert found.limits.all_somewhere == largest(lambda c: (c == kernel**rank).any())
    assert found.limits.more_everywhere == largest(lambda c: (c > 1).all())
    assert found.limits.more_somewhere == largest(lambda c: (c > 1).any())
    if kernel == 3:
        assert found.limits.all_somewhere == (min(found.map) - 1) // 2
        assert found.limits.more_everywhere == max(found.map) // 2
        assert found.limits.more_somewhere == max(found.map) - 1


def counted(found, rate):
    """How many taps each position of the map has inside at this rate, by a convolution of ones."""
    kernel = found.branches[0].kernel
    return taps_inside(found.map, same_branch(found.map, (rate,) * len(kernel), kernel).windows)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 33, 64, (5, 11), (9, 40)])
@pytest.mark.parametrize(
    ("kernel", "rates"), [(3, (6, 12, 18)), (2, (1, 2)), (5, (3, 20)), (3, (4,))]
)
def test_safe_rates_are_the_largest_of_their_proportion_that_see_all_and_never_one(
    size, kernel, rates
):
    found = atrous.rates(size, rates, output_stride=1, kernel=kernel)
    taps = found.branches[0].taps

    def is_safe(rate):
        counts = counted(found, rate)
        return (counts > 1).all() and (counts == taps).any()

    safe = [rate for rate in range(1, max(found.map) + 3) if is_safe(rate)]
    assert (max(found.safe) if found.safe else None) == (max(safe) if safe else None)
    assert set(found.safe) <= set(safe)
    for rate in found.safe:
        # A rate given, times the same number for all, to the nearest.
        assert any(abs(rate - max(1, r * max(found.safe) / max(rates))) <= 0.5 for r in rates)
    assert [b.rate[0] for b in found.too_large] == [r for r in found.scaled if not is_safe(r)]
    for branch in found.too_large:
        assert_is_as_counted(branch, counted(found, branch.rate[0]))
    if len(found.map) == 2:
        _, _, large = " ".join(str(found).split()).partition("; too large here: ")
        assert bool(large) == bool(found.too_large)
        assert all(f"{b.rate[0]} has " in large for b in found.too_large)


@pytest.mark.parametrize(
    ("size", "stride", "side"),
    [(513, 16, 33), (512, 16, 32), (513, 8, 65), (321, 16, 21), (321, 8, 41), (769, 16, 49),
     (769, 8, 97), (520, 16, 33), (520, 8, 65)],
)  # fmt: skip
def test_the_map_is_what_halving_layers_leave(size, stride, side):
    assert atrous.rates(size, output_stride=stride).map == (side, side)
    map_ = torch.ones(1, 1, size, 1)
    for _ in range(stride.bit_length() - 1):
        map_ = functional.conv2d(map_, torch.ones(1, 1, 3, 1), stride=2, padding=(1, 0))
    assert map_.shape[2] == side


def test_shares_of_the_usual_pyramids():
    wide = atrous.rates(513, (12, 24, 36), output_stride=8)
    assert [round(float(b.full), 2) for b in wide.branches] == [0.40, 0.07, 0.0]
    small = atrous.rates(520, (12, 24, 36), output_stride=16)
    assert [b.alone == 1 for b in small.branches] == [False, False, True]
    assert small.scaled == (6, 12, 18)
    assert "3x3 in name, and a 1x1 here" in small.branches[2].verdict
    for n in (33, 65):
        for rate in range(1, 40):
            branch = same_branch((n, n), (rate, rate), (3, 3))
            assert branch.full == max(Fraction(0), 1 - Fraction(2 * rate, n)) ** 2


@pytest.mark.parametrize("rates", [(6, 12, 18), (1, 2, 3), (2, 5), (4,)])
@pytest.mark.parametrize("kernel", [2, 3, (3, 1), (1, 4)])
def test_together_branches_read_the_union_of_their_taps(rates, kernel):
    found = atrous.rates(99, rates, output_stride=1, kernel=kernel)
    image = torch.zeros(1, 1, 99, 99, dtype=torch.double, requires_grad=True)
    total = 0
    for branch in found.branches:
        flat = [pad for w in reversed(branch.windows) for pad in w.padding]
        ones = torch.ones(1, 1, *branch.kernel, dtype=torch.double)
        dilation = tuple(w.dilation for w in branch.windows)
        total = total + functional.conv2d(functional.pad(image, flat), ones, dilation=dilation)
    total[0, 0, 49, 49].backward()
    read = np.argwhere(image.grad[0, 0].numpy() != 0)
    assert found.taps == len(read)
    assert found.extent == tuple(read.max(axis=0) - read.min(axis=0) + 1)


class Pyramid(torch.nn.Module):
    """Three rates and a 1x1 side by side; `apart` pads by an op of its own."""

    def __init__(self, apart):
        super().__init__()
        self.apart = apart
        self.before = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.one = torch.nn.Conv2d(4, 4, 1)
        self.rated = torch.nn.ModuleList(
            torch.nn.Conv2d(4, 4, 3, dilation=r, padding=0 if apart else r) for r in (2, 5, 9)
        )

    def forward(self, x):
        x = self.before(x)
        found = [self.one(x)]
        for rated, r in zip(self.rated, (2, 5, 9), strict=True):
            found.append(rated(functional.pad(x, (r,) * 4) if self.apart else x))
        return torch.cat(found, 1)


@pytest.mark.parametrize("apart", [False, True])
def test_the_pyramid_of_a_network_is_that_of_its_map_however_it_is_padded(apart):
    report = atrous.inspect(Pyramid(apart), (1, 3, 25, 31))
    [found] = report.pyramids
    assert found.map == (13, 16)
    assert found.source == "before"
    assert [b.layer for b in found.branches] == ["rated.0", "rated.1", "rated.2"]
    alike = atrous.rates((25, 31), (2, 5, 9), output_stride=2)
    for branch, other in zip(found.branches, alike.branches, strict=True):
        assert_is_as_counted(branch, taps_inside(found.map, other.windows))
    assert found.limits == alike.limits
    assert "rates 2, 5, 9 on a map of 13x16" in str(report)
    assert report.to_dict()["pyramids"][0]["map"] == [13, 16]
    assert [f.layer for f in report.findings if f.code == "aspp-center"] == ["rated.2"]


@pytest.mark.parametrize("apart", [False, True])
def test_an_exported_file_has_the_pyramid_of_its_module(apart, tmp_path):
    path = tmp_path / "pyramid.onnx"
    model = Pyramid(apart).eval()
    export(model, torch.zeros(1, 3, 25, 31), path, dynamo=True)
    [of_file], [of_module] = (
        atrous.inspect(source, shape).pyramids
        for source, shape in ((path, None), (model, (1, 3, 25, 31)))
    )
    assert of_file.map == of_module.map
    for one, two in zip(of_file.branches, of_module.branches, strict=True):
        assert (one.rate, one.windows, one.inside) == (two.rate, two.windows, two.inside)


def test_padding_that_mirrors_is_no_padding_with_nothing():
    model = torch.nn.Conv2d(1, 1, 3, padding=4, dilation=4, padding_mode="reflect")
    network = atrous.read(model, (1, 1, 9, 9))
    assert pyramids_of(network) == ()
    found = [branch_of(node, network) for node in network.nodes]
    assert all(branch is None or branch.inside == 1 for branch in found)


def test_layers_one_after_the_other_are_no_pyramid():
    assert atrous.inspect("stack:k3d2 k3d4 k3d8", (1, 1, 33, 33)).pyramids == ()


def test_shares_say_0_and_100_only_where_that_is_exact():
    shares = [Fraction(0), Fraction(1, 10**9), Fraction(1, 3), 1 - Fraction(1, 10**9), Fraction(1)]
    assert [percent(share) for share in shares] == [
        "0%",
        "below 0.1%",
        "33%",
        "above 99.9%",
        "100%",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"size": 0}, "size=0"),
        ({"size": (5, 5, 5, 5)}, "axes do not go together"),
        ({"size": (5, 5), "kernel": (3,)}, "axes do not go together"),
        ({"size": 9, "rates": ()}, "there are no rates"),
        ({"size": 9, "rates": (0,)}, "rates=0"),
        ({"size": 9, "rates": (2.5,)}, "rate"),
        ({"size": 9, "rates": (10**9,)}, "rates=1000000000"),
        ({"size": 9, "kernel": 1}, "kernel=1 has no rate"),
        ({"size": 9, "kernel": 99}, "kernel=99"),
        ({"size": 9, "output_stride": -1}, "output_stride=-1"),
        ({"size": True}, "size=True"),
        ({"size": "513"}, "axes do not go together|size"),
        ({"size": 9, "rates": 6}, "rates 6"),
    ],
)
def test_what_is_no_size_or_rate_is_refused(arguments, says):
    with pytest.raises(atrous.GeometryError, match=says):
        atrous.rates(**arguments)
