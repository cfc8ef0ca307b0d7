"""Models whose outputs, numbers or runs are of an unusual kind: never exact unmeasured."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import count

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous

Ends = Callable[["Model", torch.Tensor, torch.Tensor], object]


class Model(nn.Module):
    """Two convolutions, and what an `end` makes of their maps; `scale` is a fault."""

    def __init__(self, end: Ends, scale: float = 1.0) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.end, self.scale = end, scale
        self.register_buffer("runs", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> object:
        first = self.one(x)
        return self.end(self, first, self.two(first) * self.scale)


def pair(end: Ends, dtype: torch.dtype = torch.float) -> tuple[Model, Model, Model]:
    """A model, the same once more, and one with a fault that no parameter shows."""
    torch.manual_seed(0)
    model = Model(end).to(dtype).eval()
    other = Model(end, 1.5).to(dtype).eval()
    other.load_state_dict(model.state_dict())
    return model, copy.deepcopy(model), other


def counted(model: Model, _: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    model.runs += 1
    return y * model.runs


def replaced(model: Model, _: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    model.runs = model.runs + 1
    return y * model.runs


def averaged(model: Model, _: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    model.mean.mul_(0.9).add_(y.mean((0, 2, 3)))
    return y + model.mean[:, None, None]


KINDS: dict[str, Ends] = {
    "dropout that is always on": lambda _m, _a, y: functional.dropout(y, 0.5, training=True),
    "noise": lambda _m, _a, y: y + torch.randn_like(y),
    "batch statistics": lambda m, _a, y: (
        functional.batch_norm(y, m.mean, m.mean + 1, training=True) * y.std()
    ),
    "a buffer that counts runs": counted,
    "a buffer that is replaced": replaced,
    "a buffer that follows the maps": averaged,
    "half precision inside": lambda _m, _a, y: y.half(),
    "bfloat16 inside": lambda _m, _a, y: y.bfloat16(),
    "whole numbers": lambda _m, _a, y: (y * 100).round().long(),
    "bytes": lambda _m, _a, y: (y.sigmoid() * 255).to(torch.uint8),
    "complex numbers": lambda _m, _a, y: torch.complex(y, 2 * y),
    "no number in places": lambda _m, _a, y: torch.log(y),
    "a scalar": lambda _m, _a, y: y.sum(),
    "a dict": lambda _m, a, y: {"first": a, "second": y},
    "None beside": lambda _m, _a, y: (y, None),
    "one map twice": lambda _m, _a, y: (y, y),
    "the input beside": lambda _m, a, y: (y, [a]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_exact_against_itself_and_broken_against_a_faulty_one(kind: str) -> None:
    model, same, other = pair(KINDS[kind])
    before = copy.deepcopy(model.state_dict())
    found = atrous.audit(model, same, input=(1, 3, 24, 24))
    assert (found.verdict, found.state) == ("exact", "measured")
    found = atrous.audit(model, other, input=(1, 3, 24, 24))
    assert (found.verdict, found.state) == ("broken", "disagrees")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.double])
def test_models_of_other_precision_are_measured_in_float64(dtype: torch.dtype) -> None:
    model, same, other = pair(lambda _m, _a, y: y, dtype)
    found = atrous.audit(model, same, input=(1, 3, 24, 24))
    assert (found.verdict, found.state, found.precision) == ("exact", "measured", "float64")
    assert atrous.audit(model, other, input=(1, 3, 24, 24)).verdict == "broken"
    assert next(model.parameters()).dtype is dtype


def test_outputs_in_another_order_are_not_the_same() -> None:
    model, *_ = pair(lambda _m, a, y: (a, y))
    other, *_ = pair(lambda _m, a, y: (y, a))
    other.load_state_dict(model.state_dict())
    found = atrous.audit(model, other, input=(1, 3, 24, 24))
    assert [output.verdict for output in found.outputs] == ["broken", "broken"]


TURNS = count(1)
UNTOLD: dict[str, Ends] = {
    "other numbers at each run": lambda _m, _a, y: y + next(TURNS),
    "nothing but NaN": lambda _m, _a, y: torch.log(-y.abs() - 1),
    "numbers of its own": lambda _m, _a, y: torch.randn(y.shape),
}


@pytest.mark.parametrize("kind", UNTOLD)
def test_runs_that_tell_nothing_are_not_called_measured(kind: str) -> None:
    model, same, other = pair(UNTOLD[kind])
    for candidate in (same, other):
        found = atrous.audit(model, candidate, input=(1, 3, 24, 24))
        assert (found.state, found.agrees) == ("not run", None)
        assert found.precision.startswith("not run: ")
    if kind == "other numbers at each run":
        assert found.not_run[0][1] == "the reference makes other values each time it is run"


@pytest.mark.parametrize(
    "end",
    [
        lambda _m, _a, y: (),  # noqa: ARG005
        lambda _m, _a, y: torch.nonzero(y > 0),
        lambda _m, _a, y: (y, y[:, :0]),
        lambda _m, _a, y: y.to_sparse(),
    ],
    ids=["no output", "as many as there are", "an empty output beside", "sparse"],
)
def test_outputs_that_cannot_be_compared_end_in_words(end: Ends) -> None:
    model, same, _ = pair(end)
    try:
        found = atrous.audit(model, same, input=(1, 3, 24, 24))
    except atrous.AtrousError as error:
        assert str(error)  # noqa: PT017 - either is right
    else:
        # What the data decides may be read as it runs, and is measured then.
        assert found.state in ("not run", "measured")
        assert bool(found.not_run) == (found.state == "not run")


class Rounded(nn.Module):
    """Code that pads its map to whole patches: one position less is the same map inside."""

    def __init__(self, rate: int = 1) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 4, 4)
        self.down = nn.Conv2d(4, 4, 2, 2 // rate)
        self.last = nn.Conv2d(4, 4, 3, padding=rate, dilation=rate)
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x, (0, -x.shape[-1] % 4, 0, -x.shape[-2] % 4))
        x = self.patch(x)
        x = self.down(x if self.rate == 1 else functional.pad(x, (0, 1, 0, 1)))
        return self.last(x)


def test_a_second_size_that_code_rounds_to_the_first_is_followed_by_one_that_differs() -> None:
    torch.manual_seed(0)
    model, dense = Rounded().eval(), Rounded(2).eval()
    dense.load_state_dict(model.state_dict())
    found = atrous.audit(model, dense, input=(1, 3, 64, 64))
    # At 64 and 63 there are 16 patches a side; at 65 there are 17, of which the stride drops one.
    assert (64, 64) in found.measured_at
    assert any(max(sizes) > 64 for sizes in found.measured_at)
    assert found.verdict == "interior"
