"""Which layer reads ahead, and which stretch each output reads: NaN through PyTorch's own model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import pad

import atrous
from atrous.analysis.ends import is_causal
from atrous.network import zoo


class Padded(nn.Module):
    """A convolution behind padding of its own: `behind` positions of it behind the input."""

    def __init__(self, channels: int, kernel: int, rate: int = 1, stride: int = 1, behind: int = 0):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel, stride, dilation=rate)
        whole = (kernel - 1) * rate
        self.pads = (whole - behind, behind)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(pad(x, self.pads))


class Chomped(nn.Module):
    """A convolution padded alike on both sides, whose last outputs are cut off."""

    def __init__(self, channels: int, kernel: int, rate: int = 1):
        super().__init__()
        self.cut = (kernel - 1) * rate
        self.conv = nn.Conv1d(channels, channels, kernel, padding=self.cut, dilation=rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)[..., : -self.cut]


class Residual(nn.Module):
    """A block beside which its input is handed on."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Upsampled(nn.Module):
    """A transposed convolution cut so that no output waits for what comes."""

    def __init__(self, channels: int, stride: int, front: int = 0):
        super().__init__()
        self.up = nn.ConvTranspose1d(channels, channels, 2 * stride, stride)
        self.front, self.back = front, stride - front

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(x)
        return y[..., self.front : y.shape[-1] - self.back]


