"""Dense windows, their way back, and lockstep: against signals run through plain loops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from atrous.errors import GeometryError
from atrous.geometry import (
    AxisMap,
    Border,
    Dense,
    Local,
    Lockstep,
    Reads,
    Tail,
    Taps,
    Window,
    follow,
    sparse_window,
    unequal,
)
from atrous.geometry.resample import Coordinates, Interpolation, resample
from tests.oracles import counted, drawing, window_taps
from tests.property.drawn import Counts, multisets

SAMES = [None, None, "same_upper", "same_lower"]
REACH = 24


def made(window: Window, length: int, *, partial: bool = False) -> int:
    """How many outputs a window makes, counted one by one (PyTorch's rule for partial ones)."""
    room = length + window.pad_lo + window.pad_hi - window.extent
    count = 0
    while count * window.stride < room + (window.stride if partial else 1):
        count += 1
    if partial and count and (count - 1) * window.stride >= length + window.pad_lo:
        count -= 1
    return count


def run(
    window: Window, taps: list[float], signal: list[float], outputs: int, *, largest: bool
) -> list[float]:
    """A convolution, or a max pool, by the sentence that defines it."""
    found = []
    for output in range(outputs):
        places = window_taps(window.kernel, window.stride, window.dilation, window.pad_lo, output)
        read = [
            (tap, signal[place])
            for tap, place in zip(taps, places, strict=True)
            if 0 <= place < len(signal)
        ]
        if largest:
            found.append(max((value for _, value in read), default=float("-inf")))
        else:
            found.append(sum(tap * value for tap, value in read))
    return found


def same_pads(dialect: str, window: Window, length: int) -> tuple[int, int]:
    """The padding with which `ceil(length / stride)` windows fit, the odd one above or below."""
    total = 0
    while made(replace(window, pad_lo=0, pad_hi=total), length) < ceil(length / window.stride):
        total += 1
    small, large = total // 2, total - total // 2
    return (small, large) if dialect == "same_upper" else (large, small)


def spread(signal: list[float], factor: int, length: int, seed: int) -> list[float]:
    """A dense map: the signal at every `factor`-th position, and noise at all others."""
    dense = np.random.default_rng(seed).normal(size=length)
    dense[::factor] = signal
    return dense.tolist()


def assert_close(found: list[float], expected: list[float]) -> None:
    """The same numbers, in order, up to the rounding of the last digit."""
    assert len(found) == len(expected)
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-12)


@dataclass(frozen=True)
class Case:
    """A dense window and the length of its map."""

    dense: Dense
    length: int

    @property
    def short(self) -> int:
        """The original's length."""
        return ceil(self.length / self.dense.factor)

    @property
    def original(self) -> Window:
        """The original's window, its padding worked out where the original does so."""
        window = self.dense.window
        if self.dense.same is None:
            return window
        lo, hi = same_pads(self.dense.same, window, self.short)
        return replace(window, pad_lo=lo, pad_hi=hi)

    @property
    def kept(self) -> int:
        """How many outputs the original makes."""
        return made(self.original, self.short, partial=self.dense.ceil)


@st.composite
def cases(draw: st.DrawFn, tail: Tail | None = None) -> Case:
    """Dense windows with every choice open, of which the original makes at least one output."""
    window = Window(
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 4)),
    )
    factor = draw(st.integers(1, 6))
    whole = factor * window.stride
    length = draw(st.integers(1, 40))
    same = draw(st.sampled_from(SAMES))
    # What counts partial windows is a pool, and no pool takes a padding of its whole extent.
    pools = same is None and max(window.pad_lo, window.pad_hi) < window.extent
    dense = Dense(
        replace(window, pad_lo=0, pad_hi=0) if same else window,
        factor,
        draw(st.sampled_from([d for d in range(1, whole + 1) if whole % d == 0])),
        ceil=pools and draw(st.booleans()),
        same=same,  # type: ignore[arg-type]
        tail=tail or draw(st.sampled_from(["crop", "keep"])),
        padded=draw(st.sampled_from([0, 0, *range(min(7, length + 1))])),
    )
    case = Case(dense, length)
    assume(case.kept > 0)
    return case


