"""Multiply-accumulates of all kinds of products against PyTorch's own counter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from tests.products_probe import counted_macs

Step = Callable[..., torch.Tensor]


class Calls(nn.Module):
    """A step as a module, beside the modules that it uses."""

    def __init__(self, step: Step, **parts: nn.Module) -> None:
        super().__init__()
        self.step = step
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return self.step(*given)


def assert_counted_alike(model: nn.Module, *shapes: tuple[int, ...]) -> int:
    """The report's MACs are those that PyTorch counts; returns them."""
    torch.manual_seed(0)
    inputs = tuple(torch.randn(shape) for shape in shapes)
    theirs = counted_macs(model.eval(), *inputs)
    report = atrous.inspect(model, inputs)
    assert "macs" not in report.uncounted
    assert report.macs == theirs
    return theirs


W = torch.arange(1, 61.0).view(5, 12)

STEPS: dict[str, tuple[Step, tuple[int, ...]]] = {
    "linear on a table": (lambda x: x + functional.linear(W, W).sum(), (2, 7, 12)),
    "linear on vectors of a map": (lambda x: functional.linear(x, W), (2, 3, 7, 12)),
    "matmul by a table": (lambda x: x @ W.t(), (2, 3, 7, 12)),
    "a table by matmul": (lambda x: W @ x.transpose(-1, -2), (2, 3, 7, 12)),
    "matmul of two maps": (lambda x: x @ x.transpose(-1, -2), (2, 3, 7, 12)),
    "matmul with fewer dimensions": (lambda x: x @ x[0, 0].t(), (2, 3, 7, 12)),
    "matmul that broadcasts": (lambda x: x[:, :1] @ x[:1].transpose(-1, -2), (2, 3, 7, 12)),
    "matmul of ones wide": (lambda x: x[..., :1] @ x[..., :1].transpose(-1, -2), (2, 3, 7, 12)),
    "bmm": (lambda x: torch.bmm(x, x.transpose(1, 2)), (3, 7, 12)),
    "mm": (lambda x: torch.mm(x, W.t()), (7, 12)),
    "addmm": (lambda x: torch.addmm(x[:, :5], x, W.t(), beta=2), (7, 12)),
    "addmm of tables": (lambda x: torch.addmm(x, W.t(), W), (12, 12)),
    "baddbmm": (lambda x: torch.baddbmm(x[:, :, :7], x, x.transpose(1, 2)), (3, 7, 12)),
    "baddbmm of a table": (
        lambda x: torch.baddbmm(torch.ones(1, 1, 5), x, W.t().expand(3, -1, -1)),
        (3, 7, 12),
    ),
    "einsum of two maps": (lambda x: torch.einsum("bij,bkj->bik", x, x), (3, 7, 12)),
    "einsum with a table": (lambda x: torch.einsum("bij,kj->bki", x, W), (3, 7, 12)),
    "einsum that scales": (lambda x: torch.einsum("bij,bj->bij", x, x[:, 0]), (3, 7, 12)),
    "einsum that sums first": (lambda x: torch.einsum("bij,bkl->bik", x, x), (3, 7, 12)),
    "einsum with an index alone": (lambda x: torch.einsum("bij,kj->bk", x, W), (3, 7, 12)),
    "einsum outer": (lambda x: torch.einsum("bi,bj->bij", x[:, 0], x[:, 1]), (3, 7, 12)),
    "einsum of three": (lambda x: torch.einsum("bij,bkj,bk->bik", x, x, x[..., 0]), (3, 7, 12)),
    "einsum chain": (lambda x: torch.einsum("bij,kj,kl->bil", x, W, W), (3, 7, 12)),
    "tensordot": (lambda x: torch.tensordot(x, x, dims=([1, 2], [1, 2])), (3, 7, 12)),
    "inner": (lambda x: torch.inner(x, x), (3, 7, 12)),
    "a chain of matrices": (lambda x: torch.linalg.multi_dot([x, W.t(), W]), (7, 12)),
    "a power of a matrix": (lambda x: torch.matrix_power(x, 5), (2, 7, 7)),
    "attention": (
        lambda x: functional.scaled_dot_product_attention(x, x, x[..., :4]),
        (2, 3, 7, 12),
    ),
    "attention under a stored mask": (
        lambda x: functional.scaled_dot_product_attention(x, x, x, attn_mask=W @ W.t()),
        (2, 3, 5, 12),
    ),
    "attention under a mask of the input": (
        lambda x: functional.scaled_dot_product_attention(
            x, x, x, attn_mask=(x @ x.transpose(-1, -2)) > 0
        ),
        (2, 3, 7, 12),
    ),
    "causal attention": (
        lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True),
        (2, 3, 7, 12),
    ),
    "attention of shared keys": (
        lambda x: functional.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True),
        (2, 4, 7, 12),
    ),
    "attention of stored keys": (
        lambda x: functional.scaled_dot_product_attention(
            x, W.expand(2, 3, 5, 12), W.expand(2, 3, 5, 12)
        ),
        (2, 3, 7, 12),
    ),
    "convolution by weights of the input": (
        lambda x: functional.conv2d(x[:1], x.transpose(0, 1)[:3, :2].contiguous(), padding=1),
        (2, 2, 3, 3),
    ),
    "convolution of a table": (
        lambda x: x + functional.conv1d(W[None], torch.ones(4, 5, 3)).sum(),
        (2, 7),
    ),
    "transposed convolution of a table": (
        lambda x: x + functional.conv_transpose1d(W[None], torch.ones(5, 4, 3), groups=5).sum(),
        (2, 7),
    ),
    "weights made of a product": (lambda x: functional.linear(x, W.t() @ W), (2, 12)),
    "similarity": (lambda x: functional.cosine_similarity(x, x.flip(0), dim=1), (2, 7, 12)),
    "a product by elements": (lambda x: torch.outer(x[0], x[1]) * 2, (2, 7)),
    "covariance": (lambda x: (x - x.mean(1, keepdim=True)) @ x.t(), (7, 12)),
}


