"""What a stream says, refuses and keeps."""

from __future__ import annotations

import copy
import json
import pickle
import random
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import atrous
from atrous.errors import ArgumentError, ArgumentTypeError, RunError, UnsupportedError
from atrous.runners.stream.onnx_block import KEY
from atrous.shown import view
from tests.streamed import assert_streams, chunks_of, pushed
from tests.streamed_networks import NETWORKS


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(1, 4, 5, 2, 2), nn.LeakyReLU(0.1, True), nn.Conv1d(4, 4, 3, 1, 2, 2),
        nn.ConvTranspose1d(4, 1, 4, 2, 1),
    ).double()  # fmt: skip


SOUND = torch.randn(1, 1, 301, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_latency_is_what_an_impulse_finds_and_the_stream_waits_no_longer():
    net, live = model(), atrous.stream(model(), (1, 1, 64))
    late = 0
    base = net(SOUND)
    for place in range(100, 104):
        moved = SOUND.clone()
        moved[..., place] += 1
        first = (net(moved) - base)[0, 0].abs().gt(0).nonzero()[0].item()
        late = max(late, place - first * int(live.stride))
    assert live.latency == late
    assert live.hop == 2
    assert "latency 7, hop 2" in repr(live)


def test_an_output_comes_with_the_last_sample_that_it_reads():
    net, live = model(), atrous.stream(model(), (1, 1, 64))
    made = 0
    for count in range(1, 60):
        made += live.push(SOUND[..., count - 1 : count]).shape[2]
        other = SOUND.clone()
        other[..., count:] += 1
        same = (net(other) == net(SOUND))[0, 0].long().cumprod(0).sum()
        assert made == same


def test_a_stream_says_where_it_stands():
    live = atrous.stream(model(), (1, 1, 64))
    live.push(SOUND[..., :50])
    said = view(live).text()
    assert said.splitlines()[0] == "Sequential: a stream of 1x1xtime"
    assert "latency     7 input samples" in said
    assert "hop         2; 2 outputs for each" in said
    assert f"state       {live.state.nbytes} B" in said
    live.flush()
    assert "50 samples pushed, and ended: reset it to begin another" in view(live).text()


def test_a_saved_state_goes_on_in_another_stream_and_a_reset_leaves_no_trace():
    draw, live = random.Random(0), atrous.stream(model(), (1, 1, 64))
    whole = model()(SOUND)
    first = [live.push(part) for part in SOUND[..., :123].split(17, 2)]
    saved = pickle.loads(pickle.dumps(live.state))
    live.push(SOUND)
    live.reset()
    assert torch.equal(
        pushed(live, SOUND, [301]), pushed(atrous.stream(model(), (1, 1, 64)), SOUND, [301])
    )
    other = atrous.stream(model(), (1, 1, 64))
    other.state = saved
    rest = pushed(other, SOUND[..., 123:], chunks_of(178, draw, 30))
    assert (torch.cat([*first, rest], 2) - whole).abs().max() < 1e-12
    assert saved.to("cpu").nbytes == saved.nbytes < 4000


def test_the_state_does_not_grow():
    live = atrous.stream(model(), (1, 1, 64))
    sizes = set()
    for _ in range(200):
        live.push(SOUND[..., :10])
        sizes.add(live.state.nbytes)
    assert len(sizes) <= 2


def test_arrays_come_back_as_arrays_and_a_chunk_may_be_empty():
    live = atrous.stream(model(), (1, 1, 64))
    made = live.push(SOUND.numpy())
    assert isinstance(made, np.ndarray)
    assert live.push(SOUND[..., :0]).shape == (1, 1, 0)


class TwoOutputs(nn.Module):
    """What its second layer keeps is its first output, and a part of the input."""

    def __init__(self):
        super().__init__()
        self.far = nn.Conv1d(1, 1, 5)

    def forward(self, x):
        y = x[..., 1:]
        return y, self.far(y.sigmoid() + y)


def test_callers_may_write_into_their_chunks_and_into_what_they_get():
    net = TwoOutputs().double()
    live, buffer = atrous.stream(net, (1, 1, 64), axis=2), np.zeros((1, 1, 3))
    found = []
    for part in SOUND[..., :60].split(3, 2):
        buffer[:] = part
        made = live.push(buffer)
        buffer[:] = 7
        found.append([torch.tensor(one) for one in made])
        for one in made:
            one[:] = 9
    found.append(live.flush())
    for parts, whole in zip(zip(*found, strict=True), net(SOUND[..., :60]), strict=True):
        assert torch.allclose(torch.cat(parts, 2), whole, rtol=0, atol=1e-12)


def test_arrays_that_are_reversed_or_of_another_byte_order_are_read():
    live, wanted = atrous.stream(model(), (1, 1, 64)), model()(SOUND.flip(2))
    backward = SOUND.numpy()[..., ::-1]
    for array in (backward, backward.astype(">f8")):
        live.reset()
        made = [torch.from_numpy(live.push(array)), live.flush()]
        assert torch.allclose(torch.cat(made, 2), wanted, rtol=0, atol=1e-12)


def test_a_stream_is_not_copied():
    live = atrous.stream(model(), (1, 1, 64))
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(ArgumentTypeError, match="neither copied nor pickled"):
            make(live)


def test_the_state_of_another_model_is_refused():
    live = atrous.stream(model(), (1, 1, 64))
    live.push(SOUND[..., :40])
    mine, other = live.state, atrous.stream(nn.Conv1d(1, 4, 5).double(), (1, 1, 64))
    other.push(SOUND[..., :40])
    wider = replace(mine, kept=tuple(None if x is None else x.repeat(1, 2, 1) for x in mine.kept))
    rougher = replace(mine, kept=tuple(None if x is None else x.float() for x in mine.kept))
    for state in (other.state, wider, rougher, replace(mine, count=41), replace(mine, count=-1)):
        with pytest.raises(ArgumentError, match="of another model"):
            live.state = state
    live.state = mine


def test_what_does_not_fit_leaves_the_stream_as_it_was():
    live = atrous.stream(model(), (1, 1, 64))
    first = live.push(SOUND[..., :50])
    with pytest.raises(ArgumentError, match=r"a chunk of shape \(1, 2, 9\) does not fit"):
        live.push(torch.zeros(1, 2, 9, dtype=torch.float64))
    with pytest.raises(ArgumentTypeError, match="a chunk is float32, the model takes float64"):
        live.push(SOUND.float())
    with pytest.raises(ArgumentTypeError, match="a chunk is a list"):
        live.push([1.0])
    rest = pushed(live, SOUND[..., 50:], [251])
    assert (torch.cat([first, rest], 2) - model()(SOUND)).abs().max() < 1e-12
    with pytest.raises(RunError, match="the stream has ended; reset it"):
        live.push(SOUND)
    with pytest.raises(RunError, match="the stream has ended"):
        live.flush()


def test_an_input_that_the_model_does_not_take_is_no_end():
    live = atrous.stream(nn.Sequential(nn.Conv1d(1, 1, 9)), (1, 1, 64))
    live.push(torch.zeros(1, 1, 5))
    with pytest.raises(RunError, match="it takes no input of 5 samples, so the stream cannot end"):
        live.flush()
    live.push(torch.zeros(1, 1, 5))
    assert live.flush().shape == (1, 1, 0)


def test_numbers_that_are_none_pass_through():
    live = atrous.stream(model(), (1, 1, 64))
    spoilt = SOUND.clone()
    spoilt[..., 100] = torch.nan
    found, whole = pushed(live, spoilt, [99, 3, 199]), model()(spoilt)
    assert torch.equal(found.isnan(), whole.isnan())


class Told(nn.Module):
    """A function of the input behind one layer."""

    def __init__(self, function, layer):
        super().__init__()
        self.function, self.inner = function, layer

    def forward(self, x):
        return self.function(self.inner, x)


CONV = nn.Conv1d(2, 6, 3, padding=1)
REFUSED = {
    "mean over time": (lambda c, x: c(x) - c(x).mean(2, keepdim=True), CONV, "mean takes all pos"),
    "attention": (
        lambda c, x: torch.softmax(c(x).transpose(1, 2) @ c(x), -1),
        CONV,
        "attention over all of time",
    ),
    "group norm": (
        lambda c, x: c(x),
        nn.Sequential(CONV, nn.GroupNorm(2, 6)),
        "inner.1: its group_norm takes stat",
    ),
    "both ways": (
        lambda c, x: c(x.transpose(1, 2))[0],
        nn.LSTM(2, 3, batch_first=True, bidirectional=True),
        "inner: its lstm goes both ways",
    ),
    "circular": (
        lambda c, x: c(x),
        nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular"),
        "circular",
    ),
    "flipped": (lambda c, x: c(x.flip(2)), CONV, "flip along time takes all of time"),
    "pads by the length": (
        lambda c, x: c(nn.functional.pad(x, (x.shape[2] % 2, 1))),
        nn.Conv1d(2, 6, 3, 2),
        "in front depends on how long",
    ),
    "aligned corners": (
        lambda c, x: c(
            nn.functional.interpolate(x, scale_factor=2.0, mode="linear", align_corners=True)
        ),
        CONV,
        "aligns corners",
    ),
    "a share of all": (lambda c, x: c(x)[..., : x.shape[2] // 2], CONV, "a share of all of time"),
    "whole pool": (
        lambda c, x: x + nn.functional.adaptive_avg_pool1d(c(x), 1).sum(),
        CONV,
        "all pos",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_takes_all_of_time_is_refused_by_name(kind):
    function, layer, words = REFUSED[kind]
    with pytest.raises(UnsupportedError, match=words):
        atrous.stream(Told(function, layer), (1, 2, 40))


def test_time_is_asked_for_where_it_may_be_several_dimensions():
    pictures = nn.Conv2d(1, 1, 3)
    with pytest.raises(UnsupportedError, match=r"time may be dimension 2 or 3.*such as axis=3"):
        atrous.stream(pictures, (1, 1, 20, 30))
    with pytest.raises(UnsupportedError, match="axis=4 is no dimension of an input of 4"):
        atrous.stream(pictures, (1, 1, 20, 30), axis=4)
    classes = nn.Sequential(nn.Conv1d(1, 2, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    with pytest.raises(UnsupportedError, match=r"no dimension of its input .* is a time axis"):
        atrous.stream(classes, (1, 1, 20))
    with pytest.raises(ArgumentError, match="a module does not say what it takes; give the shape"):
        atrous.stream(model())
    with pytest.raises(UnsupportedError, match="streams run PyTorch modules"):
        atrous.stream("zoo:resnet18", (1, 3, 64, 64))


def test_a_stream_that_is_wrong_by_one_sample_is_noticed(monkeypatch):
    from atrous.runners.stream.rules.ends import Padded

    monkeypatch.setattr(Padded, "first", lambda self, done: (done - self.low + 1,))
    monkeypatch.setattr(
        Padded, "needs", lambda self, o: (range(o.start - self.low + 1, o.stop - self.low + 1),)
    )
    shifted = Told(lambda c, x: c(nn.functional.pad(x, (4, 0))), nn.Conv1d(2, 1, 5))
    with pytest.raises((AssertionError, RuntimeError)):
        assert_streams(shifted, (1, 2, 40), [20])


def test_a_block_in_onnx_gives_what_the_stream_gives_block_by_block(tmp_path):
    net = model().float()
    live = atrous.stream(net, (1, 1, 64))
    live.push(SOUND.float())
    before = live.state_arrays()
    path = tmp_path / "block.onnx"
    live.to_onnx(path, 8)
    after = live.state_arrays()
    assert all(np.array_equal(kept, after[name]) for name, kept in before.items())
    about = json.loads({one.key: one.value for one in onnx.load(path).metadata_props}[KEY])
    assert (about["block"], about["hop"], about["latency"], about["made"]) == (8, 2, "7", [8])
    session = onnxruntime.InferenceSession(path)
    names = [one.name for one in session.get_outputs()]
    live.reset()
    live.push(SOUND[..., : about["settled"]].float())
    state = live.state_arrays()
    assert {k: list(v.shape) for k, v in state.items()} == {
        one["input"]: one["shape"] for one in about["state"]
    }
    for start in range(about["settled"], 200, 8):
        block = SOUND[..., start : start + 8].float().numpy()
        made = dict(zip(names, session.run(None, {"input": block, **state}), strict=True))
        assert np.abs(made["output"] - live.push(block)).max() < 1e-6
        state = {one["input"]: made[one["output"]] for one in about["state"]}


def test_a_block_that_is_no_multiple_of_the_hop_is_no_file(tmp_path):
    live = atrous.stream(model(), (1, 1, 64))
    with pytest.raises(ArgumentError, match="a block of 3 is no multiple of the hop, 2"):
        live.to_onnx(tmp_path / "block.onnx", 3)
    counting = Told(lambda c, x: c(x) + torch.arange(x.shape[2]), nn.Conv1d(2, 1, 5, padding=2))
    with pytest.raises(UnsupportedError, match="counts positions from the beginning"):
        atrous.stream(counting, (1, 2, 40)).to_onnx(tmp_path / "block.onnx")


def test_a_stream_that_the_exporter_does_not_write_says_so(tmp_path):
    layout = NETWORKS["attention in blocks"]
    stream = atrous.stream(layout.make(), layout.shape)
    with pytest.raises(UnsupportedError, match="has no ONNX for what a block of this stream does"):
        stream.to_onnx(tmp_path / "block.onnx", 8)
    assert not [*tmp_path.iterdir()]
