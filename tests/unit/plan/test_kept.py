"""The least that a stream must keep: a cut that no choice of tensors is below."""

from __future__ import annotations

import random
from itertools import chain, combinations

from torch import nn
from torch.nn import functional

import atrous
from atrous.plan.kept import least_cut


def by_trying(wanted, made, each):
    """The least sum over all sets of things of which the rest can be made."""

    def follows(kept, name):
        return name in kept or (
            bool(made.get(name)) and all(follows(kept, one) for one in made[name])
        )

    names = list(each)
    sets = chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))
    return min(
        sum(each[name] for name in kept)
        for kept in sets
        if all(follows(kept, name) for name in wanted)
    )


def test_the_cut_is_the_least_of_all_sets():
    draw = random.Random(0)
    for _ in range(60):
        names = list(range(draw.randint(2, 8)))
        made = {
            name: draw.sample(names[:name], draw.randint(1, min(3, name)))
            for name in names[1:]
            if draw.random() < 0.7
        }
        each = {name: draw.randint(1, 9) for name in names}
        wanted = draw.sample(names, draw.randint(0, len(names)))
        assert least_cut(wanted, made, each) == by_trying(wanted, made, each)


class Block(nn.Module):
    """A window on an activation, beside a shortcut."""

    def __init__(self, channels=3, rate=2):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 5, padding=2 * rate, dilation=rate)

    def forward(self, x):
        return x + self.conv(functional.leaky_relu(x, 0.1))


def test_an_activation_is_made_again_of_what_a_shortcut_keeps():
    plan = atrous.plan_stream(Block(), (1, 3, 60))
    assert {one.layer: one.positions for one in plan.kept} == {"conv": 8, "add": 4}
    assert (plan.state_bytes, plan.least_bytes) == ((8 + 4) * 3 * 4, 8 * 3 * 4)
    assert "144 B in 2 layers; 96 B would do, activations and sums made again" in " ".join(
        str(plan).split()
    )


def test_nothing_less_would_do_where_windows_follow_one_another():
    net = nn.Sequential(nn.Conv1d(1, 4, 5, 2), nn.ReLU(), nn.Conv1d(4, 2, 3, dilation=3))
    plan = atrous.plan_stream(net, (1, 1, 80))
    assert plan.least_bytes == plan.state_bytes == (4 + 6 * 4) * 4
    assert plan.to_dict()["least_state_bytes"] == plan.state_bytes
