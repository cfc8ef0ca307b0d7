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
from tests.shortened import FEW_DENSE_LAYERS, NARROW, shortened

SHAPE = (1, 3, 64, 64)


def backbone(name: str, stride: int = 32) -> nn.Module:
    """A timm backbone at an output stride, its coarsest map only, two of the blocks it repeats.

    ResNets have few channels.
    """
    options = {} if stride == 32 else {"output_stride": stride}
    options |= NARROW if name.startswith("res") else {}
    options |= {"ch_div": 8, "channels": (64, 96, 128, 160)} if name == "nf_resnet26" else {}
    model = timm.create_model(name, features_only=True, out_indices=(-1,), **options)
    return shortened(model).eval()


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
        shortened(models.resnet50(weights=None, width_per_group=8)),
        shortened(
            models.resnet50(weights=None, width_per_group=8, replace_stride_with_dilation=replace)
        ),
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
    model = backbone("resnet18")
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
    audited("resnet18", 16)
    # timm draws weights when a model is made; the audit itself draws from its own generators.
    torch.set_rng_state(before)
    model = backbone("resnet18")
    state = torch.get_rng_state()
    atrous.audit(model, model, input=SHAPE)
    assert torch.equal(state, torch.get_rng_state())


def head(pool, act=nn.ReLU, end=nn.Identity) -> nn.Sequential:
    """A small classifier; only its parameters are the same in all of them."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), act(), pool(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, 5), end()).eval()


AVERAGE, MAX = nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d
CLASSIFIERS = {
    "average against max": (head(AVERAGE), head(MAX)),
    "another slope": (
        head(AVERAGE, lambda: nn.LeakyReLU(0.01)),
        head(AVERAGE, lambda: nn.LeakyReLU(0.9)),
    ),
    "softmax against sigmoid": (
        head(AVERAGE, end=lambda: nn.Softmax(-1)),
        head(AVERAGE, end=nn.Sigmoid),
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_that_compute_other_things_are_broken_and_each_is_exact_against_itself(name):
    one, other = CLASSIFIERS[name]
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(one(x), other(x), atol=1e-3)
    found = atrous.audit(one, other, input=(1, 3, 32, 32))
    assert found.verdict == "broken"
    assert found.outputs[0].state in ("measured", "disagrees")
    assert found.outputs[0].relative_error > 1e-3
    for model in (one, other):
        same = atrous.audit(model, copy.deepcopy(model), input=(1, 3, 32, 32))
        assert (same.verdict, same.state, same.agrees) == ("exact", "measured", True)
        assert len(same.measured_at) == 2


def test_the_pool_of_a_classifier_is_named():
    found = atrous.audit(*CLASSIFIERS["average against max"], input=(1, 3, 32, 32))
    assert str(found.causes[0]) == (
        "3: it pools by max in the candidate, and by average in the reference"
    )


def upsampled(**how) -> nn.Module:
    """A convolution, a resampling and a convolution."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.Upsample(**how), nn.Conv2d(8, 8, 3, padding=1)
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"mode": "bilinear", "align_corners": True}, "by linear with align_corners"),
        ({"mode": "nearest"}, "by nearest"),
        ({"mode": "bicubic"}, "by cubic with half_pixel"),
    ],
)
def test_another_resampling_rule_of_the_same_size_is_broken(how, words):
    one, other = (upsampled(scale_factor=2, **h) for h in ({"mode": "bilinear"}, how))
    found = atrous.audit(one, other, input=(1, 3, 32, 32))
    assert (found.verdict, found.state) == ("broken", "measured")
    assert found.causes[0].layer == "1"
    assert f"it resamples {words} in the candidate" in found.causes[0].why


def test_a_resampling_that_copies_a_map_is_the_same_by_every_rule():
    one, other = (upsampled(size=(32, 32), mode=mode) for mode in ("bilinear", "bicubic"))
    at = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(one(at), other(at), atol=1e-6)
    found = atrous.audit(one, other, input=(1, 3, 32, 32))
    assert found.outputs[0].checks[0].measured == "exact"
    # At another size the two rules make other values: the verdict is that of both sizes.
    assert found.verdict == "broken"


class Padded(nn.Module):
    """A strided convolution on a map that is padded by a function."""

    def __init__(self, low, high):
        super().__init__()
        self.edges, self.conv = (low, high, low, high), nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, x):
        return self.conv(nn.functional.pad(x, self.edges))


