"""Element-wise operations and norms that run as one pass compute what PyTorch's own do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous.optimization.candidates  # noqa: F401 - registers the strategies
from atrous.operators.kernels import native
from atrous.operators.kernels.elementwise import elementwise_natively
from atrous.optimization.graph.export import Exported, exported
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.growing import begun
from atrous.optimization.graph.norms import GroupFactors
from atrous.optimization.graph.one_pass import OnePass
from atrous.optimization.graph.passes import lowered
from atrous.optimization.graph.program import Program, compiled
from tests.weights import calibrate

pytestmark = pytest.mark.skipif(not elementwise_natively(), reason=native().reason)


class Acting(nn.Module):
    """Every function of one tensor, each behind a sum so that it has something to join."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x + 0.25)


class Cumulative(nn.Module):
    """A norm over channels and what came so far, as separators have it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(8, 1))
        self.bias = nn.Parameter(torch.rand(8, 1))

    def forward(self, x):
        count = torch.arange(1, x.shape[2] + 1, dtype=x.dtype) * x.shape[1]
        mean = x.sum(1, keepdim=True).cumsum(2) / count
        square = x.square().sum(1, keepdim=True).cumsum(2) / count
        scale = (square - mean.square() + 1e-5).rsqrt()
        return (x - mean) * scale * self.weight + self.bias


class Gated(nn.Module):
    """Squeeze and excitation, a shortcut and an activation: one pass with a factor of channels."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x):
        gate = self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True))))
        return functional.hardswish(x * functional.hardsigmoid(gate) + x)


class Shared(nn.Module):
    """What is between is read outside as well, so only a part may join."""

    def forward(self, x):
        y = torch.relu(x * 2 + 1)
        z = torch.tanh(y - x) * y
        return z, y.mean((2, 3))


class Crossing(nn.Module):
    """A row and a column broadcast together: more axes than the kernels take."""

    def forward(self, x):
        row, column = x[:, :, :1], x[:, :, :, :1]
        return torch.relu((x + row) * column) - x.mean(1, keepdim=True)


class Twice(nn.Module):
    """The same tensor on both sides, and constants on the left."""

    def forward(self, x):
        return (2.0 * (x * x) + 1.0 - x) / (x * x + 1)


