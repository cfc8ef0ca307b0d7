"""Borders where each of several interleaved maps has its own."""

from __future__ import annotations

from atrous.geometry import Everything, Local, Reads, Taps, Window, fold_back


def test_what_is_dropped_from_one_of_several_interleaved_maps_is_not_read() -> None:
    place = fold_back("drop", 7, phases=2)  # of 4 and 3 positions
    assert [place(p) for p in (-2, -1, 0, 5, 6, 7, 8)] == [None, None, 0, 5, 6, None, None]


def test_each_of_several_interleaved_maps_is_mirrored_at_its_own_end() -> None:
    wide = Reads.window(Window(3, dilation=2, pad_lo=2))
    alone = Local(wide, 7, 7, "reflect").at(5)  # 3, 5 and 7, which mirrors to 5
    of_two = Local(wide, 7, 7, "reflect", phases=2).at(5)  # among 1, 3, 5 it mirrors to 3
    assert (alone, of_two) == (Taps.of([3, 5, 5]), Taps.of([3, 3, 5]))


def test_of_nothing_everything_is_nothing() -> None:
    assert Everything(0, 1).at(0) == Taps.of([])
    assert Everything(3, 1).at(0) == Taps.of([0, 1, 2])
