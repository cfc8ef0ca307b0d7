"""Optimized models compute what their originals compute, whatever was chosen for their layers."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.errors import ArgumentError, ArgumentTypeError
from atrous.optimization.contest import Turns
from atrous.optimization.layer import ways as registry
from atrous.optimization.layer.ways import PLAIN, Way, runs_of, using
from atrous.optimization.optimize import optimize_model


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    # Made times of layers say nothing about layouts.
    monkeypatch.setattr("atrous.optimization.candidates._MUCH", math.inf)
    return tmp_path / "cache"


def favouring(*names):
    """A timer that runs everything once, and by which these are fast, in this order."""

    def timer(runs):
        for run in runs.values():
            run()
        order = [*names, *(name for name in runs if name not in names)]
        return {name: float(1 + order.index(name)) for name in runs}

    return timer


def whole(*names):
    """The same for the whole model."""

    def timer(runs):
        return {name: Turns(ms, ms, ms) for name, ms in favouring(*names)(runs).items()}

    return timer


def optimized(
    model, example, *, first=("onednn", "depthwise kernel"), layout="channels_last", **more
):
    """The model optimized by made times: these strategies win, and so does that layout."""
    by = whole(layout, "channels_last", "contiguous")
    return optimize_model(model, example, timer=favouring(*first), whole_timer=by, **more)


def assert_same(fast, model, *inputs, tolerance=2e-5):
    with torch.no_grad():
        wanted, made = model(*inputs), fast(*inputs)
    leaves = torch.utils._pytree.tree_leaves
    assert type(made) is type(wanted)
    assert len(leaves(made)) == len(leaves(wanted))
    for one, two in zip(leaves(wanted), leaves(made), strict=True):
        assert one.stride() == two.stride()
        assert float((one - two).abs().max()) <= tolerance * float(one.abs().max())


def calibrated(model, *inputs):
    """The model with batch norms, biases and scales that are no identity, in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.copy_(torch.randn(part.num_features, generator=generator) * 0.2)
            part.running_var.copy_(torch.rand(part.num_features, generator=generator) + 0.5)
            with torch.no_grad():
                part.weight.copy_(torch.rand(part.num_features, generator=generator) + 0.5)
                part.bias.copy_(torch.randn(part.num_features, generator=generator) * 0.2)
    return model.eval()


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.reduce = nn.Conv2d(channels, 4, 1)
        self.expand = nn.Conv2d(4, channels, 1)

    def forward(self, x):
        gate = functional.adaptive_avg_pool2d(x, 1)
        gate = self.expand(functional.relu(self.reduce(gate), inplace=True))
        return x * functional.hardsigmoid(gate)


