"""Rates on a map: how many taps of a dilated branch lie inside, and how many on padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from math import prod

from atrous.analysis.scale import Scale
from atrous.analysis.spans import spans_of
from atrous.geometry import Local, Taps, Window, inside_counts, same_torch
from atrous.network import Network, Node
from atrous.network.builder import AXES
from atrous.network.ops import Conv, Pad
from atrous.shown import Plain, Shown, ShownWhole, plain, plain_fields

__all__ = [
    "Branch",
    "Limits",
    "Pyramid",
    "branch_of",
    "percent",
    "pyramids_of",
    "same_branch",
    "same_pyramid",
]

_USUAL = (18, 33)
"""DeepLab v3's largest rate and the map that it is for: 513 pixels at output stride 16."""


@dataclass(frozen=True, slots=True)
class Branch(Plain, Shown):
    """One convolution on a map, and the shares of its taps and positions, all of them exact.

    `inside` is the share of taps that lie on the map and not on padding, over all positions;
    `full` the share of positions with all taps inside, `alone` with exactly one, `empty` with
    none. For kernel 3 at rate r on n x n positions `full` is `max(0, 1 - 2r/n)**2`.
    """

    layer: str
    map: tuple[int, ...]
    windows: tuple[Window, ...]
    inside: Fraction
    full: Fraction
    alone: Fraction
    empty: Fraction

    @property
    def rate(self) -> tuple[int, ...]:
        """The dilation along each axis that has more than one tap; 1 where none has."""
        wide = tuple(w.dilation for w in self.windows if w.kernel > 1)
        return wide or (1,) * len(self.windows)

    @property
    def dilations(self) -> tuple[int, ...]:
        """The dilation along each axis."""
        return tuple(window.dilation for window in self.windows)

    @property
    def kernel(self) -> tuple[int, ...]:
        """The taps along each axis."""
        return tuple(window.kernel for window in self.windows)

    @property
    def taps(self) -> int:
        """How many taps there are."""
        return prod(self.kernel)

    @property
    def mean_taps(self) -> Fraction:
        """How many of the taps lie inside, on average over the positions."""
        return self.inside * self.taps

    @property
    def verdict(self) -> str:
        """What the branch is on this map, in words."""
        flat = len(self.kernel) == 1
        kernel, single = (
            f"{'kernel ' * flat}{_by(k)}" for k in (self.kernel, (1,) * len(self.map))
        )
        one = "its centre" if all(k % 2 for k in self.kernel) else "one tap"
        if self.empty:
            return f"no tap lies inside at {percent(self.empty)} of positions."
        if self.alone == 1 and self.taps > 1:
            here = single if flat else f"a {single}"
            return f"{kernel} in name, and {here} here: only {one} lies inside, at every position."
        whole = "at every position" if self.full == 1 else f"at {percent(self.full)} of positions"
        taps = "both taps" if self.taps == 2 else f"all {self.taps} taps"
        every = f"{taps} lie inside {whole if self.full else 'nowhere'}."
        if self.alone and self.taps > 1:
            name = f"{kernel} in name: " if self.alone >= Fraction(1, 2) else ""
            return f"{name}only {one} lies inside at {percent(self.alone)} of positions; {every}"
        return every if self.full == 1 else f"every position sees more than {one}; {every}"

    def to_dict(self) -> dict[str, object]:
        """Plain data; shares as quotients and as numbers."""
        shares = {name: getattr(self, name) for name in ("inside", "full", "alone", "empty")}
        return {
            "layer": self.layer,
            "map": list(self.map),
            "rate": list(self.rate),
            "kernel": list(self.kernel),
            "taps": self.taps,
            "mean_taps": float(self.mean_taps),
            **{name: float(share) for name, share in shares.items()},
            "exact": plain(shares),
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        return f"rate {_by(self.rate)} on a map of {_by(self.map)}: {self.verdict}"


@dataclass(frozen=True, slots=True)
class Limits(Plain):
    """The largest rates, at padding `same`, at which some position has all taps inside, every
    position sees more than one tap, and some position does; 0 where no rate is small enough.

    For kernel 3 on n positions these are `(n - 1) // 2`, `n // 2` and `n - 1`.
    """

    all_somewhere: int
    more_everywhere: int
    more_somewhere: int


@dataclass(frozen=True, slots=True)
class Pyramid(ShownWhole):
    """Convolutions of several rates side by side on one map, as in DeepLab's ASPP.

    `size` and `output_stride` are those of the network's input where they were asked about;
    `source` is the layer whose map it is where a network has it. `steps` says for each of the
    map's `axes` what one position of the map is, where a rate or the size of a pixel is given.
    `trunk` is how many positions in a row, along each axis, a position of the map has seen itself,
    counted in positions of the map: what all branches read together is through it.

    >>> import atrous
    >>> found = atrous.rates(513, (6, 12, 18))
    >>> found.map, [round(float(branch.full), 2) for branch in found.branches]
    ((33, 33), [0.4, 0.07, 0.0])
    """

    map: tuple[int, ...]
    branches: tuple[Branch, ...]
    size: tuple[int, ...] = ()
    output_stride: tuple[int, ...] = ()
    source: str = ""
    axes: tuple[str, ...] = ()
    steps: Mapping[str, Scale] = field(default_factory=dict, hash=False)
    trunk: int = 1

    def scaled_by(
        self, scales: Mapping[str, Scale], strides: Mapping[str, Fraction | int]
    ) -> Pyramid:
        """The same pyramid, whose rates are shown in ms and lengths as well.

        `scales` are those of the input; the map has one position for `strides` of the input's.
        """
        steps = {
            axis: Scale(scales[axis].of(strides[axis]), scales[axis].unit)
            for axis in self.axes
            if axis in scales and axis in strides
        }
        return replace(self, steps=steps)

    @property
    def limits(self) -> Limits | None:
        """Up to which rate branches see what; None where their kernels or paddings differ."""
        kernel = self.branches[0].kernel
        if not all(b.kernel == kernel and _is_same(b.windows) for b in self.branches):
            return None

        def largest(holds: Callable[[Branch], object]) -> int:
            low, high = 0, max(self.map) + 1
            while high - low > 1:
                rate = (low + high) // 2
                found = same_branch(self.map, (rate,) * len(kernel), kernel)
                low, high = (rate, high) if holds(found) else (low, rate)
            return low

        return Limits(
            largest(lambda branch: branch.full),
            largest(lambda branch: not branch.alone and not branch.empty),
            largest(lambda branch: branch.alone + branch.empty < 1),
        )

    @property
    def scaled(self) -> tuple[int, ...]:
        """The same rates in proportion, the largest as DeepLab v3's 18 is for a map of 33x33.

        In proportion to one less than the map's shorter side: 36 on 65x65. Each at least 1.

        >>> import atrous
        >>> atrous.rates(513, (6, 12, 18), output_stride=8).scaled
        (12, 24, 36)
        """
        largest, side = _USUAL
        return self._in_proportion(Fraction(largest * (min(self.map) - 1), side - 1))

    @property
    def safe(self) -> tuple[int, ...]:
        """The same rates in proportion, the largest the largest that no position sees as a 1x1.

        With each of them every position has more than one tap inside, and some position all.
        Empty where no rate does that, and where the kernels or paddings differ.

        >>> import atrous
        >>> atrous.rates(513, (6, 12, 18)).safe
        (5, 11, 16)
        """
        limits = self.limits
        largest = 0 if limits is None else min(limits.all_somewhere, limits.more_everywhere)
        return self._in_proportion(Fraction(largest)) if largest else ()

    @property
    def too_large(self) -> tuple[Branch, ...]:
        """Branches with those of the `scaled` rates that are above the largest `safe` one."""
        if self.limits is None:
            return ()
        kernel = self.branches[0].kernel
        most = max(self.safe, default=0)
        return tuple(
            same_branch(self.map, (rate,) * len(kernel), kernel)
            for rate in self.scaled
            if rate > most
        )

    def _in_proportion(self, largest: Fraction) -> tuple[int, ...]:
        """These rates, scaled so that the largest is `largest`, rounded, each at least 1."""
        rates = [max(branch.rate) for branch in self.branches]
        factor = largest / max(rates)
        return tuple(sorted({max(1, int(rate * factor + Fraction(1, 2))) for rate in rates}))

    @property
    def along(self) -> tuple[Taps, ...]:
        """Along each axis: the positions that all branches together read, from their own."""
        boxes = self._boxes()
        return tuple(Taps.of(sorted(set().union(*along))) for along in zip(*boxes, strict=True))

    def _boxes(self) -> list[list[set[int]]]:
        """What each branch reads along each axis, through the trunk."""
        trunk = range(self.trunk)
        return [
            [{tap + more for tap in window.taps(0) for more in trunk} for window in branch.windows]
            for branch in self.branches
        ]

    @property
    def taps(self) -> int:
        """How many positions of the map one output reads, away from its ends."""
        return _positions_in(self._boxes())

    @property
    def extent(self) -> tuple[int, ...]:
        """From the first position that one output reads to the last, along each axis."""
        return tuple(taps.size for taps in self.along)

    @property
    def coverage(self) -> Fraction:
        """The share of that box which is read: what lies between is left to the layers before."""
        return Fraction(self.taps, prod(self.extent))

    def to_dict(self) -> dict[str, object]:
        """Plain data under a versioned schema."""
        limits = self.limits
        return {
            "schema": "atrous.rates/1",
            "source": self.source,
            "size": list(self.size),
            "output_stride": list(self.output_stride),
            "map": list(self.map),
            "axes": list(self.axes),
            **({"steps": self._in_units(self.map)} if self.steps else {}),
            "branches": [
                branch.to_dict()
                | ({"steps": self._in_units(branch.dilations)} if self.steps else {})
                for branch in self.branches
            ],
            "limits": None if limits is None else plain_fields(limits),
            "scaled": list(self.scaled),
            "safe": list(self.safe),
            "together": {
                "trunk": self.trunk,
                "taps": self.taps,
                "extent": list(self.extent),
                "coverage": float(self.coverage),
                "max_gap": [taps.max_gap for taps in self.along],
                "step": [taps.step for taps in self.along],
            },
        }

    def _in_units(self, positions: Sequence[int]) -> list[dict[str, object]]:
        """So many positions of the map along each axis that has a scale, and what one is."""
        return [
            {"axis": axis, "unit": step.unit, "step": float(step.step), "length": float(step.of(n))}
            for axis, n in zip(self.axes, positions, strict=True)
            if (step := self.steps.get(axis)) is not None
        ]


def percent(share: Fraction) -> str:
    """A share in percent, with a digit more close to 0% and 100%.

    >>> percent(Fraction(2, 5)), percent(Fraction(1, 300)), percent(Fraction(1, 10**6))
    ('40%', '0.3%', 'below 0.1%')
    """
    if 0 < share < Fraction(1, 1000):
        return "below 0.1%"
    if Fraction(999, 1000) < share < 1:
        return "above 99.9%"
    digits = 1 if 0 < share < Fraction(1, 100) or Fraction(99, 100) < share < 1 else 0
    return f"{float(share):.{digits}%}"


def branch_of(node: Node, network: Network) -> Branch | None:
    """A convolution of a network as a branch, zeros padded right before it counted as padding.

    None for other ops, along parts of axes, and where padding repeats what is inside.
    """
    if not isinstance(node.op, Conv) or not all(map(_drops, node.moves[0].values())):
        return None
    spans = spans_of(node, network)
    if not spans:
        return None
    pads = _zeros_before(node, network)
    windows, sizes = [], []
    for span in spans:
        lo, hi = pads.get(span.axis, (0, 0))
        window = span.window
        padded = (window.pad_lo + lo, window.pad_hi + hi)
        windows.append(Window(window.kernel, window.stride, window.dilation, *padded))
        sizes.append(span.inputs - lo - hi)
    if min(sizes) < 1:
        return None
    return _branch(node.name, tuple(sizes), tuple(windows))


def same_branch(sizes: Sequence[int], rate: Sequence[int], kernel: Sequence[int]) -> Branch:
    """A branch of stride 1 that keeps the size of its map, `extent - 1` of padding in all."""
    windows = [Window(k, 1, d, *same_torch(k, d)) for k, d in zip(kernel, rate, strict=True)]
    return _branch("", tuple(sizes), tuple(windows))


def same_pyramid(
    size: Sequence[int],
    rates: Iterable[Sequence[int]],
    output_stride: Sequence[int],
    kernel: Sequence[int],
    trunk: int = 1,
) -> Pyramid:
    """The branches on the map that a network of this output stride makes of an input.

    The map is `ceil(size / output_stride)`, as halving with padding `same` leaves it; its axes are
    called as those of networks are.
    """
    axes = AXES[len(size)]
    sizes = tuple(-(-n // stride) for n, stride in zip(size, output_stride, strict=True))
    branches = tuple(same_branch(sizes, rate, kernel) for rate in rates)
    return Pyramid(sizes, branches, tuple(size), tuple(output_stride), "", axes, trunk=trunk)


def pyramids_of(network: Network) -> tuple[Pyramid, ...]:
    """The pyramids of a network: two rates or more, one above 1, side by side on one map."""
    found: dict[str, list[Branch]] = {}
    for node in network.nodes:
        branch = branch_of(node, network)
        if branch is not None and branch.taps > 1:
            found.setdefault(_read_by(node, network), []).append(branch)
    return tuple(_pyramids(found, network))


def _pyramids(by_source: dict[str, list[Branch]], network: Network) -> Iterator[Pyramid]:
    for source, branches in by_source.items():
        rates = {branch.rate for branch in branches}
        if len(rates) > 1 and any(max(rate) > 1 for rate in rates):
            maker = network.maker(source)
            name = source if maker is None else maker.name
            spans = spans_of(network.node(branches[0].layer), network)
            axes = tuple(span.axis for span in spans)
            yield Pyramid(branches[0].map, tuple(branches), source=name, axes=axes)


def _branch(layer: str, sizes: tuple[int, ...], windows: tuple[Window, ...]) -> Branch:
    shares = [_shares(window, length) for length, window in zip(sizes, windows, strict=True)]
    inside, full, alone, some = (prod(along) for along in zip(*shares, strict=True))
    return Branch(layer, sizes, windows, inside, full, alone, 1 - some)


@lru_cache(1024)
def _shares(window: Window, length: int) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Along one axis: the taps inside, and outputs with all of theirs, with one, with some."""
    counts = inside_counts(window, length)
    outputs = sum(counts.values())
    taps = sum(count * times for count, times in counts.items())
    return (
        Fraction(taps, outputs * window.kernel),
        Fraction(counts.get(window.kernel, 0), outputs),
        Fraction(counts.get(1, 0), outputs),
        Fraction(outputs - counts.get(0, 0), outputs),
    )


def _drops(step: object) -> bool:
    """Whether what lies outside is nothing, as behind padding with a constant."""
    return isinstance(step, Local) and step.border == "drop"


def _read_by(node: Node, network: Network) -> str:
    """The tensor whose map a convolution reads, before zeros were padded around it."""
    before = network.maker(node.inputs[0])
    return before.inputs[0] if before is not None and _pads_zeros(before) else node.inputs[0]


def _pads_zeros(node: Node) -> bool:
    return (
        isinstance(node.op, Pad)
        and not node.op.phases
        and all(map(_drops, node.moves[0].values()))
        and all(number >= 0 for pair in node.op.pads for number in pair)
    )


def _zeros_before(node: Node, network: Network) -> dict[str, tuple[int, int]]:
    """By axis, the positions that a padding op right before a convolution adds."""
    before = network.maker(node.inputs[0])
    if before is None or not isinstance(before.op, Pad) or not _pads_zeros(before):
        return {}
    rank = len(before.op.pads)
    found = {}
    for index, pair in enumerate(before.op.pads):
        dim = before.output.layout[index - rank]
        if len(dim) == 1 and dim[0].axis is not None:
            found[dim[0].axis] = pair
    return found


def _is_same(windows: Sequence[Window]) -> bool:
    return all(w.stride == 1 and w.padding == same_torch(w.kernel, w.dilation) for w in windows)


def _by(numbers: Sequence[int]) -> str:
    """Numbers of axes as they are said: 33x33."""
    return "x".join(map(str, numbers))


def _positions_in(boxes: Sequence[Sequence[set[int]]]) -> int:
    """How many positions some of these products of sets hold.

    >>> _positions_in([[{0, 1}, {0, 1}], [{1, 2}, {1, 2}]])
    7
    """
    if not boxes or not boxes[0]:
        return len(boxes[:1])
    # Positions along the first axis that lie in the same boxes hold as much each.
    alike: Counter[tuple[int, ...]] = Counter(
        tuple(place for place, box in enumerate(boxes) if position in box[0])
        for position in set().union(*(box[0] for box in boxes))
    )
    return sum(
        n * _positions_in([boxes[place][1:] for place in inside]) for inside, n in alike.items()
    )
