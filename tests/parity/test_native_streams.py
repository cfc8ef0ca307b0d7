"""Streams by the native kernels: what the whole run gives, and the state that PyTorch's has."""

from __future__ import annotations

import pickle
import random

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.errors import UnsupportedError
from atrous.operators.kernels.stream import streams_natively
from atrous.runners.stream.native import stages
from tests.stream_fuzz import tried
from tests.streamed import Written, chunks_of, noise, off, pushed
from tests.streamed_networks import NETWORKS, random_graph

pytestmark = pytest.mark.skipif(not streams_natively(), reason="no native kernels here")

NATIVE = [
    "HiFi-GAN, odd factors", "DAC encoder", "SoundStream decoder", "WaveNet without padding", "TCN",
    "Conv-TasNet with batch norms", "BigVGAN", "RAVE", "wav2vec 2.0 front end", "pools",
]  # fmt: skip


@torch.no_grad()
def assert_native(model, shape, lengths, *, tolerance=2e-6, chunkings=2):
    """A native stream gives what float64 gives, to the rounding of float32, however it is cut."""
    live, draw = atrous.stream(model, shape), random.Random(3)
    assert live.engine == "native", live.refusal
    double = pickle.loads(pickle.dumps(model)).double() if chunkings else model
    for length in lengths:
        x = noise(*shape[:-1], length, seed=length)
        whole = double(x.double())
        for most in (3, 40, length)[:chunkings]:
            live.reset()
            assert off(pushed(live, x, chunks_of(length, draw, most)), whole) < tolerance
    return live


@pytest.mark.parametrize("name", NATIVE)
def test_a_layout_runs_natively_as_it_runs_whole(name):
    layout = NETWORKS[name]
    # Seven layers of norms in front of nothing but noise lose a digit more.
    tolerance = 2e-5 if "front" in name else 2e-6
    live, model = atrous.stream(layout.model(dtype=torch.float32), layout.shape), layout.model()
    assert live.engine == "native", live.refusal
    length, draw = layout.length + 7, random.Random(1)
    x = noise(*layout.resized(length))
    with torch.no_grad():
        whole = model(x.double())
    for most in (3, length):
        live.reset()
        assert off(pushed(live, x, chunks_of(length, draw, most)), whole) < tolerance


@pytest.mark.parametrize("seed", [0, 15, 17])
def test_random_graphs_run_natively(seed):
    layout = random_graph(seed)
    assert_native(layout.model(dtype=torch.float32), layout.shape, [61, 96])


def test_a_long_chunk_is_taken_in_pieces_and_small_ones_one_by_one():
    model = NETWORKS["WaveNet"].model(dtype=torch.float32)
    live, x = atrous.stream(model, (1, 1, 128)), noise(1, 1, 6000)
    with torch.no_grad():
        whole = model(x)
    assert off(pushed(live, x, [5000, 0, 1, 999]), whole) < 1e-6
    live.reset()
    assert off(pushed(live, x, [1] * 300 + [5700]), whole) < 1e-6


STAGED = ["HiFi-GAN, odd factors", "DAC encoder", "DAC decoder", "Wave-U-Net", "RAVE", "pools"]


