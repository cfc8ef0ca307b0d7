"""Stacks against the same layers run by PyTorch: shapes, and which inputs an output depends on."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, reject

import atrous
from atrous.network.stack import stack_network
from tests.nan_probe import read_by
from tests.oracles import drawing
from tests.parity.stacks import StackModule, branched_stacks, run_stack, stacks


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


@pytest.mark.parametrize(("rank", "length"), [(1, 16), (1, 19), (2, 8), (3, 4)])
def test_branched_stacks_make_the_shapes_that_pytorch_makes(rank, length):
    fitted = 0

    @drawing(60)
    @given(branched_stacks(rank, averaged=True))
    def check(text: str) -> None:
        nonlocal fitted
        shape = (1, 2, *(length + 4 * axis for axis in range(rank)))
        try:
            network = stack_network(text, shape)
        except (atrous.GeometryError, atrous.NetworkError):
            with pytest.raises(RuntimeError):
                run_stack(text, torch.zeros(shape))
            return
        made = network.tensor(network.outputs[0]).shape
        assert made == tuple(run_stack(text, torch.zeros(shape)).shape), text
        fitted += any(node.op.kind in ("concat", "elementwise") for node in network.nodes)

    check()
    assert fitted


@pytest.mark.parametrize(("rank", "length"), [(1, 16), (2, 8)])
def test_footprints_of_branched_stacks_are_where_nan_comes_through(rank, length):
    fitted = 0

    @drawing(40)
    @given(branched_stacks(rank, averaged=True))
    def check(text: str) -> None:
        nonlocal fitted
        shape = (1, 2, *(length + 4 * axis for axis in range(rank)))
        try:
            report = atrous.inspect(f"stack:{text}", shape)
        except (atrous.GeometryError, atrous.NetworkError):
            reject()
        assert report.complete
        seen = read_by(StackModule(text), shape)
        sizes = report.outputs[0].output_shape[2:]
        for at in product(*({0, 1 % n, n // 2, n - 1} for n in sizes)):
            mask = report.footprint(at=at).mask
            place = np.ravel_multi_index(at, sizes)
            assert np.array_equal(mask, seen[:, place].reshape(mask.shape)), (text, at)
        fitted += "[" in text

    check()
    assert fitted


def test_a_probe_tells_a_stack_from_one_with_another_rate():
    report = atrous.inspect("stack:[k3d1 | k3d4]", (1, 1, 16))
    seen = read_by(StackModule("[k3d1 | k3d3]"), (1, 1, 16))
    assert not np.array_equal(report.footprint(at=(8,)).mask, seen[:, 8])
