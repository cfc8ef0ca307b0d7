"""Which calls of tensors go straight to PyTorch, and that they compute the same."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import atrous
from atrous.operators.arguments import convolution
from atrous.operators.with_torch import _direct


def _call(channels: int, size: int, kernel: int, **how: object) -> object:
    shapes = (1, channels, size, size), (channels, 1, kernel, kernel)
    options = {"padding": kernel // 2, "groups": channels} | how
    return _direct(convolution(*shapes, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("channels", "size", "kernel"), [(384, 14, 7), (768, 7, 7), (512, 14, 3)])
def test_small_undilated_depthwise_maps_run_as_pytorch_runs_them(
    channels: int, size: int, kernel: int
) -> None:
    assert _call(channels, size, kernel) == ((1, 1), (kernel // 2,) * 2, (1, 1), channels)
    x, weight = torch.randn(2, channels, size, size), torch.randn(channels, 1, kernel, kernel)
    theirs = functional.conv2d(x, weight, None, 1, kernel // 2, 1, channels)
    assert torch.equal(atrous.conv(x, weight, padding=kernel // 2, groups=channels), theirs)


@pytest.mark.parametrize(
    "how",
    [
        {"dilation": 2, "padding": 6},
        {"padding": [(3, 2), (3, 3)]},
        {"padding": -1},
        {"padding": 9},
    ],
    ids=str,
)
def test_what_pytorch_is_slow_at_does_not(how: dict[str, object]) -> None:
    assert _call(384, 14, 7, **how) is None


@pytest.mark.parametrize(("channels", "size", "kernel"), [(8, 14, 7), (24, 56, 7), (192, 56, 3)])
def test_few_channels_and_wide_maps_keep_the_kernels(channels: int, size: int, kernel: int) -> None:
    assert _call(channels, size, kernel) is None


def test_gradients_flow_through_both() -> None:
    for size in (14, 15):
        x = torch.randn(1, 16 * size, 7, 33, requires_grad=True)
        weight = torch.randn(16 * size, 1, 5, 5, requires_grad=True)
        made = atrous.conv(x, weight, padding=2, groups=16 * size)
        theirs = functional.conv2d(x, weight, None, 1, 2, 1, 16 * size)
        for ours, other in zip(
            torch.autograd.grad(made.sum(), (x, weight)),
            torch.autograd.grad(theirs.sum(), (x, weight)),
            strict=True,
        ):
            assert torch.allclose(ours, other, atol=1e-3)