def test_a_padding_by_a_function_is_named_with_what_it_should_be():
    found = atrous.audit(Padded(1, 1), Padded(0, 1), input=SHAPE)
    assert found.verdict == "broken"
    assert found.causes[0].layer == "pad"
    assert found.causes[0].why.startswith("it pads by (0, 1), and by (1, 1) in the reference")
    assert "stride 2 keeps other positions" in found.causes[1].why
    for cause in found.causes:
        assert "should be padding 0" not in cause.why


class Strict(nn.Module):
    """Four strided layers that take only what divides by 16; a trace does not see that."""

    def __init__(self):
        super().__init__()
        self.b = nn.Sequential(*[nn.Conv2d(3 if i == 0 else 8, 8, 3, 2, 1) for i in range(4)])

    def forward(self, x):
        if not torch.compiler.is_compiling() and (x.shape[-1] % 16 or x.shape[-2] % 16):
            raise RuntimeError(f"Wrong input shape {tuple(x.shape)}: not divisible by 16.")
        return self.b(x)


def strict_pair() -> tuple[nn.Module, nn.Module]:
    """A model that checks its sizes, and the same at output stride 4."""
    torch.manual_seed(0)
    model = Strict().eval()
    dense = copy.deepcopy(model)
    dense.b[2].stride = dense.b[3].stride = (1, 1)
    dense.b[3].dilation = dense.b[3].padding = (2, 2)
    return model, dense


def test_a_size_that_a_model_refuses_outside_a_trace_is_noted_and_another_is_taken():
    model, dense = strict_pair()
    for found in (
        atrous.audit(model, dense, input=SHAPE),
        atrous.convert(model, 4, input=SHAPE).certificate,
    ):
        assert (found.verdict, found.state) == ("exact", "measured")
        assert found.measured_at[0] == (64, 64)
        assert len(found.measured_at) == 2
        assert all(size % 16 == 0 for sizes in found.measured_at for size in sizes)
        assert "not divisible by 16" in found.notes[0]


def test_a_size_asked_for_that_a_model_refuses_is_noted_and_one_near_it_is_judged():
    model, dense = strict_pair()
    found = atrous.audit(model, dense, input=(1, 3, 60, 64))
    assert (found.verdict, found.state) == ("exact", "measured")
    assert "does not take 1x3x60x64" in found.notes[0]
    assert "1x3x64x64 is judged in its place" in found.notes[0]
    assert found.measured_at[0] == (64, 64)


