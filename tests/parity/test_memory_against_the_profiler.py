"""Peak memory against PyTorch's profiler, and views against PyTorch's own."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import atrous
from atrous.analysis.strides import contiguous, reshaped
from tests.memory_probe import profiled_peak
from tests.oracles import drawing

MODELS = [
    "torchvision:resnet18",
    "torchvision:mobilenet_v2",
    "torchvision:squeezenet1_1",
    "timm:deit_tiny_patch16_224",
    "timm:convnext_atto",
    "timm:resnetblur18",
]


def _model(name: str) -> nn.Module:
    torch.manual_seed(0)
    library, _, model = name.partition(":")
    if library == "timm":
        return timm.create_model(model).eval()
    return torchvision.models.get_model(model, weights=None).eval()


@pytest.mark.parametrize("name", MODELS)
def test_the_peak_is_within_a_tenth_of_what_the_profiler_sees(name: str) -> None:
    model = _model(name)
    report = atrous.inspect(model, (1, 3, 224, 224))
    peak = profiled_peak(model, torch.zeros(1, 3, 224, 224))
    assert report.peak_memory_bytes == pytest.approx(peak.tensors, rel=0.1)
    assert peak.tensors <= peak.everything


class Held(nn.Module):
    """A module whose caller holds what it was given until it returns."""

    def __init__(self, view: bool) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Tanh(), nn.Sigmoid(), nn.Conv2d(8, 3, 1))
        self.view = view

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x + 1)
        if self.view:
            return x.reshape(1, 3, -1) * 2
        return x.permute(0, 3, 2, 1).reshape(1, -1, 3)


@pytest.mark.parametrize("view", [True, False])
def test_what_callers_hold_and_reshapes_copy_is_counted_to_the_byte(view: bool) -> None:
    model = Held(view).eval()
    report = atrous.inspect(model, (1, 3, 32, 32))
    peak = profiled_peak(model, torch.zeros(1, 3, 32, 32))
    assert report.peak_memory_bytes == peak.tensors


@drawing(200)
@given(st.data())
def test_a_reshape_is_a_view_exactly_where_torch_makes_one(data: st.DataObject) -> None:
    sizes = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)
    x = torch.empty(data.draw(sizes))
    x = x.permute(data.draw(st.permutations(range(x.ndim))))
    for dim in range(x.ndim):
        step = data.draw(st.integers(1, 2))
        x = x[(slice(None),) * dim + (slice(0, None, step),)]
    to = data.draw(_factored(x.numel()))
    ours = reshaped(tuple(x.shape), x.stride(), to)
    try:
        theirs = x.view(to)
    except RuntimeError:
        assert ours is None
        return
    assert ours is not None
    wide = [i for i, size in enumerate(to) if size > 1]
    assert [ours[i] for i in wide] == [theirs.stride()[i] for i in wide]


@st.composite
def _factored(draw: st.DrawFn, total: int) -> list[int]:
    out = []
    while total > 1:
        size = draw(st.sampled_from([n for n in range(1, total + 1) if total % n == 0]))
        out.append(size)
        total //= size
        if len(out) > 5:
            break
    return [*out, total]


def test_contiguous_strides_are_torchs() -> None:
    assert contiguous((2, 3, 4)) == torch.empty(2, 3, 4).stride()
