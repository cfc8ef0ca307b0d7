"""What the PyTorch reader does with odd code, odd inputs and odd sources."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import atrous
from atrous import ReadError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        return self.drop(torch.relu(y)) + y


def test_a_model_is_read_in_evaluation_mode_and_left_as_it_was() -> None:
    model = Block().train()
    model.norm.eval()
    report = atrous.inspect(model, (1, 3, 8, 8))
    assert [layer.name for layer in report.layers] == ["conv", "norm", "relu", "add"]
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)


def test_layers_are_found_by_module_path_and_modules_by_their_last_layer() -> None:
    model = nn.Sequential(Block(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1))
    report = atrous.inspect(model, (1, 3, 8, 8))
    assert report["0.conv"].op == "conv"
    assert report["0"].name == "0.add"
    assert report["2"].output_shape == (1, 2, 4, 4)


def test_a_module_with_layers_inside_is_found_by_its_last_layer_and_not_by_its_own_code() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(6, 4, 3, padding=1)

        def forward(self, a: torch.Tensor) -> torch.Tensor:
            return self.conv(torch.cat([a, a], dim=1))

    report = atrous.inspect(nn.Sequential(Dense()), (1, 3, 8, 8))
    assert [layer.name for layer in report.layers] == ["0.cat", "0.conv"]
    assert report["0"].name == "0.conv"


def test_an_exported_program_reads_like_its_module() -> None:
    model = Block().eval()
    program = torch.export.export(model, (torch.zeros(1, 3, 8, 8),), strict=False)
    direct = atrous.inspect(model, (1, 3, 8, 8)).to_dict()["layers"]
    assert atrous.inspect(program).to_dict()["layers"] == direct


def test_an_exported_program_with_a_free_size_is_read_at_the_size_given() -> None:
    size = torch.export.Dim("size", min=6, max=64)
    program = torch.export.export(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2)),
        (torch.zeros(1, 3, 16, 16),),
        dynamic_shapes=[{2: size, 3: size}],
        strict=False,
    )
    assert atrous.inspect(program).outputs[0].output_shape == (1, 4, 7, 7)
    assert atrous.inspect(program, (1, 3, 32, 32)).outputs[0].output_shape == (1, 4, 15, 15)


def test_values_changed_in_place_and_read_again_are_followed() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 1.0
            y[:, :1] = self.conv(y)[:, :1]
            return y

    report = atrous.inspect(Writes(), (1, 2, 9, 9))
    assert report.complete, report.opaque
    assert report.outputs[0].field[0].size == 3


def test_a_module_without_an_input_shape_says_what_to_give() -> None:
    with pytest.raises(ReadError, match=r"Block: a module does not say what it takes; give"):
        atrous.inspect(Block())


@pytest.mark.parametrize("shape", [(1, 3, 0, 8), (1, -3, 8, 8), ()])
def test_an_impossible_input_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ReadError, match="whole numbers of at least 1"):
        atrous.inspect(Block(), shape)


def test_an_input_of_the_wrong_channels_is_one_clear_error() -> None:
    with pytest.raises(ReadError, match=r"^Block: in conv, on inputs of 1x5x8x8 it raises"):
        atrous.inspect(Block(), (1, 5, 8, 8))


def test_something_that_is_no_source_says_what_is() -> None:
    with pytest.raises(ReadError, match=r"an int is no source: give a torch.nn.Module"):
        atrous.inspect(3)


def test_ops_not_understood_make_the_report_partial_and_are_named() -> None:
    class Powers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(torch.linalg.matrix_exp(x))

    report = atrous.inspect(Powers(), (1, 2, 8, 8))
    assert not report.complete
    assert report["conv"].field == ()
    assert report["conv"].opaque == ("linalg_matrix_exp",)
    assert report["conv"].macs == 36 * 36
    with pytest.raises(
        atrous.UnsupportedError, match=r"^conv: what is read through linalg_matrix_exp"
    ):
        report.footprint()


def test_several_inputs_are_each_measured_on_their_own() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 2, 3, padding=1)
            self.b = nn.Conv2d(1, 2, 5, padding=2)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return self.a(left) + self.b(right)

    report = atrous.inspect(Two(), ((1, 1, 16, 16), (1, 1, 16, 16)))
    assert report.outputs[0].field[0].size == 3
    assert report.seen_from("right").outputs[0].field[0].size == 5
    assert report.seen_from("right").footprint().taps == 25


def test_waveforms_and_channels_last_inputs_find_their_spatial_dimensions() -> None:
    class Wave(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 4, 5, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x.unsqueeze(1))

    class ChannelsLast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, (3, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    assert atrous.inspect(Wave(), (1, 100)).outputs[0].field[0].size == 5
    report = atrous.inspect(ChannelsLast(), (1, 16, 20, 3))
    assert [field.size for field in report.outputs[0].field] == [3, 5]
    assert report.footprint().mask.shape == (16, 20)


def test_a_program_taken_apart_into_core_operators_reads_the_same() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(Block(), nn.AvgPool2d(2), nn.GELU(), nn.Conv2d(4, 4, 3))
            self.head = nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.roll(self.body(x), (-2, 3), (2, 3))
            return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))

    whole = torch.export.export(Mixed().eval(), (torch.zeros(1, 3, 20, 20),), strict=False)
    reports = [atrous.inspect(program) for program in (whole, whole.run_decompositions())]
    assert all(report.complete for report in reports), reports[1].opaque
    assert reports[0].outputs[0].field == reports[1].outputs[0].field
    assert (reports[0].macs, reports[0].params) == (reports[1].macs, reports[1].params)
    masks = [report.footprint().mask for report in reports]
    assert (masks[0] == masks[1]).all()


def test_blocks_under_autocast_are_read_through() -> None:
    class Guarded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Conv2d(2, 2, 3)
            self.after = nn.Conv2d(2, 2, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", enabled=False):
                y = self.inside(x.float())
            return self.after(y) + self.after(y * 2)

    report = atrous.inspect(Guarded(), (1, 2, 12, 12))
    assert report.complete
    assert [layer.name for layer in report.layers] == ["inside", "after", "mul", "after@1", "add"]
    assert report.outputs[0].field[0].size == 7
    assert report.params == 38 + 102
