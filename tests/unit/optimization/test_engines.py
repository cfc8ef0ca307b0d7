"""Whole models by other engines: what is tried, what is taken, and that it follows the weights.

Most engines here are made ones, with made times; those that are installed run small models.
"""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch._dynamo.eval_frame import _debug_get_cache_entry_list
from torch.nn import functional

import atrous
from atrous.errors import ArgumentError, ArgumentTypeError, MissingDependencyError
from atrous.optimization.contest import Turns
from atrous.optimization.engines import openvino
from atrous.optimization.engines.engine import ENGINES, Engine, UnfitError, missing, task_of
from atrous.optimization.optimize import optimize_model
from atrous.verbs.bench import bench_module


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def engines():
    """The engines that are known; those that a test adds are gone behind it."""
    before = dict(ENGINES)
    yield
    for name in set(ENGINES) - set(before):
        del ENGINES[name]


def engine(name, run=None, *, packages=("torch",)):
    """A made engine. `run` makes outputs of the model and inputs; `built` counts the builds."""
    built = []

    def build(task):
        built.append(name)
        if run is not None:
            return lambda inputs: run(task.model, inputs)
        held = copy.deepcopy(task.model)  # its weights as they are now
        return lambda inputs: held(*inputs)

    ENGINES[name] = Engine(name, packages, f"pip install {name}", build)
    return built


def small():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3, padding=2, dilation=2), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv2d(4, 2, 1)).eval(), torch.randn(1, 3, 12, 11)


def by(**milliseconds):
    """A timer of the whole: everything runs once, and takes what is said, else 10 ms."""

    def timer(runs):
        for run in runs.values():
            run()
        taken = {name: float(milliseconds.get(name, 10.0)) for name in runs}
        return {name: Turns(ms, 0.9 * ms, 1.1 * ms) for name, ms in taken.items()}

    return timer


def least(runs):
    return {name: float(at) for at, name in enumerate(runs)}


def optimized(model, x, *names, takes, **more):
    """The model by these engines and ours, by made times."""
    chosen = ("atrous", *names)
    return optimize_model(model, x, engines=chosen, timer=least, whole_timer=by(**takes), **more)


