"""Memory of training against PyTorch's profiler over real steps, and optimizers' state by name."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import atrous
from tests.memory_probe import profiled_steps
from tests.shortened import shortened

SCALAR = 64
"""A number that PyTorch makes a tensor of for an op takes 8 bytes."""
RANDOM = 5056
"""What checkpointing keeps of the random numbers' state, which no op makes."""


def summed(output: Any) -> torch.Tensor:
    """The sum of all outputs."""
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, torch.Tensor):
        output = [output]
    parts = [p for o in output for p in (o if isinstance(o, list) else [o])]
    parts = [torch.view_as_real(p) if p.is_complex() else p for p in parts]
    total = parts[0].sum()
    for part in parts[1:]:
        total = total + part.sum()
    return total


MOMENTUM = partial(torch.optim.SGD, lr=1e-3, momentum=0.9)


def assert_as_profiled(
    model: nn.Module,
    *args: torch.Tensor,
    make: Any = MOMENTUM,
    loss: Any = summed,
    within: int = SCALAR,
    kernels: bool = True,
    **how: Any,
) -> atrous.Training:
    """Both steps hold at most what the profiler says."""
    torch.manual_seed(0)
    cast = how.pop("autocast", None)
    name = None if cast is None else str(cast)
    found = atrous.training(model, args, optimizer=make, loss=loss, autocast=name, **how)
    peaks = profiled_steps(model, args, make, loss, autocast=cast, **how)
    for ours, real in zip((found.first, found.later), peaks, strict=True):
        seen = real.tensors if kernels else real.everything
        assert ours.peak_bytes == pytest.approx(seen, abs=within), (ours, real)
        parts = [value for key, value in ours.to_dict().items() if key not in NO_PART]
        assert sum(parts) == ours.peak_bytes
        assert min(parts) >= 0
    return found


NO_PART = {"peak_bytes", "phase", "at"}


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:resnet18",
        "torchvision:mobilenet_v2",
        "torchvision:shufflenet_v2_x0_5",
        "timm:convnext_atto",
    ],
)
def test_the_peak_of_a_real_model_is_what_the_profiler_sees(name: str) -> None:
    torch.manual_seed(0)
    library, _, model = name.partition(":")
    made = (
        timm.create_model(model)
        if library == "timm"
        else torchvision.models.get_model(model, weights=None)
    )
    assert_as_profiled(shortened(made), torch.zeros(2, 3, 64, 64))


class Residual(nn.Module):
    """Gradients that meet: some are added in place, some beside."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x).relu()
        y = self.b(x).relu() + x
        return torch.cat([y, self.c(y) * y + x, x], 1).sigmoid()


class Square(torch.autograd.Function):
    """A function with a backward of its own, which adds what it holds on to."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x + x

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        moved = x + g
        return moved * g + x


class Custom(nn.Module):
    """Uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Square.apply(self.a(x))


class Checkpointed(nn.Module):
    """Blocks that run again in the backward pass."""

    def __init__(self, reentrant: bool, on: bool = True) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        inner = [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Dropout(), nn.Conv2d(16, 16, 1)]
        self.b = nn.Sequential(*inner, nn.Tanh())
        self.reentrant, self.on = reentrant, on

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        for _ in range(3):
            x = checkpoint(self.b, x, use_reentrant=self.reentrant) if self.on else self.b(x)
        return x


class Tied(nn.Module):
    """One weight, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.mix = nn.Linear(16, 16)
        self.out = nn.Linear(16, 50, bias=False)
        self.out.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(self.mix(self.words(tokens)).tanh())


class Several(nn.Module):
    """Outputs in a dict and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 3)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        x = self.a(x).relu()
        return {"b": self.b(x), "c": [self.c(x)]}


class Recurring(nn.Module):
    """A recurrent layer over the first rows of a map."""

    def __init__(self, layer: nn.RNNBase, rows: int = 16) -> None:
        super().__init__()
        self.layer, self.rows = layer, rows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x[:, 0, : self.rows])[0]


class Spectral(nn.Module):
    """Complex weights and a complex output."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 9, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        y = torch.fft.rfft(x) * self.w[:, None]
        return [torch.fft.irfft(y).tanh(), y]


