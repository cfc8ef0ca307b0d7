"""The trainings that differ in their schedule alone: they run, pair, and say what was measured."""

from __future__ import annotations

import doctest
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import atrous

pytest.importorskip("experiments.shared", reason="the experiments are in a checkout")

from experiments import scenes, segmentation, shared, table
from experiments.classification import CLASSIFICATION
from experiments.run import RESULTS, TASKS, begun, trained
from experiments.segmentation import SEGMENTATION, Segmenter, pictured
from experiments.sequence import LAGS, SEQUENCE, Listener, asked, paths
from experiments.shared import (
    Between,
    Schedule,
    alike,
    body,
    difference,
    evenness,
    interval,
    more,
    train,
)
from experiments.table import DOCUMENTS, filled, percent, scores_of, whole

PICTURES = (SEGMENTATION, CLASSIFICATION)


def made_up(count=40):
    """Digits that need no data set: a bar for 0, its mirror for 1, and so on, with some noise."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 5
    images = random.uniform(0, 0.2, (count, 8, 8)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[:, label : label + 2] = 1
    return scenes.Digits(images, labels)


def small(task):
    """Data of the task without scikit-learn."""
    if task is SEQUENCE:
        return task.data(0, 28, 0.02)
    draw = scenes.street if task is SEGMENTATION else scenes.one_digit
    return pictured(made_up(), draw, 0, 8, 4)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_two_steps_of_a_task_give_shares_and_the_same_ones_again(task):
    name, schedule = list(task.schedules().items())[-1]
    data = small(task)
    once, again = (train(task, schedule, data, 3, task.rate, 2) for _ in range(2))
    assert once == again, name
    assert task.measure in once
    assert all(0 <= share <= 1 for share in once.values())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_networks_of_a_task_have_the_same_first_weights(task):
    states = []
    for schedule in task.schedules().values():
        torch.manual_seed(7)
        states.append(task.build(schedule).state_dict())
    for state in states[1:]:
        values = [states[0].values(), state.values()]
        assert all(torch.equal(a, b) for a, b in zip(*values, strict=True))


@pytest.mark.parametrize("causal", [False, True])
def test_a_network_is_its_text(causal):
    task = SEQUENCE if causal else SEGMENTATION
    for schedule in task.schedules().values():
        module = body(schedule, 1 if causal else 2, causal=causal).eval()
        ours = atrous.inspect(module, task.shape).outputs[0].field
        assert ours == atrous.inspect(schedule.text(causal), task.shape).outputs[0].field


def test_doubling_is_the_strided_network_at_every_position():
    torch.manual_seed(0)
    known = segmentation.schedules()
    x = torch.randn(1, 1, scenes.SIDE, scenes.SIDE, dtype=torch.float64)
    torch.manual_seed(1)
    dense = body(known["doubling"], 2).double().eval()
    for name in ("strided", "hybrid 4", "hybrid 2"):
        sparse = body(known[name], 2).double().eval()
        sparse.load_state_dict(dense.state_dict())
        every = known[name].output_stride
        assert torch.allclose(sparse(x), dense(x)[..., ::every, ::every], atol=1e-12)


def test_outputs_between_positions_are_linear_between_them():
    network = Segmenter(segmentation.schedules()["strided"]).eval()
    x = torch.randn(1, 1, scenes.SIDE, scenes.SIDE)
    with torch.no_grad():
        coarse, fine = network.head(network.body(x)), network(x)
    assert torch.allclose(fine[..., ::8, ::8], coarse, atol=1e-5)
    assert torch.allclose(fine[..., 4, ::8], (coarse[..., 0, :] + coarse[..., 1, :]) / 2, atol=1e-5)


@pytest.mark.parametrize(("name", "schedule"), SEQUENCE.schedules().items())
def test_the_lags_that_are_foretold_are_those_that_reach_the_module(name, schedule):
    """By NaN: the last output of the module, and each lag before what it hears last."""
    network = Listener(schedule).eval()
    for lag in LAGS:
        x = torch.randn(SEQUENCE.shape)
        x[..., SEQUENCE.shape[-1] - 1 - lag] = torch.nan
        assert bool(network(x)[0, 0, -1].isnan()) == bool(paths(schedule, lag)), (name, lag)


def test_targets_are_the_bits_so_many_positions_before():
    data = small(SEQUENCE)
    inputs, targets = SEQUENCE.draw(data, np.random.default_rng(0), 2)
    heard = torch.stack([(1 - inputs[:, 0]) / 2, (1 + inputs[:, 0]) / 2], 1)
    said = torch.roll(heard, data.lag, -1)  # what who hears the lag would say, at every position
    for outputs in (said, said[..., 3::4]):
        assert torch.equal(asked(outputs).argmax(1), targets)


def test_evenness_is_that_of_design():
    found = atrous.design(31, kernels=3, depth=(5, 5), input=(1, 1, 64), channels=16, rates=16)
    for one in found:
        ours = evenness(Schedule(tuple((1, rate) for rate in one.rates)))
        assert abs(ours - one.evenness) < 0.01


def test_intervals_of_a_known_case():
    # Student's own sleep data (Biometrika 1908): extra hours of ten patients, drugs A and B.
    a = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    b = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = difference(dict(enumerate(b)), dict(enumerate(a)))
    assert found.mean == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.70011, 2.45989), abs=1e-4)
    assert interval([0.5, 0.5]) == Between(0.5, 0.5, 0.5)
    assert interval([0.5]) == Between(0.5, -np.inf, np.inf)


def test_about_as_many_intervals_hold_the_mean_as_they_say():
    random = np.random.default_rng(0)
    found = [interval(list(random.normal(3, 2, 5)), 0.9) for _ in range(2000)]
    held = np.mean([each.low < 3 < each.high for each in found])
    assert abs(held - 0.9) < 0.02


@pytest.mark.parametrize(
    ("ours", "said", "alikeness"),
    [
        ([0.8, 0.82, 0.81], "held", "failed"),
        ([0.2, 0.22, 0.21], "failed", "failed"),
        ([0.2, 0.9, 0.5], "open", "open"),
        ([0.50, 0.51, 0.49], "open", "held"),
    ],
)
def test_a_prediction_is_judged_by_the_paired_interval(ours, said, alikeness):
    scores = {
        ("a", 0): {seed: {"m": value} for seed, value in enumerate(ours)},
        ("b", 0): {seed: {"m": value} for seed, value in enumerate([0.5, 0.5, 0.5])},
    }
    assert more("m", "a", "b")(scores, 0.95).verdict == said
    assert alike("m", "a", "b", 0.03)(scores, 0.95).verdict == alikeness


def test_a_run_that_was_cut_trains_what_is_missing(tmp_path, monkeypatch):
    task = replace(SEQUENCE, steps=2, cases=(28,), data=lambda *_: small(SEQUENCE))
    path = tmp_path / "results.json"
    trained(task, path, [0])
    first = json.loads(path.read_text())["sequence"]["runs"]
    monkeypatch.setattr("experiments.run.train", lambda *_: {"accuracy": 0.0})
    trained(task, path, [0, 1])
    both = json.loads(path.read_text())["sequence"]["runs"]
    assert {key: both[key] for key in first} == first
    assert [key for key in both if both[key] == {"accuracy": 0.0}] == [
        f"{name} / 28 / 1" for name in task.schedules()
    ]


def test_results_of_another_setting_are_not_mixed_in():
    found = {"sequence": {"setting": {"steps": 1}, "facts": {}, "tuning": {}, "runs": {"a": {}}}}
    with pytest.raises(SystemExit, match="trained in another setting"):
        begun(found, SEQUENCE, RESULTS)


def test_the_tables_are_those_of_the_results():
    found = json.loads(RESULTS.read_text())
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        assert "<!-- table " in text
        assert filled(text, found) == text, f"{path.name}: run `python experiments/table.py`"


def test_another_result_is_noticed_in_the_tables():
    found = json.loads(RESULTS.read_text())
    for scores in found["segmentation"]["runs"].values():
        scores["line"] = 0.123
    text = DOCUMENTS[0].read_text(encoding="utf-8")
    assert filled(text, found) != text


def test_results_are_of_the_tasks_as_they_are_and_of_five_seeds_or_more():
    found = json.loads(RESULTS.read_text())
    trained_ones = [name for name in TASKS if whole(found, name)]
    assert "segmentation" in trained_ones
    for name in trained_ones:
        assert found[name]["setting"] == json.loads(json.dumps(TASKS[name].setting()))
        assert min(len(by_seed) for by_seed in scores_of(found[name]).values()) >= 5


def test_what_was_foretold_is_what_is_said_of_the_networks_now():
    found = json.loads(RESULTS.read_text())
    for name in TASKS:
        if whole(found, name):
            assert found[name]["facts"] == json.loads(json.dumps(TASKS[name].told()))


@pytest.mark.parametrize("module", [scenes, shared, table], ids=lambda module: module.__name__)
def test_examples_of_the_experiments_do_what_they_say(module):
    tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried.attempted
    assert not tried.failed


def test_percent_is_of_the_mean():
    assert percent([0.2, 0.4]) == "30.0 ± 127.1"


def test_shares_in_the_findings_are_those_of_the_results():
    text = DOCUMENTS[0].read_text(encoding="utf-8")
    findings = text.partition("## What came out")[2].partition("<!-- table")[0]
    found = json.loads(RESULTS.read_text())
    shares = []
    for name in TASKS:
        macs = [fact["macs"] for fact in found[name]["facts"].values()]
        shares += [one / max(macs) for one in macs]
        for by_seed in scores_of(found[name]).values():
            for measure in by_seed[0]:
                shares.append(np.mean([one[measure] for one in by_seed.values()]))
    said = set(re.findall(r"(\d+)%", findings))
    assert len(said) > 5
    assert said <= {f"{100 * share:.0f}" for share in shares}
