"""Networks of two axes by the native kernels: one is time, the other's places lie in a row."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.operators.kernels.stream import streams_natively
from tests.streamed import assert_runs_natively, chunks_of, noise, off, pushed, whole_of
from tests.streamed_networks import NETWORKS

pytestmark = pytest.mark.skipif(not streams_natively(), reason="no native kernels here")


class Spectral(nn.Module):
    """A function of maps whose time is the last axis, or the third; layers have time last."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def conv(a, b, across, along, **rest):
    """A convolution of time last; numbers of a pair are across and along."""
    return nn.Conv2d(a, b, (across, along), **rest)


KINDS = {
    "convolutions": (
        (2, 19),
        lambda x, a, b, c: c(functional.elu(b(functional.relu(a(x))))),
        conv(2, 7, 3, 2, stride=(2, 1), padding=(1, 0)),
        conv(7, 20, 2, 3, dilation=(3, 2), padding=(2, 1)),
        conv(20, 5, 5, 1, padding=(4, 0), bias=False),
    ),
    "strides along both": (
        (1, 11),
        lambda x, a, b: b(a(x)),
        conv(1, 18, 4, 4, stride=(3, 2), padding=(2, 1)),
        conv(18, 3, 1, 3, stride=(1, 3)),
    ),
    "groups": (
        (4, 9),
        lambda x, a, b, c, d: d(c(b(a(x)))),
        conv(4, 20, 3, 2, groups=2, padding=(1, 0)),
        conv(20, 20, 3, 3, groups=20, padding=(1, 1), dilation=(1, 2)),
        conv(20, 40, 2, 1, groups=20),
        conv(40, 3, 1, 1),
    ),
    "transposed": (
        (3, 6),
        lambda x, a, n, b, m, c: c(functional.silu(m(b(n(a(x))[:, :, :, 1:])))),
        nn.ConvTranspose2d(3, 17, (3, 2), stride=(2, 1), padding=(1, 0)), nn.BatchNorm2d(17),
        nn.ConvTranspose2d(17, 17, (4, 3), stride=(2, 1), padding=(1, 1), groups=17),
        nn.BatchNorm2d(17),
        nn.ConvTranspose2d(17, 2, (5, 4), stride=(3, 2), padding=(2, 1), output_padding=(1, 0)),
    ),
    "transposed at a rate": (
        (3, 6),
        lambda x, a, b: b(a(x)),
        nn.ConvTranspose2d(3, 8, (3, 3), padding=(1, 1), dilation=(2, 1)),
        nn.ConvTranspose2d(8, 6, (3, 1), groups=2),
    ),
    "norms and pools": (
        (3, 13),
        lambda x, a, b, c, d, e: torch.cat([d(y := b(a(x)).clamp(-1, 2)), e(y)], 1) + c(y),
        conv(3, 6, 3, 1), nn.BatchNorm2d(6),
        nn.Sequential(nn.MaxPool2d((2, 3), (2, 1), (1, 1)), conv(6, 12, 1, 1)),
        nn.MaxPool2d((3, 1), (2, 1), (1, 0)), nn.AvgPool2d((3, 3), (2, 1), 1),
    ),
    "joined and cut": (
        (2, 8),
        lambda x, a, b: b(torch.cat([y := a(x), y[:, 1:4] * 2, x, y.chunk(3, 1)[1]], 1))
        + torch.stack([x[:, 0], y[:, 0]], 1)[:, :1],
        conv(2, 6, 3, 3, padding=(1, 1)), conv(13, 1, 3, 1, padding=(1, 0)),
    ),
    "taken together": (
        (3, 7),
        lambda x, a, b: b(a(x).mean(2)) * a(x).sum((1, 2)).unsqueeze(1) + x.mean((1, 2))[:, None],
        conv(3, 20, 3, 1), nn.Conv1d(20, 4, 1),
    ),
    "one place": (
        (3, 5),
        lambda x, a, b, c: functional.log_softmax(c(b(a(x)))[:, :, 0], 1),
        conv(3, 20, 5, 2), conv(20, 24, 3, 3, padding=(1, 1)),
        nn.ConvTranspose2d(24, 6, (1, 4), stride=(1, 2)),
    ),
    "channels last": (
        (2, 6),
        lambda x, a, b, c, d: d(
            c(b(a(x).permute(0, 3, 2, 1))).permute(0, 3, 2, 1).cos().exp().log()
        ),
        conv(2, 9, 3, 1, padding=(1, 0)), nn.LayerNorm((6, 9)), nn.Linear(9, 5),
        conv(5, 2, 2, 2),
    ),
    "a norm of each place": (
        (2, 6),
        lambda x, a, b, c: c(functional.softmax(b(a(x).permute(0, 3, 2, 1)).flatten(2), 2)),
        conv(2, 18, 3, 1), nn.LayerNorm(18), nn.Linear(72, 5),
    ),
    "of fewer places or channels": (
        (2, 9),
        lambda x, a, b: x * torch.sigmoid(y := a(x)) - b(x).mean(2, keepdim=True)
        + y / (x.abs() + 1) + x[:, :1].expand(-1, 2, -1, -1) / b(x).exp(),
        conv(2, 1, 1, 3, padding=(0, 1)), conv(2, 2, 1, 1),
    ),
    "padded and repeated": (
        (2, 7),
        lambda x, a, b: b(functional.interpolate(functional.pad(
            functional.pad(a(x), (0, 0, 0, 1)), (2, 0, 1, 1), value=0.5), scale_factor=(2, 1))),
        conv(2, 5, 2, 1), conv(5, 2, 3, 3),
    ),
    "places in the batch": (
        (3, 4),
        lambda x, a, b, c: c(b(a(x.permute(2, 1, 0, 3).squeeze(2)))).permute(1, 0, 2)[None],
        nn.Conv1d(3, 18, 3, padding=1), nn.Conv1d(18, 18, 5, groups=18), nn.Conv1d(18, 2, 2, 2),
    ),
}  # fmt: skip


