"""Stacks against the same layers run by PyTorch: shapes, and which inputs an output depends on."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

import atrous
from atrous.network.stack import StackLayer, parse_stack, stack_network
from tests.oracles import drawing

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def each(value: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return value * rank if len(value) == 1 else value


def run_layer(layer: StackLayer, x: torch.Tensor) -> torch.Tensor:
    """One layer, spelled with PyTorch's functions and the pads worked out by hand."""
    rank = x.dim() - 2
    kernel, stride = each(layer.kernel, rank), each(layer.stride, rank)
    dilation = each(layer.dilation, rank)
    if layer.kind == "up":
        return F.interpolate(x, scale_factor=tuple(map(float, stride)), mode="nearest")
    held = x.shape[1]
    channels = held if layer.channels is None else layer.channels
    spans = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    if layer.kind == "tconv":
        # All that the windows make, cropped or lengthened to what the notation promises.
        y = TRANSPOSED[rank](
            x, torch.ones(held, channels, *kernel, dtype=x.dtype), stride=stride, dilation=dilation
        )
        pads: list[int] = []
        for axis in reversed(range(rank)):
            beyond = spans[axis] + 1 - stride[axis]
            if isinstance(layer.padding, tuple):
                lo, hi = layer.padding
            elif layer.padding == "valid":
                lo = hi = 0
            else:
                lo = max(beyond, 0) // 2 if layer.padding == "same" else 0
                hi = beyond - lo
            pads += [-lo, -hi]
        return F.pad(y, pads)
    pads = []
    for axis in reversed(range(rank)):
        span = spans[axis]
        by_word = {
            "same": (span // 2, span - span // 2),
            "valid": (0, 0),
            "causal": (span + 1 - stride[axis], stride[axis] - 1),
        }
        pads += layer.padding if isinstance(layer.padding, tuple) else by_word[layer.padding]
    x = F.pad(x, pads)
    if layer.kind == "max":
        return MAX[rank](x, kernel, stride, dilation=dilation)
    groups = held if layer.kind in ("dw", "avg") else 1
    weight = torch.ones(channels, held // groups, *kernel, dtype=x.dtype)
    return CONV[rank](x, weight, stride=stride, dilation=dilation, groups=groups)


def run_stack(text: str, x: torch.Tensor) -> torch.Tensor:
    for layer in parse_stack(text):
        x = run_layer(layer, x)
    return x


numbers = partial(st.integers, 1)


@st.composite
def stacks(draw, rank: int, kinds: tuple[str, ...]) -> str:
    """Up to four layers, of which the strides keep some length and the channels stay few."""
    words = []
    for _ in range(draw(numbers(4))):
        kind = draw(st.sampled_from(kinds))
        if kind == "up":
            words.append(f"ups{draw(numbers(3))}")
            continue
        per_axis = draw(st.booleans()) and rank > 1
        kernel = (
            "(" + ",".join(str(draw(numbers(4))) for _ in range(rank)) + ")"
            if per_axis
            else str(draw(numbers(5)))
        )
        word = f"{kind}k{kernel}s{draw(numbers(3))}d{draw(numbers(3))}"
        word += draw(st.sampled_from(["", "valid", "causal", "p(2,0)", "p(1,3)"]))
        if kind not in ("max", "avg", "dw"):
            word += draw(st.sampled_from(["", "x1", "x3"]))
        words.append(word)
    return " ".join(words)


@pytest.mark.parametrize(("rank", "length"), [(1, 48), (2, 19), (3, 9)])
def test_stacks_make_the_shapes_that_pytorch_makes(rank, length):
    @drawing(60)
    @given(stacks(rank, ("conv", "dw", "max", "avg", "tconv", "up")))
    def check(text: str) -> None:
        shape = (1, 2, *(length + axis for axis in range(rank)))
        try:
            network = stack_network(text, shape)
        except atrous.GeometryError:
            with pytest.raises(RuntimeError):
                run_stack(text, torch.zeros(shape))
            return
        made = network.tensor(network.outputs[0]).shape
        assert made == tuple(run_stack(text, torch.zeros(shape)).shape), text

    check()


@pytest.mark.parametrize(("rank", "length"), [(1, 24), (2, 9)])
def test_path_counts_of_stacks_are_the_gradients_of_layers_of_ones(rank, length):
    @drawing(40)
    @given(stacks(rank, ("conv", "avg", "tconv", "up")))
    def check(text: str) -> None:
        # One channel everywhere: the gradient then counts paths and nothing else.
        text = " ".join(word.partition("x")[0] for word in text.split())
        shape = (1, 1, *(length + axis for axis in range(rank)))
        try:
            report = atrous.inspect(f"stack:{text}", shape)
        except atrous.GeometryError:
            return
        sizes = report.outputs[0].output_shape[2:]
        places = [sorted({0, n // 2, n - 1}) for n in sizes]
        x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        y = run_stack(text, x)
        for at in product(*places):
            (gradient,) = torch.autograd.grad(y[(0, 0, *at)], x, retain_graph=True)
            counts = torch.as_tensor(report.footprint(at=at).counts)
            assert torch.equal(counts.double(), gradient[0, 0]), (text, at)

    check()
