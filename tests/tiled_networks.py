"""Published layouts with few channels, for tests of tiles: how each is made, and its image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import segmentation, squeezenet1_1
from torchvision.ops import FeaturePyramidNetwork

from tests.shortened import shortened

__all__ = ["NETWORKS", "WITH_STATISTICS", "Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """`make` gives the model, `shape` is an image's; tiles are drawn from `least` to `most`."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    least: int
    most: int
    uncut: tuple[int, ...] = ()
    """Axes, from 0, that are not cut."""
    inputs: int = 1
    last: bool = False
    """Whether channels are the last dimension."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of all inputs."""
        return (self.shape,) * self.inputs

    @property
    def sizes(self) -> tuple[int, ...]:
        """Positions along each axis."""
        return self.shape[1:-1] if self.last else self.shape[2:]


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, rate: int = 1) -> nn.Module:
    """A convolution with a batch norm and a rectifier."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * rate, rate, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def twice(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(conv(inputs, outputs), conv(outputs, outputs))


RESNET = {"layers": (1, 1, 1, 1), "channels": (4, 6, 8, 8)}


def backbone(name: str, **options: Any) -> nn.Module:
    return shortened(timm.create_model(name, features_only=True, **options))


class UNet(nn.Module):
    """Three scales; `up` is how the decoder comes to the size of what it joins."""

    def __init__(self, up: str, widths: Sequence[int] = (4, 6, 8)) -> None:
        super().__init__()
        self.how = up
        first, second, third = widths
        self.down = nn.ModuleList([twice(3, first), twice(first, second), twice(second, third)])
        self.wider = nn.ModuleList(
            nn.ConvTranspose2d(a, a, 2, 2) for a in ((third, second) if up == "transposed" else ())
        )
        self.join = nn.ModuleList([twice(third + second, second), twice(second + first, first)])
        self.classify = nn.Conv2d(first, 2, 1)

    def widened(self, y: Tensor, skip: Tensor, step: int) -> Tensor:
        size = skip.shape[2:]
        if self.how == "transposed":
            y = self.wider[step](y)
            # An odd size leaves one position too few, which is padded as PyTorch's users do.
            return functional.pad(y, (0, size[1] - y.shape[3], 0, size[0] - y.shape[2]))
        if self.how == "corners":
            return functional.interpolate(y, size, mode="bilinear", align_corners=True)
        if self.how == "factor":
            y = functional.interpolate(y, scale_factor=2, mode="bilinear")
            return functional.pad(y, (0, size[1] - y.shape[3], 0, size[0] - y.shape[2]))
        return functional.interpolate(y, size, mode=self.how)

    def forward(self, image: Tensor) -> Tensor:
        skips = [self.down[0](image)]
        for stage in self.down[1:]:
            skips.append(stage(functional.max_pool2d(skips[-1], 2)))
        y = skips[2]
        for step, skip in enumerate(skips[1::-1]):
            y = self.join[step](torch.cat([self.widened(y, skip, step), skip], 1))
        return self.classify(y)


class ValidUNet(nn.Module):
    """Without padding: maps of the encoder are cropped to those of the decoder (as in 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU())
        self.deeper = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.back = nn.ModuleList(nn.ConvTranspose2d(8, 8, 2, 2) for _ in range(2))
        self.join = nn.ModuleList([nn.Conv2d(16, 8, 3), nn.Conv2d(12, 2, 3)])

    def forward(self, image: Tensor) -> Tensor:
        a = self.enter(image)
        b = self.deep(a)
        y = self.deeper(b)
        for up, join, skip in zip(self.back, self.join, (b, a), strict=True):
            y = up(y)
            top, left = ((s - n) // 2 for s, n in zip(skip.shape[2:], y.shape[2:], strict=True))
            skip = skip[:, :, top : top + y.shape[2], left : left + y.shape[3]]
            y = join(torch.cat([skip, y], 1))
        return y


class Volume(nn.Module):
    """A U-Net of volumes whose first step leaves the depth as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv3d(1, 3, 3, padding=1)
        self.down = nn.Conv3d(3, 4, 3, (1, 2, 2), 1)
        self.deep = nn.Sequential(nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 4, 3, padding=1))
        self.back = nn.ConvTranspose3d(4, 4, 2, 2)
        self.last = nn.Conv3d(7, 2, 3, padding=1)

    def forward(self, volume: Tensor) -> Tensor:
        a = self.enter(volume)
        b = self.down(a)
        c = functional.interpolate(self.back(self.deep(b)), b.shape[2:]) + b
        c = functional.interpolate(c, a.shape[2:], mode="trilinear")
        return self.last(torch.cat([a, c], 1))


class Pyramid(nn.Module):
    """A ResNet's maps, merged from the coarsest to the finest."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone("resnet18", out_indices=(1, 2, 3), **RESNET)
        self.neck = FeaturePyramidNetwork([4, 6, 8], 4)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = self.backbone(image)
        return list(self.neck({str(i): m for i, m in enumerate(maps)}).values())


class DeepLab(nn.Module):
    """DeepLabv3+ with rates 2, 4, 6; `pooled` adds the branch that sees the whole map."""

    def __init__(self, *, pooled: bool) -> None:
        super().__init__()
        self.backbone = backbone("resnet18", out_indices=(1, 4), output_stride=16, **RESNET)
        self.branches = nn.ModuleList([conv(8, 4, 1), *(conv(8, 4, rate=r) for r in (2, 4, 6))])
        self.whole = conv(8, 4, 1) if pooled else None
        self.project = conv(20 if pooled else 16, 8, 1)
        self.skip = conv(4, 4, 1)
        self.classify = nn.Sequential(conv(12, 8), nn.Conv2d(8, 3, 1))

    def forward(self, image: Tensor) -> Tensor:
        low, high = self.backbone(image)
        seen = [branch(high) for branch in self.branches]
        if self.whole is not None:
            pooled = self.whole(functional.adaptive_avg_pool2d(high, 1))
            seen.append(functional.interpolate(pooled, high.shape[2:], mode="bilinear"))
        y = self.project(torch.cat(seen, 1))
        y = functional.interpolate(y, low.shape[2:], mode="bilinear")
        y = self.classify(torch.cat([y, self.skip(low)], 1))
        return functional.interpolate(y, image.shape[2:], mode="bilinear")


class Residual(nn.Module):
    def __init__(self, body: nn.Module, scale: float = 1) -> None:
        super().__init__()
        self.body, self.scale = body, scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.body(x)


def edsr() -> nn.Module:
    body = [
        Residual(nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1)), 0.1)
        for _ in range(3)
    ]
    grow = [nn.Conv2d(6, 24, 3, 1, 1), nn.PixelShuffle(2)] * 2
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 1, 1), Residual(nn.Sequential(*body)), *grow, nn.Conv2d(6, 3, 3, 1, 1)
    )


