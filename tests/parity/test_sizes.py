"""Which sizes run, and how long outputs are: PyTorch and ONNX Runtime at every size of a range."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

import atrous
from tests.onnx_probe import model as file_of
from tests.onnx_probe import weights
from tests.sizes_probe import loses


class Decoder(nn.Module):
    """Pools down and transposed convolutions up, each level joined with its skip."""

    def __init__(self, depth: int, how: str = "as it is") -> None:
        super().__init__()
        self.how = how
        self.down = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(depth))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2, 2, 2, 2) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for conv in self.down:
            x = conv(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:]) if self.how == "resized" else up(x)
            if self.how == "cropped":
                skip = skip[..., : x.shape[-2], : x.shape[-1]]
            x = x + skip
        return x


class Patches(nn.Module):
    """Tokens of patches, with a place for each where there are stored ones."""

    def __init__(self, patch: int, side: int = 0) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 3, patch, patch)
        self.places = nn.Parameter(torch.zeros(1, side * side, 3)) if side else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.patches(x).flatten(2).mT
        return y if self.places is None else y + self.places


class Particular(nn.Module):
    """Refuses whatever is no multiple of a size, before it looks at it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.conv = size, nn.Conv2d(2, 2, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] % self.size or x.shape[-2] % self.size:
            raise ValueError(f"wrong sizes {tuple(x.shape[-2:])}")
        return self.conv(x)


class Windowed(nn.Module):
    """Cuts a map into windows, and puts it together again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(x, 2)
        b, c, h, w = x.shape
        y = x.view(b, c, h // 3, 3, w // 3, 3).permute(0, 2, 4, 1, 3, 5)
        return y.permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


class PaddedUp(nn.Module):
    """Pads to a multiple of 8, and cuts the output to the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Decoder(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, w = x.shape[-2:]
        return self.net(F.pad(x, (0, -w % 8, 0, -h % 8)))[..., :h, :w]


class PaddedFar(nn.Module):
    """Pads to a multiple of more than its strides."""

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple, self.conv = multiple, nn.Conv2d(2, 2, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, w = x.shape[-2:]
        return self.conv(F.pad(x, (0, -w % self.multiple, 0, -h % self.multiple)))


MODELS = {
    "decoder": (Decoder(3), 16),
    "decoder that crops": (Decoder(2, "cropped"), 16),
    "decoder that resizes": (Decoder(2, "resized"), 16),
    "patches": (Patches(4), 16),
    "patches with places": (Patches(4, 3), 12),
    "particular": (Particular(12), 12),
    "windows": (Windowed(), 12),
    "padded up": (PaddedUp(), 16),
    "padded far": (PaddedFar(28), 16),
    "rounded up": (nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(2, 2, 3)), 16),
    "shuffled": (nn.Sequential(nn.PixelUnshuffle(3), nn.Conv2d(18, 4, 3), nn.PixelShuffle(2)), 12),
    "dilated": (nn.Sequential(nn.Conv2d(2, 2, 3, dilation=4), nn.AvgPool2d(5, 3)), 16),
}


LAST, PROBED = 100, 50


@pytest.mark.parametrize("name", MODELS)
def test_every_answer_at_every_size_to_100(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, outputs, drops, nearest, pad and crop, least and period: by runs and by NaN."""
    monkeypatch.setattr("atrous.analysis.periods._ENOUGH", LAST)  # of what repeats nothing
    model, start = MODELS[name]
    found = atrous.sizes(model.eval(), (1, 2, start, start))
    light, probed = copy.deepcopy(model).to("meta"), copy.deepcopy(model).double()
    truth = {n: output_shape(light, (1, 2, n, n)) for n in range(1, LAST + 1)}
    ran = [n for n, made in truth.items() if made]
    assert found.least == ran[0]
    short = found.nearest(start // 2)[0]
    losing = {n: not found.lossless(n) for n in ran}
    for n in filter(found.legal, range(1, PROBED + 1)):
        losing[n] = loses(probed, (1, 2, n, n if found.tied else short), 2)
    for n, made in truth.items():
        assert found.legal(n) == bool(made), n
        if not made:
            continue
        assert found.lossless(n) == (not losing[n]), n
        if len(made) == 4:
            assert found.along[0].at(n).outputs == (made[-1],), n
            assert found.same(n) == (made[2:] == (n, n)), n
        later = n + found.period
        if found.period and n >= found.along[0].settled and later <= LAST:
            assert bool(truth[later]), n
            assert losing[later] == losing[n], n
    kept = [
        n
        for n in ran
        if not ("lossless" in found.attainable and losing[n])
        and not ("same" in found.attainable and truth[n][-1] != n)
        and ("aligned" not in found.attainable or found.aligned(n))
    ]
    for n in range(kept[0], kept[-1] + 1):
        here = replace(found, shape=(n, n))
        assert here.pad == (min(m - n for m in kept if m >= n),) * 2, n
        assert here.crop == (min(n - m for m in kept if m <= n),) * 2, n
        close = min(ran, key=lambda m: (abs(m - n), -m))
        assert found.nearest(n) == (close, close), n


def output_shape(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the output; empty where the model does not run, or makes nothing."""
    try:
        with torch.no_grad():
            made = model(torch.zeros(shape, device="meta"))
    except Exception:
        return ()
    return tuple(made.shape) if made.numel() else ()


def test_the_size_that_was_asked_about() -> None:
    found = atrous.sizes(Decoder(3).eval(), (1, 2, 30, 44))
    assert (found.legal((30, 44)), found.pad, found.crop) == (False, (2, 4), (6, 4))
    assert found.nearest((30, 44)) == (32, 48)
    assert "does not run" in str(found)
    assert found.legal((32, 48))


STEPS = [
    [(10, 5, 1, 0), (3, 2, 1, 0), (2, 2, 1, 0)],
    [(7, 3, 1, 3), (3, 1, 2, 2), (4, 4, 1, 0)],
    [(3, 2, 1, 1), (5, 2, 1, 2), (1, 2, 1, 0)],
]


@pytest.mark.parametrize("layers", STEPS)
def test_stacks_along_time(layers: list[tuple[int, int, int, int]]) -> None:
    model = nn.Sequential(*(nn.Conv1d(1, 1, k, s, p, d) for k, s, d, p in layers)).eval()
    found = atrous.sizes(model, (1, 1, 200))
    for length in range(1, 161):
        try:
            with torch.no_grad():
                made = model(torch.zeros(1, 1, length)).shape[-1]
        except RuntimeError:
            made = 0
        assert found.legal(length) == (made > 0)
        if made:
            assert found.along[0].at(length).outputs == (made,)


def test_a_file_with_open_sizes() -> None:
    import onnxruntime
    from onnx import helper

    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["p", "w"], ["u"], strides=[2, 2]),
        helper.make_node("Add", ["x", "u"], ["y"]),
    ]
    file = file_of(nodes, {"x": (1, 1, "h", "w")}, {"w": weights(1, 1, 2, 2)})
    session = onnxruntime.InferenceSession(file.SerializeToString())
    found = atrous.sizes(file, (1, 1, 8, 8))
    for size in range(2, 40):  # of one position the runtime pools two
        try:
            (made,) = session.run(None, {"x": np.zeros((1, 1, size, size), np.float32)})
        except Exception:
            made = np.zeros(0)
        # The runtime goes on with maps of no position; a network that makes none does not run.
        assert found.legal(size) == (made.size > 0), size


