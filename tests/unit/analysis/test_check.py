"""Whether reports keep rules: what is compared, where, and what is said when a rule is broken."""

from __future__ import annotations

from fractions import Fraction

import pytest

import atrous
from atrous.analysis.check import check_report
from atrous.analysis.findings import codes
from atrous.analysis.requirements import parse_rules
from atrous.errors import ReadError
from atrous.network import Builder
from atrous.network.ops import Opaque
from atrous.report import CheckView


def rules(**texts: str):
    return [r for key, text in texts.items() for r in parse_rules(key.replace("_", "-"), text)]


def broken(check) -> list[tuple[str, str, str]]:
    return [(outcome.rule, outcome.layer, outcome.axis) for outcome in check.broken]


@pytest.fixture
def two_outputs():
    """A fine output and a coarse one, of which the coarse one has holes along one axis."""
    b = Builder("pair")
    x = b.input("x", (1, 3, 32, 32))
    fine = b.conv(x, 4, 3, padding=1, name="fine")
    coarse = b.conv(
        fine, 4, (3, 1), stride=2, dilation=(4, 1), padding=((4, 4), (0, 0)), name="low"
    )
    return atrous.inspect(b.build(fine, coarse))


def test_every_output_and_axis_must_hold_and_the_ones_that_do_not_are_named(two_outputs):
    check = check_report(two_outputs, rules(coverage="==1"))
    assert not check
    assert broken(check) == [("coverage", "low", "h")]
    assert check.broken[0].got == Fraction(9, 11)
    assert len(check.outcomes) == 4
    assert broken(check_report(two_outputs, rules(output_stride="==1"))) == [
        ("output-stride", "low", "h"),
        ("output-stride", "low", "w"),
    ]


def test_a_layer_is_looked_at_in_place_of_the_outputs(two_outputs):
    assert check_report(two_outputs, rules(coverage="==1", output_stride="==1"), layer="fine")
    with pytest.raises(atrous.UnknownNameError, match="near: fine"):
        check_report(two_outputs, rules(coverage="==1"), layer="finer")


@pytest.mark.parametrize("quantity", ["macs", "params", "memory"])
def test_costs_are_those_of_the_whole_network_to_the_last_unit(two_outputs, quantity):
    got = {
        "macs": two_outputs.macs,
        "params": two_outputs.params,
        "memory": two_outputs.peak_memory_bytes,
    }[quantity]
    unit = "B" if quantity == "memory" else ""
    assert check_report(two_outputs, rules(**{quantity: f"<={got}{unit}"}))
    assert not check_report(two_outputs, rules(**{quantity: f"<={got - 1}{unit}"}))
    assert (
        f"{got:,}"
        in CheckView(check_report(two_outputs, rules(**{quantity: f">{got}{unit}"}))).text()
    )


def test_a_coverage_that_only_rounds_to_all_is_not_all():
    b = Builder()
    x = b.input("x", (1, 1, 4000))
    y = b.conv(b.conv(x, 1, 1999), 1, 2, dilation=2000)
    check = check_report(atrous.inspect(b.build(y)), rules(coverage="==100%"))
    assert check.broken[0].got == Fraction(3998, 3999)
    assert ">99% (3998/3999), must be == 100%" in CheckView(check).text()


def test_after_upsampling_the_worst_phase_counts():
    report = atrous.inspect("stack:k3d3 tconvk3s2", (1, 2, 16))
    field = report.outputs[0].field[0]
    worst = min(Fraction(p.taps, p.size) for p in field.phases)
    assert worst == Fraction(3, 7)
    assert check_report(report, rules(coverage=f"=={worst}"))


def test_what_is_not_known_breaks_a_rule_and_says_why():
    b = Builder("odd")
    x = b.input("x", (1, 3, 8, 8))
    y = b.add(Opaque("sort", "its order", (1, 3, 8, 8)), x, name="sort")
    report = atrous.inspect(b.build(y))
    check = check_report(report, rules(receptive_field=">=1", macs="<=1"))
    assert broken(check) == [("receptive-field", "sort", ""), ("macs", "", "")]
    assert check.broken[0].got is None
    assert check.broken[1].at_least
    assert "not known behind sort" in CheckView(check).text()


def test_an_output_without_positions_breaks_a_rule_on_its_field():
    b = Builder("constant")
    b.input("x", (1, 3, 8, 8))
    z = b.input("z", (1, 4))
    report = atrous.inspect(b.build(b.linear(z, 2)))
    check = check_report(report, rules(receptive_field=">=1"))
    assert "does not depend on the input's positions" in CheckView(check).text()


