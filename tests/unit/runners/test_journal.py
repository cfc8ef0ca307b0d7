"""The log of finished tiles: what is half written is none, and what differs is said."""

import pytest

from atrous.errors import ArgumentError, ReadError, RunError
from atrous.runners.tiled.journal import Journal, check_alike, only_one


def test_every_cut_of_the_log_gives_whole_lines_only(tmp_path):
    journal = Journal(tmp_path / "state")
    journal.begin({"model": "a"})
    with journal.writing():
        for tile in (0, 7, 12, 3):
            journal.add(tile)
    whole = journal.log.read_bytes()
    ends = [i + 1 for i, letter in enumerate(whole) if letter == ord("\n")]
    for cut in range(len(whole) + 1):
        journal.log.write_bytes(whole[:cut])
        lines = sum(end <= cut for end in ends)
        assert journal.done() == set((0, 7, 12, 3)[:lines])
        with journal.writing():
            journal.add(5)
        assert journal.done() == {*(0, 7, 12, 3)[:lines], 5}


def test_a_line_that_was_changed_ends_what_counts(tmp_path):
    journal = Journal(tmp_path)
    journal.begin({})
    with journal.writing():
        for tile in (10, 11, 12):
            journal.add(tile)
    text = journal.log.read_text()
    journal.log.write_text(text.replace("11 ", "19 "))
    assert journal.done() == {10}


def test_a_manifest_of_something_else_is_no_manifest(tmp_path):
    journal = Journal(tmp_path)
    assert journal.read() is None
    for text in ("", "{", "[]", '{"schema": "other/1"}'):
        journal.manifest.write_text(text)
        with pytest.raises(ReadError, match="no manifest"):
            journal.read()


def test_what_differs_is_named_with_both_values():
    with pytest.raises(ArgumentError, match=r"plan\.tile was 64, now 32; reduce was nothing, now"):
        check_alike(
            {"plan": {"tile": 64}, "reduce": None, "more": 1},
            {"plan": {"tile": 32}, "reduce": "Argmax()"},
        )


def test_of_two_runs_into_one_target_the_second_is_refused(tmp_path):
    with only_one(tmp_path / "a.zarr"):
        with only_one(tmp_path / "b.zarr"):
            pass
        with (
            pytest.raises(RunError, match="another run writes into it"),
            only_one(tmp_path / "a.zarr"),
        ):
            pass
    with only_one(tmp_path / "a.zarr"):
        pass
