"""Streams of several inputs along time, whose chunks come when they like."""

from __future__ import annotations

import json
import pickle
import random
from fractions import Fraction

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import atrous
from atrous.errors import ArgumentError, ArgumentTypeError, RunError, UnsupportedError
from atrous.runners.stream.onnx_block import KEY
from atrous.shown import view


class Beam(nn.Module):
    """Two microphones, each behind a filter of its own."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv1d(1, 3, 5, padding=2), nn.Conv1d(1, 3, 9, padding=(8))
        self.out = nn.Conv1d(6, 1, 3, 2)

    def forward(self, a, b):
        return self.out(torch.cat([self.left(a), torch.tanh(self.right(b)[..., :-8])], 1))


class Guided(nn.Module):
    """A sound and frames at a quarter of its rate, brought to it and cut to its length."""

    def __init__(self):
        super().__init__()
        self.sound, self.frames = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(3, 4, 3, padding=1)
        self.up, self.out = nn.ConvTranspose1d(4, 4, 8, 4, 2), nn.Conv1d(4, 1, 7, padding=3)

    def forward(self, sound, frames):
        y = self.sound(sound)
        return self.out(torch.tanh(y + self.up(self.frames(frames))[..., : y.shape[-1]]))


class Joined(nn.Module):
    """A sound's features at the rate of frames that are channels last, carried by a GRU."""

    def __init__(self):
        super().__init__()
        self.down, self.carry = nn.Conv1d(1, 4, 6, 4, 1), nn.GRU(7, 5, batch_first=True)

    def forward(self, sound, frames):
        y = torch.cat([self.down(sound).transpose(1, 2), frames], 2)
        return self.carry(y)[0]


def made(kind):
    torch.manual_seed(0)
    return kind().double().eval()


KINDS = {
    Beam: (((1, 1, 40), (1, 1, 40)), 2, (40, 41, 97)),
    Guided: (((1, 1, 80), (1, 3, 20)), 2, (80, 84, 200)),
    Joined: (((1, 1, 80), (1, 20, 3)), (2, 1), (80, 120)),
}


