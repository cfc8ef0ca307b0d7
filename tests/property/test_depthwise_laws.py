"""The native depthwise kernels against sums over taps, for every instruction set that runs here."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from atrous.operators.kernels import native
from atrous.operators.kernels.layer import Depthwise, forward, output_size
from atrous.operators.kernels.library import library
from atrous.operators.kernels.torch_depthwise import depthwise
from tests.depthwise_fuzz import (
    Case,
    assert_agrees,
    assert_small_agrees,
    drawn,
    expected,
    inputs,
    results,
    summed,
)
from tests.processes import run_python

needs_kernels = pytest.mark.skipif(not native().available, reason=native().reason)


def cases(count, seed, **changes):
    rng = random.Random(seed)
    return [replace(case, **changes) for case in (drawn(rng, n) for n in range(count))]


@pytest.fixture(params=native().isas or ("none",))
def instruction_set(request):
    library().atrous_use_instruction_set(request.param.encode())
    yield request.param
    library().atrous_use_instruction_set(native().isa.encode())


@pytest.fixture(scope="module", params=range(4))
def layers(request):
    """Random layers with their sums over taps, which every instruction set is held to."""
    return [(case, summed(case)) for case in cases(60, request.param)]


@pytest.mark.skipif(
    not (shutil.which("c++") and shutil.which("cmake")), reason="needs a compiler and CMake"
)
@pytest.mark.skipif(native().reason == "ATROUS_ISA=off", reason="ATROUS_ISA=off")
def test_the_kernels_are_there_where_they_can_be_built():
    assert native().available, native().reason


@needs_kernels
def test_random_layers_agree_with_the_sums_over_taps(instruction_set, layers):
    for case, sums in layers:
        assert_agrees(case, sums)


@needs_kernels
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("rate", [1, 2, 7, 31, 40, 64])
def test_rates_up_to_beyond_the_map_agree(instruction_set, rate, last):
    layer = Depthwise(
        2, 40, (37, 65), (37, 65), (3, 5), (1, 1), (rate, rate), (rate, 2 * rate),
        channels_last=last, threads=2,
    )  # fmt: skip
    assert_agrees(Case(layer, ((rate, rate), (2 * rate, 2 * rate)), True, 0))


@needs_kernels
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("length", [60_001, 65_539])
def test_rows_longer_than_the_scratch_memory_agree(instruction_set, length, stride, last):
    outputs = (length + 4 - 4 - 1) // stride + 1
    layer = Depthwise(
        1, 3, (length,), (outputs,), (3,), (stride,), (2,), (2,), channels_last=last, threads=2
    )
    assert_agrees(Case(layer, ((2, 2),), True, 0))


@needs_kernels
def test_maps_larger_than_the_scratch_memory_agree(instruction_set):
    for sizes, stride in (((150, 210), 2), ((20, 70, 90), 2), ((150, 210), 1)):
        axes = len(sizes)
        outputs = tuple((n + 4 - 4 - 1) // stride + 1 for n in sizes)
        layer = Depthwise(
            1, 2, sizes, outputs, (3,) * axes, (stride,) * axes, (2,) * axes, (2,) * axes
        )
        assert_agrees(Case(layer, ((2, 2),) * axes, False, 1))


@needs_kernels
@pytest.mark.parametrize("last", [False, True])
def test_kernels_of_all_sizes_agree_where_most_taps_meet_the_padding(instruction_set, last):
    sizes = [((9, 40), (21, 13)), ((11, 11), (17, 6)), ((14, 14), (7, 7)), ((5, 6, 7), (3, 5, 9))]
    for channels, (map_sizes, kernel) in zip((18, 33, 3, 20), sizes, strict=True):
        for rate in (1, 2):
            reach = [(k - 1) * rate for k in kernel]
            pads = tuple((both // 2, both - both // 2) for both in reach)
            ones, lows = (1,) * len(kernel), tuple(lo for lo, _ in pads)
            layer = Depthwise(
                2, channels, map_sizes, map_sizes, kernel, ones, (rate,) * len(kernel), lows,
                channels_last=last, threads=2,
            )  # fmt: skip
            assert_agrees(Case(layer, pads, True, rate))


@needs_kernels
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("taps", [2, 3, 4, 5, 6, 7, 8, 9, 12, 15])
def test_rows_of_every_number_of_taps_agree_whether_in_pairs_or_alone(instruction_set, taps, last):
    for draw, (channels, high, rates, sizes) in enumerate((
        (16, 2, (1, 1), (1, 6, 19)), (19, 3, (2, 1), (1, 9, 23)), (40, 5, (3, 4), (1, 14, 33)),
        (33, taps, (1, 2), (1, 15, 31)), (24, 3, (1, 1), (4, 5, 17)),
        (16, taps, (2, 3), (1, 8, 14)),
    )):  # fmt: skip
        kernel, dilation = (1 + sizes[0] // 2, high, taps), (1, *rates)
        reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        # More on one side than on the other, and by two beyond what the map keeps its size with.
        pads = tuple(((both + 2) // 2, both - both // 2 + draw % 2) for both in reach)
        layer = Depthwise(
            1, channels, sizes, output_size(sizes, kernel, (1, 1, 1), dilation, pads), kernel,
            (1, 1, 1), dilation, tuple(lo for lo, _ in pads), channels_last=last, threads=2,
            activation=("none", "relu", "hardswish")[draw % 3], wide=draw == 4,
        )  # fmt: skip
        assert_agrees(Case(layer, pads, draw % 2 == 0, draw))


@needs_kernels
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_layers_of_16_bits_sum_in_32_and_round_once(instruction_set, kind):
    for case in cases(25, 21):
        assert_small_agrees(case, kind)


@needs_kernels
@pytest.mark.parametrize("last", [False, True])
def test_all_values_of_16_bits_survive_and_ties_go_to_even(instruction_set, last):
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        x = every.view(dtype).reshape(2, 32, 32, 32)
        one = torch.ones(32, 1, 1, 1, dtype=dtype)
        form = torch.channels_last if last else torch.contiguous_format
        x = x.contiguous(memory_format=form)
        same = depthwise(x, one, None, (1, 1), (1, 1), ((0, 0), (0, 0)))
        assert torch.equal(same.isnan(), x.isnan())
        assert torch.equal(same.nan_to_num(7.0), x.nan_to_num(7.0))
        most = torch.finfo(dtype).max
        two = depthwise(x, 1.5 * one, None, (1, 1), (1, 1), ((0, 0), (0, 0)))
        want = (1.5 * x.float()).to(dtype)
        assert torch.equal(two.nan_to_num(7.0, most, -most), want.nan_to_num(7.0, most, -most))


@needs_kernels
def test_results_do_not_depend_on_the_threads(instruction_set):
    for case in cases(30, 11):
        values = inputs(case)
        one = results(replace(case, layer=replace(case.layer, threads=1)), *values)
        for threads in (2, 3, 7):
            many = results(replace(case, layer=replace(case.layer, threads=threads)), *values)
            for a, b in zip(one, many, strict=True):
                np.testing.assert_array_equal(a, b)


@needs_kernels
def test_one_bad_input_reaches_only_the_outputs_that_read_it(instruction_set):
    rng = random.Random(5)
    for number in range(25):
        case = drawn(rng, number)
        case = replace(case, layer=replace(case.layer, activation="none"))
        x, weight, bias, grad = inputs(case)
        at = tuple(rng.randrange(n) for n in x.shape)
        x[at] = np.nan
        want = expected(case, x, np.ones_like(weight), bias, grad)[0]
        got = results(case, x, np.ones_like(weight), bias, grad)[0]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))


@needs_kernels
def test_a_wrong_kernel_is_noticed():
    case = cases(1, 3)[0]
    wrong = replace(case, layer=replace(case.layer, pad=tuple(p + 1 for p in case.layer.pad)))
    values = inputs(case)
    before = expected(case, *values)[0]
    got = results(replace(wrong, layer=replace(wrong.layer, activation="none")), *values)[0]
    assert abs(got - before).max() > 1e-3


@needs_kernels
@pytest.mark.parametrize(
    "change",
    [
        {"batch": -1},
        {"channels": -4},
        {"input": (-1, 8)},
        {"kernel": (0, 3)},
        {"stride": (0, 1)},
        {"dilation": (1, -2)},
        {"dilation": (1 << 61, 1)},
        {"batch": 1 << 40, "channels": 1 << 40},
        {"pad": (1 << 62, 0)},
    ],
)
def test_what_no_layer_can_have_is_refused_before_any_memory_is_touched(change):
    layer = Depthwise(1, 4, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    with pytest.raises(ValueError, match="the depthwise kernel refused"):
        forward(replace(layer, **change), 0, 0, None, 0)


@needs_kernels
@pytest.mark.parametrize("change", [{"batch": 0}, {"channels": 0}, {"output": (0, 8)}])
def test_empty_maps_are_no_work(change):
    layer = Depthwise(1, 4, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    x, weight, out = (np.full(256, 7, np.float32) for _ in range(3))
    where = (one.ctypes.data for one in (x, weight))
    forward(replace(layer, **change), *where, None, out.ctypes.data)
    assert (out == 7).all()
    # Nor is anything read: no address is good enough.
    forward(replace(layer, **change), 0, 0, None, 0)


def said(environment):
    script = "from atrous.operators.kernels import native; print(native())"
    result = run_python(script, variables=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_environment_switches_the_kernels_off():
    assert said({"ATROUS_ISA": "off"}) == "no native kernels: ATROUS_ISA=off\n"


@needs_kernels
def test_the_environment_chooses_the_instruction_set():
    least = native().isas[0]
    assert said({"ATROUS_ISA": least}).startswith(f"native kernels, {least} (of")
    assert "is none of those that run here" in said({"ATROUS_ISA": "sse9"})


def test_a_library_that_does_not_load_is_told(tmp_path):
    broken = tmp_path / "libatrous_kernels.so"
    broken.write_bytes(b"not a library")
    assert "does not load" in said({"ATROUS_LIBRARY": str(broken)})