def assert_same(fast, model, *inputs):
    with torch.no_grad():
        torch.testing.assert_close(fast(*inputs), model(*inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("takes", "wanted"),
    [
        ({"contiguous": 5.0, "one": 4.0, "two": 3.0}, "two"),
        ({"contiguous": 5.0, "one": 4.92, "two": 4.95}, "atrous"),  # ahead by less than 2%
        ({"contiguous": 5.0, "one": 4.88}, "one"),
        ({"contiguous": 9.9, "one": 9.75}, "one"),  # ours is no gain
        ({"contiguous": 9.9, "one": 9.85}, "original"),
        ({"contiguous": 11.0, "channels_last": 12.0, "one": 30.0}, "original"),
    ],
)
def test_the_least_median_is_handed_out_ours_within_two_percent(takes, wanted):
    model, x = small()
    engine("one")
    engine("two")
    fast = optimized(model, x, "one", "two", takes=takes)
    found = fast.explain()
    assert found.engine == wanted
    assert found.mode == {"atrous": "graph", "original": "original"}.get(wanted, "engine")
    assert [one.engine for one in found.engines] == ["original", "atrous", "one", "two"]
    assert found.ms_after == {one.engine: one.ms for one in found.engines}[wanted]
    assert_same(fast, model, x)


def test_an_explanation_shows_what_each_engine_took():
    model, x = small()
    engine("one")
    engine("wrong", lambda model, inputs: model(*inputs) * 1.01)
    takes = {"before": 20.0, "contiguous": 9.0, "one": 5.0}
    found = optimized(model, x, "one", "wrong", takes=takes).explain()
    text = str(found)
    assert text.startswith("Sequential: 4.00 times as fast: 20.0 ms -> 5.00 ms\n")
    assert "runs as       the whole by one\n" in text
    assert "left out      wrong: the output differs by" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["one", "5.00", "ms", "4.50", "to", "5.50", "ms", "0"] in rows
    assert "layer by layer" not in text
    assert found.layers == ()
    data = found.to_dict()
    assert data["engine"] == "one"
    assert data["engines"][2] == {
        "engine": "one", "ms": 5.0, "low": 4.5, "high": 5.5, "difference": 0.0, "why": "",
    }  # fmt: skip
    assert list(found.to_pandas("engines")["engine"]) == ["original", "atrous", "one", "wrong"]


def raises(model, inputs):
    raise RuntimeError("no kernel for it")


def writes(model, inputs):
    made = model(*inputs)
    inputs[0].zero_()
    return made


_KEPT = {}


def reuses(model, inputs):
    return _KEPT.setdefault("made", torch.empty(1, 2, 12, 11)).copy_(model(*inputs))


FAULTS = {
    "scaled": (lambda model, inputs: model(*inputs) * 1.001, "the output differs by"),
    "nan": (lambda model, inputs: model(*inputs) * torch.nan, "the output differs by inf"),
    "shape": (lambda model, inputs: model(*inputs)[..., 1:], "the output differs by inf"),
    "several": (lambda model, inputs: (model(*inputs), 1), "the output differs by inf"),
    "first": (lambda model, inputs: _KEPT.setdefault("x", model(*inputs)), "the output differs"),
    "raises": (raises, "RuntimeError: no kernel for it"),
    "writes": (writes, "it writes into its input."),
    "reuses": (reuses, "a run writes over the result of the one before."),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_engine_that_gives_something_else_is_never_taken(name):
    run, why = FAULTS[name]
    _KEPT.clear()
    model, x = small()
    kept = x.clone()
    engine(name, run)
    fast = optimized(model, x, name, takes={name: 1.0, "contiguous": 5.0})
    found = fast.explain()
    assert (found.engine, found.engines[2].ms) == ("atrous", None)
    assert found.engines[2].why.startswith(why)
    assert torch.equal(x, kept)
    assert_same(fast, model, x)


def test_an_engine_that_fails_later_or_cannot_be_built_is_never_taken():
    calls = []

    def tired(model, inputs):
        calls.append(0)
        if len(calls) > 3:
            raise MemoryError
        return model(*inputs)

    def refuses(task):
        raise UnfitError("too large.")

    model, x = small()
    engine("tired", tired)
    ENGINES["small"] = Engine("small", ("torch",), "", refuses)
    found = optimized(model, x, "tired", "small", takes={"tired": 0.1}).explain()
    assert found.engine == "original"
    assert [one.why for one in found.engines[2:]] == ["MemoryError", "too large."]


class Counting(nn.Module):
    """Code that changes a buffer that nothing reads."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.conv(x)


def test_models_that_no_engine_can_stand_for_are_left_to_us():
    engine("one")
    _, x = small()
    found = optimized(Counting().eval(), x, "one", takes={"one": 0.1}).explain()
    assert found.engines[2].why == "it changes its buffers when it runs."
    tokens = torch.zeros(1, 5, dtype=torch.long)
    found = optimized(nn.Embedding(3, 4).eval(), tokens, "one", takes={"one": 0.1}).explain()
    assert found.engines[2].why.startswith("it takes whole numbers")
    model = nn.Sequential(nn.Conv2d(3, 2, 3))
    found = optimized(model, x, "one", takes={"one": 0.1}, training=True).explain()
    assert found.engines[2].why == "its results carry no gradient."


def changed(how, model, fast, x):
    """The weights, changed in one of the ways in which they do."""
    if how == "step":
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        model(x).square().sum().backward()
        optimizer.step()
    elif how == "loaded":
        other, _ = small()
        nn.init.normal_(other[0].weight)
        fast.load_state_dict(other.state_dict())
    elif how == "buffer":
        model[1].running_var.mul_(3)
    elif how == "replaced":
        model[3].weight = nn.Parameter(model[3].weight * 2)
    else:
        fast.train()
        model[3].weight.data.mul_(2)
        fast.eval()


@pytest.mark.parametrize("how", ["step", "loaded", "buffer", "replaced", "data"])
def test_weights_that_change_reach_the_engine_at_the_second_call(how):
    model, x = small()
    built = engine("one")
    fast = optimized(model, x, "one", takes={"contiguous": 5.0, "one": 1.0})
    assert_same(fast, model, x)
    before = fast(x)
    assert len(built) == 1
    for wanted in (1, 2, 2):
        if wanted == 1:
            changed(how, model, fast, x)
        assert_same(fast, model, x)
        assert len(built) == wanted
    assert not torch.allclose(before, fast(x))


def test_an_engine_does_not_slow_down_what_trains_between_its_calls():
    model, x = small()
    built = engine("one")
    fast = optimized(model, x, "one", takes={"one": 1.0})
    for _ in range(5):
        with torch.no_grad():
            model[0].weight.mul_(1.1)
        assert_same(fast, model, x)
    assert len(built) == 1


def test_an_engine_that_keeps_old_weights_is_noticed_and_left():
    model, x = small()
    old = copy.deepcopy(model)
    built = engine("stale", lambda _model, inputs: old(*inputs))
    fast = optimized(model, x, "stale", takes={"contiguous": 5.0, "stale": 1.0})
    assert fast.explain().engine == "stale"
    with torch.no_grad():
        model[3].weight.mul_(2)
    assert_same(fast, model, x)
    with pytest.warns(RuntimeWarning, match="stale gives something else with the new weights"):
        assert_same(fast, model, x)
    assert_same(fast, model, x)
    assert len(built) == 2


def test_an_engine_that_fails_at_a_call_leaves_it_to_us():
    model, x = small()
    working = [True]

    def run(model, inputs):
        if not working:
            raise MemoryError
        return model(*inputs)

    engine("one", run)
    fast = optimized(model, x, "one", takes={"contiguous": 5.0, "one": 1.0})
    working.clear()
    with pytest.warns(RuntimeWarning, match="one fails: MemoryError; our own program runs in"):
        assert_same(fast, model, x)
    assert_same(fast, model, x)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_run_by_the_engine_with_weights_of_their_own(how):
    model, x = small()
    built = engine("one")
    fast = optimized(model, x, "one", takes={"contiguous": 5.0, "one": 1.0})
    other = how(fast)
    for _ in range(3):
        assert_same(other, model, x)
    assert built == ["one", "one"]
    with torch.no_grad():
        model[0].weight.zero_()
    assert not torch.allclose(fast(x), other(x))
    del ENGINES["one"]
    without = how(other)
    assert_same(without, other._original, x)
    (plan,) = without._plans.values()
    assert plan.recipe.layout == "contiguous"


def test_gradients_other_shapes_and_hooks_run_the_model():
    model, x = small()
    engine("one", lambda model, inputs: model(*inputs))
    fast = optimized(model, x, "one", takes={"one": 1.0})
    assert_same(fast, model, torch.randn(2, 3, 9, 9))
    given = x.clone().requires_grad_()
    fast(given).sum().backward()
    assert given.grad is not None
    with torch.inference_mode():
        assert_same(fast, model, torch.randn(x.shape))
    model[3].register_forward_hook(lambda _part, _given, y: y * 2)
    assert_same(fast, model, x)


def test_engines_are_named_checked_and_taken_from_the_environment(monkeypatch):
    model, x = small()
    engine("one")
    engine("absent", packages=("no_such_package",))
    found = atrous.optimize(model, x, engines=["one"]).explain()
    assert [row.engine for row in found.engines] == ["original", "one"]
    monkeypatch.setenv("ATROUS_ENGINES", " one , atrous")
    found = atrous.optimize(model, x).explain()
    assert [row.engine for row in found.engines] == ["original", "atrous", "one"]
    for given, kind, message in [
        ("onnx", ArgumentError, r"engines='onnx' is no engine; there are 'atrous', "),
        ([], ArgumentError, r"engines=\[\] names none; give one or several of 'atrous', "),
        (3, ArgumentTypeError, "engines is 3; give one or several names of 'atrous', "),
        (
            ("atrous", "absent"),
            MissingDependencyError,
            "engines='absent': no_such_package is not installed; run `pip install absent`",
        ),
    ]:
        with pytest.raises(kind, match=message):
            atrous.optimize(model, x, engines=given)
    monkeypatch.setenv("ATROUS_ENGINES", "absent")
    with pytest.raises(MissingDependencyError, match=r"ATROUS_ENGINES='absent': .*'one'"):
        atrous.optimize(model, x)
    monkeypatch.delenv("ATROUS_ENGINES")
    for name in ("torch.compile", "onnxruntime", "openvino"):
        monkeypatch.delitem(ENGINES, name)
    found = atrous.optimize(model, x).explain()
    assert [row.engine for row in found.engines] == ["original", "atrous", "one", "absent"]
    assert "no_such_package is not installed" in found.engines[3].why
    found = atrous.optimize(model, x, training=True).explain()
    assert [row.engine for row in found.engines] == ["original", "atrous"]


def test_progress_names_the_engine_that_is_tried(monkeypatch):
    model, x = small()
    engine("one")
    told = []
    bench_module(
        model, (x,), threads=None, training=False, fresh=True, engines="atrous,one",
        progress=lambda what, share: told.append((what, share)),
    )  # fmt: skip
    assert ("trying one", 0.5) in told
    assert [share for _, share in told] == sorted(share for _, share in told)


class Heads(nn.Module):
    """Outputs by name, one of them a view that is not contiguous."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, padding=2, dilation=2)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x, y):
        z = functional.silu(self.norm(self.stem(x * y)))
        return OrderedDict(out=self.head(z), half=z.permute(0, 2, 3, 1), whole=[z])


def assert_follows(fast, model, *inputs):
    """The result of an engine is the model's, also with weights that change in each way."""
    found = fast.explain()
    assert found.mode == "engine", found.engines
    leaves = torch.utils._pytree.tree_leaves
    for _ in range(2):
        for _ in range(3):
            with torch.no_grad():
                wanted, made = model(*inputs), fast(*inputs)
            assert type(made) is type(wanted)
            for one, two in zip(leaves(wanted), leaves(made), strict=True):
                torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-5)
                assert two.stride() == one.stride()
        with torch.no_grad():
            next(model.parameters()).mul_(1.5)
            next(model.buffers()).add_(0.25)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engine_that_reads_onnx_gives_what_the_model_gives(name):
    if missing(ENGINES[name]):
        pytest.skip(missing(ENGINES[name]))
    torch.manual_seed(0)
    model = Heads().eval()
    inputs = (torch.randn(1, 3, 12, 14), torch.randn(1, 3, 12, 14))
    fast = optimize_model(model, inputs, engines=[name], whole_timer=by(**{name: 1.0}))
    assert_follows(fast, model, *inputs)
    assert f"Heads, {name}, 10.00x" in repr(fast)
    assert name in dict(fast.explain().versions)
    turned = tuple(x.transpose(2, 3).contiguous().transpose(2, 3) for x in inputs)
    assert_same(fast, model, *turned)
    assert_same(fast, model, torch._neg_view(inputs[0]), inputs[1])


def test_what_runs_a_model_holds_nothing_of_what_it_was_made_of():
    model, x = small()
    task = task_of(model, (x,))
    run, known = ENGINES["onnxruntime"].build(task), weakref.ref(task)
    del task
    gc.collect()
    assert known() is None
    assert_same(lambda given: run((given,)), model, x)


def test_hooks_and_what_is_no_tensor_are_left_out_of_onnx_files():
    model, x = small()
    model[0].register_forward_hook(lambda _part, _given, y: y * 2)
    found = optimize_model(model, x, engines=["onnxruntime"], whole_timer=by()).explain()
    assert "has forward hooks" in found.engines[1].why


def test_a_model_that_would_end_the_process_ends_another(monkeypatch):
    monkeypatch.setattr(openvino, "_TRIAL", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(UnfitError, match="in a process of its own was ended by signal 11"):
        openvino._outlive(b"")
    monkeypatch.setattr(openvino, "_TRIAL", "raise SystemExit('no CPU plugin')")
    with pytest.raises(UnfitError, match="in a process of its own failed: no CPU plugin"):
        openvino._outlive(b"")


class Gathering(nn.Module):
    """Forward hooks gather features, in a closure over this very module, and a head reads them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)
        self.features = {}
        self.body.register_forward_hook(lambda _part, _given, y: self.features.update(y=y))

    def forward(self, x):
        self.body(x)
        return self.head(torch.relu(self.features["y"]))


def test_torch_compile_takes_hooks_follows_weights_and_leaves_the_users_code_alone():
    torch.manual_seed(0)
    model, x = Gathering().eval(), torch.randn(1, 3, 10, 10)
    fast = optimize_model(
        model, x, engines=["torch.compile"], whole_timer=by(**{"torch.compile": 1.0})
    )
    assert_follows(fast, model, x)
    with torch.inference_mode():
        assert_same(fast, model, torch.randn(x.shape))
    for part in (Gathering, nn.Sequential, nn.Conv2d):
        assert not _debug_get_cache_entry_list(part.forward.__code__)
