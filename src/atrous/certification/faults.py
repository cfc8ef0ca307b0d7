"""What is wrong with a layer of a candidate, and what it should be, in words."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from atrous.certification.segments import Step
from atrous.errors import GeometryError
from atrous.geometry import Dense, Local, Lockstep, Window
from atrous.network import Node, Tensor
from atrous.network.layout import has_axes
from atrous.network.ops import AdaptivePool, Conv, Elementwise, Pad, Pool, Reduce, Resize
from atrous.shown import how_many

__all__ = [
    "difference_of_ops",
    "difference_off_axis",
    "divisor",
    "edge_text",
    "is_right",
    "margin_of",
    "moved_text",
    "off",
    "place_text",
    "rate_text",
    "window_index",
]


def margin_of(bad: int, length: int) -> tuple[int, int]:
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


def difference_of_ops(node: Node, twin: Node) -> str:
    """In which way two ops are not the same function, windows aside."""
    one, two = node.op, twin.op
    if isinstance(one, Conv) and isinstance(two, Conv):
        if one.groups != two.groups or one.channels != two.channels:
            return "it has other groups or channels in the candidate"
    elif isinstance(one, Pool) and isinstance(two, Pool):
        if one.how != two.how:
            return f"it pools by {two.how} in the candidate, and by {one.how} in the reference"
    elif isinstance(one, AdaptivePool) and isinstance(two, AdaptivePool):
        if one.how != two.how and _works(node, twin):
            return f"it pools by {two.how} in the candidate, and by {one.how} in the reference"
    elif isinstance(one, Resize) and isinstance(two, Resize):
        if _rule(one, node, twin) != _rule(two, node, twin) and _works(node, twin):
            return (
                f"it resamples by {_rule_text(two)} in the candidate, and by {_rule_text(one)} in "
                "the reference"
            )
    elif isinstance(one, Reduce) and isinstance(two, Reduce):
        if _ALIASES.get(one.label, one.label) != _ALIASES.get(two.label, two.label):
            return f"it is {two.label} in the candidate, and {one.label} in the reference"
    elif isinstance(one, Elementwise) and isinstance(two, Elementwise) and one.label != two.label:
        return f"it is {two.label} in the candidate, and {one.label} in the reference"
    return ""


_ALIASES = {"amax": "max", "amin": "min"}


def _works(node: Node, twin: Node) -> bool:
    """Whether one of two resamplings makes new values, and no copy of a map or of one value."""
    moves = [m for one in (node, twin) for held in one.moves[:1] for m in held.values()]
    return any(m.inputs > 1 and not (isinstance(m, Local) and m.reads.is_identity) for m in moves)


def _rule(op: Resize, node: Node, twin: Node) -> tuple[object, ...]:
    """What makes the weights of a resampling; what nearest takes shows in what it reads."""
    if op.how == "nearest":
        return ("nearest",)
    moves = [m for one in (node, twin) for m in one.moves[0].values()]
    shrinks = any(m.outputs < m.inputs for m in moves)
    return op.how, op.coordinates, op.antialias and shrinks


def _rule_text(op: Resize) -> str:
    if op.how == "nearest":
        return "nearest"
    return f"{op.how} with {op.coordinates}{' and antialias' if op.antialias else ''}"


def difference_off_axis(node: Node, twin: Node, x: Tensor, y: Tensor) -> str:
    """In which way windows differ along dimensions that hold no positions, such as pooled ones."""
    one, two = node.op, twin.op
    if not (isinstance(one, Conv | Pool) and isinstance(two, Conv | Pool)):
        return ""
    count = len(one.windows)
    if count != len(two.windows) or count > len(x.layout) or len(x.layout) != len(y.layout):
        return ""
    for index, (was, now) in enumerate(zip(one.windows, two.windows, strict=True)):
        dim = len(x.layout) - count + index
        if was == now or has_axes(x.layout[dim]) or has_axes(y.layout[dim]):
            continue
        if _read(was, x.shape[dim], node.output.shape[dim]) != _read(
            now, y.shape[dim], twin.output.shape[dim]
        ):
            return f"its window along a dimension of {x.shape[dim]} is {now} and was {was}"
    return ""


def _read(window: Window, length: int, outputs: int) -> list[dict[int, int]]:
    """Which tap of a window meets which position, for every output."""
    return [
        {tap: p for tap, p in enumerate(window.taps(output)) if 0 <= p < length}
        for output in range(outputs)
    ]


def window_index(node: Node, axis: str) -> int:
    """Which window of an op slides along an axis."""
    count = len(node.op.windows) if isinstance(node.op, Conv | Pool) else 0
    for index, dim in enumerate(node.output.layout[len(node.output.layout) - count :]):
        if any(atom.axis == axis for atom in dim):
            return index
    return 0


def rate_text(node: Node, twin: Node, axis: str, lock: Lockstep, here: Step, there: Step) -> str:
    """What rate, stride and padding the candidate has, and what it should have."""
    found = _both(node, twin, axis, here, there)
    if found is None:
        return f"it reads other positions along {axis} than the reference"
    was, now = found
    if lock.step > 1 or lock.factor < 1:
        want = Fraction(was.dilation * lock.factor, lock.step)
        return (
            f"rate {now.dilation}, {_pads(now)}; one position in {lock.step} is left, so it should "
            f"have rate {want}"
        )
    try:
        right = Dense(was, lock.factor, now.stride).at(_length_there(here, axis, lock))
    except GeometryError:
        return f"stride {now.stride} cannot come of stride {was.stride} behind {lock.factor}"
    if _alike(now, right):
        return (
            f"stride {now.stride} keeps other positions: position i of what the reference reads is "
            f"position {place_text(lock)} here along {axis}"
        )
    if now.dilation == right.dilation and now.kernel == right.kernel:
        return f"{_pads(now)} does not keep positions in step; it should be {_pads(right)}"
    return f"rate {now.dilation}, {_pads(now)}; {_because(was, now, lock, right)}"


def is_right(node: Node, twin: Node, axis: str, lock: Lockstep, here: Step, there: Step) -> bool:
    """Whether the candidate's window is the one it should have: its input is at fault, if any."""
    found = _both(node, twin, axis, here, there)
    if found is None or lock.step > 1 or lock.factor < 1:
        return False
    was, now = found
    try:
        return _alike(now, Dense(was, lock.factor, now.stride).at(_length_there(here, axis, lock)))
    except GeometryError:
        return False


