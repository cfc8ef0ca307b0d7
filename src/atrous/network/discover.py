"""Which dimensions of an input are spatial: those that the first windows slide along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from atrous.network.builder import AXES, Builder
from atrous.network.layout import Dim, Layout
from atrous.network.ops import (
    AdaptivePool,
    Attention,
    Concat,
    Contract,
    Conv,
    ConvTranspose,
    Deform,
    Elementwise,
    Fold,
    Linear,
    Lookup,
    Op,
    Pool,
    Resize,
    Sample,
    Scan,
    Transform,
    Unfold,
    Unpool,
)
from atrous.network.records import Param, Tensor

__all__ = ["discover"]

Axes = tuple[str | None, ...]
Translate = Callable[[Builder, dict[str, Tensor]], object]
Place = tuple[str, int]
"""A dimension of an input: the input's name, and the index."""

MOST_PASSES = 4


class _Alike:
    """Dimensions of different inputs that are one axis; two of one input never are."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        places = [(name, i) for name, shape in shapes.items() for i in range(len(shape))]
        self._classes: dict[Place, tuple[Place, ...]] = {place: (place,) for place in places}

    def of(self, place: Place) -> tuple[Place, ...]:
        """All dimensions that are the same axis as this one, in the order of the inputs."""
        return self._classes[place]

    def join(self, one: Place, other: Place) -> bool:
        """Let two dimensions be one axis; False where they are already, or cannot be."""
        a, b = self._classes[one], self._classes[other]
        if {name for name, _ in a} & {name for name, _ in b}:
            return False
        order = list(self._classes)
        both = tuple(sorted(a + b, key=order.index))
        self._classes.update(dict.fromkeys(both, both))
        return True


class _Probe(Builder):
    """A builder that gives every dimension an axis of its own and watches what slides where.

    Dimensions that are `alike` have one axis; `met` says that more were found to be.
    """

    looks = False

    def __init__(self, shapes: Mapping[str, Sequence[int]], alike: _Alike) -> None:
        super().__init__()
        self.met = False
        self._alike = alike
        self.slides: dict[str, set[int]] = {name: set() for name in shapes}
        self.stands: dict[str, set[int]] = {name: set() for name in shapes}
        self.channels: dict[str, set[int]] = {name: set() for name in shapes}
        self.usual: dict[str, int] = {}
        self._owner: dict[str, tuple[Place, ...]] = {}
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
        integer: bool = False,
    ) -> Tensor:
        """Note where the op slides and what it takes for channels, then add it."""
        if isinstance(op, Conv | ConvTranspose | Deform | Fold | Pool | Unfold | Unpool):
            layout = inputs[0].layout
            rank = len(op.windows)
            for dim, window in zip(layout[-rank:], op.windows, strict=True):
                slid = window.kernel > 1 or window.stride > 1
                self._note(self.slides if slid else self.stands, (dim,))
            if isinstance(op, Conv | ConvTranspose | Deform):
                self._take(layout[len(layout) - rank - 1])
        elif isinstance(op, Transform):
            self._note(self.slides, tuple(inputs[0].layout[dim] for dim in op.dims))
        elif isinstance(op, AdaptivePool | Resize | Sample):
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
            if op.channels is not None:
                self._take(inputs[0].layout[-1])
            for start in inputs[1:]:  # a state has no positions
                for dim in start.layout:
                    self._take(dim)
        elif isinstance(op, Lookup):
            self._note(self.slides, inputs[0].layout[1:])
        elif isinstance(op, Concat | Elementwise) and len(inputs) > 1:
            self._meet(inputs, op.dim if isinstance(op, Concat) else None)
        return super().add(
            op,
            *inputs,
            name=name,
            module=module,
            params=params,
            shape=shape,
            itemsize=itemsize,
            origin=origin,
            integer=integer,
        )

    def channels_at(self, x: Tensor, dim: int, *, usually: bool = False) -> None:
        """Note a dimension that the source says to hold channels, and those end to end in it."""
        dims = [x.layout[dim]]
        for held in dims:
            dims += [part for atom in held for part in atom.parts]
            # Several at once are a flattened map.
            for name, index in self._owner.get(str(held[0].axis), ()) if len(held) == 1 else ():
                if usually:
                    self.usual[name] = index
                else:
                    self.channels[name].add(index)

    def probe(self, name: str, shape: Sequence[int]) -> Tensor:
        """An input in which each dimension is an axis."""
        classes = [self._alike.of((name, i)) for i in range(len(shape))]
        axes = [f"{places[0][0]}\0{places[0][1]}" for places in classes]
        self._owner.update(zip(axes, classes, strict=True))
        return self.input(name, shape, axes=axes)

    def _note(self, where: dict[str, set[int]], layout: Layout) -> None:
        for dim in layout:
            for atom in dim:
                self._note(where, atom.parts)
                for name, index in self._owner.get(str(atom.axis), ()):
                    where[name].add(index)

    def _meet(self, inputs: tuple[Tensor, ...], end_to_end: int | None) -> None:
        """Note dimensions of different inputs that line up as one axis.

        Index by index where they are as long; whatever their lengths where the tensors are laid
        `end_to_end`, as the cache of a stream is in front of its frames.
        """
        rank = max(len(x.layout) for x in inputs)
        for index in range(rank):
            dims = [x.layout[i] for x in inputs if (i := index - rank + len(x.layout)) >= 0]
            held = [dim[0] for dim in dims if len(dim) == 1 and dim[0].axis in self._owner]
            for one, other in pairwise(held):
                if one.axis != other.axis and (one.size == other.size or index == end_to_end):
                    places = [self._owner[str(atom.axis)][0] for atom in (one, other)]
                    self.met |= self._alike.join(*places)

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
            places = self._owner.get(str(atom.axis), ())
            if any(self._sizes[name][index] == atom.size for name, index in places):
                whole.append(places)
        # Several at once are a flattened map, which says nothing of what is a channel.
        for name, index in whole[0] if len(whole) == 1 else ():
            self.channels[name].add(index)


def discover(shapes: Mapping[str, Sequence[int]], translate: Translate) -> dict[str, Axes]:
    """For each input, the spatial axis that each dimension is, or None.

    Runs `translate` with every dimension as an axis of its own. Spatial is what a window slides
    along, and every other dimension but the batch that no layer takes for its channels; so
    channels-last inputs, waveforms without a channel dimension and video come out right. Where no
    layer tells the channels, they are where the source usually has them, else the second dimension.
    Dimensions of different inputs that the network lays end to end, or joins, are one axis and have
    one name.
    """
    alike = _Alike(shapes)
    for _ in range(MOST_PASSES):
        probe = _Probe(shapes, alike)
        translate(probe, {name: probe.probe(name, shape) for name, shape in shapes.items()})
        if not probe.met:
            break
    found = {name: _spatial(probe, name, shape) for name, shape in shapes.items()}
    result: dict[str, Axes] = {}
    given: dict[Place, str] = {}
    for name, shape in shapes.items():
        # An axis that another input has as well is spatial for both.
        spatial = sorted(
            i
            for i in range(len(shape))
            if i in found[name] or any(at in found[other] for other, at in alike.of((name, i)))
        )
        names = AXES.get(len(spatial)) or tuple(f"axis{i}" for i in range(len(spatial)))
        known = {i: given[name, i] for i in spatial if (name, i) in given}
        free = [n for n in (*names, *_SPARE) if n not in known.values()]
        for i, own in zip(spatial, names, strict=True):
            if i not in known:
                known[i] = own if own in free else free[0]
                free.remove(known[i])
            given.update(dict.fromkeys(alike.of((name, i)), known[i]))
        result[name] = tuple(known.get(i) for i in range(len(shape)))
    return result


_SPARE = tuple(dict.fromkeys(name for names in AXES.values() for name in names))


def _spatial(probe: _Probe, name: str, shape: Sequence[int]) -> set[int]:
    """The dimensions of an input that windows slide along, and those that are no channels."""
    channels = probe.channels[name] or {probe.usual.get(name, 1)}
    stands = probe.stands[name]
    # A second dimension of one is a batch that stands second, unless something says otherwise.
    still = {
        i
        for i in range(1, len(shape))
        if i not in channels and (i > 1 or shape[i] > 1 or i in stands)
    }
    # Nothing slides along a first dimension of one: it is a batch that windows were laid into.
    return (probe.slides[name] - ({0} if shape[:1] == (1,) else set())) | still
