"""Memory that stays mapped between runs of a prepared program."""

from __future__ import annotations

import pytest
import torch

from atrous.optimization import arena
from tests.processes import run_python

pytestmark = pytest.mark.skipif(arena._libc() is None, reason="another C library than glibc")


class Owner:
    """Something that lives."""


PROGRAM = """
import gc, os, resource, torch
from atrous.optimization import arena

def faults(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(megabytes << 18).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

class Owner:
    pass

owner = Owner()
arena.held(owner, 2000 << 20)
with arena.kept():
    # What was freed is taken again, once the first blocks lie where others fit.
    assert min(faults(80) for _ in range(40)) < 1000
kept = resident()
del owner
gc.collect()
assert resident() < kept - (60 << 20)

small = Owner()
arena.held(small, 1 << 20)
before = resident()
with arena.kept():
    one, two = torch.ones(300 << 18), torch.ones(900 << 18)
    del one, two
assert arena._given_up
assert resident() < before + (80 << 20)
"""


def test_what_a_run_frees_is_there_for_the_next_and_given_back_behind_the_last_owner():
    # In a process of its own: what else lives in this one keeps memory as well.
    found = run_python(PROGRAM)
    assert found.returncode == 0, found.stderr


ENGINE = """
import resource, torch
from torch import nn
from atrous.optimization.engines.engaged import Engaged, recipe_of
from atrous.optimization.engines.engine import Engine, task_of

model = nn.Identity().eval()
x = torch.zeros(12 << 20)  # 48 MiB: more than glibc keeps by itself
task = task_of(model, (x,))
plan = Engaged(Engine("made", (), "", None), model, recipe_of(Engine("made", (), "", None), (x,)))
plan.hold(lambda inputs: torch.empty(12 << 20).fill_(1.0), task.peak)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    plan(model, (x,))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert min(faults() for _ in range(20)) < 1000  # of 12,288 pages
"""


def test_outputs_of_other_engines_lie_where_those_of_the_last_run_lay():
    found = run_python(ENGINE)
    assert found.returncode == 0, found.stderr


STEPS = """
import gc, os, resource, torch
from atrous.optimization import arena

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

class Owner:
    pass

def faults(owner):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    with arena.stepping(owner, 1 << 20):
        held = [torch.ones(12 << 18) for _ in range(8)]
    torch.empty(48 << 18).fill_(1.0)  # a gradient, outside of the forward
    del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

owner = Owner()
assert min(faults(owner) for _ in range(20)) < 1000  # of 36,864 pages
assert not arena._given_up
kept = resident()
del owner
gc.collect()
assert resident() < kept - (80 << 20)
assert not arena._running

other = Owner()
faults(other)
before = resident()
beyond = torch.ones(900 << 18)
del beyond
faults(other)
assert arena._given_up
assert resident() < before + (80 << 20)
del other
gc.collect()
assert not arena._running
"""


def test_what_a_step_of_training_frees_is_kept_between_its_calls_and_bounded():
    found = run_python(STEPS)
    assert found.returncode == 0, found.stderr


def test_an_owner_that_ends_while_its_thread_is_inside_is_no_deadlock():
    owner = Owner()
    arena.held(owner, 1)
    entered = arena._lock.acquire(timeout=5)
    assert entered
    try:
        before = len(arena._limits)
        del owner
        assert len(arena._limits) == before - 1
    finally:
        arena._lock.release()


def test_nothing_is_set_where_the_user_has_said_how_memory_is_taken(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    arena._libc.cache_clear()
    try:
        assert arena._libc() is None
        with arena.kept(), arena.holding():
            torch.ones(1)
    finally:
        monkeypatch.undo()
        arena._libc.cache_clear()
