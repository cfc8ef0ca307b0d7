"""Benches run each contestant in a process of its own: what is disturbed, what ends, what stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from bench.shared.alone import Contest, FailedError, GoneError, Limits, alone, share_waited
from tests import contestants as of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

CALM = Limits(build=30, turn=30, slower=1000.0, waited=1000.0)
REFERENCE = partial(of.uneven_reference, ())


def state(pid):
    """The letter of a process's state; empty where there is none, or where it only awaits a wait"""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return letter.replace("Z", "").replace("X", "")


def assert_gone(*pids):
    end = time.monotonic() + 10
    while any(map(state, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    assert [state(pid) for pid in pids] == [""] * len(pids)


def test_contestants_take_turns_stand_still_between_them_and_end():
    seats = {name: partial(of.steady, {"name": name}) for name in ("one", "other")}
    with Contest(seats, 1, reference=REFERENCE, limits=CALM) as contest:
        first = contest.run(1, turns=2, seconds=0.002)
        second = contest.run(2, turns=2, seconds=0.002)
        pids = [notes["pid"] for notes in first.notes.values()]
        assert pids == [notes["pid"] for notes in second.notes.values()]
        assert len({*pids, os.getpid()}) == 3
        pids.append(contest.reference.process.pid)
        assert [state(pid) for pid in pids] == ["T"] * 3
    assert [notes["request"] for notes in second.notes.values()] == [2, 2]
    assert [(t.turns, t.median > 0.4) for t in second.times.values()] == [(2, True)] * 2
    assert second.attempts == {"one": 2, "other": 2}
    assert (second.share, second.absent) == (0, {})
    assert_gone(*pids)


# A time of the reference is one call not counted and three more. Ten times are taken at the start,
# one before the rounds and one after each turn.
BEFORE = 4 * 10


@pytest.mark.parametrize(
    ("slow", "disturbed", "attempts", "kept"),
    [
        ((), {}, 2, {}),
        (range(BEFORE + 4, BEFORE + 8), {"one": 2}, 4, {}),  # after one turn, before the next
        (range(BEFORE, BEFORE + 4), {"one": 1}, 3, {}),
        (range(BEFORE, BEFORE + 1000), {"one": 6}, 6, {"one": 2}),
    ],
    ids=["undisturbed", "between two turns", "before the first", "always"],
)
def test_a_turn_beside_a_slow_reference_is_repeated_so_often(slow, disturbed, attempts, kept):
    limits = Limits(build=30, turn=30, slower=9.0, waited=1000.0, repeats=2)
    reference = partial(of.uneven_reference, slow)
    with Contest({"one": partial(of.steady, {})}, 1, reference=reference, limits=limits) as contest:
        found = contest.run(None, turns=2, seconds=0.001)
    assert found.times["one"].turns == 2
    assert (found.disturbed, found.attempts, found.kept) == (disturbed, {"one": attempts}, kept)
    assert found.share == pytest.approx(disturbed.get("one", 0) / attempts)


def test_what_a_disturbed_turn_measured_does_not_count(tmp_path):
    limits = Limits(build=30, turn=30, slower=9.0, waited=1000.0, repeats=2)
    calls = tmp_path / "calls"
    reference = partial(of.uneven_reference, range(BEFORE, BEFORE + 4))
    seats = {"one": partial(of.counting, calls)}
    with Contest(seats, 1, reference=reference, limits=limits) as contest:
        found = contest.run(None, turns=1, seconds=0.0)
    # One call to learn how long it takes; in each of two turns one not counted and three that are.
    assert (len(calls.read_text()), found.times["one"].calls) == (9, 3)


@pytest.mark.parametrize(("bound", "disturbed"), [(0.1, 3), (1000.0, 0)])
def test_a_turn_whose_threads_waited_for_a_core_is_repeated(bound, disturbed):
    limits = Limits(build=30, turn=30, slower=1000.0, waited=bound, repeats=2)
    with Contest({"one": of.crowded}, 1, reference=REFERENCE, limits=limits) as contest:
        found = contest.run(None, turns=1, seconds=0.05)
    assert found.disturbed.get("one", 0) == disturbed


def test_threads_that_wait_for_their_own_kind_lose_nothing():
    assert share_waited(waited=1.5, work=2.0, took=1.0, cores=2) == 0
    assert share_waited(waited=0.5, work=1.5, took=1.0, cores=2) == 0.5
    assert share_waited(waited=0.25, work=0.5, took=1.0, cores=2) == 0.25


def test_who_crashes_hangs_or_is_not_installed_is_absent_with_the_reason():
    seats = {
        "hanging": of.hanging, "crashing": of.crashing, "missing": of.missing, "idle": of.idle,
        "later": of.crashing_later, "steady": partial(of.steady, {}),
    }  # fmt: skip
    limits = Limits(build=3.0, turn=3.0, slower=1000.0, waited=1000.0)
    with Contest(seats, 1, reference=REFERENCE, limits=limits) as contest:
        first = contest.run("crash", turns=2, seconds=0.001)
        assert first.absent == {
            "hanging": "no answer to 'build' after 3 s",
            "crashing": "ended with SIGSEGV: the engine gave up",
            "missing": "ModuleNotFoundError: No module named 'an_engine'",
            "later": "ended with code 3",
        }
        assert set(first.times) == set(first.notes) == {"steady"}
        contest.seats.pop("hanging")
        # A process that ended is started again, but not for ever.
        second = contest.run("live", turns=1, seconds=0.001)
        assert set(second.times) == {"later", "steady"}
        for _ in range(2):
            last = contest.run("live", turns=1, seconds=0.001)
        assert last.absent["crashing"] == (
            "not started again after 3 ends, the last: ended with SIGSEGV: the engine gave up"
        )


def test_what_is_done_once_has_a_process_that_ends():
    notes = alone(partial(of.steady, {"name": "one"}), 7, 1, limit=30)
    assert (notes["name"], notes["request"]) == ("one", 7)
    assert_gone(notes["pid"])
    with pytest.raises(FailedError, match="No module named 'an_engine'"):
        alone(of.missing, None, 1, limit=30)
    with pytest.raises(GoneError, match="ended with SIGSEGV: the engine gave up"):
        alone(of.crashing, None, 1, limit=30)


def test_without_a_reference_nothing_is_measured():
    with (
        pytest.raises(RuntimeError, match="the reference does not run: ended with SIGSEGV"),
        Contest({}, 1, reference=of.crashing, limits=CALM),
    ):
        pass


def interrupted(pids):
    with Contest({"one": of.parenting}, 1, reference=REFERENCE, limits=CALM) as contest:
        found = contest.run(None, turns=1, seconds=0.001)
        pids += [host.process.pid for host in [*contest.hosts.values(), contest.reference]]
        pids.append(found.notes["one"]["child"])
        assert all(map(state, pids))
        raise KeyboardInterrupt


def test_an_interrupt_leaves_nothing_running():
    pids = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(pids)
    assert_gone(*pids)


PARENT = """
import sys, time
from functools import partial
from bench.shared.alone import Contest, Limits
from tests import contestants as of
with Contest({"one": partial(of.steady, {})}, 1, reference=partial(of.uneven_reference, ())) as c:
    found = c.run(None, turns=1, seconds=0.001)
    print(found.notes["one"]["pid"], c.reference.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_stopped_processes_end_with_their_parent(number):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert [state(pid) for pid in pids] == ["T", "T"]
    parent.send_signal(number)
    parent.wait(10)
    parent.stdout.close()
    assert_gone(*pids)
