"""Known networks against what their papers and their authors' code say about them."""

from __future__ import annotations

import pytest

import atrous
from atrous.network import zoo


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("densenet121", 7_978_856),
        ("inception_v3", 23_834_568),
        ("drn_c_26", 21_126_584),
        ("fcn8s", 134_489_759),
        # The paper gives this number in full.
        ("unet3d", 19_069_955),
    ],
)
def test_the_number_of_parameters_is_the_published_one(name, params):
    assert zoo.build(name).param_count == params


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("deeplabv3_mobilenet_v2", 2.11),
        ("espnet", 0.36),
        ("van_b0", 4.1),
        ("d_linknet34", 31.1),
    ],
)
def test_the_number_of_parameters_is_near_the_rounded_one_that_was_published(name, millions):
    assert zoo.build(name).param_count / 1e6 == pytest.approx(millions, rel=0.015)


def test_deeplab_on_mobilenet_costs_what_its_paper_says():
    # Table 7 of Sandler et al. 2018: 2.75 G at output stride 16 and, without the extra pooling of
    # scales, 513 pixels.
    assert zoo.build("deeplabv3_mobilenet_v2").macs / 1e9 == pytest.approx(2.75, rel=0.01)


def test_the_last_feature_of_fcn_sees_404_pixels_at_stride_32():
    # Table 1 of Long et al. 2015.
    layer = atrous.inspect("zoo:fcn8s")["fc7"]
    assert [axis.size for axis in layer.field] == [404, 404]
    assert layer.output_stride == (32, 32)


def test_drn_keeps_stride_8_and_its_tail_fills_what_its_rates_leave():
    report = atrous.inspect("zoo:drn_c_26")
    assert report["layer8.0.relu@1"].output_stride == (8, 8)
    assert report["layer8.0.relu@1"].output_shape == (1, 512, 28, 28)
    assert report["layer8.0.relu@1"].field[0].coverage == 1


def test_denseaspp_stays_at_stride_8_and_adds_126_cells_of_reach():
    report = atrous.inspect("zoo:denseaspp121")
    before, after = (report[name].field[0] for name in ("features.relu5", "classification"))
    assert before.stride == after.stride == 8
    assert after.size - before.size == 126 * 8
    assert after.coverage == 1


def test_deeplab_on_mobilenet_keeps_the_rate_where_the_stride_goes_and_doubles_it_behind():
    report = atrous.inspect("zoo:deeplabv3_mobilenet_v2")
    network = report.network
    rates = {
        index: network.node(f"backbone.features.{index}.conv.1.0").op.windows[0].dilation
        for index in range(2, 18)
    }
    assert rates == {index: 2 if index > 14 else 1 for index in range(2, 18)}
    assert report["classifier.1"].output_stride == (16, 16)


@pytest.mark.parametrize(
    ("name", "stride", "side", "rates"),
    [
        ("deeplabv3plus_resnet50", 16, 33, (6, 12, 18)),
        ("deeplabv3plus_resnet50_os8", 8, 65, (12, 24, 36)),
    ],
)
def test_deeplab_v3_plus_decodes_at_stride_4_what_its_pyramid_saw(name, stride, side, rates):
    report = atrous.inspect(f"zoo:{name}")
    pyramid = report["classifier.0.project.0"]
    assert pyramid.output_shape == (1, 256, side, side)
    assert pyramid.output_stride == (stride, stride)
    for index, rate in enumerate(rates, 1):
        window = report.network.node(f"classifier.0.convs.{index}.0").op.windows[0]
        assert (window.kernel, window.dilation) == (3, rate)
    assert report["decoder.low_level.0"].output_shape == (1, 48, 129, 129)
    assert report["decoder.classifier"].output_shape == (1, 21, 129, 129)
    assert report.outputs[0].output_shape == (1, 21, 513, 513)
    params = report.network.params
    assert params["decoder.conv1.0.weight"].count == (256 + 48) * 256 * 9
    assert params["decoder.conv2.0.weight"].count == 256 * 256 * 9


def test_regsegs_backbone_sees_3807_pixels_at_stride_16():
    # The paper's name for it is field of view.
    report = atrous.inspect("zoo:regseg_backbone")
    last = report.outputs[0]
    assert [axis.size for axis in last.field] == [3807, 3807]
    assert report.outputs[0].output_stride == (16, 16)
    assert report.outputs[0].output_shape == (1, 320, 64, 128)


def test_large_kernel_attention_is_a_window_of_23():
    report = atrous.inspect("zoo:van_b0")
    entered, left = (
        report[f"block1.0.attn.{name}"].field[0]
        for name in ("proj_1", "spatial_gating_unit.conv_spatial")
    )
    assert (left.size - entered.size) // 4 + 1 == 23
    assert left.coverage == 1


def test_the_unpadded_3d_unet_gives_the_papers_tile():
    assert atrous.inspect("zoo:unet3d").outputs[0].output_shape == (1, 3, 44, 44, 28)


def test_bytenet_sees_six_stacks_of_rates_and_nothing_later():
    layer = atrous.inspect("zoo:bytenet_decoder").outputs[0]
    assert layer.field[0].size == 1 + 6 * 2 * (1 + 2 + 4 + 8 + 16)
    assert layer.field[0].start == 1 - layer.field[0].size
    assert not layer.is_global


def test_rave_encodes_128_steps_into_one():
    report = atrous.inspect("zoo:rave")
    assert report["encoder.last"].output_stride == (128,)
    assert report["encoder.last"].output_shape == (1, 128, 64)
    assert report.outputs[0].output_shape == (1, 16, 8192)
