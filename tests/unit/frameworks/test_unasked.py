"""Code that looks at sizes, and code that does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

import atrous
from atrous.frameworks.unasked import asks_no_size


class Doing(nn.Module):
    """Does what it is told."""

    def __init__(self, does: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.does, self.conv = does, nn.Conv1d(2, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.does(x))


ASKS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "shape": lambda x: x if x.shape[-1] % 2 else x + 1,
    "size": lambda x: x if x.size(2) > 4 else x + 1,
    "len": lambda x: x if len(x) else x + 1,
    "numel": lambda x: x if x.numel() > 9 else x + 1,
    "a stride": lambda x: x if x.stride(0) > 9 else x + 1,
    "a loop": lambda x: torch.stack(list(x)),
    "a pool that keeps a size": lambda x: F.adaptive_avg_pool2d(x, (None, 4)),
    "interpolation": lambda x: F.interpolate(x, scale_factor=2),
    "numbers": lambda x: x if x.sum() > 0 else x + 1,
}
BLIND: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": lambda x: F.relu(x) if x.ndim == 3 and x.is_floating_point() else x,
    "pool": lambda x: F.max_pool1d(x, 2),
    "a pool to a size": lambda x: F.adaptive_avg_pool2d(x, (2, 5)),
    "a pool to a size by name": lambda x: F.adaptive_avg_pool2d(x, output_size=(2, 6)),
    "sum": lambda x: torch.cat([x + x, x], 1)[:, :2],
}


@pytest.mark.parametrize("name", ASKS)
def test_code_that_looks_at_a_size_is_noticed(name: str) -> None:
    assert not asks_no_size(Doing(ASKS[name]), [(1, 2, 16)])


@pytest.mark.parametrize("name", BLIND)
def test_code_that_looks_at_none_is_noticed(name: str) -> None:
    assert asks_no_size(Doing(BLIND[name]), [(1, 2, 16)])


def test_a_classifier_is_read_a_few_times_and_the_rest_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = nn.Conv2d(1, 2, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)
    read, count = atrous.read, []
    monkeypatch.setattr(
        "atrous.verbs.sizes.read_unrun", lambda *a, **k: count.append(a) or read(*a, **k)
    )
    found = atrous.sizes(nn.Sequential(*layers).eval(), (1, 1, 20, 20), enough=60)
    assert len(count) < 30
    assert [found.legal((n, n)) for n in (1, 2, 3, 59)] == [False, False, True, True]
    assert not found.lossless((20, 20))
    assert found.lossless((21, 21))


def test_sizes_of_such_code_are_followed_and_agree_with_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, count = atrous.read, []
    monkeypatch.setattr(
        "atrous.verbs.sizes.read_unrun", lambda *a, **k: count.append(a) or read(*a, **k)
    )
    layers = [(10, 5), (3, 2), (3, 2), (2, 2)]
    model = nn.Sequential(*(nn.Conv1d(1, 1, k, s) for k, s in layers)).eval()
    found = atrous.sizes(model, (1, 1, 200))
    assert len(count) < 20
    for length in range(1, 200):
        try:
            with torch.no_grad():
                made = model(torch.zeros(1, 1, length)).shape[-1]
        except RuntimeError:
            made = 0
        assert found.legal(length) == (made > 0), length
        assert not made or found.along[0].at(length).outputs == (made,), length
    assert "a window of kernel" in found.why(9)
