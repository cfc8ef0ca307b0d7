"""Published and measured numbers: receptive fields, costs and holes of networks and stacks."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import combinations_with_replacement
from math import prod

import pytest

import atrous
from atrous.geometry import fills, hdc, inside_share, stack_taps, tail_factors
from atrous.network import Builder, zoo
from atrous.network.zoo.resnet import resnet_stages


@cache
def inspected(source: str, shape: tuple[int, ...] | None = None) -> atrous.Inspection:
    return atrous.inspect(source, shape)


def assert_square_field(layer, size: int, stride: int) -> None:
    assert [(axis.size, axis.stride) for axis in layer.field] == [(size, stride)] * 2


# Receptive fields, as in Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
# Neural Networks", Distill 2019, for the networks of TF-Slim without their heads.


@pytest.mark.parametrize(
    ("network", "layer", "size", "stride"),
    [
        ("alexnet", "features.12", 195, 32),
        ("vgg16", "features.30", 212, 32),
        ("mobilenet_v1", "Conv2d_13_pointwise", 315, 32),
        ("slim_resnet_v1_50", "block4", 483, 32),
        ("slim_resnet_v1_101", "block4", 1027, 32),
        ("slim_resnet_v1_152", "block4", 1507, 32),
    ],
)
def test_a_network_sees_what_the_article_on_receptive_fields_lists(network, layer, size, stride):
    assert_square_field(inspected(f"zoo:{network}")[layer], size, stride)


def test_the_pools_of_vgg16_see_6_16_44_100_and_212_positions():
    report = inspected("zoo:vgg16")
    for place, size, stride in zip(
        (4, 9, 16, 23, 30), (6, 16, 44, 100, 212), (2, 4, 8, 16, 32), strict=True
    ):
        assert_square_field(report[f"features.{place}"], size, stride)


def test_the_blocks_of_the_slim_resnet50_see_35_99_291_and_483_positions():
    report = inspected("zoo:slim_resnet_v1_50")
    for block, size, stride in zip((1, 2, 3, 4), (35, 99, 291, 483), (8, 16, 32, 32), strict=True):
        assert_square_field(report[f"block{block}"], size, stride)


def test_the_pointwise_layers_of_mobilenet_v1_see_7_to_315_positions():
    report = inspected("zoo:mobilenet_v1")
    sizes = [report[f"Conv2d_{i}_pointwise"].field[0].size for i in range(1, 14)]
    assert sizes == [7, 11, 19, 27, 43, 59, 91, 123, 155, 187, 219, 251, 315]


@pytest.mark.parametrize(
    ("network", "size"),
    [("resnet18", 435), ("resnet34", 899), ("resnet50", 427), ("resnet101", 971)],
)
def test_torchvisions_placement_of_strides_changes_what_a_resnet_sees(network, size):
    assert_square_field(inspected(f"zoo:{network}")["layer4"], size, 32)


@pytest.mark.parametrize(("network", "stride"), [("", 8), ("_os16", 16)])
def test_dilation_in_place_of_strides_leaves_what_resnet50_sees(network, stride):
    report = inspected(f"zoo:deeplabv3_resnet50{network}")
    assert_square_field(report["backbone.layer4"], 427, stride)


def test_global_pooling_makes_deeplab_global_and_its_local_field_is_kept():
    report = inspected("zoo:deeplabv3_resnet50")
    assert not report["backbone.layer4"].is_global
    assert not report["classifier.0.convs.3"].is_global
    # The widest branch: rate 36 at stride 8 adds 2 * 36 * 8 positions.
    assert_square_field(report["classifier.0.convs.3"], 427 + 576, 8)
    project = report["classifier.0.project"]
    assert project.globals == ("classifier.0.convs.4.0",)
    assert_square_field(project, 427 + 576, 8)
    assert [out.name for out in report.outputs] == ["aux", "out"]
    assert report.outputs[-1].output_shape == (1, 21, 520, 520)


def test_the_padded_unet_sees_204_positions_at_12_of_16_phases_and_188_at_4():
    (output,) = inspected("zoo:unet").outputs
    for axis in output.field:
        assert Counter(phase.size for phase in axis.phases) == {204: 12, 188: 4}
        assert (axis.size, axis.stride, axis.coverage) == (204, 1, 1.0)


# Time series.


@pytest.mark.parametrize(
    ("network", "size"), [("wavenet", 1024), ("wavenet_3stacks", 3070), ("tcn", 763)]
)
def test_a_causal_network_sees_the_published_number_of_samples_and_none_ahead(network, size):
    (output,) = inspected(f"zoo:{network}").outputs
    (axis,) = output.field
    assert (axis.size, axis.stride, axis.taps) == (size, 1, size)
    assert axis.start == 1 - size
    assert not output.is_global


def test_the_separator_of_conv_tasnet_sees_1531_frames_and_its_norms_see_all():
    report = inspected("zoo:conv_tasnet")
    layer = report["separator.blocks.23"]
    (axis,) = layer.field
    # Frames of 16 samples, one every 8.
    assert (axis.size, axis.stride) == ((1531 - 1) * 8 + 16, 8)
    assert layer.globals[0] == "separator.norm"
    assert report.outputs[0].output_shape == (1, 2, 32000)


@pytest.mark.parametrize(
    ("stack", "size"),
    [
        (" ".join(f"k2d{1 << i}causal" for i in range(10)), 1024),
        (" ".join(f"k2d{1 << i % 10}causal" for i in range(30)), 3070),
        (" ".join(f"k4d{1 << i // 2}causal" for i in range(14)), 763),
        (" ".join(f"dwk3d{1 << i % 8}" for i in range(24)), 1531),
    ],
    ids=["wavenet", "wavenet, three stacks", "tcn", "conv-tasnet"],
)
def test_a_stack_along_time_sees_1_plus_the_sum_of_its_rates(stack, size):
    (output,) = inspected(f"stack:{stack}", (1, 4, 4096)).outputs
    assert output.field[0].size == output.field[0].taps == size


# Single layers and small stacks.


def test_large_kernel_attention_sees_23_positions():
    (output,) = inspected("stack:dwk5 dwk7d3 k1", (1, 8, 64, 64)).outputs
    assert [(axis.size, axis.coverage) for axis in output.field] == [(23, 1.0)] * 2


def test_a_1x7_beside_a_7x1_convolution_reads_a_cross_of_13_and_no_box_of_49():
    b = Builder("cross")
    x = b.input("x", (1, 4, 15, 15))
    wide = b.conv(x, 4, (1, 7), padding="same", name="wide")
    tall = b.conv(x, 4, (7, 1), padding="same", name="tall")
    footprint = atrous.inspect(b.build(b.join(wide, tall))).footprint()
    assert [axis.size for axis in atrous.inspect(b.build(b.join(wide, tall))).outputs[0].field] == [
        7,
        7,
    ]
    assert footprint.mask.sum() == 13
    assert footprint.mask[7, 4:11].all()
    assert footprint.mask[4:11, 7].all()
    assert footprint.counts.sum() == 14
    assert footprint.counts[7, 7] == 2


def test_a_3x3_stride_2_window_on_8x8_makes_3x3_outputs():
    (output,) = inspected("stack:k3s2valid", (1, 1, 8, 8)).outputs
    assert output.output_shape == (1, 1, 3, 3)


def test_a_transposed_kernel_that_its_stride_does_not_divide_serves_phases_unequally():
    def taps(stack: str) -> list[int]:
        return [p.taps for p in inspected(stack, (1, 1, 64)).outputs[0].field[0].phases]

    assert sorted(taps("stack:tconvk3s2")) == [1, 2]
    assert sorted(taps("stack:tconvk5s3")) == [1, 2, 2]
    assert set(taps("stack:tconvk4s2")) == {2}


# Costs, in multiply-accumulates.


def test_the_published_costs_are_met():
    assert round(inspected("zoo:resnet50").macs / 1e9, 3) == 4.089
    assert round(inspected("zoo:deeplabv3_resnet50").macs / 1e9, 2) == 178.72
    vgg = inspected("zoo:vgg16")
    convs = sum(layer.macs for layer in vgg.layers if layer.op == "conv")
    assert round(convs / 1e9, 3) == 15.347
    # Howard et al. 2017, table 8: 569 million multiply-adds, 4.2 million parameters.
    mobilenet = inspected("zoo:mobilenet_v1")
    assert (round(mobilenet.macs / 1e6), round(mobilenet.params / 1e6, 1)) == (569, 4.2)


@pytest.mark.parametrize(
    ("dilate", "gmac"),
    [
        ((False, False, False), 21.4),
        ((False, False, True), 32.4),
        ((False, True, True), 99.7),
    ],
)
def test_what_resnet50_costs_at_512_grows_with_the_maps_that_stay_large(dilate, gmac):
    b = Builder()
    x = resnet_stages(b, b.input("x", (1, 3, 512, 512)), 50, dilate)[-1]
    network = b.build(b.linear(b.flatten(b.global_pool(x)), 1000))
    assert network.param_count == zoo.build("resnet50").param_count
    # 21.36: the head, which does not grow with the image, is 0.002 of it.
    assert network.macs / 1e9 == pytest.approx(gmac, abs=0.06)


# Holes: kernel 3, taps and extent along one axis, and the share of the square that is read.


@pytest.mark.parametrize(
    ("rates", "taps", "size", "square"),
    [
        ((2, 2, 2), 7, 13, 0.29),
        ((2, 4, 8), 15, 29, 0.27),
        ((1, 2, 9), 21, 25, 0.71),
        ((2, 2, 3), 13, 15, 0.75),
        ((1, 2, 5), 17, 17, 1.0),
        ((1, 2, 3), 13, 13, 1.0),
        ((1, 2, 4, 8), 31, 31, 1.0),
    ],
)
def test_a_stack_of_rates_reads_its_taps_out_of_its_extent(rates, taps, size, square):
    stack = " ".join(f"k3d{rate}" for rate in rates)
    report = inspected(f"stack:{stack}", (1, 1, 65, 65))
    (output,) = report.outputs
    for axis in output.field:
        assert (axis.taps, axis.size, axis.coverage) == (taps, size, taps / size)
    footprint = report.footprint()
    assert round(prod(axis.coverage for axis in output.field), 2) == square
    assert footprint.mask.sum() == taps**2


def dense_aspp(rates: tuple[int, ...]) -> atrous.Inspection:
    """Each layer reads the input and all layers before it."""
    b = Builder()
    x = b.input("x", (1, 4, 193, 193))
    for rate in rates:
        x = b.concat(x, b.conv(x, 4, 3, dilation=rate, padding="same"))
    return atrous.inspect(b.build(x))


def test_the_rates_of_denseaspp_leave_holes_unless_rate_1_comes_first():
    bare = dense_aspp((3, 6, 12, 18, 24))
    (axis, _) = bare.outputs[0].field
    assert (axis.size, axis.step) == (127, 3)
    assert axis.coverage == pytest.approx(0.34, abs=0.005)
    assert stack_taps(3, (3, 6, 12, 18, 24)).count == axis.taps
    full = dense_aspp((1, 3, 6, 12, 18, 24))
    assert (full.outputs[0].field[0].size, full.outputs[0].field[0].coverage) == (129, 1.0)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_stack_has_no_hole_exactly_where_the_ascending_rule_says_so(kernel):
    for depth in (1, 2, 3, 4):
        for rates in combinations_with_replacement(range(1, 11), depth):
            assert fills(kernel, rates) == (stack_taps(kernel, rates).coverage == 1), rates


def test_the_hdc_rule_passes_a_half_empty_stack_and_rejects_a_full_one():
    assert hdc(3, (2, 2, 2)).passes
    assert stack_taps(3, (2, 2, 2)).coverage < 0.54
    assert not hdc(3, (1, 2, 5, 1, 2, 5)).passes
    assert stack_taps(3, (1, 2, 5, 1, 2, 5)).coverage == 1
    # The rule depends on the order; coverage does not, the common factors of the tails do.
    assert not hdc(3, (1, 2, 9)).passes
    assert hdc(3, (9, 2, 1)).passes
    assert stack_taps(3, (1, 2, 9)) == stack_taps(3, (9, 2, 1))
    assert (tail_factors((1, 2, 4)), tail_factors((4, 2, 1))) == ((1, 2, 4), (1, 1, 1))


@pytest.mark.parametrize(("rate", "share"), [(12, 0.40), (24, 0.07), (36, 0.0)])
def test_few_positions_of_65x65_have_all_nine_taps_of_an_aspp_branch_inside(rate, share):
    assert round(float(inside_share(65, rate)) ** 2, 2) == share


@pytest.mark.parametrize("rate", [33, 36])
def test_a_rate_of_33_or_more_on_33x33_is_a_1x1_convolution(rate):
    report = inspected(f"stack:k3d{rate}", (1, 1, 33, 33))
    for at in ((0, 0), (16, 16), (32, 5)):
        mask = report.footprint(at=at).mask
        assert mask.sum() == 1
        assert mask[at]
