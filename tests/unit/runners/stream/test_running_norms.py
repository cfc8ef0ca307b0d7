"""Norms by the statistics of what there was so far, position by position."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import atrous


def so_far(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """At each position but the first what the norm makes of all up to there."""
    columns = [norm(x[..., : end + 1])[..., -1:] for end in range(1, x.shape[-1])]
    return torch.cat(columns, -1)


@pytest.mark.parametrize(
    "norm",
    [nn.GroupNorm(1, 4), nn.GroupNorm(2, 4), nn.InstanceNorm1d(4, affine=True)],
    ids=["one group", "two groups", "by channel"],
)
def test_a_running_norm_is_the_norm_of_what_came_so_far(norm: nn.Module) -> None:
    torch.manual_seed(0)
    before, after = nn.Conv1d(2, 4, 3), nn.Conv1d(4, 3, 2, dilation=2)
    for tensor in norm.parameters():
        nn.init.normal_(tensor)
    model = nn.Sequential(before, norm, nn.ReLU(), after).double().eval()
    with torch.inference_mode():
        x = 3 + torch.randn(1, 2, 60, dtype=torch.double)
        mapped = before(x)
        # PyTorch takes one number alone for no instance: the first position is left out.
        whole = torch.cat([mapped[..., :1], so_far(norm, mapped)], -1)
        wanted = after(torch.relu(whole))[..., 1:]
    stream = atrous.stream(model, (1, 2, 60), running=True)
    made = [stream.push(x[..., a:b]) for a, b in ((0, 1), (1, 9), (9, 10), (10, 60))]
    made.append(stream.flush())
    assert torch.allclose(torch.cat(made, -1)[..., 1:], wanted, rtol=1e-12, atol=1e-12)