class Inverted(nn.Module):
    """A block of MobileNetV3: expand, depthwise, squeeze and excite, project, add."""

    def __init__(self, channels, wide, kernel, stride=1, rate=1):
        super().__init__()
        pad = (kernel - 1) // 2 * rate
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.Hardswish(inplace=True),
            nn.Conv2d(wide, wide, kernel, stride, pad, rate, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            SqueezeExcite(wide),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.adds = stride == 1

    def forward(self, x):
        y = self.body(x)
        return x + y if self.adds else y


class ConvNext(nn.Module):
    """A block of ConvNeXt: depthwise, then linear maps over the channels, scaled and added."""

    def __init__(self, channels, rate=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 7, 1, 3 * rate, rate, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.one = nn.Linear(channels, 4 * channels)
        self.two = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x):
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        y = self.two(functional.gelu(self.one(y))).permute(0, 3, 1, 2)
        return y * self.scale.reshape(1, -1, 1, 1) + x


class Causal(nn.Module):
    """A block of a temporal network: padded on one side, gated, residual."""

    def __init__(self, channels, rate):
        super().__init__()
        self.rate = rate
        self.filter = nn.Conv1d(channels, channels, 2, dilation=rate)
        self.gate = nn.Conv1d(channels, channels, 2, dilation=rate)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        padded = functional.pad(x, (self.rate, 0))
        return x + self.mix(torch.tanh(self.filter(padded)) * torch.sigmoid(self.gate(padded)))


class Gated(nn.Module):
    """A block of WaveNet: one convolution for filter and gate."""

    def __init__(self, channels, rate):
        super().__init__()
        self.rate = rate
        self.both = nn.Conv1d(channels, 2 * channels, 2, dilation=rate)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        one, two = self.both(functional.pad(x, (self.rate, 0))).chunk(2, dim=1)
        return x + self.mix(torch.tanh(one) * torch.sigmoid(two))


class Residual(nn.Module):
    """A block of a ResNet, of any rank."""

    def __init__(self, conv, norm, channels, stride=1, rate=1):
        super().__init__()
        self.one = conv(channels, channels, 3, stride, rate, rate, bias=False)
        self.norm_one = norm(channels)
        self.two = conv(channels, channels, 3, 1, 1)
        self.norm_two = norm(channels)
        self.short = conv(channels, channels, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = functional.relu(self.norm_one(self.one(x)), inplace=True)
        y = self.norm_two(self.two(y))
        y += self.short(x)
        return functional.relu(y, inplace=True)


class Heads(nn.Module):
    """Features by name, one of them a view, one the input itself; a layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        y = functional.silu(self.stem(x))
        z = self.again(functional.leaky_relu(self.again(y), 0.2))
        up = self.norm(self.up(z + 0.5))
        wide = functional.interpolate(z, size=x.shape[-2:], mode="bilinear", align_corners=False)
        pair = torch.cat([up, wide], dim=1)
        return OrderedDict(out=pair, flat=z.flatten(1), given=x, half=z[:, ::2])


def small(kind):
    torch.manual_seed(0)
    if kind == "mobile":
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            Inverted(8, 16, 3, rate=2),
            Inverted(8, 24, 5, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(8, 5),
        )
        return model, (2, 3, 33, 31)
    if kind == "convnext":
        stem = nn.Conv2d(3, 8, 4, 4)
        return nn.Sequential(stem, ConvNext(8), ConvNext(8, rate=2)), (1, 3, 45, 39)
    if kind == "temporal":
        blocks = [Causal(8, rate) for rate in (1, 2, 4)]
        return nn.Sequential(*blocks, nn.PReLU(), nn.GroupNorm(1, 8), nn.Conv1d(8, 3, 1)), (
            2,
            8,
            50,
        )
    if kind == "gated":
        return nn.Sequential(Gated(6, 1), Gated(6, 4), nn.Conv1d(6, 4, 1, bias=False)), (2, 6, 40)
    if kind == "residual":
        parts = [
            Residual(nn.Conv2d, nn.BatchNorm2d, 6, 2),
            Residual(nn.Conv2d, nn.BatchNorm2d, 6, 1, 3),
        ]
        return nn.Sequential(nn.Conv2d(3, 6, 3), *parts), (1, 3, 29, 35)
    if kind == "volume":
        return nn.Sequential(
            nn.Conv3d(2, 6, 3, padding=1),
            Residual(nn.Conv3d, nn.BatchNorm3d, 6, 2, 2),
            nn.Conv3d(6, 6, 3, padding=4, dilation=4, groups=6),
            nn.ELU(),
        ), (1, 2, 11, 12, 13)
    if kind == "line":
        return nn.Sequential(
            nn.Conv1d(4, 8, 3, 2, 3, 2),
            nn.BatchNorm1d(8),
            nn.GELU(),
            Residual(nn.Conv1d, nn.BatchNorm1d, 8, 1, 4),
            nn.Conv1d(8, 8, 3, padding=5, dilation=5, groups=8),
        ), (3, 4, 41)
    return Heads(), (1, 3, 24, 30)


KINDS = ["mobile", "convnext", "temporal", "gated", "residual", "volume", "line", "heads"]


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_the_same_in_either_layout_and_at_other_sizes(kind, layout):
    model, shape = small(kind)
    x = torch.randn(shape)
    calibrated(model)
    fast = optimized(model, x, layout=layout)
    assert fast.explain().mode == "graph", fast.explain().notes
    assert fast.explain().layout == layout
    assert_same(fast, model, x)
    assert_same(fast, model, torch.randn(shape))
    other = torch.randn(shape[0] + 1, shape[1], *(size + 4 for size in shape[2:]))
    assert_same(fast, model, other, tolerance=0)
    # State dicts have the same keys in the same order.
    assert list(fast.state_dict()) == list(model.state_dict())
    assert [name for name, _ in fast.named_parameters()] == [n for n, _ in model.named_parameters()]


@pytest.mark.parametrize("first", [("torch",), ("product",), ("onednn unpacked",)])
def test_every_strategy_gives_the_same(first):
    for kind in ("mobile", "temporal"):
        model, shape = small(kind)
        x = torch.randn(shape)
        calibrated(model)
        assert_same(optimized(model, x, first=first), model, x)


def test_the_input_is_left_as_it_was():
    model, shape = small("heads")
    x = torch.randn(shape)
    kept = x.clone()
    fast = optimized(model.eval(), x)
    fast(x)["given"]
    assert torch.equal(x, kept)


def test_norms_activations_and_sums_are_gone_from_the_graph():
    model, shape = small("mobile")
    fast = optimized(calibrated(model), torch.randn(shape))
    (plan,) = fast._plans.values()
    targets = {str(node.target) for node in plan.program.graph.nodes}
    assert not any("norm" in target or "swish" in target for target in targets if "aten" in target)
    ops = {row.layer: row.op for row in fast.explain().layers}
    assert ops["3.body.0"] == "conv k1 + hardswish"
    assert ops["3.body.3"] == "depthwise k3 d2 + relu6"
    assert ops["3.body.7"] == "conv k1 + add"


def test_the_scale_and_the_sum_of_a_convnext_block_are_folded_through_the_permutation():
    model, shape = small("convnext")
    fast = optimized(model.eval(), torch.randn(shape))
    ops = {row.layer: row.op for row in fast.explain().layers}
    assert ops["1.one"] == "linear + gelu"
    assert ops["1.two"] == "linear + add"
    (plan,) = fast._plans.values()
    assert not any("mul" in str(node.target) for node in plan.program.graph.nodes)


def test_a_convolution_that_is_split_becomes_one_for_each_part():
    model, shape = small("gated")
    fast = optimized(model.eval(), torch.randn(shape))
    rows = fast.explain().layers
    assert [row.op for row in rows if row.layer.startswith("1.both")] == [
        "conv k2 d4 + tanh",
        "conv k2 d4 + sigmoid",
    ]
    assert [row.layer for row in rows][:3] == ["0.both", "0.both@1", "0.mix"]


def test_a_prelu_of_one_slope_is_fused_and_follows_its_parameter():
    model, shape = small("temporal")
    x = torch.randn(shape)
    fast = optimized(model.eval(), x)
    assert [row.op for row in fast.explain().layers][-2] == "conv k1 + add + leaky_relu"
    with torch.no_grad():
        model[3].weight.fill_(-0.7)
    assert_same(fast, model, x)


def test_weights_loaded_later_are_folded_anew():
    model, shape = small("residual")
    x = torch.randn(shape)
    fast = optimized(calibrated(model), x)
    other, _ = small("residual")
    for parameter in other.parameters():
        nn.init.normal_(parameter, std=0.3)
    fast.load_state_dict(calibrated(other).state_dict())
    assert_same(fast, other, x)


@pytest.mark.parametrize("how", ["in place", "replaced", "data", "mode"])
def test_weights_changed_later_are_folded_anew(how):
    model, shape = small("mobile")
    x = torch.randn(shape)
    fast = optimized(calibrated(model), x)
    before = fast(x)
    norm = model[3].body[1]
    with torch.no_grad():
        if how == "in place":
            norm.running_var.mul_(3)
        elif how == "replaced":
            norm.weight = nn.Parameter(norm.weight * 3)
        elif how == "data":
            norm.weight.data = norm.weight.data * 3
        else:
            fast.train()
            norm.weight.data.mul_(3)
            fast.eval()
    assert not torch.allclose(before, fast(x))
    assert_same(fast, model, x)


def test_training_mode_gradients_and_autocast_run_the_original():
    model, shape = small("mobile")
    x = torch.randn(shape)
    fast = optimized(calibrated(model), x)
    fast.train()
    assert model.training
    fast(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    fast.eval()
    given = x.clone().requires_grad_()
    fast(given).sum().backward()
    assert given.grad is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fast(x), model(x))
    assert_same(fast.double(), model, x.double())


def test_results_can_be_used_in_training_what_follows():
    model, shape = small("mobile")
    x = torch.randn(shape)
    fast = optimized(calibrated(model), x)
    head = nn.Linear(5, 2)
    head(fast(x)).sum().backward()
    assert head.weight.grad is not None


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_run_as_fast_and_have_weights_of_their_own(how):
    model, shape = small("mobile")
    x = torch.randn(shape)
    fast = optimized(calibrated(model), x)
    other = how(fast)
    assert_same(other, model, x)
    assert len(other._plans) == 1
    assert other.explain() == fast.explain()
    with torch.no_grad():
        model[0].weight.zero_()
    assert not torch.allclose(fast(x), other(x))


def test_a_copy_can_be_exported():
    model, shape = small("mobile")
    x = torch.randn(shape)
    fast = optimized(calibrated(model), x)
    program = torch.export.export(fast, (x,), strict=False)
    assert torch.allclose(program.module()(x), model(x), atol=1e-6)


def test_a_strategy_that_is_wrong_is_never_chosen():
    def scaled(weight, bias, call):
        return runs_of(registry.WAYS[PLAIN], weight * 1.01, bias, call)

    def failing(weight, bias, call):
        raise RuntimeError(f"no {call.op} today")

    wrong = Way("wrong", lambda call: call.op == "conv", scaled)
    broken = Way("broken", lambda call: call.op == "conv", failing)
    model, shape = small("residual")
    x = torch.randn(shape)
    with contextlib.contextmanager(using)(wrong, broken):
        fast = optimized(calibrated(model), x, first=("wrong", "broken"))
    rows = fast.explain().layers
    assert rows
    assert {row.strategy for row in rows} == {PLAIN}
    assert all(any("wrong: differs by" in why for why in row.why) for row in rows)
    assert all(any(why.startswith("broken: ") for why in row.why) for row in rows)
    assert_same(fast, model, x)


def test_a_strategy_that_is_slower_is_never_chosen():
    model, shape = small("residual")
    fast = optimized(calibrated(model), torch.randn(shape), first=(PLAIN,))
    assert {row.strategy for row in fast.explain().layers} == {PLAIN}


def test_a_program_that_is_slower_or_wrong_is_not_handed_out(monkeypatch):
    model, shape = small("residual")
    x = torch.randn(shape)
    calibrated(model)
    kept = optimize_model(model, x, timer=favouring(), whole_timer=whole("before"))
    assert kept.explain().mode == "original"
    assert "nothing was faster and equal" in kept.explain().notes[0]
    assert torch.equal(kept(x), model(x))
    monkeypatch.setattr("atrous.optimization.graph.fold.norm_scale", lambda _, v, _eps: v.double())
    kept = optimized(model, x)
    assert kept.explain().mode == "original"
    assert any("the output differs by" in note for note in kept.explain().notes)
    assert torch.equal(kept(x), model(x))


def test_choices_are_measured_once(cache):
    model, shape = small("residual")
    x = torch.randn(shape)
    calibrated(model)
    first = optimized(model, x)
    (held,) = cache.glob("*.json")
    asked = []

    def timer(runs):
        asked.append(list(runs))
        return favouring()(runs)

    again = optimize_model(model, x, timer=timer, whole_timer=whole("channels_last"))
    assert not asked
    strategies = [row.strategy for row in first.explain().layers]
    assert [row.strategy for row in again.explain().layers] == strategies
    assert json.loads(held.read_text())["schema"] == "atrous.choices/2"


def test_a_broken_cache_is_as_good_as_none(cache):
    model, shape = small("residual")
    x = torch.randn(shape)
    calibrated(model)
    optimized(model, x)
    (held,) = cache.glob("*.json")
    for text in ("", "{", "[]", '{"schema": "atrous.choices/2", "choices": {"x": 3}}', "\x00" * 9):
        held.write_text(text)
        assert_same(optimized(model, x), model, x)
        assert json.loads(held.read_text())["choices"], text


def test_a_cache_that_cannot_be_written_does_no_harm(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "file" / "inside"))
    model, shape = small("residual")
    x = torch.randn(shape)
    assert_same(optimized(calibrated(model), x), model, x)


class Deciding(nn.Module):
    """Code that follows its values: no graph can."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=9, dilation=9, groups=4)

    def forward(self, x):
        return self.conv(x) if float(x.sum()) > 0 else self.conv(-x)


class Counting(nn.Module):
    """Code that changes a buffer when it runs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.conv(x) + self.calls


class Clearing(nn.Module):
    """Code that writes into its input."""

    def forward(self, x):
        return x.relu_() * 2


@pytest.mark.parametrize("kind", [Deciding, Counting, Clearing])
def test_what_cannot_be_one_graph_runs_as_it_is_and_says_why(kind):
    torch.manual_seed(0)
    model = kind().eval()
    x = torch.randn(1, 4, 20, 20)
    fast = optimized(model, x)
    assert fast.explain().mode in ("original", "layers")
    assert fast.explain().notes[0].startswith("layer by layer, because ")
    given = x.clone()
    reference = copy.deepcopy(model)
    assert torch.allclose(fast(given), reference(x), atol=1e-6)
    assert torch.equal(given, x)


def test_random_numbers_stay_random():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.conv(x) + torch.rand(())

    x = torch.randn(1, 3, 9, 9)
    fast = optimized(Noisy().eval(), x)
    assert not torch.equal(fast(x), fast(x))


def test_training_keeps_gradients_and_keys():
    model, shape = small("mobile")
    x = torch.randn(shape)
    calibrated(model).train()
    fast = optimized(model, x, training=True)
    assert list(fast.state_dict()) == list(model.state_dict())
    assert fast.training
    state = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(fast.parameters(), 0.1)
    fast(x).square().mean().backward()
    optimizer.step()
    changed = model.state_dict()
    assert any(not torch.equal(state[key], changed[key]) for key in state)
    fast.eval()
    assert_same(fast, model.eval(), x)


def test_an_explanation_is_text_html_and_plain_data():
    model, shape = small("mobile")
    fast = optimized(calibrated(model), torch.randn(shape))
    found = fast.explain()
    text = str(found)
    assert text.startswith("Sequential: ")
    assert "depthwise k3 d2 + relu6" in text
    assert "<pre" in found._repr_html_()
    data = json.loads(found.to_json())
    assert data["schema"] == "atrous.explanation/1"
    assert [row["layer"] for row in data["layers"]] == [row.layer for row in found.layers]
    assert data["ratio"] == pytest.approx(found.ratio)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_rows_are_shares_of_the_whole_however_long_that_took(scale):
    model, shape = small("mobile")

    def by(runs):
        pairs = zip(runs, (scale, scale / 2, scale / 3), strict=True)
        return {name: Turns(ms, ms, ms) for name, ms in pairs}

    x = torch.randn(shape)
    found = optimize_model(
        calibrated(model), x, timer=favouring("onednn"), whole_timer=by
    ).explain()
    assert (found.ms_before, found.ms_after) == (scale, scale / 3)
    for name, ms in (("ms_before", found.ms_before), ("ms_after", found.ms_after)):
        total = sum(getattr(row, name) for row in found.layers)
        assert 0.2 * ms < total <= ms * (1 + 1e-9)


def test_an_optimized_model_can_be_optimized_again():
    model, shape = small("residual")
    x = torch.randn(shape)
    fast = optimized(optimized(calibrated(model), x), x)
    assert list(fast.state_dict()) == list(model.state_dict())
    assert_same(fast, model, x)


GOOD = nn.Sequential(nn.Conv2d(3, 3, 3)).eval()
BAD = [
    ("resnet50", torch.zeros(1), "model is a str; optimize works on a torch.nn.Module"),
    (GOOD, (1, 3, 9, 9), r"example\[0\] is a int; every input is a tensor"),
    (GOOD, None, "example is None; give a tensor such as the model is called with"),
    (GOOD, (), "example is empty; give a tensor"),
    (GOOD, torch.zeros(1, 3, 0, 9), r"example\[0\] has shape \(1, 3, 0, 9\), which is empty"),
    (GOOD, torch.zeros(1, 3, 9, 9, device="meta"), r"example\[0\] is a tensor of meta"),
    (
        nn.Sequential(nn.Dropout()),
        torch.zeros(1),
        r"call model.eval\(\), or give training=",
    ),
    (
        nn.Conv2d(3, 3, 3, device="meta").eval(),
        torch.zeros(1, 3, 9, 9),
        "model has 'weight' on meta",
    ),
    (
        GOOD,
        torch.zeros(1, 5, 9, 9),
        r"model cannot run on example=\.\.\.: .* but got 5 channels",
    ),
]


@pytest.mark.parametrize(("model", "example", "message"), BAD)
def test_bad_arguments_are_named_with_the_rule_and_the_fix(model, example, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        atrous.optimize(model, example)


class _Positions(nn.Module):
    """Adds what depends on a buffer alone, at the full shape of what it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.register_buffer("angles", torch.randn(1, 40, 16))
        self.net = nn.Sequential(nn.Conv1d(16, 16, 3, padding=8, dilation=8, groups=16), nn.ReLU())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.net((self.embed(tokens) + torch.tanh(self.angles)).transpose(1, 2))


def test_what_depends_on_parameters_alone_is_never_overwritten():
    torch.manual_seed(0)
    model, tokens = _Positions().eval(), torch.randint(0, 50, (1, 40))
    fast = atrous.optimize(model, tokens)
    for _ in range(4):
        torch.testing.assert_close(fast(tokens), model(tokens), atol=1e-5, rtol=1e-5)


def test_optimizing_leaves_no_trace_in_the_model_the_example_or_the_generator():
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=4, dilation=4, groups=8)
            self.norm = nn.BatchNorm2d(8)
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.norm(self.conv(x.mul_(2.0)))

    for training in (False, True):
        model = Writes().train(training)
        image = torch.randn(1, 8, 20, 20)
        state = {name: one.clone() for name, one in model.state_dict().items()}
        before, generator = image.clone(), torch.get_rng_state()
        atrous.optimize(model, image, training=training)
        assert torch.equal(image, before)
        assert torch.equal(torch.get_rng_state(), generator)
        assert all(torch.equal(one, state[name]) for name, one in model.state_dict().items())
        assert model.training is training


def test_statistics_that_a_batch_norm_gathers_later_are_seen():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU()).eval()
    image = torch.randn(2, 3, 20, 20)
    fast = atrous.optimize(model, image)
    fast(image)
    model.train()
    model(image * 3 + 1)
    model.eval()
    torch.testing.assert_close(fast(image), model(image), atol=1e-5, rtol=1e-5)


