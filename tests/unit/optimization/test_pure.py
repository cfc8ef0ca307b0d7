"""Exported graphs without operations in place compute what PyTorch's own way makes of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.optimization.graph import export
from atrous.optimization.graph.export import Exported, exported
from atrous.optimization.graph.program import Program, compiled
from atrous.refusal import Refusal
from tests.weights import calibrate


class Residual(nn.Module):
    """Overwrites what it has just made, and reads the sum under its old name."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=2, dilation=2)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x):
        out = self.norm(self.conv(x))
        gate = out.mean((2, 3), keepdim=True).sigmoid_()
        out.mul_(gate)
        out += x
        functional.relu_(out)
        return out, functional.dropout(out, 0.5, self.training).flatten(1)


class Chunked(nn.Module):
    def forward(self, x):
        one, two, three = x.chunk(3, dim=-1)
        return one.contiguous(), torch.cat([two, three], -1).reshape(1, -1), x.transpose(1, 2)


class Made(nn.Module):
    """Adds a tensor that its code makes."""

    def forward(self, x):
        return x + torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])


class View(nn.Module):
    """Writes into a part of what it has made."""

    def forward(self, x):
        y = x * 2
        y[:, :2].add_(1)
        return y


class Old(nn.Module):
    """Reads a view of what is overwritten later."""

    def forward(self, x):
        y = x * 2
        part = y[:, :2]
        y.add_(1)
        return part * 3


class Wider(nn.Module):
    """A sum in place keeps the type of what it is added to."""

    def forward(self, x):
        y = x * 2
        y += x.double()
        return y


class Input(nn.Module):
    """Writes into its input."""

    def forward(self, x):
        return x.add_(1)


class Counting(nn.Module):
    """Writes into a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return x + self.count


def results(found, model, x):
    with torch.no_grad():
        return compiled(Program(found.graph, found.constants, "contiguous", {}), model).run(x)


@pytest.mark.parametrize(
    ("model", "alone"),
    [
        *[(Residual(), True), (Chunked(), True), (Made(), True)],
        *[(View(), False), (Old(), False), (Wider(), False)],
        (nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.SiLU(inplace=True)), True),
    ],
)
def test_both_ways_compute_what_the_model_does(monkeypatch, model, alone):
    torch.manual_seed(0)
    x = torch.randn(1, 6, 9, 7)
    calibrate(model, x)
    model.eval()
    tried = []

    def made_pure(graph, own=export.made_pure):
        tried.append(own(graph))
        return tried[-1]

    monkeypatch.setattr(export, "made_pure", made_pure)
    found = exported(model, (x,))
    assert isinstance(found, Exported)
    assert tried == [alone]
    assert not any(
        node.target._schema.is_mutable
        for node in found.graph.nodes
        if hasattr(node.target, "_schema")
    )
    monkeypatch.setattr(export, "made_pure", lambda _graph: False)
    other = exported(model, (x,))
    assert isinstance(other, Exported)
    wanted = model(x.clone())
    wanted = [wanted] if isinstance(wanted, torch.Tensor) else wanted
    for made in (results(found, model, x.clone()), results(other, model, x.clone())):
        assert len(made) == len(wanted)
        for one, two in zip(made, wanted, strict=True):
            assert one.dtype == two.dtype
            assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("model", [Input(), Counting()])
def test_what_changes_others_memory_is_refused(model):
    found = exported(copy.deepcopy(model).eval(), (torch.randn(1, 6, 4, 4),))
    assert isinstance(found, Refusal)
    assert "changes" in found.reason
