"""What is read where weights are 0: the models themselves, one input changed by finite steps."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, helper
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune

import atrous
from atrous.frameworks.torch import quiet
from tests.nan_probe import assert_footprints_agree, assert_reads_by_change
from tests.onnx_probe import assert_reads_agree, model, one, weights


def _mask(weight: torch.Tensor, *gone: tuple[int, ...]) -> torch.Tensor:
    mask = torch.ones_like(weight)
    for tap in gone:
        mask[(slice(None), slice(None), *tap)] = 0
    return mask


class Masked(nn.Module):
    """A convolution whose weight is multiplied by a stored mask when it runs."""

    def __init__(self, conv: nn.Module, *gone: tuple[int, ...]) -> None:
        super().__init__()
        self.conv = conv
        self.register_buffer("mask", _mask(conv.weight, *gone))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c, weight = self.conv, self.conv.weight * self.mask
        if isinstance(c, nn.ConvTranspose2d):
            more = (c.output_padding, c.groups, c.dilation)
            return functional.conv_transpose2d(x, weight, c.bias, c.stride, c.padding, *more)
        return c._conv_forward(x, weight, c.bias)


class InCode(nn.Module):
    """A causal convolution whose mask is made anew in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 5, padding=4, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.tril(torch.ones(5, 5))[2]
        return functional.conv1d(x, self.conv.weight * mask, None, 1, 4, 2)


class Tied(nn.Module):
    """A parametrization that keeps the middle of a weight at 0."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * _mask(weight, (1, 1))


class Quantized(nn.Module):
    """Weights rounded to few levels, most of one side to 0."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        with torch.no_grad():
            self.conv.weight[..., 2].mul_(1e-4)
            self.conv.weight[..., 0].add_(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = torch.fake_quantize_per_tensor_affine(self.conv.weight, 0.05, 0, -127, 127)
        return functional.conv2d(x, weight, None, 1, 1)


class Cached(nn.Module):
    """Frames behind a cache of frames before them, and a masked kernel over both."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cache", torch.randn(1, 2, 4, dtype=torch.float64))
        self.masked = Masked(nn.Conv1d(2, 2, 5), (1,), (2,))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cache = self.cache.to(x.dtype).expand(x.shape[0], -1, -1)
        return self.masked(torch.cat([cache, x], dim=2))


class Flat(nn.Module):
    """A linear layer over a flattened map that leaves out some of its positions."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * 4 * 5, 3)
        weight = self.linear.weight.detach().view(3, 2, 4, 5)
        weight[:, :, 1, 2:4] = 0
        weight[:, 0, 3] = 0  # one channel of a row: the other reads it still

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))