def _both(node: Node, twin: Node, axis: str, here: Step, there: Step) -> list[Window] | None:
    """The windows of a layer and its twin along an axis; None for ops that have none."""
    one, two = node.op, twin.op
    if not (isinstance(one, Conv | Pool) and isinstance(two, Conv | Pool)):
        return None
    return [
        _with_pads(one.windows[window_index(node, axis)], here, axis, node.output),
        _with_pads(two.windows[window_index(twin, axis)], there, axis, twin.output),
    ]


def _alike(one: Window, two: Window) -> bool:
    return (one.kernel, one.dilation, _pads(one)) == (two.kernel, two.dilation, _pads(two))


def _with_pads(window: Window, step: Step, axis: str, output: Tensor) -> Window:
    """The window with the padding that lies before it counted in."""
    reads = step.reads(axis)
    if reads.period > 1 or reads.stride != window.stride or axis not in output.grid:
        return window
    lo = -reads.phases[0].first
    hi = (output.grid[axis] - 1) * window.stride + window.extent - step.length(axis) - lo
    # What the last stride leaves over of the padding shows in no length.
    plain = lo == window.pad_lo and hi <= window.pad_hi < hi + window.stride
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


def divisor(op: Pool, index: int, length: int, output: int) -> int:
    """How many taps the mean of one output is divided by."""
    window = op.windows[index]
    low, high = 0, length
    if op.count_include_pad:
        lo, hi = op.counted[index] if op.counted else window.padding
        low, high = -lo, length + hi
    return sum(low <= tap < high for tap in window.taps(output))


def _length_there(here: Step, axis: str, lock: Lockstep) -> int:
    return here.length(axis) * lock.factor


def _pads(window: Window) -> str:
    if window.pad_lo == window.pad_hi:
        return f"padding {window.pad_lo}"
    return f"padding ({window.pad_lo}, {window.pad_hi})"


def place_text(lock: Lockstep) -> str:
    """Where position `i` of the reference lies in the candidate, as text."""
    times = "i" if lock.factor == 1 else f"{lock.factor}i"
    return times if not lock.phase else f"{times}{lock.phase:+d}"


def off(lock: Lockstep) -> Fraction:
    """How many positions of the reference the candidate holds what it holds too early or late.

    >>> off(Lockstep(factor=2, phase=1)), off(Lockstep(phase=-1, step=2, start=1))
    (Fraction(1, 2), Fraction(3, 1))
    """
    return abs(Fraction(lock.phase * lock.step, lock.factor) - lock.start)


def moved_text(node: Node, twin: Node, axis: str, out: Lockstep, lock: Lockstep) -> str:
    """From which layer on positions are moved, and what would keep them in place."""
    text = f"from here on position i of the reference is position {place_text(out)} along {axis}"
    one, two = node.op, twin.op
    if isinstance(one, Pad) and isinstance(two, Pad):
        before, after = _padded(node, axis), _padded(twin, axis)
        if before is not None and after is not None and before != after:
            return f"it pads by {after}, and by {before} in the reference: {text}"
    if isinstance(one, Conv | Pool) and isinstance(two, Conv | Pool) and lock.step == 1:
        was, now = one.windows[window_index(node, axis)], two.windows[window_index(twin, axis)]
        pads = lock.factor * was.pad_lo
        return f"{_pads(now)}; {text}; {pads} on the low side would keep them in place"
    return text


def _padded(node: Node, axis: str) -> tuple[int, int] | None:
    """By how much a padding pads along an axis."""
    pads = node.op.pads if isinstance(node.op, Pad) else ()
    dims = node.output.layout[len(node.output.layout) - len(pads) :]
    for pair, dim in zip(pads, dims, strict=True):
        if any(atom.axis == axis for atom in dim):
            return pair
    return None


def edge_text(node: Node, twin: Node, axis: str, bad: int, length: int, lock: Lockstep) -> str:
    """Which positions at the border differ, and what the padding is."""
    lo, hi = margin_of(bad, length)
    ends = [
        f"the {end} {n if n > 1 else ''}".strip() for end, n in (("first", lo), ("last", hi)) if n
    ]
    one, two = node.op, twin.op
    text = (
        f"{' and '.join(ends)} of {how_many(length, 'position')} along {axis} "
        f"{'differs' if lo + hi == 1 else 'differ'}: the border lies elsewhere"
    )
    if isinstance(one, Conv | Pool) and isinstance(two, Conv | Pool) and lock.step == 1:
        was, now = one.windows[window_index(node, axis)], two.windows[window_index(twin, axis)]
        if lock.factor * was.pad_lo != now.pad_lo or lock.factor * was.pad_hi != now.pad_hi:
            times = f"{lock.factor} times " if lock.factor > 1 else ""
            return f"{_pads(now)}, not {times}{_pads(was)}: {text}"
    return text
