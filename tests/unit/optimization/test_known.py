"""A model that was optimized before is optimized sooner, and is still compared with itself."""

import math

import pytest
import torch
from torch import nn

from atrous.optimization import judge as judge_rules
from atrous.optimization.contest import Turns
from atrous.optimization.judge import Judge, reference_of
from atrous.optimization.known import KnownWhole
from atrous.optimization.layer.cache import Choices
from atrous.optimization.optimize import optimize_model
from atrous.optimization.order import Order


def model_of(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(8, 4, 1))


def timers(fast):
    """Made-up times: every strategy alike, and the whole fastest in the layout `fast`."""
    seen = []

    def whole(runs):
        seen.append(tuple(runs))
        return {name: Turns(1.0 if name == fast else 2.0, 1.0, 2.0) for name in runs}

    return {"timer": lambda runs: dict.fromkeys(runs, 1.0), "whole_timer": whole}, seen


@pytest.fixture
def asked(tmp_path):
    def optimized(model, x, fast="channels_last"):
        given, seen = timers(fast)
        choices = Choices(tmp_path / "choices.json")
        made = optimize_model(model, x, choices=choices, **given)
        return made, seen[0]

    return optimized


def test_the_layout_that_was_fastest_is_the_only_one_made_again(asked):
    model, x = model_of().eval(), torch.randn(1, 8, 40, 40)
    _, first = asked(model, x)
    assert set(first) == {"before", "contiguous", "channels_last"}
    made, second = asked(model, x)
    assert set(second) == {"before", "channels_last"}
    assert made.explain().layout == "channels_last"
    assert torch.allclose(made(x), model(x), atol=1e-5)


def test_other_weights_or_another_size_are_another_model(asked):
    x = torch.randn(1, 8, 40, 40)
    asked(model_of().eval(), x)
    _, other = asked(model_of(1).eval(), x)
    assert "contiguous" in other
    _, smaller = asked(model_of().eval(), x[..., :32])
    assert "contiguous" in smaller


def test_a_program_that_is_no_longer_equal_is_not_believed(asked):
    model, x = model_of().eval(), torch.randn(1, 8, 40, 40)
    judge = Judge(model, (x,), reference_of(model, (x,)))
    assert judge.again(lambda given: model(*given), 0.0).same
    assert not judge.again(lambda given: model(*given) + 1, 1e-5).same
    assert not judge.again(lambda given: model(*given), None).same

    def writes(given):
        given[0].add_(1)
        return model(*given)

    assert judge.again(writes, 1e9).difference == math.inf


def test_a_model_that_is_known_runs_once_to_be_compared_with(asked, monkeypatch):
    model, x = model_of().eval(), torch.randn(1, 8, 40, 40)
    ran = []
    called = judge_rules.called
    monkeypatch.setattr(judge_rules, "called", lambda *a: ran.append(a[1]) or called(*a))
    first, _ = asked(model, x)
    assert len(ran) == 2  # the example, and drawn inputs
    again, _ = asked(model, x)
    assert len(ran) == 3
    assert again.explain().max_difference == first.explain().max_difference


def test_the_run_that_is_compared_with_is_handed_to_the_contest(asked, monkeypatch, tmp_path):
    """Of a model without gradients, and with what is known; nothing of that for training."""
    given = []

    def contest(runs, **more):
        given.append(more)
        return {name: Turns(2.0 if name == "before" else 1.0, 1.0, 2.0, 3) for name in runs}

    monkeypatch.setattr("atrous.optimization.optimize.contest", contest)
    monkeypatch.setattr("atrous.optimization.optimize.crowded", lambda: "")
    model, x = model_of().eval(), torch.randn(1, 8, 40, 40)
    choices = Choices(tmp_path / "choices.json")
    for training in (False, False, True, True):
        optimize_model(model, x, choices=choices, training=training)
    assert [one["known"].get("before") for one in given] == [None, 2.0, None, 2.0]
    assert [{*one["ran"]} for one in given] == [{"before"}, {"before"}, set(), set()]
    assert all(0 < ms < 60e3 for one in given for ms in one["ran"].values())


def test_the_fastest_layout_is_that_of_one_contest(asked, tmp_path):
    """A slower day, on which the other layout was not made, does not make that one the fastest."""
    model, x = model_of().eval(), torch.randn(1, 8, 40, 40)
    order = Order(model, (x,), True, None, Choices(tmp_path / "choices.json"), dict, print)
    kept = KnownWhole(order, None)
    times = {"before": 200.0, "channels_last": 100.0, "contiguous": 110.0}
    kept.save({name: Turns(ms, ms, ms, 3) for name, ms in times.items()})
    assert kept.layout == "channels_last"
    kept.save({"before": Turns(240.0, 240, 240, 3), "channels_last": Turns(120.0, 120, 120, 3)})
    assert (kept.layout, kept.times["before"]) == ("channels_last", 240.0)
    kept.save({"before": Turns(250.0, 250, 250), "channels_last": Turns(121.0, 121, 121)})
    assert kept.times["before"] == 240.0  # of one turn


def test_what_trains_is_another_model_with_other_parts_frozen(tmp_path):
    x = torch.randn(1, 8, 40, 40)

    def known(model):
        choices = Choices(tmp_path / "choices.json")
        return KnownWhole(Order(model, (x,), True, None, choices, dict, print), None)

    taken = {"before": Turns(2.0, 2, 2, 3), "contiguous": Turns(1.0, 1, 1, 3)}
    known(model_of()).save(taken)
    assert known(model_of(1)).layout == "contiguous"
    frozen = model_of()
    frozen[0].requires_grad_(False)
    assert known(frozen).layout is None
    assert known(model_of().to(memory_format=torch.channels_last)).layout is None


def test_what_is_no_plain_array_makes_a_model_that_is_never_known(asked):
    model, x = model_of().eval(), torch.randn(1, 8, 40, 40)
    model.register_buffer("of_old", torch.eye(3).to_sparse(), persistent=False)
    for _ in range(2):
        made, seen = asked(model, x)
        assert "contiguous" in seen
        assert made.explain().mode == "graph"


def test_a_buffer_that_is_not_saved_is_part_of_the_model(asked):
    class Scaled(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.one = model_of()
            self.register_buffer("scale", torch.tensor(scale), persistent=False)

        def forward(self, x):
            return self.one(x) * self.scale

    x = torch.randn(1, 8, 40, 40)
    asked(Scaled(1.0).eval(), x)
    _, other = asked(Scaled(2.0).eval(), x)
    assert "contiguous" in other
    _, same = asked(Scaled(1.0).eval(), x)
    assert "contiguous" not in same


def test_layers_of_a_model_that_is_known_are_not_run_again(asked, tmp_path):
    model, x = model_of().eval(), torch.randn(1, 8, 40, 40)
    first, _ = asked(model, x)
    given, _ = timers("channels_last")

    def timer(runs):
        raise AssertionError(f"nothing is measured again, but {list(runs)}")

    choices = Choices(tmp_path / "choices.json")
    made = optimize_model(model, x, choices=choices, **{**given, "timer": timer})
    fields = ("layer", "op", "strategy", "max_difference", "candidates")
    for one, two in zip(made.explain().layers, first.explain().layers, strict=True):
        assert [getattr(one, name) for name in fields] == [getattr(two, name) for name in fields]
    assert torch.allclose(made(x), model(x), atol=1e-5)