class AttendsBack(nn.Module):
    """Attention of each step to those up to its own, behind a window."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x).unflatten(1, (2, 2)).mT
        return functional.scaled_dot_product_attention(y, y, y, is_causal=True).mT.flatten(1, 2)


def _pruned(conv: nn.Module, *gone: tuple[int, ...]) -> nn.Module:
    return prune.custom_from_mask(conv, "weight", _mask(conv.weight, *gone))


def _by_magnitude() -> nn.Module:
    """A depthwise kernel pruned at random: its taps go in every channel or stay in some."""
    conv = nn.Conv2d(2, 2, 5, padding=4, dilation=2, groups=2)
    torch.manual_seed(3)
    return prune.random_unstructured(conv, "weight", 0.7)


def _stored(conv: nn.Module, *gone: tuple[int, ...]) -> nn.Module:
    with torch.no_grad():
        conv.weight.mul_(_mask(conv.weight, *gone))
    return conv


def _tied() -> nn.Module:
    conv = nn.Conv2d(1, 2, 3, padding=1)
    parametrize.register_parametrization(conv, "weight", Tied(), unsafe=True)
    return conv


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "blind spot": (lambda: Masked(nn.Conv2d(2, 2, 3, padding=1), (1, 1)), (1, 2, 6, 7)),
    "blind spots in a row": (
        lambda: nn.Sequential(
            Masked(nn.Conv2d(1, 2, 3, padding=1), (1, 1)),
            nn.Tanh(),
            Masked(nn.Conv2d(2, 2, 3, padding=2, dilation=2), (1, 1)),
        ),
        (1, 1, 7, 8),
    ),
    "first mask of PixelCNN": (
        lambda: Masked(
            nn.Conv2d(1, 2, 5, padding=2),
            *((i, j) for i in range(5) for j in range(5) if (i, j) >= (2, 2)),
        ),
        (1, 1, 8, 7),
    ),
    "strided, an even kernel, groups": (
        lambda: Masked(
            nn.Conv2d(4, 2, (4, 2), stride=(2, 3), padding=(1, 0), groups=2), (0, 0), (2, 1), (3, 0)
        ),
        (1, 4, 9, 8),
    ),
    "reflected padding": (
        lambda: Masked(nn.Conv2d(1, 1, 3, padding=2, dilation=2, padding_mode="reflect"), (0, 1)),
        (1, 1, 6, 6),
    ),
    "transposed": (
        lambda: Masked(
            nn.ConvTranspose2d(2, 2, (3, 4), stride=(2, 3), padding=1, output_padding=1), (1, 1),
            (0, 0), (2, 3),
        ),
        (1, 2, 4, 5),
    ),
    "volumes": (
        lambda: Masked(nn.Conv3d(1, 1, 3, padding=1), (1, 1, 1), (0, 1, 2)),
        (1, 1, 4, 3, 4),
    ),
    "pruned": (lambda: _pruned(nn.Conv1d(2, 3, 7, padding=3), (0,), (3,), (5,)), (1, 2, 15)),
    "pruned at random": (_by_magnitude, (1, 2, 9, 9)),
    "stored": (lambda: _stored(nn.Conv2d(2, 2, 3), (0, 0), (0, 1), (0, 2)), (1, 2, 6, 6)),
    "parametrized": (_tied, (1, 1, 6, 6)),
    "a mask made in code": (InCode, (1, 2, 16)),
    "quantized weights": (Quantized, (1, 2, 6, 6)),
    "behind a cache": (Cached, (1, 2, 9)),
    "linear": (Flat, (1, 2, 4, 5)),
    "causal attention": (AttendsBack, (1, 2, 12)),
    "none masked": (lambda: nn.Conv2d(2, 2, 3, stride=2, padding=1), (1, 2, 7, 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models_read_what_a_finite_change_shows(name: str) -> None:
    torch.manual_seed(0)
    made, shape = MODELS[name]
    assert_reads_by_change(made(), shape)


class WritesItsWeight(nn.Module):
    """A convolution that masks its own weight before it runs, in place, as PixelCNN codes do."""

    def __init__(self, data: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.register_buffer("mask", _mask(self.conv.weight, (1, 1), (2, 2)))
        self.data = data

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.data:
            self.conv.weight.data *= self.mask
            return self.conv(x)
        weight = self.conv.weight.clone()
        weight.mul_(self.mask)
        return functional.conv2d(x, weight, None, 1, 1)


@pytest.mark.parametrize("data", [False, True])
def test_looking_at_weights_changes_none(data: bool) -> None:
    torch.manual_seed(0)
    part = WritesItsWeight(data)
    before = {key: held.clone() for key, held in part.state_dict().items()}
    report = atrous.inspect(part, (1, 1, 6, 6))
    for key, held in part.state_dict().items():
        assert torch.equal(held, before[key]), key
    assert part.conv.weight.requires_grad
    part(torch.zeros(1, 1, 6, 6)).sum().backward()
    assert report.layers[-1].unread_taps == ((1, 1), (2, 2))
    assert_reads_by_change(part, (1, 1, 6, 6), report=report)


@pytest.mark.parametrize("name", ["blind spots in a row", "pruned at random", "transposed"])
def test_programs_that_were_saved_read_the_same(name: str) -> None:
    torch.manual_seed(0)
    made, shape = MODELS[name]
    part = made().eval().double()
    with quiet():
        program = torch.export.export(part, (torch.zeros(shape, dtype=torch.float64),))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert_reads_by_change(part, shape, report=atrous.inspect(torch.export.load(file)))


def test_layers_inside_a_model_are_seen_by_finite_changes_too() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        _stored(nn.Conv2d(3, 4, 3, padding=1), (1, 1)),
        nn.ReLU(),
        _stored(nn.Conv2d(4, 4, 3, padding=4, dilation=4), (0, 0), (1, 1)),
        nn.Conv2d(4, 2, 1),
    )
    probed = assert_footprints_agree(net, (1, 3, 20, 20), finite=True)
    assert probed.unread
    assert probed.in_holes


def test_the_check_fails_where_the_weights_are_not_looked_at() -> None:
    torch.manual_seed(0)
    made, shape = MODELS["blind spot"]
    part = made().double()
    with pytest.raises(AssertionError, match="does not read"):
        assert_reads_by_change(part, shape, report=atrous.inspect(part, shape, structure_only=True))


def _gone(shape: tuple[int, ...], *taps: tuple[int, ...]) -> np.ndarray:
    held = weights(*shape)
    for tap in taps:
        held[(slice(None), slice(None), *tap)] = 0
    return held


def _masked_file() -> ModelProto:
    """`weight * mask`, which the file leaves to be folded."""
    mask = np.ones((1, 1, 3, 3), np.float32)
    mask[..., 1, :] = 0
    nodes = [
        helper.make_node("Mul", ["w", "m"], ["masked"]),
        helper.make_node("Conv", ["x", "masked"], ["y"], pads=[1, 1, 1, 1], name="node"),
    ]
    # Too large to be folded while the graph is read.
    return model(nodes, {"x": (1, 24, 5, 6)}, {"w": weights(24, 24, 3, 3), "m": mask})


def _dequantized(axis: int | None) -> ModelProto:
    """A weight in eight bits, whose 0 is another number for each filter."""
    held = np.random.default_rng(0).integers(10, 100, (3, 2, 3, 3)).astype(np.uint8)
    zero = np.array([5, 6, 7] if axis is not None else 5, np.uint8)
    held[:, :, 0, 1] = zero.reshape(-1, 1)
    held[:, :, 2] = zero.reshape(-1, 1, 1)
    scale = np.full_like(zero, 0.1, np.float32)
    nodes = [
        helper.make_node(
            "DequantizeLinear", ["w", "s", "z"], ["f"], axis=0 if axis is None else axis
        ),
        helper.make_node("Conv", ["x", "f"], ["y"], pads=[1, 1, 1, 1], name="node"),
    ]
    return model(nodes, {"x": (1, 2, 5, 6)}, {"w": held, "s": scale, "z": zero})  # fmt: skip


def _in_integers(op: str) -> ModelProto:
    """A convolution in integers whose weight's zero point is not 0."""
    held = np.random.default_rng(0).integers(20, 60, (2, 2, 3)).astype(np.uint8)
    held[:, :, 1] = 9
    constants: dict[str, Any] = {"w": held, "wz": np.uint8(9), "s": np.float32(0.5)}
    constants |= {"z": np.uint8(100), "big": np.float32(40)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])]
    if op == "ConvInteger":
        inputs, made = ["q", "w", "z", "wz"], "i"
        last = helper.make_node("Cast", ["i"], ["y"], to=1)
    else:
        inputs, made = ["q", "s", "z", "w", "s", "wz", "big", "z"], "i"
        last = helper.make_node("DequantizeLinear", ["i", "big", "z"], ["y"])
    nodes += [helper.make_node(op, inputs, [made], pads=[1, 1], name="node"), last]
    return model(nodes, {"x": (1, 2, 9)}, {k: np.asarray(v) for k, v in constants.items()})


