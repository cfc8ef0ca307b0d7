"""Whole files: what is there at the end, and what is left where writing fails."""

from __future__ import annotations

import os
import stat

import pytest

from atrous.files import whole_file, write_whole


def test_a_file_appears_when_all_of_it_is_written(tmp_path):
    path = tmp_path / "new.txt"
    with whole_file(path) as made:
        made.write_text("half")
        assert not path.exists()
        assert made.parent == tmp_path
        assert made.suffix == ".txt"
    assert path.read_text() == "half"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "old.txt"
    path.write_text("old")

    def interrupted():
        with whole_file(path) as made:
            made.write_text("new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_whole(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_that_was_there_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "old.txt"
    path.write_text("old")
    path.chmod(mode)
    write_whole(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_gets_the_mode_that_open_gives(tmp_path):
    write_whole(tmp_path / "one", "")
    (tmp_path / "two").touch()
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "two").stat().st_mode


def test_a_device_stays_one():
    write_whole(os.devnull, "text")
    assert not os.path.isfile(os.devnull)  # noqa: PTH113 - the device itself


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_whole(tmp_path / "nowhere" / "new.txt", "")