@drawing(800)
@given(cases(), st.integers(0, 1 << 32), st.booleans())
def test_every_so_manieth_output_of_a_dense_window_is_one_of_the_original(
    case: Case, seed: int, largest: bool
) -> None:
    dense, length = case.dense, case.length
    rng = np.random.default_rng(seed)
    taps = rng.normal(size=dense.window.kernel).tolist()
    signal = rng.normal(size=case.short).tolist()
    expected = run(case.original, taps, signal, case.kept, largest=largest)
    window = dense.at(length)
    outputs = made(window, length)
    wide = spread(signal, dense.factor, length, seed + 1)
    found = run(window, taps, wide, outputs, largest=largest)
    event(f"tail {dense.tail}, ceil {dense.ceil}, same {dense.same}")
    assert_close(found[:: dense.outward][: case.kept], expected)
    assert (window.kernel, window.stride) == (dense.window.kernel, dense.stride)
    assert outputs == dense.outputs(length)


@drawing(600)
@given(cases("crop"))
def test_a_cropped_map_ends_between_the_last_original_output_and_the_next(case: Case) -> None:
    outputs = made(case.dense.at(case.length), case.length)
    outward, kept = case.dense.outward, case.kept
    assert outward * (kept - 1) + 1 <= outputs <= outward * kept
    assert case.dense.kept(case.length) == kept


@drawing(400)
@given(cases("keep"))
def test_a_kept_map_is_no_shorter_than_its_stride_makes_it(case: Case) -> None:
    dense = case.dense
    outputs = made(dense.at(case.length), case.length)
    assert outputs >= ceil((case.length - dense.padded) / dense.stride)
    assert outputs >= made(replace(dense, tail="crop").at(case.length), case.length)


@drawing(150)
@given(cases())
def test_a_fixed_dense_window_is_the_one_at_every_length(case: Case) -> None:
    fixed = case.dense.fixed
    event(f"fixed: {fixed is not None}")
    assume(fixed is not None)
    for length in range(max(case.dense.padded, 1), 60):
        other = Case(case.dense, length)
        if other.kept > 0:
            assert case.dense.at(length) == fixed


@drawing(100)
@given(cases())
def test_a_dense_window_refuses_the_lengths_that_its_original_refuses(case: Case) -> None:
    for length in range(1, 20):
        other = Case(case.dense, length)
        if other.kept > 0:
            assert case.dense.kept(length) == other.kept
        else:
            with pytest.raises(GeometryError, match="spans"):
                case.dense.at(length)


@pytest.mark.parametrize(
    ("factor", "stride", "why"),
    [
        (0, 1, "factor is 0"),
        (1, 0, "stride is 0"),
        (True, 1, "factor is True"),
        (3, 4, "a stride of 2 behind a factor of 3 cannot be lowered to 4; use a divisor of 6"),
    ],
)
def test_a_dense_window_without_a_whole_factor_is_refused(
    factor: int, stride: int, why: str
) -> None:
    with pytest.raises(GeometryError, match=why):
        Dense(Window(3, 2), factor, stride)


@drawing(600)
@given(
    st.builds(
        Window,
        st.integers(1, 5),
        st.integers(1, 4),
        st.integers(1, 6),
        st.integers(0, 8),
        st.integers(0, 8),
    ),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(0, 1 << 32),
)
def test_a_sparse_window_makes_every_so_manieth_output_from_every_so_manieth_input(
    window: Window, factor: int, outward: int, length: int, seed: int
) -> None:
    outputs = made(window, length)
    assume(outputs > 0)
    sparse = sparse_window(window, factor, outward, length)
    divides = not window.pad_lo % factor and not window.stride * outward % factor
    divides &= window.kernel == 1 or not window.dilation % factor
    event(f"divides: {divides}")
    assert (sparse is not None) == divides
    if sparse is None:
        return
    rng = np.random.default_rng(seed)
    taps, signal = rng.normal(size=window.kernel).tolist(), rng.normal(size=length).tolist()
    expected = run(window, taps, signal, outputs, largest=False)[::outward]
    left = signal[::factor]
    found = run(sparse, taps, left, made(sparse, len(left)), largest=False)
    assert_close(found, expected)


