"""Which dimensions of an input are spatial: those that the first windows slide along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from atrous.network.builder import AXES, Builder
from atrous.network.layout import Dim, Layout
from atrous.network.ops import (
    AdaptivePool,
    Attention,
    Contract,
    Conv,
    ConvTranspose,
    Linear,
    Lookup,
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


class _Probe(Builder):
    """A builder that gives every dimension an axis of its own and watches what slides where."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.slides: dict[str, set[int]] = {name: set() for name in shapes}
        self.stands: dict[str, set[int]] = {name: set() for name in shapes}
        self.channels: dict[str, set[int]] = {name: set() for name in shapes}
        self._owner: dict[str, tuple[str, int]] = {}
        self._sizes = shapes

    def add(
        self,
        op: Op,
        *inputs: Tensor,
        name: str = "",
        module: str | None = None,
        params: Sequence[Param] = (),
        shape: Sequence[int] | None = None,
        itemsize: int | None = None,
        origin: str = "",
    ) -> Tensor:
        """Note where the op slides and what it takes for channels, then add it."""
        if isinstance(op, Conv | ConvTranspose | Pool | Unfold):
            layout = inputs[0].layout
            rank = len(op.windows)
            for dim, window in zip(layout[-rank:], op.windows, strict=True):
                slid = window.kernel > 1 or window.stride > 1
                self._note(self.slides if slid else self.stands, (dim,))
            if isinstance(op, Conv | ConvTranspose):
                self._take(layout[len(layout) - rank - 1])
        elif isinstance(op, AdaptivePool | Resize):
            self._note(self.slides, inputs[0].layout[-len(op.sizes) :])
        elif isinstance(op, Linear):
            self._take(inputs[0].layout[-1])
        elif isinstance(op, Attention):
            self._note(self.slides, inputs[0].layout[-2:-1])
            self._take(inputs[0].layout[-1])
        elif isinstance(op, Contract):
            self._take_summed(op.equation, inputs)
        elif isinstance(op, Scan):
            self._note(self.slides, inputs[0].layout[op.dim : op.dim + 1])
        elif isinstance(op, Lookup):
            self._note(self.slides, inputs[0].layout[1:])
        return super().add(
            op,
            *inputs,
            name=name,
            module=module,
            params=params,
            shape=shape,
            itemsize=itemsize,
            origin=origin,
        )

    def probe(self, name: str, shape: Sequence[int]) -> Tensor:
        """An input in which each dimension is an axis."""
        axes = [f"{name}\0{i}" for i in range(len(shape))]
        for i, axis in enumerate(axes):
            self._owner[axis] = (name, i)
        return self.input(name, shape, axes=axes)

    def _note(self, where: dict[str, set[int]], layout: Layout) -> None:
        for dim in layout:
            for atom in dim:
                if atom.axis in self._owner:
                    name, index = self._owner[str(atom.axis)]
                    where[name].add(index)

    def _take_summed(self, equation: str, inputs: tuple[Tensor, ...]) -> None:
        """Note for channels what a product with a constant sums over, as a linear layer does."""
        holds = [any(a.axis in self._owner for dim in x.layout for a in dim) for x in inputs]
        if holds.count(True) != 1:
            return
        index = holds.index(True)
        terms, _, result = equation.partition("->")
        for letter, dim in zip(terms.split(",")[index], inputs[index].layout, strict=True):
            if letter not in result:
                self._take(dim)

    def _take(self, dim: Dim) -> None:
        """Note for channels the one dimension of an input that is summed over as a whole."""
        whole = []
        for atom in dim:
            owner = self._owner.get(str(atom.axis))
            if owner is not None and self._sizes[owner[0]][owner[1]] == atom.size:
                whole.append(owner)
        # Several at once are a flattened map, which says nothing of what is a channel.
        if len(whole) == 1:
            name, index = whole[0]
            self.channels[name].add(index)


def discover(shapes: Mapping[str, Sequence[int]], translate: Translate) -> dict[str, Axes]:
    """For each input, the spatial axis that each dimension is, or None.

    Runs `translate` once with every dimension as an axis of its own. Spatial is what a window
    slides along, and every other dimension but the batch that no layer takes for its channels; so
    channels-last inputs, waveforms without a channel dimension and video come out right. Where no
    layer tells the channels, they are the second dimension.
    """
    probe = _Probe(shapes)
    translate(probe, {name: probe.probe(name, shape) for name, shape in shapes.items()})
    result: dict[str, Axes] = {}
    for name, shape in shapes.items():
        slides = probe.slides[name]
        channels = probe.channels[name] or {1}
        stands = probe.stands[name]
        # A second dimension of one is a batch that stands second, unless something says otherwise.
        still = {
            i
            for i in range(1, len(shape))
            if i not in channels and (i > 1 or shape[i] > 1 or i in stands)
        }
        spatial = sorted(slides | still)
        names = AXES.get(len(spatial)) or tuple(f"axis{i}" for i in range(len(spatial)))
        by_index = dict(zip(spatial, names, strict=True))
        result[name] = tuple(by_index.get(i) for i in range(len(shape)))
    return result
