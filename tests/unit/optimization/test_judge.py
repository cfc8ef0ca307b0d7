"""Which runs count as the same as a model's."""

from __future__ import annotations

import torch
from torch import nn

from atrous.optimization.judge import Judge, called, reference_of


class Cancelling(nn.Module):
    """Adds and takes away so much that float32 keeps three digits of its input."""

    def __init__(self, much: float = 20000.0) -> None:
        super().__init__()
        self.much = nn.Parameter(torch.tensor(much))

    def forward(self, x):
        return (x + self.much) - self.much


class Exact(Cancelling):
    """The same without the rounding."""

    def forward(self, x):
        return x + 0 * self.much


def judged(model, x, run):
    with torch.no_grad():
        return Judge(model, (x,), reference_of(model, (x,)))(run)


def test_what_rounds_otherwise_is_the_same_where_float64_says_so():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 20, 20)
    model, exact = Cancelling(), Exact()
    verdict = judged(model, x, lambda given: called(exact, given))
    assert verdict.same
    assert verdict.difference > 1e-4
    assert "from float64 by 0.0e+00, the original by" in verdict.note
    assert judged(model, x, lambda given: called(model, given)).note is None


def test_what_is_further_from_float64_than_the_model_is_not_the_same():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 20, 20)
    verdict = judged(Cancelling(), x, lambda given: given[0] * (1 + 9e-4))
    assert not verdict.same
    assert "from float64 by" in verdict.note


def test_no_rounding_excuses_what_is_far_off():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 20, 20)
    verdict = judged(Cancelling(1e6), x, lambda given: given[0])
    assert not verdict.same
    assert "float64" not in verdict.note


def test_a_model_that_float64_cannot_run_keeps_the_narrow_bound():
    class Single(Cancelling):
        def forward(self, x):
            if x.dtype != torch.float32:
                raise TypeError
            return super().forward(x)

    torch.manual_seed(0)
    x = torch.randn(1, 3, 20, 20)
    verdict = judged(Single(), x, lambda given: given[0])
    assert not verdict.same
    assert "float64" not in verdict.note


def test_outputs_of_another_number_kind_or_shape_are_not_the_same():
    x = torch.randn(1, 3, 4)
    model = nn.Identity()
    for made in ([x, x], [1.0], x[:, :2], x.double(), None):
        assert not judged(model, x, lambda _, made=made: made).same