@pytest.mark.parametrize("name", [*STAGED, *range(12)])
def test_layers_that_take_more_samples_at_once_than_others_change_nothing(name, monkeypatch):
    # Bounds so low that small networks have several stages.
    for bound, least in (("_FLOATS", 64), ("_HEAVY", 40), ("_ROWS", 40), ("_HELD", 1 << 14)):
        monkeypatch.setattr(stages, bound, least)
    layout = random_graph(name) if isinstance(name, int) else NETWORKS[name]
    model = layout.model(dtype=torch.float32)
    live = atrous.stream(model, layout.shape)
    assert live.engine == "native", live.refusal
    length, draw = layout.length + 7, random.Random(1)
    x = noise(*layout.resized(length))
    with torch.no_grad():
        whole = layout.model()(x.double())
    for most in (5, length, length):
        live.reset()
        assert off(pushed(live, x, chunks_of(length, draw, most)), whole) < 2e-6
    live.reset()
    made = [live.push(x[..., : length // 3])]
    other = atrous.stream(model, layout.shape, engine="torch")
    other.state = live.state
    made += [other.push(x[..., length // 3 :]), other.flush()]
    assert off(torch.cat(made, whole.dim() - 1), whole) < 2e-6


def test_heavy_layers_at_a_low_rate_are_a_stage_of_their_own():
    torch.manual_seed(0)
    heavy = nn.Sequential(
        nn.Conv1d(16, 160, 7, padding=3), nn.ReLU(), nn.ConvTranspose1d(160, 64, 16, 8, 4)
    )
    model = nn.Sequential(heavy, nn.ConvTranspose1d(64, 64, 64, 32, 16), nn.Tanh())
    live, x = atrous.stream(model, (1, 16, 40)), noise(1, 16, 300)
    written = live._engine.written
    found = stages.stages_of(written, 1)
    assert len(found) > 1
    assert found[0].most > found[-1].most
    with torch.no_grad():
        assert off(pushed(live, x, [1, 150, 149]), model(x)) < 2e-6


def test_stages_run_as_soon_as_what_they_read_is_there():
    one, two, three = (stages.Stage(most, frozenset((i,))) for i, most in enumerate((1, 4, 2)))
    found = stages.stage_parts((one, two, three), 0, 6)
    order = [(stage.most, begin, end) for stage, begin, end in found]
    assert order == [
        (1, 0, 1), (1, 1, 2), (1, 2, 3), (1, 3, 4), (4, 0, 4), (2, 0, 2), (2, 2, 4),
        (1, 4, 5), (1, 5, 6), (4, 4, 6), (2, 4, 6),
    ]  # fmt: skip


def test_batches_and_strides_of_chunks_do_not_matter():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 20, 5, padding=2), nn.ReLU(), nn.Conv1d(20, 2, 3, 2))
    live, x = atrous.stream(model, (3, 3, 40)), noise(3, 3, 101)
    with torch.no_grad():
        whole = model(x)
    turned = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert off(pushed(live, x, [50, 51]), whole) < 1e-6
    live.reset()
    assert off(pushed(live, turned, [7, 94]), whole) < 1e-6
    live.reset()
    parts = [live.push(x[..., :40].numpy()), live.push(x[..., 40:].numpy())]
    found = torch.cat([*map(torch.from_numpy, parts), live.flush()], 2)
    assert live.engine == "native"
    assert off(found, whole) < 1e-6


def test_a_state_goes_from_either_engine_into_the_other():
    layout = NETWORKS["HiFi-GAN"]
    model = layout.model(dtype=torch.float32)
    x = noise(*layout.resized(96))
    with torch.no_grad():
        whole = model(x)
    for first, then in (("native", "torch"), ("torch", "native"), ("native", "native")):
        one = atrous.stream(model, layout.shape, engine=first)
        two = atrous.stream(model, layout.shape, engine=then)
        made = [one.push(part) for part in x[..., :51].split(17, 2)]
        two.state = pickle.loads(pickle.dumps(one.state))
        assert one.count == two.count == 51
        made.append(pushed(two, x[..., 51:], [5, 40]))
        assert off(torch.cat(made, 2), whole) < 2e-6
        # What the first one goes on with is not what the second one took.
        assert off(torch.cat([*made[:3], pushed(one, x[..., 51:], [45])], 2), whole) < 2e-6
    kept = [atrous.stream(model, layout.shape, engine=one) for one in ("native", "torch")]
    for live in kept:
        live.push(x[..., :50])
        live.push(x[..., 50:60])
    pairs = zip(kept[0].state.kept, kept[1].state.kept, strict=True)
    for mine, other in pairs:
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.shape == other.shape
            assert torch.allclose(mine, other, atol=1e-6)


def test_numbers_that_are_none_reach_what_they_reach_in_the_whole_run():
    for name in ("HiFi-GAN, odd factors", "TCN", "DAC decoder"):
        layout = NETWORKS[name]
        model = layout.model(dtype=torch.float32)
        for bad in (torch.nan, torch.inf):
            x = noise(*layout.shape)
            x[..., 20] = bad
            with torch.no_grad():
                whole = model(x)
            found = pushed(atrous.stream(model, layout.shape), x, [15, 3, layout.length - 18])
            assert torch.equal(found.isfinite(), whole.isfinite())
            near = whole.isfinite()
            assert (found - whole)[near].abs().max() < 1e-5


def test_results_do_not_depend_on_the_threads():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(40, 130, 5, padding=2), nn.GELU(), nn.Conv1d(130, 130, 3, groups=130),
        nn.ConvTranspose1d(130, 72, 4, 2, 1), nn.Tanh(), nn.Conv1d(72, 3, 7),
    ).eval()  # fmt: skip
    threads, made = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            live = atrous.stream(model, (1, 40, 64))
            made.append(pushed(live, noise(1, 40, 500), [300, 200]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, made[0]) for one in made)


def test_weights_that_change_in_place_are_the_ones_of_the_next_push():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 8, 3), nn.PReLU(8), nn.Conv1d(8, 1, 3))
    live, x = atrous.stream(model, (1, 1, 40)), noise(1, 1, 60)
    live.push(x[..., :30])
    with torch.no_grad():
        model[0].weight.mul_(2)
        model[1].weight.fill_(0.5)
        model[2].bias.add_(1)
        whole = model(x)
    live.push(x[..., 30:40])
    # The first layers' rows from before the change are kept by the last layer.
    assert off(live.push(x[..., 40:]), whole[..., 36:56]) < 1e-6


KINDS = {
    "functions": (
        lambda x, a: torch.cat([torch.exp(-a(x).abs()), a(x).clamp(-0.3, 0.5).sqrt().relu(),
                                functional.silu(x), 1 / (x.square() + 1), (2 - x) / 3,
                                functional.hardswish(x), x.sin(), functional.elu(x, 0.7)], 1),
        nn.Conv1d(2, 20, 3, padding=1),
    ),
    "two": (
        lambda x, a, b: torch.maximum(a(x), b(x)) - torch.minimum(a(x), b(x)) / (b(x).exp() + 1)
        + a(x)[:, :1] * torch.sigmoid(b(x)) * x.new_tensor([[[1.0]], [[2.0]]])[:1],
        nn.Conv1d(2, 20, 3, padding=1), nn.Conv1d(2, 20, 3, dilation=2, padding=2),
    ),
    "channels last": (
        lambda x, a, b, c, d: d(c(b(a(x).transpose(1, 2)))).transpose(1, 2),
        nn.Conv1d(2, 20, 3), nn.LayerNorm(20), nn.Linear(20, 24), nn.GELU(),
    ),
    "groups": (
        lambda x, a, b, c: c(b(functional.pad(a(x), (2, 1), mode="replicate"))),
        nn.Conv1d(2, 24, 3), nn.Conv1d(24, 36, 4, groups=4), nn.Conv1d(36, 36, 5, 2, groups=36),
    ),
    "cut and joined": (
        lambda x, a: torch.cat([y := a(x)[..., 2:], y[:, 3:7] * 2, y.split([5, 15], 1)[1]], 1),
        nn.Conv1d(2, 20, 3),
    ),
    "every other": (lambda x, a, b: b(a(x)[..., 1::2]), nn.Conv1d(2, 17, 3), nn.MaxPool1d(3, 2)),
    "shuffled": (
        lambda x, a: a(x).view(1, 6, 3, -1).transpose(2, 3).reshape(1, 6, -1),
        nn.Conv1d(2, 18, 3),
    ),
    "each channel wider": (
        lambda x, a, b, c: functional.glu(c(b(a(x))), 1),
        nn.Conv1d(2, 18, 3),
        nn.ConvTranspose1d(18, 18, 5, 2, 1, groups=18),
        nn.ConvTranspose1d(18, 18, 3, 3, groups=18, bias=False),
    ),
    "so far": (
        lambda x, a: (
            a(x).cumsum(2)
            * (a(x).square().sum(1, keepdim=True).cumsum(2) + 1).rsqrt()
            / torch.arange(1, x.shape[2] + 1, dtype=x.dtype)
            + a(x).mean(1, keepdim=True)
            + torch.zeros_like(x)[:, :1]
        ),
        nn.Conv1d(2, 20, 3, padding=1),
    ),
    "narrow kernels": (
        lambda x, a, b: b(a(x).repeat_interleave(2, 2)),
        nn.ConvTranspose1d(2, 18, 5, 3, 1), nn.ConvTranspose1d(18, 3, 2, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_calls_run_natively(kind):
    torch.manual_seed(0)
    function, *layers = KINDS[kind]
    model = Written(function, *layers).eval()
    live, draw, x = atrous.stream(model, (1, 2, 41)), random.Random(2), noise(1, 2, 300)
    assert live.engine == "native", live.refusal
    with torch.no_grad():
        whole = model(x)
    for most in (4, 150):
        live.reset()
        found = pushed(live, x, chunks_of(300, draw, most))
        assert torch.equal(found.isnan(), whole.isnan())
        assert off(found.nan_to_num(), whole.nan_to_num()) < 2e-6


def test_what_is_kept_between_some_pushes_alone_is_kept_where_the_arena_grows_too():
    torch.manual_seed(0)
    # The second layer keeps rows of the first one where a push ends within a hop.
    model = nn.Sequential(
        nn.Conv1d(1, 4, 1), nn.Conv1d(4, 4, 4, 4), nn.ConvTranspose1d(4, 8, 4, 4),
        nn.Conv1d(8, 1, 1),
    ).eval()  # fmt: skip
    x = noise(1, 1, 60)
    with torch.no_grad():
        whole = model(x)
    for pushes in ([12, 5, 43], [11, 5, 1, 6, 37]):
        live, plain = (atrous.stream(model, (1, 1, 60), engine=one) for one in ("native", "torch"))
        found = []
        for part in x.split(pushes, 2):
            found.append(live.push(part))
            plain.push(part)
            for mine, other in zip(live.state.kept, plain.state.kept, strict=True):
                assert mine is other is None or torch.allclose(mine, other, atol=1e-6)
        assert off(torch.cat([*found, live.flush()], 2), whole) < 2e-6


def test_what_the_kernels_do_not_know_runs_in_pytorch_and_says_why():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), Written(torch.erf))
    live = atrous.stream(model, (1, 1, 160))
    assert live.engine == "torch"
    assert live.refusal.layer == "1"
    assert "erf has no native step" in live.refusal.reason
    with pytest.raises(UnsupportedError, match=r"no native engine runs it.*erf.*leave the engine"):
        atrous.stream(model, (1, 1, 160), engine="native")
    plain = nn.Conv1d(1, 1, 3)
    assert atrous.stream(plain, (1, 1, 40), engine="torch").engine == "torch"
    assert atrous.stream(plain.double(), (1, 1, 40)).refusal.reason.endswith("is no float32.")


def test_programs_that_would_leave_their_memory_are_refused_and_write_nothing():
    codes = [tried(seed, 0.0 if seed % 2 else 0.02) for seed in range(400)]
    assert 10 < codes.count(0) < 390


def test_a_state_with_sums_so_far_goes_from_either_engine_into_the_other():
    torch.manual_seed(0)
    function, *layers = KINDS["so far"]
    model, x = Written(function, *layers).eval(), noise(1, 2, 90)
    with torch.no_grad():
        whole = model(x)
    one = atrous.stream(model, (1, 2, 41))
    two = atrous.stream(model, (1, 2, 41), engine="torch")
    made = [one.push(x[..., :30])]
    two.state = one.state
    made.append(two.push(x[..., 30:50]))
    one.state = two.state
    assert off(torch.cat([*made, pushed(one, x[..., 50:], [1, 39])], 2), whole) < 2e-6


def test_an_engine_that_there_is_not_is_refused():
    with pytest.raises(atrous.errors.ArgumentError, match="engine='cuda' is none; give"):
        atrous.stream(nn.Conv1d(1, 1, 3), (1, 1, 40), engine="cuda")