def espcn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(6, 9, 3, padding=1),
        nn.PixelShuffle(3),
    )


class Dense(nn.Module):
    """Residual-in-residual dense blocks and nearest upsampling (ESRGAN)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 4, 3, 1, 1)
        self.grow = nn.ModuleList(nn.Conv2d(4 + 3 * i, 3, 3, 1, 1) for i in range(3))
        self.fuse = nn.Conv2d(13, 4, 3, 1, 1)
        self.up = nn.Conv2d(4, 4, 3, 1, 1)
        self.leave = nn.Conv2d(4, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        seen = [x]
        for layer in self.grow:
            seen.append(functional.leaky_relu(layer(torch.cat(seen, 1)), 0.2))
        x = x + 0.2 * self.fuse(torch.cat(seen, 1))
        x = self.up(functional.interpolate(x, scale_factor=2, mode="nearest"))
        return self.leave(functional.interpolate(x, scale_factor=2, mode="nearest"))


class Decoder(nn.Module):
    """Four scales of residual blocks, as a latent diffusion model decodes; no attention."""

    def __init__(self, norm: Callable[[int], nn.Module], channels: int = 8) -> None:
        super().__init__()
        self.enter = nn.Conv2d(4, channels, 3, padding=1)
        self.scales = nn.ModuleList(
            nn.Sequential(*(self.block(norm, channels) for _ in range(2))) for _ in range(4)
        )
        self.ups = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.leave = nn.Sequential(norm(channels), nn.SiLU(), nn.Conv2d(channels, 3, 3, padding=1))

    @staticmethod
    def block(norm: Callable[[int], nn.Module], c: int) -> nn.Module:
        layers = [norm(c), nn.SiLU(), nn.Conv2d(c, c, 3, padding=1)]
        return Residual(nn.Sequential(*layers, norm(c), nn.SiLU(), nn.Conv2d(c, c, 3, padding=1)))

    def forward(self, latent: Tensor) -> Tensor:
        y = self.scales[0](self.enter(latent))
        for up, scale in zip(self.ups, self.scales[1:], strict=True):
            y = scale(up(functional.interpolate(y, scale_factor=2.0, mode="nearest")))
        return self.leave(y)


class Encoder(nn.Module):
    """The way back: each step pads behind alone and strides without padding."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 6, 3, padding=1)
        self.scales = nn.ModuleList(Decoder.block(nn.BatchNorm2d, 6) for _ in range(3))
        self.downs = nn.ModuleList(nn.Conv2d(6, 6, 3, 2) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        y = self.scales[0](self.enter(image))
        for down, scale in zip(self.downs, self.scales[1:], strict=True):
            y = scale(down(functional.pad(y, (0, 1, 0, 1))))
        return y


class Roads(nn.Module):
    """D-LinkNet: a chain of rates whose steps are summed, and a decoder that adds."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone("resnet18", out_indices=(1, 2, 3), **RESNET)
        self.chain = nn.ModuleList(conv(8, 8, rate=rate) for rate in (1, 2, 4))
        self.back = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1) for a, b in ((8, 6), (6, 4))
        )
        self.head = nn.Sequential(nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.ReLU(), conv(4, 2))

    def forward(self, image: Tensor) -> Tensor:
        a, b, y = self.backbone(image)
        step = y
        for layer in self.chain:
            step = layer(step)
            y = y + step
        for up, skip in zip(self.back, (b, a), strict=True):
            y = up(y)[..., : skip.shape[2], : skip.shape[3]] + skip
        return torch.sigmoid(self.head(y))


class WaveNet(nn.Module):
    """Causal gated convolutions at doubled rates, whose skips are summed."""

    def __init__(self, depth: int = 5) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, 4, 1)
        self.layers = nn.ModuleList(nn.Conv1d(4, 8, 2, dilation=1 << i) for i in range(depth))
        self.mix = nn.ModuleList(nn.Conv1d(4, 8, 1) for _ in range(depth))
        self.leave = nn.Conv1d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.enter(x), 0
        for step, (layer, mix) in enumerate(zip(self.layers, self.mix, strict=True)):
            value, gate = layer(functional.pad(x, (1 << step, 0))).chunk(2, 1)
            more, skip = mix(torch.tanh(value) * torch.sigmoid(gate)).chunk(2, 1)
            x, total = x + more, total + skip
        return self.leave(functional.relu(total))


class TasNet(nn.Module):
    """Encoder, masks of a dilated separator, decoder; batch norms for the global ones."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv1d(1, 6, 16, 8, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(6, 8, 1),
                nn.PReLU(),
                nn.BatchNorm1d(8),
                nn.Conv1d(8, 8, 3, padding=rate, dilation=rate, groups=8),
                nn.Conv1d(8, 6, 1),
            )
            for rate in (1, 2, 4, 8)
        )
        self.mask = nn.Conv1d(6, 12, 1)
        self.decode = nn.ConvTranspose1d(6, 1, 16, 8, bias=False)

    def forward(self, signal: Tensor) -> Tensor:
        frames = y = self.encode(signal)
        for block in self.blocks:
            y = y + block(y)
        masks = torch.sigmoid(self.mask(y)).chunk(2, 1)
        return torch.cat([self.decode(frames * mask) for mask in masks], 1)