class Joined(nn.Module):
    """A decoder whose skip fits only what divides by 4."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x):
        a = self.one(x)
        return a + self.up(self.two(a))


def test_a_join_that_does_not_fit_is_a_size_that_is_refused():
    torch.manual_seed(0)
    model = Joined().eval()
    found = atrous.audit(model, copy.deepcopy(model), input=SHAPE)
    assert (found.verdict, found.state) == ("exact", "measured")
    assert [size[0] % 4 for size in found.measured_at[:2]] == [0, 0]
    found = atrous.audit(model, copy.deepcopy(model), input=(1, 3, 62, 62))
    assert (found.verdict, found.state) == ("exact", "measured")
    assert "the reference does not take 1x3x62x62" in found.notes[0]
    assert found.measured_at[0] == (64, 64)


def test_a_model_of_one_size_is_judged_at_that_size():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.end = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8 * 16 * 16, 5)

        def forward(self, x):
            return self.end(self.conv(x).flatten(1))

    torch.manual_seed(0)
    model = Fixed().eval()
    found = atrous.audit(model, copy.deepcopy(model), input=(1, 3, 32, 32))
    assert (found.verdict, found.state, found.measured_at) == ("exact", "measured", ((32, 32),))
    assert found.notes[0].startswith("not checked at ")


def test_a_verdict_holds_beyond_the_size_asked_for():
    # At 128 and at 129 all maps of a patchified stem are alike, and even.
    found = atrous.audit(backbone("convnext_atto"), backbone("convnext_atto", 16), input=SHAPE)
    assert (found.verdict, found.state) == ("interior", "measured")
    assert found.outputs[0].margin == ((0, 6), (0, 6))
    checks = {check.sizes[0]: check for check in found.outputs[0].checks}
    assert checks[64].measured == "exact"
    # A map as small as its margin says nothing, and is not called broken.
    assert checks[63].proved == "interior"
    assert "takes every position" in checks[63].why
    assert checks[max(checks)].measured == "interior"


def test_a_map_smaller_than_its_margin_is_not_broken():
    found = atrous.audit(backbone("resnet18d"), backbone("resnet18d", 16), input=SHAPE)
    assert (found.verdict, found.state) == ("interior", "measured")
    assert found.agrees


class Several(nn.Module):
    """Outputs in a dict: a map, whole numbers, a scalar, and a tensor that no input reaches."""

    def __init__(self, scale=1.0, shift=0):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)
        self.scale, self.shift = scale, shift

    def forward(self, x):
        y = self.conv(x)
        best = (y * self.scale).argmax(1) + self.shift
        return {"map": y, "more": [best, (y * self.scale).mean()], "table": torch.arange(4.0)}


def test_outputs_in_a_structure_are_each_compared():
    torch.manual_seed(0)
    model = Several().eval()
    found = atrous.audit(model, Several().eval(), input=SHAPE)
    assert [output.verdict for output in found.outputs] == ["exact"] * 4
    assert [output.state for output in found.outputs] == [*["measured"] * 3, "not run"]
    assert found.not_run[0][1] == "it holds the same whatever the input, which tells nothing"
    for other, broken in ((Several(shift=1), 1), (Several(scale=2.0), 2)):
        found = atrous.audit(model, other.eval(), input=SHAPE)
        verdicts = [output.verdict for output in found.outputs]
        assert verdicts == ["broken" if i == broken else "exact" for i in range(4)]


class Masked(nn.Module):
    """Minus infinity where a map is small, and not a number in a corner."""

    def __init__(self, bound):
        super().__init__()
        self.conv, self.bound = nn.Conv2d(3, 4, 3, padding=1), bound

    def forward(self, x):
        y = self.conv(x)
        y = y.masked_fill(y < self.bound, float("-inf"))
        corner = torch.zeros_like(y)
        corner[..., 0, 0] = float("nan")
        return y + corner


def test_what_is_not_finite_in_both_is_the_same_and_in_one_is_not():
    torch.manual_seed(0)
    model = Masked(0.0).eval()
    found = atrous.audit(model, Masked(0.0).eval(), input=SHAPE)
    assert (found.verdict, found.state) == ("exact", "measured")
    assert atrous.audit(model, Masked(0.1).eval(), input=SHAPE).verdict == "broken"


class Words(nn.Module):
    """Indices and a mask beside a map."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.words, self.conv = nn.Embedding(11, 6), nn.Conv1d(6, 4, 3, padding=1)
        self.scale = scale

    def forward(self, tokens, weight):
        return self.conv(self.words(tokens).transpose(1, 2) * self.scale * weight)


def test_several_inputs_some_of_them_indices_are_run():
    torch.manual_seed(0)
    model = Words().eval()
    given = [torch.randint(0, 11, (1, 20)), torch.randn(1, 1, 20)]
    found = atrous.audit(model, Words().eval(), input=given)
    assert (found.verdict, found.state) == ("exact", "measured")
    found = atrous.audit(model, Words(1.5).eval(), input=given)
    assert (found.verdict, found.state) == ("broken", "disagrees")


class Tokens(nn.Module):
    """A map whose positions are laid out in one dimension, as transformers have them."""

    def __init__(self, stride, dilation):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, stride, 1)
        self.two = nn.Conv2d(4, 4, 3, 1, dilation, dilation)

    def forward(self, x):
        return self.two(self.one(x)).flatten(2).transpose(1, 2)


def test_positions_that_share_a_dimension_are_compared_one_by_one():
    torch.manual_seed(0)
    found = atrous.audit(Tokens(2, 1), Tokens(1, 2), input=SHAPE)
    assert (found.verdict, found.state) == ("exact", "measured")
    assert found.outputs[0].factor == (2, 2)
    assert found.outputs[0].relative_error < 1e-12

    class Scaled(Tokens):
        def forward(self, x):
            return super().forward(x) * 1.001

    found = atrous.audit(Tokens(2, 1), Scaled(1, 2), input=SHAPE)
    assert (found.verdict, found.state) == ("broken", "disagrees")


