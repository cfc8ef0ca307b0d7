"""Parameters: all that the module has, and which of them training changes, against PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import atrous
from atrous.network import Param
from atrous.network.builder import Builder


class Biased(nn.Module):
    """Attention whose scores are shifted by a table of the distances between positions."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.project = nn.Linear(6, 18)
        self.distances = nn.Parameter(torch.randn(2 * 12 - 1, 3))
        place = torch.arange(12)
        self.register_buffer("between", place[:, None] - place + 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.project(x).unflatten(-1, (3, 3, 2)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind()
        shift = self.distances[self.between.flatten()].view(12, 12, 3).permute(2, 0, 1)
        if self.fused:
            made = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=shift)
        else:
            made = (query @ key.transpose(2, 3) + shift).softmax(-1) @ value
        return made.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("fused", [True, False])
def test_a_table_of_biases_that_is_the_mask_of_attention_is_among_the_parameters(fused) -> None:
    model = Biased(fused).eval()
    assert atrous.inspect(model, (1, 12, 6)).params == _held(model)


class Mixed(nn.Module):
    """Tied, frozen and unused parameters, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.second = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 4, 1).requires_grad_(False)
        self.spare = nn.Linear(5, 7)
        self.register_buffer("table", torch.ones(100))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.second(self.first(x)))) + self.table[0]


@pytest.mark.parametrize("exported", [False, True])
def test_trainable_frozen_and_unused_ones_are_told_apart_and_add_up(exported) -> None:
    model = Mixed().eval()
    x = torch.zeros(1, 3, 8, 8)
    report = atrous.inspect(torch.export.export(model, (x,)) if exported else model, (1, 3, 8, 8))
    spare = set(model.spare.parameters())
    used = [p for p in model.parameters() if p not in spare]
    assert report.trainable_params == sum(p.numel() for p in used if p.requires_grad)
    assert report.frozen_params == sum(p.numel() for p in used if not p.requires_grad)
    assert report.unused_params == sum(p.numel() for p in spare)
    assert report.params == _held(model)
    assert report.parameter_bytes == sum(p.nbytes for p in model.parameters())
    assert "16 frozen, 42 not used" in str(report)
    plain = report.to_dict()
    kinds = ("trainable_params", "frozen_params", "unused_params")
    assert sum(plain[kind] for kind in kinds) == plain["params"]


def test_a_module_that_is_frozen_as_a_whole_keeps_its_parameters() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.PReLU()).requires_grad_(False)
    report = atrous.inspect(model, (1, 3, 9))
    assert (report.params, report.frozen_params) == (_held(model), _held(model))
    assert "all frozen" in str(report)


class Everywhere(nn.Module):
    """Parameters that reach an op through an operand that moves no positions."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.randn(5, 5))
        self.more = nn.Parameter(torch.randn(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.kind:
            case "where":
                return torch.where(self.more > 0, x, self.weight)
            case "addmm":
                return torch.addmm(self.more, x, self.weight)
            case "baddbmm":
                return torch.baddbmm(self.more, x[None], self.weight[None])
            case "cat":
                return torch.cat([x, self.weight, self.more[None]])
            case "einsum":
                return torch.einsum("ij,jk,k->ik", x, self.weight, self.more)
            case "normalized":
                weight = self.weight / self.weight.norm(dim=1, keepdim=True)
                return nn.functional.linear(x, weight, self.more)
            case "scatter":
                return x.index_add(0, torch.arange(5), self.weight) + self.more
            case "clamp":
                return torch.clamp(x, self.weight, self.more.abs() + 9)
            case _:
                return torch.lerp(x, self.weight, self.more)


@pytest.mark.parametrize(
    "kind",
    ["where", "addmm", "baddbmm", "cat", "einsum", "normalized", "scatter", "clamp", "lerp"],
)
def test_parameters_count_whichever_operand_they_are(kind: str) -> None:
    model = Everywhere(kind)
    report = atrous.inspect(model, (5, 5))
    assert report.params == _held(model)
    assert report.unused_params == 0


def test_a_parameter_that_gives_its_type_alone_is_not_used() -> None:
    class Typed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Parameter(torch.randn(3, 4).double())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.type_as(self.other)

    assert atrous.inspect(Typed(), (3, 4)).unused_params == 12


def test_what_only_the_call_knows_is_credited_to_its_last_node() -> None:
    builder = Builder()
    x = builder.input("x", (1, 3, 8))
    mark = builder.mark()
    builder.credit(mark, [Param("nobody", 3)])
    y = builder.relu(x)
    builder.credit(mark, [Param("table", 5)])
    network = builder.build(y)
    assert network.nodes[0].params == ("table",)
    assert network.param_count == 5


def _held(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
