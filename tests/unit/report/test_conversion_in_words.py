"""What a conversion changes of each layer, in words."""

import pytest

import atrous
from atrous.conversion.edits import Edit
from atrous.report import ConversionView, Look
from atrous.report.certificate import output_text
from atrous.report.conversion import edits_text


@pytest.mark.parametrize(
    ("attribute", "before", "after", "words"),
    [
        ("stride", (2, 2), (1, 1), "stride 2 -> 1"),
        ("stride", (2, 1), (1, 1), "stride 2x1 -> 1"),
        ("dilation", None, (2, 2), "dilation none -> 2"),
        ("padding", ((0, 1), (0, 1)), ((0, 2), (0, 2)), "padding 0+1 -> 0+2"),
        ("padding", (1, (0, 1)), (2, (0, 2)), "padding 1x0+1 -> 2x0+2"),
        ("input padding", None, "2+(to size)", "input padding none -> 2+(to size)"),
    ],
)
def test_an_edit_in_words(attribute, before, after, words):
    assert edits_text([Edit("pool", attribute, before, after)]) == words


def test_each_layer_has_one_line_and_pools_say_what_becomes_of_their_windows():
    stack = "stack:k3s2x8 avgk3s2 k3x8 maxk2s2 k3x8"
    text = str(atrous.convert(stack, 2, input=(1, 3, 64, 64)))
    assert text.splitlines()[-6:] == [
        "--- output stride 8",
        "+++ output stride 2",
        "avg2: stride 2 -> 1",
        "conv3: dilation 1 -> 2, padding 1 -> 2",
        "max4: stride 2 -> 1, dilation 1 -> 2, padding 0+1 -> 0+2",
        "conv5: dilation 1 -> 4, padding 1 -> 4",
    ]


def test_lines_of_the_diff_fit_a_narrow_terminal():
    changed = atrous.convert("zoo:resnet50", 8, input=(1, 3, 64, 64), outputs="layer4")
    lines = ConversionView(changed).text(Look(40)).splitlines()
    diff = lines[lines.index("+++ output stride 8") :]
    assert len(diff) > 10
    assert all(len(line) <= 40 for line in diff)


def test_an_average_pool_that_torch_does_not_have_says_what_it_needs():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, 2, 1), torch.nn.AvgPool2d(2, 2), torch.nn.Conv2d(4, 4, 3, 1, 1)
    )
    dense = atrous.convert(model, 1, input=(1, 1, 32, 32))
    text = " ".join(str(dense).split())
    assert "1: stride 2 -> 1, padding 0 -> 0+(to size), dilation none -> 2" in text
    assert "a saved module needs atrous where it is loaded" in text
    assert "Dense(" not in text


@pytest.mark.parametrize(
    ("factor", "words"),
    [(4, "every 4th"), (2, "every 2nd"), (3, "every 3rd"), (11, "every 11th"), (21, "every 21st")],
)
def test_positions_that_are_kept_are_counted_as_people_count(factor, words):
    from fractions import Fraction

    from atrous.certification.certificate import OutputCertificate

    here = OutputCertificate("y", (Fraction(factor),), (0,), ((0, 0),), None, None, "exact")
    assert f"{words} position from 0 on is the original's" in output_text(here)
    fewer = OutputCertificate("y", (Fraction(1, factor),), (0,), ((0, 0),), None, None, "exact")
    assert f"{words} position of the original is left" in output_text(fewer)


def _said(record):
    return " ".join(str(record).split())


def test_fields_strides_and_reaches_are_shown_in_lengths_as_well():
    stack = "stack:k3s2x8 k3s2x8 [k3d6 | k3d12] k1"
    made = atrous.convert(stack, (2, 4), input=(1, 3, 129, 129)).scaled(pixel="0.5um,2um")
    said = _said(made)
    for part in (
        "every 2nd position along h, every position along w, from 0 on is the original's",
        "field 103x103 (51.5x206 um) as before",
        "output stride 4 -> 2x4 (coarsest map); 2x8 um -> 1x8 um",
        "conv3: rate 6 -> 12; its taps lie 24 input positions (12 um) apart along h, as before",
    ):
        assert part in said, said
    data = made.to_dict()
    assert data["heads"][0]["scaled"] == [
        {"axis": "h", "unit": "um", "reach_before": 12.0, "reach_after": 12.0}
    ]
    h, w = data["certificate"]["outputs"][0]["scaled"]
    assert (h["stride"], w["stride"], h["field"]) == ([2.0, 1.0], [8.0, 8.0], [51.5, 51.5])
    assert made.after.scales == made.certificate.scales
    assert "scaled" not in atrous.convert(stack, 2, input=(1, 3, 129, 129)).to_dict()["heads"][0]


def test_a_head_reaches_as_far_along_the_axis_that_is_changed():
    """By its own window there: along w nothing changes, and along h the rate follows the map."""
    stack = "stack:k3s2x8 k3s2x8 [k3d6 | k3d12] k1"
    for stride, axis in (((2, 4), "h"), ((4, 2), "w")):
        made = atrous.convert(stack, stride, input=(1, 3, 129, 129))
        assert [(h.axes, h.reach_before, h.reach_after) for h in made.heads] == [
            ((axis,), 24, 24),
            ((axis,), 48, 48),
        ]


def test_margins_and_phases_are_shown_in_ms_as_well():
    reference, shape = "stack:k3s2x4 k3", (1, 4, 64)
    found = atrous.audit(reference, "stack:k3p(0,2)x4 k3d2", input=shape).scaled(rate=1000)
    said = _said(found)
    assert found.verdict == "shifted"
    # Outputs of the reference lie 2 samples apart, those of the candidate 1.
    assert "every 2nd position from -1 (-1 ms) on is the original's" in said
    assert "margin of 2 low, 1 high (positions of the original; 4 ms low, 2 ms high)" in said
    assert "output stride 2 -> 1 (coarsest map); 2 ms -> 1 ms" in said
    assert "padding (0, 2), not padding 1: the first of 32 positions along t (2 ms) differs" in said
    (output,) = found.to_dict()["outputs"]
    assert output["scaled"] == [
        {
            "axis": "t",
            "unit": "ms",
            "margin": [4.0, 2.0],
            "phase": -1.0,
            "stride": [2.0, 1.0],
            "field": [7.0, 7.0],
        }
    ]


def test_fields_that_a_conversion_changes_are_told_apart():
    kept = atrous.convert("stack:k3s2x4 [k3d3 | k3d5] k1", 1, input=(1, 4, 64), heads="keep")
    assert "rate 3 -> 3; its taps lie 3 input positions apart, were 6" in _said(kept)
    found = atrous.audit("zoo:deeplabv3_resnet50_os16", "zoo:deeplabv3_resnet50")
    assert "local field" in _said(found)


def test_names_that_are_long_stand_in_a_line_of_their_own():
    found = atrous.audit("stack:k3s2 k3 k3 k3", "stack:k3 k3d2 k3d2 k3d2", input=(1, 4, 64))
    first, second, *rest = str(found).splitlines()
    assert first == "exact: the same positions are read, borders included"
    assert second == "compared      stack:k3 k3d2 k3d2 k3d2 against stack:k3s2 k3 k3 k3"
    assert all(len(line) <= 80 for line in rest)
