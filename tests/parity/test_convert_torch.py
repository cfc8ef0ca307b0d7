"""Converted PyTorch models compute what their originals do, and go on being models."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

import atrous
from atrous import ConversionError
from tests.shortened import FEW_DENSE_LAYERS, NARROW, shortened
from tests.weights import draw

# Zero, one and all but one beyond a multiple of 32; even and odd multiples.
SIZES = (63, 65, 96)
"""Sizes that the strides do not divide, on either side, and the one that a model is read at."""


def drawn(model: nn.Module, size: int = 64, channels: int = 3) -> nn.Module:
    """The model in float64 with weights drawn anew and batch norms calibrated to them."""
    return draw(model.double(), size, channels)


def maps(model: nn.Module, x: torch.Tensor, layer: str | None = None) -> list[torch.Tensor]:
    """The tensors that the model makes, or what one of its layers does."""
    caught: list[torch.Tensor] = []
    with torch.no_grad():
        if layer is None:
            made = model(x)
            return [made] if torch.is_tensor(made) else list(made)
        part = model.get_submodule(layer)
        hook = part.register_forward_hook(lambda _m, _a, out: caught.append(out.clone()))
        model(x)
        hook.remove()
    return caught


def assert_keeps_values(
    original: nn.Module,
    dense: nn.Module,
    factor: int,
    *,
    layer: str | None = None,
    sizes: Sequence[int] = SIZES,
    channels: int = 3,
) -> None:
    """`dense[..., ::D, ::D] == original`, borders included, at every size, to 1e-12."""
    ran = 0
    for size in sizes:
        x = torch.randn(1, channels, size, size, dtype=torch.double)
        try:
            one = maps(original, x, layer)[-1]
        except RuntimeError:
            continue  # the original itself does not take this size
        two = maps(dense, x, layer)[-1]
        kept = two[..., ::factor, ::factor]
        assert kept.shape == one.shape, (size, one.shape, two.shape)
        error = (kept - one).pow(2).mean().sqrt() / one.std()
        assert error <= 1e-12, (size, float(error))
        ran += 1
    assert ran >= 2


def assert_keeps_the_model(original: nn.Module, dense: nn.Module) -> None:
    """Class, module tree and state dict's keys are the original's."""
    assert type(dense) is type(original)
    assert list(dense.state_dict()) == list(original.state_dict())
    assert [name for name, _ in dense.named_modules()] == [
        name for name, _ in original.named_modules()
    ]


BACKBONES = [
    "resnet18d",
    "resnet26t",
    "resnetblur18",
    "nf_resnet26",
    "convnext_atto",
    "gernet_s",
    "res2net50_26w_4s",
    "vgg11_bn",
    "densenet121",
    "dla46_c",
    "hgnetv2_b0",
    "mobilenetv2_050",
    "tf_mobilenetv3_small_minimal_100",
    "inception_v3",
]


def backbone(name: str) -> nn.Module:
    """timm's features, with two of the blocks that it repeats, ResNets with few channels."""
    options = {"block_config": FEW_DENSE_LAYERS} if name == "densenet121" else {}
    if name.startswith(("res", "seres")):
        options = NARROW
    if name == "nf_resnet26":
        options = {"ch_div": 8, "channels": (64, 96, 128, 160)}
    return shortened(timm.create_model(name, features_only=True, **options))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_timm_backbone_at_output_stride_8_keeps_its_values(name):
    model = drawn(backbone(name), 96)
    done = atrous.convert(model, 8, input=(1, 3, 96, 96), measure=False)
    assert done.certificate.verdict == "exact"
    assert max(done.certificate.outputs[-1].factor) == 4
    assert list(done.model.state_dict()) == list(model.state_dict())
    # Inception takes nothing below 75 pixels.
    assert_keeps_values(model, done.model, 4, sizes=(95, 97) if "inception" in name else SIZES)


