"""At which sizes two models are run: where every layer meets inner positions, odd maps and even."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from atrous.certification.faults import window_index
from atrous.errors import GeometryError
from atrous.geometry import Window
from atrous.network import Network, Node, Tensor
from atrous.network.aside import coarsest
from atrous.network.ops import AdaptivePool, Conv, ConvTranspose, Pad, Pool, Resize, Slice
from atrous.network.shapes import Shapes, rounded

__all__ = [
    "farther_sizes",
    "first_size",
    "larger_sizes",
    "leftovers",
    "other_sizes",
    "rounded_sizes",
]

_QUICK = 4e9
"""Multiply-accumulates of one run in float64 that take about a second on two cores."""
_LONGEST = 25e9
_GROUPED = 20
_MOST_CLASSES = 8
_FARTHEST = 256

Open = Sequence[Sequence[bool]]
"""For each input, by dimension, whether another size may be tried."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Input shapes as the length of each axis that may vary, and back."""

    shapes: Shapes
    inputs: tuple[Tensor, ...]
    lengths: Mapping[str, int]

    @classmethod
    def of(cls, shapes: Shapes, inputs: Sequence[Tensor], may: Open | None) -> _Frame:
        lengths: dict[str, int] = {}
        fixed: set[str] = set()
        for index, (tensor, shape) in enumerate(zip(inputs, shapes, strict=True)):
            for dim, (atoms, size) in enumerate(zip(tensor.layout, shape, strict=True)):
                axis = atoms[0].axis if len(atoms) == 1 else None
                if axis is None:
                    fixed.update(atom.axis for atom in atoms if atom.axis is not None)
                elif may is not None and not may[index][dim]:
                    fixed.add(axis)
                else:
                    lengths[axis] = max(lengths.get(axis, 0), size)
        return cls(shapes, tuple(inputs), {a: n for a, n in lengths.items() if a not in fixed})

    def at(self, lengths: Mapping[str, int]) -> Shapes | None:
        """The input shapes at other lengths; None where those of one input do not follow."""
        found = []
        for tensor, shape in zip(self.inputs, self.shapes, strict=True):
            sizes = []
            for atoms, size in zip(tensor.layout, shape, strict=True):
                axis = atoms[0].axis if len(atoms) == 1 else None
                if axis is not None and axis in lengths:
                    made = Fraction(size * lengths[axis], self.lengths[axis])
                    if made.denominator > 1 or made < 1:
                        return None
                    size = made.numerator
                sizes.append(size)
            found.append(tuple(sizes))
        return tuple(found)


def first_size(shapes: Shapes, networks: Sequence[Network], may: Open | None = None) -> Shapes:
    """The given shapes, or smaller ones where a run in float64 would take long.

    Every map of the smaller ones divides as that of the given ones does, and has more positions
    than each window spans, unless even that would take long.
    """
    work = max(map(_work, networks))
    frame = _Frame.of(shapes, networks[0].inputs, may)
    if work <= _QUICK or not frame.lengths:
        return shapes
    lines = {axis: _Line.of(networks, axis) for axis in frame.lengths}
    scale = (_QUICK / work) ** (1 / len(frame.lengths))
    found = {
        axis: next(
            (
                n
                for n in range(max(int(size * scale) + 1 - lines[axis].stride, 1), size)
                if lines[axis].alike(n, size) and lines[axis].roomy(n)
            ),
            size,
        )
        for axis, size in frame.lengths.items()
    }
    share = prod(found[axis] / size for axis, size in frame.lengths.items())
    if work * share > _LONGEST:
        scale = (_LONGEST / work) ** (1 / len(frame.lengths))
        for axis, size in frame.lengths.items():
            step = lines[axis].stride
            least = max(ceil(size * scale / step), 2) * step + size % step
            found[axis] = min(least, found[axis])
    return frame.at(found) or shapes


