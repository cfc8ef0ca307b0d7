"""Stacks against the same layers run by PyTorch: shapes, and which inputs an output depends on."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, reject

import atrous
from atrous.network.stack import stack_network
from tests.oracles import drawing
from tests.parity.stacks import run_stack, stacks


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
            reject()
        sizes = report.outputs[0].output_shape[2:]
        places = [sorted({0, n // 2, n - 1}) for n in sizes]
        x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        y = run_stack(text, x)
        for at in product(*places):
            (gradient,) = torch.autograd.grad(y[(0, 0, *at)], x, retain_graph=True)
            counts = torch.as_tensor(report.footprint(at=at).counts)
            assert torch.equal(counts.double(), gradient[0, 0]), (text, at)

    check()
