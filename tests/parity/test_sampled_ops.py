"""Folds, unpooling, sampling, deformable convolutions and Fourier transforms against their runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, helper
from torch import nn
from torch.nn import functional

import atrous
from atrous import Inspection
from tests.nan_probe import assert_reads_by_change, read_by
from tests.onnx_probe import assert_reads_agree, ints, model, one, session, weights


class Call(nn.Module):
    """A function as a module, behind a convolution that says where the positions are."""

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], rank: int) -> None:
        super().__init__()
        self.first = (nn.Conv1d, nn.Conv2d)[rank - 1](2, 2, 3, padding=1)
        self.run = run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self.first(x))


def _stft(x: torch.Tensor, window: torch.Tensor, **how: Any) -> torch.Tensor:
    made = torch.stft(x[:, 0], 8, 3, window=window.to(x.dtype), return_complex=True, **how)
    return torch.view_as_real(made).permute(0, 1, 3, 2).flatten(1, 2)


def _there_and_back(x: torch.Tensor) -> torch.Tensor:
    window = torch.hamming_window(8).to(x.dtype)
    tones = torch.stft(x[:, 0], 8, 4, window=window, return_complex=True)
    return torch.istft(tones.abs() + tones, 8, 4, window=window)[:, None]


def _folded(x: torch.Tensor) -> torch.Tensor:
    taps = x.repeat(1, 6, 1, 1)[:, :, :3, :5]
    return functional.fold(
        taps.flatten(2), (7, 6), (3, 2), stride=(2, 1), padding=(0, 0), dilation=1
    )


EXACT: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]] = {
    "stft": (lambda x: _stft(x, torch.hamming_window(8)), (1, 2, 17)),
    "stft, a window that starts at 0": (
        lambda x: _stft(x, torch.hann_window(8), center=False), (1, 2, 17),
    ),
    "stft, a short window": (
        lambda x: _stft(x, torch.hann_window(5), win_length=5, center=False), (1, 2, 17),
    ),
    "istft": (_there_and_back, (1, 2, 24)),
    "diff": (lambda x: torch.diff(x, n=2), (1, 2, 9)),
    "rfft and back": (lambda x: torch.fft.irfft(torch.fft.rfft(x), x.shape[-1]), (1, 2, 9)),
    "fft along one of two": (lambda x: torch.fft.fft(x, dim=2).real, (1, 2, 5, 4)),
    "rfft2 and back": (
        lambda x: torch.fft.irfft2(torch.fft.rfft2(x).abs() + 1, x.shape[-2:]), (1, 2, 5, 4),
    ),
    "shifted spectrum": (
        lambda x: torch.fft.fftshift(x, dim=(2,)) + torch.fft.ifftshift(x, dim=2), (1, 2, 7, 3),
    ),
    "fold": (_folded, (1, 2, 5, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_transforms_and_folds_read_what_a_change_shows(name: str) -> None:
    torch.manual_seed(0)
    run, shape = EXACT[name]
    # A transform there and back is the identity, but for rounding.
    if name == "rfft and back":
        report = atrous.inspect(Call(run, 1), shape)
        assert report.outputs[0].global_axes == {"t": ("fft_rfft", "fft_irfft")}
        return
    report = assert_reads_by_change(Call(run, len(shape) - 2), shape)
    assert "macs" not in report.uncounted


def _unpooled(x: torch.Tensor) -> torch.Tensor:
    small, places = functional.max_pool2d(x, 3, 2, 1, return_indices=True)
    return functional.max_unpool2d(small * 2, places, 3, 2, 1, output_size=x.shape[2:])


def _turned(x: torch.Tensor) -> torch.Tensor:
    angle = x.mean((2, 3))[:, :1, None]
    grid = functional.affine_grid(angle * torch.eye(2, 3), (len(x), 2, 4, 5), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def _warped(x: torch.Tensor) -> torch.Tensor:
    flow = torch.tanh(x).permute(0, 2, 3, 1)
    return functional.grid_sample(x, flow, mode="nearest", align_corners=True)


WITHIN: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, ...], bool]] = {
    "unpooled": (_unpooled, (1, 2, 8, 7), False),
    "sampled by a constant": (
        lambda x: functional.grid_sample(
            x, GRIDS["a crop"].transpose(1, 2).expand(len(x), -1, -1, -1), align_corners=False
        ),
        (1, 2, 6, 5),
        True,
    ),
    "sampled by itself": (_warped, (1, 2, 6, 5), True),
    "turned as a whole": (_turned, (1, 2, 6, 5), True),
}


@pytest.mark.parametrize("name", WITHIN)
def test_what_data_decides_lies_within_what_is_said(name: str) -> None:
    torch.manual_seed(0)
    run, shape, whole = WITHIN[name]
    net = Call(run, 2).eval()
    report = atrous.inspect(net, shape)
    assert report.complete, report.opaque
    assert report.outputs[0].is_global == whole
    _assert_within(report, read_by(net, shape))


def test_unpooling_is_local_only_where_the_pool_is_seen() -> None:
    class Stored(nn.Module):
        def forward(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            return functional.max_unpool2d(functional.relu(x), places, 2)

    shapes = (torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4, dtype=torch.int64))
    report = atrous.inspect(Stored(), shapes)
    assert report.complete
    assert report.outputs[0].output_shape == (1, 2, 6, 8)
    report = atrous.inspect(Call(_unpooled, 2), (1, 2, 8, 8))
    assert not report.outputs[0].is_global
    assert [axis.size for axis in report.outputs[0].field] == [7, 7]


def test_places_that_were_changed_may_be_any() -> None:
    def moved(x: torch.Tensor) -> torch.Tensor:
        small, places = functional.max_pool2d(x, 2, return_indices=True)
        return functional.max_unpool2d(small, (places + 5) % 64, 2)

    net = Call(moved, 2).eval()
    report = atrous.inspect(net, (1, 2, 8, 8))
    assert report.complete
    assert report.outputs[0].is_global
    _assert_within(report, read_by(net, (1, 2, 8, 8)))


def _grid(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """A grid whose coordinates follow one dimension each."""
    down, right = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([right, down], dim=-1)[None]


GRIDS = {
    "a crop": _grid(torch.linspace(-0.41, 0.93, 5), torch.linspace(-0.97, 0.13, 4)),
    "mirrored and beyond": _grid(torch.linspace(1.31, -1.73, 6), torch.linspace(-2.23, 2.57, 5)),
    "on samples": _grid(torch.arange(-4, 5) / 4, torch.arange(2, -3, -1) / 2),
    "random places": _grid(torch.rand(7) * 3 - 1.5, torch.rand(4) * 2 - 1),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("outside", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [False, True])
def test_a_stored_grid_along_the_axes_is_followed_exactly(
    name: str, mode: str, outside: str, corners: bool
) -> None:
    torch.manual_seed(0)
    grid = GRIDS[name].double()
    how = {"mode": mode, "padding_mode": outside, "align_corners": corners}

    def run(x: torch.Tensor) -> torch.Tensor:
        held = grid.to(x.dtype).expand(len(x), -1, -1, -1)
        return functional.grid_sample(x, held, **how)  # type: ignore[arg-type]

    class Sampled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return run(x)

    net = Sampled()
    report = assert_reads_by_change(net, (1, 2, 5, 5))
    assert not report.outputs[0].is_global
    nodes = [_file("GridSample", "x", "g", mode=mode, padding_mode=outside, align_corners=corners)]
    proto = model(nodes, {"x": (1, 2, 5, 5)}, {"g": grid.float().numpy()}, opset=16)
    assert atrous.inspect(proto).outputs[0].is_global is False
    assert_reads_agree(proto, finite=True)


def test_a_grid_that_turns_is_read_as_a_whole() -> None:
    turned = torch.stack([GRIDS["a crop"][..., 1], GRIDS["a crop"][..., 0]], dim=-1)

    class Sampled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.grid_sample(x, turned, align_corners=False)

    report = atrous.inspect(Sampled(), (1, 2, 6, 5))
    assert set(report.outputs[0].global_axes) == {"h", "w"}


def _assert_within(report: Inspection, read: np.ndarray) -> None:
    tensor = report.network.tensor(report.outputs[0].tensor)
    for index, at in enumerate(np.ndindex(*tensor.grid.values())):
        mask = report.footprint(at=at).mask.ravel()
        assert (read[:, index] <= mask).all(), f"output {at}"
    assert read.any()


def test_products_of_transforms_and_deformed_windows_are_counted() -> None:
    class Transforms(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(x, dim=2).real + torch.fft.irfft(torch.fft.rfft(x), 6)

    report = atrous.inspect(Transforms(), (1, 3, 4, 6))
    macs = {layer.name: layer.macs for layer in report.layers if layer.macs}
    # 4 points: 2 rounds of 2 complex products; 6 count as 8: 3 rounds of 4, halved for reals.
    assert macs == {
        "fft_fft": 3 * 6 * 2 * 2 * 4,
        "fft_rfft": 3 * 4 * 3 * 4 * 4 // 2,
        "fft_irfft": 3 * 4 * 3 * 4 * 4 // 2,
    }


class Deformed(nn.Module):
    """torchvision's deformable convolution, whose offsets a convolution makes."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(4, 18, 3, stride=2, padding=1)
        self.mask = nn.Conv2d(4, 9, 3, stride=2, padding=1)
        self.weight = nn.Parameter(torch.randn(6, 2, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offset, mask = self.offset(x), self.mask(x)
        sizes = (2, 2, 1, 1, 1, 1, 2, 1)
        bias = x.new_zeros(6)
        made: torch.Tensor = torch.ops.torchvision.deform_conv2d(
            x, self.weight, offset, mask, bias, *sizes, True
        )
        return made


@pytest.fixture(scope="module")
def deform_conv2d() -> Any:
    """The op of torchvision by its shapes alone, where the compiled one cannot load."""
    pytest.importorskip("torchvision")
    if hasattr(torch.ops.torchvision, "deform_conv2d"):
        yield
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(
        "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
        "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dil_h, SymInt dil_w, "
        "SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor"
    )

    def made(x: torch.Tensor, weight: torch.Tensor, offset: torch.Tensor, *_: Any) -> torch.Tensor:
        return x.new_empty((len(x), len(weight), *offset.shape[2:]))

    torch.library.register_fake("torchvision::deform_conv2d", made, lib=library)
    yield
    library._destroy()


@pytest.mark.usefixtures("deform_conv2d")
def test_a_deformable_convolution_reads_anywhere_and_costs_its_products() -> None:
    report = atrous.inspect(Deformed(), (1, 4, 9, 11))
    last = report.outputs[0]
    assert report.complete, report.opaque
    assert not report.uncounted
    assert last.output_shape == (1, 6, 5, 6)
    assert set(last.global_axes) == {"h", "w"}
    assert last.macs == 5 * 6 * 6 * 2 * 9
    assert [axis.size for axis in last.field] == [3, 3]
    assert report.footprint().mask.all()


def _file(op: str, *tensors: str, **attributes: Any) -> Any:
    return helper.make_node(op, list(tensors), ["y"], name="node", **attributes)


def _convolved(kernel: int = 3) -> Any:
    return helper.make_node("Conv", ["x", "k"], ["c"], pads=[kernel // 2] * 2)


def _short_time() -> ModelProto:
    window = np.hanning(9)[:8].astype(np.float32)
    nodes = [
        _convolved(),
        helper.make_node("Squeeze", ["c", "one"], ["s"]),
        helper.make_node("STFT", ["s", "step", "window", "length"], ["f"]),
        helper.make_node("Transpose", ["f"], ["y"], perm=[0, 2, 3, 1]),
    ]
    constants = {"k": weights(1, 1, 3), "one": ints(1), "window": window}
    constants |= {"step": np.asarray(3, np.int64), "length": np.asarray(8, np.int64)}
    return model(nodes, {"x": (1, 1, 19)}, constants)


def _spectrum(opset: int) -> ModelProto:
    shape = ints(1, 6, 5, 1)
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c", "shape"], ["r"]),
        _file("DFT", "r", onesided=1, axis=2) if opset < 20 else _file("DFT", "r", "", "axis"),
    ]
    constants = {"k": weights(1, 1, 3, 3), "shape": shape}
    if opset >= 20:
        constants["axis"] = np.asarray(1, np.int64)
    return model(nodes, {"x": (1, 1, 6, 5)}, constants, opset=opset)


def _columns() -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c", "flat"], ["f"]),
        _file("Col2Im", "f", "image", "block", strides=[2, 1], dilations=[1, 2], pads=[1, 0, 1, 0]),
    ]
    constants = {"k": weights(12, 2, 3, 3), "flat": ints(1, 12, -1)}
    constants |= {"image": ints(6, 5), "block": ints(3, 2)}
    return model(nodes, {"x": (1, 2, 3, 3)}, constants, opset=18)


FILES = {
    "STFT": _short_time,
    "DFT": lambda: _spectrum(17),
    "DFT since 20": lambda: _spectrum(20),
    "Col2Im": _columns,
}


@pytest.mark.parametrize("name", FILES)
def test_files_with_transforms_and_folds_read_what_a_change_shows(name: str) -> None:
    network = assert_reads_agree(FILES[name](), finite=True)
    assert not network.uncounted


def _back_in_place(shape: bool) -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["c"], ["p", "i"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Relu", ["p"], ["r"]),
        _file("MaxUnpool", "r", "i", *["size"] * shape, kernel_shape=[3, 3], strides=[2, 2]),
    ]
    constants = {"k": weights(2, 2, 3, 3)} | ({"size": ints(1, 2, 8, 7)} if shape else {})
    return model(nodes, {"x": (1, 2, 8 if shape else 7, 7)}, constants)


def _at_grid(live: bool) -> ModelProto:
    nodes = [helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1])]
    constants = {"k": weights(2, 2, 3, 3)}
    if live:
        nodes += [
            helper.make_node("Tanh", ["c"], ["t"]),
            helper.make_node("Transpose", ["t"], ["g"], perm=[0, 2, 3, 1]),
        ]
    else:
        constants["g"] = np.random.default_rng(0).uniform(-1, 1, (1, 4, 3, 2)).astype(np.float32)
    return model([*nodes, _file("GridSample", "c", "g")], {"x": (1, 2, 5, 4)}, constants, opset=16)


