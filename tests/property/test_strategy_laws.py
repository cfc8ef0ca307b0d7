"""Each strategy against the reference in float64, its refusals, its gradients; runs of phases."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atrous.errors import ArgumentError, UnknownNameError
from atrous.geometry import Window, phased
from atrous.operators import reference
from atrous.operators.convolution import Convolution
from atrous.operators.strategies import (
    STRATEGIES,
    PhaseRun,
    from_phases,
    is_channels_last,
    strategy,
    to_phases,
)
from atrous.refusal import Refusal
from tests.oracles import drawing
from tests.property.drawn import windows
from tests.property.drawn_convolutions import Drawn, convolutions

NAMES = sorted(STRATEGIES)


def tensors(drawn: Drawn) -> list[Any]:
    return [None if array is None else torch.from_numpy(array) for array in drawn.arrays()]


def single_taps(drawn: Drawn) -> Drawn:
    """The same convolution with one tap and no padding, as `slices` takes it."""
    taken = [
        replace(w, kernel=1, pad_lo=-(size // 4), pad_hi=-(size // 3))
        for w, size in zip(drawn.call.windows, drawn.call.sizes, strict=True)
    ]
    return replace(drawn, call=replace(drawn.call, windows=tuple(taken)))


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_computes_the_reference_or_says_why_not(name: str) -> None:
    @drawing(100)
    @given(convolutions())
    def holds(drawn: Drawn) -> None:
        if name == "slices":
            drawn = single_taps(drawn)
        answer = STRATEGIES[name].applies(drawn.call)
        if answer is not True:
            assert isinstance(answer, Refusal)
            assert not answer
            assert answer.rule == name
            assert ";" in str(answer)
        # What does not apply for want of a gain is exact nevertheless.
        x, weight, bias = tensors(drawn)
        y = STRATEGIES[name].run(x, weight, bias, drawn.call)
        expected = reference.conv(*drawn.arrays(), **drawn.options)
        assert np.array_equal(y.numpy(), expected)
        assert y.dtype == torch.float64

    holds()


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_runs_at_other_sizes_than_those_of_the_record(name: str) -> None:
    call = Convolution(1, 2, 2, (9,), (Window(1 if name == "slices" else 3, 2, 2),))
    x = torch.arange(88.0, dtype=torch.float64).reshape(2, 2, 22)
    weight = torch.ones(2, 2, *call.kernel, dtype=torch.float64)
    expected = reference.conv(x, weight, stride=(2,), dilation=(2,), padding=call.padding)
    assert np.array_equal(STRATEGIES[name].run(x, weight, None, call).numpy(), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_has_the_gradients_of_what_it_computes(name: str) -> None:
    @drawing(10)
    @given(convolutions(channels=2))
    def holds(drawn: Drawn) -> None:
        if name == "slices":
            drawn = single_taps(drawn)
        given_arrays = drawn.arrays()
        x, weight, bias = (
            None if array is None else torch.from_numpy(array).requires_grad_(True)
            for array in given_arrays
        )
        y = STRATEGIES[name].run(x, weight, bias, drawn.call)
        gradient = torch.from_numpy(np.random.default_rng(0).integers(-3, 4, y.shape) * 1.0)
        dx, dweight = torch.autograd.grad(y, (x, weight), gradient, materialize_grads=True)
        expected = reference.conv_data_gradient(
            gradient, given_arrays[1], drawn.call.sizes, **drawn.options
        )
        assert np.array_equal(dx.numpy(), expected)
        expected = reference.conv_weight_gradient(
            given_arrays[0], gradient, drawn.call.kernel, **drawn.options
        )
        assert np.array_equal(dweight.numpy(), expected)

    holds()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_strategy_passes_gradcheck_twice(name: str, groups: int) -> None:
    kernel, pads = ((1, 1), (0, -1)) if name == "slices" else ((2, 3), (3, 1))
    windows_of = (Window(kernel[0], 1, 2, *pads), Window(kernel[1], 2, 3, *pads[::-1]))
    call = Convolution(1, 2, 2, (4, 5), windows_of, groups)
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 2, 4, 5), (2, 2 // groups, *kernel), (2,)
    inputs = [
        torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)
        for shape in shapes
    ]
    run = STRATEGIES[name].run
    assert torch.autograd.gradcheck(lambda *given: run(*given, call), inputs)
    assert torch.autograd.gradgradcheck(lambda *given: run(*given, call), inputs, fast_mode=True)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"channels_last"}))
def test_a_strategy_keeps_the_channels_last(name: str) -> None:
    kernel = 1 if name == "slices" else 3
    for rank in (1, 2, 3):
        call = Convolution(2, 3, 4, (6,) * rank, (Window(kernel, 1, 2),) * rank)
        x = torch.ones(2, *call.sizes, 3).movedim(-1, 1)
        y = STRATEGIES[name].run(x, torch.ones(4, 3, *call.kernel), None, call)
        # `phases` crops its result, so that it may be a part of such a map.
        assert is_channels_last(y) or y.stride(1) == 1


def test_taps_in_the_padding_alone_are_skipped() -> None:
    call = Convolution(1, 1, 1, (4,), (Window(3, 1, 9, 9, 9),))
    x = torch.arange(4.0).reshape(1, 1, 4)
    weight = torch.tensor([[[float("nan"), 2.0, float("inf")]]])
    assert STRATEGIES["taps"].run(x, weight, None, call).tolist() == [[[0.0, 2.0, 4.0, 6.0]]]


def test_a_map_that_is_cropped_away_has_gradients_of_zero() -> None:
    call = Convolution(1, 1, 1, (2,), (Window(2, 1, 1, -2, 3),))
    x = torch.tensor([[[float("nan"), 1.0]]], requires_grad=True)
    weight = torch.tensor([[[1.0, float("inf")]]], requires_grad=True)
    y = STRATEGIES["taps"].run(x, weight, torch.ones(1), call)
    assert y.tolist() == [[[1.0, 1.0]]]
    y.sum().backward()
    assert x.grad.tolist() == weight.grad.tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize(
    ("name", "call", "reason"),
    [
        ("phases", Convolution(1, 1, 1, (9,), (Window(3),)), "leaves one phase"),
        ("phases", Convolution(1, 1, 1, (9,), (Window(1, dilation=4),)), "leaves one phase"),
        ("slices", Convolution(1, 1, 1, (9,), (Window(3),)), "more than one tap"),
        ("slices", Convolution(1, 1, 1, (9,), (Window(1, 2, 1, 1),)), "is read by outputs"),
        *(
            (name, Convolution(1, 1, 1, (9,), (Window(3 - 2 * (name == "slices"), 1, 2),), 1, True),
             "transposed")
            for name in ("channels_last", "framework", "taps")
        ),
    ],
)  # fmt: skip
def test_a_layer_that_does_not_fit_is_refused_with_the_reason(
    name: str, call: Convolution, reason: str
) -> None:
    answer = STRATEGIES[name].applies(call)
    assert not answer
    assert reason in str(answer)


def test_strategies_are_found_by_name_and_registered_once() -> None:
    assert NAMES == ["channels_last", "framework", "phases", "slices", "taps"]
    with pytest.raises(UnknownNameError, match="no strategy is named 'winograd'; known: "):
        STRATEGIES["winograd"]
    with pytest.raises(ArgumentError, match="'taps' is registered already"):
        strategy("taps")(type(STRATEGIES["taps"]))


@drawing(200)
@given(windows(), st.integers(1, 30))
def test_a_window_is_an_undilated_one_on_each_phase(window: Window, outputs: int) -> None:
    split = phased(window)
    undilated = Window(split.kernel, split.step)
    for output in range(outputs):
        turn, phase = divmod(output, split.rate)
        read = [split.start(phase) + split.rate * place for place in undilated.taps(turn)]
        positions = [place * split.common for place in read]
        assert positions == [p + window.pad_lo for p in window.taps(output)]
        assert positions[-1] < split.reach(outputs)
        assert undilated.taps(turn)[-1] < split.length(outputs)


@drawing(60)
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), min_size=1, max_size=3), st.data())
def test_phases_are_every_so_manieth_position(
    axes: list[tuple[int, int]], data: st.DataObject
) -> None:
    sizes, rates = [size for size, _ in axes], [rate for _, rate in axes]
    last = data.draw(st.booleans())
    x = torch.arange(1.0, 1 + 6 * np.prod(sizes)).reshape(2, 3, *sizes)
    given_x = x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x
    maps = to_phases(given_x, rates)
    for n in range(2):
        for place, phase in enumerate(product(*map(range, rates))):
            want = x[
                (n, slice(None), *(slice(v, None, r) for v, r in zip(phase, rates, strict=True)))
            ]
            got = maps[n * int(np.prod(rates)) + place]
            inside = got[(..., *map(slice, want.shape[1:]))]
            assert torch.equal(inside, want)
            assert got.sum() == want.sum()
    assert torch.equal(from_phases(maps, rates, sizes), x)


@pytest.mark.parametrize("gradients", [False, True])
def test_a_run_in_phases_is_its_layers_one_by_one(gradients: bool) -> None:
    @drawing(60)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        rank = data.draw(st.integers(1, 2))
        rates = [data.draw(st.integers(1, 4)) for _ in range(rank)]
        sizes = tuple(data.draw(st.integers(4, 11)) for _ in range(rank))
        generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))

        def drawn_tensor(*shape: int) -> torch.Tensor:
            values = torch.randint(-2, 3, shape, generator=generator).double()
            return values.requires_grad_(gradients)

        x = drawn_tensor(2, 2, *sizes)
        run, expected, parameters = PhaseRun.of(x, rates), x, [x]
        for _ in range(data.draw(st.integers(1, 3))):
            made = []
            for rate, size in zip(rates, run.sizes, strict=True):
                kernel = data.draw(st.integers(1, 3))
                lo, hi = data.draw(st.integers(-2, 9)), data.draw(st.integers(-2, 9))
                window = Window(kernel, 1, rate, lo, hi)
                hi += max(window.extent - size - lo - hi, 0)
                made.append(Window(kernel, 1, rate, lo, hi))
            groups = data.draw(st.sampled_from([1, 2]))
            call = Convolution(2, 2, 2, run.sizes, tuple(made), groups)
            weight, bias = drawn_tensor(2, 2 // groups, *call.kernel), drawn_tensor(2)
            assert run.fits(call) is True
            run = run.conv(weight, bias, call).pointwise(lambda maps: torch.relu(maps + 1))
            expected = STRATEGIES["taps"].run(expected, weight, bias, call)
            expected = torch.relu(expected + 1)
            parameters += [weight, bias]
        run, expected = run.join(run, torch.add), expected + expected
        assert run.map().shape == expected.shape
        assert torch.equal(run.map(), expected)
        if gradients:
            found, wanted = (
                torch.autograd.grad((y * y).sum(), parameters, materialize_grads=True)
                for y in (run.map(), expected)
            )
            assert all(map(torch.equal, found, wanted))

    holds()


def test_a_layer_of_another_rate_or_stride_ends_a_run() -> None:
    run = PhaseRun.of(torch.zeros(1, 1, 8), [2])
    other = run.fits(Convolution(1, 1, 1, (8,), (Window(3, 1, 3),)))
    strided = run.fits(Convolution(1, 1, 1, (8,), (Window(3, 2, 2),)))
    assert not other
    assert "dilation (3,) is not the run's (2,)" in str(other)
    assert not strided
    assert "stride (2,) leaves the phases" in str(strided)
    # A single tap has no rate.
    assert run.fits(Convolution(1, 1, 1, (8,), (Window(1, 1, 5),))) is True
