"""Laws of changing the layout: every number comes to its place, in the strides asked for."""

from __future__ import annotations

import random

import pytest
import torch

from atrous.operators.kernels import native
from atrous.operators.kernels.torch_layouts import (
    in_channels_last,
    in_planes,
    plane_strides,
    strided,
)
from atrous.operators.kernels.transposed import transpose_natively
from tests.transposed_fuzz import assert_transposes

needs_kernels = pytest.mark.skipif(not native().available, reason=native().reason)


@needs_kernels
@pytest.mark.parametrize("seed", range(4))
def test_matrices_are_transposed(seed):
    rng = random.Random(seed)
    for _ in range(40):
        assert_transposes(rng)


@needs_kernels
@pytest.mark.parametrize("sizes", [(-1, 2, 2), (1, -2, 2), (1, 2**40, 2**40)])
def test_what_is_no_matrix_is_refused(sizes):
    with pytest.raises(ValueError, match="transpose"):
        transpose_natively(*sizes, 0, 0)


SHAPES = [
    *((2, 21, 65, 33), (1, 3, 129, 65), (3, 64, 300), (1, 2, 5, 90, 70), (2, 70, 1, 300)),
    *((1, 1, 200, 100), (20_000, 1, 1, 1), (1, 40_000, 1, 1), (4, 5, 6, 7), (0, 3, 4, 5)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int32])
@pytest.mark.parametrize("shape", SHAPES)
def test_layouts_hold_the_same_numbers(shape, dtype):
    torch.manual_seed(0)
    x = (torch.randn(shape) * 100).to(dtype)
    last = in_channels_last(x)
    planes = in_planes(last)
    assert torch.equal(last, x)
    assert torch.equal(planes, x)
    assert last.movedim(1, -1).is_contiguous()
    assert planes.is_contiguous()
    assert in_channels_last(last) is last
    assert in_planes(x) is x
    assert plane_strides(shape) == x.stride()


@pytest.mark.parametrize("seed", range(3))
def test_any_strides_are_those_asked_for(seed):
    """From and to any order of axes; also of what is a part, negative, or spread out."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    for _ in range(20):
        shape = [rng.randint(1, 40) for _ in range(rng.choice([3, 4]))]
        x, wanted = (
            torch.randn([shape[axis] for axis in order]).permute(
                sorted(range(len(shape)), key=order.__getitem__)
            )
            for order in (rng.sample(range(len(shape)), len(shape)) for _ in range(2))
        )
        for given in (x, x[:, :1].expand(shape), torch.conj(x + 1j * x).imag):
            made = strided(given, wanted.stride())
            assert torch.equal(made, given)
            assert made.stride() == wanted.stride()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_what_is_followed_is_left_to_pytorch():
    """Transforms, tracers and tensors without memory see, and are, what they were."""
    x = torch.randn(2, 16, 40, 40)
    wanted = in_channels_last(x) * 2

    def double(one):
        return in_channels_last(one) * 2

    _, tangent = torch.func.jvp(double, (x,), (x,))
    assert torch.equal(tangent, wanted)
    assert torch.equal(torch.func.vmap(double)(x.unsqueeze(1)).squeeze(1), wanted)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        assert torch.equal(torch.autograd.forward_ad.unpack_dual(double(dual)).tangent, wanted)
    traced = torch.jit.trace(double, (torch.zeros_like(x),))
    assert torch.equal(traced(x), wanted)
    zeros = in_channels_last(torch._efficientzerotensor(2, 16, 40, 40))
    assert torch.equal(zeros, torch.zeros_like(x))


def test_gradients_flow_through_copies():
    x = torch.randn(1, 32, 40, 40, requires_grad=True)
    (in_channels_last(x) * 2).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))
