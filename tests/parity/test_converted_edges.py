"""Conversions at their edges: small models, each with one thing that is easily got wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

import atrous
from atrous.readers.torch.reader import read_torch


class Every(nn.Module):
    """Takes every so-manieth position, from one on."""

    def __init__(self, start: int, step: int) -> None:
        super().__init__()
        self.start, self.step = start, step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., self.start :: self.step]


class Averaged(nn.Module):
    """Averages by a function of its own code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool1d(x, 2, 2)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsampling_behind_a_denser_map_is_approximate_and_both_halves_say_so(mode: str) -> None:
    # Every second output of a nearest upsampling has a twin; no stride shows the original's map.
    model = nn.Sequential(nn.Conv1d(2, 3, 3, 2, 1), nn.Upsample(scale_factor=2, mode=mode))
    found = atrous.convert(model, 1, input=(1, 2, 16)).certificate
    assert (found.verdict, found.agrees) == ("approximate", True)
    assert str(found.causes[0]) == "1: it resamples a map of another size"


def test_the_divisor_of_an_average_is_counted_on_the_map_that_the_pool_itself_reads() -> None:
    # The slice before it has no twin by name, so the step to the pool begins at the convolution.
    model = nn.Sequential(
        nn.Conv1d(2, 2, 3, 3, 1),
        Averaged(),
        Every(1, 3),
        nn.AvgPool1d(2, 1, 1, count_include_pad=False),
    )
    found = atrous.convert(model, 3, input=(1, 2, 14)).certificate
    assert (found.verdict, found.agrees) == ("exact", True), [str(c) for c in found.causes]


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_padding_mode_with_no_padding_is_no_reason_to_refuse(mode: str) -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3, 2), nn.Conv1d(3, 2, 2, padding_mode=mode))
    done = atrous.convert(model, 1, input=(1, 2, 21))
    assert (done.certificate.verdict, done.model[1].dilation) == ("exact", (2,))


@pytest.mark.parametrize("training", [True, False])
def test_what_takes_the_place_of_a_padding_module_keeps_its_training_mode(training: bool) -> None:
    model = nn.Sequential(nn.Conv1d(2, 2, 3, 2, 1), nn.ReflectionPad1d(1), nn.Conv1d(2, 2, 3))
    model.train(training)
    done = atrous.convert(model, 1, input=(1, 2, 21))
    assert {module.training for module in done.model.modules()} == {training}


def test_a_certificate_tells_of_the_size_that_makes_it_promise_less() -> None:
    # The way back fits its padding to one size; one position more, and the last output is missing.
    model = nn.Sequential(nn.Conv1d(2, 2, 3), nn.MaxPool1d(2, 2, ceil_mode=True))
    dense = atrous.convert(model, 1, input=(1, 2, 16)).model
    found = atrous.convert(dense, 2, input=(1, 2, 16)).certificate
    assert found.verdict == "interior"
    assert [str(cause) for cause in found.causes]
    assert any(map(any, found.outputs[0].margin))
    assert any("interior at 1x2x17" in note for note in found.notes), found.notes


def test_code_inside_a_graph_is_read_by_the_modules_that_run_it() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.conv(F.pad(x, (2, 0), mode="circular"))
            return made

    model = nn.Sequential(
        nn.Conv1d(2, 2, 3, 2, 1), Padded(), nn.Conv1d(2, 2, 3, padding=1, padding_mode="reflect")
    )
    done = atrous.convert(model, 1, input=(1, 2, 22))
    assert (done.certificate.verdict, done.certificate.agrees) == ("exact", True)
    names: list[Any] = [(n.module, n.opaque) for n in read_torch(done.model, (1, 2, 22)).nodes]
    assert ("1.conv", "") in names
    assert not any(opaque for _, opaque in names)
    assert not atrous.convert(done.model, 1, input=(1, 2, 22)).edits