@drawing(400)
@given(cases())
def test_a_dense_window_leads_back_to_its_original(case: Case) -> None:
    dense, length = case.dense, case.length
    window = dense.at(length)
    outputs = made(window, length)
    back = sparse_window(window, dense.factor, dense.outward, length)
    assert back is not None
    original = case.original
    assert (back.kernel, back.stride, back.pad_lo) == (
        original.kernel,
        original.stride,
        original.pad_lo,
    )
    if original.kernel > 1:
        assert back.dilation == original.dilation
    assert made(back, case.short) == ceil(outputs / dense.outward)


# Lockstep: where outputs read the same.


@dataclass(frozen=True)
class Ruled:
    """Periodic reads, and their enumeration by a formula that shares no code with them."""

    reads: Reads
    period: int
    shift: int
    phases: tuple[Counts, ...]

    def at(self, output: int) -> Counts:
        """What an output reads."""
        turns, phase = divmod(output, self.period)
        return {p + turns * self.shift: m for p, m in self.phases[phase].items()}


def windowed(window: Window) -> Ruled:
    """The reads of a convolution."""
    first = counted(window_taps(window.kernel, window.stride, window.dilation, window.pad_lo, 0))
    return Ruled(Reads.window(window), 1, window.stride, (first,))


def transposed(window: Window) -> Ruled:
    """The reads of a transposed convolution: those inputs whose taps hit the output."""
    phases = []
    for output in range(window.stride):
        around = range(-40, 40)
        hit = [
            i
            for i in around
            if output
            in window_taps(window.kernel, window.stride, window.dilation, window.pad_lo, i)
        ]
        phases.append(counted(hit))
    return Ruled(Reads.transposed(window), window.stride, 1, tuple(phases))


@st.composite
def small_windows(draw: st.DrawFn) -> Window:
    """Windows as they occur in networks."""
    return Window(
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 4)),
    )


@st.composite
def ruled(draw: st.DrawFn) -> Ruled:
    """Windows, transposed windows, resampling, and rules of drawn phases."""
    kind = draw(st.sampled_from(["window", "window", "transposed", "resample", "drawn"]))
    if kind == "window":
        return windowed(draw(small_windows()))
    if kind == "transposed":
        return transposed(draw(small_windows()))
    if kind == "resample":
        how: Interpolation = draw(st.sampled_from(["nearest", "linear"]))
        where: Coordinates = draw(st.sampled_from(["half_pixel", "asymmetric"]))
        reads = resample(draw(st.integers(1, 4)), draw(st.integers(1, 4)), how, where)
        phases = tuple(dict(taps.items()) for taps in reads.phases)
        return Ruled(reads, reads.period, reads.shift, phases)
    period, shift = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    phases = tuple(draw(multisets(1)) for _ in range(period))
    return Ruled(Reads(period, shift, tuple(map(Taps.of, phases))), period, shift, phases)


@st.composite
def locks(draw: st.DrawFn) -> Lockstep:
    """Locks of either direction, with phases and starts."""
    if draw(st.booleans()):
        return Lockstep(draw(st.integers(1, 4)), draw(st.integers(-2, 4)))
    return Lockstep(
        draw(st.integers(1, 3)),
        draw(st.integers(-2, 3)),
        draw(st.integers(1, 4)),
        draw(st.integers(-2, 3)),
    )


def held(lock: Lockstep, reach: int = 400) -> dict[int, int]:
    """Where the candidate holds each position of the reference, listed."""
    return {lock.start + lock.step * i: lock.phase + lock.factor * i for i in range(-reach, reach)}


