"""What sums round off is measured right, and decides which strategies are taken."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from atrous.geometry import Window
from atrous.operators.kernels import native
from atrous.optimization.candidates import candidates  # noqa: F401 - registers the strategies
from atrous.optimization.layer.activations import Activation
from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.choose import choose
from atrous.optimization.layer.rounding import ALLOWED, Rounded

needs_kernels = pytest.mark.skipif(not native().available, reason=native().reason)


def case(shape, kernel, dilation, *, adds=False, activation="relu", layout="channels_last"):
    torch.manual_seed(0)
    windows = tuple(
        Window(k, 1, d, k // 2 * d, k // 2 * d) for k, d in zip(kernel, dilation, strict=True)
    )
    weight = torch.randn(70, shape[1], *kernel) / 20
    call = LayerCall(
        "conv",
        shape,
        tuple(weight.shape),
        True,
        windows,
        activation=Activation(activation),
        adds=adds,
        layout=layout,
    )
    operands = [torch.randn(shape), *([torch.randn(call.convolution.shape)] if adds else [])]
    if layout == "channels_last" and len(shape) == 4:
        operands = [one.contiguous(memory_format=torch.channels_last) for one in operands]
    return call, weight, torch.randn(70), tuple(operands)


def exact(call, weight, bias, operands):
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[call.rank - 1]
    pads = [lo for lo, _ in call.padding]
    made = conv(operands[0].double(), weight.double(), bias.double(), 1, pads, call.dilation)
    made = made + operands[1].double() if call.adds else made
    return torch.relu(made)


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ((2, 8, 20, 31), (3, 3), (2, 5)),
            ((2, 8, 700), (5,), (3,)),
            ((1, 8, 9, 9), (1, 3), (1, 1)),
        ),
        *(((2, 8, 7, 12, 9), (3, 3, 3), (2, 1, 3)), ((1, 8, 3, 5, 6), (1, 3, 2), (1, 2, 1))),
    ],
)
@pytest.mark.parametrize("adds", [False, True])
def test_the_sample_is_the_convolution_in_float64(arguments, adds):
    call, weight, bias, operands = case(*arguments, adds=adds)
    rounded = Rounded(call, weight, bias, operands)
    whole = exact(call, weight, bias, operands)
    assert rounded.error(whole) <= 1e-14
    largest = float(whole.abs().max())
    off = whole + 1e-3 * largest
    # Of the largest value in the sample, which is no larger.
    assert 1e-3 <= rounded.error(off) * (1 + 1e-9) <= 2e-3
    assert rounded.error(whole * math.nan) == math.inf


class Never(Choices):
    """Holds nothing, and is not written."""

    def __init__(self):
        self.held = {}

    def get(self, signature):
        return self.held.get(signature)

    def put(self, signature, taken):
        self.held[signature] = taken


def by(*fast):
    def timer(runs):
        order = [*fast, *(name for name in runs if name not in fast)]
        return {name: float(1 + order.index(name)) for name in runs}

    return timer


@needs_kernels
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("adds", [False, True])
def test_fewer_products_are_taken_where_they_round_off_little(layout, adds):
    call, weight, bias, operands = case(
        (2, 64, 30, 30), (3, 3), (2, 2), adds=adds, layout=layout, activation="silu"
    )
    taken = choose(call, weight, bias, operands, Never(), by("winograd 4"))
    assert taken.strategy == "winograd 4"
    assert 0 < taken.error <= ALLOWED * taken.direct_error
    plain = choose(call, weight, bias, operands, Never(), by("winograd 4"), 0.0)
    assert not plain.strategy.startswith("winograd")
    assert plain.error is None
    assert not any("winograd" in name for name, _ in plain.milliseconds)


@needs_kernels
def test_what_rounds_off_more_is_taken_only_when_asked_for():
    call, weight, bias, operands = case((1, 64, 24, 24), (3, 3), (2, 2))
    choices = Never()
    taken = choose(call, weight, bias, operands, choices, by("winograd 6"), 0.01)
    assert not taken.strategy.startswith("winograd")
    assert any("winograd 6: rounds off" in line for line in taken.why)
    asked = choose(call, weight, bias, operands, Never(), by("winograd 6"), math.inf)
    assert asked.strategy == "winograd 6"
    # Nothing is measured again, and what rounds off too much is passed over again.
    again = choose(call, weight, bias, operands, choices, by(), 0.01)
    assert again.strategy == taken.strategy


@needs_kernels
def test_from_what_was_measured_the_next_is_taken_where_the_best_rounds_off_too_much():
    call, weight, bias, operands = case((1, 64, 24, 24), (3, 3), (12, 12))
    choices = Never()
    first = choose(call, weight, bias, operands, choices, by("winograd 4", "taps"), math.inf)
    assert first.strategy == "winograd 4"
    second = choose(call, weight, bias, operands, choices, by(), 0.01)
    assert second.strategy == "taps"


def test_what_never_wins_is_not_tried_and_that_is_said():
    # PyTorch leaves oneDNN for small dilated maps: there everything is tried.
    call, weight, bias, operands = case((1, 4, 24, 24), (3, 3), (2, 2))
    assert {"phases", "taps"} <= dict(
        choose(call, weight, bias, operands, Never(), by()).milliseconds
    ).keys()
    for rate, tried in ((2, False), (12, True)):
        call, weight, bias, operands = case((1, 64, 24, 24), (3, 3), (rate, rate))
        chosen = choose(call, weight, bias, operands, Never(), by())
        assert ("taps" in dict(chosen.milliseconds)) is tried
        assert any(line.startswith("taps: 8") for line in chosen.why) is not tried
        assert any("phases: oneDNN runs" in line for line in chosen.why)


@needs_kernels
def test_taps_in_the_padding_take_nothing():
    call, weight, bias, operands = case((1, 64, 24, 24), (3, 3), (30, 30))
    taken = choose(call, weight, bias, operands, Never(), by("winograd 4"))
    assert taken.strategy == "winograd 4"
    assert taken.error <= 2 * taken.direct_error


def tap(*, adds, linear):
    """A layer of one tap, or a linear map, in which products can be saved."""
    torch.manual_seed(0)
    window = Window(1, 1, 1, 0, 0)
    weight = torch.randn(192, 256, *(() if linear else (1, 1))) / 16
    shape, made = ((3, 70, 256), (3, 70, 192)) if linear else ((2, 256, 9, 11), (2, 192, 9, 11))
    call = LayerCall(
        "linear" if linear else "conv",
        shape,
        tuple(weight.shape),
        True,
        () if linear else (window, window),
        activation=Activation("relu"),
        adds=adds,
        layout="channels_last",
    )
    operands = [torch.randn(shape), *([torch.randn(made)] if adds else [])]
    if not linear:
        operands = [one.contiguous(memory_format=torch.channels_last) for one in operands]
    return call, weight, torch.randn(192), tuple(operands)


@pytest.mark.parametrize("adds", [False, True])
def test_the_sample_of_a_linear_map_is_the_map_in_float64(adds):
    call, weight, bias, operands = tap(adds=adds, linear=True)
    rounded = Rounded(call, weight, bias, operands)
    whole = functional.linear(*(one.double() for one in (operands[0], weight, bias)))
    whole = torch.relu(whole + (operands[1] if adds else 0))
    assert rounded.error(whole) <= 1e-14
    assert rounded.error(whole + 1e-3 * float(whole.abs().max())) * (1 + 1e-9) >= 1e-3
    assert rounded.error(whole * math.nan) == math.inf


@needs_kernels
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("name", ["strassen 1", "strassen 2", "row kernel"])
def test_seven_products_for_eight_are_taken_where_they_round_off_little(linear, adds, name):
    call, weight, bias, operands = tap(adds=adds, linear=linear)
    taken = choose(call, weight, bias, operands, Never(), by(name))
    assert taken.strategy == name
    saves = name != "row kernel"
    assert (taken.error is not None) is saves
    assert not saves or 0 < taken.error <= ALLOWED * taken.direct_error
    plain = choose(call, weight, bias, operands, Never(), by(name), 0.0)
    assert plain.strategy.startswith("strassen") is False
    assert any(name == one for one, _ in plain.milliseconds) is not saves
