"""The structural half of a certificate: where every map of one network lies in another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from atrous.analysis.inspection import inspect_network
from atrous.certification.faults import (
    difference_of_ops,
    difference_off_axis,
    divisor,
    edge_text,
    is_right,
    margin_of,
    moved_text,
    off,
    place_text,
    rate_text,
    window_index,
)
from atrous.certification.match import matched
from atrous.certification.places import axes_by_dim
from atrous.certification.segments import Step, segments
from atrous.certification.verdicts import Apart, Cause, Verdict
from atrous.geometry import AxisMap, Lockstep, follow, unequal
from atrous.network import Network, Node, Tensor
from atrous.network.layout import ROWS, has_axes
from atrous.network.ops import (
    AdaptivePool,
    Conv,
    ConvTranspose,
    Elementwise,
    Linear,
    Pool,
    Resize,
)
from atrous.network.walk import ancestors

__all__ = ["Proof", "Twin", "prove"]

_SAME = Lockstep()


@dataclass(frozen=True, slots=True)
class Twin:
    """A tensor of the reference and its twin in the candidate.

    `locks` says by axis which positions hold the same; `bad` marks reference positions, by axis,
    that do not although they have a twin. `mixed` and `broken` name the causes that make the whole
    map differ; `changed` says that a map of another size or border is among what is mixed.
    """

    reference: str
    candidate: str
    locks: Mapping[str, Lockstep] = field(hash=False)
    bad: Mapping[str, int] = field(hash=False)
    mixed: tuple[Cause, ...] = ()
    broken: tuple[Cause, ...] = ()
    border: tuple[Cause, ...] = ()
    moved: tuple[Cause, ...] = ()
    changed: bool = False

    @property
    def same(self) -> bool:
        """Whether every position holds the same, where it was."""
        return not self.bad and all(lock == _SAME for lock in self.locks.values())

    def margins(self, tensor: Tensor) -> tuple[tuple[int, int], ...]:
        """By axis of the reference's tensor, the positions at the low and high end that differ."""
        return tuple(margin_of(self.bad.get(axis, 0), n) for axis, n in tensor.grid.items())

    def verdict(self, tensor: Tensor) -> Verdict:
        """What the structure says of the reference's tensor."""
        if self.broken:
            return "broken"
        if self.mixed:
            return "approximate"
        if any(
            self.locks.get(a, _SAME).phase or self.locks.get(a, _SAME).start for a in tensor.grid
        ):
            return "shifted"
        return "interior" if any(lo + hi for lo, hi in self.margins(tensor)) else "exact"


@dataclass(frozen=True, slots=True)
class Proof:
    """What the structure says of one output.

    `locks`, `margins` and `lengths`, those of the reference's map, are by axis, in the order of the
    output's dimensions; margins are in positions of the reference, at the low and the high end.
    `changed` is False of an `approximate` map that nothing of another size or border is mixed
    into: what is mixed there is only not understood.
    """

    output: str
    verdict: Verdict
    axes: tuple[str, ...]
    locks: tuple[Lockstep, ...]
    margins: tuple[tuple[int, int], ...]
    causes: tuple[Cause, ...]
    lengths: tuple[int, ...] = ()
    changed: bool = True

    @property
    def spent(self) -> bool:
        """Whether the margins leave no position: the map is too small to say more."""
        return self.verdict in ("interior", "shifted") and any(
            lo + hi >= n for (lo, hi), n in zip(self.margins, self.lengths, strict=True)
        )


def prove(
    reference: Network, candidate: Network, outputs: Sequence[tuple[str, str]]
) -> tuple[tuple[Proof, ...], dict[str, Twin]]:
    """Follows both networks side by side; for each pair of outputs, what holds of them.

    Every local operation of the reference must have a twin that reads the same positions, at one
    factor and phase; what mixes all positions is exact only where nothing has changed before it.
    """
    walk = _Walk(reference, candidate)
    walk.run()
    return tuple(walk.output(one, two) for one, two in outputs), walk.twins


