"""Convolutions whose forward and gradients run by ways of their own, and models that train so."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.directions import (
    DIRECTIONS,
    RUNS,
    Directions,
    conv_directed,
    conv_filtered,
    has_ways,
    ways_of,
)
from atrous.operators.kernels import native
from atrous.operators.strategies import to_channels_last
from atrous.optimization.contest import Turns
from atrous.optimization.judge import flat
from atrous.optimization.layer import rounding
from atrous.optimization.optimize import optimize_model
from atrous.optimization.swap import convolution_of

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)

MOST = {"torch": 2e-6, "taps": 2e-6, "winograd 4": 4e-6, "winograd 5": 8e-6, "winograd 6": 3e-5}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    # Made times say which is fast.
    monkeypatch.setattr("atrous.optimization.directed._FAR", math.inf)


def plain(call, x, weight, bias):
    pads = [p for pair in reversed(call.padding) for p in pair]
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[call.rank - 1]
    return conv(functional.pad(x, pads), weight, bias, call.stride, 0, call.dilation)


def drawn(seed):
    """A convolution of one group, and its operands."""
    draw = random.Random(seed)
    windows, sizes = [], []
    for _ in range(draw.choice([1, 2, 2, 3])):
        kernel, stride = draw.choice([1, 2, 3, 3, 5]), draw.choice([1, 1, 1, 2, 3])
        rate, size = draw.choice([1, 1, 2, 4, 7, 12]), draw.randint(3, 14)
        pads = [draw.randint(0, rate * (kernel - 1) + 2) for _ in range(2)]
        windows.append(Window(kernel, stride, rate, *pads))
        sizes.append(size)
    fits = all(n + w.pad_lo + w.pad_hi >= w.extent for n, w in zip(sizes, windows, strict=True))
    if not fits:
        return drawn(seed + 1000)
    counts = (draw.randint(1, 2), draw.randint(1, 20), draw.randint(1, 20))
    call = Convolution(*counts, tuple(sizes), tuple(windows))
    torch.manual_seed(seed)
    x = torch.randn(call.batch, call.in_channels, *sizes)
    weight = torch.randn(call.out_channels, call.in_channels, *call.kernel)
    # Neither has to lie as PyTorch makes it.
    x = to_channels_last(x) if draw.random() < 0.5 else x
    weight = weight.transpose(0, 1).contiguous().transpose(0, 1) if draw.random() < 0.5 else weight
    return call, (x, weight, torch.randn(call.out_channels))


@pytest.mark.parametrize("seed", range(60))
def test_every_way_of_every_direction_is_the_convolution_in_float64(seed):
    call, operands = drawn(seed)
    exact = [one.double().requires_grad_() for one in operands]
    wanted = plain(call, *exact)
    grad = torch.randn(wanted.shape)
    wanted = (wanted, *torch.autograd.grad(wanted, exact, grad.double()))
    for at, direction in enumerate(DIRECTIONS):
        for way in ways_of(direction, call):
            ways = ["torch"] * 3
            ways[at] = way
            assert has_ways(Directions(*ways), call)
            given = [one.clone().requires_grad_() for one in operands]
            y = conv_directed(*given, call, Directions(*ways))
            made = (y, *torch.autograd.grad(y, given, grad))
            for one, two in zip(made, wanted, strict=True):
                assert one.shape == two.shape
                apart = float((one.double() - two).detach().abs().max())
                assert apart <= MOST[way] * float(two.detach().abs().max()), (way, direction)


def test_the_gradient_of_a_sum_which_shares_its_memory_is_read_as_what_it_is():
    call, (x, weight, bias) = drawn(0)
    for last in (False, True):
        given = to_channels_last(x) if last else x.contiguous()
        for way in ways_of("weight gradient", call):
            leaf = weight.clone().requires_grad_()
            conv_directed(given, leaf, bias, call, Directions(by_weight=way)).sum().backward()
            other = weight.clone().requires_grad_()
            plain(call, given, other, bias).sum().backward()
            assert torch.allclose(leaf.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_a_layer_in_one_part_with_a_stride_has_its_gradients():
    call = Convolution(1, 16, 16, (19, 18), Window.of_axes((3, 3), (1, 2), (2, 2), ((2, 2),) * 2))
    x, weight = torch.randn(1, 16, 19, 18), torch.randn(16, 16, 3, 3).requires_grad_()
    conv_filtered(x, weight, None, call, 4).sum().backward()
    other = weight.detach().clone().requires_grad_()
    plain(call, x, other, None).sum().backward()
    assert torch.allclose(weight.grad, other.grad, rtol=1e-4, atol=1e-4)


class Net(nn.Module):
    """Two dense layers that are alike, one that mostly meets its padding, and a norm."""

    def __init__(self, end="mean"):
        super().__init__()
        self.one = nn.Conv2d(32, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.two = nn.Conv2d(32, 32, 3, padding=1)
        self.far = nn.Conv2d(32, 32, 3, padding=12, dilation=12)
        self.end = end

    def forward(self, x):
        y = self.far(self.two(torch.relu(self.norm(self.one(x)))))
        return y.view(y.shape[0], -1) if self.end == "view" else y


def timed(asked, **fast):
    """A timer by which these are fast, which notes what it is asked."""

    def timer(runs):
        asked.append(tuple(runs))
        for run in runs.values():
            run()
        return {name: fast.get(name.replace(" ", "_"), 2.0) for name in runs}

    return timer


def trained(
    model, x, *, whole=("channels_last", "contiguous"), asked=None, sums=None, played=None, **fast
):
    """The model optimized for training by made times; of the whole the first that there is wins."""

    def contest(runs):
        if played is not None:
            played.append(tuple(runs))
        best = next((name for name in whole if name in runs), "before")
        return {name: Turns(*(1.0 if name == best else 2.0,) * 3) for name in runs}

    layers = timed([] if asked is None else asked, **(fast or {"winograd_4": 1.0, "taps": 0.5}))
    return optimize_model(model, x, training=True, rounding=sums, timer=layers, whole_timer=contest)


def test_a_model_trains_in_channels_last_and_returns_what_it_returned():
    torch.manual_seed(0)
    model, x = Net(), torch.randn(2, 32, 17, 17)
    exact = copy.deepcopy(model).double()
    asked = []
    fast = trained(model, x, asked=asked)
    found = fast.explain()
    assert (found.mode, found.layout, found.training) == ("layers", "channels_last", True)
    assert "layer by layer, channels last, with gradients" in str(found)
    rows = {row.layer: row for row in found.layers}
    assert rows["one"].strategy == rows["two"].strategy == "winograd 4"
    assert rows["far"].strategy == "taps"
    assert 0 < rows["one"].error <= 8 * rows["one"].direct_error
    # Layers that are alike are measured once: two kinds, three directions, two layouts.
    assert len(asked) == 12
    y = fast(x)
    assert y.stride() == model(x).stride()
    y.square().mean().backward()
    exact(x.double()).square().mean().backward()
    for (name, one), two in zip(model.named_parameters(), exact.parameters(), strict=True):
        if name != "one.bias":  # the norm behind it takes it away: rounding alone
            assert float((one.grad.double() - two.grad).abs().max()) <= 3e-5 * float(
                two.grad.abs().max()
            ), name
    # What was measured is not measured again, and other sizes run as well.
    asked.clear()
    again = trained(model, x, asked=asked)
    assert not asked
    assert [row.strategy for row in again.explain().layers] == [
        row.strategy for row in found.layers
    ]
    other = torch.randn(1, 32, 30, 9)
    assert torch.allclose(fast.eval()(other), model.eval()(other), atol=1e-5)


def test_what_cannot_run_in_channels_last_runs_as_it_lies():
    model, x = Net("view"), torch.randn(2, 32, 17, 17)
    fast = trained(model, x)
    found = fast.explain()
    assert (found.mode, found.layout) == ("layers", "contiguous")
    assert any("nor layer by layer" in note for note in found.notes)
    fast(x).sum().backward()


def test_a_model_that_writes_into_its_input_keeps_doing_so():
    class Writes(Net):
        def forward(self, x):
            return super().forward(x.mul_(0.5))

    model, x = Writes(), torch.randn(2, 32, 17, 17)
    given = x.clone()
    fast = trained(model, x)
    assert fast.explain().layout == "contiguous"
    assert torch.equal(x, given)
    fast(given)
    assert torch.equal(given, 0.5 * x)


def test_copies_train_by_the_same_ways():
    model, x = Net(), torch.randn(2, 32, 17, 17)
    fast = trained(model, x)
    other = copy.deepcopy(fast)
    assert other._original.one.ways == fast._original.one.ways == Directions(*["winograd 4"] * 3)
    assert torch.equal(other(x), fast(x))


def test_without_a_known_direction_a_layer_stays():
    model, x = Net(), torch.randn(2, 32, 17, 17)
    found = trained(model, x, whole=("contiguous",), other=1.0).explain()
    assert found.mode == "original"
    assert {row.strategy for row in found.layers} == {"torch"}


def test_a_layer_that_stays_is_shown_the_second_time_as_well():
    model, x = Net(), torch.randn(2, 32, 17, 17)
    for _ in range(2):
        found = trained(model, x, whole=(), other=1.0).explain()
        assert found.mode == "original"
        assert {row.strategy for row in found.layers} == {"torch"}


def assert_trains_like(fast, plain, x):
    """One step of each gives the same gradients."""
    for model in (fast, plain):
        model.zero_grad()
        model(x.clone()).square().mean().backward()
    for one, two in zip(fast.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, rtol=1e-3, atol=1e-4 * float(two.grad.max()))


@pytest.mark.parametrize("whole", ["channels_last", "contiguous"])
def test_what_a_layer_makes_may_be_written_into(whole):
    layers = [nn.Conv2d(32, 32, 3, padding=rate, dilation=rate, bias=rate > 1) for rate in (1, 12)]
    model = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1], nn.ReLU(inplace=True))
    x, plain = torch.randn(2, 32, 17, 17), copy.deepcopy(model)
    fast = trained(model, x, whole=(whole,))
    assert [row.strategy for row in fast.explain().layers] == ["winograd 4", "taps"]
    assert_trains_like(fast, plain, x)


def test_many_gradients_may_be_asked_for_at_once():
    model, x = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1)), torch.randn(1, 32, 17, 17)
    plain = copy.deepcopy(model)
    fast, grads = trained(model, x), torch.randn(3, 1, 32, 17, 17)
    made, wanted = (
        torch.autograd.grad(one(x), list(one.parameters()), grads, is_grads_batched=True)
        for one in (fast, plain)
    )
    for one, two in zip(made, wanted, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-3)


class Shapes(Net):
    """Returns views of its map, which lie in order where the map does."""

    def forward(self, x):
        y = super().forward(x)
        return y, y.flatten(2), y.reshape(-1, 2, 16, *y.shape[2:]), y[:1, :1].expand(4, 4, 17, 17)


def test_what_is_returned_lies_in_order_whatever_was_made_of_the_map():
    model, x = Shapes(), torch.randn(2, 32, 17, 17)
    fast = trained(model, x)
    assert fast.explain().layout == "channels_last"
    made, wanted = fast(x), model(x)
    assert [y.is_contiguous() for y in made] == [y.is_contiguous() for y in wanted]
    assert made[3].stride()[:2] == (0, 0)


@pytest.mark.parametrize("whole", ["channels_last", "contiguous"])
def test_maps_that_are_given_in_channels_last_are_returned_so(whole):
    model = Net().to(memory_format=torch.channels_last)
    x = torch.randn(2, 32, 17, 17).to(memory_format=torch.channels_last)
    wanted = model(x).stride()
    fast = trained(model, x, whole=(whole,))
    assert fast(x).stride() == wanted
    assert {row.strategy for row in fast.explain().layers} == {"winograd 4", "taps"}


@pytest.mark.parametrize("whole", ["channels_last", "contiguous"])
def test_the_layout_that_trained_fastest_is_the_only_one_made_again(whole):
    x, played = torch.randn(2, 32, 17, 17), []
    both = ("before", "channels_last", "contiguous")
    trained(Net(), x, whole=(whole,), played=played)
    fast = trained(Net(), x, whole=(whole,), played=played)  # other weights, as in training
    assert played == [both, ("before", whole)]
    assert (fast.explain().mode, fast.explain().layout) == ("layers", whole)
    trained(nn.Sequential(Net()), x, whole=(whole,), played=played)
    trained(Net(), x[:1], whole=(whole,), played=played)
    assert played[2:] == [both, both]


def test_hooks_of_an_object_still_write_into_it():
    class Store:
        def __init__(self):
            self.seen = []

        def keep(self, name, _part, _args, _made):
            self.seen.append(name)

        def __call__(self, _part, _args, _made):
            self.seen.append("called")

    model, x, store = Net(), torch.randn(2, 32, 17, 17), Store()
    model.one.register_forward_hook(partial(store.keep, "one"))
    model.two.register_forward_hook(store)
    fast = trained(model, x)
    store.seen.clear()
    fast(x)
    assert store.seen == ["one", "called"]


@pytest.mark.parametrize("error", [AssertionError, KeyError, IndexError])
def test_a_model_that_refuses_a_layout_in_its_own_words_runs_in_the_other(error):
    class Strict(Net):
        def forward(self, x):
            if not x.is_contiguous():
                raise error("in order, please")
            return super().forward(x)

    found = trained(Strict(), torch.randn(2, 32, 17, 17)).explain()
    assert (found.mode, found.layout) == ("layers", "contiguous")
    assert any("in order, please" in note for note in found.notes)


def test_code_that_fails_only_where_gradients_are_recorded_runs_as_it_was():
    class Strict(Net):
        def forward(self, x):
            y = super().forward(x)
            if type(self.one) is not nn.Conv2d and torch.is_grad_enabled():
                raise RuntimeError("not like this")
            return y

    found = trained(Strict(), torch.randn(2, 32, 17, 17)).explain()
    assert found.mode == "original"
    assert any("not like this" in note for note in found.notes)


def test_another_default_type_changes_nothing(monkeypatch):
    model, x = Net(), torch.randn(2, 32, 17, 17)
    torch.set_default_dtype(torch.float64)
    try:
        found = trained(model, x).explain()
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.mode == "layers"


def test_where_the_fastest_of_before_is_refused_the_next_one_is_taken(monkeypatch):
    model, x = nn.Conv2d(32, 32, 3, padding=1), torch.randn(2, 32, 17, 17)
    ways = {"winograd_6": 0.5, "winograd_4": 1.0}
    (row,) = trained(model, x, sums="winograd", **ways).explain().layers
    assert row.strategy.startswith("winograd 6")

    def refusing(run):
        def ran(way, *operands):
            if way == "winograd 6":
                raise ValueError("not today")
            return run(way, *operands)

        return ran

    monkeypatch.setattr("atrous.optimization.directed.RUNS", tuple(map(refusing, RUNS)))
    (row,) = trained(model, x, sums="winograd", **ways).explain().layers
    assert row.strategy == "winograd 4"
    assert "not today" in row.why[0]


def test_what_rounds_too_much_by_default_is_tried_where_any_rounding_will_do(monkeypatch):
    model, x = nn.Conv2d(32, 32, 3, padding=1), torch.randn(2, 32, 17, 17)
    monkeypatch.setitem(rounding._BY_NAME, None, 0.1)
    asked = {"winograd_6": 0.5}
    assert trained(model, x, **asked).explain().layers[0].strategy == "torch"
    found = trained(model, x, sums="winograd", **asked).explain()
    assert found.layers[0].strategy.startswith("winograd 6")


def test_without_kernels_what_was_chosen_with_them_runs_by_pytorch(monkeypatch):
    model, x = Net(), torch.randn(2, 32, 17, 17)
    fast = trained(model, x)
    missing = replace(native(), available=False)
    monkeypatch.setattr("atrous.operators.directions.native", lambda: missing)
    assert not has_ways(fast._original.one.ways, convolution_of(fast._original.one, x))
    assert has_ways(fast._original.far.ways, convolution_of(fast._original.far, x))
    assert torch.equal(fast._original.one(x), model.one(x))


@dataclass(frozen=True)
class Made:
    """What a model returns as a record of its own."""

    y: torch.Tensor
    more: dict[str, torch.Tensor]


class Own(dict):
    """A dict of another kind, as libraries return them."""


@pytest.mark.parametrize("record", [Made, lambda y, more: Own(y=y, more=more)])
def test_records_of_the_users_own_are_compared_and_lie_in_order(record):
    class Records(Net):
        def forward(self, x):
            y = super().forward(x)
            return record(y, {"half": 0.5 * y})

    model, x = Records(), torch.randn(2, 32, 17, 17)
    fast = trained(model, x)
    assert fast.explain().layout == "channels_last"
    made, wanted = fast(x), model(x)
    assert type(made) is type(wanted)
    for one, two in zip(flat(made), flat(wanted), strict=True):
        assert one.is_contiguous()
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)


class Beside(Net):
    """Holds a layer that is none of its parts, a plain tensor, and a buffer that it sets anew."""

    def __init__(self):
        super().__init__()
        self.others = [nn.Conv2d(32, 32, 1)]
        self.scale = torch.ones(1)
        self.register_buffer("last", torch.zeros(32))

    def forward(self, x):
        y = self.others[0](super().forward(x)) * self.scale
        if self.training:
            self.last = y.detach().mean((0, 2, 3))
        return y


def test_what_a_model_holds_beside_its_parts_is_its_own_in_the_result():
    model, x = Beside().train(), torch.randn(2, 32, 17, 17)
    fast = trained(model, x)
    y = fast(x)
    y.sum().backward()
    assert model.others[0].weight.grad is not None
    assert torch.allclose(model.last, y.detach().mean((0, 2, 3)), atol=1e-6)
    assert torch.equal(fast.state_dict()["last"], model.last)
    with torch.no_grad():
        model.scale.mul_(2)
        model.others[0].weight.zero_()
    assert torch.equal(fast(x), 2 * model.others[0].bias.reshape(1, -1, 1, 1).expand_as(y))


def test_a_model_of_which_no_parameter_is_known_runs_as_it_was():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Conv2d(8, 8, 3)]

        def forward(self, x):
            return self.layers[0](x)

    made = optimize_model(Hidden(), torch.randn(1, 8, 9, 9), training=True)
    assert made.explain().mode == "original"