def _plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Conv2d(16, 8, 3),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def _frozen() -> nn.Sequential:
    model = _plain()
    model[:2].requires_grad_(False)
    return model


IMAGES = (4, 3, 16, 16)


@pytest.mark.parametrize(
    "model",
    [
        _plain(),
        _frozen(),
        Residual(),
        Custom(),
        Several(),
        Recurring(nn.GRU(16, 24, 2, batch_first=True, dropout=0.2), rows=4),
        nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 5, 3)),
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(5, 5, 3)),
        ),
        nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.InstanceNorm2d(6, affine=True),
            nn.GroupNorm(3, 6),
            nn.LayerNorm(14),
            nn.Softmax(1),
            nn.Upsample(scale_factor=2, mode="bicubic"),
        ),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)).to(
            memory_format=torch.channels_last
        ),
        nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.PReLU(8),
            nn.MaxPool2d(2),
            nn.ConvTranspose2d(8, 4, 2, 2),
            nn.SiLU(inplace=True),
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_storage_of_a_step_is_followed_to_the_byte(model: nn.Module) -> None:
    assert_as_profiled(model, torch.zeros(IMAGES))


def test_tokens_tied_weights_and_attention_are_followed_to_the_byte() -> None:
    assert_as_profiled(Tied(), torch.zeros(4, 9, dtype=torch.long))
    layer = nn.TransformerEncoderLayer(16, 4, 64, batch_first=True)
    assert_as_profiled(nn.TransformerEncoder(layer, 2), torch.zeros(4, 8, 16))


def test_a_recurrent_layer_of_onednn_is_asked_for_what_it_notes_down() -> None:
    model = Recurring(nn.LSTM(16, 24, 2, batch_first=True, bidirectional=True))
    # Of two biases the kernel makes both gradients, and what stands for it one of them.
    found = assert_as_profiled(model, torch.zeros(IMAGES), within=4 * 24 * 4 + SCALAR)
    assert found.later.activations > 10 * 4 * 16 * 48 * 4


def test_complex_numbers_are_followed_with_what_conjugates_them() -> None:
    assert_as_profiled(Spectral(), torch.zeros(IMAGES), kernels=False)


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_checkpointing_saves_falls_out_of_the_run(reentrant: bool) -> None:
    model = Checkpointed(reentrant)
    found = assert_as_profiled(model, torch.zeros(8, 3, 32, 32), within=3 * RANDOM + SCALAR)
    whole = atrous.training(Checkpointed(reentrant, on=False), (8, 3, 32, 32))
    assert sum(row.nbytes for row in found.kept) < sum(row.nbytes for row in whole.kept) / 3
    assert found.peak_bytes < whole.peak_bytes


@pytest.mark.parametrize("model", [_plain(), Residual()], ids=["plain", "residual"])
def test_autocast_is_followed(model: nn.Module) -> None:
    found = assert_as_profiled(
        model, torch.zeros(4, 3, 16, 16), autocast=torch.bfloat16, within=2 * SCALAR
    )
    assert found.autocast == "bfloat16"
    assert found.peak_bytes < atrous.training(model, (4, 3, 16, 16)).peak_bytes


def _against_zeros(loss: Any, **how: Any) -> Any:
    return lambda output: loss(output, torch.zeros(output.shape), **how)