@pytest.mark.parametrize("stride", [16, 8])
def test_a_tensorflow_style_padding_follows_the_size_at_every_stride(stride):
    model = drawn(backbone("tf_efficientnet_lite0"))
    done = atrous.convert(model, stride, input=(1, 3, 96, 96), measure=False)
    assert done.certificate.verdict == "exact"
    assert_keeps_values(model, done.model, 32 // stride)


TRUNKS = {
    "resnet18": "layer4",
    "squeezenet1_1": "features",
    "googlenet": "inception5b",
    "shufflenet_v2_x0_5": "conv5",
    "mobilenet_v2": "features",
}


@pytest.mark.parametrize("name", TRUNKS)
def test_a_torchvision_trunk_keeps_its_values(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"init_weights": False} if name == "googlenet" else {}
        model = drawn(shortened(torchvision.models.get_model(name, weights=None, **options)))
    layer = TRUNKS[name]
    coarse = 16 if name == "squeezenet1_1" else 32
    done = atrous.convert(model, 8, input=(1, 3, 96, 96), outputs=layer, measure=False)
    assert done.certificate.verdict == "exact"
    assert_keeps_values(model, done.model, coarse // 8, layer=layer)


class Gate(nn.Module):
    """Stands for a gate: it does not look at the map."""

    def forward(self, x):
        return x * 0.7


def test_squeeze_and_excitation_is_approximate_and_exact_behind_a_constant_gate():
    model = drawn(backbone("seresnet18"))
    done = atrous.convert(model, 8, input=(1, 3, 96, 96))
    assert done.certificate.verdict == "approximate"
    assert done.certificate.agrees
    assert done.certificate.causes[0].layer.startswith("layer3.0.se")
    assert "mixes all positions along h, w" in done.certificate.causes[0].why
    for name, _ in list(model.named_modules()):
        if name.endswith(".se"):
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, Gate())
    done = atrous.convert(model, 8, input=(1, 3, 96, 96), measure=False)
    assert done.certificate.verdict == "exact"
    assert_keeps_values(model, done.model, 4)


@pytest.fixture(scope="module")
def resnet50():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = shortened(torchvision.models.resnet50(weights=None))
    dense = atrous.convert(model, 8, input=(1, 3, 64, 64), outputs="layer4", measure=False).model
    return model, dense


def test_a_converted_resnet50_is_a_resnet50_with_the_same_keys(resnet50):
    model, dense = resnet50
    assert_keeps_the_model(model, dense)
    assert dense.layer4[1].conv2.dilation == (4, 4)


def test_a_converted_resnet50_loads_the_original_checkpoint(resnet50):
    model, dense = resnet50
    checkpoint = {
        name: torch.randn_like(v) if v.is_floating_point() else v
        for name, v in model.state_dict().items()
    }
    fresh = copy.deepcopy(dense)
    fresh.load_state_dict(checkpoint, strict=True)
    assert torch.equal(fresh.layer4[2].conv3.weight, checkpoint["layer4.2.conv3.weight"])


def test_a_converted_resnet50_trains_a_step(resnet50):
    dense = copy.deepcopy(resnet50[1]).train()
    optimizer = torch.optim.SGD(dense.parameters(), lr=0.1)
    before = dense.layer4[0].conv2.weight.detach().clone()
    dense(torch.randn(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(before, dense.layer4[0].conv2.weight)
    assert int(dense.bn1.num_batches_tracked) == 1


def test_a_converted_resnet50_exports_and_pickles(resnet50):
    dense = resnet50[1].eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = dense(x)
        program = torch.export.export(dense, (x,), strict=False)
        assert torch.allclose(program.module()(x), expected, atol=1e-5)
        again = pickle.loads(pickle.dumps(dense))
        assert torch.equal(again(x), expected)


def test_a_converted_resnet50_compiles(resnet50):
    dense = resnet50[1].eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        compiled = torch.compile(dense.layer4, backend="eager", fullgraph=True)
        inner = torch.randn(1, 1024, 8, 8)
        assert torch.allclose(compiled(inner), dense.layer4(inner))
        assert dense(x).shape == (1, 1000)


def test_the_source_is_not_changed_and_training_mode_is_kept():
    model = torchvision.models.resnet18(weights=None).train()
    model.layer1.eval()
    held = {name: (m.training, getattr(m, "stride", None)) for name, m in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    dense = atrous.convert(model, 8, input=(1, 3, 64, 64), outputs="layer4").model
    assert held == {
        name: (m.training, getattr(m, "stride", None)) for name, m in model.named_modules()
    }
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert dense.training
    assert not dense.layer1.training
    assert all(p.requires_grad for p in dense.parameters())


def test_converting_twice_changes_nothing():
    model = backbone("resnet18d")
    once = atrous.convert(model, 8, input=(1, 3, 64, 64), measure=False)
    twice = atrous.convert(once.model, 8, input=(1, 3, 64, 64), measure=False)
    assert once.edits
    assert not twice.edits
    assert twice.certificate.verdict == "exact"


def attributes(model: nn.Module) -> dict[str, object]:
    """What conversions change, of every module."""
    names = ("stride", "padding", "dilation", "ceil_mode", "kernel_size")
    return {
        path: (
            type(m).__name__,
            *(str(getattr(m, n, None)) for n in names),
            len(m._forward_pre_hooks),
        )
        for path, m in model.named_modules()
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet18d", "convnext_atto", "densenet121"])
def test_there_and_back_is_the_model_that_it_was(name):
    model = backbone(name).eval()
    there = atrous.convert(model, 8, input=(1, 3, 64, 64), measure=False)
    back = atrous.convert(there.model, 32, input=(1, 3, 64, 64), measure=False)
    assert back.certificate.verdict == "exact"
    factor = there.certificate.outputs[-1].factor[0]
    assert factor > 1
    assert back.certificate.outputs[-1].factor[0] == factor**-1
    assert attributes(back.model) == attributes(model)


def test_a_published_dilated_network_gets_its_strides_back():
    replace = [False, True, True]
    dense = torchvision.models.resnet50(
        weights=None, replace_stride_with_dilation=replace, width_per_group=8
    )
    dense = drawn(shortened(dense))
    cheap = atrous.convert(dense, 32, input=(1, 3, 64, 64), outputs="layer4")
    assert cheap.certificate.verdict == "exact"
    assert cheap.certificate.after.macs < cheap.certificate.before.macs / 2
    assert_keeps_values(cheap.model, dense, 4, layer="layer4")


class Functional(nn.Module):
    """Pools and pads by functions, in the model's own code."""

    def __init__(self, pool):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 5, 3, padding=1)
        self.conv3 = nn.Conv2d(5, 4, 3, padding=2, dilation=2)
        self.unused = nn.Linear(3, 3)
        self.register_buffer("scale", torch.tensor(0.5), persistent=False)
        self.pool = pool

    def forward(self, x):
        x = self.pool(functional.relu(self.conv1(x)))
        x = self.pool(functional.relu(self.conv2(x))) * self.scale
        return self.conv3(x)


POOLS = {
    "max": lambda x: functional.max_pool2d(x, 2),
    "max, ceil": lambda x: functional.max_pool2d(x, 3, 2, ceil_mode=True),
    "max, padded": lambda x: functional.max_pool2d(x, 3, 2, 1),
    "average": lambda x: functional.avg_pool2d(x, 2),
    "average, padding counted": lambda x: functional.avg_pool2d(x, 3, 2, 1),
    "average, padding left out": lambda x: functional.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    "average, own divisor": lambda x: functional.avg_pool2d(x, 2, divisor_override=3),
    "slices": lambda x: x[:, :, ::2, ::2],
    "slices from 1": lambda x: x[..., 1::2, ::2],
    "reflected": lambda x: functional.max_pool2d(
        functional.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 2
    ),
    "replicated, circular": lambda x: functional.avg_pool2d(
        functional.pad(
            functional.pad(x, (0, 0, 1, 2), mode="replicate"), (2, 1, 0, 0), mode="circular"
        ),
        3,
        2,
    ),
    "zeros on one side": lambda x: functional.max_pool2d(functional.pad(x, (0, 1, 0, 1)), 3, 2),
}


@pytest.mark.parametrize("kind", POOLS)
def test_functions_with_strides_of_their_own_are_edited_in_the_code(kind):
    model = drawn(Functional(POOLS[kind]))
    done = atrous.convert(model, 1, input=(1, 3, 32, 32))
    assert done.certificate.verdict == "exact", str(done)
    assert isinstance(done.model, torch.fx.GraphModule)
    assert list(done.model.state_dict()) == list(model.state_dict())
    assert_keeps_values(model, done.model, 4, sizes=(32, 33, 34, 35))
    assert_keeps_values(model, pickle.loads(pickle.dumps(done.model)), 4, sizes=(32, 35))


def test_code_that_becomes_a_graph_trains_and_exports():
    done = atrous.convert(Functional(POOLS["max"]), 1, input=(1, 3, 32, 32))
    model = done.model.train()
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert model.conv1.weight.grad.abs().sum() > 0
    torch.export.export(model.eval(), (torch.randn(1, 3, 32, 32),), strict=False)


class Shared(nn.Module):
    """One head on maps of two strides: after a conversion its two calls need two rates."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.head = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())

    def forward(self, x):
        fine = self.stem(x)
        coarse = self.down(fine)
        return self.head(fine), self.head(coarse)


def test_a_shared_module_gets_two_rates_and_keeps_one_set_of_weights():
    model = drawn(Shared())
    done = atrous.convert(model, 2, input=(1, 3, 32, 32))
    assert [o.verdict for o in done.certificate.outputs] == ["exact", "exact"]
    assert list(done.model.state_dict()) == list(model.state_dict())
    assert_keeps_values(model, done.model, 2, sizes=(32, 33))
    x = torch.randn(1, 3, 32, 32, dtype=torch.double)
    assert torch.equal(done.model(x)[0], model(x)[0])


def test_anisotropic_output_strides_are_taken_an_axis_at_a_time():
    model = drawn(backbone("resnet18"))
    done = atrous.convert(model, (8, 16), input=(1, 3, 64, 96))
    assert done.certificate.verdict == "exact"
    assert done.certificate.outputs[-1].factor == (4, 2)
    x = torch.randn(1, 3, 64, 96, dtype=torch.double)
    one, two = maps(model, x)[-1], maps(done.model, x)[-1]
    assert torch.allclose(two[..., ::4, ::2], one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 3])
def test_other_numbers_of_axes_convert_as_well(rank):
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[rank]
    pool = {1: nn.AvgPool1d, 3: nn.AvgPool3d}[rank]
    model = nn.Sequential(
        conv(2, 3, 3, 2, 1), pool(2, ceil_mode=True, count_include_pad=False), conv(3, 2, 4, 2, 1)
    ).double()
    shape = (1, 2) + (26,) * rank
    done = atrous.convert(model, 2, input=shape)
    assert done.certificate.verdict == "exact", str(done)
    x = torch.randn(shape, dtype=torch.double)
    with torch.no_grad():
        one, two = model(x), done.model(x)
    kept = two[(..., *[slice(None, None, 4)] * rank)]
    assert torch.allclose(kept, one, rtol=0, atol=1e-12)


def test_where_a_tail_is_dropped_the_map_is_cropped_or_kept_as_asked():
    # As a VGG: at 72 pixels the last of its pools leaves one row out.
    layers = [
        [
            nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        for i in range(4)
    ]
    model = drawn(
        nn.Sequential(*(one for stage in layers for one in stage), nn.Conv2d(4, 4, 3, 1, 1))
    )
    shape = (1, 3, 72, 72)
    crop = atrous.convert(model, 8, input=shape)
    keep = atrous.convert(model, 8, input=shape, tail="keep")
    assert crop.certificate.verdict == "exact"
    assert keep.certificate.verdict == "interior"
    assert keep.certificate.agrees
    output = keep.certificate.outputs[-1]
    assert output.shape_after[-1] == 9
    assert crop.certificate.outputs[-1].shape_after[-1] == 8
    (low, high), _ = output.margin
    assert low == 0 < high
    x = torch.randn(shape, dtype=torch.double)
    one, two = maps(model, x)[-1], maps(keep.model, x)[-1]
    off = (two[..., ::2, ::2][..., : one.shape[-1], : one.shape[-1]] - one).abs().amax((0, 1))
    assert off[:-high, :-high].max() < 1e-10
    assert off[-high:].min(dim=0).values.max() > 1e-6
    assert any("tail='crop'" in note for note in keep.certificate.notes)
    assert any("tail='keep'" in note for note in crop.certificate.notes)


def head(rates=(6, 12)):
    """A strided trunk and a small ASPP behind it."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(
                nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1)
            )
            self.branches = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=r, dilation=r) for r in rates)
            self.last = nn.Conv2d(4 * len(rates), 2, 3, padding=1)

        def forward(self, x):
            x = self.trunk(x)
            return self.last(torch.cat([branch(x) for branch in self.branches], 1))

    return Head()


