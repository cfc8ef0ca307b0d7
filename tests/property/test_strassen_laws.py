"""Seven products for eight against the definition in float64, on random layers."""

from __future__ import annotations

import random

import pytest
import torch

from atrous.operators.kernels import native, strassen
from atrous.operators.kernels.elementwise import ElementStep, ElementwiseRun
from atrous.operators.kernels.strassen import (
    RowProduct,
    multiplied_rows,
    multiplied_rows_behind,
    multiplies_rows_natively,
    packed_rows_size,
    products_spent,
)
from atrous.operators.kernels.torch_strassen import prepare_rows, prepare_rows_behind
from tests.strassen_fuzz import assert_agrees, assert_fed_agrees, drawn, drawn_pass

pytestmark = pytest.mark.skipif(not multiplies_rows_natively(), reason=native().reason)


def test_random_layers_agree_with_the_definition_on_any_threads():
    rng = random.Random(3)
    for draw in range(120):
        assert_agrees(drawn(rng), draw, has_bias=rng.random() < 0.5, adds=rng.random() < 0.4)


def test_each_level_takes_seven_products_for_eight():
    assert [products_spent(RowProduct(96, 256, 256, level)) for level in (0, 1, 2)] == [
        1.0,
        7 / 8,
        49 / 64,
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": -1},
        {"rows": 23},
        {"channels": 0},
        {"channels": 18},
        {"filters": 0},
        {"levels": -1},
        {"levels": 3},
        {"rows": 2**40, "channels": 2**40},
        {"filters": 2**61},
        {"channels": 2**60},
    ],
)
def test_what_is_out_of_range_is_refused(wrong):
    layer = RowProduct(**{"rows": 24, "channels": 16, "filters": 5, "levels": 2, **wrong})
    with pytest.raises(ValueError, match="out of range"):
        packed_rows_size(layer)
    with pytest.raises(ValueError, match="out of range"):
        multiplied_rows(layer, 0, 0, None, None, 0)


def test_what_is_larger_than_memory_is_refused_before_anything_is_written():
    layer = RowProduct(24, 2**44, 1, 2)
    with pytest.raises(MemoryError, match="no memory"):
        multiplied_rows(layer, 0, 0, None, None, 0)


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_outputs_depend_on_the_rows_of_their_unit_alone(levels):
    torch.manual_seed(0)
    unit = 6 << levels
    weight, x = torch.randn(40, 32), torch.randn(9 * unit + 5, 32)
    runs = {
        rows: prepare_rows(
            RowProduct(rows, 32, 40, levels), weight, None, (rows, 32), (rows, 40), axis=-1
        )
        for rows in (len(x), 2 * unit)
    }
    whole, some = runs[len(x)](x), runs[2 * unit](x[3 * unit : 5 * unit])
    assert torch.equal(whole[3 * unit : 5 * unit], some)
    x[4 * unit + 2] = torch.nan
    again = runs[len(x)](x)
    reached = ~(again == whole).all(1)
    assert bool(reached[4 * unit + 2])
    assert reached.nonzero().min() >= 4 * unit
    assert reached.nonzero().max() < 5 * unit


def test_tensors_of_any_layout_are_taken_and_other_shapes_refused():
    torch.manual_seed(0)
    weight, bias = torch.randn(20, 12, 1, 1), torch.randn(20)
    x, other = torch.randn(2, 12, 5, 7), torch.randn(2, 20, 5, 7)
    layer = RowProduct(70, 12, 20, 2, "relu")
    runs = prepare_rows(layer, weight, bias, tuple(x.shape), tuple(other.shape), axis=1)
    wanted = (torch.conv2d(x.double(), weight.double(), bias.double()) + other).relu()
    last = x.contiguous(memory_format=torch.channels_last)
    for one, two in ((x, other), (last, torch._neg_view(-other))):
        assert torch.allclose(runs(one, two).double(), wanted, atol=1e-5)
    for wrong in (x[:1], x.double()):
        with pytest.raises(ValueError, match="prepared for"):
            runs(wrong)