def carried(read: Counts, places: dict[int, int]) -> Counts | None:
    """What is read, where the candidate holds it; None where it does not hold all of it."""
    if any(p not in places for p in read):
        return None
    return {places[p]: m for p, m in read.items()}


@drawing(150)
@given(locks(), st.integers(-30, 30))
def test_a_lock_says_where_the_candidate_holds_a_position(lock: Lockstep, position: int) -> None:
    assert lock.candidate(position) == held(lock).get(position)


@drawing(500)
@given(ruled(), ruled(), locks())
def test_outputs_that_follow_read_what_holds_the_same(
    one: Ruled, two: Ruled, lock: Lockstep
) -> None:
    found = follow(one.reads, two.reads, lock)
    event(f"follows: {found is not None}")
    if found is None:
        return
    places = held(lock)
    for i in range(-REACH, REACH):
        read = one.at(found.start + found.step * i)
        assert carried(read, places) == two.at(found.phase + found.factor * i)


@drawing(400)
@given(ruled(), st.integers(1, 4), st.integers(-3, 3))
def test_a_rule_that_carries_its_factor_is_followed_at_every_output(
    one: Ruled, factor: int, phase: int
) -> None:
    # The candidate makes nothing but the reference's outputs, read where they now lie.
    there = tuple({factor * p + phase: m for p, m in read.items()} for read in one.phases)
    assume(all(there))
    moved = Reads(one.period, factor * one.shift, tuple(map(Taps.of, there)))
    found = follow(one.reads, moved, Lockstep(factor, phase))
    if len({tuple(sorted(one.at(o).items())) for o in range(-REACH, REACH)}) == 2 * REACH:
        assert found == Lockstep()
    else:  # Outputs that read the same are twins of either.
        assert found is None or (found.phase, found.factor) == (found.start, found.step)


@drawing(500)
@given(small_windows(), st.integers(1, 4), st.integers(0, 3), st.data())
def test_dense_windows_are_followed_at_their_outward_factor(
    window: Window, factor: int, extra: int, data: st.DataObject
) -> None:
    whole = factor * window.stride
    stride = data.draw(st.sampled_from([d for d in range(1, whole + 1) if whole % d == 0]))
    dense = Dense(window, factor, stride)
    length = 4 * factor * window.extent + extra
    found = follow(Reads.window(window), Reads.window(dense.at(length)), Lockstep(factor))
    assert found == Lockstep(dense.outward)


@drawing(400)
@given(small_windows(), st.integers(1, 3), st.integers(1, 4))
def test_sparse_windows_are_followed_at_every_so_manieth_output(
    window: Window, factor: int, outward: int
) -> None:
    wide = Window(window.kernel, window.stride, factor * window.dilation, factor * window.pad_lo)
    sparse = sparse_window(wide, factor, outward, 60)
    assume(sparse is not None)
    found = follow(Reads.window(wide), Reads.window(sparse), Lockstep(step=factor))  # type: ignore[arg-type]
    assert found == Lockstep(step=outward)


@drawing(150)
@given(small_windows(), small_windows(), locks())
def test_windows_that_do_not_follow_have_no_two_outputs_in_step(
    one: Window, two: Window, lock: Lockstep
) -> None:
    here, there = windowed(one), windowed(two)
    found = follow(here.reads, there.reads, lock)
    places = held(lock)
    reach = range(-REACH, REACH)
    by_read = {tuple(sorted(there.at(t).items())): t for t in range(-800, 800)}
    pairs = {}
    for output in reach:
        moved = carried(here.at(output), places)
        twin = by_read.get(tuple(sorted(moved.items()))) if moved is not None else None
        if twin is not None:
            pairs[output] = twin
    if found is None:
        assert not pairs
    else:
        said = held(found)
        assert pairs == {o: said[o] for o in reach if o in said}


# Borders.


