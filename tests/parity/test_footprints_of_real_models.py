"""Footprints against the real models: NaN in, and see which outputs turn NaN.

Of the blocks that a model repeats, two run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from torch import nn

import atrous
from atrous.network.ops import Conv
from tests.nan_probe import assert_footprints_agree
from tests.shortened import shortened


def _torchvision(name: str, **options: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torchvision.models.get_model(name, weights=None, **options)


def _segmentation(name: str) -> nn.Module:
    return _torchvision(name, weights_backbone=None)


CLASSIFIERS = [
    ("torchvision", "alexnet", 128),
    ("torchvision", "convnext_tiny", 96),
    ("torchvision", "densenet121", 96),
    ("torchvision", "efficientnet_b0", 96),
    ("torchvision", "googlenet", 128),
    ("torchvision", "inception_v3", 144),
    ("torchvision", "mnasnet0_5", 128),
    ("torchvision", "mobilenet_v2", 128),
    ("torchvision", "mobilenet_v3_small", 128),
    ("torchvision", "regnet_y_400mf", 96),
    ("torchvision", "resnet18", 128),
    ("torchvision", "shufflenet_v2_x0_5", 128),
    ("torchvision", "squeezenet1_1", 128),
    ("timm", "convnext_atto", 128),
    ("timm", "convmixer_768_32", 96),
    ("timm", "cspresnet50", 96),
    ("timm", "dla34", 96),
    ("timm", "edgenext_xx_small", 128),
    ("timm", "ese_vovnet19b_dw", 96),
    ("timm", "gernet_s", 128),
    ("timm", "ghostnet_100", 96),
    ("timm", "hgnetv2_b0", 128),
    ("timm", "hrnet_w18_small", 96),
    ("timm", "inception_next_atto", 128),
    ("timm", "lambda_resnet26t", 96),
    ("timm", "levit_128s", 96),
    ("timm", "mixnet_s", 96),
    ("timm", "mobilevit_s", 128),
    ("timm", "nf_resnet26", 96),
    ("timm", "poolformer_s12", 96),
    ("timm", "repvgg_a0", 128),
    ("timm", "resmlp_12_224", 96),
    ("timm", "resnet18d", 128),
    ("timm", "resnetblur18", 128),
    ("timm", "tf_efficientnetv2_b0", 96),
    ("timm", "xception41", 96),
]


SIZED = ("levit_128s", "resmlp_12_224")
"""Whose parameters are made for one size."""


def _timm(name: str, size: int) -> nn.Module:
    options = {"img_size": size} if name in SIZED else {}
    return timm.create_model(name, **options)


@pytest.mark.parametrize(("library", "name", "size"), CLASSIFIERS)
def test_every_probed_position_agrees_with_the_model(library: str, name: str, size: int) -> None:
    torch.manual_seed(0)
    model = shortened(_torchvision(name) if library == "torchvision" else _timm(name, size))
    shape = (1, 3, size, size)
    report = atrous.inspect(model, shape)
    assert report.complete, report.opaque
    probed = assert_footprints_agree(model, shape, report=report, layers=5, places=2, probes=15)
    assert probed.compared >= 100


@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_segmentation_models_agree_inside_holes_too(name: str) -> None:
    torch.manual_seed(0)
    shape = (1, 3, 129, 129)
    model = shortened(_segmentation(name))
    probed = assert_footprints_agree(model, shape, layers=6, places=2, probes=12)
    assert probed.compared >= 100


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "regnetx_002"])
def test_backbones_at_output_stride_8_agree_inside_holes_too(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, features_only=True, output_stride=8)
    probed = assert_footprints_agree(model, (1, 3, 257, 129), layers=8, places=2, probes=20)
    assert probed.unread >= 20


class WaveNetLike(nn.Module):
    """Gated causal stack with skips, as in audio models."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 8, 1)
        self.gates = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**i) for i in range(6))
        self.skips = nn.ModuleList(nn.Conv1d(8, 8, 1) for _ in range(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        out = torch.zeros_like(x)
        for i, (gate, skip) in enumerate(zip(self.gates, self.skips, strict=True)):
            a, b = gate(nn.functional.pad(x, (2**i, 0))).chunk(2, dim=1)
            y = skip(a.tanh() * b.sigmoid())
            out = out + y
            x = x + y
        return out


class Holed(nn.Module):
    """Rates with a common factor and uneven pads, in any number of dimensions."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1]
        self.stem = conv(2, 4, 3, stride=2, padding=1)
        self.pool = pool(2, ceil_mode=True)
        self.wide = conv(4, 4, 3, dilation=2, padding=2)
        self.wider = conv(4, 4, 2, dilation=3, padding=1)
        self.deep = conv(4, 4, 3, dilation=4, padding=4, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.deep(self.wider(self.wide(self.pool(self.stem(x)))))


class UNetLike(nn.Module):
    """Encoder and decoder with skips; up by transposed convolution or by interpolation."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in ((2, 4), (4, 8), (8, 8), (8, 8))
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(8, 8, 2, stride=2) for _ in range(3))
        self.merge = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in ((16, 8), (16, 8), (12, 4))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i, conv in enumerate(self.down):
            x = conv(x).relu()
            if i < 3:
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            if self.how == "transposed":
                x = up(x)
            else:
                corners = {"align_corners": True} if self.how == "bilinear" else {}
                x = nn.functional.interpolate(x, size=skip.shape[2:], mode=self.how, **corners)
            x = merge(torch.cat([x, skip], dim=1))
        return x


class Cross(nn.Module):
    """Branches whose union is no product of axes."""

    def __init__(self) -> None:
        super().__init__()
        self.tall = nn.Conv2d(2, 4, (7, 1), padding=(3, 0))
        self.wide = nn.Conv2d(2, 4, (1, 7), padding=(0, 3))
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.tall(x) + self.wide(x))


