"""PyTorch models through ONNX: the names the user knows, and the same totals as without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atrous.analysis import inspect_network
from atrous.network import Network
from atrous.readers.onnx.reader import read_onnx
from atrous.readers.torch.reader import read_torch
from tests.exporting import export

IMAGE = (1, 3, 40, 48)


class Block(nn.Module):
    def __init__(self, taken: int, made: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(taken, made, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(made)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(made, made, (1, 5), padding=(0, 4), dilation=2, groups=made)
        self.shortcut = nn.Conv2d(taken, made, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.act(self.bn1(self.conv1(x)))) + self.shortcut(x)


class Decoder(nn.Module):
    """Strides, dilations, branches, squeeze and excitation, three ways up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.Hardswish())
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.layer1 = nn.Sequential(Block(8, 8), Block(8, 16, 2))
        self.layer2 = nn.Sequential(Block(16, 16, dilation=2), Block(16, 16, dilation=4))
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1)
        )
        self.up1 = nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1)
        self.up2 = nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), nn.PixelShuffle(2))
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(self.pool(self.stem(x))))
        x = self.up1(x * torch.sigmoid(self.squeeze(x)))
        x = self.head(self.up2(x))
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Tokens(nn.Module):
    """Patches, attention, layer norm, a table of offsets and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 8, 8)
        self.places = nn.Parameter(torch.zeros(1, 30, 12))
        self.norm = nn.LayerNorm(12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.head = nn.Linear(12, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.places
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head((x + self.mlp(x)).mean(1))


class Sound(nn.Module):
    """A waveform through causal dilated convolutions and a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(1 if not i else 6, 6, 2, dilation=2**i) for i in range(4)
        )
        self.lstm = nn.LSTM(6, 5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, conv in enumerate(self.convs):
            x = torch.tanh(conv(nn.functional.pad(x, (2**i, 0))))
        return self.lstm(x.transpose(1, 2))[0]


MODELS = {"decoder": (Decoder, IMAGE), "tokens": (Tokens, IMAGE), "sound": (Sound, (1, 1, 50))}


def _exported(module: nn.Module, shape: tuple[int, ...], path: Path, **options: Any) -> Path:
    torch.manual_seed(0)
    return export(module, torch.rand(shape), path, **options)


OPTIONS: dict[str, dict[str, Any]] = {
    "exporter": {"dynamo": True, "optimize": False},
    "optimizing exporter": {"dynamo": True, "optimize": True},
    "TorchScript exporter": {"dynamo": False, "do_constant_folding": False},
    "folding TorchScript exporter": {"dynamo": False},
}


@pytest.fixture(scope="module", params=[(m, o) for m in MODELS for o in OPTIONS], ids="-".join)
def pair(request: Any, tmp_path_factory: Any) -> tuple[str, str, Network, Network]:
    """A model read directly, and through one exporter."""
    which, how = request.param
    make, shape = MODELS[which]
    torch.manual_seed(0)
    module = make().eval()
    for parameter in module.parameters():  # equal ones would be stored once
        nn.init.normal_(parameter)
    path = _exported(module, shape, tmp_path_factory.mktemp("onnx") / "net.onnx", **OPTIONS[how])
    return which, how, read_torch(module, shape), read_onnx(path)


def test_the_totals_are_those_of_the_module(pair: tuple[str, str, Network, Network]) -> None:
    which, how, module, file = pair
    assert not [(n.name, n.opaque) for n in file.nodes if n.opaque]
    assert file.macs == module.macs
    if which == "decoder" and "ing" in how:  # batch norm is folded into convolutions
        assert file.param_count < module.param_count
    else:
        assert file.param_count == module.param_count


def test_the_output_sees_what_it_sees_without_onnx(
    pair: tuple[str, str, Network, Network],
) -> None:
    _, _, module, file = pair
    a, b = inspect_network(module), inspect_network(file)
    assert a.complete
    assert b.complete
    for left, right in zip(a.outputs, b.outputs, strict=True):
        assert left.field == right.field
        assert left.output_shape == right.output_shape
        assert left.is_global == right.is_global
    if a.outputs[-1].field:
        assert (a.footprint().mask == b.footprint().mask).all()


def test_layers_are_found_by_the_names_of_their_modules(
    pair: tuple[str, str, Network, Network],
) -> None:
    which, how, module, file = pair
    names = {
        "decoder": ["stem.0", "layer1.0.conv1", "layer2.1.conv2", "squeeze.3", "up1", "head"],
        "tokens": ["patch", "norm", "mlp.2", "head"],
        "sound": ["convs.0", "convs.3", "lstm"],
    }
    for name in names[which]:
        found, wanted = file.node(name), module.node(name)
        assert found.output.shape == wanted.output.shape, (how, name)
        # A linear layer may be a product and a sum.
        inside = [n for n in file.nodes if n.module == name or n.module.startswith(name + ".")]
        assert sum(n.macs for n in inside) == wanted.macs, (how, name)


def test_open_sizes_are_filled_in_with_the_ones_that_are_asked_for(tmp_path: Path) -> None:
    module = Decoder().eval()
    sizes = {0: "batch", 2: "height", 3: "width"}
    path = _exported(
        module, IMAGE, tmp_path / "net.onnx", dynamo=False, input_names=["x"],
        dynamic_axes={"x": sizes},
    )  # fmt: skip
    network = read_onnx(path, (2, 3, 64, 80))
    direct = read_torch(module, (2, 3, 64, 80))
    assert network.macs == direct.macs
    assert not [(n.name, n.opaque) for n in network.nodes if n.opaque]
    assert inspect_network(network).outputs[0].field == inspect_network(direct).outputs[0].field


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_old_operator_sets_are_read(opset: int, tmp_path: Path) -> None:
    module = Decoder().eval()
    path = _exported(module, IMAGE, tmp_path / "net.onnx", dynamo=False, opset_version=opset)
    network, direct = read_onnx(path), read_torch(module, IMAGE)
    assert network.macs == direct.macs
    assert inspect_network(network).complete
    if opset > 9:  # which cannot say where samples lie, so another network is exported
        assert inspect_network(network).outputs[0].field == inspect_network(direct).outputs[0].field
