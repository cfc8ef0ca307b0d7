"""The rates of a network as unknowns: what its ends read at any rates, along each axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from atrous.errors import GeometryError
from atrous.geometry import Local, Reads, Taps, Window
from atrous.network import Network, Node
from atrous.network.layout import ROWS
from atrous.network.ops import Conv, Pad, Pool
from atrous.network.walk import ancestors, strides, window_axes
from atrous.refusal import Refusal
from atrous.shown import Plain

__all__ = ["AxisGrid", "GridLook", "RateGraph", "Rates", "changeable", "last_maps", "rate_of"]

_MOST_PHASES = 1 << 12
_MOST_IMAGES = 1 << 14

Rates = tuple[int, ...]
"""One rate for each layer that may change, in their order."""


@dataclass(frozen=True, slots=True)
class AxisGrid(Plain):
    """What one end reads along one axis, in input positions, ignoring where the input ends.

    `size`, `taps` and `max_gap` are as those of a `Field`; `subgrids` names the layers of whose
    input neighbouring outputs read disjoint sub-grids.
    """

    end: str
    axis: str
    size: int
    taps: int
    max_gap: int
    subgrids: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        """The share of the field that is read, that of the emptiest phase."""
        return self.taps / self.size if self.size else 1.0


@dataclass(frozen=True, slots=True)
class GridLook:
    """The ends of a network at some rates: their fields, what they leave unread, and sub-grids.

    `sizes` has one number for each end and axis, `unread` counts the positions in holes, and
    `apart` the layers on sub-grids that are more than may be.
    """

    sizes: tuple[int, ...]
    unread: int
    apart: int
    layers: int

    @property
    def whole(self) -> bool:
        """Whether there is no hole, and no sub-grid that counts."""
        return not self.unread and not self.apart


def last_maps(network: Network, outputs: Sequence[str]) -> tuple[str, ...]:
    """The last maps on the way to the outputs: tensors with positions along axes of their own.

    >>> from atrous.network.stack import stack_network
    >>> net = stack_network("k3 k3 global", (1, 1, 9, 9))
    >>> last_maps(net, net.outputs)
    ('conv2',)
    """
    found: dict[str, None] = {}
    waiting, met = list(reversed(outputs)), set(outputs)
    while waiting:
        name = waiting.pop()
        tensor = network.tensor(name)
        if ROWS not in tensor.grid and any(length > 1 for length in tensor.grid.values()):
            found[name] = None
            continue
        maker = network.maker(name)
        for before in () if maker is None else maker.inputs:
            if before not in met:
                met.add(before)
                waiting.append(before)
    held = [ancestors(network, [name]) - {name} for name in found]
    return tuple(name for name in found if not any(name in one for one in held))


def changeable(
    network: Network, ends: Sequence[str]
) -> tuple[tuple[Node, ...], tuple[Refusal, ...]]:
    """The convolutions whose rates can change, and of the others with a window why not."""
    held = ancestors(network, ends)
    users = Counter(name for node in network.nodes for name in dict.fromkeys(node.params))
    modules = Counter(n.module for n in network.nodes if isinstance(n.op, Conv) and n.module)
    able: list[Node] = []
    fixed: list[Refusal] = []
    for node in network.nodes:
        if node.output.name not in held or not getattr(node.op, "windows", ()):
            continue
        why = _why_fixed(node, network, users, modules)
        if why:
            fixed.append(Refusal("rates", node.name, why))
        else:
            able.append(node)
    return tuple(able), tuple(fixed)


def _why_fixed(
    node: Node, network: Network, users: Mapping[str, int], modules: Mapping[str, int]
) -> str:
    """Why the rate of a layer stays as it is; empty where it can change."""
    op = node.op
    if node.opaque:
        return f"it is not understood ({node.opaque.rstrip('.')})"
    if not isinstance(op, Conv):
        return f"it is a {node.kind}, which keeps its rate"
    try:
        axes = window_axes(node, network.tensor(node.inputs[0]))
    except ValueError as reason:
        return f"it {reason}"
    wide = [w for w, axis in zip(op.windows, axes, strict=True) if axis and w.kernel > 1]
    if not wide:
        return "its kernel is 1, which has no rate"
    if any(users[name] > 1 for name in node.params) or modules[node.module] > 1:
        return "other layers share its weights"
    if op.unread:
        return "some of its taps are 0 for all channels"
    before = network.maker(node.inputs[0])
    mode = before.op.mode if before is not None and isinstance(before.op, Pad) else "constant"
    if op.padding_mode != "constant" or mode != "constant":
        return "its padding repeats what is inside"
    if any(w.extent > 1 and w.pad_lo + w.pad_hi <= 0 for w in wide):
        return "it pads nothing, so that another rate would change the size of its map"
    if len({w.dilation for w in wide}) > 1:
        return "its rates differ by axis"
    return ""


@dataclass(slots=True)
class _Back:
    """One way from a tensor back to one before it: fixed reads, those of a layer, or none."""

    into: str
    reads: Reads | None = None
    layer: int | None = None

    @property
    def still(self) -> bool:
        """Whether positions stay."""
        return self.reads is None and self.layer is None


@dataclass(frozen=True, slots=True)
class _Watched:
    """A window whose input may be read on sub-grids: the tensor, its rate or layer, the stride."""

    node: str
    tensor: str
    rate: int
    layer: int | None
    apart: int


@dataclass(slots=True)
class _Line:
    """One axis of one end: steps back from it in order, windows to watch, phases to look from."""

    end: str
    axes: tuple[str, ...]
    steps: list[tuple[str, list[_Back]]]
    watched: list[_Watched]
    phases: range
    windows: dict[int, Window]
    known: dict[tuple[int, int], Reads] = field(default_factory=dict)
    images: dict[tuple[int, int], Taps] = field(default_factory=dict)

    def reads(self, step: _Back, rates: Rates) -> Reads | None:
        """What a step reads at these rates; None where positions stay."""
        if step.layer is None:
            return step.reads
        key = (step.layer, rates[step.layer])
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = Reads.window(self.windows[step.layer].at_rate(key[1]))
        return found

    def image(self, reads: Reads, taps: Taps) -> Taps:
        """What these positions read; sets that differ by a shift are worked out once."""
        if reads.period > 1 or not taps.mask:
            return reads.image(taps)
        key = id(reads), taps.mask  # steps hold the reads, so that their ids stay theirs
        found = self.images.get(key)
        if found is None:
            if len(self.images) > _MOST_IMAGES:
                self.images.clear()
            found = self.images[key] = reads.image(taps.shifted(-taps.first))
        return found.shifted(taps.first * reads.shift)

    def trace(self, rates: Rates, at: int) -> dict[str, Taps]:
        """What position `at` of the end reads of each tensor before it."""
        seen = {self.end: Taps.interval(at, 1)}
        for name, steps in self.steps:
            taps = seen.get(name)
            if taps is None:
                continue
            for step in steps:
                reads = self.reads(step, rates)
                found = taps if reads is None else self.image(reads, taps)
                before = seen.get(step.into)
                seen[step.into] = found if before is None else before.united(found)
        return seen

    def reach(self, source: str, rates: Rates) -> int:
        """The size of the field at the source: the largest of all phases."""
        most = 0
        for at in self.phases:
            seen = {self.end: range(at, at + 1)}
            for name, steps in self.steps:
                here = seen.get(name)
                if here is None:
                    continue
                for step in steps:
                    reads = self.reads(step, rates)
                    found = here if reads is None else reads.needed(here)
                    before = seen.get(step.into)
                    if before is not None and found:
                        low, high = min(before.start, found.start), max(before.stop, found.stop)
                        found = range(low, high)
                    seen[step.into] = found or before or found
            most = max(most, len(seen.get(source, ())))
        return most

    def on_subgrids(self, seen: Mapping[str, Taps], rates: Rates) -> list[str]:
        """The windows whose input neighbouring outputs read on disjoint sub-grids."""
        found = []
        for one in self.watched:
            rate = one.rate if one.layer is None else rates[one.layer]
            taps = seen.get(one.tensor)
            if rate > 1 and taps is not None:
                step = taps.step
                if step > 1 and one.apart % step:
                    found.append(one.node)
        return found


class RateGraph:
    """What the ends of a network read of one input, as a function of the rates of some layers.

    Along each axis the ends are followed back through the composed reads of all branches at once,
    as `Inspection.trace` does; a layer's window at another rate is `Window.at_rate`. Axes along
    which all windows are alike are followed once. `strict` counts every layer on sub-grids; without
    it a single one, whose grids the layer before joins, does not count. Along `exempt` axes none
    does. Raises `GeometryError` where what an end reads does not repeat.
    """

    def __init__(
        self,
        network: Network,
        source: str,
        ends: Sequence[str],
        layers: Sequence[Node],
        *,
        strict: bool = False,
        exempt: Collection[str] = (),
    ) -> None:
        self.network, self.source, self.layers = network, source, tuple(layers)
        self.strict, self.exempt = strict, frozenset(exempt)
        self._strides = strides(network)
        self._places = {node.name: i for i, node in enumerate(layers)}
        self._reached = network.reached(source)
        self.now: Rates = tuple(rate_of(node, network) for node in layers)
        self.lines = tuple(self._lines(ends))

    @property
    def steps(self) -> int:
        """How many steps back one look takes."""
        return sum(len(line.phases) * len(line.steps) for line in self.lines)

    @cached_property
    def target(self) -> tuple[int, ...]:
        """The fields at the rates that the layers have."""
        return self.reach(self.now)

    def allowed(self, layer: int, rate: int) -> bool:
        """Whether a layer can have a rate: the padding that keeps its map crops nothing."""
        windows = [line.windows[layer] for line in self.lines if layer in line.windows]
        return all(min(window.at_rate(rate).padding) >= 0 for window in windows)

    def reach(self, rates: Rates) -> tuple[int, ...]:
        """The size of the field of each end along each axis, which costs far less than a look."""
        return tuple(line.reach(self.source, rates) for line in self.lines)

    def whole(self, rates: Rates) -> bool:
        """Whether a look at these rates is whole, up to the first phase that is not."""
        for line in self.lines:
            for at in line.phases:
                seen = line.trace(rates, at)
                taps = seen.get(self.source)
                if taps is not None and taps.count < taps.size:
                    return False
                if at == 0 and self._apart(line, seen, rates):
                    return False
        return True

    def _apart(self, line: _Line, seen: Mapping[str, Taps], rates: Rates) -> int:
        """The layers on sub-grids, where these are more than may be."""
        if self.exempt.issuperset(line.axes):
            return 0
        on = len(line.on_subgrids(seen, rates))
        return on if on > (0 if self.strict else 1) else 0

    def look(self, rates: Rates) -> GridLook:
        """What the ends read at these rates."""
        sizes, unread, apart, layers = [], 0, 0, 0
        for line in self.lines:
            most = 0
            for at in line.phases:
                seen = line.trace(rates, at)
                taps = seen.get(self.source)
                if taps is None:
                    continue
                most = max(most, taps.size)
                unread += taps.size - taps.count
                if at == 0:
                    layers += len(line.on_subgrids(seen, rates))
                    apart += self._apart(line, seen, rates)
            sizes.append(most)
        return GridLook(tuple(sizes), unread, apart, layers)

    def grids(self, rates: Rates) -> tuple[AxisGrid, ...]:
        """The same for each end and axis by itself."""
        return tuple(grid for line in self.lines for grid in self._grids(line, rates))

    def _grids(self, line: _Line, rates: Rates) -> Iterator[AxisGrid]:
        traces = [line.trace(rates, at) for at in line.phases]
        found = [seen[self.source] for seen in traces if self.source in seen]
        if not found:
            return
        worst = min(found, key=lambda taps: taps.coverage)
        on = tuple(line.on_subgrids(traces[0], rates))
        maker = self.network.maker(line.end)
        for axis in line.axes:
            gap = max(taps.max_gap for taps in found)
            name = line.end if maker is None else maker.name
            yield AxisGrid(name, axis, worst.size, worst.count, gap, on)

    def _lines(self, ends: Sequence[str]) -> Iterator[_Line]:
        axes = self.network.tensor(self.source).grid
        for end in ends:
            found: list[_Line] = []
            grid = self.network.tensor(end).grid
            for axis in axes:
                if end not in self._reached or grid.get(axis, 1) < 2:
                    continue
                line = self._line(end, axis)
                # Equal along all steps: one of them is followed for both.
                same = next((one for one in found if self._alike(one, line)), None)
                if same is None:
                    found.append(line)
                else:
                    same.axes = (*same.axes, axis)
            yield from found

    def _alike(self, one: _Line, other: _Line) -> bool:
        return (
            (one.steps, one.watched, one.windows, one.phases)
            == (other.steps, other.watched, other.windows, other.phases)
        ) and (one.axes[0] in self.exempt) == (other.axes[0] in self.exempt)

    def _line(self, end: str, axis: str) -> _Line:
        steps: list[tuple[str, list[_Back]]] = []
        watched: list[_Watched] = []
        windows: dict[int, Window] = {}
        held = ancestors(self.network, [end])
        still = self._strides[end][axis]
        for node in reversed(self.network.nodes):
            name = node.output.name
            if name not in held or name not in self._reached:
                continue
            window = _window_along(node, axis, self.network)
            place = self._places.get(node.name)
            if place is not None and window is not None and window.kernel > 1:
                windows[place] = window
            else:
                place = None
            found = self._steps(node, axis, place)
            if found:
                steps.append((name, found))
            before = self._strides[node.inputs[0]].get(axis) if node.inputs else None
            if window is None or window.kernel == 1 or before is None:
                continue
            apart = still / before
            if apart.denominator == 1 and (place is not None or window.dilation > 1):
                rate = window.dilation
                watched.append(_Watched(node.name, node.inputs[0], rate, place, apart.numerator))
        kept = {end, *(one.tensor for one in watched)}
        line = _Line(end, (axis,), _shortened(steps, kept), watched, range(1), windows)
        line.phases = self._phases(line, axis)
        return line

    def _steps(self, node: Node, axis: str, place: int | None) -> list[_Back]:
        """The steps from a node back: those of local operands, where there are any."""
        here: list[_Back] = []
        passed: list[_Back] = []
        for index, name in enumerate(node.inputs):
            if name not in self._reached:
                continue
            step = node.moves[index].get(axis)
            if axis not in self.network.tensor(name).grid:
                passed.append(_Back(name))
            elif index == 0 and place is not None:
                here.append(_Back(name, layer=place))
            elif step is None:
                here.append(_Back(name))
            elif isinstance(step, Local):
                (here if axis in node.output.grid else passed).append(_Back(name, step.reads))
            else:
                passed.append(_Back(name))
        return here or passed

    def _phases(self, line: _Line, axis: str) -> range:
        """The outputs that read differently, up to which all others repeat."""
        periods = [s.reads.period for _, steps in line.steps for s in steps if s.reads is not None]
        if max(periods, default=1) == 1:
            return range(1)
        reads: dict[str, Reads] = {self.source: Reads.identity()}
        try:
            for name, steps in reversed(line.steps):
                for step in steps:
                    if step.into not in reads:
                        continue
                    own = line.reads(step, self.now)
                    before = reads[step.into]
                    after = before if own is None else own.after(before, counted=False)
                    known = reads.get(name)
                    reads[name] = after if known is None else known.union(after, counted=False)
            return range(reads[line.end].period) if line.end in reads else range(1)
        except GeometryError:
            length = self.network.tensor(line.end).grid[axis]
            if length > _MOST_PHASES:
                raise
            return range(length)


def rate_of(node: Node, network: Network) -> int:
    """The rate of a layer, the same along all axes that have one."""
    assert isinstance(node.op, Conv)
    axes = window_axes(node, network.tensor(node.inputs[0]))
    wide = zip(node.op.windows, axes, strict=True)
    return next(w.dilation for w, axis in wide if axis is not None and w.kernel > 1)


def _window_along(node: Node, axis: str, network: Network) -> Window | None:
    """The window of a convolution or pool along a whole axis."""
    if not isinstance(node.op, Conv | Pool):
        return None
    try:
        axes = window_axes(node, network.tensor(node.inputs[0]))
    except ValueError:
        return None
    both = zip(node.op.windows, axes, strict=True)
    return next((window for window, one in both if one == axis), None)


def _shortened(
    steps: Sequence[tuple[str, list[_Back]]], kept: Collection[str]
) -> list[tuple[str, list[_Back]]]:
    """The same steps without the tensors, but for those `kept`, that only hand positions on."""
    gone: dict[str, str] = {}
    for name, found in steps:
        alone = found[0] if len(found) == 1 else None
        if alone is not None and alone.still and name not in kept:
            gone[name] = alone.into

    def where(name: str) -> str:
        while name in gone:
            name = gone[name]
        return name

    return [
        (name, [_Back(where(step.into), step.reads, step.layer) for step in found])
        for name, found in steps
        if name not in gone
    ]
