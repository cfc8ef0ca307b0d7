"""Models whose way depends on values are read as they ran, and what comes from values is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import atrous
from atrous import ReadError

SHAPE = (1, 1, 9, 9)


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)


class Branches(Conv):
    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else x


class Loops(Conv):
    def forward(self, x):
        for _ in range(8):
            if x.mean() > 2:
                break
            x = self.conv(x) * 0 + x + 1
        return x


class Crops(Conv):
    def forward(self, x):
        start = int(x.sum() * 10) % 4
        return self.conv(x[..., start : start + 5])


class Fills(Conv):
    def forward(self, x):
        return self.conv(x) + torch.arange(int(x.sum() * 10) % 7 + 1).sum()


class Scales(Conv):
    def forward(self, x):
        return self.conv(x) / x.max().item()


class Leaves(Conv):
    def forward(self, x):
        return self.conv(torch.from_numpy(x.detach().numpy() * 2))


class Constant(Conv):
    def forward(self, x):
        window = torch.from_numpy(np.hanning(x.shape[-1]).astype("float32"))
        return self.conv(x if x.sum() != 7 else x + 1) * window


class Picks(Conv):
    def forward(self, x):
        y = self.conv(x)
        return y.flatten()[x.flatten() > 0.5].sum() + y


class Rare(Conv):
    def forward(self, x):
        # The first draw alone has its sum near 40.
        if 30 < float(x.sum()) < 50 and x.min() >= 0 and x.sum() == self.wanted:
            return torch.roll(self.conv(x), int(x.sum()) % 5, -1)
        return self.conv(x)


def test_a_branch_is_taken_as_it_ran_and_the_report_says_on_what():
    report = atrous.inspect(Branches(), SHAPE)
    assert report.complete
    assert [axis.size for axis in report.outputs[0].field] == [3, 3]
    assert report.macs == 9 * 81
    (finding,) = [f for f in report.findings if f.code == "as-it-ran"]
    assert finding.message.startswith(
        "control flow is taken as it ran on random numbers of 1x1x9x9; values decided in Branches;"
    )
    flat = " ".join(str(report).split())
    assert "taken as it ran on random numbers of 1x1x9x9" in flat
    assert "as it ran" in json.loads(report.to_json())["findings"][0]["message"]


def test_the_example_decides_where_one_is_given():
    report = atrous.inspect(Branches(), -torch.ones(SHAPE))
    assert [axis.size for axis in report.outputs[0].field] == [1, 1]
    assert "as it ran on the example of 1x1x9x9" in report.findings[0].message


def test_a_loop_has_as_many_turns_as_it_had():
    report = atrous.inspect(Loops(), torch.zeros(SHAPE))
    assert report.complete
    assert [axis.size for axis in report.outputs[0].field] == [7, 7]


@pytest.mark.parametrize(
    "model", [Crops(), Fills(), Scales(), Leaves()], ids=lambda m: type(m).__name__
)
def test_a_number_that_comes_from_the_input_is_not_taken_for_a_constant(model):
    report = atrous.inspect(model, SHAPE)
    assert not report.complete
    assert report.outputs[0].field == ()


def test_places_chosen_by_values_may_be_any():
    report = atrous.inspect(Picks(), SHAPE)
    assert report.network.ran
    assert report.outputs[0].is_global
    assert report["conv"].field[0].size == 3


def test_numbers_of_the_code_are_constants_in_a_run_too():
    report = atrous.inspect(Constant(), SHAPE)
    assert report.complete, report.opaque
    assert [axis.size for axis in report.outputs[0].field] == [3, 3]


def test_a_call_that_no_other_run_came_by_is_not_trusted_with_numbers():
    model = Rare()
    drawn = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    model.wanted = float(drawn.sum())
    report = atrous.inspect(model, SHAPE)
    assert not report.complete
    assert any("no other run came by" in finding.message for finding in report.findings)


def test_a_run_leaves_random_numbers_and_buffers_alone():
    class Counts(Branches):
        def __init__(self):
            super().__init__()
            self.register_buffer("runs", torch.zeros(()))

        def forward(self, x):
            self.runs += 1
            return super().forward(x)

    model = Counts()
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    atrous.inspect(model, SHAPE)
    assert torch.equal(torch.rand(3), wanted)
    assert model.runs == 0


def test_where_running_fails_too_one_error_has_both_reasons():
    class Refuses(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                raise ValueError("odd input")
            return x

    with pytest.raises(ReadError) as caught:
        atrous.inspect(Refuses(), SHAPE)
    text = str(caught.value)
    assert text.startswith("Refuses: on inputs of 1x1x9x9 it raises ValueError: odd input.")
    assert "It cannot be traced either: it asks for values" in text
    assert len(text.splitlines()) == 1


def test_a_size_that_the_model_refuses_is_refused_also_where_it_looks_only_when_not_exported():
    class Guarded(Conv):
        def forward(self, x):
            if not torch.compiler.is_compiling() and x.shape[-1] % 8:
                raise RuntimeError(f"width {x.shape[-1]} does not divide")
            return self.conv(x)

    assert atrous.inspect(Guarded(), (1, 1, 8, 16)).complete
    with pytest.raises(ReadError, match="on inputs of 1x1x8x15 it raises RuntimeError: width 15"):
        atrous.inspect(Guarded(), (1, 1, 8, 15))


def test_the_data_of_a_tensor_is_the_tensor():
    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, 2, 1)

        def forward(self, x):
            y = nn.functional.avg_pool2d(x, 1, 2)
            return self.conv(x) + torch.cat([y.data, torch.zeros(y.shape[0], 5, *y.shape[2:])], 1)

    report = atrous.inspect(Shortcut(), (1, 3, 16, 16))
    assert report.complete
    assert report.outputs[0].field[0].size == 3


@pytest.mark.parametrize("reflected", [False, True])
def test_padding_worked_out_from_integer_buffers_is_a_constant(reflected):
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 8, 4)
            self.register_buffer("kernel", torch.tensor(4))
            self.register_buffer("stride", torch.tensor(1))

        def forward(self, x):
            front = self.kernel - self.stride
            frames = (x.shape[-1] - self.kernel + front) / self.stride + 1
            length = (torch.ceil(frames).to(torch.int64) - 1) * self.stride + self.kernel - front
            behind = length - x.shape[-1]
            if reflected and x.shape[-1] <= max(front, behind):
                x = nn.functional.pad(x, (0, 1))
            mode = "reflect" if reflected else "constant"
            return self.conv(nn.functional.pad(x, (front, behind), mode=mode))

    model = Causal().eval()
    report = atrous.inspect(model, (1, 4, 96))
    assert report.complete
    assert not report.network.ran
    (output,) = report.outputs
    assert (output.output_shape, output.field[0].size, output.field[0].start) == ((1, 8, 96), 4, -3)


def test_a_detector_is_read_as_it_runs():
    pytest.importorskip("torchvision")
    from torchvision.models.detection import retinanet_resnet50_fpn

    model = retinanet_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=64, max_size=64, num_classes=3
    )
    report = atrous.inspect(model, ([(3, 64, 64)],))
    assert not report.complete
    assert "as it ran" in " ".join(f.message for f in report.findings)
    assert report["backbone.body.layer4.2.conv3"].field[0].size == 427
    assert report["head.regression_head.bbox_reg"].output_shape == (1, 36, 8, 8)
    assert report.macs > 800_000_000
