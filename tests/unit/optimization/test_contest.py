"""Whole models in turns: what is repeated, what is dropped, and when the machine is busy."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace

from atrous.optimization import contest as rules
from atrous.optimization.contest import Turns, by_processor, contest, crowded, disturbance
from atrous.optimization.records import EngineTime, Explanation, LayerChoice


class Machine:
    """A clock that goes on by what each run is said to take, call by call.

    Its unit is 1/1024 of a second, so that no sum is rounded.
    """

    def __init__(self, **takes):
        self.now, self.order = 0.0, []
        self.runs = {name: self._run(name, takes[name]) for name in takes}

    def _run(self, name, takes):
        def run():
            self.order.append(name)
            self.now += takes(sum(one == name for one in self.order))

        return run

    def times(self, **more):
        found = contest(self.runs, clock=lambda: self.now / 1024, settle=lambda: None, **more)
        scale = 1024 / 1000
        return {
            name: replace(t, ms=t.ms * scale, low=t.low * scale, high=t.high * scale)
            for name, t in found.items()
        }


def steady(ms):
    return lambda _call: ms


def test_medians_and_quartiles_are_those_of_the_turns():
    turns = [10.0, 12.0, 11.0, 13.0, 10.0, 11.0, 14.0]
    cold_and_warm = [one for ms in turns for one in (30.0, ms)]
    found = Machine(before=lambda call: cold_and_warm[call - 1]).times()
    assert found["before"] == Turns(11.0, 10.5, 12.5, 7, 0)


def test_turns_that_were_disturbed_are_dropped_and_counted():
    found = Machine(before=lambda call: 300.0 if call in (4, 6) else 10.0).times()
    assert found["before"] == Turns(10.0, 10.0, 10.0, 7, 2)


def test_what_is_close_is_repeated_and_the_rest_is_not():
    machine = Machine(before=steady(30.0), one=steady(20.0), two=steady(20.5), far=steady(90.0))
    found = machine.times(seconds=60)
    turns = {name: taken.turns for name, taken in found.items()}
    assert turns == {"before": 7, "one": 21, "two": 21, "far": 3}
    assert found["one"].ms < found["two"].ms


def test_what_is_close_has_as_much_time_again():
    """Two turns of three and a third of two are more than the time for all; these two go on."""
    machine = Machine(before=steady(900.0), one=steady(600.0), two=steady(605.0))
    turns = {name: taken.turns for name, taken in machine.times(seconds=1.75).items()}
    assert turns == {"before": 2, "one": 8, "two": 8}


def test_nothing_is_repeated_where_one_is_ahead():
    machine = Machine(before=steady(30.0), one=steady(20.0), two=steady(25.0))
    assert {taken.turns for taken in machine.times(seconds=60).values()} == {7}


def test_the_order_changes_from_turn_to_turn():
    machine = Machine(before=steady(9.0), one=steady(8.0), two=steady(6.0))
    machine.times(seconds=0.0)
    assert machine.order == [
        name
        for turn in (("before", "one", "two"), ("one", "two", "before"), ("two", "before", "one"))
        for name in turn
        for _cold_and_warm in range(2)
    ]


def test_long_runs_have_three_turns_and_others_a_run_to_warm_up_in_each():
    machine = Machine(before=steady(4000.0))
    assert (machine.times()["before"].turns, len(machine.order)) == (3, 3)
    found = Machine(before=lambda call: 90.0 if call % 2 else 75.0).times()["before"]
    assert (found.ms, found.turns) == (75.0, 7)
    # Seven turns, each of a cold run of 2 ms and six warm ones of 1 ms.
    machine = Machine(before=lambda call: 2.0 if call % 7 == 1 else 1.0)
    found = machine.times()["before"]
    assert (found.ms, found.turns, len(machine.order)) == (1.0, 7, 49)


def test_work_that_comes_and_goes_does_not_turn_the_order_around():
    """What is 10% faster stays ahead where every third call of it meets somebody else's work."""
    machine = Machine(before=steady(20.0), one=lambda call: 18.0 if call % 3 else 60.0)
    found = machine.times(seconds=60)
    assert found["one"].ms < 0.95 * found["before"].ms
    assert found["one"].disturbed > 1


def test_processor_time_leaves_out_what_others_run():
    """Each run waits for others nine tenths of the time on the wall, or half of it."""
    wall, own = [0.0], [0.0]

    def run(takes, waits):
        def step():
            own[0] += takes
            wall[0] += takes + waits

        return step

    found = contest(
        {"before": run(0.03, 0.03), "one": run(0.02, 0.18)},
        clock=lambda: wall[0],
        measure=lambda: own[0],
        settle=lambda: None,
        seconds=60,
    )
    assert {name: round(taken.ms) for name, taken in found.items()} == {"before": 30, "one": 20}
    started, begin = by_processor(2), time.process_time()
    before = started()
    while time.process_time() - begin < 0.01:
        pass
    assert 0.004 < started() - before < 0.05


