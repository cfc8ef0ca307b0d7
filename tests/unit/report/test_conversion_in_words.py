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