class StripAndShuffle(nn.Module):
    """Strip pooling, pixel shuffles and a circular pad spelled as a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.third = nn.Conv2d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = x + x.mean(dim=3, keepdim=True)
        x = self.second(nn.functional.pixel_unshuffle(x, 2))
        b, _, h, w = x.shape
        x = x.view(b, 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, 4, 2 * h, 2 * w)
        x = torch.cat([x[..., -1:], x, x[..., :1]], dim=-1)
        return self.third(nn.functional.pad(x, (0, 0, 1, 1)))


OWN: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = [
    ("wavenet", WaveNetLike, (1, 2, 160)),
    ("holed 1-D", lambda: Holed(1), (1, 2, 331)),
    ("holed 2-D", lambda: Holed(2), (1, 2, 75, 98)),
    ("holed 3-D", lambda: Holed(3), (1, 2, 44, 41, 39)),
    ("u-net, transposed", lambda: UNetLike("transposed"), (1, 2, 96, 80)),
    ("u-net, bilinear", lambda: UNetLike("bilinear"), (1, 2, 67, 90)),
    ("u-net, nearest", lambda: UNetLike("nearest"), (1, 2, 67, 90)),
    ("u-net, bicubic", lambda: UNetLike("bicubic"), (1, 2, 61, 48)),
    ("cross", Cross, (1, 2, 33, 34)),
    ("strips and shuffles", StripAndShuffle, (1, 2, 32, 26)),
]


@pytest.mark.parametrize(("make", "shape"), [pytest.param(m, s, id=n) for n, m, s in OWN])
def test_models_of_our_own_agree_at_every_probed_position(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model = make()
    report = atrous.inspect(model, shape)
    assert report.complete, report.opaque
    probed = assert_footprints_agree(
        model, shape, report=report, layers=12, places=6, probes=80, batch=40
    )
    assert probed.unread > 0


def test_the_probe_notices_a_wrong_rate() -> None:
    torch.manual_seed(0)
    model, shape = Holed(2), (1, 2, 75, 98)
    network = atrous.read(model, shape)
    wrong = []
    for node in network.nodes:
        if node.name == "wide" and isinstance(node.op, Conv):
            moves = ({a: _shifted(m) for a, m in node.moves[0].items()},)
            node = replace(node, moves=moves)
        wrong.append(node)
    report = atrous.inspect(replace(network, nodes=tuple(wrong)))
    with pytest.raises(AssertionError, match="the model"):
        assert_footprints_agree(model, shape, report=report, layers=12, places=6, probes=60)


def _shifted(step: object) -> object:
    reads = step.reads
    return replace(step, reads=replace(reads, phases=tuple(t.shifted(1) for t in reads.phases)))


def test_one_by_seven_beside_seven_by_one_reads_a_cross_of_13() -> None:
    foot = atrous.inspect(Cross(), (1, 2, 33, 34)).footprint()
    assert foot.taps == 13
    assert foot.box.shape == (7, 7)
    assert foot.counts.sum() == 14