def other_sizes(
    shapes: Shapes, networks: Sequence[Network], may: Open | None = None
) -> Iterator[Shapes]:
    """Input shapes near the given ones, those first that say most beside them.

    Where a strided layer meets an even map at one, it meets an odd one at the other, and the
    reverse, as far as one size can. A model may take few sizes: each next one agrees with the given
    one by a larger divisor of the coarsest stride.
    """
    frame = _Frame.of(shapes, networks[0].inputs, may)
    if not frame.lengths:
        return
    lines = {axis: _Line.of(networks, axis) for axis in frame.lengths}
    stride = max(line.stride for line in lines.values())
    classes = [d for d in range(1, stride + 1) if stride % d == 0][-_MOST_CLASSES:]
    if classes[0] != 1:
        classes = [1, *classes[1:]]
    seen = {shapes}
    for apart in (*classes, 2 * stride):
        lengths = {axis: lines[axis].other(n, apart) for axis, n in frame.lengths.items()}
        made = frame.at(lengths)
        if made is not None and made not in seen:
            seen.add(made)
            yield made


def leftovers(networks: Sequence[Network]) -> list[tuple[str, str, int]]:
    """By strided window, layer and axis, what it leaves over of the map that it meets."""
    found = []
    for network in networks:
        for node in network.nodes:
            if not isinstance(node.op, Conv | Pool):
                continue
            for axis, length in network.tensor(node.inputs[0]).grid.items():
                w = node.op.windows[window_index(node, axis)]
                if w.stride > 1:
                    rest = (length + w.pad_lo + w.pad_hi - w.extent) % w.stride
                    found.append((node.name, axis, rest))
    return found


def farther_sizes(
    shapes: Shapes, networks: Sequence[Network], may: Open | None = None
) -> Iterator[Shapes]:
    """Input shapes a few positions larger, for code that rounds sizes up before it begins."""
    frame = _Frame.of(shapes, networks[0].inputs, may)
    for more in (1, 3, 5, 9) if frame.lengths else ():
        made = frame.at({axis: n + more for axis, n in frame.lengths.items()})
        if made is not None:
            yield made