def test_a_busy_machine_is_said_to_be_busy(monkeypatch):
    quiet = Turns(10.0, 9.9, 10.2, 7, 0)
    assert disturbance(quiet, "") == ""
    said = disturbance(quiet, "a load of 9.0 on 2 cores")
    assert said.startswith("the machine is busy (a load of 9.0 on 2 cores): times are processor")
    assert "2 of 7 turns of the original" in disturbance(Turns(10.0, 9.9, 10.2, 7, 2), "")
    assert "the original took 8 to 12 ms" in disturbance(Turns(10.0, 8.0, 12.0, 7, 0), "")
    monkeypatch.setattr(rules, "_cores", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (3.4, 0.0, 0.0), raising=False)
    assert crowded() == "a load of 3.4 on 2 cores"
    monkeypatch.setattr("os.getloadavg", lambda: (2.9, 9.0, 9.0), raising=False)
    assert crowded() == ""


def test_records_saved_before_there_were_engines_load():
    row = LayerChoice("a", "conv", "torch", 1.0, 1.0)
    new = Explanation("net", "graph", "contiguous", 2.0, 1.0, 0.0, (row,), (), 1, "", ())
    old = object.__new__(Explanation)
    old.__setstate__(new.__getstate__()[:-2])
    assert old == new
    assert (old.engine, old.engines) == ("atrous", ())
    timed = Explanation(
        "net", "original", "contiguous", 2.0, 2.0, 0.0, (row,), (), 1, "", (),
        engine="original", engines=(EngineTime("original", 2.0, 1.9, 2.1, 0.0),),
    )  # fmt: skip
    assert pickle.loads(pickle.dumps(timed)) == timed
    assert "each layer alone" in str(timed)
    assert "spread        original 1.90 to 2.10 ms" in str(timed)
    assert timed.to_dict()["engines"][0]["high"] == 2.1


def test_one_turn_is_enough_where_it_finds_the_times_of_before():
    machine = Machine(before=steady(600.0), one=steady(300.0))
    found = machine.times(known={"before": 560.0, "one": 310.0})
    assert {name: taken.turns for name, taken in found.items()} == {"before": 1, "one": 1}
    found = machine.times(known={"before": 560.0, "one": 200.0})
    assert found["one"].turns > 1
    assert machine.times(known={"before": 560.0})["one"].turns > 1


def test_one_turn_is_enough_in_a_slow_hour():
    machine = Machine(before=steady(900.0), one=steady(450.0))
    found = machine.times(known={"before": 560.0, "one": 310.0})
    assert {name: taken.turns for name, taken in found.items()} == {"before": 1, "one": 1}


def test_one_turn_is_not_enough_where_another_is_ahead():
    machine = Machine(before=steady(600.0), one=steady(610.0))
    assert machine.times(known={"before": 620.0, "one": 605.0})["one"].turns > 1


def test_a_run_of_a_moment_ago_is_a_turn_where_it_took_what_is_known():
    known = {"before": 560.0, "one": 310.0}
    machine = Machine(before=steady(600.0), one=steady(300.0))
    found = machine.times(known=known, ran={"before": 590.0})
    assert machine.order == ["one"] * 2
    assert found["before"] == Turns(590.0 * 1.024, 590.0 * 1.024, 590.0 * 1.024)
    for refused in ({"before": 700.0}, {"two": 310.0}, {}):
        machine = Machine(before=steady(600.0), one=steady(300.0))
        found = machine.times(known=known, ran=refused)
        assert {name: taken.turns for name, taken in found.items()} == {"before": 1, "one": 1}
        assert machine.order.count("before") == 1


def test_a_short_run_of_a_moment_ago_or_an_unknown_one_is_no_turn():
    for known, ms in (({"before": 300.0, "one": 290.0}, 300.0), ({}, 600.0)):
        machine = Machine(before=steady(ms), one=steady(290.0))
        found = machine.times(known=known, ran={"before": ms})
        assert machine.order.count("before") >= found["before"].turns


def test_who_is_alone_and_known_does_not_run_again():
    machine = Machine(before=steady(600.0))
    found = machine.times(known={"before": 600.0}, ran={"before": 590.0})
    assert (machine.order, found["before"].turns) == ([], 1)


def test_who_is_long_and_behind_has_two_turns():
    found = Machine(before=steady(900.0), one=steady(600.0)).times(seconds=0.0)
    assert {name: taken.turns for name, taken in found.items()} == {"before": 2, "one": 3}
