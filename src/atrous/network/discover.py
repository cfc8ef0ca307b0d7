"""Which dimensions of an input are spatial: those that the first windows slide along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from atrous.network.builder import AXES, Builder
from atrous.network.layout import Layout
from atrous.network.ops import (
    AdaptivePool,
    Conv,
    ConvTranspose,
    Linear,
    Op,
    Pool,
    Resize,
    Scan,
    Unfold,
)
from atrous.network.records import Param, Tensor

__all__ = ["discover"]

Axes = tuple[str | None, ...]
Translate = Callable[[Builder, dict[str, Tensor]], object]


class _Settled(Exception):  # noqa: N818 - a signal, not an error
    """Every input's axes are known; the rest of the translation need not run."""


class _Probe(Builder):
    """A builder that gives every dimension an axis of its own and watches what slides where."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.found: dict[str, set[int]] = {}
        self._owner: dict[str, tuple[str, int]] = {}
        self._open = set(shapes)

    def add(
        self,
        op: Op,
        *inputs: Tensor,
        name: str = "",
        module: str | None = None,
        params: Sequence[Param] = (),
        shape: Sequence[int] | None = None,
        itemsize: int | None = None,
    ) -> Tensor:
        """Note where the op slides, then add it."""
        rank = 0
        if isinstance(op, Conv | ConvTranspose | Pool | Unfold):
            rank = len(op.windows)
        elif isinstance(op, AdaptivePool | Resize):
            rank = len(op.sizes)
        if rank:
            self._slides(inputs[0].layout[-rank:])
        elif isinstance(op, Linear):
            self._slides(inputs[0].layout[:-1], batch=False)
        elif isinstance(op, Scan):
            self._slides(inputs[0].layout[op.dim : op.dim + 1])
        return super().add(
            op, *inputs, name=name, module=module, params=params, shape=shape, itemsize=itemsize
        )

    def probe(self, name: str, shape: Sequence[int]) -> Tensor:
        """An input in which each dimension is an axis."""
        axes = [f"{name}\0{i}" for i in range(len(shape))]
        for i, axis in enumerate(axes):
            self._owner[axis] = (name, i)
        return self.input(name, shape, axes=axes)

    def _slides(self, layout: Layout, batch: bool = True) -> None:
        """Take note of the dimensions of inputs in `layout`; without `batch`, not of the first."""
        axes = {
            atom.axis
            for dim in layout
            for atom in dim
            if atom.axis in self._owner and (batch or self._owner[atom.axis][1])
        }
        for axis in axes:
            name, index = self._owner[str(axis)]
            self.found.setdefault(name, set()).add(index)
        self._open -= {self._owner[str(axis)][0] for axis in axes}
        if not self._open:
            raise _Settled


def discover(shapes: Mapping[str, Sequence[int]], translate: Translate) -> dict[str, Axes]:
    """For each input, the spatial axis that each dimension is, or None.

    Runs `translate` once with every dimension as an axis of its own. The dimensions along which
    the first convolution, pool or resampling slides are spatial, so that channels-last inputs and
    waveforms without a channel dimension come out right; where nothing slides, all dimensions
    from the third on are.
    """
    probe = _Probe(shapes)
    with suppress(_Settled):
        translate(probe, {name: probe.probe(name, shape) for name, shape in shapes.items()})
    result: dict[str, Axes] = {}
    for name, shape in shapes.items():
        spatial = sorted(probe.found.get(name, set(range(2, len(shape)))))
        names = AXES.get(len(spatial)) or tuple(f"axis{i}" for i in range(len(spatial)))
        by_index = dict(zip(spatial, names, strict=True))
        result[name] = tuple(by_index.get(i) for i in range(len(shape)))
    return result