class _Walk:
    def __init__(self, reference: Network, candidate: Network) -> None:
        self.reference = reference
        self.candidate = candidate
        self.pairs = matched(reference, candidate)
        self.twins: dict[str, Twin] = {}
        for one, two in zip(reference.inputs, candidate.inputs, strict=False):
            self.twins[one.name] = Twin(one.name, two.name, dict.fromkeys(one.grid, _SAME), {})
        held = {node.output.name for node in reference.nodes if node.name in self.pairs}
        self.here = held | {t.name for t in reference.inputs}
        self.there = {twin.output.name for twin in self.pairs.values()}
        self.there |= {t.name for t in candidate.inputs}
        self.names = {twin.name: name for name, twin in self.pairs.items()}
        self.resized = any(
            isinstance(n.op, Resize) and n.name not in self.names for n in candidate.nodes
        )

    def run(self) -> None:
        for node in self.reference.nodes:
            twin = self.pairs.get(node.name)
            if twin is not None:
                self.twins[node.output.name] = self._node(node, twin)

    @cached_property
    def strides(self) -> dict[str, dict[str, Fraction]]:
        """By tensor of the reference and axis, how many input positions one of its own is."""
        report = inspect_network(self.reference)
        found = {one.tensor: {f.axis: f.stride for f in one.field} for one in report.layers}
        return found | {t.name: dict.fromkeys(t.grid, Fraction(1)) for t in self.reference.inputs}

    def apart(
        self, tensor: str, axis: str, *counts: int | Fraction, margins: bool = False
    ) -> tuple[Apart, ...]:
        """So many positions of a tensor of the reference; none where its stride is not known."""
        stride = self.strides.get(tensor, {}).get(axis)
        held = tuple(n * stride for n in counts if n) if stride is not None else ()
        return (Apart(axis, held, margins),) if held else ()

    def output(self, one: str, two: str) -> Proof:
        tensor = self.reference.tensor(one)
        twin = self.twins.get(one)
        lost = self._lost(one, two)
        if twin is None or twin.candidate != two:
            # The output itself has no twin by name: compare what leads to it.
            twin = self._between(tensor, one, two)
        broken = (*twin.broken, *lost)
        return Proof(
            output=one,
            verdict="broken" if broken else twin.verdict(tensor),
            axes=tuple(tensor.grid),
            locks=tuple(twin.locks.get(axis, _SAME) for axis in tensor.grid),
            margins=twin.margins(tensor),
            causes=tuple(dict.fromkeys((*broken, *twin.mixed, *twin.moved, *twin.border))),
            lengths=tuple(tensor.grid.values()),
            changed=twin.changed,
        )

    def _lost(self, one: str, two: str) -> list[Cause]:
        """Layers with weights that only one network has, and outputs of another width."""
        found: list[Cause] = []
        here, there = ancestors(self.reference, [one]), ancestors(self.candidate, [two])
        twins = {twin.name for twin in self.pairs.values()}
        for network, held, names, side in (
            (self.reference, here, set(self.pairs), "candidate"),
            (self.candidate, there, twins, "reference"),
        ):
            found += [
                Cause(node.name, f"it has no counterpart in the {side}")
                for node in network.nodes
                if node.output.name in held
                and isinstance(node.op, Conv | ConvTranspose | Linear)
                and node.name not in names
            ]
        tensors = self.reference.tensor(one), self.candidate.tensor(two)
        dims = [axes_by_dim(tensor) for tensor in tensors]
        axes = [set(tensor.grid) for tensor in tensors]
        if dims[0] != dims[1] and axes[0] == axes[1] != set():
            found.append(Cause(one, "its dimensions lie in another order in the candidate"))
        sizes = [
            [n for n, dim in zip(t.shape, t.layout, strict=True) if not has_axes(dim)]
            for t in tensors
        ]
        if not found and sizes[0] != sizes[1]:
            shapes = ["x".join(map(str, t.shape)) for t in tensors]
            found.append(Cause(one, f"it is {shapes[0]} in one and {shapes[1]} in the other"))
        return found[:8]

    def _between(self, tensor: Tensor, one: str, two: str) -> Twin:
        more = self._resampled((one,), (two,))
        here = segments(self.reference, (one,), self.here)
        there = segments(self.candidate, (two,), self.there | more)
        stand = Node(tensor.name, Elementwise("output"), (), tensor, ())
        return self._compared(stand, stand, here[0], there[0], two, more)

    def _node(self, node: Node, twin: Node) -> Twin:
        more = self._resampled(node.inputs, twin.inputs)
        here = segments(self.reference, node.inputs, self.here, node)
        there = segments(self.candidate, twin.inputs, self.there | more, twin)
        steps_here = _merged(here)
        steps_there = _merged(there)
        return self._compared(node, twin, steps_here, steps_there, twin.output.name, more)

    def _resampled(self, here: Sequence[str], there: Sequence[str]) -> frozenset[str]:
        """The maps that only the candidate resamples on the way to these tensors."""
        if not self.resized:
            return frozenset()
        known = _resized(self.reference, here, self.here)
        found = _resized(self.candidate, there, self.there)
        return found if len(found) > len(known) else frozenset()

    def _aside(self, there: dict[str, Step], more: frozenset[str]) -> dict[str, str]:
        """Takes resampled maps out of `there`; the anchors behind them, with the join of each."""
        behind: dict[str, str] = {}
        for name in [name for name in there if name in more]:
            del there[name]
            user = next(n.name for n in self.candidate.nodes if name in n.inputs)
            for anchor in segments(self.candidate, (name,), self.there)[0]:
                behind.setdefault(anchor, self.names.get(user, user))
        return behind

    def _compared(
        self,
        node: Node,
        twin: Node,
        here: Mapping[str, Step],
        there: Mapping[str, Step],
        candidate: str,
        more: frozenset[str] = frozenset(),
    ) -> Twin:
        there = dict(there)
        behind = self._aside(there, more)
        anchors = [self.twins[name] for name in here if name in self.twins]
        known = _Known(node.output, self.apart)
        for anchor in anchors:
            known.inherit(anchor)
        partners = {twin.candidate for twin in anchors}
        read = {**there, **behind}
        missing = [name for name in read if name not in partners]
        left = [a.candidate for a in anchors if a.candidate not in read]
        if (missing or left) and not node.output.constant:
            self._unlike(node, known, left, missing)
        if node.opaque or twin.opaque:
            reason = node.opaque or twin.opaque
            unlike = any(not anchor.same for anchor in anchors)
            unlike |= node.output.shape != twin.output.shape
            known.mix(Cause(node.name, f"it is not understood: {reason}"), changed=unlike)
        wrong = difference_of_ops(node, twin)
        if not wrong and node.inputs and twin.inputs:
            x, y = self.reference.tensor(node.inputs[0]), self.candidate.tensor(twin.inputs[0])
            wrong = difference_off_axis(node, twin, x, y)
        if wrong:
            known.broken.append(Cause(node.name, wrong))
        for anchor in anchors:
            step = there.get(anchor.candidate)
            if anchor.candidate in behind:
                join = behind[anchor.candidate]
                known.mix(Cause(join, "it joins a map that is resampled to the size of another"))
                # Where outputs lie, the operand says that keeps its size.
                if step is not None:
                    for axis, lock in anchor.locks.items():
                        guess = _guess(here[anchor.reference], step, axis, lock)
                        known.rest.setdefault(axis, guess)
            elif step is not None:
                self._step(node, twin, anchor, here[anchor.reference], step, known)
        return known.twin(node.output.name, candidate)

    def _unlike(self, node: Node, known: _Known, left: list[str], missing: list[str]) -> None:
        if known.broken:
            return
        got = ", ".join(missing) or "nothing"
        want = ", ".join(left) or "nothing more"
        known.broken.append(
            Cause(node.name, f"the candidate reads {got} where the reference reads {want}")
        )

    def _step(
        self, node: Node, twin: Node, anchor: Twin, here: Step, there: Step, known: _Known
    ) -> None:
        grid = node.output.grid
        for axis, lock in anchor.locks.items():
            one, two = here.map(axis), there.map(axis)
            bad = anchor.bad.get(axis, 0)
            if axis not in grid:
                # The axis ends here: whoever reads all of it reads a map of another size.
                if (lock != _SAME or bad) and one is not None:
                    known.mix(Cause(node.name, f"it mixes all positions along {axis}"))
                continue
            if one is None and two is None:
                known.lock(node, axis, lock, bad)
                continue
            if not (here.local(axis) and there.local(axis)):
                # Read as a whole: where outputs lie, another operand says.
                known.rest.setdefault(axis, lock)
                if lock == _SAME and not bad and one == two:
                    continue
                all_here = here.rows(axis, grid[axis])
                all_there = there.rows(axis, twin.output.grid.get(axis, 0))
                if lock == _SAME and not bad and _same_everywhere(all_here, all_there):
                    continue
                if lock == _SAME and not bad and _sizes(all_here) == _sizes(all_there):
                    if not _same_reads(all_here, all_there):
                        why = f"it reads other positions along {axis} than the reference"
                        known.broken.append(Cause(node.name, why))
                        continue
                    # The same positions, in another way that only a run can tell from the first.
                    why = f"it reads the same positions along {axis} in another way"
                    known.mix(Cause(node.name, why), changed=False)
                    continue
                known.mix(Cause(node.name, f"it mixes all positions along {axis}"))
                continue
            out = follow(here.reads(axis), there.reads(axis), lock)
            partly = out is not None and out.step > 1 and out.factor > 1
            if out is None or (partly and not (lock.step > 1 and lock.factor > 1)):
                guess = _guess(here, there, axis, lock)
                if isinstance(node.op, Resize | AdaptivePool):
                    guess = _whole(guess, grid[axis], twin.output.grid.get(axis, 1))
                known.lock(node, axis, guess, 0)
                same = lock == _SAME and not bad and here.length(axis) == there.length(axis)
                same &= grid[axis] == twin.output.grid.get(axis)
                if isinstance(node.op, Resize | AdaptivePool) and not same:
                    known.mix(Cause(node.name, "it resamples a map of another size"))
                    continue
                if is_right(node, twin, axis, lock, here, there):
                    # Whoever moved what it reads is at fault first.
                    known.broken += known.moved
                why = rate_text(node, twin, axis, lock, here, there)
                places = f"position {place_text(lock)} " in why
                apart = self.apart(anchor.reference, axis, off(lock)) if places else ()
                known.broken.append(Cause(node.name, why, apart))
                continue
            first = not any(anchor.bad.values())
            length_here, length_there = here.rows(axis, grid[axis]), there.rows(axis, 0)
            worse = unequal(length_here, length_there, lock, out, bad)
            worse |= self._divided(node, twin, axis, out)
            if worse and first:
                why = edge_text(node, twin, axis, worse, grid[axis], lock)
                ends = margin_of(worse, grid[axis])
                apart = self.apart(node.output.name, axis, *ends, margins=True)
                known.border.append(Cause(node.name, why, apart))
            if (out.phase or out.start) and not (lock.phase or lock.start):
                why = moved_text(node, twin, axis, out, lock)
                apart = self.apart(node.output.name, axis, off(out))
                known.moved.append(Cause(node.name, why, apart))
            known.lock(node, axis, out, worse)

    def _divided(self, node: Node, twin: Node, axis: str, out: Lockstep) -> int:
        """The reference outputs of an average pool that are divided by another number of taps."""
        one, two = node.op, twin.op
        if not (isinstance(one, Pool) and isinstance(two, Pool) and one.how == "average"):
            return 0
        # The pool's own inputs: a step may begin at a map further up.
        length = self.reference.tensor(node.inputs[0]).grid[axis]
        longer = self.candidate.tensor(twin.inputs[0]).grid[axis]
        index = window_index(node, axis)
        found = 0
        for output in range(node.output.grid[axis]):
            place = out.candidate(output)
            if place is None or not 0 <= place < twin.output.grid.get(axis, 0):
                continue
            if divisor(one, index, length, output) != divisor(two, index, longer, place):
                found |= 1 << output
        return found


