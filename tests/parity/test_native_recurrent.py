"""Recurrent layers by the native kernels: what PyTorch makes of the whole, and the state it has."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

import atrous
from atrous.errors import UnsupportedError
from atrous.operators.kernels.stream import streams_natively
from tests.streamed import assert_runs_natively, chunks_of, noise, off, pushed, whole_of
from tests.streamed_networks import NETWORKS

pytestmark = pytest.mark.skipif(not streams_natively(), reason="no native kernels here")


class Layer(nn.Module):
    """A recurrent layer between two of one tap, its sequences before time, behind it or several."""

    def __init__(self, layer, *, along=1, beside=1):
        super().__init__()
        self.layer, self.along, self.beside = layer, along, beside
        self.enter = nn.Conv1d(3 * beside, layer.input_size * beside, 1)
        self.leave = nn.Conv1d(layer.hidden_size * beside, 4, 1)

    def forward(self, x):
        y = self.enter(x)
        if self.beside > 1:
            # Sequences that stand side by side, each with a state of its own.
            y = y.view(self.beside, -1, y.shape[2]).transpose(1, 2)
            made, _ = self.layer(y)
            return self.leave(made.transpose(1, 2).reshape(1, -1, y.shape[1]))
        y = y.permute(2, 0, 1) if self.along == 0 else y.transpose(1, 2)
        made, _ = self.layer(y)
        return self.leave(made.permute(1, 2, 0) if self.along == 0 else made.transpose(1, 2))


KINDS = {
    "lstm": lambda: Layer(nn.LSTM(20, 24, batch_first=True)),
    "lstm of three layers without biases": lambda: Layer(
        nn.LSTM(5, 17, 3, bias=False, batch_first=True)
    ),
    "lstm, time first": lambda: Layer(nn.LSTM(7, 33, 2), along=0),
    "lstm of many units": lambda: Layer(nn.LSTM(33, 130, batch_first=True)),
    "lstm of sequences": lambda: Layer(nn.LSTM(6, 9, 2, batch_first=True), beside=5),
    "gru": lambda: Layer(nn.GRU(20, 24, batch_first=True)),
    "gru of two layers without biases": lambda: Layer(nn.GRU(9, 5, 2, bias=False), along=0),
    "gru of sequences": lambda: Layer(nn.GRU(3, 17, batch_first=True), beside=50),
    "plain, by tanh": lambda: Layer(nn.RNN(8, 16, 2, batch_first=True)),
    "plain, by relu": lambda: Layer(nn.RNN(8, 10, nonlinearity="relu", batch_first=True)),
}


def made_of(kind):
    torch.manual_seed(0)
    return KINDS[kind]().eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_gives_natively_what_the_whole_run_gives_in_float64(kind):
    model, draw = made_of(kind), random.Random(1)
    beside = model.beside
    live, x = atrous.stream(model, (1, 3 * beside, 40)), noise(1, 3 * beside, 330)
    assert live.engine == "native", live.refusal
    whole = whole_of(model, x)
    for most in (1, 3, 90, 330):
        live.reset()
        assert off(pushed(live, x, chunks_of(330, draw, most)), whole) < 2e-6


@pytest.mark.parametrize("kind", ["lstm, time first", "lstm of sequences", "gru", "plain, by tanh"])
def test_a_state_goes_from_either_engine_into_the_other_in_the_middle(kind):
    model = made_of(kind)
    x = noise(1, 3 * model.beside, 60)
    whole = whole_of(model, x)
    one, two = (atrous.stream(model, x.shape, engine=name) for name in ("native", "torch"))
    made = []
    for first, live, then in ((0, one, two), (11, two, one), (12, one, two), (40, two, None)):
        stop = {0: 11, 11: 12, 12: 40, 40: 60}[first]
        made.append(live.push(x[..., first:stop]))
        if then is not None:
            then.state = live.state
        cells = [cell for cell in live.state.cells if cell]
        assert len(cells) == 1
        assert all(cell.is_contiguous() for cell in cells[0])
    assert off(torch.cat([*made, two.flush()], 2), whole) < 2e-6
    one.reset()
    two.reset()
    for live in (one, two):
        live.push(x[..., :33])
    for mine, other in zip(one.state.tensors, two.state.tensors, strict=True):
        assert mine.shape == other.shape
        assert torch.allclose(mine, other, atol=1e-6)


def test_a_batch_has_a_state_for_each():
    torch.manual_seed(0)
    model = Layer(nn.LSTM(6, 18, 2, batch_first=True)).eval()
    live, x = atrous.stream(model, (4, 3, 40)), noise(4, 3, 70)
    assert live.engine == "native", live.refusal
    whole = whole_of(model, x)
    assert off(pushed(live, x, [1, 30, 2, 37]), whole) < 2e-6
    plain = atrous.stream(model, (4, 3, 40), engine="torch")
    live.reset()
    made = [live.push(x[..., :20])]
    plain.state = live.state
    assert off(torch.cat([*made, pushed(plain, x[..., 20:], [50])], 2), whole) < 2e-6


def test_slots_have_states_of_their_own():
    model = made_of("gru")
    many = atrous.stream(model, (1, 3, 40)).slots()
    clips = {name: noise(1, 3, 50) * scale for name, scale in (("ann", 1), ("bob", 2))}
    for name in clips:
        many.open(name)
    heard = {name: [] for name in clips}
    for start, stop in ((0, 7), (7, 8), (8, 50)):
        for name, made in many.push({n: x[..., start:stop] for n, x in clips.items()}).items():
            heard[name].append(made)
    for name, x in clips.items():
        assert off(torch.cat([*heard[name], many.close(name)], 2), whole_of(model, x)) < 2e-6


def test_weights_that_change_in_place_are_the_ones_of_the_next_push():
    model = made_of("lstm")
    live, plain = (atrous.stream(model, (1, 3, 40), engine=one) for one in ("native", "torch"))
    x = noise(1, 3, 60)
    for one in (live, plain):
        one.push(x[..., :30])
    with torch.no_grad():
        model.layer.weight_hh_l0.mul_(0.5)
        model.layer.bias_ih_l0.add_(0.1)
    assert off(live.push(x[..., 30:]), plain.push(x[..., 30:])) < 2e-6


def test_a_number_that_is_none_stays_until_the_end_as_in_the_whole_run():
    model = made_of("gru")
    for bad in (torch.nan, torch.inf):
        x = noise(1, 3, 60)
        x[0, 1, 20] = bad
        with torch.no_grad():
            whole = model(x)
        found = pushed(atrous.stream(model, (1, 3, 40)), x, [13, 9, 38])
        assert torch.equal(found.isfinite(), whole.isfinite())
        near = whole.isfinite()
        assert (found - whole)[near].abs().max() < 1e-5


def test_results_do_not_depend_on_the_threads():
    model, threads, made = made_of("lstm of many units"), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            live = atrous.stream(model, (1, 3, 40))
            made.append(pushed(live, noise(1, 3, 200), [199, 1]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*made)


def test_projections_are_refused_by_the_name_of_their_layer():
    model = Layer(nn.LSTM(6, 16, proj_size=4, batch_first=True))
    model.leave = nn.Conv1d(4, 2, 1)
    live = atrous.stream(model.eval(), (1, 3, 40))
    assert live.engine == "torch"
    assert live.refusal.layer == "layer"
    assert "lstm has projections" in live.refusal.reason
    with pytest.raises(UnsupportedError, match="has projections"):
        atrous.stream(model, (1, 3, 40), engine="native")


def test_a_layer_along_another_axis_is_refused():
    class Across(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.layer = nn.Conv1d(1, 15, 1), nn.GRU(3, 4, batch_first=True)

        def forward(self, x):
            y = self.enter(x).view(5, 3, -1).permute(2, 0, 1)
            return self.layer(y)[0].flatten(1).t()[None]

    live = atrous.stream(Across().eval(), (1, 1, 40))
    assert "its gru has time in" in live.refusal.reason
    assert live.engine == "torch"


@pytest.mark.parametrize(
    "name", ["EnCodec encoder", "EnCodec decoder", "Demucs with an LSTM", "GRU"]
)
def test_a_layout_runs_natively_as_it_runs_whole(name):
    assert_runs_natively(NETWORKS[name], 2e-6)