def test_forbidden_findings_are_named_with_their_layers():
    report = atrous.inspect("stack:k3d2 k3d2 k3d2", (1, 4, 32, 32))
    check = check_report(report, forbidden=["gridding", "checkerboard"])
    found = [finding for finding in report.findings if finding.code == "gridding"]
    assert found
    assert broken(check) == [("gridding", finding.layer, "") for finding in found]
    assert found[0].message in CheckView(check).text()
    assert check_report(atrous.inspect("stack:k3 k3d2", (1, 4, 32, 32)), forbidden=["gridding"])


@pytest.mark.parametrize("code", codes())
def test_every_finding_can_be_forbidden(code):
    assert check_report(atrous.inspect("stack:k3", (1, 4, 32, 32)), forbidden=[code])


def test_an_unknown_finding_lists_near_ones():
    report = atrous.inspect("stack:k3", (1, 4, 32))
    with pytest.raises(atrous.UnknownNameError, match="near: gridding"):
        check_report(report, forbidden=["griding"])


def test_a_check_is_true_where_all_rules_hold_and_says_so_in_one_line(two_outputs):
    check = check_report(two_outputs, rules(macs=">1,<1G"), forbidden=["global"])
    assert check
    assert (
        CheckView(check).text() == "pair: 3 rules hold: macs 123 k > 1, macs 123 k < 1G, no global"
    )
    assert check.to_dict()["holds"] is True
    assert (
        CheckView(check, "model.onnx").text()
        == "model.onnx: 3 rules hold: macs 123 k > 1, macs 123 k < 1G, no global"
    )


def test_axes_that_break_a_rule_alike_share_a_line(two_outputs):
    text = CheckView(check_report(two_outputs, rules(output_stride="==1"))).text()
    assert text == "pair: output-stride at low along h, w is 2, must be == 1"


@pytest.mark.parametrize(
    ("rule", "scales", "holds", "said"),
    [
        (("receptive-field", ">=100um"), {"pixel": "0.5um"}, False, "is 3.5 um, must be >= 100um"),
        (("receptive-field", "<=3500nm"), {"pixel": "0.5um"}, True, "3500 nm <= 3500nm"),
        (("receptive-field", ">3500nm"), {"pixel": "0.5um"}, False, "3500 nm, must be > 3500nm"),
        (("output-stride", "==20m"), {"pixel": "10m"}, True, "20 m == 20m"),
        (("receptive-field", "<=0.02mm"), {"pixel": "2000nm"}, True, "0.014 mm <= 0.02mm"),
    ],
)
def test_limits_may_be_lengths_where_a_position_has_a_size(rule, scales, holds, said):
    report = atrous.inspect("stack:k3s2 k3", (1, 1, 64, 64)).scaled(**scales)
    found = check_report(report, parse_rules(*rule))
    assert bool(found) == holds
    assert said in str(found)


def test_a_field_may_be_limited_in_time():
    report = atrous.inspect("stack:k400s320valid k1", (1, 1, 16000)).scaled(rate=16000)
    assert check_report(report, parse_rules("receptive-field", "==25ms"))
    assert check_report(report, parse_rules("output-stride", "==0.02s"))
    assert not check_report(report, parse_rules("output-stride", "<20ms"))
    same = check_report(report, parse_rules("receptive-field", "<=+1ms"), baseline=report)
    assert same
    assert not check_report(report, parse_rules("receptive-field", ">=+1ms"), baseline=report)


def test_along_time_and_space_each_rule_is_for_its_own_axes():
    report = atrous.inspect("stack:k3 k3", (1, 1, 9, 9, 9)).scaled(rate=25, pixel="2mm")
    long = check_report(report, parse_rules("receptive-field", "==200ms"))
    assert [(o.axis, o.holds) for o in long.outcomes] == [("d", True)]
    wide = check_report(report, parse_rules("receptive-field", "==1cm"))
    assert [(o.axis, o.holds) for o in wide.outcomes] == [("h", True), ("w", True)]


def test_a_length_without_a_size_of_positions_says_what_to_give():
    report = atrous.inspect("stack:k3", (1, 1, 9, 9))
    with pytest.raises(ReadError, match="is a length; give the size of a position with --pixel"):
        check_report(report, parse_rules("receptive-field", ">=1um"))