def test_a_model_that_changed_its_parts_hooks_or_dtype_runs_as_it_is():
    torch.manual_seed(0)
    image = torch.randn(1, 8, 20, 20)

    def made():
        model = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)).eval()
        return model, atrous.optimize(model, image)

    model, fast = made()
    model[0] = nn.Conv2d(8, 16, 3)
    torch.testing.assert_close(fast(image), model(image))
    model, fast = made()
    model[0].register_forward_hook(lambda _part, _given, y: y * 2)
    torch.testing.assert_close(fast(image), model(image))
    model, fast = made()
    model.bfloat16()
    with pytest.raises(RuntimeError):
        fast(image)
    model, fast = made()
    model.to("meta")
    assert fast(image).device == model(image).device
    model, fast = made()
    for part in (model[0], model[2]):
        new = nn.Parameter(torch.randn_like(part.weight))
        del part.weight
        part.weight = new
        assert_same(fast, model, image)


def test_models_whose_graph_fails_are_kept():
    class Energies(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad((x**3).sum(), x)[0]

    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_complex(self.conv(x).permute(0, 2, 3, 1).contiguous())

    for model in (Energies().eval(), Complex().eval()):
        image = torch.randn(1, 3, 12, 12)
        torch.testing.assert_close(atrous.optimize(model, image)(image), model(image))
