"""What is registered is found; twice, or not at all, is an error that says so."""

from __future__ import annotations

from copy import copy

import pytest

from atrous.errors import ArgumentError, UnknownNameError
from atrous.registry import Registry


@pytest.fixture
def rules():
    rules = Registry[type, str]("rule")
    rules[int], rules[float] = "whole", "real"
    return rules


def test_classes_are_keys_in_the_order_of_registration(rules):
    assert list(rules) == [int, float]
    assert rules[float] == "real"
    assert rules.get(str) is None
    assert str not in rules


def test_a_second_entry_under_one_key_is_refused_and_the_first_stays(rules):
    with pytest.raises(ArgumentError, match=r"^rule 'int' is registered already; one name, one ru"):
        rules.under(str, int)("again")
    assert rules[int] == "whole"


def test_a_key_that_is_not_there_lists_the_near_ones(rules):
    class Floats: ...

    with pytest.raises(UnknownNameError, match=r"^no rule is named 'Floats'; near: float\.$"):
        rules[Floats]


def test_a_copy_has_entries_of_its_own(rules):
    other = copy(rules)
    other[str] = "text"
    assert str not in rules
    with pytest.raises(ArgumentError):
        other[int] = "again"
