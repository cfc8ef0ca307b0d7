"""Layers in turns: who has how many, and what a run that was held up changes."""

from __future__ import annotations

from atrous.optimization.layer.timing import times


class Machine:
    """A clock that goes on by the milliseconds that each run is said to take, call by call."""

    def __init__(self, **takes):
        self.now, self.calls = 0.0, dict.fromkeys(takes, 0)
        self.runs = {name: self._run(name, takes[name]) for name in takes}

    def _run(self, name, takes):
        def run():
            self.calls[name] += 1
            self.now += takes(self.calls[name]) / 1000

        return run

    def times(self, **more):
        found = times(self.runs, clock=lambda: self.now, of=min, **more)
        return {name: round(ms, 6) for name, ms in found.items()}


def steady(ms):
    return lambda _call: ms


def test_a_short_run_that_is_held_up_stays_in():
    machine = Machine(one=lambda call: 8.2 if call in (1, 3) else 0.2, two=steady(0.3))
    assert machine.times() == {"one": 0.2, "two": 0.3}
    assert machine.calls["one"] == 25
    assert machine.calls["two"] == 3  # behind in as many


def test_of_long_runs_the_far_ones_have_one_turn_and_the_others_two():
    machine = Machine(one=steady(50.0), two=steady(60.0), far=steady(130.0))
    assert machine.times() == {"one": 50.0, "two": 60.0, "far": 130.0}
    assert machine.calls == {"one": 2, "two": 2, "far": 1}


def test_runs_are_timed_by_another_clock_where_there_is_one():
    machine = Machine(one=steady(50.0))
    assert times(machine.runs, clock=lambda: machine.now, measure=lambda: 0.0) == {"one": 0.0}


def test_everybody_is_first_in_some_turn():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    times(runs, clock=lambda: 0.001 * len(order), seconds=0.0)
    assert "".join(order).startswith("abcbcacab")