class Halved(nn.Module):
    """Code that takes nothing but float32."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3, 2, 1), scale

    def forward(self, x):
        weight = self.conv.weight.float()
        return nn.functional.conv2d(x, weight, self.conv.bias, 2, 1) * self.scale


def test_what_does_not_run_in_float64_is_run_in_float32_and_that_is_said():
    torch.manual_seed(0)
    model = Halved().eval()
    found = atrous.audit(model, Halved().eval(), input=SHAPE)
    assert (found.verdict, found.state, found.precision) == ("exact", "measured", "float32")
    found = atrous.audit(model, Halved(1.01).eval(), input=SHAPE)
    assert (found.verdict, found.state) == ("broken", "disagrees")


def test_what_does_not_run_at_all_is_known_by_structure_alone():
    class Elsewhere(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x):
            if not torch.compiler.is_compiling():
                raise NotImplementedError("no such device")
            return self.conv(x)

    torch.manual_seed(0)
    model = Elsewhere().eval()
    found = atrous.audit(model, copy.deepcopy(model), input=SHAPE)
    assert (found.verdict, found.state, found.agrees) == ("exact", "not run", None)
    assert "no such device" in found.precision
    assert str(found).startswith("exact: the same positions are read")


def test_random_numbers_inside_a_model_are_the_same_in_both():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return self.conv(x + torch.rand(1))

    torch.manual_seed(0)
    model = Noisy().eval()
    state = torch.get_rng_state()
    found = atrous.audit(model, copy.deepcopy(model), input=SHAPE)
    assert (found.verdict, found.state) == ("exact", "measured")
    assert torch.equal(state, torch.get_rng_state())


def test_exported_programs_are_run_too():
    one, other = CLASSIFIERS["another slope"]
    example = (torch.randn(1, 3, 32, 32),)
    programs = [torch.export.export(model, example) for model in (one, other)]
    found = atrous.audit(programs[0], programs[0])
    assert (found.verdict, found.state, found.measured_at) == ("exact", "measured", ((32, 32),))
    assert atrous.audit(*programs).verdict == "broken"
    assert atrous.audit(one, programs[1], input=(1, 3, 32, 32)).verdict == "broken"


def test_a_fault_in_front_of_what_mixes_a_map_of_another_size_is_noticed():
    class Gated(nn.Module):
        """A gate that sees the whole map, behind a layer whose scale no parameter holds."""

        def __init__(self, stride, rate, scale=1.0):
            super().__init__()
            self.one = nn.Conv2d(3, 4, 3, stride, 1)
            self.two = nn.Conv2d(4, 4, 3, 1, rate, rate)
            self.scale = scale

        def forward(self, x):
            y = self.two(self.one(x) * self.scale)
            return y * y.mean((2, 3), keepdim=True)

    torch.manual_seed(0)
    found = atrous.audit(Gated(2, 1), Gated(1, 2), input=SHAPE)
    assert (found.verdict, found.agrees) == ("approximate", True)
    found = atrous.audit(Gated(2, 1), Gated(1, 2, 1.5), input=SHAPE)
    assert (found.verdict, found.agrees) == ("broken", False)
    assert any(cause.layer == "two" for cause in found.causes)


class Turning(nn.Module):
    """A layer whose rate the code takes from the size: no shape tells."""

    def __init__(self, odd=2):
        super().__init__()
        self.conv, self.odd = nn.Conv2d(3, 4, 3), odd

    def forward(self, x):
        rate = self.odd if x.shape[-1] % 2 else 1
        return nn.functional.conv2d(x, self.conv.weight, None, 1, rate, rate)


def test_code_that_does_something_else_at_another_size_is_read_there():
    torch.manual_seed(0)
    found = atrous.audit(Turning(), Turning(), input=SHAPE)
    assert (found.verdict, found.state) == ("exact", "measured")
    assert [sizes[0] % 2 for sizes in found.measured_at] == [0, 1]
    found = atrous.audit(Turning(), Turning(odd=1), input=SHAPE)
    assert (found.verdict, found.state) == ("broken", "measured")
    assert "conv2d is exact at 1x3x64x64 and broken at 1x3x65x65" in found.notes[0]


def test_a_tail_that_the_code_crops_at_odd_sizes_alone_is_exact_there_too():
    # At an even size nothing is cropped, and no operation says that something would be.
    model = timm.create_model(
        "densenet121", features_only=True, out_indices=(-1,), block_config=FEW_DENSE_LAYERS
    ).eval()
    found = atrous.convert(model, 16, input=SHAPE).certificate
    assert (found.verdict, found.state) == ("exact", "measured")
    assert found.measured_at[1][0] % 2 == 1


class Turned(nn.Module):
    """A layer whose map is given out with its dimensions in some order."""

    def __init__(self, *order):
        super().__init__()
        self.conv, self.order = nn.Conv2d(3, 16, 3, 2, 1), order

    def forward(self, x):
        return self.conv(x).permute(self.order)


@pytest.mark.parametrize("order", [(0, 1, 3, 2), (0, 2, 3, 1)])
def test_a_map_with_its_dimensions_in_another_order_is_another_map(order):
    torch.manual_seed(0)
    # As many channels as rows and columns: shapes do not tell.
    plain, turned = Turned(0, 1, 2, 3), Turned(*order)
    for shape in ((1, 3, 32, 32), (1, 3, 32, 48)):
        assert atrous.audit(plain, turned, input=shape).verdict == "broken"
    found = atrous.audit(plain, turned, input=(1, 3, 32, 32))
    assert (found.state, found.agrees) == ("measured", True)
    assert "dimensions lie in another order" in found.causes[0].why
    same = atrous.audit(turned, Turned(*order), input=(1, 3, 32, 32))
    assert (same.verdict, same.state) == ("exact", "measured")


def test_a_number_among_the_outputs_that_differs_is_noted():
    class Counted(nn.Module):
        def __init__(self, count):
            super().__init__()
            self.conv, self.count = nn.Conv2d(3, 4, 3), count

        def forward(self, x):
            return self.conv(x), self.count, None

    one, other, same = Counted(3), Counted(4), Counted(3)
    for model in (other, same):
        model.load_state_dict(one.state_dict())
    found = atrous.audit(one, other, input=SHAPE)
    assert (found.verdict, found.state) == ("exact", "measured")
    (note,) = found.notes
    assert note.startswith("what is no tensor among the outputs differs")
    assert note.endswith("(3, None) in the reference, (4, None) in the candidate")
    assert not atrous.audit(one, same, input=SHAPE).notes


class Stencilled(nn.Module):
    """A convolution whose weight is multiplied by a stored mask, and a stored scale."""

    def __init__(self, rows: int = 3, scale: float = 1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        mask = torch.zeros(1, 1, 3, 3)
        mask[:, :, :rows] = 1
        self.register_buffer("mask", mask)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x):
        y = nn.functional.conv2d(x, self.conv.weight * self.mask, self.conv.bias, padding=1)
        return y * self.scale


@pytest.mark.parametrize(
    ("other", "name"), [(Stencilled(2), "mask"), (Stencilled(3, 1.001), "scale")]
)
def test_a_stored_mask_or_scale_is_part_of_what_a_model_computes(other, name):
    torch.manual_seed(0)
    model = Stencilled().eval()
    found = atrous.audit(model, other.eval(), input=SHAPE)
    assert (found.verdict, found.state, found.agrees) == ("broken", "disagrees", False)
    assert any(name in note for note in found.notes)
    same = Stencilled().eval()
    found = atrous.audit(model, same, input=SHAPE)
    assert (found.verdict, found.state) == ("exact", "measured")
    (note,) = found.notes
    assert (
        note == "conv.weight, conv.bias: other weights in the candidate, run with the reference's"
    )
    same.load_state_dict(model.state_dict())
    assert not atrous.audit(model, same, input=SHAPE).notes


@pytest.mark.parametrize("size", [128, 129])
def test_a_backbone_that_loses_its_border_at_other_sizes_is_not_exact_at_one_that_divides(size):
    # timm's own ConvNeXt at output stride 16 equals the strided one at every size of 32 k and
    # 32 k + 1 that was tried, and not at 127: its last map is a position longer there.
    shape = {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8), "features_only": True}
    torch.manual_seed(0)
    strided = timm.create_model("convnext_atto", **shape).eval()
    dense = timm.create_model("convnext_atto", output_stride=16, **shape).eval()
    # Drawn small, the scales of its blocks would hide what they do.
    held = {k: torch.ones_like(v) if "gamma" in k else v for k, v in strided.state_dict().items()}
    for model in (strided, dense):
        model.load_state_dict(held)

    def apart(length: int) -> float:
        x = torch.randn(1, 3, length, length)
        with torch.no_grad():
            one, two = strided(x)[-1], dense(x)[-1][..., ::2, ::2]
        return float((one - two[..., : one.shape[-2], : one.shape[-1]]).abs().max())

    assert apart(size) < 1e-5 < apart(127)
    found = atrous.audit(strided, dense, input=(1, 3, size, size))
    assert found.verdict == "interior"
    assert found.outputs[-1].verdict == "interior"
    assert any(place[0] % 32 not in (0, 1) for place in found.measured_at)
