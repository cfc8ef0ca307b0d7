"""The effective receptive field of one output position, against its whole field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atrous.analysis.effective import Effective, effective_box
from atrous.analysis.scale import Scale
from atrous.shown import ShownWhole, plain, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EffectiveField", "Inputs", "Spread", "Weights"]

Weights = Literal["given", "random", "counted"]
"""The model's own; drawn anew; none, where paths are counted."""
Inputs = Literal["images", "given", "random", "none"]


@dataclass(frozen=True, slots=True)
class Spread:
    """How a density lies along one axis: its mean, its deviation, and the radius of half of it.

    Of a Gaussian half lies within 0.674 deviations of the mean, of a flat field within 0.866.
    """

    axis: str
    mean: float
    deviation: float
    half: float

    @property
    def ratio(self) -> float:
        """The radius of half in deviations; 0 where there is no spread."""
        return self.half / self.deviation if self.deviation else 0.0

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "axis": self.axis,
            "mean": self.mean,
            "deviation": self.deviation,
            "half": self.half,
            "ratio": self.ratio,
        }


@dataclass(frozen=True, slots=True, eq=False)
class EffectiveField(ShownWhole):
    """How strongly output position `at` of a layer depends on each input position.

    `density` has the input's spatial shape and sums to 1: the mean size of the gradient over
    `samples` inputs; where `weights` are "counted", the root of the number of paths, which is the
    root mean square of the gradient of convolutions whose weights are independent with mean 0.
    `origin` and `size` are the corner and the extent of the whole field inside the input: mostly
    all of it where some op has `mixed` all positions. `paths` is the box that holds the same share
    of paths, `roots` of their roots; None where paths cannot be counted.
    """

    network: str
    layer: str
    at: tuple[int, ...]
    axes: tuple[str, ...]
    weights: Weights
    inputs: Inputs
    samples: int
    seed: int
    share: float
    origin: tuple[int, ...]
    size: tuple[int, ...]
    mixed: tuple[str, ...]
    paths: Effective | None
    roots: Effective | None
    density: NDArray[np.float64] = field(repr=False)
    notes: tuple[str, ...] = ()
    scales: Mapping[str, Scale] = field(default_factory=dict)

    @property
    def inside(self) -> NDArray[np.float64]:
        """The density inside the field."""
        cut = tuple(slice(o, o + n) for o, n in zip(self.origin, self.size, strict=True))
        return self.density[cut]

    @property
    def box(self) -> Effective:
        """The box that holds `share` of the density."""
        return effective_box(self.inside, self.share, self.origin)

    @property
    def ratio(self) -> float:
        """The box's part of the whole field; 0 where nothing is read."""
        return prod(self.box.size) / prod(self.size) if prod(self.size) else 0.0

    @property
    def spreads(self) -> tuple[Spread, ...]:
        """Along each axis, all others summed up: how far the density spreads."""
        return tuple(self._spread(index, axis) for index, axis in enumerate(self.axes))

    def _spread(self, index: int, axis: str) -> Spread:
        others = tuple(i for i in range(self.density.ndim) if i != index)
        along = self.density.sum(axis=others)
        if not along.any():
            return Spread(axis, 0.0, 0.0, 0.0)
        along = along / along.sum()
        places = np.arange(len(along))
        mean = float((along * places).sum())
        far = np.abs(places - mean)
        # Each position is a cell of width 1, whose own variance is 1/12.
        deviation = float(np.sqrt((along * far**2).sum() + 1 / 12))
        return Spread(axis, mean, deviation, _half(mean, along))

    def plot(self) -> Any:
        """The density as an `altair.Chart`, with frames around the field and the box.

        Raises `MissingDependencyError` without the extra `report`.
        """
        return view(self).plot()

    def to_dict(self) -> dict[str, object]:
        """Plain data under a versioned schema, without the density itself."""
        return {
            "schema": "atrous.effective/1",
            "network": self.network,
            "layer": self.layer,
            "at": list(self.at),
            "axes": list(self.axes),
            "input": list(self.density.shape),
            "weights": self.weights,
            "inputs": self.inputs,
            "samples": self.samples,
            "seed": self.seed,
            "field": {"origin": list(self.origin), "size": list(self.size)},
            "globals": list(self.mixed),
            "effective": self.box.to_dict(),
            "ratio": self.ratio,
            "spreads": [spread.to_dict() for spread in self.spreads],
            "paths": plain(self.paths),
            "roots": plain(self.roots),
            "notes": list(self.notes),
            "scales": plain(self.scales),
            **({"scaled": self._scaled()} if self.scales else {}),
        }

    def _scaled(self) -> list[dict[str, object]]:
        """Along each axis that has a scale: fields and boxes in its unit, and how it spreads."""
        sizes = {"field": self.size, "effective": self.box.size}
        if self.paths is not None and self.roots is not None:
            sizes |= {"paths": self.paths.size, "roots": self.roots.size}
        return [
            {
                "axis": axis,
                "unit": scale.unit,
                **{name: float(scale.of(size[index])) for name, size in sizes.items()},
                **{
                    name: getattr(spread, name) * float(scale.step)
                    for name in ("mean", "deviation", "half")
                },
            }
            for index, (axis, spread) in enumerate(zip(self.axes, self.spreads, strict=True))
            if (scale := self.scales.get(axis)) is not None
        ]


def _half(mean: float, along: NDArray[np.float64]) -> float:
    """The distance from the mean within which half of it lies, each position a cell of width 1."""
    edges = np.arange(len(along) + 1) - 0.5
    below = np.concatenate(([0.0], np.cumsum(along)))
    # Between these distances what lies within grows in proportion.
    distances = np.unique(np.concatenate(([0.0], np.abs(edges - mean))))
    within = np.interp(mean + distances, edges, below) - np.interp(mean - distances, edges, below)
    return float(np.interp(0.5, within, distances))