class Dense(nn.Module):
    """A norm of several layers' maps side by side, as in DenseNet."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x):
        return self.two(torch.relu(self.norm(torch.cat([x, self.one(x)], 1))))


class Block(nn.Module):
    """A dense block: each layer reads all maps so far; `read` looks at one of the joins as well."""

    def __init__(self, read=False):
        super().__init__()
        self.read = read
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 4 * n) for n in range(5))
        self.convs = nn.ModuleList(nn.Conv2d(8 + 4 * n, 4, 3, padding=1) for n in range(4))

    def forward(self, x):
        maps, seen = [x], []
        for norm, conv in zip(self.norms, self.convs, strict=False):
            joined = torch.cat(maps, 1)
            seen += [joined.amax()] if self.read and len(maps) == 3 else []
            maps.append(conv(torch.relu(norm(joined))))
        return torch.relu(self.norms[-1](torch.cat(maps, 1))), *maps, *seen


class Before(nn.Module):
    """A norm that two convolutions without padding read, one of them grouped."""

    def __init__(self, padding=0, taps=1):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.one = nn.Conv2d(8, 16, taps, padding=padding)
        self.two = nn.Conv2d(8, 4, 3, groups=4, bias=False)

    def forward(self, x):
        y = self.norm(x)
        return self.one(y), self.two(y)


class Sliced(nn.Module):
    """Means of neighbours, as an exchanged pool takes them: inputs that are parts of a map."""

    def forward(self, x):
        rows = (x[:, :, 1:] + x[:, :, :-1]) * 0.5
        both = (rows[..., 1:] + rows[..., :-1]) * 0.5
        one, two = both.chunk(2, 1)
        return torch.tanh(one * 2) * torch.sigmoid(two + 1), x.transpose(2, 3) * 2 + 1


class Turned(nn.Module):
    """Maps that lie in memory as neither planes nor channels last do, and expanded ones."""

    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(4, 8)

    def forward(self, x):
        across, wide = x.transpose(1, 2), x[:, :1, :, :1].expand(-1, 8, -1, 31)
        gate = x.mean((1, 3))[..., None, None]
        turned = torch.relu(across * gate + 1), torch.relu(wide * x[0, 0] + 1)
        return functional.silu(self.norm(x.transpose(2, 3))), *turned


class Exact(nn.Module):
    """Quotients that are whole numbers, tiny divisors, and signs of zeros."""

    def forward(self, x):
        whole = torch.arange(8192.0).reshape(1, 8, 32, 32)
        zero = torch.relu(x[..., :30, :30]) * 0
        quotients = torch.floor((torch.relu(whole) + x.mean() * 0) / 41), torch.relu(zero) / 1e-40
        return *quotients, (-zero + -0.0).reciprocal(), (zero * -2).reciprocal(), zero / -4


class Means(nn.Module):
    """Means of channels in the spellings that models have, and others that stay as they are."""

    def forward(self, x):
        pooled = functional.adaptive_avg_pool2d(x, 1)
        kept, flat = x.mean((2, 3), keepdim=True), x.mean((-1, -2))
        squares = x.square().sum(1, keepdim=True), x.square().mean((2, 3)), x.sum((2, 3))
        others = x.mean(1), x.sum((0, 2)), functional.adaptive_avg_pool2d(x, 2)
        return pooled + kept, flat, *squares, *others


FUNCTIONS = {
    "relu": torch.relu,
    "relu6": functional.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": functional.silu,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "gelu": functional.gelu,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.3),
    "elu": lambda x: functional.elu(x, 0.7),
    "hardtanh": lambda x: functional.hardtanh(x, -0.5, 0.75),
    "clamp": lambda x: x.clamp(max=0.5),
    "exp": torch.exp,
    "square": torch.square,
    "power": lambda x: x**2,
    "neg": torch.neg,
    "abs": torch.abs,
    "sqrt": lambda x: (x * x + 1).sqrt(),
    "rsqrt": lambda x: (x * x + 1).rsqrt(),
    "reciprocal": lambda x: (x * x + 1).reciprocal(),
    "maximum": lambda x: torch.maximum(x, x * 2),
    "minimum": lambda x: torch.minimum(x, x * 2),
    "over": lambda x: x / 3,
}
MODELS = {
    **{name: (Acting(function), (2, 8, 24, 20)) for name, function in FUNCTIONS.items()},
    "cumulative": (Cumulative(), (2, 8, 700)),
    "gated": (Gated(), (1, 8, 33, 31)),
    "shared": (Shared(), (1, 8, 33, 31)),
    "crossing": (Crossing(), (1, 8, 33, 31)),
    "twice": (Twice(), (1, 8, 33, 31)),
    "dense": (Dense(), (2, 8, 17, 19)),
    "block": (Block(), (2, 8, 25, 27)),
    "block that is read": (Block(read=True), (1, 8, 25, 27)),
    "before": (Before(), (2, 8, 23, 19)),
    "group": (nn.Sequential(nn.GroupNorm(4, 8), nn.SiLU()), (2, 8, 23, 19)),
    "global": (nn.Sequential(nn.Conv1d(8, 8, 1), nn.GroupNorm(1, 8), nn.ReLU()), (2, 8, 700)),
    "volume": (nn.Sequential(nn.GroupNorm(2, 8, affine=False), nn.ReLU()), (1, 8, 9, 8, 10)),
}


MODELS |= {
    "sliced": (Sliced(), (2, 8, 33, 31)),
    "turned": (Turned(), (2, 8, 33, 31)),
    "exact": (Exact(), (1, 8, 33, 31)),
    "means": (Means(), (2, 8, 23, 19)),
}


def programs(model, x):
    """The model's program in each layout, and what the model gives."""
    found = exported(model, (x,))
    assert isinstance(found, Exported)
    with torch.inference_mode():
        wanted = model(x)
        wanted = [wanted] if isinstance(wanted, torch.Tensor) else [*wanted]
        for layout in ("contiguous", "channels_last"):
            graph = lowered(found.graph.__deepcopy__())
            run = compiled(Program(graph, found.constants, layout, {}), model).run
            yield graph, run, wanted


