"""Many streams side by side: each gives what it gives alone, whatever the others do."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import atrous
from atrous.errors import ArgumentError, ArgumentTypeError, RunError
from atrous.operators.kernels.stream import streams_natively
from tests.streamed_networks import NETWORKS, RUNNING


def lived(live, most, *, streams=5, seed=0, length=90):
    """Streams that begin, get chunks and end at random: what came of each, and its input.

    The sizes of the batches that ran are in the third.
    """
    draw, many = random.Random(seed), live.slots(most)
    inputs, pieces, sizes = {}, {}, []
    run = {n: one.steps.push for n, one in many._batches.items()}
    for n, one in many._batches.items():
        one.steps.push = lambda x, n=n: (sizes.append(n), run[n](x))[1]
    waiting, hop = list(range(streams)), live.hop
    numbers = torch.Generator().manual_seed(seed)
    while waiting or len(many):
        for _ in range(draw.randint(0, len(waiting))):
            key = many.open(waiting.pop())
            shape = list(live.shape)
            shape[live.axis] = draw.choice([length, length + 2 * hop])
            inputs[key] = torch.randn(shape, dtype=torch.float64, generator=numbers)
            pieces[key] = []
        chunks, most_often = {}, draw.choice([hop, 2 * hop])
        for key in many:
            x, done = inputs[key], many.count(key)
            left = x.shape[live.axis] - done
            if not left:
                pieces[key].append(many.close(key))
            elif draw.random() < 0.8:
                count = min(left, draw.choice([most_often, most_often, 0, draw.randint(1, 9)]))
                chunks[key] = x.narrow(live.axis, done, count)
        for key, made in many.push(chunks).items():
            pieces[key].append(made)
    return {k: torch.cat(v, live.output_axis) for k, v in pieces.items()}, inputs, sizes


LAYOUTS = {**NETWORKS, **RUNNING}
SOME = (
    "vocoder of repeated frames", "GRU", "keywords, frames as rows", "Conv-TasNet, cumulative",
    "attention in blocks",
)  # fmt: skip


@pytest.mark.parametrize("name", SOME)
def test_each_of_many_streams_gives_what_it_gives_alone(name):
    layout = LAYOUTS[name]
    net = layout.model()
    live = atrous.stream(net, torch.empty(layout.shape, dtype=torch.float64), axis=layout.time)
    found, inputs, sizes = lived(live, 2, streams=3, length=layout.length)
    assert max(sizes) == 2
    for key, made in found.items():
        with torch.no_grad():
            whole = net(inputs[key])
        assert made.shape == whole.shape
        assert (made - whole).abs().max() <= 1e-12 * max(1, whole.abs().max())


def model():
    torch.manual_seed(0)
    layers = [nn.Conv1d(1, 4, 5, 2, 2), nn.LeakyReLU(0.1), nn.Conv1d(4, 1, 3, padding=1)]
    return nn.Sequential(*layers).double()


SOUND = torch.randn(1, 1, 120, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_streams_that_stand_alike_run_as_one_batch_and_part_when_they_do_not():
    live = atrous.stream(model(), (1, 1, 64))
    many = live.slots(8)
    names = [many.open() for _ in range(7)]
    for _ in range(4):
        many.push(dict.fromkeys(names, SOUND[..., :10]))
    assert {len(many._groups[name].keys) for name in names} == {4, 2, 1}
    many.push(dict.fromkeys(names[:2], SOUND[..., :10]))
    assert [len(many._groups[name].keys) for name in names[:4]] == [2, 2, 1, 1]
    late = many.open("late")
    many.push({late: SOUND[..., :16]})
    many.push(dict.fromkeys(many, SOUND[..., :4]))
    assert {len(many._groups[name].keys) for name in many} == {8}


def test_a_state_moves_between_slots_and_a_stream():
    live, whole = atrous.stream(model(), (1, 1, 64)), model()(SOUND)
    many = live.slots(2)
    many.open("a")
    many.open("b")
    first = many.push({"a": SOUND[..., :31], "b": SOUND[..., 5:36]})["a"]
    live.state = many.state("a")
    rest = torch.cat([live.push(SOUND[..., 31:]), live.flush()], 2)
    assert torch.allclose(torch.cat([first, rest], 2), whole, atol=1e-12, rtol=0)
    other = atrous.stream(model(), (1, 1, 64)).slots(2)
    other.open(7, many.state("a"))
    assert other.count(7) == many.count("b") == 31
    rest = torch.cat([other.push({7: SOUND[..., 31:]})[7], other.close(7)], 2)
    assert torch.allclose(torch.cat([first, rest], 2), whole, atol=1e-12, rtol=0)
    with pytest.raises(ArgumentError, match="the state is of a stream that has ended"):
        other.open("again", live.state)


def test_what_does_not_fit_leaves_all_streams_as_they_were():
    many = atrous.stream(model(), (1, 1, 64)).slots(2)
    many.open("a")
    assert many.open() == 0
    assert ("a" in many, 1 in many, list(many), len(many)) == (True, False, ["a", 0], 2)
    with pytest.raises(ArgumentError, match="a stream is open as 'a'; close it"):
        many.open("a")
    with pytest.raises(ArgumentError, match=r"no stream is open as 'x'.*Open are: 'a', 0"):
        many.push({"a": SOUND, "x": SOUND})
    with pytest.raises(ArgumentTypeError, match="a chunk is float32"):
        many.push({"a": SOUND, 0: SOUND.float()})
    assert many.count("a") == many.count(0) == 0
    many.drop("a")
    with pytest.raises(ArgumentError, match="no stream is open as 'a'"):
        many.close("a")
    with pytest.raises(ArgumentError, match="most=0 streams cannot run at once"):
        atrous.stream(model(), (1, 1, 64)).slots(0)
    assert isinstance(many.push({0: SOUND.numpy()})[0], np.ndarray)
    assert repr(many) == "Slots of Sequential: 1 stream open, up to 2 at once"


def test_a_stream_that_cannot_end_there_stays_open():
    many = atrous.stream(nn.Sequential(nn.Conv1d(1, 1, 9)), (1, 1, 64)).slots(2)
    many.open("a")
    many.push({"a": torch.zeros(1, 1, 5)})
    with pytest.raises(RunError, match="it takes no input of 5 samples"):
        many.close("a")
    many.push({"a": torch.zeros(1, 1, 5)})
    assert many.close("a").shape == (1, 1, 0)


class AcrossTheBatch(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True) + x.cumsum(0)


class InTheChannels(nn.Module):
    def forward(self, x):
        return x.transpose(0, 1).reshape(-1, x.shape[2]).unsqueeze(0)


@pytest.mark.parametrize("kind", [AcrossTheBatch, InTheChannels])
def test_a_model_that_joins_its_batch_runs_each_stream_alone(kind):
    net = nn.Sequential(kind(), nn.Conv1d(2, 2, 3)) if kind is AcrossTheBatch else kind()
    many = atrous.stream(net, (1, 2, 32), axis=2).slots(4)
    assert many.together == 1
    x = torch.randn(1, 2, 40)
    for name in "ab":
        many.open(name)
    made = many.push({"a": x, "b": x + 1})
    whole = net(x)
    assert torch.allclose(made["a"], whole[..., : made["a"].shape[2]])


@pytest.mark.skipif(not streams_natively(), reason="there are no native kernels of streams here")
def test_native_streams_run_each_for_itself_and_share_the_weights():
    net = model().float().eval()
    live = atrous.stream(net, (1, 1, 64))
    assert live.engine == "native"
    many, sound, draw = live.slots(), SOUND.float(), random.Random(2)
    assert many.together == 1
    places = dict.fromkeys("abc", 0)
    pieces = {name: [] for name in places}
    for name in places:
        many.open(name)
    while places:
        chunks = {}
        for name in draw.sample(sorted(places), draw.randint(1, len(places))):
            count = min(draw.randint(0, 30), sound.shape[2] - places[name])
            chunks[name] = sound[..., places[name] : places[name] + count] * (1 + ord(name))
            places[name] += count
        for name, made in many.push(chunks).items():
            pieces[name].append(made)
        moved = draw.choice(sorted(places))
        state = many.state(moved)
        many.drop(moved)
        assert many.count(many.open(moved, state)) == places[moved]
        for name in [one for one, place in places.items() if place == sound.shape[2]]:
            pieces[name].append(many.close(name))
            del places[name]
    for name, made in pieces.items():
        with torch.no_grad():
            whole = net(sound * (1 + ord(name)))
        assert torch.allclose(torch.cat(made, 2), whole, rtol=0, atol=1e-5 * whole.abs().max())
    packed = {id(one.written) for one in (live._engine, live._engine.twin())}
    assert len(packed) == 1
