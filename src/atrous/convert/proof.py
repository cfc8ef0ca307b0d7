"""The structural half of a certificate: where every map of one network lies in another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from atrous.convert.match import matched
from atrous.convert.segments import Step, segments
from atrous.convert.verdicts import Cause, Verdict
from atrous.errors import GeometryError
from atrous.geometry import Dense, Lockstep, Window, follow, unequal
from atrous.network import Network, Node, Tensor
from atrous.network.ops import AdaptivePool, Conv, Elementwise, Pool, Resize

__all__ = ["Proof", "Twin", "prove"]

_SAME = Lockstep()


@dataclass(frozen=True, slots=True)
class Twin:
    """A tensor of the reference and its twin in the candidate.

    `locks` says by axis which positions hold the same; `bad` marks reference positions, by axis,
    that do not although they have a twin. `mixed` and `broken` name the causes that make the whole
    map differ.
    """

    reference: str
    candidate: str
    locks: Mapping[str, Lockstep] = field(hash=False)
    bad: Mapping[str, int] = field(hash=False)
    mixed: tuple[Cause, ...] = ()
    broken: tuple[Cause, ...] = ()
    border: tuple[Cause, ...] = ()
    moved: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the structure says of one output.

    `locks` and `margins` are by axis, in the order of the output's dimensions; margins are in
    positions of the reference, at the low and the high end.
    """

    output: str
    verdict: Verdict
    axes: tuple[str, ...]
    locks: tuple[Lockstep, ...]
    margins: tuple[tuple[int, int], ...]
    causes: tuple[Cause, ...]


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
        self.makers = tuple({n.output.name: n for n in net} for net in (reference, candidate))
        self.resized = any(
            isinstance(n.op, Resize) and n.name not in self.names for n in candidate.nodes
        )

    def run(self) -> None:
        for node in self.reference.nodes:
            twin = self.pairs.get(node.name)
            if twin is not None:
                self.twins[node.output.name] = self._node(node, twin)

    def output(self, one: str, two: str) -> Proof:
        tensor = self.reference.tensor(one)
        twin = self.twins.get(one)
        if twin is None or twin.candidate != two:
            # The output itself has no twin by name: compare what leads to it.
            twin = self._between(tensor, one, two)
        axes = tuple(tensor.grid)
        locks = tuple(twin.locks.get(axis, _SAME) for axis in axes)
        margins = tuple(_margin(twin.bad.get(axis, 0), tensor.grid[axis]) for axis in axes)
        verdict: Verdict = "exact"
        if twin.broken:
            verdict = "broken"
        elif twin.mixed:
            verdict = "approximate"
        elif any(lock.phase or lock.start for lock in locks):
            verdict = "shifted"
        elif any(lo + hi for lo, hi in margins):
            verdict = "interior"
        if verdict in ("shifted", "interior") and any(
            lo + hi >= tensor.grid[axis] for (lo, hi), axis in zip(margins, axes, strict=True)
        ):
            verdict = "broken"
        causes = (*twin.broken, *twin.mixed, *twin.moved, *twin.border)
        return Proof(one, verdict, axes, locks, margins, causes)

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
        known = _resized(self.makers[0], here, self.here)
        found = _resized(self.makers[1], there, self.there)
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
        known = _Known(node.output)
        for anchor in anchors:
            known.inherit(anchor)
        partners = {twin.candidate for twin in anchors}
        read = {**there, **behind}
        missing = [name for name in read if name not in partners]
        left = [a.candidate for a in anchors if a.candidate not in read]
        if (missing or left) and not node.output.constant:
            self._unlike(node, known, left, missing)
        if node.opaque or twin.opaque:
            known.mixed.append(Cause(node.name, f"it is not understood: {node.opaque}"))
        wrong = _other(node, twin)
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
                if lock != _SAME or bad or one != two:
                    known.mix(Cause(node.name, f"it mixes all positions along {axis}"))
                continue
            out = follow(here.reads(axis), there.reads(axis), lock)
            partly = out is not None and out.step > 1 and out.factor > 1
            if out is None or (partly and not (lock.step > 1 and lock.factor > 1)):
                guess = _guess(here, there, axis, lock)
                if isinstance(node.op, Resize | AdaptivePool):
                    guess = _whole(guess, grid[axis], twin.output.grid.get(axis, 1))
                known.lock(node, axis, guess, 0)
                if isinstance(node.op, Resize | AdaptivePool):
                    known.mix(Cause(node.name, "it resamples a map of another size"))
                else:
                    known.broken.append(
                        Cause(node.name, _rate(node, twin, axis, lock, here, there))
                    )
                continue
            first = not any(anchor.bad.values())
            length_here, length_there = here.rows(axis, grid[axis]), there.rows(axis, 0)
            worse = unequal(length_here, length_there, lock, out, bad)
            worse |= self._divided(node, twin, axis, out)
            if worse and first:
                known.border.append(
                    Cause(node.name, _edge(node, twin, axis, worse, grid[axis], lock))
                )
            if (out.phase or out.start) and not (lock.phase or lock.start):
                known.moved.append(Cause(node.name, _moved(node, twin, axis, out, lock)))
            known.lock(node, axis, out, worse)

    def _divided(self, node: Node, twin: Node, axis: str, out: Lockstep) -> int:
        """The reference outputs of an average pool that are divided by another number of taps."""
        one, two = node.op, twin.op
        if not (isinstance(one, Pool) and isinstance(two, Pool) and one.how == "average"):
            return 0
        # The pool's own inputs: a step may begin at a map further up.
        length = self.reference.tensor(node.inputs[0]).grid[axis]
        longer = self.candidate.tensor(twin.inputs[0]).grid[axis]
        index = _index(node, axis)
        found = 0
        for output in range(node.output.grid[axis]):
            place = out.candidate(output)
            if place is None or not 0 <= place < twin.output.grid.get(axis, 0):
                continue
            if _divisor(one, index, length, output) != _divisor(two, index, longer, place):
                found |= 1 << output
        return found