class Vocoder(nn.Module):
    """HiFi-GAN: transposed convolutions, each before kernels whose results are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv1d(10, 8, 7, padding=3)
        self.up = nn.ModuleList(nn.ConvTranspose1d(8, 8, 2 * f, f, f // 2) for f in (8, 4, 2))
        self.mix = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(8, 8, k, padding=k // 2 * 3, dilation=3) for k in (3, 7))
            for _ in range(3)
        )
        self.leave = nn.Conv1d(8, 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        y = self.enter(mel)
        for up, kernels in zip(self.up, self.mix, strict=True):
            y = up(functional.leaky_relu(y, 0.1))
            y = sum((k(y) for k in kernels[1:]), kernels[0](y)) / len(kernels)
        return torch.tanh(self.leave(y))


class Waves(nn.Module):
    """Demucs and Wave-U-Net: strides of 4 without padding, skips cropped in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv1d(1, 4, 8, 4), nn.Conv1d(4, 6, 8, 4)])
        self.mix = nn.Conv1d(6, 6, 3)
        self.up = nn.ModuleList([nn.ConvTranspose1d(6, 4, 8, 4), nn.ConvTranspose1d(4, 1, 8, 4)])

    def forward(self, signal: Tensor) -> Tensor:
        a = functional.relu(self.down[0](signal))
        b = functional.relu(self.down[1](a))
        y = self.mix(b)
        y = self.up[0](functional.relu(y + b[..., 1:-1]))
        start = (a.shape[-1] - y.shape[-1]) // 2
        return self.up[1](y + a[..., start : start + y.shape[-1]])


