"""`conv` and `conv_transpose` against the reference, and the reference against PyTorch."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import atrous
from atrous.geometry import Window
from atrous.operators import reference
from atrous.operators.convolution import Convolution
from tests.oracles import drawing
from tests.property.drawn_convolutions import Drawn, channels_last, convolutions

HALVES = {"float16": (np.float16, torch.float16), "bfloat16": (ml_dtypes.bfloat16, torch.bfloat16)}
TORCH = {
    False: [torch.conv1d, torch.conv2d, torch.conv3d],
    True: [torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d],
}


def expected_of(drawn: Drawn) -> Any:
    function = reference.conv_transpose if drawn.call.transposed else reference.conv
    return function(*drawn.arrays(), **drawn.options)


def computed(drawn: Drawn, *arrays: Any) -> Any:
    function = atrous.conv_transpose if drawn.call.transposed else atrous.conv
    return function(*arrays, **drawn.options)


def in_layout(x: Any, last: bool) -> bool:
    """Whether an array or tensor is contiguous, or would be with the channels last."""
    if isinstance(x, torch.Tensor):
        return (x.movedim(1, -1) if last else x).is_contiguous()
    return (np.moveaxis(x, 1, -1) if last else x).flags.c_contiguous


def torch_padded(x: torch.Tensor, call: Convolution) -> torch.Tensor:
    """By hand, because positions are enumerated: `x` with zeros around and crops."""
    for axis, window in enumerate(call.windows):
        places = range(-window.pad_lo, x.shape[2 + axis] + window.pad_hi)
        zero = 0 * x.narrow(2 + axis, 0, 1)
        parts = [x.narrow(2 + axis, p, 1) if 0 <= p < x.shape[2 + axis] else zero for p in places]
        x = torch.cat(parts, 2 + axis)
    return x


@drawing(60)
@given(convolutions())
def test_the_reference_is_torch_with_explicit_padding(drawn: Drawn) -> None:
    call = drawn.call
    x, weight, bias = (
        None if array is None else torch.tensor(array, requires_grad=True)
        for array in drawn.arrays()
    )
    y = TORCH[False][call.rank - 1](
        torch_padded(x, call), weight, bias, call.stride, 0, call.dilation, call.groups
    )
    assert np.array_equal(expected_of(drawn), y.detach().numpy())
    gradient = torch.from_numpy(np.random.default_rng(0).integers(-3, 4, y.shape) * 1.0)
    dx, dweight = torch.autograd.grad(y, (x, weight), gradient)
    found = reference.conv_data_gradient(gradient, weight.detach(), call.sizes, **drawn.options)
    assert np.array_equal(found, dx.numpy())
    found = reference.conv_weight_gradient(x.detach(), gradient, call.kernel, **drawn.options)
    assert np.array_equal(found, dweight.numpy())


@drawing(60)
@given(convolutions(transposed=True))
def test_the_transposed_reference_is_torch_cropped(drawn: Drawn) -> None:
    call = drawn.call
    x, weight, bias = (
        None if array is None else torch.tensor(array, requires_grad=True)
        for array in drawn.arrays()
    )
    # Everything that any input reaches, then cut or grown by hand.
    whole = TORCH[True][call.rank - 1](
        x, weight, None, call.stride, 0, call.output_padding, call.groups, call.dilation
    )
    grown = Convolution(
        1, 1, 1, tuple(whole.shape[2:]), tuple(Window(1, 1, 1, -lo, -hi) for lo, hi in call.padding)
    )
    y = torch_padded(whole, grown)
    if bias is not None:
        y = y + bias.reshape(-1, *[1] * call.rank)
    assert np.array_equal(expected_of(drawn), y.detach().numpy())
    gradient = torch.from_numpy(np.random.default_rng(0).integers(-3, 4, y.shape) * 1.0)
    dx, dweight = torch.autograd.grad(y, (x, weight), gradient)
    options = {key: value for key, value in drawn.options.items() if key != "output_padding"}
    found = reference.conv_transpose_data_gradient(gradient, weight.detach(), call.sizes, **options)
    assert np.array_equal(found, dx.numpy())
    found = reference.conv_transpose_weight_gradient(x.detach(), gradient, call.kernel, **options)
    assert np.array_equal(found, dweight.numpy())


@pytest.mark.parametrize("name", sorted(reference.ACTIVATIONS))
def test_the_reference_activations_are_those_of_torch(name: str) -> None:
    functions = torch.nn.functional
    x = torch.linspace(-7, 7, 57, dtype=torch.float64)
    expected = x if name == "none" else getattr(functions, name)(x)
    found = reference.ACTIVATIONS[name](x.numpy())
    assert np.allclose(found, expected.numpy(), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("transposed", [False, True])
def test_arrays_and_tensors_are_convolved_as_the_reference_says(transposed: bool) -> None:
    @drawing(80)
    @given(convolutions(transposed), st.sampled_from(["float32", "float64"]))
    def holds(drawn: Drawn, kind: str) -> None:
        x, weight, bias = (
            None if array is None else array.astype(kind, order="K") for array in drawn.arrays()
        )
        expected = expected_of(drawn)
        y = computed(drawn, x, weight, bias)
        assert y.dtype == kind
        assert np.array_equal(y, expected)
        assert in_layout(y, in_layout(x, True) and not in_layout(x, False))
        tensors = [
            None if array is None else torch.from_numpy(array) for array in (x, weight, bias)
        ]
        y = computed(drawn, *tensors)
        assert y.dtype == tensors[0].dtype
        assert np.array_equal(y.numpy(), expected)
        assert in_layout(y, in_layout(x, True) and not in_layout(x, False))

    holds()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", sorted(HALVES))
def test_16_bit_elements_are_summed_in_32_bits_and_rounded_once(
    kind: str, transposed: bool
) -> None:
    of_numpy, of_torch = HALVES[kind]

    @drawing(25)
    @given(convolutions(transposed, channels=12))
    def holds(drawn: Drawn) -> None:
        # Small whole numbers: the sums are exact in 32 bits, and in 16 they are not.
        arrays = [None if a is None else (16 * a).astype(of_numpy) for a in drawn.arrays()]
        function = reference.conv_transpose if transposed else reference.conv
        exact = function(
            *(None if a is None else a.astype(np.float64) for a in arrays), **drawn.options
        )
        expected = exact.astype(of_numpy)
        y = computed(drawn, *arrays)
        assert y.dtype == of_numpy
        assert np.array_equal(y, expected)
        tensors = [
            None if a is None else torch.from_numpy(a.astype(np.float32)).to(of_torch)
            for a in arrays
        ]
        y = computed(drawn, *tensors)
        assert y.dtype == of_torch
        assert np.array_equal(y.float().numpy(), expected.astype(np.float32))

    holds()


@drawing(25)
@given(convolutions(), st.integers(1, 3))
def test_views_of_any_strides_are_convolved(drawn: Drawn, step: int) -> None:
    x, weight, bias = drawn.arrays()
    wide = np.zeros((*x.shape[:-1], x.shape[-1] * step))
    wide[..., ::step] = x
    view, turned = wide[..., ::step], weight[::-1].copy()[::-1]
    expected = expected_of(drawn)
    assert np.array_equal(computed(drawn, view, turned, bias), expected)
    tensor = torch.from_numpy(wide)[..., ::step]
    across = torch.from_numpy(weight).transpose(0, -1).contiguous().transpose(0, -1)
    given_bias = None if bias is None else torch.from_numpy(bias)
    assert np.array_equal(computed(drawn, tensor, across, given_bias).numpy(), expected)


@drawing(60)
@given(
    st.sampled_from(["same", "valid", "causal"]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(16, 24),
)
def test_named_padding_is_the_geometry_of_that_name(
    rule: str, kernel: int, stride: int, dilation: int, size: int
) -> None:
    x = np.arange(1.0, size + 1).reshape(1, 1, size)
    weight = 10.0 ** np.arange(kernel).reshape(1, 1, kernel)
    y = atrous.conv(x, weight, stride=stride, dilation=dilation, padding=rule)
    if rule == "same":
        assert y.shape[2] == -(-size // stride)
    if rule == "causal":
        assert y.shape[2] == -(-size // stride)
        # The last tap of output `o` reads the last input of block `o`, which may be incomplete.
        last = np.append(x[0, 0], [0.0] * (stride - 1))[stride - 1 :: stride]
        only = np.zeros((1, 1, kernel))
        only[0, 0, -1] = 1
        found = atrous.conv(x, only, stride=stride, dilation=dilation, padding="causal")
        assert np.array_equal(found[0, 0], last)
    if rule != "causal" and stride == 1:
        tensors = torch.from_numpy(x), torch.from_numpy(weight)
        theirs = torch.conv1d(*tensors, dilation=dilation, padding=rule)
        assert np.array_equal(y, theirs.numpy())


@drawing(60)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 24))
def test_same_means_one_thing_in_stacks_and_in_arrays(
    kernel: int, stride: int, dilation: int, size: int
) -> None:
    network = atrous.read(f"stack:k{kernel}s{stride}d{dilation}", (1, 1, size))
    weight = np.ones((1, 1, kernel))
    reads = atrous.conv(
        np.eye(size)[:, None], weight, stride=stride, dilation=dilation, padding="same"
    )
    (node,) = network.nodes
    assert reads.shape[2] == node.output.grid["t"]
    step = node.moves[0].get("t")
    for output in range(reads.shape[2]):
        says = [output] if step is None else list(step.at(output))
        assert np.flatnonzero(reads[:, 0, output]).tolist() == says


@drawing(60)
@given(
    st.sampled_from(["same", "same_upper", "same_lower"]),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 7),
)
def test_a_transposed_convolution_named_same_turns_the_strided_one_round(
    rule: str, kernel: int, stride: int, dilation: int, size: int
) -> None:
    """TensorFlow's definition: the gradient of the convolution of `size * stride` positions."""
    rng = np.random.default_rng(kernel)
    x, weight = rng.normal(size=(1, 2, size)), rng.normal(size=(2, 3, kernel))
    how = {"stride": stride, "dilation": dilation}
    made = atrous.conv_transpose(x, weight, padding=rule, **how)
    whole = torch.zeros(1, 3, size * stride, dtype=torch.float64, requires_grad=True)
    forward = "same_lower" if rule == "same_lower" else "same_upper"
    y = atrous.conv(whole, torch.from_numpy(weight), padding=forward, **how)
    (expected,) = torch.autograd.grad(y, whole, torch.from_numpy(x))
    assert made.shape == expected.shape
    assert np.allclose(made, expected.numpy())
    stack = atrous.read(f"stack:tconvk{kernel}s{stride}d{dilation}", (1, 1, size))
    assert stack.nodes[0].output.shape == (1, 1, size * stride)


