"""Code that cuts maps, odd sources and odd options: what a reviewer broke, and what holds now."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import atrous
from atrous import ConversionError, ReadError


class Cut(nn.Module):
    """Cuts the map between two layers."""

    def __init__(self, cut):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, 2, 1)
        self.two = nn.Conv2d(4, 4, 3, 2, 1)
        self.three = nn.Conv2d(4, 4, 3, 1, 1)
        self.cut = cut

    def forward(self, x):
        return self.three(self.cut(self.two(self.one(x))))


CUTS = {
    "both ends": lambda y: y[..., 1:-1, 1:-1],
    "the last": lambda y: y[..., :-1, :],
    "differences": lambda y: y[..., 1:] - y[..., :-1],
    "a fixed number": lambda y: y[..., :5, :5],
}


@pytest.mark.parametrize("kind", CUTS)
@pytest.mark.parametrize("size", [32, 33])
def test_cuts_follow_the_size_of_the_map(kind, size):
    model = Cut(CUTS[kind]).double().eval()
    done = atrous.convert(model, 2, input=(1, 3, size, size))
    assert done.certificate.verdict == "exact"
    for side in (31, 32, 33, 34, 36):
        x = torch.randn(1, 3, side, side, dtype=torch.double)
        with torch.no_grad():
            one, two = model(x), done.model(x)
        rows, columns = (-(-n // m) for n, m in zip(two.shape[2:], one.shape[2:], strict=True))
        kept = two[..., ::2, ::2]
        assert (rows, columns) == (2, 2)
        assert kept.shape == one.shape
        assert torch.allclose(kept, one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("parts", [((0, 0), (0, 1), (1, 0), (1, 1))])
def test_a_focus_layer_keeps_its_phases(parts):
    def focus(y):
        return torch.cat([y[..., i::2, j::2] for i, j in parts], 1)

    class Focus(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(16, 4, 3, 1, 1)

        def forward(self, x):
            return self.two(focus(self.one(x)))

    model = Focus().double().eval()
    done = atrous.convert(model, 2, input=(1, 3, 32, 32), measure=False)
    assert done.certificate.verdict == "exact"
    for side in (32, 36):
        x = torch.randn(1, 3, side, side, dtype=torch.double)
        with torch.no_grad():
            kept = done.model(x)[..., ::2, ::2]
            assert torch.allclose(kept, model(x), rtol=0, atol=1e-12)


def test_a_cut_from_the_end_is_refused_with_the_fix():
    with pytest.raises(ConversionError, match=r"it is cut from its end; pad by negative numbers"):
        atrous.convert(Cut(lambda y: y[..., -4:]), 2, input=(1, 3, 33, 33))


def test_code_that_computes_with_the_size_of_a_map_is_refused_and_not_handed_back():
    with pytest.raises(ConversionError, match="the result would compute something else"):
        atrous.convert(Cut(lambda y: y / y.shape[-1]), 2, input=(1, 3, 33, 33))


def test_parametrized_layers_are_converted():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), weight_norm(nn.Conv2d(4, 4, 3, 2, 1)), nn.Conv2d(4, 4, 3, 1, 1)
    )
    done = atrous.convert(model.eval(), 2, input=(1, 3, 33, 33))
    assert done.certificate.verdict == "exact"
    assert list(done.model.state_dict()) == list(model.state_dict())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_results_that_pad_by_size_can_be_traced():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 2, 2), nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(4, 4, 3, 1, 1)
    ).eval()
    dense = atrous.convert(model, 1, input=(1, 3, 35, 35), measure=False).model
    x = torch.randn(1, 3, 35, 35)
    assert torch.equal(torch.jit.trace(dense, x)(x), dense(x))


def test_networks_that_share_nothing_are_broken():
    for one, two in (("zoo:resnet18", "zoo:vgg16"), ("zoo:vgg16", "zoo:resnet18")):
        found = atrous.audit(one, two)
        assert found.verdict == "broken"
        assert "has no counterpart in the" in found.causes[0].why


def test_a_layer_too_many_is_named():
    found = atrous.audit("stack:k3s2 k3 k3", "stack:k3 k3d2 k3d2 k1", input=(1, 64, 65, 65))
    assert found.verdict == "broken"
    assert str(found.causes[0]) == "conv4: it has no counterpart in the reference"


def test_two_kinds_of_models_are_not_compared():
    with pytest.raises(ReadError, match="an audit compares two of one kind"):
        atrous.audit(nn.Conv2d(3, 3, 3), "stack:k3", input=(1, 3, 9, 9))


def test_where_nothing_was_run_no_values_are_promised():
    done = atrous.convert("stack:k3s2 k3", 1, input=(1, 64, 33, 33))
    assert str(done).startswith("exact: the same positions are read, borders included")


@pytest.mark.parametrize("stride", [2.0, None, "8", (2, "x"), [0]])
def test_an_output_stride_that_is_no_whole_number_is_refused(stride):
    with pytest.raises(ReadError, match="is no whole number of at least 1"):
        atrous.convert("stack:k3s2 k3", stride, input=(1, 64, 33, 33))


@pytest.mark.parametrize("names", [[], 5, [5], ""])
def test_outputs_that_are_no_names_are_refused(names):
    with pytest.raises(ReadError, match="give names of outputs or layers"):
        atrous.convert("stack:k3s2 k3", 1, input=(1, 64, 33, 33), outputs=names)


def test_numbers_of_numpy_are_output_strides():
    done = atrous.convert("stack:k3s2 k3", np.int64(1), input=(1, 64, 33, 33))
    assert done.output_stride == (1, 1)


def test_json_has_no_infinity():
    class Grown(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.one = nn.Conv2d(3, 4, 3, 2, 1)
            self.factor = factor

        def forward(self, x):
            return (self.one(x) * self.factor).exp()

    found = atrous.audit(Grown(1.0), Grown(1e6), input=(1, 3, 16, 16))
    assert not math.isfinite(found.outputs[0].max_error)
    data = json.loads(found.to_json(), parse_constant=pytest.fail)
    assert data["outputs"][0]["max_error"] is None