class LargeKernels(nn.Module):
    """Large-kernel attention: depthwise 5 and depthwise 7 at rate 3, as a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 7, 4, 3), nn.BatchNorm2d(6))
        self.near = nn.Conv2d(6, 6, 5, padding=2, groups=6)
        self.far = nn.Conv2d(6, 6, 7, padding=9, dilation=3, groups=6)
        self.mix = nn.Conv2d(6, 6, 1)

    def forward(self, image: Tensor) -> Tensor:
        y = self.stem(image)
        y = y + self.mix(self.far(self.near(functional.gelu(y)))) * y
        return functional.interpolate(y, image.shape[2:], mode="bilinear", align_corners=True)


def style() -> nn.Module:
    """Reflected borders before every convolution, nearest upsampling (Johnson et al. 2016)."""

    def layer(i: int, o: int, k: int, s: int = 1) -> nn.Module:
        return nn.Sequential(nn.ReflectionPad2d(k // 2), nn.Conv2d(i, o, k, s), nn.BatchNorm2d(o))

    return nn.Sequential(
        layer(3, 4, 9),
        nn.ReLU(),
        layer(4, 6, 3, 2),
        nn.ReLU(),
        layer(6, 8, 3, 2),
        Residual(nn.Sequential(layer(8, 8, 3), nn.ReLU(), layer(8, 8, 3))),
        nn.Upsample(scale_factor=2),
        layer(8, 6, 3),
        nn.Upsample(scale_factor=2),
        layer(6, 3, 9),
    )


class Fcn(nn.Module):
    """FCN-8s: pads by 100, pools with a ceiling, crops at fixed offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(3, 4, 3, padding=20), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        self.window = nn.Conv2d(6, 2, 5)
        self.score = nn.Conv2d(4, 2, 1)
        self.twice = nn.ConvTranspose2d(2, 2, 4, 2, bias=False)
        self.back = nn.ConvTranspose2d(2, 2, 4, 2, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        a = functional.max_pool2d(self.enter(image), 2, ceil_mode=True)
        b = functional.max_pool2d(self.deep(a), 2, ceil_mode=True)
        y = self.twice(self.window(b))
        y = y + self.score(a)[:, :, 4 : 4 + y.shape[2], 4 : 4 + y.shape[3]]
        y = self.back(y)
        h, w = image.shape[2:]
        return y[:, :, 9 : 9 + h, 9 : 9 + w]


class Detector(nn.Module):
    """A path down, up and down again, with heads at three strides (YOLO)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 4, 3, 2), conv(4, 4, 3, 2))
        self.down = nn.ModuleList([conv(4, 6, 3, 2), conv(6, 8, 3, 2)])
        self.pools = nn.MaxPool2d(5, 1, 2)
        self.lateral = nn.ModuleList([conv(32 + 6, 6, 1), conv(6 + 4, 4, 1)])
        self.again = conv(4, 6, 3, 2)
        self.heads = nn.ModuleList(nn.Conv2d(c, 5, 1) for c in (4, 12, 32))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        a = self.stem(image)
        b = self.down[0](a)
        c = [self.down[1](b)]
        for _ in range(3):
            c.append(self.pools(c[-1]))
        deep = torch.cat(c, 1)
        y = self.lateral[0](torch.cat([functional.interpolate(deep, b.shape[2:]), b], 1))
        z = self.lateral[1](torch.cat([functional.interpolate(y, a.shape[2:]), a], 1))
        y = torch.cat([y, self.again(z)], 1)
        return tuple(head(m) for head, m in zip(self.heads, (z, y, deep), strict=True))


class Siamese(nn.Module):
    """Two images of a place through one encoder; what differs is decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(conv(3, 4, 3, 2), conv(4, 6, 3, 2))
        self.decode = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.PixelShuffle(2), conv(2, 2))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        y = self.decode((self.encode(before) - self.encode(after)).abs())
        return functional.interpolate(y, before.shape[-2:], mode="nearest")


