"""The memory of training: what is kept and for whom, batches and budgets, refusals, no traces."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import atrous
from atrous.analysis.check import check_report
from atrous.analysis.requirements import bytes_of, parse_rules
from tests.parity.test_training_against_the_profiler import Recurring, Residual

IMAGES = (2, 3, 8, 8)
MAP = 2 * 4 * 8 * 8 * 4
"""The bytes of a map of 4 channels."""


def small() -> nn.Sequential:
    """A norm that is kept for its own backward, and an activation in place."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 1, 1)
    )


def test_what_is_kept_says_whose_it_is_and_whose_backward_wants_it() -> None:
    kept = {row.layer: row for row in atrous.training(small(), IMAGES).kept}
    assert (kept["0"].nbytes, kept["0"].wanted_by) == (MAP, ("1",))
    # The result of the norm with two statistics of 4 channels; ReLU has written into it.
    assert kept["1"].nbytes == MAP + 2 * 4 * 4
    assert kept["1"].wanted_by == ("2", "3", "1")
    assert kept["3"].wanted_by == ()


def test_an_activation_beside_the_map_keeps_one_map_more() -> None:
    beside = small()
    beside[2] = nn.ReLU()
    more = sum(row.nbytes for row in atrous.training(beside, IMAGES).kept)
    # The norm wants its input alone, so the map that ReLU reads is not kept either way.
    assert more == sum(row.nbytes for row in atrous.training(small(), IMAGES).kept)
    sigmoid = small()
    sigmoid[2] = nn.SiLU()
    assert sum(row.nbytes for row in atrous.training(sigmoid, IMAGES).kept) == more + MAP


def test_parameters_gradients_and_state_are_counted_by_name() -> None:
    model = nn.Linear(100, 100)
    weights = 4 * (100 * 100 + 100)
    found = atrous.training(model, (1, 100), optimizer="adam").later
    assert (found.parameters, found.gradients) == (weights, weights)
    assert found.optimizer_state == 2 * weights + 2 * 4
    assert atrous.training(model, (1, 100), optimizer="sgd").later.optimizer_state == 0
    momentum = atrous.training(model, (1, 100), optimizer="sgd?momentum=0.9")
    assert (momentum.first.optimizer_state, momentum.later.optimizer_state) == (weights, weights)


def test_frozen_layers_have_no_gradient_and_no_state() -> None:
    model = small()
    model[0].requires_grad_(False)
    found = atrous.training(model, IMAGES, optimizer="sgd?momentum=0.9")
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert found.later.optimizer_state == trained
    assert found.later.parameters > trained


@pytest.mark.parametrize("model", [small(), Recurring(nn.LSTM(8, 4, batch_first=True))])
def test_the_module_is_left_as_it_was(model: nn.Module) -> None:
    model.eval()
    model(torch.randn(IMAGES)).sum().backward()
    if isinstance(model, nn.Sequential):
        model[1].train()
    modes = [part.training for part in model.modules()]
    parameters = {name: (id(p), p.grad) for name, p in model.named_parameters()}
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    state = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    atrous.training(model, IMAGES, optimizer="adam")
    assert [part.training for part in model.modules()] == modes
    for name, parameter in model.named_parameters():
        assert (id(parameter), parameter.grad) == parameters[name]
        assert torch.equal(parameter.grad, grads[name])
        assert type(parameter.data) is torch.Tensor
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    assert torch.equal(torch.get_rng_state(), random)
    model(torch.randn(IMAGES)).sum().backward()


def test_a_module_in_training_mode_keeps_the_modes_of_its_parts() -> None:
    model = small().train()
    model[1].eval()
    held = atrous.training(model, IMAGES)
    assert not model[1].training
    assert {row.layer: row.nbytes for row in held.kept}["1"] == MAP


@pytest.mark.parametrize("budget", ["50KiB", "100KiB", "1MiB"])
def test_the_largest_batch_fits_and_the_next_one_does_not(budget: str) -> None:
    model, shape = Residual(), (1, 3, 8, 8)
    found = atrous.training(model, shape, optimizer="adamw", budget=budget).batch
    assert found is not None
    assert found.largest is not None
    for batch, fits in ((found.largest, True), (found.largest + 1, False)):
        if batch:
            held = atrous.training(model, (batch, *shape[1:]), optimizer="adamw").later.peak_bytes
            assert (held <= bytes_of(budget)) == fits


