"""Findings on real models: what measurements of them have shown, at the layer where it arises."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision

import atrous


def found(report, code):
    return {f.layer: f for f in report.findings if f.code == code}


def inspected(model, size):
    return atrous.inspect(model.eval(), (1, 3, size, size))


def test_the_widest_branch_of_torchvisions_mobile_deeplab_is_a_1x1_at_520_px():
    model = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None
    )
    report = inspected(model, 520)
    findings = found(report, "aspp-center")
    assert list(findings) == ["classifier.0.convs.3.0", "classifier.0.convs.2.0"]
    assert findings["classifier.0.convs.3.0"].severity == "warning"
    assert "rate 36 on a map of 33x33" in findings["classifier.0.convs.3.0"].message
    assert report.findings[0].layer == "classifier.0.convs.3.0"

    # The branch itself agrees: its outer weights change nothing.
    branch = model.get_submodule("classifier.0.convs.3.0").double()
    x = torch.rand(1, branch.in_channels, 33, 33, dtype=torch.float64)
    with torch.no_grad():
        whole = branch(x)
        branch.weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        assert torch.equal(branch(x), whole)


def test_a_resnet_converted_to_output_stride_8_ends_on_sub_grids():
    model = timm.create_model("resnet18", features_only=True, output_stride=8)
    report = inspected(model, 128)
    (finding,) = found(report, "subgrids").values()
    assert (finding.layer, finding.severity) == ("layer3.0.conv2", "warning")
    assert "one position in 2 of" in finding.message
    assert "4 further on" in finding.message
    assert not found(report, "gridding")
    plain = inspected(timm.create_model("resnet18", features_only=True), 128)
    assert not found(plain, "subgrids")


def test_the_layers_that_put_convnext_at_output_stride_8_off_by_a_cell_are_found():
    model = timm.create_model("convnext_atto", features_only=True, output_stride=8)
    findings = found(inspected(model, 64), "half-cell-shift")
    assert {name: f.severity for name, f in findings.items()} == {
        "stages_3.downsample.1": "warning",
        "stages_2.downsample.1.conv2d": "info",
    }
    assert "1 cell, 8 input positions" in findings["stages_3.downsample.1"].message
    plain = inspected(timm.create_model("convnext_atto", features_only=True), 64)
    assert not found(plain, "half-cell-shift")


def test_the_pooled_shortcuts_of_a_resnet_d_at_output_stride_8_do_not_line_up():
    model = timm.create_model("resnet18d", features_only=True, output_stride=8)
    findings = found(inspected(model, 64), "misaligned-join")
    assert list(findings) == ["layer3.0.add", "layer4.0.add"]
    assert all("half a cell" in f.message for f in findings.values())
    plain = inspected(timm.create_model("resnet18d", features_only=True), 64)
    assert not found(plain, "misaligned-join")


@pytest.mark.parametrize("name", ["densenet121", "inception_v3", "vgg11", "mobilenetv3_large_100"])
def test_no_alarm_is_raised_on_sound_models(name):
    report = inspected(timm.create_model(name), 224 if name != "inception_v3" else 299)
    assert {f.code for f in report.findings} <= {"field-exceeds-input", "global"}
