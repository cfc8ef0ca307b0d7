"""What a stretch of outputs needs, held against NaN put into the positions left out."""

from fractions import Fraction

import pytest
import torch
from torch import nn

import atrous
from atrous.network.stack import stack_network
from atrous.plan.regions import Needs, needs
from atrous.plan.strides import period, resized_by, strides
from atrous.refusal import Refusal


def reads_of(model, length, stretch):
    """The positions whose change is seen in a stretch of the outputs, by NaN at each."""
    found = []
    for place in range(length):
        x = torch.zeros(1, 1, length)
        x[0, 0, place] = float("nan")
        if model(x)[..., stretch.start : stretch.stop].isnan().any():
            found.append(place)
    return found


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize(("kernel", "dilation", "stride", "pad"), [(3, 4, 1, 4), (4, 2, 3, 5)])
def test_the_stretch_needed_holds_what_is_read_and_ends_with_it(
    mode, kernel, dilation, stride, pad
):
    model = nn.Sequential(
        nn.Conv1d(1, 1, kernel, stride, pad, dilation, padding_mode=mode),
        nn.ConvTranspose1d(1, 1, 3, 2),
    )
    nn.init.ones_(model[0].weight)
    nn.init.ones_(model[1].weight)
    net = atrous.read(model, (1, 1, 40))
    length = net.tensor(net.outputs[0]).grid["t"]
    for stretch in (range(3), range(length // 2, length // 2 + 4), range(length - 2, length)):
        found = needs(net, "t", {net.outputs[0]: stretch})
        seen = reads_of(model, 40, stretch)
        part = found.stretches[net.inputs[0].name]
        assert part.start <= seen[0]
        assert seen[-1] < part.stop
        if mode == "zeros":
            assert (part.start, part.stop) == (seen[0], seen[-1] + 1)


def test_ends_that_took_part_are_said():
    net = stack_network("k3 k3d4", (1, 1, 64))
    middle = needs(net, "t", {net.outputs[0]: range(20, 40)})
    left = needs(net, "t", {net.outputs[0]: range(4)})
    right = needs(net, "t", {net.outputs[0]: range(60, 64)})
    assert isinstance(middle, Needs)
    assert (middle.begins, middle.ends) == (False, False)
    assert (left.begins, left.ends) == (True, False)
    assert (right.begins, right.ends) == (False, True)


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.GroupNorm(1, 2)), "lets all positions see"),
        (nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular"), "wraps round the end"),
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.AdaptiveAvgPool1d(1)), "lets all positions see"),
    ],
)
def test_what_is_not_local_is_refused_by_its_name(model, word):
    net = atrous.read(model, (1, 1, 64))
    length = net.tensor(net.outputs[0]).grid.get("t", 1)
    found = needs(net, "t", {net.outputs[0]: range(length)})
    assert isinstance(found, Refusal)
    assert word in found.reason
    assert found.layer


def test_strides_of_all_tensors_and_the_period_of_origins():
    net = stack_network("k3s2 maxk2s2 tconvk2s2 k3", (1, 1, 64))
    found = strides(net, "t")
    assert [float(stride) for stride in found.values()] == [1, 2, 4, 2, 2]
    assert period(net, "t", found) == 4


def test_a_resize_to_the_size_of_another_map_stands_for_a_whole_factor():
    for factor in range(2, 9):
        for length in range(factor * (factor + 2), 200):
            # What a strided layer leaves of a map, and back to the size of the map.
            assert resized_by(-(-length // factor), length) == Fraction(1, factor)


def test_maps_of_two_strides_that_are_joined_are_refused():
    class Joined(nn.Module):
        def forward(self, x):
            return x[..., :32] + x[..., ::2]

    found = strides(atrous.read(Joined(), (1, 1, 64)), "t")
    assert isinstance(found, Refusal)
    assert "joins maps of stride" in found.reason
