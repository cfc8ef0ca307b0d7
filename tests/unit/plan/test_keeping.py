"""What is kept between sweeps, against all choices that there are."""

import random
from itertools import combinations

import pytest

from atrous.network import Builder
from atrous.network.ops import Mix, Reduce
from atrous.plan.keeping import legs_of
from atrous.plan.sweeps import sweeps_of


def drawn(seed):
    """A random network of convolutions, sums, concatenations, norms and means."""
    rng = random.Random(seed)
    b = Builder()
    maps = [b.conv(b.input("x", (1, 2, 12, 12)), 4, 3, padding=1)]
    for index in range(rng.randint(4, 8)):
        x = rng.choice(maps[-3:])
        kind = rng.choice(["conv", "norm", "sum", "beside", "mean", "act"])
        name = f"{kind}{index}"
        if kind == "conv":
            channels = rng.choice([4, 4, 8])
            maps.append(b.conv(x, channels, 3, padding=1, name=name))
        elif kind == "norm":
            maps.append(b.add(Mix((2, 3), "instance_norm"), x, name=name, origin=name))
        elif kind == "mean":
            mean = b.add(Reduce((2, 3), True, "mean"), x, name=name, origin=name)
            maps.append(b.join(x, mean, label="mul", name=f"scaled{index}"))
        elif kind == "sum":
            like = [one for one in maps if one.shape == x.shape]
            maps.append(b.join(x, rng.choice(like), name=name))
        elif kind == "beside":
            maps.append(b.concat(x, rng.choice(maps), name=name))
        else:
            maps.append(b.relu(x, name=name))
    return b.build(maps[-1])


def needs_of(network, sweeps, name):
    node = network.maker(name)
    if node is None or (node.name in sweeps and not isinstance(node.op, Mix)):
        return ()
    return node.inputs


def levels(network, sweeps):
    found = {tensor.name: 0 for tensor in network.inputs}
    for node in network.nodes:
        below = max((found[name] for name in node.inputs), default=0)
        found[node.output.name] = sweeps.get(node.name, below)
    return found


def computed(network, sweeps, wanted, kept):
    """What is computed of those `kept` to have those `wanted`; None where that needs the image."""
    made, left = set(), list(wanted)
    while left:
        name = left.pop()
        if name in kept or name in made:
            continue
        if network.maker(name) is None:
            return None
        made.add(name)
        left += needs_of(network, sweeps, name)
    return made


@pytest.mark.parametrize("seed", range(60))
def test_no_other_choice_of_maps_has_fewer_bytes(seed):
    network = drawn(seed)
    sweeps = sweeps_of(network, {"h", "w"})
    legs = legs_of(network, sweeps, lambda name: network.tensor(name).grid.get("h", 1) > 1)
    level = levels(network, sweeps)
    roots = {leg.sweep: [network.node(name).inputs[0] for name in leg.counted] for leg in legs}
    roots[legs[-1].sweep] = list(network.outputs)
    heavy = {node.output.name for node in network.nodes if node.macs}
    held, done = {"x"}, set()
    for leg in legs:
        # It has all that it computes with, and all that it is asked for.
        made = computed(network, sweeps, [*roots[leg.sweep], *leg.kept], set(leg.given))
        assert made == set(leg.made)
        assert set(leg.given) <= held
        assert all(sweeps[one] < leg.sweep for one in leg.known)
        # Nothing with multiply-accumulates is done twice.
        assert not made & heavy & done
        done |= made & heavy
        later = [name for sweep, names in roots.items() if sweep > leg.sweep for name in names]
        if not later:
            break
        there = {name for other in legs[leg.sweep :] for name in other.given}
        there &= held | set(leg.kept)
        cost = sum(network.tensor(name).nbytes for name in there - {"x"})
        choices = [
            name
            for name, at in level.items()
            if at < leg.sweep
            and (network.tensor(name).grid.get("h", 1) > 1)
            and (name in held or computed(network, sweeps, [name], held) is not None)
        ]
        for count in range(len(choices) + 1):
            for chosen in combinations(choices, count):
                again = computed(network, sweeps, later, set(chosen))
                possible = again is not None and not again & heavy & done
                if possible and sum(network.tensor(c).nbytes for c in chosen if c != "x") < cost:
                    raise AssertionError((leg.sweep, chosen, there))
        held = there