FILES: dict[str, Callable[[], ModelProto]] = {
    "stored": lambda: one("Conv", (1, 2, 6, 7), _gone((2, 2, 3, 3), (1, 1)), pads=[1, 1, 1, 1]),
    "causal": lambda: one(
        "Conv", (1, 2, 12), _gone((2, 2, 5), (3,), (4,)), pads=[4, 4], dilations=[2]
    ),
    "transposed": lambda: one(
        "ConvTranspose", (1, 2, 4, 4), _gone((2, 2, 3, 3), (1, 1), (0, 2)), strides=[2, 2]
    ),
    "folded": _masked_file,
    "dequantized": lambda: _dequantized(None),
    "dequantized by filter": lambda: _dequantized(0),
    "ConvInteger": lambda: _in_integers("ConvInteger"),
    "QLinearConv": lambda: _in_integers("QLinearConv"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_read_what_a_finite_change_shows(name: str) -> None:
    network = assert_reads_agree(FILES[name](), finite=True)
    assert any(getattr(node.op, "unread", ()) for node in network.nodes)


def test_a_matrix_over_positions_leaves_out_its_rows_of_0() -> None:
    matrix = weights(9, 3)
    matrix[[0, 4, 5, 6]] = 0
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1]),
        helper.make_node("MatMul", ["c", "w"], ["y"], name="node"),
    ]
    proto = model(nodes, {"x": (1, 2, 9)}, {"k": weights(2, 2, 3), "w": matrix})
    assert_reads_agree(proto, finite=True)
    report = atrous.inspect(proto)
    assert report["node"].unread_taps == ((0,), (4,), (5,), (6,))
    assert report.footprint().mask.tolist() == [True] * 5 + [False] + [True] * 3


def test_numbers_beside_the_file_are_looked_at_where_they_lie(tmp_path: Any) -> None:
    import onnx

    proto = one("Conv", (1, 2, 40), _gone((64, 2, 9), (2,), (7,)), pads=[4, 4])
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, size_threshold=0)
    assert (tmp_path / next(p.name for p in tmp_path.iterdir() if p != path)).stat().st_size
    assert atrous.inspect(path)["node"].unread_taps == ((2,), (7,))
    assert atrous.inspect(path, structure_only=True)["node"].unread_taps == ()