class _Known:
    """What is known of one tensor while its inputs are looked at."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.locks: dict[str, Lockstep] = {}
        self.rest: dict[str, Lockstep] = {}
        self.bad: dict[str, int] = {}
        self.mixed: list[Cause] = []
        self.broken: list[Cause] = []
        self.border: list[Cause] = []
        self.moved: list[Cause] = []

    def inherit(self, anchor: Twin) -> None:
        for mine, theirs in (
            (self.mixed, anchor.mixed),
            (self.broken, anchor.broken),
            (self.border, anchor.border),
            (self.moved, anchor.moved),
        ):
            mine += [cause for cause in theirs if cause not in mine]

    def mix(self, cause: Cause) -> None:
        if cause not in self.mixed:
            self.mixed.append(cause)

    def lock(self, node: Node, axis: str, lock: Lockstep, bad: int) -> None:
        known = self.locks.setdefault(axis, lock)
        if known != lock and not self.broken:
            self.broken.append(
                Cause(
                    node.name,
                    f"it joins maps that lie differently along {axis}: position i is "
                    f"{_place(known)} in one and {_place(lock)} in another",
                )
            )
        self.bad[axis] = self.bad.get(axis, 0) | bad

    def twin(self, reference: str, candidate: str) -> Twin:
        return Twin(
            reference,
            candidate,
            {**self.rest, **self.locks},
            {axis: bad for axis, bad in self.bad.items() if bad},
            tuple(self.mixed),
            tuple(dict.fromkeys(self.broken)),
            tuple(dict.fromkeys(self.border)),
            tuple(dict.fromkeys(self.moved)),
        )


def _resized(
    makers: Mapping[str, Node], names: Sequence[str], held: Collection[str]
) -> frozenset[str]:
    """What resizes make between held tensors and these."""
    found, left = set(), [name for name in names if name not in held]
    seen = set(left)
    while left:
        maker = makers.get(left.pop())
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


def _margin(bad: int, length: int) -> tuple[int, int]:
    """The runs of bad positions at the ends; all of them where some lie in the middle."""
    if not bad:
        return 0, 0
    lo = ((~bad & (bad + 1)).bit_length() - 1) if bad & 1 else 0
    rest = bad >> lo
    if not rest:
        return lo, 0
    first = (rest & -rest).bit_length() - 1 + lo
    tail = length - first
    if bad >> first == (1 << tail) - 1:
        return lo, tail
    # Scattered: the smaller side that takes them all in.
    last = bad.bit_length()
    return (last, 0) if last <= tail else (lo, tail)


def _guess(here: Step, there: Step, axis: str, lock: Lockstep) -> Lockstep:
    ratio = lock.ratio * here.reads(axis).stride / there.reads(axis).stride
    return Lockstep(ratio.numerator, 0, ratio.denominator, 0)


def _whole(guess: Lockstep, here: int, there: int) -> Lockstep:
    """Where a map of another size lies, by its size where strides give no whole number."""
    if guess.step == 1 or guess.factor == 1:
        return guess
    return Lockstep(-(-there // here)) if there >= here else Lockstep(1, 0, -(-here // there), 0)


def _other(node: Node, twin: Node) -> str:
    """In which way two ops are not the same function, windows aside."""
    one, two = node.op, twin.op
    if isinstance(one, Conv) and isinstance(two, Conv):
        if one.groups != two.groups or one.channels != two.channels:
            return "it has other groups or channels in the candidate"
    elif isinstance(one, Pool) and isinstance(two, Pool):
        if one.how != two.how:
            return f"it pools by {two.how} in the candidate, and by {one.how} in the reference"
    elif isinstance(one, Elementwise) and isinstance(two, Elementwise) and one.label != two.label:
        return f"it is {two.label} in the candidate, and {one.label} in the reference"
    return ""


def _index(node: Node, axis: str) -> int:
    """Which window of an op slides along an axis."""
    count = len(node.op.windows) if isinstance(node.op, Conv | Pool) else 0
    for index, dim in enumerate(node.output.layout[len(node.output.layout) - count :]):
        if any(atom.axis == axis for atom in dim):
            return index
    return 0


def _rate(node: Node, twin: Node, axis: str, lock: Lockstep, here: Step, there: Step) -> str:
    """What rate, stride and padding the candidate has, and what it should have."""
    one, two = node.op, twin.op
    if not (isinstance(one, Conv | Pool) and isinstance(two, Conv | Pool)):
        return f"it reads other positions along {axis} than the reference"
    was = _with_pads(one.windows[_index(node, axis)], here, axis, node.output)
    now = _with_pads(two.windows[_index(twin, axis)], there, axis, twin.output)
    if lock.step > 1 or lock.factor < 1:
        want = Fraction(was.dilation * lock.factor, lock.step)
        return (
            f"rate {now.dilation}, {_pads(now)}; only every {lock.step}th position is left, so it "
            f"should have rate {want}"
        )
    try:
        right = Dense(was, lock.factor, now.stride).at(_length(here, axis, lock))
    except GeometryError:
        return f"stride {now.stride} cannot come of stride {was.stride} behind {lock.factor}"
    if now.dilation == right.dilation and now.kernel == right.kernel:
        return f"{_pads(now)} does not keep positions in step; it should be {_pads(right)}"
    return f"rate {now.dilation}, {_pads(now)}; {_because(was, now, lock, right)}"


def _with_pads(window: Window, step: Step, axis: str, output: Tensor) -> Window:
    """The window with the padding that lies before it counted in."""
    reads = step.reads(axis)
    if reads.period > 1 or reads.stride != window.stride or axis not in output.grid:
        return window
    lo = -reads.phases[0].first
    hi = (output.grid[axis] - 1) * window.stride + window.extent - step.length(axis) - lo
    plain = hi == window.pad_hi or lo == window.pad_lo
    return window if plain else replace(window, pad_lo=lo, pad_hi=hi)


def _because(was: Window, now: Window, lock: Lockstep, right: Window) -> str:
    verb = "have"
    if was.stride > now.stride and lock.factor == 1:
        why, verb = "the stride is removed here", "keep"
    elif was.stride > now.stride:
        why = f"the stride is removed here, behind a factor of {lock.factor}"
    elif lock.factor == 1:
        why, verb = "no stride was removed before it", "keep"
    else:
        why = f"a stride of {lock.factor} was removed before it"
    return f"{why}, so it should {verb} rate {right.dilation}, {_pads(right)}"


def _divisor(op: Pool, index: int, length: int, output: int) -> int:
    window = op.windows[index]
    low, high = 0, length
    if op.count_include_pad:
        lo, hi = op.counted[index] if op.counted else (window.pad_lo, window.pad_hi)
        low, high = -lo, length + hi
    return sum(low <= tap < high for tap in window.taps(output))


def _length(here: Step, axis: str, lock: Lockstep) -> int:
    return here.length(axis) * lock.factor


def _pads(window: Window) -> str:
    if window.pad_lo == window.pad_hi:
        return f"padding {window.pad_lo}"
    return f"padding ({window.pad_lo}, {window.pad_hi})"


def _place(lock: Lockstep) -> str:
    times = "i" if lock.factor == 1 else f"{lock.factor}i"
    return times if not lock.phase else f"{times}{lock.phase:+d}"


def _moved(node: Node, twin: Node, axis: str, out: Lockstep, lock: Lockstep) -> str:
    text = f"from here on position i of the reference is position {_place(out)} along {axis}"
    one, two = node.op, twin.op
    if isinstance(one, Conv | Pool) and isinstance(two, Conv | Pool) and lock.step == 1:
        was, now = one.windows[_index(node, axis)], two.windows[_index(twin, axis)]
        pads = lock.factor * was.pad_lo
        return f"{_pads(now)}; {text}; {pads} on the low side would keep them in place"
    return text


def _edge(node: Node, twin: Node, axis: str, bad: int, length: int, lock: Lockstep) -> str:
    lo, hi = _margin(bad, length)
    where = " and ".join(
        text for text in (f"the first {lo}" if lo else "", f"the last {hi}" if hi else "") if text
    )
    one, two = node.op, twin.op
    text = f"{where} of {length} positions along {axis} differ: the border lies elsewhere"
    if isinstance(one, Conv | Pool) and isinstance(two, Conv | Pool) and lock.step == 1:
        was, now = one.windows[_index(node, axis)], two.windows[_index(twin, axis)]
        if lock.factor * was.pad_lo != now.pad_lo or lock.factor * was.pad_hi != now.pad_hi:
            return f"{_pads(now)} of {lock.factor} times {_pads(was)}: {text}"
    return text