def test_a_peak_that_lies_on_no_line_is_said_to() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Flatten(), nn.Linear(64 * 16, 200))
    found = atrous.training(model, (1, 3, 4, 4), optimizer="adam")
    assert found.later.phase == "optimizer"
    assert found.batch is not None
    steps = [b - a for a, b in zip(found.batch.peaks, found.batch.peaks[1:], strict=False)]
    assert found.batch.linear == (abs(steps[0] - steps[1]) <= 0.001 * steps[1])
    straight = atrous.training(small(), IMAGES).batch
    assert straight is not None
    assert straight.linear
    assert straight.peaks[2] - straight.peaks[1] == 2 * straight.bytes_per_item


class Asking(nn.Module):
    """What it does depends on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x)
        return x if x.sum() > 0 else x * 2


class Cut(nn.Module):
    """Its output hangs on no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).detach() * 2


@pytest.mark.parametrize(
    ("source", "how", "error", "message"),
    [
        ("stack:k3 k3", {}, atrous.ReadError, "stack:k3 k3: .*PyTorch module"),
        ("zoo:resnet50", {}, atrous.ReadError, "give a torch.nn.Module, timm:NAME"),
        (nn.ReLU(), {}, atrous.ReadError, "ReLU: it has no parameter that requires a gradient"),
        (Cut(), {}, atrous.ReadError, "Cut: no floating output depends on a parameter"),
        (Asking(), {}, atrous.UnsupportedError, "Asking: .*depend on the values of its inputs"),
        (small(), {"optimizer": "adamm"}, atrous.UnknownNameError, "near: adam"),
        (small(), {"optimizer": "lbfgs"}, atrous.ReadError, "lbfgs: it calls the model again"),
        (small(), {"optimizer": "sgd?speed=2"}, atrous.ReadError, "sgd cannot be made: .*speed"),
        (small(), {"autocast": "int8"}, atrous.UnknownNameError, "known: bfloat16, float16"),
        (small(), {"budget": "8 parsecs"}, atrous.ReadError, "'8 parsecs' is no size"),
        (small(), {"budget": 0}, atrous.ReadError, "0 is no size"),
        (small(), {"loss": lambda y: y}, atrous.ReadError, "one number, and this one gives 2x1"),
        (nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4)), {"input": (1, 3, 8, 8)},
         atrous.UnsupportedError, "at 1: .*Expected more than 1 value per channel"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_with_the_reason(source, how, error, message) -> None:
    shape = how.pop("input", IMAGES)
    with pytest.raises(error, match=message):
        atrous.training(source, shape, **how)


def test_a_report_has_it_in_text_json_page_and_rules() -> None:
    report = atrous.inspect(small(), IMAGES, training="adamw")
    assert report.training is not None
    plain = report.to_dict()
    assert plain["memory"]["training"]["peak_bytes"] == report.training.peak_bytes
    assert "training memory" in str(report)
    assert "with adamw" in str(report)
    assert "training memory" in report._repr_html_()
    assert "Sequential: training with adamw" in str(report.training)
    assert check_report(report, parse_rules("training-memory", "<=1GB"))
    broken = check_report(report, parse_rules("training-memory", "<=1kB"))
    assert not broken
    assert "with adamw" in broken.outcomes[0].reason
    without = atrous.inspect(small(), IMAGES)
    assert without.to_dict()["memory"]["training"] is None
    with pytest.raises(atrous.ReadError, match="the report has no training"):
        check_report(without, parse_rules("training-memory", "<=1GB"))


def test_a_layer_that_reads_ids_is_named_for_its_own_backward() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(100, 16), nn.Linear(16, 2)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(ids))

    ids = torch.zeros(2, 5, dtype=torch.long)
    worst = atrous.training(Tokens(), ids, optimizer="sgd?momentum=0.9").later
    # Only the table's backward makes a gradient as large as the table.
    assert worst.gradients >= 100 * 16 * 4
    assert (worst.phase, worst.at) == ("backward", "table")
