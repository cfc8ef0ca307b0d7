"""Strides that are fractions because of resampling: why, and by the sizes."""

from fractions import Fraction

import pytest

from atrous import Builder
from atrous.analysis import inspect_network
from atrous.analysis.check import check_report
from atrous.analysis.requirements import parse_rules
from atrous.analysis.resampled import resampled_strides
from atrous.network import zoo
from atrous.network.ops import Resize
from tests.command import atrous as command


def _decoder(size, target, coordinates, behind=True):
    b = Builder("decoder")
    x = b.input("x", (1, 3, size, size))
    y = b.conv(x, 8, 3, stride=8, padding=1, name="down")
    y = b.add(Resize((target, target), "linear", coordinates), y, name="up")
    return inspect_network(b.build(b.conv(y, 2, 1, name="head") if behind else y))


@pytest.mark.parametrize(
    ("size", "target", "coordinates", "stride", "text"),
    [
        (520, 513, "align_corners", Fraction(1), ""),
        (520, 520, "align_corners", Fraction(512, 519), "65 to 520, corners aligned: 8 x 64/519"),
        (513, 513, "half_pixel", Fraction(520, 513), "65 to 513: 8 x 65/513"),
        (512, 1024, "half_pixel", Fraction(1, 2), ""),
        (512, 512, "half_pixel", Fraction(1), ""),
    ],
)
def test_why_a_stride_is_a_fraction(size, target, coordinates, stride, text):
    report = _decoder(size, target, coordinates)
    output = report.outputs[0]
    assert {field.stride for field in output.field} == {stride}
    found = resampled_strides(report, output)
    said = " ".join(str(report).split())
    if not text:
        assert not found
        assert "resamples" not in said
        return
    assert set(found) == {"h", "w"}
    assert found["h"].by_sizes == Fraction(size, target)
    assert f"output stride {stride}; up resamples {text}; by sizes 1" in said


@pytest.mark.parametrize(
    ("size", "coordinates", "inputs"), [(513, "half_pixel", 65), (520, "align_corners", 65)]
)
@pytest.mark.parametrize("behind", [True, False])
def test_a_rule_on_the_output_stride_is_judged_by_the_sizes(size, coordinates, inputs, behind):
    report = _decoder(size, size, coordinates, behind)
    stride = report.outputs[0].field[0].stride
    assert stride != 1
    assert check_report(report, parse_rules("output-stride", "==1"))
    broken = str(check_report(report, parse_rules("output-stride", "==2")))
    why = f"is 1 (by sizes; positions lie {stride} apart, as up resamples {inputs} to {size})"
    assert why in broken


def test_the_view_of_one_layer_says_why():
    said = " ".join(command("inspect", "zoo:deeplabv3_resnet50_os16", "-l", "out").stdout.split())
    assert "stride out resamples 33 to 520: 16 x 33/520; by sizes 1" in said
    assert "66/65" in said


def test_a_baseline_is_judged_by_its_sizes_as_well():
    one, two = _decoder(513, 513, "half_pixel"), _decoder(512, 512, "half_pixel")
    assert check_report(one, parse_rules("output-stride", "<=+0"), baseline=two)
    assert check_report(two, parse_rules("output-stride", ">=+0"), baseline=one)


def test_a_stride_that_is_whole_or_made_by_windows_is_judged_as_it_is():
    report = inspect_network(zoo.build("resnet18", (1, 3, 225, 225)), output="layer4")
    assert check_report(report, parse_rules("output-stride", "==32"))
    assert not resampled_strides(report, report.outputs[0])