def inputs(kind, length):
    shapes, axes, _ = KINDS[kind]
    axes = (axes, axes) if isinstance(axes, int) else axes
    first = shapes[0][axes[0]]
    sized = [
        [n * length // first if d == axis else n for d, n in enumerate(shape)]
        for shape, axis in zip(shapes, axes, strict=True)
    ]
    torch.manual_seed(length)
    return [torch.randn(shape, dtype=torch.float64) for shape in sized]


def stream_of(kind):
    shapes, axis, _ = KINDS[kind]
    return atrous.stream(made(kind), tuple(torch.empty(s).double() for s in shapes), axis=axis)


def parts_of(given, axes, draw, most=9):
    """Chunks of all inputs, of lengths that have nothing to do with one another."""
    left = [x.shape[axis] for x, axis in zip(given, axes, strict=True)]
    start = [0] * len(given)
    while any(left):
        more = [min(n, draw.choice([0, 0, 1, 2, most])) for n in left]
        yield [x.narrow(axis, a, n) for x, axis, a, n in zip(given, axes, start, more, strict=True)]
        start = [a + n for a, n in zip(start, more, strict=True)]
        left = [n - m for n, m in zip(left, more, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_any_lengths_give_what_the_whole_gives(kind):
    live, model = stream_of(kind), made(kind)
    for length in KINDS[kind][2]:
        given = inputs(kind, length)
        with torch.no_grad():
            whole = model(*given)
        for seed in range(3):
            live.reset()
            pieces = [live.push(*part) for part in parts_of(given, live.axes, random.Random(seed))]
            found = torch.cat([*pieces, live.flush()], live.output_axis)
            assert found.shape == whole.shape
            assert (found - whole).abs().max() < 1e-12
    assert live.counts == tuple(x.shape[d] for x, d in zip(given, live.axes, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_latency_of_each_input_is_what_an_impulse_finds(kind):
    live, model = stream_of(kind), made(kind)
    given = inputs(kind, 120)
    with torch.no_grad():
        base = model(*given)
        for place, axis in enumerate(live.axes):
            stride, late = live.stride * live.rates[place], Fraction(-99)
            length = given[place].shape[axis]
            for at in range(length // 2, length // 2 + max(int(stride), 1) * 4):
                moved = [x.clone() for x in given]
                moved[place].select(axis, at).add_(1)
                apart = (model(*moved) - base).movedim(live.output_axis, 0).flatten(1)
                first = apart.abs().amax(1).gt(0).nonzero()[0].item()
                late = max(late, at - first * stride)
            assert live.latencies[place] == late
    assert live.latency == max(a / b for a, b in zip(live.latencies, live.rates, strict=True))


@pytest.mark.parametrize("kind", [Beam, Guided])
def test_an_output_comes_once_all_that_it_reads_is_there(kind):
    live, model = stream_of(kind), made(kind)
    given = inputs(kind, 80)
    with torch.no_grad():
        base, done = model(*given), 0
        for part in list(parts_of(given, live.axes, random.Random(5), 5))[:-4]:
            done += live.push(*part).shape[2]
            sure = base.shape[2]
            for place, count in enumerate(live.counts):
                other = [x.clone() for x in given]
                other[place][..., count:] += 1
                same = (model(*other) == base)[0].all(0)
                sure = min(sure, int(same.long().cumprod(0).sum()))
            assert done == sure


def test_a_state_in_which_one_input_is_ahead_goes_on_in_another_stream():
    live, model = stream_of(Guided), made(Guided)
    sound, frames = inputs(Guided, 80)
    first = [
        live.push(sound[..., :50], frames[..., :3]),
        live.push(sound[..., 50:51], frames[..., 3:3]),
    ]
    saved = pickle.loads(pickle.dumps(live.state))
    assert (saved.count, saved.others) == (51, (3,))
    other = stream_of(Guided)
    other.state = saved
    found = torch.cat([*first, other.push(sound[..., 51:], frames[..., 3:]), other.flush()], 2)
    assert (found - model(sound, frames)).abs().max() < 1e-12
    assert "51 and 3 samples pushed" in view(live).text()
    with pytest.raises(ArgumentError, match="of another model"):
        stream_of(Beam).state = saved


def test_what_does_not_fit_is_told_and_leaves_the_stream_as_it_was():
    live, (sound, frames) = stream_of(Guided), inputs(Guided, 80)
    first = live.push(sound[..., :30], frames[..., :9])
    with pytest.raises(
        ArgumentTypeError, match=r"takes 2 chunks at a time.*got 1; give those of len"
    ):
        live.push(sound)
    with pytest.raises(ArgumentError, match=r"\(1, 1, 20\) does not fit.*\(1, 3, any\) as input 2"):
        live.push(sound[..., :0], sound[..., :20])
    with pytest.raises(RunError, match="takes no input of 30 and 9 samples, one for each input"):
        live.flush()
    rest = live.push(sound[..., 30:], frames[..., 9:])
    found = torch.cat([first, rest, live.flush()], 2)
    assert (found - made(Guided)(sound, frames)).abs().max() < 1e-12
    assert repr(live).startswith(
        "Stream of Guided, (1, 1, time) and (1, 3, time): latency 9, hop 4"
    )
    with pytest.raises(UnsupportedError, match="slots hold streams of one input"):
        live.slots()
    with pytest.raises(UnsupportedError, match="it takes several inputs, and a program takes one"):
        atrous.stream(made(Guided), KINDS[Guided][0], axis=2, engine="native")


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.who = nn.Conv1d(1, 4, 3), nn.Linear(5, 4)

    def forward(self, x, speaker):
        return self.layer(x) + self.who(speaker)[..., None]


class Unread(nn.Module):
    def forward(self, a, b):  # noqa: ARG002
        return a * 2


def test_inputs_that_are_none_along_time_are_told():
    with pytest.raises(UnsupportedError, match="An input without time is fixed: wrap the model"):
        atrous.stream(Fixed(), ((1, 1, 40), (1, 5)))
    with pytest.raises(UnsupportedError, match="its outputs do not depend on its input b"):
        atrous.stream(Unread(), ((1, 1, 40), (1, 1, 40)), axis=2)
    with pytest.raises(UnsupportedError, match=r"axis=\(2,\) names 1 dimensions for 2 inputs"):
        atrous.stream(made(Beam), KINDS[Beam][0], axis=(2,))


def test_time_is_found_in_each_input():
    shapes, axis, _ = KINDS[Joined]
    assert atrous.stream(made(Joined), shapes).axes == axis


def test_a_block_of_each_input_runs_in_onnx_runtime(tmp_path):
    torch.manual_seed(0)
    model, path = Guided().eval(), tmp_path / "block.onnx"
    live = atrous.stream(model, KINDS[Guided][0], axis=2)
    live.to_onnx(path, 8)
    (entry,) = (one for one in onnx.load(path).metadata_props if one.key == KEY)
    about = json.loads(entry.value)
    assert [(one["name"], one["block"]) for one in about["inputs"]] == [
        ("input_0", 8), ("input_1", 2),
    ]  # fmt: skip
    sound, frames = (x.float() for x in inputs(Guided, 160))
    settled = about["settled"]
    live.push(sound[..., :settled], frames[..., : settled // 4])
    session, state = onnxruntime.InferenceSession(path), live.state_arrays()
    for at in range(settled, settled + 40, 8):
        chunks = sound[..., at : at + 8], frames[..., at // 4 : at // 4 + 2]
        wanted = live.push(*chunks)
        feed = {f"input_{i}": chunk.numpy() for i, chunk in enumerate(chunks)}
        out, *after = session.run(None, {**feed, **state})
        assert abs(out - wanted.numpy()).max() < 1e-5
        state = dict(zip(state, after, strict=True))


@pytest.mark.parametrize("kind", [Beam, Guided])
def test_a_plan_of_several_inputs_agrees_with_the_stream(kind):
    live = stream_of(kind)
    plan = live.plan
    assert (plan.hop, plan.latency) == (live.hop, live.latency)
    assert plan.flushed(KINDS[kind][2][-1]) == (made(kind)(*inputs(kind, KINDS[kind][2][-1])).shape[
        live.output_axis
    ],)  # fmt: skip
    if kind is Guided:
        with pytest.raises(UnsupportedError, match="its inputs have rates of their own"):
            plan.context(plan.hop)