def larger_sizes(
    shapes: Shapes, networks: Sequence[Network], may: Open | None = None
) -> Iterator[Shapes]:
    """Input shapes of about twice and four times the lengths, whose maps divide alike."""
    frame = _Frame.of(shapes, networks[0].inputs, may)
    work = max(map(_work, networks))
    for times in (2, 4):
        if not frame.lengths or work * times ** len(frame.lengths) > _LONGEST:
            return
        lengths = {}
        for axis, n in frame.lengths.items():
            turn = 2 * _Line.of(networks, axis).stride
            lengths[axis] = n + max(n * (times - 1) // turn, times - 1) * turn
        made = frame.at(lengths)
        if made is not None:
            yield made


def rounded_sizes(shapes: Shapes) -> Iterator[Shapes]:
    """The next shapes whose sizes divide by 8, 16, 32 and 64, for a model that takes others not.

    Nothing is known of the model: batch and channels are the first two dimensions.
    """
    seen = {shapes}
    for step in (8, 16, 32, 64):
        made = tuple(rounded(shape, step) or shape for shape in shapes)
        if made not in seen:
            seen.add(made)
            yield made


def _work(network: Network) -> int:
    """Multiply-accumulates; grouped convolutions count as slow as they are in float64."""
    return sum(
        node.macs * (_GROUPED if isinstance(node.op, Conv) and node.op.groups > 1 else 1)
        for node in network.nodes
    )


@dataclass(frozen=True, slots=True)
class _Length:
    """How long the map of one tensor is, by that of another; `window` where one slides along it."""

    source: str
    made: str
    length: Callable[[int], int]
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """The lengths of all maps along one axis, at any length of the input.

    Sizes that code works out anew are guessed: what is guessed wrong makes a size less telling.
    """

    chains: tuple[tuple[Mapping[str, Fraction], tuple[_Length, ...]], ...]
    stride: int

    @classmethod
    def of(cls, networks: Sequence[Network], axis: str) -> _Line:
        chains, widest = [], Fraction(1)
        for network in networks:
            whole = max(t.grid.get(axis, 1) for t in network.inputs)
            shares = {
                t.name: Fraction(t.grid[axis], whole) for t in network.inputs if axis in t.grid
            }
            chains.append((shares, tuple(_lengths(network, axis))))
            widest = max(widest, coarsest(network).get(axis, widest))
        return cls(tuple(chains), min(int(widest), _FARTHEST))

    def windows(self, size: int) -> list[tuple[Window, int]] | None:
        """Every window with the length of the map it slides along; None where a map vanishes."""
        found: list[tuple[Window, int]] = []
        for shares, chain in self.chains:
            held = {name: int(size * share) for name, share in shares.items()}
            for link in chain:
                length = held.get(link.source)
                if length is None or link.made in held:
                    continue
                try:
                    held[link.made] = link.length(length)
                except GeometryError:
                    return None
                if held[link.made] < 1:
                    return None
                if link.window is not None:
                    found.append((link.window, length))
        return found

    def rests(self, size: int) -> list[int] | None:
        """What each strided window leaves over of its map."""
        held = self.windows(size)
        if held is None:
            return None
        return [
            (length + w.pad_lo + w.pad_hi - w.extent) % w.stride
            for w, length in held
            if w.stride > 1
        ]

    def alike(self, size: int, other: int) -> bool:
        """Whether every strided window leaves over as much at both sizes."""
        return (size - other) % self.stride == 0 and self.rests(size) == self.rests(other)

    def roomy(self, size: int) -> bool:
        """Whether every map has more positions than its windows span, so that some read no pad."""
        held = self.windows(size)
        return held is not None and all(length > w.extent for w, length in held)

    def other(self, size: int, apart: int) -> int:
        """The size that differs by a multiple of `apart` and in what most strided windows leave."""
        rests = self.rests(size) or []
        roomy = self.roomy(size)
        best, found = None, size
        reach = range(max(size - 2 * self.stride, 1), size + 2 * self.stride + 1)
        for tried in reach:
            if tried == size or (tried - size) % apart:
                continue
            others = self.rests(tried)
            if others is None:
                continue
            same = sum(a == b for a, b in zip(rests, others, strict=False))
            rank = same, roomy and not self.roomy(tried), abs(tried - size), tried < size
            if best is None or rank < best:
                best, found = rank, tried
        return found


def _lengths(network: Network, axis: str) -> Iterator[_Length]:
    for node in network.nodes:
        after = node.output.grid.get(axis)
        if after is None:
            continue
        for name in node.inputs:
            before = network.tensor(name).grid.get(axis)
            if before is not None:
                yield _length_rule(node, name, axis, before, after)


def _length_rule(node: Node, source: str, axis: str, before: int, after: int) -> _Length:
    op, made = node.op, node.output.name
    if isinstance(op, Conv | Pool):
        window = op.windows[window_index(node, axis)]
        ceil_mode = isinstance(op, Pool) and op.ceil
        if _output_count(window, before, ceil_mode) == after:
            return _Length(source, made, lambda n: window.output_length(n, ceil_mode), window)
    if isinstance(op, ConvTranspose):
        stride = op.windows[window_index(node, axis)].stride
        return _Length(source, made, lambda n: after + (n - before) * stride)
    if isinstance(op, AdaptivePool) or (isinstance(op, Resize) and not any(op.scales)):
        return _Length(source, made, lambda _: after)
    if before == after or isinstance(op, Pad | Slice):
        return _Length(source, made, lambda n: after + n - before)
    return _Length(source, made, lambda n: after * n // before)


def _output_count(window: Window, length: int, ceil_mode: bool) -> int:
    try:
        return window.output_length(length, ceil_mode)
    except GeometryError:
        return -1