def _at_offsets() -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["o"], pads=[1, 1, 1, 1], strides=[2, 2]),
        _file("DeformConv", "x", "w", "o", pads=[1, 1, 1, 1], strides=[2, 2]),
    ]
    constants = {"k": weights(18, 2, 3, 3) - 1, "w": weights(3, 2, 3, 3)}
    return model(nodes, {"x": (1, 2, 6, 5)}, constants, opset=19)


@pytest.mark.parametrize(
    ("name", "made", "whole"),
    [
        ("back in place", lambda: _back_in_place(True), False),
        ("back in place, no size", lambda: _back_in_place(False), False),
        ("at a stored grid", lambda: _at_grid(False), True),
        ("at a grid of its own", lambda: _at_grid(True), True),
        ("at offsets", _at_offsets, True),
    ],
)
def test_what_data_decides_in_files_lies_within_what_is_said(
    name: str, made: Callable[[], ModelProto], whole: bool
) -> None:
    proto = made()
    report = atrous.inspect(proto)
    assert report.complete, report.opaque
    assert not report.uncounted
    assert report.outputs[0].is_global == whole
    if name == "at offsets":
        assert report["node"].macs == 3 * 3 * 3 * 2 * 9
    try:
        runner = session(proto)
    except Exception:  # an operator that this runtime does not have
        assert name == "at offsets"
        return
    x = np.random.default_rng(0).normal(size=report.network.inputs[0].shape).astype(np.float32)
    (base,) = runner.run(None, {"x": x})
    assert base.shape == report.outputs[0].output_shape
    rows = []
    for place in product(*map(range, x.shape[2:])):
        changed = np.zeros(base.shape[2:], bool)
        for value in (-9.0, 0.5, 11.0):
            other = x.copy()
            other[(0, slice(None), *place)] = value
            changed |= (runner.run(None, {"x": other})[0] != base).any(axis=(0, 1))
        rows.append(changed.ravel())
    _assert_within(report, np.stack(rows))


def test_transforms_of_files_that_cannot_be_are_refused() -> None:
    with pytest.raises(atrous.ReadError, match="real and imaginary"):
        atrous.read(one("DFT", (1, 6, 5, 1), opset=17, axis=3))