class Doubled(nn.Module):
    """Adds to a map what is left of it after halving and doubling."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 2, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + F.interpolate(self.down(x), scale_factor=2)


def test_a_join_that_does_not_fit_is_named_with_both_sizes_and_those_that_fit() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), Doubled(), Doubled()).eval()
    for verb in (atrous.inspect, lambda m, shape: atrous.convert(m, 1, input=shape)):
        with pytest.raises(atrous.ReadError) as caught:
            verb(model, (1, 2, 34, 45))
        said = str(caught.value)
        assert "1 joins maps of 45 and 46 positions, on inputs of 1x2x34x45" in said
        assert "sizes near it that run: 1x2x34x44 and 1x2x34x46" in said
        for near in ((1, 2, 34, 44), (1, 2, 34, 46)):
            model(torch.zeros(near))


def test_a_known_network_names_its_join_and_sizes_that_fit() -> None:
    with pytest.raises(atrous.NetworkError) as caught:
        atrous.inspect("zoo:unet", (1, 1, 250, 250))
    assert "concat4: (1, 512, 31, 31) and (1, 512, 30, 30)" in str(caught.value)
    assert "sizes near it that run: 1x1x240x240 and 1x1x256x256" in str(caught.value)


def test_what_no_size_mends_offers_none() -> None:
    with pytest.raises(atrous.ReadError) as caught:
        atrous.inspect(nn.Conv2d(3, 2, 3), (1, 2, 9, 9))
    assert "near it" not in str(caught.value)


def test_remainders_are_told_as_a_reader_counts() -> None:
    text = str(atrous.sizes("stack:k7s2 maxk2s2valid", (1, 3, 101, 101)))
    assert "drops nothing    4 k and 4 k + 3, from 3 up" in text
    assert "runs at          every size from 3 up" in text


@pytest.mark.parametrize("name", ["decoder", "particular", "shuffled"])
def test_an_export_takes_the_sizes_as_its_dynamic_dimensions(name: str) -> None:
    model, start = MODELS[name]
    found = atrous.sizes(model.eval(), (1, 2, start, start))
    dims = found.dim(torch.export.Dim)
    x = torch.zeros(1, 2, 3 * start, 2 * start)
    shapes = ({2: dims["h"], 3: dims["w"]},)
    program = torch.export.export(model, (x,), dynamic_shapes=shapes).module()
    for high, wide in ((2 * start, 4 * start), (4 * start, 2 * start)):
        other = torch.randn(1, 2, high, wide)
        torch.testing.assert_close(program(other), model(other))


def test_enlarging_makes_up_for_strides() -> None:
    layers = [nn.Conv2d(2, 2, 3, 2, 1), nn.ConvTranspose2d(2, 2, 2, 2)] * 6
    found = atrous.sizes(nn.Sequential(*layers).eval(), (1, 2, 16, 16))
    assert (found.period, len(found.along[0].trials)) == (2, 4)


def test_a_large_size_fails_for_the_reason_that_is_told() -> None:
    found = atrous.sizes(Decoder(3).eval(), (1, 2, 16, 16))
    for size in (n for n in range(9, 120) if n % 8):
        assert "the module itself joins maps" in found.why(size), size


def unread_ends(layer, n):
    """Whether some position that an endless map's outputs would read reaches no output, by NaN.

    The same layer on a longer map tells which positions windows leave out for good.
    """

    def reached(length, at):
        x = torch.zeros(1, 1, length)
        x[..., at] = float("nan")
        return bool(layer(x).isnan().any())

    return any(reached(n + 60, at) and not reached(n, at) for at in range(n))


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv1d(1, 1, 3, stride=3, padding=2, dilation=2),
        nn.Sequential(nn.Conv1d(1, 1, 5, stride=2, padding=1), nn.Conv1d(1, 1, 3, 3, 2, 2)),
        nn.Conv1d(1, 1, 2, stride=2, dilation=3),
        nn.Conv1d(1, 1, 3, stride=4, padding=4, dilation=3),
        nn.Conv1d(1, 1, 1, stride=3),
        nn.MaxPool1d(3, 2, 1, dilation=1, ceil_mode=True),
        nn.ConvTranspose1d(1, 1, 3, stride=2, padding=3),
    ],
    ids=["dilated", "behind", "even", "sparse", "one tap", "ceil", "trimmed"],
)
def test_what_drops_nothing_is_what_nan_says(model):
    found = atrous.sizes(model, (1, 1, 64))
    for n in range(1, 45):
        if not found.legal(n):
            continue
        # Layer by layer: what one leaves unread of its own map is lost, whoever overlaps there.
        x, lost = torch.zeros(1, 1, n), False
        for layer in model if isinstance(model, nn.Sequential) else [model]:
            lost = lost or unread_ends(layer, x.shape[-1])
            x = layer(x)
        assert found.lossless(n) != lost, n


class Places(nn.Module):
    """Adds stored places, of which there are so many."""

    def __init__(self, many: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, 2, many))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., ::2] + self.places[..., : (x.shape[-1] + 1) // 2]


def test_what_repeats_ends_where_the_code_has_an_end() -> None:
    model = Places(129)
    found = atrous.sizes(model, (1, 2, 32))
    assert "every size from 1 to 258" in str(found)
    for size in (1, 2, 30, 257, 258, 259, 260, 1000):
        assert found.legal(size) == runs(model, torch.zeros(1, 2, size)), size
    assert (found.nearest(1000), found.why(1000)[:6]) == ((258,), "Places")
    assert found.dim(torch.export.Dim)["t"].max == 258


def test_the_sizes_of_a_program_end_where_its_range_does() -> None:
    sizes = ({2: 4 * torch.export.Dim("t", min=2, max=20)},)
    model = nn.Sequential(nn.Conv1d(1, 1, 3, 2, 1), nn.Conv1d(1, 1, 3, 2, 1))
    made = torch.export.export(model, (torch.zeros(1, 1, 32),), dynamic_shapes=sizes)
    found, run = atrous.sizes(made, (1, 1, 32)), made.module()
    for size in range(4, 120, 4):
        assert found.legal(size) == runs(run, torch.zeros(1, 1, size)), size


def test_a_model_of_one_size_is_asked_about_any() -> None:
    model = nn.Sequential(nn.MaxPool1d(4), nn.Flatten(), nn.Linear(6, 1))
    found = atrous.sizes(model, (1, 2, 12))
    for size in (11, 12, 15, 16, 900, 1601):
        assert found.legal(size) == runs(model, torch.zeros(1, 2, size)), size
    assert "1x450 and 6x1" in found.why(900)
    assert found.nearest(900) == (15,)
    loaded = pickle.loads(pickle.dumps(found))
    assert loaded == found
    with pytest.raises(atrous.UnsupportedError, match=r"sizes above 321 .* call sizes again"):
        loaded.legal(900)


def test_sizes_that_some_model_takes_beyond_those_tried_are_read() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[-1] not in (20, 1000):
                raise ValueError("20 or 1000")
            return x

    found = atrous.sizes(Two(), (1, 1, 20))
    assert (found.legal(1000), found.legal(999), found.nearest(1000)) == (True, False, (1000,))


def test_code_that_pads_to_twice_its_strides_repeats_as_the_code_does() -> None:
    padded = PaddedUp()
    padded.net = Decoder(2)
    found = atrous.sizes(padded.eval(), (1, 2, 16, 16))
    assert (found.period, found.legal(100_001)) == (8, True)
    assert [n for n in range(1, 50) if found.lossless(n)] == [8, 16, 24, 32, 40, 48]


def runs(model: nn.Module, x: torch.Tensor) -> bool:
    """Whether a model runs."""
    try:
        with torch.no_grad():
            model(x)
    except Exception:
        return False
    return True
