"""Models of every kind that sizes are asked of, thin where they are our own."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.torchvision_schemas import let_torchvision_import

let_torchvision_import()


class UNet(nn.Module):
    """An encoder and a decoder joined by skips, along any number of axes."""

    def __init__(self, depth=3, axes=2, join="cat", up="transposed", pad=1, kernel=3):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        turned = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
        self.pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1](2)
        self.axes, self.join, self.how = axes, join, up
        self.down = nn.ModuleList(conv(2, 2, kernel, padding=pad) for _ in range(depth + 1))
        width = 4 if join in ("cat", "crop") else 2
        self.ups = nn.ModuleList(turned(2, 2, 2, 2) for _ in range(depth))
        self.fuse = nn.ModuleList(conv(width, 2, kernel, padding=pad) for _ in range(depth))

    def forward(self, x):
        skips = []
        for conv in self.down[:-1]:
            x = conv(x)
            skips.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for up, fuse, skip in zip(self.ups, self.fuse, reversed(skips), strict=True):
            if self.how == "resized":
                x = F.interpolate(x, size=skip.shape[2:])
            elif self.how == "nearest":
                x = F.interpolate(x, scale_factor=2.0)
            else:
                x = up(x)
            if self.join == "crop":
                for axis in range(2, x.ndim):
                    skip = skip.narrow(axis, (skip.shape[axis] - x.shape[axis]) // 2, x.shape[axis])
            x = fuse(x + skip if self.join == "add" else torch.cat([skip, x], 1))
        return x


class Checked(nn.Module):
    """Asks for multiples before it looks at its input."""

    def __init__(self, net, by, how="assert"):
        super().__init__()
        self.net, self.by, self.how = net, by, how

    def forward(self, x):
        bad = any(n % self.by for n in x.shape[2:])
        if self.how == "assert":
            assert not bad, f"{tuple(x.shape[2:])} is no multiple of {self.by}"
        elif bad:
            raise ValueError(f"wrong size {tuple(x.shape)}")
        return self.net(x)


class Padded(nn.Module):
    """Pads to a multiple; cuts the output back where it is told to."""

    def __init__(self, net, by, cut=True):
        super().__init__()
        self.net, self.by, self.cut = net, by, cut

    def forward(self, x):
        pads = [p for n in reversed(x.shape[2:]) for p in (0, -n % self.by)]
        y = self.net(F.pad(x, pads))
        return y[(..., *(slice(n) for n in x.shape[2:]))] if self.cut else y


class FPN(nn.Module):
    """Strided stages, and sums of each with the one above, enlarged."""

    def __init__(self, resized=False):
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(2, 2, 3, 2, 1) for _ in range(4))
        self.sides = nn.ModuleList(nn.Conv2d(2, 2, 1) for _ in range(4))
        self.resized = resized

    def forward(self, x):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        found = None
        outs = []
        for side, at in zip(self.sides, reversed(maps), strict=True):
            here = side(at)
            if found is not None:
                more = {"size": at.shape[2:]} if self.resized else {"scale_factor": 2.0}
                here = here + F.interpolate(found, **more)
            found = here
            outs.append(found)
        return outs


class WaveUNet(nn.Module):
    """Decimates by two and interpolates linearly, cut to its skips."""

    def __init__(self, depth=4):
        super().__init__()
        self.down = nn.ModuleList(nn.Conv1d(2, 2, 15) for _ in range(depth))
        self.up = nn.ModuleList(nn.Conv1d(4, 2, 5) for _ in range(depth))

    def forward(self, x):
        skips = []
        for conv in self.down:
            x = conv(x)
            skips.append(x)
            x = x[..., ::2]
        for conv, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, size=2 * x.shape[-1] - 1, mode="linear", align_corners=True)
            lo = (skip.shape[-1] - x.shape[-1]) // 2
            x = conv(torch.cat([skip[..., lo : lo + x.shape[-1]], x], 1))
        return x


class Patches(nn.Module):
    """Patches as tokens, with places of a fixed number or none, back on a grid."""

    def __init__(self, patch, side=0):
        super().__init__()
        self.patches = nn.Conv2d(2, 4, patch, patch)
        self.mix = nn.Linear(4, 4)
        self.places = nn.Parameter(torch.zeros(1, side * side, 4)) if side else None

    def forward(self, x):
        y = self.patches(x)
        t = y.flatten(2).mT
        t = self.mix(t if self.places is None else t + self.places)
        return t.mT.reshape(y.shape)


class Windows(nn.Module):
    """Attention in windows, which the map must fill."""

    def __init__(self, window=7, patch=4):
        super().__init__()
        self.window, self.patches = window, nn.Conv2d(2, 4, patch, patch)
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        x = self.patches(x)
        b, c, h, w = x.shape
        k = self.window
        t = x.view(b, c, h // k, k, w // k, k).permute(0, 2, 4, 3, 5, 1).reshape(-1, k * k, c)
        t = self.mix(F.scaled_dot_product_attention(t, t, t))
        return t.view(b, h // k, w // k, k, k, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


class Residual(nn.Module):
    """A block whose shortcut is pooled and whose branch is strided."""

    def __init__(self, pad):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(2, 2, 3, 2, pad), nn.AvgPool2d(2)

    def forward(self, x):
        return self.conv(x) + self.pool(x)


def stack1d(layers, turned=()):
    """Strided convolutions along time, and transposed ones behind."""
    down = [nn.Conv1d(2, 2, k, s) for k, s in layers]
    return nn.Sequential(*down, *(nn.ConvTranspose1d(2, 2, k, s) for k, s in turned))


def seq(*layers):
    """Layers one after the other."""
    return nn.Sequential(*layers)


def torchvision(name, **more):
    """A model of torchvision with random weights."""
    from torchvision import models

    return models.get_model(name, weights=None, **more)


def timm(name, **more):
    """A model of timm with random weights."""
    import timm as library

    return library.create_model(name, **more)


class Onnx:
    """A model as an ONNX file with open sizes, read by `atrous` and run by ONNX Runtime.

    What it makes of pools is looked at, too: it has one position where the standard has none.
    """

    def __init__(self, net, shape):
        import onnx
        import onnx.utils
        import onnxruntime

        held, names = io.BytesIO(), "hwd"[: len(shape) - 2]
        open_axes = dict(enumerate(names, 2))
        torch.onnx.export(
            net.eval(),
            (torch.zeros(shape),),
            held,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": open_axes, "y": open_axes},
            dynamo=False,
        )
        self.source = onnx.load_from_string(held.getvalue())
        self.pools = [n for n in self.source.graph.node if n.op_type.endswith("Pool")]
        onnxruntime.set_default_logger_severity(4)
        self.session = onnxruntime.InferenceSession(self.source.SerializeToString())
        if self.pools:
            made = {name for node in self.pools for name in (node.input[0], node.output[0])}
            self.watched = sorted(made - {"x"})
            typed = onnx.shape_inference.infer_shapes(self.source)
            front = onnx.utils.Extractor(typed).extract_model(["x"], self.watched)
            self.front = onnxruntime.InferenceSession(front.SerializeToString())

    def at(self, shape, _device=None):
        """The shapes of the outputs, or the node where it fails and what it says.

        With `broken`, the pool whose map the runtime makes larger than the standard has it.
        """
        x = torch.zeros(shape).numpy()
        try:
            made = self.session.run(None, {"x": x})
        except Exception as error:
            text = " ".join(str(error).split())
            node = re.search(r"Name:'([^']*)'", text)
            found = {"in": node[1] if node else "", "says": text}
        else:
            found = {"shapes": [tuple(array.shape) for array in made]}
        return {**found, "broken": self._broken(x)}

    def _broken(self, x):
        if not self.pools:
            return ""
        try:
            made = self.front.run(self.watched, {"x": x})
        except Exception:
            return ""
        sizes = dict(zip(self.watched, (array.shape for array in made), strict=True))
        sizes["x"] = x.shape
        for pool in self.pools:
            name, out = pool.input[0], pool.output[0]
            values = {a.name: list(a.ints) for a in pool.attribute}
            kernel = values["kernel_shape"]
            pads = values.get("pads", [0] * 2 * len(kernel))
            strides = values.get("strides", [1] * len(kernel))
            for i, k in enumerate(kernel):
                n = sizes[name][2 + i] + pads[i] + pads[len(kernel) + i]
                if sizes[out][2 + i] != max((n - k) // strides[i] + 1, 0):
                    return pool.name
        return ""


WAV2VEC = [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "U-Net": (UNet, (1, 2, 64, 64)),
    "U-Net, 64 x 48": (UNet, (1, 2, 64, 48)),
    "U-Net, depth 4": (lambda: UNet(4), (1, 2, 64, 64)),
    "U-Net, asked at 250": (lambda: UNet(4), (1, 2, 250, 250)),
    "U-Net, resized to skips": (lambda: UNet(up="resized"), (1, 2, 64, 64)),
    "U-Net, nearest": (lambda: UNet(up="nearest"), (1, 2, 64, 64)),
    "U-Net, crops": (lambda: UNet(join="crop"), (1, 2, 64, 64)),
    "U-Net, valid and crops": (lambda: UNet(2, join="crop", pad=0), (1, 2, 64, 64)),
    "U-Net, kernels of 5": (lambda: UNet(2, kernel=5, pad=2), (1, 2, 64, 64)),
    "U-Net, 1-D": (lambda: UNet(5, axes=1), (1, 2, 128)),
    "U-Net, 3-D": (lambda: UNet(2, axes=3), (1, 2, 16, 16, 16)),
    "LinkNet": (lambda: UNet(join="add"), (1, 2, 64, 64)),
    "LinkNet, nearest": (lambda: UNet(4, join="add", up="nearest"), (1, 2, 64, 64)),
    "FPN": (FPN, (1, 2, 64, 64)),
    "FPN, resized": (lambda: FPN(True), (1, 2, 64, 64)),
    "strided with a pooled shortcut": (lambda: seq(Residual(1), Residual(1)), (1, 2, 64, 64)),
    "valid with a pooled shortcut": (lambda: seq(Residual(0), Residual(1)), (1, 2, 65, 65)),
    "asserts multiples of 32": (lambda: Checked(UNet(), 32), (1, 2, 64, 64)),
    "raises but at multiples of 12": (lambda: Checked(UNet(2), 12, "raise"), (1, 2, 48, 48)),
    "asserts multiples of 14": (lambda: Checked(Patches(7), 14), (1, 2, 56, 56)),
    "pads to 16": (lambda: Padded(UNet(), 16), (1, 2, 64, 64)),
    "pads to 32, strides of 8": (lambda: Padded(UNet(), 32), (1, 2, 64, 64)),
    "pads to windows": (lambda: Padded(Windows(), 28), (1, 2, 56, 56)),
    "pads and keeps": (lambda: Padded(nn.Conv2d(2, 2, 4, 4), 20, cut=False), (1, 2, 64, 64)),
    "windows": (Windows, (1, 2, 56, 56)),
    "windows of 3": (lambda: Windows(3, 8), (1, 2, 48, 48)),
    "patches": (lambda: Patches(16), (1, 2, 64, 64)),
    "patches with places": (lambda: Patches(16, 4), (1, 2, 64, 64)),
    "patches of 7": (lambda: Patches(7), (1, 2, 56, 56)),
    "autoencoder": (
        lambda: seq(
            *(nn.Conv2d(2, 2, 3, 2, 1) for _ in range(3)),
            *(nn.ConvTranspose2d(2, 2, 3, 2, 1, output_padding=1) for _ in range(3)),
        ),
        (1, 2, 64, 64),
    ),
    "shuffles": (
        lambda: seq(nn.PixelUnshuffle(4), nn.Conv2d(32, 8, 3, padding=1), nn.PixelShuffle(2)),
        (1, 2, 64, 64),
    ),
    "ceil pools": (
        lambda: seq(*(nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(4))),
        (1, 2, 64, 64),
    ),
    "flattened": (
        lambda: seq(nn.MaxPool2d(4), nn.Flatten(), nn.Linear(512, 3)),
        (1, 2, 64, 64),
    ),
    "wav2vec 2.0 front end": (lambda: stack1d(WAV2VEC), (1, 2, 800)),
    "Conv-TasNet": (lambda: stack1d([(16, 8)], [(16, 8)]), (1, 2, 160)),
    "Demucs stack": (lambda: stack1d([(8, 4)] * 3, [(8, 4)] * 3), (1, 2, 400)),
    "codec": (
        lambda: stack1d([(4, 2), (8, 4), (10, 5)], [(10, 5), (8, 4), (4, 2)]),
        (1, 2, 400),
    ),
    "Wave-U-Net": (WaveUNet, (1, 2, 500)),
    "torchvision alexnet": (lambda: torchvision("alexnet"), (1, 3, 96, 96)),
    "torchvision squeezenet1_1": (lambda: torchvision("squeezenet1_1"), (1, 3, 64, 64)),
    "torchvision resnet18": (lambda: torchvision("resnet18"), (1, 3, 64, 64)),
    "torchvision vgg11": (lambda: torchvision("vgg11"), (1, 3, 64, 64)),
    "torchvision googlenet": (
        lambda: torchvision("googlenet", init_weights=False, aux_logits=False),
        (1, 3, 64, 64),
    ),
    "torchvision fcn_resnet50": (
        lambda: torchvision("fcn_resnet50", weights_backbone=None),
        (1, 3, 64, 64),
    ),
    "torchvision vit_b_16": (lambda: torchvision("vit_b_16"), (1, 3, 224, 224)),
    "timm mixer_s32_224": (lambda: timm("mixer_s32_224"), (1, 3, 224, 224)),
    "timm resnet18, features": (lambda: timm("resnet18", features_only=True), (1, 3, 64, 64)),
    "timm hrnet_w18_small": (lambda: timm("hrnet_w18_small"), (1, 3, 64, 64)),
    "ONNX, strided encoder": (
        lambda: Onnx(seq(*(nn.Conv2d(2, 2, 3, 2, i % 2) for i in range(4))), (1, 2, 64, 64)),
        (1, 2, 64, 64),
    ),
    "ONNX, U-Net": (lambda: Onnx(UNet(), (1, 2, 64, 64)), (1, 2, 64, 64)),
    "ONNX, U-Net, resized": (lambda: Onnx(UNet(up="resized"), (1, 2, 64, 64)), (1, 2, 64, 64)),
    "ONNX, U-Net, nearest": (lambda: Onnx(UNet(up="nearest"), (1, 2, 64, 64)), (1, 2, 64, 64)),
    "ONNX, LinkNet": (lambda: Onnx(UNet(join="add"), (1, 2, 64, 64)), (1, 2, 64, 64)),
    "ONNX, codec": (
        lambda: Onnx(stack1d([(4, 2), (8, 4)], [(8, 4), (4, 2)]), (1, 2, 100)),
        (1, 2, 100),
    ),
    "ONNX, strided and pooled stack": (
        lambda: Onnx(
            seq(nn.Conv1d(2, 2, 10, 5), nn.AvgPool1d(4, 2), nn.Conv1d(2, 2, 3, 2)), (1, 2, 99)
        ),
        (1, 2, 99),
    ),
}
