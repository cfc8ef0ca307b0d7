"""What is not counted is not zero: totals over it are lower bounds, said as such everywhere."""

from __future__ import annotations

import json

import pytest

import atrous
from atrous.analysis import inspect_network
from atrous.analysis.check import check_report
from atrous.analysis.diff import diff_reports
from atrous.analysis.requirements import parse_rules
from atrous.certification.certify import price
from atrous.network import Builder
from atrous.network.ops import Opaque
from atrous.report import CheckView, ComparisonView, InspectionView, LayerView, Look
from atrous.shown import view


def network(**known):
    """A convolution in front of an op that nobody understands."""
    b = Builder("net")
    x = b.input("x", (1, 4, 16, 16))
    y = b.conv(x, 8, 3, padding=1)
    op = Opaque("Warp", "the operator Warp is not known", (1, 8, 16, 16), **known)
    shape = (1, 8, 16, 16)
    if not known.get("sized", True):
        op, shape = Opaque("Warp", "who knows", (), **known), ()
    return b.build(b.add(op, y, name="warp", shape=shape))


@pytest.fixture
def report():
    return inspect_network(network())


def checked(report, quantity, rule):
    return check_report(report, parse_rules(quantity, rule))


MACS = 8 * 16 * 16 * 9 * 4


@pytest.mark.parametrize("rule", ["<=1T", "<1T", f"=={MACS}", "!=5", "==0"])
def test_a_lower_bound_meets_no_upper_limit(report, rule):
    check = checked(report, "macs", rule)
    assert not check
    assert check.outcomes[0].at_least
    assert "at least 73.7 k" in CheckView(check).text()
    assert "not counted: warp" in CheckView(check).text()


@pytest.mark.parametrize(("rule", "holds"), [(">=1k", True), (f">={MACS}", True), (">1M", False)])
def test_a_lower_bound_can_meet_a_lower_limit(report, rule, holds):
    assert bool(checked(report, "macs", rule)) == holds


def test_an_op_whose_products_follow_from_its_shapes_is_counted():
    report = inspect_network(network(macs=1000))
    assert report.macs == MACS + 1000
    assert report.uncounted == {}
    assert checked(report, "macs", f"=={MACS + 1000}")


def test_memory_is_a_bound_only_where_a_size_is_not_known(report):
    assert list(report.uncounted) == ["macs"]
    assert checked(report, "memory", "<=1MiB")
    unsized = inspect_network(network(sized=False))
    assert unsized.uncounted == {"macs": ("warp",), "memory": ("warp",)}
    assert not checked(unsized, "memory", "<=1TiB")
    assert checked(unsized, "memory", ">=1KiB")


@pytest.mark.parametrize("shown", [InspectionView, lambda report: view(report)])
def test_the_report_says_at_least_and_names_what_it_leaves_out(report, shown):
    text = " ".join(shown(report).text(Look(120)).split())
    assert "at least 73.7 kMAC = 147 kFLOP; not counted: warp" in text


def test_a_shape_that_nobody_knows_is_no_scalar_of_four_bytes():
    report = inspect_network(network(sized=False))
    text = InspectionView(report).text(Look(120))
    assert "scalar" not in text
    assert "4 B" not in text
    assert "warp of unknown shape" in text
    assert "of unknown shape" in LayerView(report["warp"]).text()
    assert "at least" in report._repr_html_()
    assert report["warp"].activation_bytes == 0
    assert not report["warp"].sized


def test_json_says_which_totals_are_bounds(report):
    data = json.loads(report.to_json())
    assert data["uncounted"] == {"macs": ["warp"]}
    assert [layer["uncounted"] for layer in data["layers"]] == [False, True]
    assert json.loads(inspect_network(network(macs=0)).to_json())["uncounted"] == {}


def test_a_difference_names_what_is_no_longer_counted(report):
    whole = inspect_network(network(macs=1000))
    text = str(diff_reports(whole.to_dict(), report.to_dict()))
    assert "not counted" in text
    assert "new: warp" in text


def test_a_comparison_marks_costs_that_are_bounds():
    table = atrous.compare({"plain": "k3x8", "warped": network()}, input=(1, 4, 16, 16))
    text = ComparisonView(table).text(Look(200))
    assert ">=73.7 k" in text
    assert table.to_dict()["schemes"][1]["uncounted"] == {"macs": ["warp"]}
    # What is not counted cannot be called the cheaper one.
    assert not any("warped" in [scheme.name for scheme in group] for group in table.alike())


def test_a_certificate_gives_no_factor_between_bounds():
    from atrous.report.certificate import costs_text

    whole, part = (price(atrous.inspect(one)) for one in (network(macs=1000), network()))
    assert costs_text(part, part, "macs") == "at least 73.7 kMAC -> at least 73.7 kMAC"
    assert costs_text(whole, part, "macs") == "74.7 kMAC -> at least 73.7 kMAC"
    assert part.to_dict()["uncounted"] == {"macs": ["warp"]}


def test_more_phases_than_can_be_held_are_not_known_and_say_where():
    report = atrous.inspect("stack:ups4096 k3*100", (1, 1, 16))
    assert not report.complete
    assert report["conv60"].field[0].size == 2
    [reason] = report.opaque
    assert reason.startswith("conv65 (up to here the layers have more phases than the 262,144")
    assert atrous.inspect("stack:ups320 k3*100", (1, 1, 16)).complete
    long = atrous.inspect("stack:ups4096 k4095s4095 k3*3", (1, 1, 16))
    assert [axis.stride.numerator for axis in long.outputs[0].field] == [4095]
