"""Calls that once failed a whole read, or passed for what they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

import atrous


class Runs(nn.Module):
    """A function of a convolution's output."""

    def __init__(self, run: Callable[..., Any], kernel: int = 3) -> None:
        super().__init__()
        self.run = run
        self.conv = nn.Conv2d(3, 3, kernel, padding=kernel // 2)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.run(*(self.conv(x) for x in inputs))


SHAPE = (1, 3, 5, 6)


@pytest.mark.parametrize("norm", ["module", "function"])
def test_batch_norm_by_the_statistics_of_the_batch_mixes_all_positions(norm: str) -> None:
    bn = nn.BatchNorm2d(3, track_running_stats=False)
    run = bn if norm == "module" else lambda x: F.batch_norm(x, None, None, training=True)
    model = Runs(run).eval()
    output = atrous.inspect(model, SHAPE).outputs[0]
    assert output.is_global
    stored = atrous.inspect(Runs(nn.BatchNorm2d(3)).eval(), SHAPE).outputs[0]
    assert not stored.is_global


@pytest.mark.filterwarnings("ignore:.*x.T.*:UserWarning")
def test_the_transpose_of_more_than_two_dimensions_reverses_them() -> None:
    report = atrous.inspect(Runs(lambda x: torch.ops.aten.numpy_T(x)), SHAPE)
    output = report.outputs[0]
    assert output.output_shape == SHAPE[::-1]
    assert list(report.network.tensor(output.tensor).grid) == ["w", "h"]


def _flash(x: torch.Tensor) -> Any:
    tokens = x.flatten(2).mT[:, None]
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(tokens, tokens, tokens)


def test_attention_with_its_statistics_is_attention_and_they_are_not_known() -> None:
    report = atrous.inspect(Runs(lambda x: _flash(x)[0]), SHAPE)
    assert report.complete
    assert report.outputs[0].is_global
    both = atrous.inspect(Runs(_flash), SHAPE)
    assert [layer.complete for layer in both.outputs] == [True, False]


def test_the_similarity_of_two_inputs_is_read_in_both() -> None:
    report = atrous.inspect(Runs(lambda x, y: F.cosine_similarity(x, y)), (SHAPE, SHAPE))
    assert report.complete
    assert [f.size for f in report.seen_from("inputs_1").outputs[0].field] == [3, 3]


def test_a_step_that_cannot_be_followed_makes_its_call_opaque() -> None:
    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cosine_similarity(x.flatten(2), y.mT.flatten(2), dim=1)

    report = atrous.inspect(Runs(run), ((1, 3, 5, 6), (1, 3, 5, 6)))
    assert not report.complete
    assert "cosine_similarity" in report.opaque[0]


@pytest.mark.parametrize("run", [
    lambda x: x.mean().softmax(0),
    lambda x: x.mean().cumsum(0),
    lambda x: torch.sort(x.mean())[0].amax(0),
])  # fmt: skip
def test_numbers_without_dimensions_have_one_that_counts_from_nought(run: Any) -> None:
    output = atrous.inspect(Runs(run), SHAPE).outputs[0]
    assert output.output_shape == ()
    assert output.is_global


def test_a_narrowing_from_a_place_that_is_computed_is_not_followed() -> None:
    report = atrous.inspect(Runs(lambda x: torch.narrow(x, 2, torch.tensor(1), 3)), SHAPE)
    assert not report.complete
    assert "depends on data" in report.opaque[0]


@pytest.mark.parametrize("copies", [
    lambda x: x.repeat_interleave(4, dim=1),
    lambda x: x.repeat(1, 4, 1, 1),
])  # fmt: skip
def test_copies_of_channels_before_a_pixel_shuffle_hold_no_positions(copies: Any) -> None:
    conv = nn.Conv2d(3, 12, 3, padding=1)
    model = Runs(lambda x: F.pixel_shuffle(conv(x) + copies(x), 2), kernel=1)
    report = atrous.inspect(model, (1, 3, 6, 5))
    assert report.complete
    for at in ((0, 0), (5, 4), (11, 9)):
        rows = range(max(at[0] // 2 - 1, 0), min(at[0] // 2 + 2, 6))
        columns = range(max(at[1] // 2 - 1, 0), min(at[1] // 2 + 2, 5))
        assert report.footprint(at=at).mask.sum() == len(rows) * len(columns)
        assert report.footprint(at=at).mask[rows.start, columns.start]
