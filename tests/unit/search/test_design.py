"""Designs: code that runs as printed, impossible targets, and what is no space."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import atrous
from atrous.errors import ArgumentError, UnreachableError
from atrous.search import LayerKind


@pytest.mark.parametrize("layer", ["conv", "separable"])
@pytest.mark.parametrize(
    ("input", "kernels", "output_stride"),
    [((1, 2, 40), (2, 3), 4), ((1, 3, 33, 41), (3, 5), 2), ((1, 2, 12, 10, 11), (2,), 1)],
)
def test_the_printed_code_builds_the_network_that_was_designed(
    input: tuple[int, ...], kernels: tuple[int, ...], output_stride: int, layer: LayerKind
) -> None:
    given: dict[str, Any] = {"kernels": kernels, "output_stride": output_stride, "layer": layer}
    designs = atrous.design(9, input=input, channels=4, depth=(1, 4), **given)
    assert designs
    for one in designs:
        held: dict[str, Any] = {}
        exec(one.code(), held)
        model = held["model"].eval()
        assert model(torch.zeros(input)).shape == one.report.outputs[0].output_shape
        convs = [layer for layer in model if "Conv" in type(layer).__name__]
        wide = [conv for conv in convs if conv.kernel_size[0] > 1]
        assert [conv.dilation[0] for conv in wide] == [*one.rates]
        report = atrous.inspect(model, input)
        read = report.outputs[0].field[0]
        assert (read.size, read.coverage, read.step) == (one.field, 1.0, 1)
        biases = sum(conv.bias.numel() for conv in convs)
        assert (report.macs, report.params - biases) == (one.macs, one.params)
        if not any("Pad" in type(layer).__name__ for layer in model):
            assert report.peak_memory_bytes == one.memory_bytes


def test_causal_designs_look_at_nothing_ahead() -> None:
    for one in atrous.design(
        40, input=(1, 4, 400), channels=4, causal=True, minimise="state", output_stride=1
    ):
        field = one.report.outputs[0].field[0]
        assert field.start == -(field.size - 1)
        assert one.state_bytes == 4 * 4 * sum(
            layer.rate * (layer.kernel - 1) for layer in one.layers
        )


@pytest.mark.parametrize("look_ahead", [0, 1, 7, 1000])
def test_no_output_waits_for_more_than_is_allowed_behind_its_hop(look_ahead: int) -> None:
    given: dict[str, Any] = {"input": (1, 2, 240), "channels": 2, "output_stride": 4, "rates": 9}
    given |= {"kernels": (2, 3), "strides": (2, 4), "depth": (1, 5)}
    centred = {one.rates: one for one in atrous.design(30, **given)}
    for one in atrous.design(30, look_ahead=look_ahead, **given):
        held: dict[str, Any] = {}
        exec(one.code(), held)
        model = held["model"].eval()
        plan = atrous.plan_stream(model, (1, 2, 240))
        assert plan.lookahead == one.ahead <= look_ahead
        assert look_ahead < 1000 or one.ahead == centred[one.rates].ahead
        assert plan.state_bytes == one.state_bytes
        x = torch.zeros(1, 2, 240)
        made = model(x)
        assert made.shape == one.report.outputs[0].output_shape
        place = 160 + one.ahead + 4  # the first sample that output 40 does not wait for
        x[:, :, place:] = torch.nan
        assert not model(x)[0, 0, :41].isnan().any()
        x[:, :, place - 1] = torch.nan
        assert model(x)[0, 0, 40].isnan()


def test_a_limit_on_what_lies_ahead_in_ms_is_one_in_samples() -> None:
    given: dict[str, Any] = {"input": (1, 2, 240), "channels": 2}
    in_time = atrous.design(30, look_ahead="0.5 ms", rate="16.1k", **given)
    assert [one.stack for one in in_time] == [
        one.stack for one in atrous.design(30, look_ahead=8, **given)
    ]
    assert "8 (0.497 ms) of them behind its hop of 1" in " ".join(str(in_time[0]).split())


def test_a_causal_window_narrower_than_its_stride_is_printed_as_it_was_designed() -> None:
    (one,) = atrous.design(
        2, input=(1, 2, 40), channels=2, kernels=2, strides=4, output_stride=4, causal=True
    )
    held: dict[str, Any] = {}
    exec(one.code(), held)
    x = torch.zeros(1, 2, 40)
    x[:, :, 5] = torch.nan
    assert not held["model"](x).isnan().any()
    x[:, :, 6] = torch.nan
    assert held["model"](x)[0, 0].isnan().nonzero().tolist() == [[1]]


def test_a_field_in_ms_is_one_in_samples() -> None:
    in_time = atrous.design("4 ms", rate="16k", input=(1, 4, 400), channels=4)
    in_samples = atrous.design(64, input=(1, 4, 400), channels=4)
    assert [one.stack for one in in_time] == [one.stack for one in in_samples]
    assert "4 ms" in str(in_time)


def test_ten_ms_at_a_rate_of_44100_are_441_samples_exactly() -> None:
    designs = atrous.design("10ms", rate="44.1k", input=(1, 4, 900), channels=4)
    assert designs.space.least == 441


@pytest.mark.parametrize("tile", [64, 96])
def test_what_tiles_recompute_is_what_their_plan_says(tile: int) -> None:
    size = 40 * tile
    (one,) = atrous.design(31, input=(1, 3, size, size), channels=4, output_stride=4)[:1]
    (axis, _) = atrous.plan_tiles(f"stack:{one.stack}", (1, 3, size, size), tile=tile).axes
    assert one.recomputed(tile) == pytest.approx((axis.size / axis.step) ** 2 - 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depth": 3}, "largest is 27"),
        ({"depth": 999}, "999 layers of kernel 3 and rate 1 see at least 1,999 positions"),
        ({"kernels": 100}, "1 layer of kernel 100 and rate 1 sees at least 100 positions"),
        ({"rates": (2, 4)}, "with no rate of 1 the last layer leaves sub-grids"),
        ({"macs": 1e6}, "MACs of at least .* limit is 1,000,000"),
        ({"memory": "100KiB"}, "memory of at least .* limit is 102,400"),
        ({"recomputed": (64, 0.5)}, "largest field within it is 15, or give tiles of 512"),
    ],
)
def test_what_is_out_of_reach_names_the_limit_and_the_nearest(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnreachableError, match=message):
        atrous.design(65, input=(1, 8, 64, 64), channels=8, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernels": 4, "rates": (2,), "depth": 2}, "of 2 layers .*; nothing is, at any size"),
        ({"kernels": 4, "rates": (1, 7), "depth": 2}, "largest is 7"),
        ({"kernels": (2, 3), "depth": 1}, "of 1 layer .*largest is 3"),
        ({"depth": 4, "macs": 3455}, "at least 3,456, .*nothing is within it"),
        ({"depth": (1, 4), "macs": 3455}, "at least 3,456, .*within it is 27"),
    ],
)
def test_the_nearest_field_is_one_that_a_schedule_has(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UnreachableError, match=message):
        atrous.design(30, input=(1, 3, 32), channels=3, **{"rates": 9, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernels": 1}, "kernels of at least 2"),
        ({"output_stride": 3}, "make an output stride of 3"),
        ({"depth": (4, 2)}, "depth is 4 to 2"),
        ({"receptive_field": 1 << 20}, "more than are searched"),
        ({"receptive_field": 40000, "depth": (1, 1000)}, "schedules with fields"),
        ({"depth": (1, 10**5)}, "beyond what is searched .1,000."),
        ({"depth": 2.5}, "whole numbers of at least 1"),
        ({"rates": 10**9}, "beyond what is searched .65,536."),
        ({"output_stride": 2.0}, "no whole number"),
        ({"output_stride": 1 << 40, "depth": 64, "strides": (2, 4)}, "more than is searched"),
        ({"macs": float("inf")}, "is no limit"),
        ({"macs": "5G"}, "is no limit"),
        ({"recomputed": 64}, "a tile's size and a share"),
        ({"allow": 3}, "give a tuple"),
        ({"channels": (1, 2, 3)}, "channels has 3 numbers"),
        ({"minimise": "time"}, "none of macs"),
        ({"layer": "dense"}, "none of conv, separable"),
        ({"causal": True}, "along time"),
        ({"look_ahead": 3}, "along time"),
        ({"look_ahead": -1, "input": (1, 3, 64)}, "whole samples from 0"),
        ({"look_ahead": "5ms", "input": (1, 3, 64)}, "with rate="),
        ({"look_ahead": 5, "causal": True, "input": (1, 3, 64)}, "causal is look_ahead=0"),
        ({"allow": "holes"}, "give a tuple"),
        ({"input": (1, 3)}, "no shape"),
        ({"receptive_field": "64ms"}, "with rate="),
    ],
)
def test_what_is_no_space_is_said(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        atrous.design(**{"input": (1, 3, 64, 64), **given})


def test_with_holes_a_field_takes_fewer_layers() -> None:
    whole = atrous.design(65, input=(1, 8, 64, 64), channels=8)
    holed = atrous.design(65, input=(1, 8, 64, 64), channels=8, allow=("holes",))
    assert holed[0].macs < whole[0].macs
    assert holed[0].coverage < 1 == whole[0].coverage
    assert holed[0].evenness is None


def test_a_limit_on_time_is_measured() -> None:
    designs = atrous.design(9, input=(1, 4, 16, 16), channels=4, depth=(1, 4), minimise="latency")
    assert all(one.latency_ns for one in designs)