def test_the_rates_of_a_head_follow_the_map_or_stay_as_asked():
    model = drawn(head())
    scaled = atrous.convert(model, 2, input=(1, 3, 96, 96))
    kept = atrous.convert(model, 2, input=(1, 3, 96, 96), heads="keep")
    assert scaled.certificate.verdict == "exact"
    assert [b.dilation for b in scaled.model.branches] == [(12, 12), (24, 24)]
    assert [(h.reach_before, h.reach_after) for h in scaled.heads] == [(24, 24), (48, 48)]
    assert kept.certificate.verdict == "broken"
    assert [b.dilation for b in kept.model.branches] == [(6, 6), (12, 12)]
    assert [(h.reach_before, h.reach_after) for h in kept.heads] == [(24, 12), (48, 24)]
    assert "as its rate is kept" in str(kept)


def test_branches_that_see_only_their_centre_are_warned_of():
    done = atrous.convert(drawn(head((6, 12))), 2, input=(1, 3, 32, 32))
    assert [f.code for f in done.findings] == ["aspp-center"] * len(done.findings)
    assert done.findings


class Decoder(nn.Module):
    """Upsamples and joins a finer map."""

    def __init__(self, upsample):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, 2, 1)
        self.two = nn.Conv2d(4, 4, 3, 2, 1)
        self.up = upsample

    def forward(self, x):
        fine = self.one(x)
        return self.up(self.two(fine)) + fine


