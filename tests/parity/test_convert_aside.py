"""Maps beside the main one, whose stride is nobody's: pyramid pools, keys and values, frames."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous import ConversionError


def dense_error(model: nn.Module, dense: nn.Module, size: int) -> float:
    """The largest difference of `dense[::D] == original`, in float64."""
    x = torch.randn(
        1, 3, size, size, dtype=torch.double, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        one, two = (copy.deepcopy(m).double().eval()(x) for m in (model, dense))
    factor = -(-two.shape[-1] // one.shape[-1])
    return float((two[..., ::factor, ::factor] - one).abs().max())


class PyramidPools(nn.Module):
    """Four strided convolutions, and their map beside pools of it to a few positions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(6 if i else 3, 6, 3, 2, 1) for i in range(4)))
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(n), nn.Conv2d(6, 2, 1), nn.ReLU()) for n in (1, 2, 3)
        )
        self.out = nn.Conv2d(12, 5, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        more = [functional.interpolate(p(x), x.shape[2:], mode="bilinear") for p in self.pools]
        return self.out(torch.cat([x, *more], 1))


@pytest.mark.parametrize("size", [48, 80, 96])  # 48: a map of 3x3, which the last pool leaves alone
def test_pyramid_pools_beside_the_map_do_not_hinder_a_conversion(size: int) -> None:
    torch.manual_seed(0)
    made = atrous.convert(PyramidPools().eval(), 8, input=(1, 3, size, size))
    assert made.certificate.verdict == "approximate"
    assert made.certificate.agrees
    assert made.certificate.causes[0].layer == "pools.0.0"
    assert made.certificate.before.output_stride == (16, 16)
    assert made.certificate.after.output_stride == (8, 8)
    assert "pools" not in " ".join(edit.layer for edit in made.edits)
    # Without the pools, which see another number of positions, the head is the original's.
    model = PyramidPools().eval()
    model.load_state_dict(made.model.state_dict())
    for one in (model, made.model):
        one.pools = nn.ModuleList([nn.Sequential(nn.AdaptiveAvgPool2d(1), Nought()) for _ in "abc"])
    assert dense_error(model, made.model, size) < 1e-12


class Nought(nn.Module):
    """Two channels of zeros, whatever it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x[:, :2])


class Reduced(nn.Module):
    """Attention in which keys and values come from a strided convolution of the map."""

    def __init__(self, channels: int, reduce: int, fused: bool) -> None:
        super().__init__()
        self.channels, self.fused = channels, fused
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.less = nn.Conv2d(channels, channels, reduce, reduce) if reduce > 1 else nn.Identity()
        self.both = nn.Linear(channels, 2 * channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        query = self.query(tokens)
        kept = self.less(x).flatten(2).transpose(1, 2)
        key, value = self.both(kept).split(self.channels, -1)
        if self.fused:
            seen = functional.scaled_dot_product_attention(query, key, value)
        else:
            scores = query @ key.transpose(1, 2) * self.channels**-0.5
            seen = scores.softmax(-1) @ value
        mixed = (tokens + seen).transpose(1, 2)
        return mixed.reshape(x.shape[0], self.channels, height, width)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("size", [64, 65])
def test_keys_and_values_of_a_reduced_map_stay_what_they_were(size: int, fused: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        Reduced(8, 4, fused),
        nn.Conv2d(8, 8, 3, 2, 1),
        Reduced(8, 2, fused),
        nn.Conv2d(8, 8, 3, 1, 1),
    ).eval()
    made = atrous.convert(model, 2, input=(1, 3, size, size))
    assert made.certificate.verdict == "exact"
    assert made.certificate.state == "measured"
    # The stride of the reduction grows, so that it reads the original's positions and no others.
    assert made.model[3].less.stride == (4, 4)
    assert made.model[3].less.dilation == (2, 2)
    assert made.model[1].less.stride == (4, 4)
    assert dense_error(model, made.model, size) < 1e-12


def test_attention_over_every_token_of_a_denser_map_is_approximate() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), Reduced(8, 1, True)).eval()
    found = atrous.convert(model, 1, input=(1, 3, 32, 32)).certificate
    assert found.verdict == "approximate"
    assert found.agrees


class Shrunk(nn.Module):
    """A map resampled to half its size between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.behind = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.behind(functional.interpolate(self.before(x), scale_factor=0.5))


class Framed(nn.Module):
    """A signal cut into frames by a reshape, and a convolution over the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.frames, self.conv = nn.Linear(64, 8), nn.Conv1d(8, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.frames(x.reshape(1, -1, 64)).transpose(1, 2))


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (Shrunk, (1, 3, 64, 64), ("behind: its map has a stride of 4 along h", "resampling")),
        (Framed, (1, 1024), ("conv: its map has a stride of 64 along t", "cuts it into frames")),
    ],
)
def test_a_map_that_no_stride_makes_coarse_is_refused_with_what_does(model, shape, words) -> None:
    with pytest.raises(ConversionError) as raised:
        atrous.convert(model().eval(), 2, input=shape)
    text = str(raised.value)
    assert all(word in text for word in words)
    assert "lies between" not in text


class Product(nn.Module):
    """Two maps joined by a product over channels, or by a sum; one of them is upsampled."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.stem, self.deep = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.stem(x)
        up = functional.interpolate(self.deep(skip), scale_factor=2)
        return skip + up if self.how == "sum" else torch.einsum("bchw,bchw->bhw", skip, up)[:, None]


def test_resampling_at_joins_is_offered_where_it_is_done_and_nowhere_else() -> None:
    given = {"input": (1, 3, 32, 32)}
    for how, offered in (("sum", True), ("product", False)):
        model = Product(how).eval()
        with pytest.raises(ConversionError) as raised:
            atrous.convert(model, 2, **given)
        assert ("resample=True" in str(raised.value)) == offered
        if offered:
            found = atrous.convert(model, 2, resample=True, **given).certificate
            assert found.verdict == "approximate"
        else:
            with pytest.raises(ConversionError, match="convert the part before it"):
                atrous.convert(model, 2, resample=True, **given)
