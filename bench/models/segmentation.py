"""Networks for dense prediction: DeepLabv3+, U-Net, HRNet, D-LinkNet, large kernels, backbones."""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import atrous

__all__ = [
    "DeepLab",
    "Dense",
    "HighResolution",
    "LargeKernelNetwork",
    "RoadNetwork",
    "UNet",
    "convnext_dense",
    "densenet_dense",
    "resnet_dense",
]


def norm_act(channels: int, act: type[nn.Module] = nn.ReLU) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), act()]


class Separable(nn.Sequential):
    """A depthwise 3x3 at a rate, then a 1x1, each with a batch norm and a rectifier."""

    def __init__(self, channels: int, outputs: int, rate: int = 1) -> None:
        super().__init__(
            nn.Conv2d(
                channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False
            ),
            *norm_act(channels),
            nn.Conv2d(channels, outputs, 1, bias=False),
            *norm_act(outputs),
        )


class Dense(nn.Sequential):
    """A 3x3 at a rate, with a batch norm and a rectifier."""

    def __init__(self, channels: int, outputs: int, rate: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, outputs, 3, padding=rate, dilation=rate, bias=False),
            *norm_act(outputs),
        )


class Pyramid(nn.Module):
    """Branches that see the same map at several rates and as a whole (ASPP), side by side."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        rates: Sequence[int],
        window: type[Dense | Separable] = Separable,
    ) -> None:
        super().__init__()
        point = nn.Sequential(nn.Conv2d(channels, outputs, 1, bias=False), *norm_act(outputs))
        self.branches = nn.ModuleList([point, *(window(channels, outputs, rate) for rate in rates)])
        self.whole = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, outputs, 1, bias=False), *norm_act(outputs)
        )
        count = len(self.branches) + 1
        self.project = nn.Sequential(
            nn.Conv2d(count * outputs, outputs, 1, bias=False), *norm_act(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = [branch(x) for branch in self.branches]
        seen.append(self.whole(x).expand(-1, -1, x.shape[2], x.shape[3]))
        return self.project(torch.cat(seen, 1))


class DeepLab(nn.Module):
    """DeepLabv3+ (Chen et al. 2018): a dilated backbone, ASPP, and a decoder with one skip.

    The rates are 6, 12, 18 at output stride 16 and twice that at 8, as in the paper. The windows of
    ASPP and the decoder are separable, or dense.
    """

    def __init__(
        self,
        backbone: str,
        output_stride: int,
        window: type[Dense | Separable] = Separable,
        classes: int = 21,
    ) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            backbone, features_only=True, output_stride=output_stride, out_indices=(1, 4)
        )
        low, high = self.backbone.feature_info.channels()
        scale = 16 // output_stride
        self.pyramid = Pyramid(high, 256, [scale * rate for rate in (6, 12, 18)], window)
        self.skip = nn.Sequential(nn.Conv2d(low, 48, 1, bias=False), *norm_act(48))
        self.decoder = nn.Sequential(window(256 + 48, 256), window(256, 256))
        self.classify = nn.Conv2d(256, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        low, high = self.backbone(image)
        y = self.pyramid(high)
        y = functional.interpolate(y, low.shape[2:], mode="bilinear", align_corners=False)
        y = self.decoder(torch.cat([y, self.skip(low)], 1))
        y = self.classify(y)
        return functional.interpolate(y, image.shape[2:], mode="bilinear", align_corners=False)


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, as in ResNet-34 (He et al. 2015)."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, outputs, 3, stride, 1, bias=False),
            *norm_act(outputs),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short = (
            nn.Identity()
            if stride == 1 and channels == outputs
            else nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.short(x))


class Widen(nn.Sequential):
    """A decoder step of LinkNet: to a quarter of the channels, twice the size, and out."""

    def __init__(self, channels: int, outputs: int) -> None:
        inner = channels // 4
        super().__init__(
            nn.Conv2d(channels, inner, 1, bias=False),
            *norm_act(inner),
            nn.ConvTranspose2d(inner, inner, 3, 2, 1, output_padding=1, bias=False),
            *norm_act(inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            *norm_act(outputs),
        )


class RoadNetwork(nn.Module):
    """D-LinkNet-34 (Zhou et al. 2018).

    ResNet-34, a chain of rates 1, 2, 4, 8 whose steps are summed, and a decoder that adds the
    encoder's maps.
    """

    def __init__(self) -> None:
        super().__init__()
        widths, depths = (64, 128, 256, 512), (3, 4, 6, 3)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), *norm_act(64), nn.MaxPool2d(3, 2, 1)
        )
        self.encoder = nn.ModuleList()
        channels = 64
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for block in range(depth):
                stride = 2 if index and not block else 1
                blocks.append(Residual(channels, width, stride))
                channels = width
            self.encoder.append(nn.Sequential(*blocks))
        self.chain = nn.ModuleList(
            nn.Sequential(nn.Conv2d(512, 512, 3, padding=rate, dilation=rate), nn.ReLU())
            for rate in (1, 2, 4, 8)
        )
        self.decoder = nn.ModuleList(
            Widen(there, back) for there, back in ((512, 256), (256, 128), (128, 64), (64, 64))
        )
        self.head = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        y = self.stem(image)
        skips = []
        for stage in self.encoder:
            y = stage(y)
            skips.append(y)
        step, total = y, y
        for layer in self.chain:
            step = layer(step)
            total = total + step
        y = total
        for widen, skip in zip(self.decoder[:-1], reversed(skips[:-1]), strict=True):
            y = widen(y) + skip
        return torch.sigmoid(self.head(self.decoder[-1](y)))


class LargeKernel(nn.Module):
    """Attention by a 21x21 window taken apart: depthwise 5x5, depthwise 7x7 at rate 3, 1x1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.leave = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x)
        return self.leave(self.mix(self.far(self.near(y))) * y) + x