def test_a_skip_that_no_longer_fits_is_refused_with_the_join_named():
    model = Decoder(nn.Upsample(scale_factor=2))
    with pytest.raises(ConversionError, match=r"^add: its inputs no longer fit: .*outputs=") as hit:
        atrous.convert(model, 2, input=(1, 3, 32, 32))
    assert hit.value.refusal.rule == "join"


def test_a_transposed_convolution_behind_the_change_is_refused_by_name():
    model = Decoder(nn.ConvTranspose2d(4, 4, 2, 2))
    with pytest.raises(ConversionError, match=r"^up: it spreads each position over 2"):
        atrous.convert(model, 2, input=(1, 3, 32, 32))


def test_the_part_before_a_decoder_converts():
    done = atrous.convert(
        drawn(Decoder(nn.Upsample(scale_factor=2))),
        2,
        input=(1, 3, 32, 32),
        outputs="two",
        measure=False,
    )
    assert done.certificate.verdict == "exact"
    assert done.model.two.stride == (1, 1)


class Resampled(nn.Module):
    """A segmentation head whose output has the size of the input."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))

    def forward(self, x):
        return functional.interpolate(self.trunk(x), size=x.shape[-2:], mode="bilinear")


def test_a_last_resampling_to_the_inputs_size_is_approximate_by_name():
    done = atrous.convert(drawn(Resampled()), 2, input=(1, 3, 32, 32))
    assert done.certificate.verdict == "approximate"
    assert "resamples a map of another size" in done.certificate.causes[0].why
    assert done.certificate.agrees