class _Known:
    """What is known of one tensor while its inputs are looked at."""

    def __init__(self, tensor: Tensor, apart: Callable[..., tuple[Apart, ...]]) -> None:
        self.tensor, self.apart = tensor, apart
        self.locks: dict[str, Lockstep] = {}
        self.rest: dict[str, Lockstep] = {}
        self.bad: dict[str, int] = {}
        self.mixed: list[Cause] = []
        self.broken: list[Cause] = []
        self.border: list[Cause] = []
        self.moved: list[Cause] = []
        self.changed = False

    def inherit(self, anchor: Twin) -> None:
        self.changed |= anchor.changed
        for mine, theirs in (
            (self.mixed, anchor.mixed),
            (self.broken, anchor.broken),
            (self.border, anchor.border),
            (self.moved, anchor.moved),
        ):
            mine += [cause for cause in theirs if cause not in mine]

    def mix(self, cause: Cause, *, changed: bool = True) -> None:
        self.changed |= changed
        if cause not in self.mixed:
            self.mixed.append(cause)

    def lock(self, node: Node, axis: str, lock: Lockstep, bad: int) -> None:
        known = self.locks.setdefault(axis, lock)
        if known != lock and not self.broken:
            self.broken.append(
                Cause(
                    node.name,
                    f"it joins maps that lie differently along {axis}: position i is "
                    f"{place_text(known)} in one and {place_text(lock)} in another",
                    self.apart(self.tensor.name, axis, abs(off(known) - off(lock))),
                )
            )
        self.bad[axis] = self.bad.get(axis, 0) | bad

    def twin(self, reference: str, candidate: str) -> Twin:
        return Twin(
            reference=reference,
            candidate=candidate,
            locks={**_rows(self.tensor), **self.rest, **self.locks},
            bad={axis: bad for axis, bad in self.bad.items() if bad},
            mixed=tuple(self.mixed),
            broken=tuple(dict.fromkeys(self.broken)),
            border=tuple(dict.fromkeys(self.border)),
            moved=tuple(dict.fromkeys(self.moved)),
            changed=self.changed,
        )


