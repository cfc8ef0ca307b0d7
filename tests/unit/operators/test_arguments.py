"""What `conv` and `conv_transpose` refuse: one message for arrays and for tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import atrous
from atrous.errors import ArgumentError, ArgumentTypeError, AtrousError, GeometryError
from atrous.operators.arguments import convolution

X, WEIGHT = (2, 4, 8, 9), (6, 4, 3, 3)

# Shapes of x, weight and bias; options; the error; its message.
WRONG = [
    (X, (6, 3, 3, 3), None, {}, ArgumentError,
     ("conv: weight has shape (6, 3, 3, 3): in 1 group it reads 3 channels, and x has 4; give it "
     "shape (6, 4, 3, 3).")),
    (X, (6, 2, 3, 3), None, {}, ArgumentError,
     ("conv: weight has shape (6, 2, 3, 3): in 1 group it reads 2 channels, and x has 4; give it "
     "shape (6, 4, 3, 3) or pass groups=2.")),
    (X, WEIGHT, None, {"groups": 3}, ArgumentError,
     "conv: groups is 3: it must divide the 4 channels of x; use a divisor of 4."),
    (X, (6, 1, 3, 3), None, {"groups": 4}, ArgumentError,
     ("conv: groups is 4: it must divide the 6 channels of the result, weight having shape "
     "(6, 1, 3, 3); use a divisor of 6.")),
    (X, WEIGHT, None, {"groups": 0}, GeometryError,
     "conv: groups is 0: it must be a whole number of at least 1; pass groups=1."),
    (X, WEIGHT, None, {"groups": True}, GeometryError,
     "conv: groups is True: it must be a whole number of at least 1; pass groups=1."),
    (X, (0, 4, 3, 3), None, {}, ArgumentError,
     "conv: weight has shape (0, 4, 3, 3): the result would have no channels."),
    (X, (6, 4, 3, 0), None, {}, GeometryError,
     ("conv: weight has shape (6, 4, 3, 0): kernel is 0 along spatial axis 1, and a window needs "
     "at least 1 tap.")),
    (X, (6, 4), None, {}, ArgumentError,
     "conv: weight has shape (6, 4): it needs two axes of channels and then 1 to 3 of taps."),
    (X[1:], WEIGHT, None, {}, ArgumentError,
     ("conv: x has shape (4, 8, 9): for weight of shape (6, 4, 3, 3) it needs a batch, channels "
     "and 2 sizes; add the batch's axis with x[None].")),
    ((8,), WEIGHT, None, {}, ArgumentError,
     ("conv: x has shape (8,): for weight of shape (6, 4, 3, 3) it needs a batch, channels and "
     "2 sizes.")),
    (X, WEIGHT, (4,), {}, ArgumentError,
     "conv: bias has shape (4,): the result has 6 channels; give it shape (6,)."),
    (X, WEIGHT, (6, 1), {}, ArgumentError,
     "conv: bias has shape (6, 1): the result has 6 channels; give it shape (6,)."),
    (X, WEIGHT, None, {"stride": 0}, GeometryError,
     "conv: stride is 0: it must be a whole number of at least 1; pass stride=1."),
    (X, WEIGHT, None, {"stride": (1, -2)}, GeometryError,
     "conv: stride is (1, -2): it must be a whole number of at least 1; pass stride=1."),
    (X, WEIGHT, None, {"stride": (1, 1, 1)}, GeometryError,
     ("conv: stride is (1, 1, 1), of 3 entries: there must be one for each of 2 spatial axes, or "
     "one number for all.")),
    (X, WEIGHT, None, {"dilation": 1.5}, GeometryError,
     "conv: dilation is 1.5: it must be a whole number of at least 1; pass dilation=1."),
    (X, WEIGHT, None, {"dilation": (True, 1)}, GeometryError,
     "conv: dilation is (True, 1): it must be a whole number of at least 1; pass dilation=1."),
    (X, WEIGHT, None, {"dilation": "2"}, GeometryError,
     "conv: dilation is '2': it must be a whole number of at least 1; pass dilation=1."),
    (X, WEIGHT, None, {"dilation": 2**80}, GeometryError,
     (f"conv: dilation is {2**80}: it must be a whole number of at least 1 and at most 2**40; pass "
     "dilation=1.")),
    (X, WEIGHT, None, {"padding": "full"}, GeometryError,
     ("conv: padding is 'full': the rules known here are \"valid\", \"same\", "
     "\"same_upper\", \"same_lower\", \"causal\"; use one of them, a number, or a pair (lo, hi) "
     "for each axis.")),
    (X, WEIGHT, None, {"padding": None}, GeometryError,
     "conv: padding is None: it must be a whole number; pass padding=0."),
    (X, WEIGHT, None, {"padding": (1, 2, 3)}, GeometryError,
     ("conv: padding is (1, 2, 3), of 3 entries: there must be one for each of 2 spatial axes, a "
     "number or a pair (lo, hi).")),
    (X, WEIGHT, None, {"padding": [(1, 1), (1, 2, 3)]}, GeometryError,
     ("conv: padding is [(1, 1), (1, 2, 3)]: an entry is a number or a pair (lo, hi), got "
     "(1, 2, 3).")),
    (X, WEIGHT, None, {"padding": [(1, 1), (1, 0.5)]}, GeometryError,
     "conv: padding is [(1, 1), (1, 0.5)]: it must be a whole number; pass padding=0."),
    (X, WEIGHT, None, {"dilation": (1, 6)}, GeometryError,
     ("conv: along spatial axis 1 of x, a window of kernel 3, dilation 6 spans 13 inputs, got 9 "
     "with padding 0; pad by 4 or lower the dilation.")),
    (X, WEIGHT, None, {"padding": -3}, GeometryError,
     ("conv: along spatial axis 0 of x, a window of kernel 3 spans 3 inputs, got 8 with padding "
     "-3; pad by 1.")),
    ((2, 4, 0, 9), WEIGHT, None, {"padding": 1}, GeometryError,
     ("conv: along spatial axis 0 of x, a window of kernel 3 spans 3 inputs, got 0 with padding 1; "
     "pad by 1.")),
    (X, WEIGHT, None, {"padding": 2**36}, ArgumentError,
     (f"conv: the result would have shape (2, 6, {2**37 + 6}, {2**37 + 7}): that is more than "
     f"{2**47} bytes, all that a process can address; lower padding or split the batch.")),
]  # fmt: skip

WRONG_TRANSPOSED = [
    ((6, 4, 3, 3), {}, ArgumentError,
     ("conv_transpose: weight has shape (6, 4, 3, 3): of a transposed convolution it begins with "
     "the channels of x, which has 4; give it shape (4, 4, 3, 3).")),
    ((4, 6, 3, 3), {"padding": "full"}, GeometryError,
     ("conv_transpose: padding is 'full': the rules known here are \"valid\", \"same\", "
     "\"same_upper\", \"same_lower\", \"causal\"; use one of them, a number, or a pair (lo, hi) "
     "for each axis.")),
    ((4, 6, 3, 3), {"output_padding": (0, 1)}, GeometryError,
     ("conv_transpose: output_padding is (0, 1): along spatial axis 1 it must be below the stride "
     "1 or the dilation 1; lower it.")),
    ((4, 6, 3, 3), {"output_padding": -1}, GeometryError,
     ("conv_transpose: output_padding is -1: it must be a whole number of at least 0; pass "
     "output_padding=0.")),
    ((4, 6, 3, 3), {"padding": 5}, GeometryError,
     ("conv_transpose: along spatial axis 0 of x, a transposed window of kernel 3, stride 1, "
     "padding 5+5 makes 0 outputs of 8 inputs; lower the padding.")),
    ((4, 0, 3, 3), {}, ArgumentError,
     "conv_transpose: weight has shape (4, 0, 3, 3): the result would have no channels."),
    ((4, 6, 3, 3), {"stride": 2**40}, ArgumentError,
     (f"conv_transpose: the result would have shape (2, 6, {7 * 2**40 + 3}, {8 * 2**40 + 3}): that "
     f"is more than {2**47} bytes, all that a process can address; lower padding or split the "
     "batch.")),
]  # fmt: skip


def made(module: Any, shape: tuple[int, ...] | None, kind: str = "float32") -> Any:
    return None if shape is None else module.ones(shape, dtype=getattr(module, kind))


def assert_refused(function: Any, arrays: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        function(*arrays, **options)
    assert isinstance(caught.value, AtrousError)
    assert str(caught.value) == message


@pytest.mark.parametrize("module", [np, torch])
@pytest.mark.parametrize(("x", "weight", "bias", "options", "error", "message"), WRONG)
def test_conv_says_what_it_got_which_rule_that_breaks_and_the_fix(
    module: Any, x: Any, weight: Any, bias: Any, options: Any, error: Any, message: str
) -> None:
    arrays = [made(module, shape) for shape in (x, weight, bias)]
    assert_refused(atrous.conv, arrays, options, error, message)


@pytest.mark.parametrize("module", [np, torch])
@pytest.mark.parametrize(("weight", "options", "error", "message"), WRONG_TRANSPOSED)
def test_conv_transpose_says_so_too(
    module: Any, weight: Any, options: Any, error: Any, message: str
) -> None:
    arrays = [made(module, X), made(module, weight)]
    assert_refused(atrous.conv_transpose, arrays, options, error, message)


@pytest.mark.parametrize("module", [np, torch])
def test_elements_must_be_floating_point_numbers_of_one_kind(module: Any) -> None:
    for kind in ("int64", "uint8", "bool", "complex64"):
        arrays = made(module, X, kind), made(module, WEIGHT, kind)
        message = (
            f"conv: x holds {kind}: a convolution takes float16, bfloat16, float32, float64; "
            "convert x to float32."
        )
        assert_refused(atrous.conv, arrays, {}, ArgumentTypeError, message)
    arrays = made(module, X), made(module, WEIGHT, "float64")
    message = "conv: weight holds float64 and x float32: both need the same; convert one of them."
    assert_refused(atrous.conv, arrays, {}, ArgumentTypeError, message)
    arrays = made(module, X), made(module, WEIGHT), made(module, (6,), "float16")
    message = "conv: bias holds float16 and x float32: both need the same; convert one of them."
    assert_refused(atrous.conv, arrays, {}, ArgumentTypeError, message)


def test_arrays_of_two_libraries_are_not_mixed() -> None:
    message = (
        "conv: weight is a torch tensor and x a NumPy array: a convolution takes arrays of one "
        "library; convert one of them."
    )
    arrays = made(np, X), made(torch, WEIGHT)
    assert_refused(atrous.conv, arrays, {}, ArgumentTypeError, message)
    message = message.replace(
        "torch tensor and x a NumPy array", "NumPy array and x a torch tensor"
    )
    arrays = made(torch, X), made(np, WEIGHT)
    assert_refused(atrous.conv, arrays, {}, ArgumentTypeError, message)


def test_tensors_of_two_devices_are_not_mixed() -> None:
    message = "conv: weight is on meta and x on cpu: both need one device; move one of them."
    arrays = made(torch, X), torch.ones(WEIGHT, device="meta")
    assert_refused(atrous.conv, arrays, {}, ArgumentError, message)


def test_what_is_no_dense_array_is_refused() -> None:
    message = (
        "conv: x is [[[1.0, 2.0]]], a list: a convolution takes NumPy arrays or torch tensors; "
        "wrap it with numpy.asarray(x)."
    )
    assert_refused(atrous.conv, ([[[1.0, 2.0]]], made(np, (1, 1, 1))), {}, TypeError, message)
    message = (
        "conv: x is a masked array: a convolution would read what is masked; fill it with "
        "x.filled(0)."
    )
    masked = np.ma.masked_array(made(np, X), made(np, X, "bool"))
    assert_refused(atrous.conv, (masked, made(np, WEIGHT)), {}, TypeError, message)
    message = (
        "conv: x is a tensor of layout torch.sparse_coo: a convolution takes dense ones; use "
        "x.to_dense()."
    )
    arrays = made(torch, X).to_sparse(), made(torch, WEIGHT)
    assert_refused(atrous.conv, arrays, {}, TypeError, message)


def test_what_is_shown_stays_short() -> None:
    with pytest.raises(AtrousError) as caught:
        atrous.conv(made(np, X), made(np, WEIGHT), stride="x" * 10**6)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("module", [np, torch])
def test_a_truth_value_is_no_1_that_was_seen_before(module: Any) -> None:
    arrays = made(module, X), made(module, WEIGHT)
    plain = atrous.conv(*arrays)
    for name in ("stride", "dilation", "groups"):
        assert (atrous.conv(*arrays, **{name: 1}) == plain).all()
    assert (atrous.conv(*arrays, padding=1)[..., 1:-1, 1:-1] == plain).all()
    for name in ("stride", "dilation", "padding", "groups"):
        with pytest.raises(GeometryError, match=f"{name} is True"):
            atrous.conv(*arrays, **{name: True})
    assert (atrous.conv(*arrays, stride=(1, 1)) == plain).all()
    with pytest.raises(GeometryError, match=r"stride is \(1, True\)"):
        atrous.conv(*arrays, stride=(1, True))


def test_whole_numbers_of_any_library_are_options() -> None:
    expected = convolution(X, WEIGHT, stride=(2, 1), padding=((1, 2), (0, 0)))
    found = convolution(X, WEIGHT, stride=[np.int64(2), 1], padding=[(np.int8(1), 2), 0])
    assert found == expected
    assert type(found.windows[0].stride) is int


def test_each_axis_has_its_own_padding() -> None:
    assert convolution(X, WEIGHT, padding=1).padding == ((1, 1), (1, 1))
    assert convolution(X, WEIGHT, padding=(1, 2)).padding == ((1, 1), (2, 2))
    assert convolution(X, WEIGHT, padding=((1, 2), (3, 4))).padding == ((1, 2), (3, 4))
    assert convolution(X, WEIGHT, padding=(1, (3, 4))).padding == ((1, 1), (3, 4))
    assert convolution(X, WEIGHT, stride=2, padding="same").padding == ((1, 1), (1, 1))
    assert convolution(X, WEIGHT, stride=2, padding="same_upper").padding == ((0, 1), (1, 1))
    assert convolution(X, WEIGHT, stride=2, padding="same_lower").padding == ((1, 0), (1, 1))
    assert convolution(X, WEIGHT, stride=2, padding="causal").padding == ((1, 1), (1, 1))