@pytest.mark.parametrize(
    "loss",
    [
        _against_zeros(functional.mse_loss),
        _against_zeros(functional.mse_loss, reduction="sum"),
        _against_zeros(lambda *pair: functional.mse_loss(*pair, reduction="none").sum()),
        _against_zeros(functional.smooth_l1_loss),
        _against_zeros(functional.soft_margin_loss),
        _against_zeros(functional.huber_loss),
        _against_zeros(functional.l1_loss),
    ],
    ids=["mse", "mse, sum", "mse, none", "smooth l1", "soft margin", "huber", "l1"],
)
def test_a_loss_keeps_the_storage_in_which_its_kernel_reduces(loss: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    assert_as_profiled(model, torch.randn(2, 3, 24, 24), loss=loss)


PICKED = torch.zeros(2, 1, 22, 22, dtype=torch.long)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: x[:, [0, 2, 2]].sum(),
        lambda x: x[torch.arange(2)[:, None], torch.tensor([[0, 1]])].sum(),
        lambda x: x.index_select(1, torch.tensor([0, 2, 2])).sum(),
        lambda x: x.gather(1, PICKED).sum(),
        lambda x: x.topk(2, 1)[0].sum(),
        lambda x: x.max(1)[0].sum() + x.sort(1)[0].sum(),
    ],
    ids=["list", "pairs", "index_select", "gather", "topk", "max and sort"],
)
def test_gradients_of_what_was_picked_are_added_into_zeros_in_place(loss: Any) -> None:
    assert_as_profiled(nn.Conv2d(3, 8, 3), torch.randn(2, 3, 24, 24), loss=loss)


class Copied(torch.autograd.Function):
    """Picks one channel; its own backward does copy the zeros that it adds to."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return x[:, :1].clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        zeros = torch.zeros(2, 8, 22, 22)
        return zeros.scatter_add(1, PICKED, grad) + zeros


def test_a_backward_of_ones_own_that_copies_is_followed_as_it_runs() -> None:
    def loss(x: torch.Tensor) -> torch.Tensor:
        picked: torch.Tensor = Copied.apply(x)
        return picked.sum()

    assert_as_profiled(nn.Conv2d(3, 8, 3), torch.randn(2, 3, 24, 24), loss=loss)


def test_gradients_that_are_kept_are_there_in_the_next_forward_pass() -> None:
    found = assert_as_profiled(_plain(), torch.zeros(IMAGES), keep_gradients=True)
    freed = atrous.training(_plain(), IMAGES)
    assert found.later.gradients > freed.later.gradients


OPTIMIZERS = [
    "SGD",
    "Adam",
    "AdamW",
    "Adagrad",
    "RMSprop",
    "Adadelta",
    "Adamax",
    "NAdam",
    "RAdam",
    "ASGD",
    "Rprop",
    "Adafactor",
]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_by_name_holds_what_the_real_one_holds(name: str) -> None:
    model = Residual()
    kind = getattr(torch.optim, name)
    found = assert_as_profiled(model, torch.zeros(1, 3, 2, 2), make=kind)
    named = atrous.training(model, (1, 3, 2, 2), optimizer=name.lower(), loss=summed)
    assert named.later == found.later
    assert named.later.optimizer_state == _state(model, kind)


@pytest.mark.parametrize(
    ("text", "make"),
    [
        ("sgd?momentum=0.9", MOMENTUM),
        (
            "rmsprop?momentum=0.9&centered=true",
            partial(torch.optim.RMSprop, momentum=0.9, centered=True),
        ),
        ("adamw?amsgrad=true", partial(torch.optim.AdamW, amsgrad=True)),
        ("adamw?foreach=true", partial(torch.optim.AdamW, foreach=True)),
        ("adamw?fused=true", partial(torch.optim.AdamW, fused=True)),
    ],
)
def test_arguments_of_an_optimizer_count(text: str, make: Any) -> None:
    model = nn.Linear(64, 64)
    found = assert_as_profiled(model, torch.zeros(1, 64), make=make)
    named = atrous.training(model, (1, 64), optimizer=text, loss=summed)
    assert named.later == found.later
    assert named.later.optimizer_state == _state(model, make)


def _state(model: nn.Module, make: Any) -> int:
    """The bytes of the tensors that a real optimizer holds after a step."""
    optimizer = make(list(model.parameters()))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    held = [v for state in optimizer.state.values() for v in state.values()]
    return sum(value.nbytes for value in held if isinstance(value, torch.Tensor))