def bordered(length: int, lo: int, hi: int, border: Border, phases: int) -> list[int | None]:
    """The positions that a padded map shows, each phase padded by NumPy as a map of its own."""
    out: dict[int, int | None] = {}
    for phase in range(phases):
        own = np.arange(phase, length, phases)
        low, high = ceil((lo + phase) / phases), ceil((hi + phases) / phases) + 1
        if border == "drop":
            wide: list[int | None] = [None] * low + own.tolist() + [None] * high
        else:
            mode = {"clamp": "edge", "reflect": "reflect", "wrap": "wrap"}[border]
            wide = np.pad(own, (low, high), mode=mode).tolist()  # type: ignore[call-overload]
        out.update({phase + phases * (i - low): p for i, p in enumerate(wide)})
    return [out[p] for p in range(-lo, length + hi)]


@dataclass(frozen=True)
class Sided:
    """One operation at its size, and what each output reads by NumPy's padding."""

    map: AxisMap
    rows: list[Counts]


@st.composite
def sides(draw: st.DrawFn, length: int, window: Window) -> Sided:
    """A window over a map whose border is one of four, each phase by itself or not."""
    border: Border = draw(st.sampled_from(["drop", "clamp", "reflect", "wrap"]))
    phases = draw(st.sampled_from([1, 1, *range(1, min(length, 3) + 1)]))
    outputs = made(window, length)
    assume(outputs > 0)
    seen = bordered(length, window.pad_lo, window.pad_hi, border, phases)
    rows = []
    for output in range(outputs):
        taps = window_taps(window.kernel, window.stride, window.dilation, 0, output)
        rows.append(counted(p for p in (seen[t] for t in taps) if p is not None))
    return Sided(Local(Reads.window(window), length, outputs, border, phases), rows)


def differing(one: Sided, two: Sided, lock: Lockstep, out: Lockstep, bad: int) -> int:
    """The bits of `unequal`, output by output from the listed positions."""
    places, twins = held(lock), held(out)
    bits = 0
    for output, read in enumerate(one.rows):
        if output not in twins:
            continue
        twin = twins[output]
        same = (
            0 <= twin < len(two.rows)
            and carried(read, places) == two.rows[twin]
            and not any(bad >> p & 1 for p in read)
        )
        bits |= (not same) << output
    return bits


@drawing(300)
@given(small_windows(), small_windows(), st.integers(1, 14), st.integers(1, 24), locks(), locks(),
       st.integers(0, 1 << 14), st.data())  # fmt: skip
def test_unequal_outputs_are_those_whose_listed_positions_differ(
    one: Window,
    two: Window,
    length: int,
    longer: int,
    lock: Lockstep,
    out: Lockstep,
    bad: int,
    data: st.DataObject,
) -> None:
    here, there = data.draw(sides(length, one)), data.draw(sides(longer, two))
    assert unequal(here.map, there.map, lock, out, bad) == differing(here, there, lock, out, bad)


@drawing(250)
@given(cases(), st.sampled_from([0, 0, 1, 5]), st.data())
def test_unequal_outputs_of_dense_windows_are_those_that_listed_positions_show(
    case: Case, bad: int, data: st.DataObject
) -> None:
    dense = case.dense
    window = dense.at(case.length)
    here = data.draw(sides(case.short, case.original))
    there = data.draw(sides(case.length, window))
    lock, out = Lockstep(dense.factor), Lockstep(dense.outward)
    found = unequal(here.map, there.map, lock, out, bad)
    event(f"equal: {not found}")
    assert found == differing(here, there, lock, out, bad)


@drawing(300)
@given(cases("crop"))
def test_dense_windows_have_no_unequal_output(case: Case) -> None:
    assume(not case.dense.ceil)
    window = case.dense.at(case.length)
    here = Local(Reads.window(case.original), case.short, case.kept)
    there = Local(Reads.window(window), case.length, made(window, case.length))
    assert unequal(here, there, Lockstep(case.dense.factor), Lockstep(case.dense.outward)) == 0
