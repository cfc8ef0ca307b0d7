"""What `optimize` did, as a table: every row in one line, whatever the terminal's width."""

import pytest

from atrous.optimization.records import Explanation, LayerChoice
from atrous.report import ExplanationView
from atrous.report.lines import Look


def explained(strategy="winograd 4"):
    rows = (
        LayerChoice("backbone.stage1.0.conv1", "conv k3 s2 + relu", "torch", 0.0, 0.0),
        LayerChoice(
            "backbone.stage2.0.conv1", "conv k3 d2 + relu", strategy, 12.1, 4.05, 7.8e-7,
            error=3.8e-7, direct_error=1.9e-7,
        ),
    )  # fmt: skip
    return Explanation("Net", "graph", "contiguous", 9.0, 4.0, 0.0, rows, (), 1, "", ())


@pytest.mark.parametrize("strategy", ["winograd 4", "a kernel of 20 chars"])
@pytest.mark.parametrize("width", [80, 90, 120])
def test_each_layer_stands_in_one_row(width, strategy):
    lines = ExplanationView(explained(strategy)).text(Look(width)).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(strategy in line for line in lines) == 1


def test_rounding_stands_beside_the_definitions_or_as_a_ratio():
    wide, narrow = (ExplanationView(explained()).text(Look(width)) for width in (120, 80))
    assert "error (direct)" in wide
    assert "3.8e-07 (1.9e-07)" in wide
    assert "of direct" in narrow
    assert "2.0x" in narrow


def test_a_time_below_what_the_clock_tells_is_not_known():
    text = ExplanationView(explained()).text(Look(120))
    (row,) = (line for line in text.splitlines() if "stage1" in line)
    assert "0.000 ms" not in row
    assert row.split("torch")[1].split()[:2] == ["?", "?"]
    assert "difference    0 of the largest output" in text