class Block(nn.Module):
    """Large-kernel attention and a feed-forward part with a depthwise 3x3, both residual."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.attend = nn.Sequential(nn.BatchNorm2d(channels), LargeKernel(channels))
        self.feed = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.feed(x)


class LargeKernelNetwork(nn.Module):
    """The sizes of VAN-B0 (Guo et al. 2022), whose four maps a light head sums for prediction."""

    def __init__(self, classes: int = 21) -> None:
        super().__init__()
        widths, depths, expansions = (32, 64, 160, 256), (3, 3, 5, 2), (8, 8, 4, 4)
        self.stages, self.heads = nn.ModuleList(), nn.ModuleList()
        channels = 3
        for index, (width, depth, by) in enumerate(zip(widths, depths, expansions, strict=True)):
            kernel, stride = (3, 2) if index else (7, 4)
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(channels, width, kernel, stride, kernel // 2),
                    nn.BatchNorm2d(width),
                    *(Block(width, by) for _ in range(depth)),
                )
            )
            self.heads.append(nn.Conv2d(width, 64, 1))
            channels = width
        self.classify = nn.Sequential(*norm_act(64), nn.Conv2d(64, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        y, maps = image, []
        for stage, head in zip(self.stages, self.heads, strict=True):
            y = stage(y)
            maps.append(head(y))
        total = maps[0]
        for one in maps[1:]:
            total = total + functional.interpolate(
                one, total.shape[2:], mode="bilinear", align_corners=False
            )
        y = self.classify(total)
        return functional.interpolate(y, image.shape[2:], mode="bilinear", align_corners=False)


class Twice(nn.Sequential):
    """Two 3x3 convolutions, each with a batch norm and a rectifier."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            *norm_act(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            *norm_act(outputs),
        )


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015), 64 to 1024 channels, padded, with batch norms."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        self.down = nn.ModuleList(
            Twice(inner, outer) for inner, outer in zip((3, *widths), widths, strict=False)
        )
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.up.append(nn.ConvTranspose2d(wide, narrow, 2, 2))
            self.join.append(Twice(2 * narrow, narrow))
        self.classify = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        y = self.down[0](image)
        skips = [y]
        for stage in self.down[1:]:
            y = stage(functional.max_pool2d(y, 2))
            skips.append(y)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            y = join(torch.cat([skip, up(y)], 1))
        return self.classify(y)


class HighResolution(nn.Module):
    """HRNet-W18 (Wang et al. 2019): all resolutions, brought to the highest, side by side."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            "hrnet_w18", features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
        )
        channels = sum(self.backbone.feature_info.channels())
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 1), *norm_act(channels), nn.Conv2d(channels, classes, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        finest, *others = self.backbone(image)
        same = [
            functional.interpolate(y, finest.shape[2:], mode="bilinear", align_corners=False)
            for y in others
        ]
        return self.head(torch.cat([finest, *same], 1))


class Coarsest(nn.Module):
    """Only the last map of a backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        return self.backbone(image)[-1]


def convnext_dense(size: int) -> nn.Module:
    """ConvNeXt-T at output stride 8, by `atrous.convert`: timm's own is one cell off."""
    backbone = timm.create_model("convnext_tiny", features_only=True).eval()
    for name, p in backbone.named_parameters():
        if name.endswith("gamma"):  # starts at 1e-6, which would hide what a block computes
            nn.init.uniform_(p, 0.1, 0.5)
    dense = atrous.convert(backbone, 8, input=(1, 3, size, size), measure=False)
    return Coarsest(dense.model)


def densenet_dense(size: int) -> nn.Module:
    """DenseNet-121 at output stride 8, torchvision's, by `atrous.convert`, without classifier."""
    import torchvision

    features = torchvision.models.densenet121(weights=None).features.eval()
    return atrous.convert(features, 8, input=(1, 3, size, size), measure=False).model


def resnet_dense() -> nn.Module:
    """ResNet-50 at output stride 8, torchvision's own, without the classifier."""
    import torchvision

    made = torchvision.models.resnet50(
        weights=None, replace_stride_with_dilation=[False, True, True]
    )
    return nn.Sequential(*list(made.children())[:-2])