class Enhancer(nn.Module):
    """Strided layers over a complex spectrogram, a recurrent middle, skips, frames as rows."""

    def __init__(self, recurrent=nn.GRU):
        super().__init__()
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, (2, 3), (1, 2), (0, 1)) for a, b in ((2, 8), (8, 12))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (8, 12))
        self.middle = recurrent(60, 60, batch_first=True)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a, b, (2, 3), (1, 2), (0, 1)) for a, b in ((24, 8), (16, 2))
        )

    def forward(self, x):
        skips = []
        for layer, norm in zip(self.down, self.norms, strict=True):
            x = functional.elu(norm(layer(functional.pad(x, (0, 0, 1, 0)))))
            skips.append(x)
        b, c, n, f = x.shape
        y, _ = self.middle(x.permute(0, 2, 1, 3).reshape(b, n, c * f))
        x = y.view(b, n, c, f).permute(0, 2, 1, 3)
        for layer, skip in zip(self.up, skips[::-1], strict=True):
            x = functional.elu(layer(torch.cat([x, skip], 1))[:, :, :-1])
        return x


class Turned(nn.Module):
    """The same with its last two axes in the other order."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.transpose(2, 3)).transpose(2, 3)


def made_of(kind):
    torch.manual_seed(0)
    shape, function, *layers = KINDS[kind]
    model = Spectral(function, *layers).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
    return model, shape


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_calls_run_natively(kind):
    model, (channels, places) = made_of(kind)
    draw, x = random.Random(2), noise(1, channels, places, 150)
    live = atrous.stream(model, (1, channels, places, 48), axis=3)
    assert live.engine == "native", live.refusal
    whole = whole_of(model, x)
    for most in (1, 4, 150):
        live.reset()
        assert off(pushed(live, x, chunks_of(150, draw, most)), whole) < 3e-6


@pytest.mark.parametrize("kind", ["convolutions", "transposed", "norms and pools"])
def test_frames_may_be_rows_or_columns(kind):
    model, (channels, places) = made_of(kind)
    x = noise(1, channels, 100, places)
    live = atrous.stream(Turned(model), (1, channels, 48, places), axis=2)
    assert live.engine == "native", live.refusal
    assert off(pushed(live, x, [1, 2, 30, 67]), whole_of(Turned(model), x)) < 3e-6


def enhancer(recurrent=nn.GRU):
    torch.manual_seed(0)
    return Enhancer(recurrent).eval()


@pytest.mark.parametrize("recurrent", [nn.GRU, nn.LSTM])
def test_an_enhancer_runs_natively_and_its_state_goes_into_either_engine(recurrent):
    model, x = enhancer(recurrent), noise(1, 2, 90, 17)
    whole = whole_of(model, x)
    native, plain = (
        atrous.stream(model, (1, 2, 40, 17), axis=2, engine=one) for one in ("native", "torch")
    )
    for most in (1, 50):
        native.reset()
        assert off(pushed(native, x, chunks_of(90, random.Random(most), most)), whole) < 3e-6
    for one, two in ((native, plain), (plain, native)):
        one.reset()
        made = [one.push(x[:, :, :20]), one.push(x[:, :, 20:33])]
        two.state = one.state
        made.append(pushed(two, x[:, :, 33:], [1, 2, 54]))
        assert off(torch.cat(made, 2), whole) < 3e-6
    for live in (native, plain):
        live.reset()
        live.push(x[:, :, :40])
    for mine, other in zip(native.state.kept, plain.state.kept, strict=True):
        assert (mine is None) == (other is None)
        assert mine is None or (
            mine.shape == other.shape and torch.allclose(mine, other, atol=1e-6)
        )


def test_batches_and_slots_run_natively():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 6, (3, 2), padding=(1, 0)), nn.BatchNorm2d(6), nn.PReLU(6),
        nn.MaxPool2d((2, 1)), nn.ConvTranspose2d(6, 3, (3, 2), (2, 1)),
    ).eval()  # fmt: skip
    x = noise(3, 2, 8, 60)
    live = atrous.stream(model, (3, 2, 8, 30), axis=3)
    assert live.engine == "native", live.refusal
    whole = whole_of(model, x)
    assert off(pushed(live, x, [1, 40, 19]), whole) < 3e-6
    many = atrous.stream(model, (1, 2, 8, 30), axis=3).slots()
    for key in range(3):
        many.open(key)
    parts = [many.push({key: x[key : key + 1, ..., a:b] for key in range(3)})
             for a, b in ((0, 9), (9, 10), (10, 60))]  # fmt: skip
    for key in range(3):
        made = torch.cat([*(part[key] for part in parts), many.close(key)], 3)
        assert off(made, whole[key : key + 1]) < 3e-6


def test_numbers_that_are_none_reach_what_they_reach_in_the_whole_run():
    for kind in ("convolutions", "transposed", "groups", "norms and pools"):
        model, (channels, places) = made_of(kind)
        for bad in (torch.nan, torch.inf):
            x = noise(1, channels, places, 60)
            x[0, 0, 3, 20] = bad
            with torch.no_grad():
                whole = model(x)
            live = atrous.stream(model, (1, channels, places, 48), axis=3)
            found = pushed(live, x, [15, 3, 42])
            assert torch.equal(found.isfinite(), whole.isfinite()), kind


def test_results_do_not_depend_on_the_threads():
    torch.manual_seed(0)
    model = nn.Sequential(
        conv(2, 70, 3, 2, padding=(1, 0)), nn.ReLU(), conv(70, 70, 3, 3, groups=70),
        nn.AvgPool2d((2, 2)), nn.ConvTranspose2d(70, 40, (4, 2), (2, 1)), nn.Tanh(),
    ).eval()  # fmt: skip
    threads, made = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            live = atrous.stream(model, (1, 2, 33, 40), axis=3)
            made.append(pushed(live, noise(1, 2, 33, 150), [100, 50]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, made[0]) for one in made)


@pytest.mark.parametrize(
    "name", ["keywords", "keywords, frames as rows", "EEGNet", "ShallowFBCSPNet", "Wave-U-Net",
             "Wave-U-Net, causal", "vocoder of repeated frames"],
)  # fmt: skip
def test_a_layout_runs_natively_as_it_runs_whole(name):
    assert_runs_natively(NETWORKS[name], 1e-5)


@pytest.mark.parametrize("times", [2, 3, 4, 5])
def test_linear_upsampling_by_whole_factors_runs_natively(times):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 18, 3), nn.Upsample(scale_factor=times, mode="linear"), nn.Conv1d(18, 2, 4)
    ).eval()
    live, x, draw = atrous.stream(model, (1, 2, 40)), noise(1, 2, 120), random.Random(1)
    assert live.engine == "native", live.refusal
    whole = whole_of(model, x)
    for most in (1, 5, 120):
        live.reset()
        assert off(pushed(live, x, chunks_of(120, draw, most)), whole) < 2e-6


@pytest.mark.parametrize("groups", [1, 6])
def test_transposed_layers_of_stride_1_cut_their_first_outputs(groups):
    torch.manual_seed(0)
    for kernel, padding in ((3, 1), (5, 3), (1, 0), (4, 0)):
        model = nn.Sequential(
            nn.Conv1d(2, 6, 1), nn.ConvTranspose1d(6, 6, kernel, 1, padding, groups=groups),
            nn.Conv1d(6, 2, 2),
        ).eval()  # fmt: skip
        live, x = atrous.stream(model, (1, 2, 40)), noise(1, 2, 90)
        assert live.engine == "native", live.refusal
        assert off(pushed(live, x, [1, 1, 40, 48]), whole_of(model, x)) < 2e-6