class Windowed(nn.Module):
    """Pads by hand and calls a pool or a convolution, all in its own code."""

    def __init__(self, pads: tuple[int, int], how: str, **given: Any) -> None:
        super().__init__()
        self.pads, self.how, self.given = pads, how, given
        self.weight = nn.Parameter(torch.randn(2, 2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, self.pads)
        if self.how == "conv":
            return F.conv1d(x, self.weight, **self.given)
        return (F.avg_pool1d if self.how == "average" else F.max_pool1d)(x, **self.given)


@pytest.mark.parametrize("pads", [(1, 0), (0, 1), (2, 2), (1, -1), (-2, 3)])
@pytest.mark.parametrize(
    ("how", "given"),
    [
        ("average", {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
        ("average", {"kernel_size": 3, "stride": 2, "count_include_pad": False}),
        ("average", {"kernel_size": 2, "stride": 2, "ceil_mode": True}),
        ("max", {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True}),
        ("conv", {"stride": 2, "padding": 1}),
    ],
)
def test_what_code_pads_before_a_call_stays_apart_from_what_the_call_pads(
    pads: tuple[int, int], how: str, given: dict[str, Any]
) -> None:
    model = nn.Sequential(Windowed(pads, how, **given), Windowed((1, 1), "conv", dilation=1))
    found = atrous.convert(model, 1, input=(1, 2, 21)).certificate
    assert (found.verdict, found.agrees) == ("exact", True), [str(c) for c in found.causes]
    x = torch.randn(1, 2, 24)
    dense = atrous.convert(model, 1, input=(1, 2, 21), measure=False).model
    with torch.no_grad():
        here, there = model(x), dense(x)[..., ::2]
    assert torch.allclose(there[..., : here.shape[-1]], here, atol=1e-5)


def test_a_shift_is_told_where_a_stride_appeared() -> None:
    one = nn.Sequential(nn.Conv1d(2, 2, 3, 1, 1), nn.Conv1d(2, 2, 3, 1, 1))
    two = nn.Sequential(nn.Conv1d(2, 2, 3, 2, 0), nn.Conv1d(2, 2, 3, 1, 1))
    two.load_state_dict(one.state_dict())
    found = atrous.audit(one, two, input=(1, 2, 21))
    assert found.verdict == "broken"
    assert "keep them in place" in str(found.causes[1]), [str(c) for c in found.causes]


def test_a_first_layer_that_works_in_place_does_not_change_what_the_other_model_is_run_on() -> None:
    model = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Conv1d(2, 3, 3, 2, 1))
    found = atrous.convert(model, 1, input=(1, 2, 21)).certificate
    assert (found.verdict, found.agrees) == ("exact", True), [str(c) for c in found.causes]


def test_a_map_that_ends_within_a_long_margin_agrees_with_its_structure() -> None:
    one = nn.Sequential(nn.Conv1d(2, 4, 3, 1, 1), *(nn.Conv1d(4, 4, 3, 1, 1) for _ in range(7)))
    two = nn.Sequential(nn.Conv1d(2, 4, 3, 1, 0), *(nn.Conv1d(4, 4, 3, 1, 1) for _ in range(7)))
    two.load_state_dict(one.state_dict())
    found = atrous.audit(one, two, input=(1, 2, 19))
    assert (found.verdict, found.agrees) == ("shifted", True), [str(c) for c in found.causes]
    assert found.outputs[0].phase == (-1,)


def test_strides_that_share_no_factor_are_broken_in_both_halves() -> None:
    one, two = nn.Conv1d(2, 3, 1, 3), nn.Conv1d(2, 3, 1, 2)
    two.load_state_dict(one.state_dict())
    found = atrous.audit(nn.Sequential(one), nn.Sequential(two), input=(1, 2, 30))
    assert (found.verdict, found.agrees) == ("broken", True), [str(c) for c in found.causes]


def test_a_map_of_one_value_proves_nothing() -> None:
    one = nn.Sequential(
        nn.Conv1d(2, 2, 3, 2, 1), nn.ReLU(), nn.Conv1d(2, 2, 3, 1, 1), nn.Hardtanh(5, 6)
    )
    two = nn.Sequential(
        nn.Conv1d(2, 2, 3, 1, 1), nn.ReLU(), nn.Conv1d(2, 2, 3, 1, 1), nn.Hardtanh(5, 6)
    )
    two.load_state_dict(one.state_dict())
    found = atrous.audit(one, two, input=(1, 2, 30))
    # Nothing could be measured, and that is neither agreement nor disagreement.
    assert (found.verdict, found.agrees) == ("broken", None), [str(c) for c in found.causes]
    assert {check.measured for check in found.outputs[0].checks} == {None}


class Spread(nn.Module):
    """The mean of a map, through a convolution, spread over the map again."""

    def __init__(self, padding: int, stride: int = 1) -> None:
        super().__init__()
        self.mix = nn.Conv1d(2, 2, 3, stride, padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.mix(x.mean(dim=2, keepdim=True))
        return x + F.interpolate(mean, size=x.shape[2:], mode="nearest")


def test_a_window_along_a_pooled_dimension_is_compared_as_well() -> None:
    one, two = nn.Sequential(Spread(1)), nn.Sequential(Spread(2, 2))
    two.load_state_dict(one.state_dict())
    found = atrous.audit(one, two, input=(1, 2, 21))
    assert (found.verdict, found.agrees) == ("broken", True), [str(c) for c in found.causes]
    assert str(found.causes[0]).startswith("0.mix: its window along a dimension of 1 is")


@pytest.mark.parametrize("length", [10, 11, 12])
def test_a_slice_without_an_end_has_none_in_the_dense_model(length: int) -> None:
    one = nn.Sequential(Every(2, 3), nn.Conv1d(2, 2, 1))
    after_another = nn.Sequential(Every(2, 2), Every(1, 2), nn.Conv1d(2, 2, 1))
    for model, stride in ((one, 3), (after_another, 4)):
        dense = atrous.convert(model, 1, input=(1, 2, length)).model
        for size in range(length, length + 6):
            x = torch.randn(1, 2, size)
            assert torch.allclose(dense(x)[..., ::stride], model(x)), (stride, size)


def test_windows_that_lie_in_padding_alone_between_the_twins_do_not_hide_the_rest() -> None:
    # Behind a padding of one more on both sides, the dense pool makes -inf where no twin is.
    one = nn.Sequential(nn.MaxPool1d(3, 3, 1), nn.Conv1d(2, 2, 1))
    dense = nn.Sequential(nn.ConstantPad1d((3, 3), float("-inf")), nn.MaxPool1d(3, 1, 1))
    found = atrous.audit(one, nn.Sequential(dense, one[1]), input=(1, 2, 20))
    assert (found.verdict, found.agrees) == ("shifted", True), [str(c) for c in found.causes]


class Beside(nn.Module):
    """Two inputs that meet behind the part that is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv1d(2, 3, 3, 2, 1)
        self.two = nn.Conv1d(4, 3, 3, 1, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.one(x) + self.two(y)


@pytest.mark.parametrize("measure", [True, False])
def test_a_part_that_needs_one_of_two_inputs_is_converted(measure: bool) -> None:
    shapes = [(1, 2, 20), (1, 4, 10)]
    found = atrous.convert(Beside(), 1, input=shapes, outputs="one", measure=measure)
    assert (found.certificate.verdict, len(found.edits)) == ("exact", 1)