@pytest.mark.parametrize("name", STEPS)
def test_products_written_in_code(name: str) -> None:
    step, shape = STEPS[name]
    assert_counted_alike(Calls(step), shape)


class Table(nn.Module):
    """Layers on a stored table of places, whose result every position takes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.places = nn.Sequential(nn.Linear(2, 16), nn.GELU(), nn.Linear(16, 4, bias=False))
        self.register_buffer("table", torch.rand(9, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x = self.conv(x)[:, :3] + self.places(self.table).mean(0)[None, :3, None, None]
        return x


def test_layers_on_what_no_input_reaches_are_listed_with_their_cost_and_parameters() -> None:
    model = Table()
    assert_counted_alike(model, (1, 3, 6, 6))
    report = atrous.inspect(model, (1, 3, 6, 6))
    assert report["places.0"].macs == 9 * 2 * 16
    assert report["places.0"].params == 2 * 16 + 16
    assert report["places.2@1"].macs == 9 * 16 * 4
    assert report.params == sum(p.numel() for p in model.parameters())
    assert "constant linear" in str(report)
    assert report.complete


LAYERS: dict[str, tuple[nn.Module, tuple[tuple[int, ...], ...]]] = {
    "grouped": (nn.Conv2d(6, 9, (3, 2), (2, 1), (1, 0), (1, 2), groups=3), ((2, 6, 9, 8),)),
    "depthwise": (nn.Conv1d(6, 12, 4, 3, 5, groups=6), ((2, 6, 19),)),
    "volumes": (nn.Conv3d(2, 4, (1, 3, 2), groups=2), ((1, 2, 3, 5, 6),)),
    "transposed": (nn.ConvTranspose2d(6, 4, 3, 2, 1, 1), ((2, 6, 5, 4),)),
    "transposed, grouped": (nn.ConvTranspose1d(6, 9, 4, 3, 1, dilation=2, groups=3), ((2, 6, 7),)),
    "recurrent, two layers both ways": (
        nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True),
        ((2, 9, 6),),
    ),
    "recurrent with projections": (nn.LSTM(6, 5, 2, proj_size=3), ((9, 2, 6),)),
    "recurrent with projections both ways": (
        nn.LSTM(6, 5, 2, proj_size=3, bidirectional=True),
        ((9, 2, 6),),
    ),
    "gated": (nn.GRU(6, 5, 2, bias=False), ((9, 2, 6),)),
    "plain recurrence": (nn.RNN(6, 5, 3, nonlinearity="relu", bidirectional=True), ((9, 2, 6),)),
    "a first state of its own": (nn.GRU(6, 5), ((9, 2, 6), (1, 2, 5))),
    "no batch": (nn.GRU(6, 5), ((9, 6),)),
    "one step": (nn.LSTMCell(6, 5), ((2, 6),)),
    "one gated step": (nn.GRUCell(6, 5), ((2, 6), (2, 5))),
    "attention": (nn.MultiheadAttention(6, 2, batch_first=True), ((2, 9, 6),) * 3),
    "attention across": (
        nn.MultiheadAttention(6, 2, kdim=4, vdim=8, batch_first=True),
        ((2, 9, 6), (2, 5, 4), (2, 5, 8)),
    ),
    "attention with more": (
        nn.MultiheadAttention(6, 3, add_bias_kv=True, add_zero_attn=True),
        ((9, 2, 6),) * 3,
    ),
    "encoder": (nn.TransformerEncoderLayer(6, 2, 16, batch_first=True), ((2, 9, 6),)),
    "decoder": (nn.TransformerDecoderLayer(6, 2, 16), ((9, 2, 6), (5, 2, 6))),
    "normal": (nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), ((2, 6),)),
    "fold": (nn.Sequential(nn.Unfold(3), nn.Conv1d(27, 9, 1), nn.Fold((4, 4), 3)), ((1, 3, 4, 4),)),
    "shuffles": (nn.Sequential(nn.Conv2d(4, 8, 3), nn.PixelShuffle(2)), ((1, 4, 6, 6),)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_torch(name: str) -> None:
    model, shapes = LAYERS[name]
    assert_counted_alike(model, *shapes)


def test_parametrizations_cost_what_they_multiply_in_every_run() -> None:
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)).eval()
    # The norm is `u @ (W @ v)`; PyTorch's counter leaves out products with vectors.
    assert atrous.inspect(spectral, (2, 6)).macs == 2 * 6 * 5 + 5 * 6 + 5


BY_HAND: dict[str, tuple[Step, tuple[int, ...], int]] = {
    "matrix by vector": (lambda x: torch.mv(x, x[0]), (7, 12), 7 * 12),
    "matmul by vector": (lambda x: x @ x[0, 0], (3, 7, 12), 3 * 7 * 12),
    "vector by vector": (lambda x: torch.dot(x[0], x[1])[None], (2, 12), 12),
    "addmv": (lambda x: torch.addmv(x[:, 0], x, x[1]), (7, 12), 7 * 12),
    "addbmm": (
        lambda x: torch.addbmm(x[0, :, :7], x, x.transpose(1, 2)),
        (3, 7, 12),
        3 * 7 * 7 * 12,
    ),
    "distances": (lambda x: torch.cdist(x, x[:, :4]), (3, 7, 12), 3 * 7 * 4 * 12),
    "many distances": (lambda x: torch.cdist(x, x), (1, 40, 2), 40 * 40 * 2),
    "bilinear": (
        lambda x: functional.bilinear(x, x[..., :5], torch.ones(4, 12, 5)),
        (3, 7, 12),
        3 * 7 * 4 * 12 * 5,
    ),
    "convolution, time first": (
        lambda x: torch.conv_tbc(x, torch.ones(3, 12, 4), torch.ones(4)),
        (9, 2, 12),
        7 * 2 * 3 * 12 * 4,
    ),
    "an embedding": (
        lambda x: functional.embedding((x > 0).long(), torch.ones(9, 4)),
        (2, 7),
        0,
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_pytorch_does_not_count_has_one_product_for_each_combination(name: str) -> None:
    step, shape, macs = BY_HAND[name]
    report = atrous.inspect(Calls(step), shape)
    assert report.macs == macs
    assert "macs" not in report.uncounted


@pytest.mark.parametrize(
    "step",
    [
        lambda x: torch.linalg.inv(x),
        lambda x: torch.linalg.svd(x)[0],
        lambda x: torch.linalg.solve(x, x),
        lambda x: torch.matrix_exp(x),
        lambda x: torch.linalg.det(x),
        lambda x: torch.linalg.cholesky(x),
    ],
)
def test_factorizations_have_no_count_and_say_so(step: Step) -> None:
    assert "macs" in atrous.inspect(Calls(step), (2, 7, 7)).uncounted