class LastLayout(nn.Module):
    """Blocks that normalize and mix channels last, behind a patchify stem (ConvNeXt)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.window = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 32), nn.Linear(32, 8)
        self.out = nn.Linear(8, 16)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image.permute(0, 3, 1, 2))
        y = self.norm(self.window(x).permute(0, 2, 3, 1))
        y = x.permute(0, 2, 3, 1) + self.narrow(functional.gelu(self.wide(y)))
        b, h, w, _ = y.shape
        y = self.out(y).view(b, h, w, 4, 4, 1).permute(0, 1, 3, 2, 4, 5)
        return y.reshape(b, 4 * h, 4 * w, 1)


class Restored(nn.Module):
    """Unshuffled into four phases and back, padded to whole blocks first and cropped (FFDNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(4, 8), conv(8, 8), nn.Conv2d(8, 4, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[-2:]
        x = functional.pad(image, (0, -w % 2, 0, -h % 2), mode="replicate")
        y = functional.pixel_shuffle(self.body(functional.pixel_unshuffle(x, 2)), 2)
        return y[..., :h, :w]


class Split(nn.Module):
    """A ResNet whose maps are interpolated by a factor and fused (Semantic FPN)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone("resnet18d", out_indices=(1, 2, 3), **RESNET)
        self.sides = nn.ModuleList(nn.Conv2d(c, 4, 1) for c in (4, 6, 8))

    def forward(self, image: Tensor) -> Tensor:
        maps = [side(m) for side, m in zip(self.sides, self.backbone(image), strict=True)]
        size = tuple(maps[0].shape[2:])
        y = sum(
            (
                functional.interpolate(m, size, mode="bilinear", align_corners=True)
                for m in maps[1:]
            ),
            maps[0],
        )
        return functional.interpolate(y, scale_factor=4, mode="bilinear")


def squeezed() -> nn.Module:
    """SqueezeNet up to its second fire stage: pools with a ceiling, no padding at the stem."""
    return squeezenet1_1(weights=None).features[:7]


def dense() -> nn.Module:
    return backbone("densenet121", out_indices=(1, 2, 3), growth_rate=4, block_config=(2, 2, 2, 2))


def segmented() -> nn.Module:
    """torchvision's FCN head on a small ResNet, resized to the image."""

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone("resnet18", out_indices=(4,), output_stride=8, **RESNET)

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return {"out": self.backbone(image)[0]}

    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = segmentation.FCN(Body(), segmentation.fcn.FCNHead(8, 3))

        def forward(self, image: Tensor) -> Tensor:
            return self.model(image)["out"]

    return Only()


CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (6, 8, 8, 8), "ls_init_value": 0.5}

NETWORKS = {
    "ResNet, output stride 32": Layout(
        partial(backbone, "resnet18", **RESNET), (1, 3, 453, 37), 64, 128, (1,)
    ),
    "ResNet, output stride 16": Layout(
        partial(backbone, "resnet18", output_stride=16, **RESNET), (1, 3, 41, 459), 32, 99, (0,)
    ),
    "ResNet, output stride 8": Layout(
        partial(backbone, "resnet18", output_stride=8, **RESNET), (1, 3, 467, 35), 24, 120, (1,)
    ),
    "ResNet-D": Layout(
        partial(backbone, "resnet18d", out_indices=(1, 2, 3), **RESNET),
        (1, 3, 47, 219),
        32,
        64,
        (0,),
    ),
    "ResNet, blurred pools": Layout(
        partial(backbone, "resnetblur18", out_indices=(1, 2, 3), **RESNET),
        (1, 3, 305, 41),
        48,
        96,
        (1,),
    ),
    "MobileNetV2": Layout(
        partial(backbone, "mobilenetv2_035", out_indices=(0, 1, 2)), (1, 3, 271, 37), 48, 96, (1,)
    ),
    "MobileNetV3, TensorFlow's padding": Layout(
        partial(backbone, "tf_mobilenetv3_small_minimal_100", out_indices=(0, 1, 2)),
        (1, 3, 53, 273),
        32,
        64,
        (0,),
    ),
    "EfficientNet-Lite": Layout(
        partial(backbone, "efficientnet_lite0", out_indices=(0, 1, 2)),
        (1, 3, 293, 37),
        32,
        64,
        (1,),
    ),
    "ConvNeXt": Layout(
        partial(backbone, "convnext_atto", **CONVNEXT), (1, 3, 607, 33), 64, 128, (1,)
    ),
    "ConvNeXt, channels last": Layout(LastLayout, (1, 61, 77, 3), 8, 24, last=True),
    "DenseNet": Layout(dense, (1, 3, 203, 171), 24, 48),
    "HRNet": Layout(
        partial(backbone, "hrnet_w18_small", out_indices=(1, 2), feature_location=""),
        (1, 3, 832, 32),
        64,
        96,
        (1,),
    ),
    "SqueezeNet": Layout(squeezed, (1, 3, 131, 117), 16, 40),
    "U-Net, transposed": Layout(partial(UNet, "transposed"), (1, 3, 61, 79), 14, 30),
    "U-Net, bilinear": Layout(partial(UNet, "bilinear"), (1, 3, 89, 91), 16, 24),
    "U-Net, corners aligned": Layout(partial(UNet, "corners"), (1, 3, 91, 37), 8, 20, (1,)),
    "U-Net, nearest": Layout(partial(UNet, "nearest"), (1, 3, 57, 75), 14, 30),
    "U-Net, by a factor": Layout(partial(UNet, "factor"), (1, 3, 37, 93), 8, 20, (0,)),
    "U-Net, valid": Layout(ValidUNet, (1, 1, 108, 127), 8, 30),
    "U-Net of volumes": Layout(Volume, (1, 1, 27, 45, 14), 8, 14, (2,)),
    "FPN": Layout(Pyramid, (1, 3, 59, 421), 48, 96, (0,)),
    "Semantic FPN": Layout(Split, (1, 3, 209, 61), 32, 64, (1,)),
    "FCN of torchvision": Layout(segmented, (1, 3, 457, 35), 32, 80, (1,)),
    "FCN-8s, crops": Layout(Fcn, (1, 3, 121, 135), 12, 40),
    "DeepLabv3+ without image pooling": Layout(
        partial(DeepLab, pooled=False), (1, 3, 801, 37), 48, 99, (1,)
    ),
    "D-LinkNet": Layout(Roads, (1, 3, 613, 45), 32, 64, (1,)),
    "Large-kernel attention": Layout(LargeKernels, (1, 3, 181, 205), 16, 40),
    "YOLO": Layout(Detector, (1, 3, 371, 47), 32, 64, (1,)),
    "EDSR": Layout(edsr, (1, 3, 43, 51), 5, 20),
    "ESPCN": Layout(espcn, (1, 1, 45, 37), 5, 20),
    "ESRGAN": Layout(Dense, (1, 3, 41, 37), 5, 20),
    "VAE decoder": Layout(partial(Decoder, nn.BatchNorm2d, 4), (1, 4, 39, 17), 8, 16, (1,)),
    "VAE encoder": Layout(Encoder, (1, 3, 107, 119), 12, 30),
    "Style transfer": Layout(style, (1, 3, 105, 111), 12, 30),
    "FFDNet": Layout(Restored, (1, 1, 71, 63), 10, 30),
    "Change detection": Layout(Siamese, (1, 3, 73, 81), 12, 30, inputs=2),
    "WaveNet": Layout(WaveNet, (1, 1, 701), 33, 99),
    "Conv-TasNet": Layout(TasNet, (1, 1, 1709), 64, 200),
    "HiFi-GAN": Layout(Vocoder, (1, 10, 61), 7, 20),
    "Demucs": Layout(Waves, (1, 1, 1301), 64, 300),
}

WITH_STATISTICS = {
    "DeepLabv3+": Layout(partial(DeepLab, pooled=True), (1, 3, 801, 37), 48, 99, (1,)),
    "VAE decoder, group norms": Layout(
        partial(Decoder, partial(nn.GroupNorm, 2), 4), (1, 4, 39, 17), 8, 16, (1,)
    ),
    "MobileNetV3, squeezed": Layout(
        partial(backbone, "mobilenetv3_small_050", out_indices=(0, 1, 2)),
        (1, 3, 37, 273),
        32,
        64,
        (0,),
    ),
}
"""Some of whose layers mix all positions."""
