"""Audits of what other libraries convert: the measured facts, and the layer at fault."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

import atrous
from atrous import ReadError

SHAPE = (1, 3, 64, 64)


def backbone(name: str, stride: int = 32) -> nn.Module:
    """A timm backbone at an output stride, its coarsest map only."""
    options = {} if stride == 32 else {"output_stride": stride}
    return timm.create_model(name, features_only=True, out_indices=(-1,), **options).eval()


def audited(name: str, stride: int) -> atrous.Certificate:
    """timm's conversion against its original."""
    return atrous.audit(backbone(name), backbone(name, stride), input=SHAPE)


RIGHT = ["resnet18", "mobilenetv2_100", "regnetx_002", "xception41", "repvgg_a0", "cspresnet50"]


@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_conversion_is_exact_and_nothing_is_complained_of(name):
    found = audited(name, 8)
    assert found.verdict == "exact"
    assert found.agrees
    assert not found.causes
    assert found.outputs[0].factor == (4, 4)
    assert found.outputs[0].relative_error < 1e-12


WRONG = {
    # name, output stride: the first layer at fault, and what it should be
    ("resnet18d", 8): ("layer4.0.downsample.0", "it should have rate 2"),
    ("resnet26t", 8): ("layer4.0.downsample.0", "it should have rate 2"),
    ("nf_resnet26", 8): ("stages_3.0.downsample.pool", "it should have rate 2"),
    ("resnetblur18", 8): ("layer4.0.aa.conv2d", "it should have rate 2"),
    ("gernet_s", 16): ("stages_4.0.conv2_kxk.conv", "it should have rate 2, padding 2"),
}


@pytest.mark.parametrize(("name", "stride"), WRONG)
def test_a_wrong_conversion_is_broken_at_the_layer_at_fault(name, stride):
    layer, what = WRONG[name, stride]
    found = audited(name, stride)
    assert found.verdict == "broken"
    assert found.agrees
    assert found.causes[0].layer == layer
    assert what in found.causes[0].why
    assert found.outputs[0].relative_error > 0.3


def test_convnext_is_shifted_by_one_phase_at_output_stride_8():
    found = audited("convnext_atto", 8)
    assert found.verdict == "shifted"
    assert found.agrees
    assert found.outputs[0].phase == (1, 1)
    assert found.outputs[0].relative_error < 1e-12
    assert found.causes[0].layer == "stages_3.downsample.1"
    assert "0 on the low side would keep them in place" in found.causes[0].why


class Gate(nn.Module):
    """Stands for squeeze-and-excitation, and does not look at the map."""

    def forward(self, x):
        return x * 0.7


def gated(model: nn.Module) -> nn.Module:
    """The model with every squeeze-and-excitation replaced."""
    for name, _ in list(model.named_modules()):
        if name.endswith(".se"):
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, Gate())
    return model


def test_a_padding_worked_out_anew_is_shifted_once_the_gates_are_constant():
    name = "tf_efficientnetv2_b0"
    found = audited(name, 16)
    assert found.verdict == "approximate"
    assert "mixes all positions" in found.causes[0].why
    found = atrous.audit(gated(backbone(name)), gated(backbone(name, 16)), input=SHAPE)
    assert found.verdict == "shifted"
    assert found.outputs[0].phase == (1, 1)


def test_torchvision_resnet50_is_exact_and_mobilenetv3_broken():
    models = torchvision.models
    replace = [False, True, True]
    found = atrous.audit(
        models.resnet50(weights=None),
        models.resnet50(weights=None, replace_stride_with_dilation=replace),
        input=SHAPE,
        outputs="layer4",
    )
    assert found.verdict == "exact"
    found = atrous.audit(
        models.mobilenet_v3_large(weights=None),
        models.mobilenet_v3_large(weights=None, dilated=True),
        input=SHAPE,
        outputs="features",
    )
    assert found.verdict == "broken"
    assert found.agrees
    first = found.causes[0]
    assert first.layer == "features.13.block.1.0"
    assert first.why == (
        "rate 2, padding 4; the stride is removed here, so it should keep rate 1, padding 2"
    )