@pytest.mark.parametrize("module", [np, torch])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_batch_of_none_makes_none_and_an_empty_axis_makes_the_bias(
    module: Any, groups: int
) -> None:
    weight, bias = module.ones((4, 4 // groups, 3)), module.ones((4,))
    y = atrous.conv(module.ones((0, 4, 8)), weight, bias, groups=groups)
    assert tuple(y.shape) == (0, 4, 6)
    y = atrous.conv(module.ones((2, 4, 0)), weight, bias, padding=2, groups=groups)
    assert y.tolist() == [[[1.0, 1.0]] * 4] * 2
    y = atrous.conv_transpose(module.ones((0, 4, 8)), weight, groups=groups)
    assert tuple(y.shape) == (0, weight.shape[1] * groups, 10)


@pytest.mark.parametrize("module", [np, torch])
def test_no_channels_make_the_bias(module: Any) -> None:
    y = atrous.conv(module.ones((2, 0, 5)), module.ones((3, 0, 2)), module.ones((3,)))
    assert y.tolist() == [[[1.0] * 4] * 3] * 2
    y = atrous.conv_transpose(module.ones((2, 0, 4)), module.ones((0, 3, 2)), module.ones((3,)))
    assert y.tolist() == [[[1.0] * 5] * 3] * 2


@pytest.mark.parametrize("module", [np, torch])
def test_padding_far_larger_than_the_map_takes_no_memory(module: Any) -> None:
    x, weight = module.ones((1, 2, 3)), module.ones((2, 2, 2))
    far = 10**9
    y = atrous.conv(x, weight, stride=far, padding=[(far, far)])
    assert y.tolist() == [[[0.0, 4.0, 0.0]] * 2]
    y = atrous.conv(x, weight, dilation=far, padding=[(far, 0)])
    assert y.tolist() == [[[2.0, 2.0, 2.0]] * 2]


@drawing(30)
@given(convolutions(), st.booleans())
def test_gradients_flow_and_are_those_of_the_reference(drawn: Drawn, last: bool) -> None:
    arrays = drawn.arrays()
    if last:
        arrays = channels_last(arrays[0]), *arrays[1:]
    x, weight, bias = (
        None if a is None else torch.from_numpy(a).requires_grad_(True) for a in arrays
    )
    y = computed(drawn, x, weight, bias)
    gradient = torch.from_numpy(np.random.default_rng(1).integers(-3, 4, y.shape) * 1.0)
    y.backward(gradient)
    call, options = drawn.call, drawn.options
    data = reference.conv_data_gradient(gradient, arrays[1], call.sizes, **options)
    assert np.array_equal(x.grad.numpy(), data)
    of_weight = reference.conv_weight_gradient(arrays[0], gradient, call.kernel, **options)
    assert np.array_equal(weight.grad.numpy(), of_weight)
    if bias is not None:
        assert np.array_equal(bias.grad.numpy(), gradient.numpy().sum((0, *range(2, y.dim()))))


def test_autocast_lowers_what_is_convolved() -> None:
    x, weight = torch.ones(1, 2, 5), torch.ones(2, 2, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert atrous.conv(x, weight).dtype == torch.bfloat16
        assert atrous.conv(x.double(), weight.double()).dtype == torch.float64


def test_byte_order_is_no_obstacle() -> None:
    x, weight = np.ones((1, 1, 4), ">f4"), np.ones((1, 1, 2), "<f4")
    assert atrous.conv(x, weight).tolist() == [[[2.0, 2.0, 2.0]]]


class Layer(torch.nn.Module):
    """A layer that calls `conv`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 3, 3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return atrous.conv(x, self.weight, dilation=(2, 3), padding="same")


def test_a_model_that_calls_conv_is_exported_for_every_size() -> None:
    size = torch.export.Dim("size", min=2)
    layer, x = Layer(), torch.ones(1, 3, 9, 9)
    program = torch.export.export(layer, (x,), dynamic_shapes=({2: size},))
    larger = torch.arange(351.0).reshape(1, 3, 13, 9)
    assert torch.equal(program.module()(larger), layer(larger))
