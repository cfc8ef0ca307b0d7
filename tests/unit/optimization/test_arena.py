"""Memory that stays mapped between runs of a prepared program."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

from atrous.optimization import arena

pytestmark = pytest.mark.skipif(arena._libc() is None, reason="another C library than glibc")


def faults(megabytes: int) -> int:
    """Pages that a block of so much memory needs when it is written to."""
    import resource  # where there is glibc

    def count() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    before = count()
    torch.empty(megabytes << 18).fill_(1.0)
    return count() - before


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class Owner:
    """Something that lives."""


def test_what_a_run_frees_is_there_for_the_next_and_given_back_behind_the_last_owner():
    owner = Owner()
    arena.held(owner)
    for _ in range(2):
        with arena.kept():
            # Blocks between others may lie in the way of the first ones.
            assert min(faults(80) for _ in range(8)) < 1000
            with arena.kept():  # two programs at once
                assert min(faults(80) for _ in range(8)) < 1000
    before = resident()
    del owner
    gc.collect()
    assert resident() < before - (60 << 20)


def test_nothing_is_set_where_the_user_has_said_how_memory_is_taken(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    arena._libc.cache_clear()
    try:
        assert arena._libc() is None
        with arena.kept(), arena.holding():
            faults(1)
    finally:
        monkeypatch.undo()
        arena._libc.cache_clear()
