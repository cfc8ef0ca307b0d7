"""Rules as they are typed: what parses, to which exact numbers, and where the caret stands."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atrous
from atrous.analysis.requirements import QUANTITIES, parse_rules


def value(quantity: str, text: str) -> Fraction:
    (rule,) = parse_rules(quantity, text)
    return rule.value


@pytest.mark.parametrize(
    ("quantity", "text", "expected"),
    [
        ("receptive-field", ">=300", 300),
        ("receptive-field", " >= 1_000 ", 1000),
        ("coverage", "==1", 1),
        ("coverage", ">=90%", Fraction(9, 10)),
        ("coverage", ">0.9", Fraction(9, 10)),
        ("output-stride", "==1/2", Fraction(1, 2)),
        ("output-stride", "==0.5", Fraction(1, 2)),
        ("macs", "<=20G", 20_000_000_000),
        ("macs", "<=1.5 k", 1500),
        ("params", "<2T", 2 * 10**12),
        ("params", "!=7", 7),
        ("memory", "<=512MiB", 2**29),
        ("memory", "<=0.5 KiB", 512),
        ("memory", "<=3GiB", 3 * 2**30),
        ("memory", "<=100B", 100),
    ],
)
def test_a_rule_has_the_exact_value_that_is_written(quantity, text, expected):
    assert value(quantity, text) == expected


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_each_relation_is_that_of_python(quantity):
    unit = "B" if quantity.endswith("memory") else ""
    for got in (0, 1):
        assert [
            parse_rules(quantity, f"{relation}1{unit}")[0].holds(Fraction(got))
            for relation in ("<=", ">=", "==", "!=", "<", ">")
        ] == [got <= 1, got >= 1, got == 1, got != 1, got < 1, got > 1]


def test_several_rules_are_separated_by_commas():
    low, high = parse_rules("receptive-field", ">= 300,<500")
    assert (low.text, high.text) == (">= 300", "<500")


@pytest.mark.parametrize(
    ("quantity", "text", "says", "under"),
    [
        ("macs", "20G", "a rule starts with one of <= >= == != < >", "2"),
        ("macs", "", "a rule starts with", None),
        ("macs", "=20G", "'=' compares nothing; write ==", "="),
        ("macs", "=>20G", "'=>' compares nothing; write >=", "="),
        ("macs", "<=>20G", "'<=>' compares nothing; write <= >= == != < or >", "<"),
        ("macs", "<=", "a number goes here, such as <=20G", None),
        ("macs", "<=G", "a number goes here", "G"),
        ("macs", "<=*3", "a number goes here", "*"),
        ("macs", "<=2%", "a share of the baseline has a sign, such as <=+2%", "%"),
        ("macs", "<=20g", "'g' is no unit of macs; use k, M, G or T", "g"),
        ("macs", "<=20G>", "'G>' is no unit of macs", "G"),
        ("macs", "<=20G,", "a rule starts with", None),
        ("macs", "<=1/0", "nothing can be divided by 0", "0"),
        ("memory", "<=512Mb", "'Mb' is no unit of memory; use B, KiB, MiB, GiB, TiB, kB", "M"),
        (
            "memory",
            "<=512",
            "memory needs a unit; use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB",
            None,
        ),
        ("receptive-field", ">=300px", "'px' is no unit of receptive-field; use us, ms", "p"),
        ("coverage", "==100", "coverage is a share of at most 1; write 90% or 0.9", "1"),
        ("coverage", "==100k", "'k' is no unit of coverage; use %", "k"),
    ],
)
def test_a_rule_that_does_not_parse_is_shown_with_a_caret_under_the_place(
    quantity, text, says, under
):
    with pytest.raises(atrous.ReadError) as raised:
        parse_rules(quantity, text)
    first, shown, caret = str(raised.value).split("\n")
    assert first.startswith(f"{quantity}: ")
    assert says in first
    assert first.endswith(".")
    assert shown == f"  {text}"
    assert shown[caret.index("^") :][:1] == (under or "")


def test_an_unknown_quantity_lists_near_ones():
    with pytest.raises(atrous.UnknownNameError, match="near: receptive-field"):
        parse_rules("receptive-fields", "==1")


def test_a_rule_of_any_length_is_refused_in_one_line():
    with pytest.raises(atrous.ReadError, match="at most 120 letters, got 100002"):
        parse_rules("macs", "<=" + "9" * 100_000)


@given(st.sampled_from(QUANTITIES), st.text("<>=!0123456789./_, kMGTiB%", max_size=14))
def test_any_text_is_rules_or_an_error_of_three_lines(quantity, text):
    try:
        rules = parse_rules(quantity, text)
    except atrous.ReadError as error:
        message = str(error)
    else:
        message = "no\nerror\nat all"
        assert rules
        assert all(rule.text in text for rule in rules)
    assert len(message.split("\n")) == 3