class Excited(nn.Module):
    """Channels scaled by their mean over all time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.mean(-1, keepdim=True).sigmoid()


class Recurrent(nn.Module):
    """A recurrence that carries the past on."""

    def __init__(self, channels: int):
        super().__init__()
        self.lstm = nn.GRU(channels, channels, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x.mT)[0].mT


class Delayed(nn.Module):
    """Frames held back, so that a centred window after it waits for none."""

    def __init__(self, by: int):
        super().__init__()
        self.by = by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pad(x, (self.by, 0))[..., : x.shape[-1]]


def causal_models() -> dict[str, nn.Module]:
    return {
        "padded": nn.Sequential(*(Padded(2, 3, 2**i) for i in range(5))),
        "chomped": nn.Sequential(*(Chomped(2, 2, 2**i) for i in range(5))),
        "residual": nn.Sequential(*(Residual(Padded(2, 3, 2**i), nn.ReLU()) for i in range(4))),
        "residual chomped": nn.Sequential(*(Residual(Chomped(2, 3, 3**i)) for i in range(3))),
        "strided": nn.Sequential(Padded(2, 4, 1, 2), Padded(2, 4, 1, 2), Padded(2, 3)),
        "strided residual": nn.Sequential(Padded(2, 5, 1, 2), Residual(Padded(2, 3), Padded(2, 3))),
        "pointwise": nn.Sequential(nn.Conv1d(2, 2, 1), Padded(2, 3), nn.Conv1d(2, 2, 1)),
        "decoder": nn.Sequential(Padded(2, 4, 1, 2), Padded(2, 3), Upsampled(2, 2)),
        "deep decoder": nn.Sequential(
            Padded(2, 4, 1, 2), Padded(2, 8, 1, 4), Upsampled(2, 4), Upsampled(2, 2)
        ),
        "recurrent": nn.Sequential(Padded(2, 3), Recurrent(2), Padded(2, 3)),
        "gated": nn.Sequential(Padded(2, 3), nn.Sigmoid(), Padded(2, 3), nn.Tanh()),
        "batch norm": nn.Sequential(Padded(2, 3), nn.BatchNorm1d(2), Padded(2, 3, 4)),
        "wide": nn.Sequential(Padded(2, 31), Padded(2, 7)),
        "one": Padded(2, 3),
        "even": nn.Sequential(Padded(2, 2), Padded(2, 4), Padded(2, 6)),
        "delayed": nn.Sequential(Padded(2, 3), Delayed(1), nn.Conv1d(2, 2, 3, padding=1)),
        "replicated": nn.Sequential(nn.ReplicationPad1d((4, 0)), nn.Conv1d(2, 2, 5), Padded(2, 3)),
        "dilated stride": nn.Sequential(Padded(2, 3, 4, 2), Padded(2, 3, 2)),
        "pooled": nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.MaxPool1d(3, 1), Padded(2, 3)),
        "summed": nn.Sequential(Padded(2, 3), nn.Conv1d(2, 2, 1), Residual(Chomped(2, 3))),
    }


def reads(model: nn.Module, length: int) -> list[list[int]]:
    """For each output position, the inputs whose NaN reaches it."""
    rows = []
    with torch.no_grad():
        for position in range(length):
            x = torch.zeros(1, 2, length)
            x[..., position] = torch.nan
            rows.append(model(x).isnan().any(1)[0].numpy())
    table = np.array(rows)
    return [np.flatnonzero(table[:, o]).tolist() for o in range(table.shape[1])]


def leaks(report: atrous.Inspection) -> list[str]:
    return [finding.layer for finding in report.findings if finding.code == "leak"]


@pytest.mark.parametrize("name", causal_models())
def test_a_causal_model_is_called_so_and_raises_no_alarm(name: str) -> None:
    model = causal_models()[name].eval()
    report = atrous.inspect(model, (1, 2, 48))
    assert report.complete
    stride = report.outputs[0].field[0].stride
    seen = reads(model, 48)
    assert all(max(row) <= o * stride for o, row in enumerate(seen))
    assert is_causal(report.network, report.outputs[0], "t") is True
    assert leaks(report) == []


@pytest.mark.parametrize("place", [0, 7, 15, 29])
@pytest.mark.parametrize("behind", [1, 2])
def test_the_one_wrong_pad_of_thirty_layers_is_named(place: int, behind: int) -> None:
    layers = [Padded(2, 3, 1 + i % 3, behind=behind if i == place else 0) for i in range(30)]
    model = nn.Sequential(*layers).eval()
    report = atrous.inspect(model, (1, 2, 160))
    assert leaks(report) == [f"{place}.conv"]
    assert report.outputs[0].field[0].ahead == behind
    assert max(reads(model, 160)[140]) == 140 + behind
    assert is_causal(report.network, report.outputs[0], "t") is False


@pytest.mark.parametrize("place", [0, 2])
def test_a_leak_beside_a_shortcut_is_named(place: int) -> None:
    blocks = [Residual(Padded(2, 3, 2, behind=int(i == place)), nn.ReLU()) for i in range(4)]
    report = atrous.inspect(nn.Sequential(*blocks).eval(), (1, 2, 64))
    assert leaks(report) == [f"{place}.layers.0.conv"]


def test_two_leaks_are_both_named_and_what_follows_is_not() -> None:
    layers = [Padded(2, 5, behind=1 if i in (1, 4) else 0) for i in range(7)]
    report = atrous.inspect(nn.Sequential(*layers).eval(), (1, 2, 64))
    assert leaks(report) == ["1.conv", "4.conv"]
    assert report.outputs[0].field[0].ahead == 2


def test_a_stride_padded_short_lets_output_0_read_frame_1() -> None:
    model = nn.Sequential(nn.ConstantPad1d((1, 0), 0.0), nn.Conv1d(2, 2, 3, 2)).eval()
    report = atrous.inspect(model, (1, 2, 32))
    assert leaks(report) == ["1"]
    assert leaks(atrous.inspect("stack:k3s2p(1,0)", (1, 1, 32))) == ["conv1"]
    assert reads(model, 32)[0] == [0, 1]
    (found,) = [f for f in report.findings if f.code == "leak"]
    assert "1 input position ahead" in found.message
    assert "Pad 2 in front" in found.fix


def test_a_decoder_cut_in_front_reads_ahead() -> None:
    model = nn.Sequential(Padded(2, 4, 1, 2), Padded(2, 3), Upsampled(2, 2, front=1)).eval()
    report = atrous.inspect(model, (1, 2, 48))
    assert leaks(report)
    stride = report.outputs[0].field[0].stride
    assert any(max(row) > o * stride for o, row in enumerate(reads(model, 48)))


@pytest.mark.parametrize("mixer", [Excited(), nn.GroupNorm(1, 2)])
def test_statistics_over_all_time_leak(mixer: nn.Module) -> None:
    model = nn.Sequential(Padded(2, 3), mixer, Padded(2, 3), Padded(2, 3)).eval()
    report = atrous.inspect(model, (1, 2, 24))
    assert len(leaks(report)) == 1
    assert max(reads(model, 24)[3]) == 23
    assert is_causal(report.network, report.outputs[0], "t") is False


def test_a_mean_over_time_at_the_end_is_no_leak() -> None:
    model = nn.Sequential(Padded(2, 3), Padded(2, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    assert leaks(atrous.inspect(model.eval(), (1, 2, 24))) == []


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(*(nn.Conv1d(2, 2, 3, padding=2**i, dilation=2**i) for i in range(4))),
        nn.Sequential(nn.Conv1d(2, 2, 10, 5), nn.Conv1d(2, 2, 3, 2), nn.Conv1d(2, 2, 2, 2)),
        nn.Sequential(nn.Conv1d(2, 2, 4, 2, 1), nn.ConvTranspose1d(2, 2, 4, 2, 1)),
        nn.Sequential(nn.MaxPool1d(2), nn.Conv1d(2, 2, 3, padding=1), nn.Upsample(scale_factor=2)),
    ],
)
def test_what_is_centred_or_unpadded_is_meant_to_read_ahead(model: nn.Module) -> None:
    assert leaks(atrous.inspect(model.eval(), (1, 2, 64))) == []


def test_no_known_network_leaks() -> None:
    for name in zoo.names():
        assert leaks(atrous.inspect(f"zoo:{name}")) == [], name


@pytest.mark.parametrize(
    "model",
    [
        *list(causal_models().values())[:9],
        nn.Sequential(nn.Conv1d(2, 2, 10, 5), nn.Conv1d(2, 2, 3, 2), nn.Conv1d(2, 2, 2, 2)),
        nn.Sequential(nn.Conv1d(2, 2, 3, 2, 1), nn.ConvTranspose1d(2, 2, 4, 2, 1)),
    ],
)
def test_each_stretch_is_where_nan_gets_through(model: nn.Module) -> None:
    length = 64
    times = atrous.inspect(model.eval(), (1, 2, length)).times()
    start, stop = times.inside()
    seen = reads(model, length)
    assert len(times) == len(seen)
    for output, row in enumerate(seen):
        if row:
            assert (start[output] <= row[0], row[-1] < stop[output]) == (True, True)
    middle = range(len(seen) // 3, 2 * len(seen) // 3)
    exact = [(seen[o][0], seen[o][-1] + 1) for o in middle]
    assert exact == [(start[o].item(), stop[o].item()) for o in middle]


def test_the_front_end_of_wav2vec_2() -> None:
    """Kernels and strides of Baevski and others 2020: 25 ms wide, 20 ms apart."""
    front = zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True)
    stack = "stack:" + " ".join(f"k{k}s{s}valid" for k, s in front)
    field = atrous.inspect(stack, (1, 1, 31440)).outputs[0].field[0]
    assert (field.size, field.stride, float(field.center)) == (400, 320, 199.5)
    assert (field.back, field.ahead) == (0, 399)
    counts = [len(atrous.inspect(stack, (1, 1, n)).times()) for n in (31_439, 31_440)]
    assert counts == [97, 98]
    times = atrous.inspect(stack, (1, 1, 31_440)).times(rate=16_000)
    assert (times.start[1].item(), times.stop[1].item(), float(times.hop)) == (20.0, 45.0, 320.0)
    assert times.to_dict()["hop"] == 20.0


def test_the_encoder_of_a_waveform_denoiser() -> None:
    """Defossez and others 2020: five kernels of 8, strides of 4, on audio at four times 16 kHz."""
    stack = "stack:" + " ".join(["k8s4valid"] * 5)
    report = atrous.inspect(stack, (1, 1, 64_000))
    times = report.times(rate="64k")
    assert report.outputs[0].field[0].size == 2388
    assert round((times.stop[0] - times.start[0]).item(), 1) == 37.3
    assert times.to_dict()["hop"] == 16.0


def test_a_state_that_is_an_input_does_not_hide_that_a_recurrence_is_causal() -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(2, 3)

        def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
            return self.lstm(x, (h, c))[0]

    report = atrous.inspect(Stateful().eval(), ((10, 1, 2), (1, 1, 3), (1, 1, 3)))
    assert is_causal(report.network, report.outputs[0], "t") is True
    assert "causal: looks back to the start" in str(report)


class Shared(nn.Module):
    """One position handed to all outputs, beside a causal convolution."""

    def __init__(self, start: int, stop: int | None):
        super().__init__()
        self.conv, self.one = Padded(2, 3), slice(start, stop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + x[..., self.one]


@pytest.mark.parametrize(("start", "stop", "causal"), [(-1, None, False), (0, 1, True)])
def test_a_position_handed_to_all_leaks_where_it_lies_ahead(
    start: int, stop: int | None, causal: bool
) -> None:
    model = Shared(start, stop).eval()
    report = atrous.inspect(model, (1, 2, 24))
    assert all(p <= o for o, read in enumerate(reads(model, 24)) for p in read) is causal
    assert is_causal(report.network, report.outputs[0], "t") is causal


class Masked(nn.Module):
    """Attention by hand, behind a causal layer; a mask in numbers keeps it from the future."""

    def __init__(self):
        super().__init__()
        self.first, self.query, self.key = Padded(4, 3), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).transpose(1, 2)
        weights = self.query(x) @ self.key(x).transpose(1, 2)
        hidden = torch.triu(torch.ones(weights.shape[-2:], dtype=torch.bool), 1)
        return (weights.masked_fill(hidden, -torch.inf).softmax(-1) @ x).transpose(1, 2)


class Latest(nn.Module):
    """A causal layer, to whose outputs the last one is added."""

    def __init__(self):
        super().__init__()
        self.first = Padded(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return x + x[..., -1:]


def test_a_mask_in_numbers_is_said_not_to_be_followed():
    leaks = [f for f in atrous.inspect(Masked(), (1, 4, 20)).findings if f.code == "leak"]
    assert [f.layer for f in leaks] == ["matmul", "matmul@1"]
    assert all("numbers that mask the future are not followed" in f.message for f in leaks)


def test_the_last_position_handed_to_all_is_a_leak_by_the_layer_that_takes_it():
    (leak,) = [f for f in atrous.inspect(Latest(), (1, 4, 20)).findings if f.code == "leak"]
    assert leak.layer == "slice"
    assert "reads 19 input positions ahead" in leak.message
