"""Height and width together: PyTorch on every shape of a range, where axes are tied and not."""

from __future__ import annotations

import pickle
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

import atrous


@pytest.fixture(autouse=True)
def few_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up early on lengths that repeat nothing: shapes here are small."""
    monkeypatch.setattr("atrous.analysis.periods._ENOUGH", 40)


class Turned(nn.Module):
    """Adds to a map the same map with height for width."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x.mT


class Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2).mT


class Rotated(nn.Module):
    """Rotates by what is in no table of operators."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.rot90(x, 1, (2, 3))


class Mixed(nn.Module):
    """Takes nine positions after the other, across rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], -1, 9).mean(-1)


class Tokens(nn.Module):
    """Patches with a stored place for each: 16, whatever the grid."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 3, 2, 2)
        self.places = nn.Parameter(torch.zeros(1, 16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.patches(x).flatten(2).mT + self.places


class Wide(nn.Module):
    """Asks for shapes that are twice as wide as high."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[-1] == 2 * x.shape[-2]
        return F.max_pool2d(x, 2)


class Grid(nn.Module):
    """Pools to a grid of tokens, which a linear layer takes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(2, 2, 3, 2, 1), nn.ConvTranspose2d(2, 2, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.up(self.down(x))


TIED = {
    "turned": (Turned(), (8, 8)),
    "turned, asked at another": (Turned(), (8, 6)),
    "transposed": (Transposed(), (8, 8)),
    "rotated": (Rotated(), (8, 8)),
    "mixed": (Mixed(), (9, 9)),
    "tokens": (Tokens(), (16, 4)),
    "wide": (Wide(), (6, 12)),
}
FREE = {
    "skip": (Skip(), (8, 8)),
    "skip, not square": (Skip(), (8, 6)),
    "grid": (Grid(), (8, 8)),
    "strides": (nn.Conv2d(2, 2, 3, (2, 3)), (8, 8)),
}


def shape_of(model: nn.Module, size: tuple[int, int]) -> tuple[int, ...] | None:
    """The output's shape; None where the model does not run."""
    try:
        with torch.no_grad():
            made = model(torch.zeros(1, 2, *size))
    except Exception:
        return None
    return tuple(made.shape) if made.numel() else None


@pytest.mark.parametrize("name", [*TIED, *FREE])
def test_every_shape_runs_as_it_is_said(name: str) -> None:
    model, start = {**TIED, **FREE}[name]
    found = atrous.sizes(model.eval(), (1, 2, *start))
    assert bool(found.tied) == (name in TIED)
    high, wide = (range(1, 17), range(1, 17)) if name in FREE else ((2, 6, 8), (1, 4, 6, 9, 16))
    for size in product(high, wide):
        made = shape_of(model, size)
        assert found.legal(size) == (made is not None), size
        assert (not found.why(size)) == found.legal(size), size
        if made and len(made) == 4 and name != "grid":
            assert found.same(size) == (made[2:] == size), size


def test_tied_axes_are_named_with_a_shape_that_shows_it() -> None:
    found = atrous.sizes(Turned(), (1, 2, 8, 8))
    said = " ".join(str(found).split())
    assert "h and w are not independent: 9x8 does not run, though 9x9 and 8x8 do" in said
    assert "what is said above is of equal lengths" in said
    assert found.nearest((8, 8)) == (8, 8)
    assert (found.pad, found.crop) == ((0, 0), (0, 0))
    assert found.to_dict()["tied"] == found.tied
    for refused in (lambda: found.nearest((8, 9)), lambda: found.dim(torch.export.Dim)):
        with pytest.raises(atrous.UnsupportedError, match="h and w are not independent"):
            refused()


def test_of_axes_tried_one_by_one_nothing_is_said_of_both() -> None:
    found = atrous.sizes(Tokens(), (1, 2, 17, 4))
    assert found.legal((4, 16))
    for refused in (lambda: found.pad, lambda: found.least, lambda: found.nearest((9, 9))):
        with pytest.raises(atrous.UnsupportedError, match=r"ask legal\(\.\.\.\)"):
            refused()
    assert "one axis at a time" in str(found)


def test_a_pickle_of_tied_axes_says_what_it_cannot_tell() -> None:
    found = pickle.loads(pickle.dumps(atrous.sizes(Turned(), (1, 2, 8, 8))))
    assert found.legal((5, 5))
    with pytest.raises(atrous.UnsupportedError, match=r"call sizes again to read \(5, 6\)"):
        found.legal((5, 6))


def test_joins_of_the_other_axis_are_not_held_against_this_one() -> None:
    class Resized(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:])

    found = atrous.sizes(Resized(), (1, 2, 8, 7))
    assert [n for n in range(4, 12) if found.along[0].at(n).aligned] == [4, 6, 8, 10]
    assert (found.aligned((8, 8)), found.aligned((8, 7)), found.pad) == (True, False, (0, 1))