def test_rows_that_a_pass_makes_give_what_they_give_from_memory():
    rng = random.Random(4)
    for draw in range(120):
        layer = drawn(rng)
        assert_fed_agrees(layer, drawn_pass(rng, layer), draw)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lines": 23},
        {"images": 2},
        {"columns": 15},
        {"inputs": ((0, 16, 2),)},
        {"steps": (ElementStep(1),)},
        {"images": 0, "lines": 0},
    ],
)
def test_a_pass_that_does_not_make_the_rows_is_refused(wrong):
    layer = RowProduct(24, 16, 5)
    before = {"images": 1, "lines": 24, "columns": 16, "inputs": ((0, 16, 1),)}
    run = ElementwiseRun(**{**before, "steps": (ElementStep(0, function="relu"),), **wrong})
    with pytest.raises(ValueError, match="out of range"):
        multiplied_rows_behind(layer, run, [0], 0, None, None, 0)


_NORM = (ElementStep(0, 1, "times", out=3), ElementStep(3, 2, "plus", "relu"))


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_a_norm_before_the_product_is_taken_of_tensors_of_any_layout(levels):
    torch.manual_seed(0)
    weight, bias, other = torch.randn(20, 12, 1, 1), torch.randn(20), torch.randn(3, 20, 5, 7)
    scale, shift = torch.randn(3, 12, 1, 1), torch.randn(12, 1, 1)
    whole = torch.randn(3, 40, 5, 7)
    layer = RowProduct(105, 12, 20, levels, "relu")
    shapes = (3, 12, 5, 7), (3, 20, 5, 7)
    given = (3, 12, 5, 7), scale.shape, shift.shape
    runs = prepare_rows_behind(layer, weight, bias, *shapes, given, _NORM, 1, axis=1)
    last = whole.contiguous(memory_format=torch.channels_last)
    for one in (
        whole,
        last,
        whole.transpose(2, 3).contiguous().transpose(2, 3),
        torch._neg_view(-whole),
    ):
        x = one[:, 7:19]
        normed = (x.double() * scale + shift).relu()
        wanted = (torch.conv2d(normed, weight.double(), bias.double()) + other).relu()
        for _ in range(2):
            assert torch.allclose(runs((x, scale, shift), other).double(), wanted, atol=1e-5)
        assert torch.equal(runs((x, scale, shift), other), runs((x, scale, shift), other))
    x = whole[:, :12]
    for wrong in (x.double(), x.to("meta")):
        with pytest.raises(ValueError, match="float32 on the CPU"):
            runs((wrong, scale, shift))
    for wrong in ((x[:1], scale, shift), (x, scale), (x, scale, shift, shift)):
        with pytest.raises(ValueError, match="prepared for"):
            runs(wrong)
    for sum_of in (other[:1], other.to("meta"), other.double()):
        with pytest.raises(ValueError, match="prepared for"):
            runs((x, scale, shift), sum_of)


def test_a_linear_map_makes_its_rows_too():
    torch.manual_seed(0)
    weight, x, gate = torch.randn(9, 8), torch.randn(4, 6, 8), torch.randn(4, 6, 1)
    layer, steps = RowProduct(24, 8, 9), (ElementStep(0, 1, "times"),)
    shapes = (4, 6, 8), (4, 6, 9), ((4, 6, 8), (4, 6, 1))
    runs = prepare_rows_behind(layer, weight, None, *shapes, steps, 0, axis=-1)
    wanted = (x * gate).double() @ weight.double().t()
    assert torch.allclose(runs((x, gate)).double(), wanted, atol=1e-6)


def test_no_memory_for_the_rows_that_a_pass_makes_is_said():
    layer = RowProduct(24, 2**44, 1, 2)
    run = ElementwiseRun(1, 24, 2**44, ((0, 0, 0),), (ElementStep(0),))
    with pytest.raises(MemoryError, match="no memory"):
        multiplied_rows_behind(layer, run, [0], 0, None, None, 0)


def test_a_library_of_another_version_is_left_aside(monkeypatch):
    class Older:
        def atrous_strassen_version(self):
            return 3

    monkeypatch.setattr("atrous.operators.kernels.strassen.library", Older)
    assert strassen._row_calls.__wrapped__() is None
