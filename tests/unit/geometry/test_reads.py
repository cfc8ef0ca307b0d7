"""Reads and multisets: what is refused, and decoders whose phases differ."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atrous.errors import GeometryError
from atrous.geometry import Lockstep, Reads, Taps, Window, union
from atrous.geometry import reads as rules
from atrous.geometry.taps import EMPTY


@pytest.mark.parametrize(
    ("period", "shift", "phases"), [(0, 1, 0), (1, 0, 1), (2, 1, 1), (1, 1, 2), (1, -1, 1)]
)
def test_reads_need_a_period_a_shift_and_one_multiset_for_each_phase(
    period: int, shift: int, phases: int
) -> None:
    said = f"period {period}, shift {shift}, {phases} phase"
    with pytest.raises(GeometryError, match=said) as error:
        Reads(period, shift, (Taps.of([0]),) * phases)
    needed = " a period and a shift of at least 1 and one multiset for each phase."
    assert str(error.value).endswith(needed)


def test_a_multiplicity_below_zero_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"^a multiplicity is below 0; .* or more\.$"):
        Taps.of({3: -1})


def test_a_multiplicity_of_zero_is_not_read() -> None:
    assert Taps.of({3: 0}) == Taps.of([])


def test_equal_multisets_are_equal_records() -> None:
    assert Taps.of([5, 3, 3]) == Taps.of({3: 2, 5: 1})
    assert Taps.of({3: 1, 5: 1}) == Taps.of([5, 3]) == Taps.from_mask(2, 0b1010)
    assert len({Taps.of([0]), Taps(0, 1), Taps.of({0: 1})}) == 1


def test_only_integers_are_positions() -> None:
    assert "3" not in Taps.of([3])
    assert 2 not in Taps.of([3])


def test_composing_strides_without_a_common_factor_is_refused_before_it_grows() -> None:
    reads = Reads.transposed(Window(1, stride=251)).after(Reads.window(Window(1, stride=256)))
    with pytest.raises(GeometryError, match="repeat only every 65762 outputs; at most 65536"):
        Reads.transposed(Window(1, stride=262)).after(reads)


def test_joining_periods_without_a_common_factor_is_refused_before_it_grows() -> None:
    a = Reads(257, 257, tuple(Taps.of([p % 2]) for p in range(257)))
    b = Reads(256, 256, tuple(Taps.of([p % 3]) for p in range(256)))
    with pytest.raises(GeometryError) as error:
        a.union(b)
    assert str(error.value) == (
        "the joined reads repeat only every 65792 outputs; at most 65536 are kept: use sizes that "
        "divide."
    )


def test_a_decoder_that_doubles_and_convolves_reads_more_at_one_phase_than_at_the_other() -> None:
    up = Reads.transposed(Window(2, stride=2))
    both = Reads.window(Window(3, pad_lo=1)).after(up)
    assert both.period == 2
    assert [list(both.at(o)) for o in (4, 5)] == [[1, 2], [2, 3]]
    assert [both.at(o).multiplicities for o in (4, 5)] == [(1, 2), (2, 1)]


def test_what_comes_down_and_goes_up_again_reads_whole_blocks() -> None:
    both = Reads.transposed(Window(2, stride=2)).after(Reads.window(Window(2, stride=2)))
    assert both == Reads.blocks(1, 2)


def test_what_goes_up_and_comes_down_again_has_no_period_left() -> None:
    both = Reads.window(Window(2, stride=2)).after(Reads.transposed(Window(2, stride=2)))
    assert (both.period, both.shift, dict(both.at(0).items())) == (1, 1, {0: 2})


def test_a_join_of_many_adds_up_paths_unless_sets_are_asked_for() -> None:
    wide, narrow = Reads.window(Window(3, pad_lo=1)), Reads.identity()
    (counted,) = union([wide, narrow])
    assert counted.at(0).multiplicities == (1, 2, 1)
    (as_set,) = union([wide, narrow], counted=False)
    assert as_set.at(0).multiplicities == (1, 1, 1)


def test_branches_join_by_their_exact_stride() -> None:
    three_halves = Reads(2, 3, (Taps.of([0]), Taps.of([1])))
    sixths = Reads(4, 6, (Taps.of([0]), Taps.of([2]), Taps.of([3]), Taps.of([4])))
    joined = union([three_halves, Reads.identity(), sixths])
    assert [str(reads.stride) for reads in joined] == ["3/2", "1"]


@pytest.mark.parametrize("period", [1 << 16, (1 << 16) + 1])
def test_as_long_a_period_as_is_kept_and_one_more(period: int) -> None:
    up = Reads.transposed(Window(1, stride=period))
    if period <= 1 << 16:
        assert up.after(Reads.window(Window(2))).period == period
    else:
        with pytest.raises(GeometryError) as error:
            up.after(Reads.window(Window(2)))
        assert str(error.value) == (
            "the composed reads repeat only every 65537 outputs; at most 65536 are kept: use sizes "
            "that divide."
        )


def test_branches_that_do_not_line_up_say_both_strides() -> None:
    with pytest.raises(GeometryError) as error:
        Reads.identity().union(Reads.window(Window(1, 2)))
    assert str(error.value) == (
        "branches with strides 1 and 2 do not line up; bring them to one stride before they join."
    )


def test_as_wide_a_window_as_is_kept_and_one_more() -> None:
    most = 1 << 26
    assert Reads.window(Window(2, dilation=most - 1)).at(0).size == most
    with pytest.raises(GeometryError) as error:
        Reads.window(Window(2, dilation=most))
    assert str(error.value) == (
        "a window of kernel 2, dilation 67108864 spans 67,108,865 inputs; at most 67,108,864 are "
        "kept."
    )


def test_records_of_geometry_are_plain_data() -> None:
    assert Reads.window(Window(2, 3)).to_dict() == {
        "period": 1,
        "shift": 3,
        "phases": [{0: 1, 1: 1}],
    }
    assert Lockstep(4, 1, 2, 3).to_dict() == {"factor": 4, "phase": 1, "step": 2, "start": 3}
    assert Window(3, 2, 4, 1, 0).to_dict() == {
        "kernel": 3,
        "stride": 2,
        "dilation": 4,
        "pad_lo": 1,
        "pad_hi": 0,
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [([0, 1, 2], [1]), ([0, 1, 2], [0, 2]), ([0, 2], [1]), ([], [3]), ([4], []), ([], [])],
)
def test_a_union_of_sets_is_that_of_python(one: list[int], other: list[int]) -> None:
    solid = Taps.interval(one[0], len(one)) if one and len(one) == one[-1] + 1 else Taps.of(one)
    for a, b in ((solid, Taps.of(other)), (Taps.of(other), solid)):
        assert a.united(b) == Taps.of({*one, *other})
        assert a.united(b).count == len({*one, *other})


def test_a_join_may_repeat_as_rarely_as_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_PERIOD", 6)
    two, three = Reads(2, 2, (Taps.of([0]),) * 2), Reads(3, 3, (Taps.of([0]),) * 3)
    assert two.union(three).period == 6
    monkeypatch.setattr(rules, "MAX_PERIOD", 5)
    with pytest.raises(GeometryError, match="only every 6 outputs; at most 5"):
        two.union(three)


def test_a_branch_joined_with_itself_is_read_twice_or_as_a_set() -> None:
    once = Reads.window(Window(2))
    assert once.union(once).at(0) == Taps.of([0, 0, 1, 1])
    twice = Reads(1, 1, (Taps.of([0, 0, 1]),))
    assert twice.union(twice, counted=False) == once


def test_a_join_whose_phases_have_become_alike_has_no_period_left() -> None:
    even, odd = Reads(2, 2, (Taps.of([0]), Taps.of([]))), Reads(2, 2, (Taps.of([]), Taps.of([1])))
    assert even.union(odd) == Reads.identity()


@pytest.mark.parametrize("taps", [[], [0], [0, 1, 4], [0, 2, 4], [0, 1, 2], [0, 1, 2, 3, 9]])
@pytest.mark.parametrize(
    "outputs", [[], [5], [0, 1, 3, 7], [0, 3, 6, 9, 12], [0, 1, 2, 3, 4, 5, 11]]
)
@pytest.mark.parametrize("shift", [1, 2, 3])
def test_an_image_is_what_any_of_the_outputs_reads(
    taps: list[int], outputs: list[int], shift: int
) -> None:
    for period in (1, 2):
        rule = Reads(period, shift * period, tuple(Taps.of(taps) for _ in range(period)))
        image = rule.image(Taps.of(outputs))
        read = {o // period * period * shift + tap for o in outputs for tap in taps}
        assert image == Taps.of(read)
        assert image.count == len(read)


@pytest.mark.parametrize("size", [0, -1])
def test_an_interval_of_no_size_holds_nothing(size: int) -> None:
    assert Taps.interval(5, size) == Taps.of([])


@pytest.mark.parametrize(
    ("kernel", "dilation", "up"),
    [(40, 1, 5), (40, 3, 5), (33, 7, 5), (20, 5, 8), (64, 2, 3), (17, 9, 4), (50, 1, 7)],
)
@pytest.mark.parametrize("hole", [1, 2])
def test_wide_windows_behind_upsampling_read_what_one_by_one_they_read(
    kernel: int, dilation: int, up: int, hole: int
) -> None:
    fine = Reads.transposed(Window(2 * up, up, hole, 1)).after(Reads.window(Window(2, 1, hole)))
    window = Window(kernel, 1, dilation, 3)
    made = Reads.window(window).after(fine, counted=False)
    for output in range(-up, 2 * up):
        read: set[int] = set().union(*(fine.at(position) for position in window.taps(output)))
        assert set(made.at(output)) == read
    scattered = Taps.of([-20, -3, *range(0, 3 * kernel, dilation)])
    assert set(fine.image(scattered)) == set().union(*map(set, map(fine.at, scattered)))


def test_what_upsampling_makes_touch_is_united_once_a_phase_not_once_a_tap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    united = 0

    def counted(found: list[Taps], known: Callable[[list[Taps]], Taps] = rules._united) -> Taps:
        nonlocal united
        united += len(found)
        return known(found)

    monkeypatch.setattr(rules, "_united", counted)
    reads = Reads.transposed(Window(256, 256))
    for kernel in (4095, 2047, 1023):
        reads = Reads.window(Window(kernel)).after(reads, counted=False)
    assert reads.period == 256
    assert reads.at(0).size == 28
    assert reads.image(Taps.interval(0, 100_000)).count == 419
    assert united == 0


@pytest.mark.parametrize(
    "rule",
    [
        Reads(4, 2, (Taps.interval(0, 1),) * 4),
        Reads(2, 1, (Taps.interval(3, 1), Taps.interval(0, 2))),
        Reads(2, 2, (Taps.interval(0, 4), Taps.interval(0, 3))),
        Reads(2, 3, (Taps.interval(0, 2), EMPTY)),
        Reads(2, 1, (Taps.interval(3, 1), Taps.interval(0, 4))),
        Reads(2, 2, (EMPTY, Taps.interval(0, 2))),
        Reads(2, 2, (Taps.of([0, 5]),) * 2),
    ],
)
def test_intervals_that_leave_a_hole_or_turn_back_are_united_one_by_one(rule: Reads) -> None:
    window = Window(40)
    made = Reads.window(window).after(rule, counted=False)
    for output in range(-4, 8):
        read: set[int] = set().union(*(rule.at(position) for position in window.taps(output)))
        assert set(made.at(output)) == read
        assert set(rule.image(Taps.interval(output, 40))) == read
