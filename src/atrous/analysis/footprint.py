"""The exact set of input positions that one output position reads, with the number of paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from atrous.analysis.scale import Scale
from atrous.files import write_whole
from atrous.shown import ShownWhole, view

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from atrous.analysis.effective import Effective

__all__ = ["Footprint"]


@dataclass(frozen=True, slots=True, eq=False)
class Footprint(ShownWhole):
    """The input positions that output position `at` reads, clipped to the input.

    `mask` has the input's spatial shape and is True at every position read; `counts`, of the same
    shape, says over how many paths (branches and taps; channels are not counted). Counts are
    exact integers up to 2**62, rounded to float64 above. `origin` is the low corner of the box
    that holds all positions read, `box` the counts inside it, `coverage` the share of it read.
    `map` is the spatial shape of the map that `at` is a position of, `scales` those of the report.
    Branches make unions that are no product of axes: a 1x7 beside a 7x1 reads a cross.
    A position is read where any channel of it reaches any channel of the output position; channels
    are not kept apart on the way, so branches laid side by side and picked apart again, with no
    layer between that mixes them, count together.

    >>> import atrous
    >>> foot = atrous.inspect("stack:k3d2 k3d2", (1, 1, 32, 32)).footprint()
    >>> foot.at, foot.origin, foot.box.shape, round(foot.coverage, 3)
    ((16, 16), (12, 12), (9, 9), 0.309)
    """

    at: tuple[int, ...]
    origin: tuple[int, ...]
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    box: NDArray[Any] = field(repr=False)
    map: tuple[int, ...] = ()
    beside: Callable[[Sequence[int]], Footprint] | None = field(default=None, repr=False)
    scales: Mapping[str, Scale] = field(default_factory=dict, repr=False)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True at every input position that is read."""
        import numpy as np

        full = np.zeros(self.shape, dtype=np.bool_)
        full[self._inside()] = self.box > 0
        return full

    @property
    def counts(self) -> NDArray[Any]:
        """How many paths lead from each input position to the output position."""
        import numpy as np

        full = np.zeros(self.shape, dtype=self.box.dtype)
        full[self._inside()] = self.box
        return full

    @property
    def taps(self) -> int:
        """How many input positions are read."""
        return int((self.box != 0).sum())

    @property
    def coverage(self) -> float:
        """The share of the box that is read; 0.0 where nothing is."""
        return self.taps / self.box.size if self.box.size else 0.0

    def effective(self, share: float = 0.95) -> Effective:
        """The box that holds `share` of all paths: the analytic effective receptive field.

        The density is that of path counts, which is what gradients follow where all weights are
        alike (Luo et al. 2016); the faces with the fewest paths are taken away from the box while
        enough are left.

        >>> import atrous
        >>> foot = atrous.inspect("stack:" + "k3 " * 10, (1, 1, 64, 64)).footprint()
        >>> foot.box.shape, foot.effective().size
        ((21, 21), (13, 13))
        """
        from atrous.analysis.effective import effective_box

        return effective_box(self.box, share, self.origin)

    def plot(self, image: Any = None) -> Any:
        """The footprint as an `altair.Chart`: brightness for paths, holes dark, the 95% box.

        `image`, a path or a Pillow image, is stretched over the input and shows where it is read.
        Raises `MissingDependencyError` without the extra `report`, `ReadError` for what is no
        image, `UnsupportedError` where nothing is read, or an image has no two axes to lie on.

        >>> import atrous
        >>> chart = atrous.inspect("stack:k3d2 k3d2", (1, 1, 32, 32)).footprint().plot()
        >>> chart.title.text
        'Output (16, 16) reads 25 of 9x9 positions'
        """
        return view(self).plot(image=image)

    def moved(self, most: int = 72) -> tuple[Footprint, ...]:
        """The footprints of the map's outputs, in their order.

        Of more than `most`, those of the row through `at`, and of a longer row as many, evenly
        apart. A footprint that was not taken from a report is alone.

        >>> import atrous
        >>> foot = atrous.inspect("stack:k3s2", (1, 1, 8, 8)).footprint()
        >>> [len(foot.moved()), len(foot.moved(most=4))]
        [16, 4]
        """
        if self.beside is None or not self.map:
            return (self,)
        places = [*product(*map(range, self.map))] if prod(self.map) <= most else self._row(most)
        return tuple(self.beside(at) for at in places)

    def _row(self, most: int) -> list[tuple[int, ...]]:
        length = self.map[-1]
        steps = min(length, most)
        return [(*self.at[:-1], step * length // steps) for step in range(steps)]

    def animate(self, path: str | os.PathLike[str], seconds: float = 0.5) -> None:
        """Writes an SVG picture in which the output goes over its map, and what it reads with it.

        The outputs are those of `moved`, each shown for `seconds`. It plays by itself in browsers
        and in Markdown, and stands still on paper and where less motion is asked for. Raises
        `ArgumentError` for an input of more than 10,000 positions.

        >>> import atrous, tempfile
        >>> foot = atrous.inspect("stack:k3d2 k3d2", (1, 1, 16, 16)).footprint()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     foot.animate(f"{folder}/footprint.svg")
        """
        write_whole(path, view(self).moving(seconds))

    def to_dict(self) -> dict[str, object]:
        """Plain data, the mask as the rows of its box."""
        return {
            "at": list(self.at),
            "axes": list(self.axes),
            "origin": list(self.origin),
            "size": list(self.box.shape),
            **({"scaled": self._scaled()} if self.scales else {}),
            "input": list(self.shape),
            "taps": self.taps,
            "coverage": self.coverage,
            "mask": (self.box > 0).astype(int).tolist(),
            "counts": self.box.tolist(),
        }

    def _scaled(self) -> list[dict[str, object]]:
        """Corner and extent of the box along the axes that have a scale, in its unit."""
        return [
            {
                "axis": axis,
                "unit": scale.unit,
                "origin": float(scale.of(low)),
                "size": float(scale.of(size)),
            }
            for axis, low, size in zip(self.axes, self.origin, self.box.shape, strict=True)
            if (scale := self.scales.get(axis)) is not None
        ]

    def _inside(self) -> tuple[slice, ...]:
        return tuple(slice(o, o + n) for o, n in zip(self.origin, self.box.shape, strict=True))