def _rows(tensor: Tensor) -> dict[str, Lockstep]:
    """Rows of parts laid end to end lie alike in both, unless a step says otherwise."""
    return {ROWS: _SAME} if ROWS in tensor.grid else {}


def _resized(network: Network, names: Sequence[str], held: Collection[str]) -> frozenset[str]:
    """What resizes make between held tensors and these."""
    found, left = set(), [name for name in names if name not in held]
    seen = set(left)
    while left:
        maker = network.maker(left.pop())
        if maker is None:
            continue
        if isinstance(maker.op, Resize):
            found.add(maker.output.name)
        more = {name for name in maker.inputs if name not in held and name not in seen}
        seen |= more
        left += more
    return frozenset(found)


def _merged(found: Sequence[Mapping[str, Step]]) -> dict[str, Step]:
    merged: dict[str, Step] = {}
    for steps in found:
        for name, step in steps.items():
            merged[name] = step if name not in merged else merged[name].union(step)
    return merged


def _sizes(moves: AxisMap) -> tuple[int, int]:
    return moves.inputs, moves.outputs


def _same_everywhere(one: AxisMap, two: AxisMap) -> bool:
    """Whether each output of both reads all there is, of equally much, whatever its place."""
    if one.inputs != two.inputs:
        return False
    rows = [m.at(o) for m in (one, two) for o in range(m.outputs)]
    return all(row == rows[0] for row in rows) and len(rows[0]) == one.inputs


def _same_reads(one: AxisMap, two: AxisMap) -> bool:
    """Whether two maps of the same sizes read the same positions, however often each."""
    return all(set(one.at(o)) == set(two.at(o)) for o in range(one.outputs))


def _guess(here: Step, there: Step, axis: str, lock: Lockstep) -> Lockstep:
    ratio = lock.ratio * here.reads(axis).stride / there.reads(axis).stride
    return Lockstep(ratio.numerator, 0, ratio.denominator, 0)


def _whole(guess: Lockstep, here: int, there: int) -> Lockstep:
    """Where a map of another size lies, by its size where strides give no whole number."""
    if guess.step == 1 or guess.factor == 1:
        return guess
    return Lockstep(-(-there // here)) if there >= here else Lockstep(1, 0, -(-here // there), 0)