@pytest.mark.parametrize("name", MODELS)
def test_models_compute_the_same_in_both_layouts(name):
    torch.manual_seed(0)
    model, shape = MODELS[name]
    x = torch.randn(shape)
    calibrate(model, x)
    model.eval()
    for graph, run, wanted in programs(model, x):
        passes = [node for node in graph.nodes if isinstance(node.target, OnePass)]
        assert passes or name in {"before", "means"}
        before = x.clone()
        for _ in range(2):
            made = run(x)
            assert torch.equal(x, before)
            for one, two in zip(made, wanted, strict=True):
                torch.testing.assert_close(one, two, atol=3e-6, rtol=1e-5)


def test_new_parameters_are_read_at_the_next_preparation():
    model, shape = MODELS["dense"]
    model.eval()
    x = torch.randn(shape)
    found = exported(model, (x,))
    program = Program(lowered(found.graph), found.constants, "contiguous", {})
    with torch.no_grad():
        model.norm.running_mean += 1
        (made,) = compiled(program, model).run(x)
        torch.testing.assert_close(made, model(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "joins"), [("block", 0), ("block that is read", 1)])
def test_joins_that_grow_are_one_map(name, joins):
    model, shape = MODELS[name]
    model.eval()
    for graph, _, _ in programs(model, torch.randn(shape)):
        targets = [node.target for node in graph.nodes]
        assert targets.count(torch.ops.aten.cat.default) == joins
        assert targets.count(begun) == 1


@pytest.mark.parametrize(("padding", "taps", "folded"), [(0, 1, True), (0, 3, True), (1, 3, False)])
def test_norms_fold_into_layers_behind_them_that_read_no_padding(padding, taps, folded):
    model = Before(padding, taps).eval()
    x = torch.randn(1, 8, 33, 31)
    calibrate(model, x)
    model.eval()
    for graph, run, wanted in programs(model, x):
        steps = [n for n in graph.nodes if n.op == "call_function" and not is_layer(n)]
        assert folded == (not any(isinstance(n.target, OnePass) for n in steps))
        for one, two in zip(run(x), wanted, strict=True):
            torch.testing.assert_close(one, two, atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("norm", "conv"),
    [(8, nn.Conv2d(8, 4, 3)), (6, nn.Conv2d(6, 4, 3)), (0, nn.Conv2d(8, 8, 3, padding=1))],
)
def test_norms_of_a_batch_of_lines_stay_apart_from_layers_of_one_map(norm, conv):
    """A layer without a batch reads (N, C, L) as (C, H, W), whose channels are not the norm's."""
    first = nn.BatchNorm1d(norm) if norm else conv
    model = nn.Sequential(first, conv if norm else nn.BatchNorm1d(8))
    x = torch.randn(norm or 8, 8, 30)
    if norm == 6:
        x = torch.randn(6, 6, 30)
    model[0 if norm else 1].running_mean = torch.randn(norm or 8)
    model.eval()
    for _, run, wanted in programs(model, x):
        torch.testing.assert_close(run(x)[0], wanted[0], atol=3e-6, rtol=1e-5)


def test_maps_may_lie_otherwise_at_a_later_call():
    model, shape = MODELS["gated"]
    x = torch.randn(shape)
    for _, run, (wanted,) in programs(model.eval(), x):
        for other in (
            x.permute(0, 2, 1, 3).contiguous().permute(0, 2, 1, 3),
            x.contiguous(memory_format=torch.channels_last),
            x.transpose(2, 3).contiguous().transpose(2, 3),
        ):
            torch.testing.assert_close(run(other)[0], wanted, atol=3e-6, rtol=1e-5)


def test_norms_of_groups_agree_with_float64_far_from_zero():
    x = torch.randn(2, 8, 40, 30, dtype=torch.float64) + 50
    weight, bias = torch.rand(8), torch.rand(8)
    wanted = functional.group_norm(x, 2, weight.double(), bias.double())
    for one in (x.float(), x.float().contiguous(memory_format=torch.channels_last)):
        scale, shift = GroupFactors(2, 1e-5)(one, weight, bias)
        assert (one.double() * scale + shift - wanted).abs().max() < 2e-4