def dilate_whole_stage(stage: nn.Module, rate: int) -> None:
    """What segmentation_models_pytorch does: every convolution, the strided one too."""
    for part in stage.modules():
        if isinstance(part, nn.Conv2d):
            part.stride, part.dilation = (1, 1), (rate, rate)
            part.padding = tuple(k // 2 * rate for k in part.kernel_size)


def test_a_stage_dilated_as_a_whole_is_broken_at_its_strided_layer():
    model = torchvision.models.resnet18(weights=None)
    wrong = copy.deepcopy(model)
    dilate_whole_stage(wrong.layer4, 2)
    found = atrous.audit(model, wrong, input=SHAPE, outputs="layer4")
    assert found.verdict == "broken"
    assert found.agrees
    assert str(found.causes[0]) == (
        "layer4.0.conv1: rate 2, padding 2; the stride is removed here, so it should keep rate 1, "
        "padding 1"
    )
    assert len({cause.layer for cause in found.causes}) == 1


def test_a_pool_left_strided_and_a_layer_left_out_are_named():
    def net(last: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2, 1), last)

    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2, 2), nn.Conv2d(4, 4, 3, padding=1)
    )
    found = atrous.audit(model, net(nn.Conv2d(4, 4, 3, padding=1)), input=SHAPE)
    assert found.verdict == "broken"
    assert found.causes[0].layer == "2"
    assert "a stride of 2 was removed before it" in found.causes[0].why
    other = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AvgPool2d(2, 2), nn.Conv2d(4, 4, 3, 1, 1))
    found = atrous.audit(model, other, input=SHAPE)
    assert found.causes[0].layer == "1"
    assert "pools by average in the candidate, and by max in the reference" in found.causes[0].why


def test_numbers_that_differ_where_the_structure_agrees_are_reported_as_a_disagreement():
    class Scaled(nn.Module):
        """Two layers; what comes between them is a constant that no parameter holds."""

        def __init__(self, scale):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.scale = scale

        def forward(self, x):
            return self.two(self.one(x) * self.scale)

    found = atrous.audit(Scaled(1.0), Scaled(1.5), input=SHAPE)
    assert found.verdict == "broken"
    assert not found.agrees
    assert any("the two halves disagree" in cause.why for cause in found.causes)
    assert any(
        cause.layer == "two" and "first layer whose map differs" in cause.why
        for cause in found.causes
    )


def test_the_same_model_is_exact():
    model = torchvision.models.resnet18(weights=None)
    found = atrous.audit(model, model, input=SHAPE)
    assert found.verdict == "exact"
    assert found.before == found.after


def test_models_with_other_parameters_are_refused_by_name():
    one, two = nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.Conv2d(3, 5, 3))
    with pytest.raises(ReadError, match=r"'0\.weight' is \(4, 3, 3, 3\) in the reference"):
        atrous.audit(one, two, input=SHAPE)


def test_a_cheaper_candidate_is_audited_as_well():
    dense, strided = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(3, 4, 3, 2, 1)
    rest = nn.Conv2d(4, 4, 3, 1, 2, dilation=2), nn.Conv2d(4, 4, 3, 1, 1)
    found = atrous.audit(
        nn.Sequential(dense, rest[0]), nn.Sequential(strided, rest[1]), input=SHAPE
    )
    assert found.verdict == "exact"
    assert [str(f) for f in found.outputs[0].factor] == ["1/2", "1/2"]


def test_verdicts_do_not_depend_on_random_numbers_of_the_caller():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    audited("convnext_atto", 16)
    # timm draws weights when a model is made; the audit itself draws from its own generators.
    torch.set_rng_state(before)
    model = torchvision.models.resnet18(weights=None)
    state = torch.get_rng_state()
    atrous.audit(model, model, input=SHAPE)
    assert torch.equal(state, torch.get_rng_state())
