"""When a layout is given up for another: by made times."""

from __future__ import annotations

from atrous.optimization.candidates import is_much

ONE = dict.fromkeys("abcdefghij", ("conv",))
TIMES = dict.fromkeys("abcdefghij", 5.0)


def test_a_layer_that_is_little_of_its_kind_decides_nothing():
    other = {"stem": 1.0} | TIMES
    kinds = dict.fromkeys(other, ("conv",))
    assert not is_much(other, kinds, {"stem": 2.0}, {"stem"})
    assert not is_much(other, kinds, {"stem": 1.0, "a": 7.0}, {"stem", "a"})
    assert is_much(other, kinds, {"stem": 1.0, "a": 7.0, "b": 7.0}, {"stem", "a", "b"})


def test_a_kind_that_is_slow_says_nothing_of_another():
    kinds = ONE | dict.fromkeys("defghij", ("pool",))
    assert not is_much(TIMES, kinds, dict.fromkeys("abc", 6.0), set("abc"))


def test_layers_that_are_faster_here_keep_the_layout():
    assert not is_much(TIMES, ONE, dict.fromkeys("abcde", 3.0), set("abcde"))


def test_parts_of_a_chain_count_when_its_last_one_is_done():
    other = {"c": 3.0, "d": 1.0}
    done = {"a": 0.8, "b": 1.9}
    assert not is_much(other, {}, done, {"a", "b"})
    assert not is_much(other, {}, done | {"c": 0.5}, {"a", "b", "c"})
    assert is_much(other, {}, done | {"c": 1.5}, {"a", "b", "c"})


def test_unknown_times_decide_nothing():
    assert not is_much({"a": 1.0, "b": 0.0}, {}, {"a": 9.0}, {"a"})
    assert not is_much({"a": 1.0, "b": 1.0}, {}, {"a": 0.0}, {"a"})
