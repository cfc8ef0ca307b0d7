"""Small random PyTorch models with every way of moving along an axis that conversions must meet."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

__all__ = ["Drawn", "drawn_model", "runs", "with_random_weights"]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BACK = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVG = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ZERO = (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
_MIRROR = (nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d)
_EDGE = (nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d)
_ROUND = (nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)
_F_CONV = (F.conv1d, F.conv2d, F.conv3d)
_F_MAX = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_F_AVG = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


class PaddedConv(nn.Module):
    """Pads its input by hand, then convolves by a module."""

    def __init__(self, conv: nn.Module, pads: tuple[int, ...], mode: str) -> None:
        super().__init__()
        self.conv, self.pads, self.mode = conv, pads, mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, self.pads, mode=self.mode))


class FunctionConv(nn.Module):
    """Calls the function of a convolution on a weight of its own, perhaps behind a padding."""

    def __init__(
        self, rank: int, shape: Sequence[int], window: tuple[int, int, int], pads: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape))
        self.run, self.window, self.pads = _F_CONV[rank - 1], window, pads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stride, dilation, padding = self.window
        if any(self.pads):
            x = F.pad(x, self.pads)
        return self.run(x, self.weight, None, stride, padding, dilation)


class FunctionPool(nn.Module):
    """Calls the function of a pool, perhaps behind a padding."""

    def __init__(self, run: Callable[..., torch.Tensor], pads: Sequence[int], **given: Any) -> None:
        super().__init__()
        self.run, self.pads, self.given = run, tuple(pads), given

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if any(self.pads):
            x = F.pad(x, self.pads)
        return self.run(x, **self.given)


class Strided(nn.Module):
    """Takes every so-manieth position by slicing."""

    def __init__(self, rank: int, start: int, step: int) -> None:
        super().__init__()
        self.rank, self.start, self.step = rank, start, step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cut = slice(self.start, None, self.step)
        if self.rank == 1:
            return x[..., cut]
        return x[:, :, cut, cut] if self.rank == 2 else x[:, :, cut, cut, cut]


class Conv1dSame(nn.Conv1d):
    """Works its padding out anew at each length, as TensorFlow does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv1d(_same(x, self), self.weight, self.bias, self.stride, 0, self.dilation,
                        self.groups)  # fmt: skip


class Conv2dSame(nn.Conv2d):
    """Works its padding out anew at each size, as TensorFlow does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(_same(x, self), self.weight, self.bias, self.stride, 0, self.dilation,
                        self.groups)  # fmt: skip


def _same(x: torch.Tensor, conv: Any) -> torch.Tensor:
    pads: list[int] = []
    given = zip(conv.kernel_size, conv.stride, conv.dilation, x.shape[2:], strict=True)
    for kernel, stride, dilation, size in reversed(list(given)):
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Excite(nn.Module):
    """Squeeze and excitation: every position scaled by what all of them say."""

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        self.rank = rank
        self.squeeze = _CONVS[rank - 1](channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=tuple(range(2, 2 + self.rank)), keepdim=True)
        return x * torch.sigmoid(self.squeeze(mean))


class Residual(nn.Module):
    """Two branches added."""

    def __init__(self, main: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.main(x) + self.shortcut(x), 0.2)


class Beside(nn.Module):
    """Branches laid side by side."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Twice(nn.Module):
    """One module called twice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.tanh(self.layer(x)))


class Spread(nn.Module):
    """A pooled branch spread over the map again, and added to it."""

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        self.rank = rank
        self.mix = _CONVS[rank - 1](channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.mix(x.mean(dim=tuple(range(2, 2 + self.rank)), keepdim=True))
        return x + F.interpolate(mean, size=x.shape[2:], mode="nearest")


@dataclass
class Drawn:
    """A model, its input shape, the product of its strides, and what it was made of."""

    model: nn.Module
    shape: tuple[int, ...]
    stride: int
    resized: bool
    plain: bool
    said: list[str] = field(default_factory=list)

    def at(self, more: int) -> tuple[int, ...]:
        """The input shape with so many positions more along each axis."""
        return (*self.shape[:2], *(size + more for size in self.shape[2:]))


class _Maker:
    def __init__(self, rng: random.Random, rank: int, *, plain: bool, rates: bool) -> None:
        self.rng, self.rank, self.plain, self.rates = rng, rank, plain, rates
        self.channels = rng.randint(2, 4)
        self.stride = 1
        self.resized = False
        self.said: list[str] = []

    def made(self, depth: int) -> nn.Module:
        layers: list[nn.Module] = []
        kinds = ["conv"] * 6 + ["residual", "norm", "relu"]
        if not self.plain:
            kinds += ["conv"] * 3 + ["pool"] * 4
            kinds += ["slice", "residual", "beside", "twice", "back", "mode", "mode", "same"]
            kinds += ["excite"] * (self.rng.random() < 0.15) + ["spread"] * (
                self.rng.random() < 0.1
            )
        for _ in range(depth):
            kind = self.rng.choice(kinds)
            layers.append(getattr(self, f"_{kind}")())
        if not self.plain and self.rng.random() < 0.12:
            layers.append(self._up())
        return nn.Sequential(*layers)

    def _say(self, text: str) -> None:
        self.said.append(text)

    def _numbers(self, *, stride: bool = True) -> tuple[int, int, int, int]:
        kernel = self.rng.choice([1, 3, 3, 5]) if self.plain else self.rng.randint(1, 5)
        if self.rank > 1:
            kernel = min(kernel, 4)
        step = self.rng.choice([1, 1, 2, 2, 3]) if stride and self.stride < 7 else 1
        rate = self.rng.choice([1, 1, 2, 3]) if self.rates else self.rng.choice([1, 1, 1, 2, 3])
        self.stride *= step
        return kernel, step, rate, (kernel - 1) * rate + 1

    def _wide(self, cin: int, cout: int, kernel: int, **given: Any) -> Any:
        return _CONVS[self.rank - 1](cin, cout, kernel, **given)

    def _flat(self, lo: int, hi: int) -> tuple[int, ...]:
        return (lo, hi) * self.rank

    def _conv(self) -> nn.Module:
        kernel, step, rate, extent = self._numbers()
        groups = self.channels if self.rng.random() < 0.2 else 1
        cout = self.channels if groups > 1 else self.rng.randint(2, 4)
        cin, self.channels = self.channels, cout
        how = "plain" if self.plain else self.rng.choice(
            ["plain", "plain", "module", "by hand", "function"])  # fmt: skip
        given = {"stride": step, "dilation": rate, "groups": groups}
        lo, hi = self.rng.randint(0, extent - 1), self.rng.randint(0, extent - 1)
        half = extent // 2 if self.plain else self.rng.choice([0, extent // 2, extent - 1])
        self._say(f"conv {how} k{kernel} s{step} d{rate} p{half if how == 'plain' else (lo, hi)}")
        if how == "plain":
            return self._wide(cin, cout, kernel, padding=half, **given)
        inner = self.rng.choice([0, 0, 1])
        if how == "module":
            pad = _ZERO[self.rank - 1](self._flat(lo, hi), 0.0)
            return nn.Sequential(pad, self._wide(cin, cout, kernel, padding=inner, **given))
        pads = self._flat(lo, hi)
        if how == "by hand":
            conv = self._wide(cin, cout, kernel, padding=inner, **given)
            return PaddedConv(conv, pads, "constant")
        shape = (cout, cin, *(kernel,) * self.rank)
        if self.rng.random() < 0.4:
            pads = self._flat(0, 0)
        return FunctionConv(self.rank, shape, (step, rate, inner), pads)

    def _mode(self) -> nn.Module:
        kernel, step, rate, extent = self._numbers()
        lo, hi = (min(self.rng.randint(0, extent - 1), 3) for _ in range(2))
        cin = self.channels
        given = {"stride": step, "dilation": rate}
        mode = self.rng.choice(["reflect", "replicate", "circular"])
        how = self.rng.choice(["argument", "module", "by hand"])
        self._say(f"conv {mode} {how} k{kernel} s{step} d{rate} p{lo, hi}")
        if how == "argument":
            return self._wide(cin, cin, kernel, padding=lo, padding_mode=mode, **given)
        conv = self._wide(cin, cin, kernel, **given)
        if how == "by hand":
            return PaddedConv(conv, self._flat(lo, hi), mode)
        kinds = {"reflect": _MIRROR, "replicate": _EDGE, "circular": _ROUND}
        return nn.Sequential(kinds[mode][self.rank - 1](self._flat(lo, hi)), conv)

    def _same(self) -> nn.Module:
        cin = self.channels
        if self.rank < 3 and self.rng.random() < 0.6:
            kernel, step, rate, _ = self._numbers()
            self._say(f"conv SAME k{kernel} s{step} d{rate}")
            return (Conv1dSame, Conv2dSame)[self.rank - 1](
                cin, cin, kernel, stride=step, dilation=rate
            )
        kernel, _, rate, _ = self._numbers(stride=False)
        self._say(f"conv same k{kernel} d{rate}")
        return self._wide(cin, cin, kernel, dilation=rate, padding="same")

    def _pool(self) -> nn.Module:
        kernel = self.rng.randint(2, 4)
        step = self.rng.choice([1, 2, 2, 3]) if self.stride < 7 else 1
        self.stride *= step
        given: dict[str, Any] = {
            "kernel_size": kernel,
            "stride": step,
            "padding": self.rng.randint(0, kernel // 2),
            "ceil_mode": self.rng.random() < 0.4,
        }
        largest = self.rng.random() < 0.5
        if largest:
            given["dilation"] = self.rng.choice([1, 1, 2])
        else:
            given["count_include_pad"] = self.rng.random() < 0.5
        how = self.rng.choice(["module", "module", "function", "padded"])
        self._say(f"{'max' if largest else 'average'} pool {how} {given}")
        if how == "module":
            return (_MAX if largest else _AVG)[self.rank - 1](**given)
        pads = self._flat(self.rng.randint(0, 1), self.rng.randint(0, 2)) if how == "padded" else ()
        return FunctionPool((_F_MAX if largest else _F_AVG)[self.rank - 1], pads, **given)

    def _slice(self) -> nn.Module:
        step = self.rng.choice([1, 2, 3]) if self.stride < 7 else 1
        start = self.rng.choice([0, 0, 1, 2])
        self.stride *= step
        self._say(f"slice {start}::{step}")
        return Strided(self.rank, start, step)

    def _norm(self) -> nn.Module:
        return _NORM[self.rank - 1](self.channels)

    def _relu(self) -> nn.Module:
        return nn.LeakyReLU(0.2, inplace=self.rng.random() < 0.5)  # with no map of zeros only

    def _back(self) -> nn.Module:
        kernel, rate = self.rng.randint(1, 4), self.rng.choice([1, 2])
        padding = self.rng.randint(0, (kernel - 1) * rate)
        self._say(f"transposed k{kernel} d{rate} p{padding}")
        return _BACK[self.rank - 1](
            self.channels, self.channels, kernel, dilation=rate, padding=padding
        )

    def _excite(self) -> nn.Module:
        self._say("squeeze and excitation")
        return Excite(self.rank, self.channels)

    def _spread(self) -> nn.Module:
        self._say("spread mean")
        return Spread(self.rank, self.channels)

    def _twice(self) -> nn.Module:
        kernel, _, rate, extent = self._numbers(stride=False)
        kernel, extent = kernel | 1, (kernel | 1) * rate - rate + 1
        self._say(f"twice k{kernel} d{rate}")
        c = self.channels
        return Twice(self._wide(c, c, kernel, dilation=rate, padding=extent // 2))

    def _up(self) -> nn.Module:
        self.resized = True
        mode = self.rng.choice(["nearest", ("linear", "bilinear", "trilinear")[self.rank - 1]])
        self._say(f"upsampling, {mode}")
        return nn.Upsample(scale_factor=2, mode=mode)

    def _branch(self, step: int, channels: int) -> nn.Module:
        """A branch that makes `ceil(length / step)` positions of any length."""
        how = self.rng.choice(["conv", "conv", "wide", "pool", "average", "slice"])
        if self.plain:
            how = self.rng.choice(["conv", "wide"])
        one = self._wide(self.channels, channels, 1)
        self._say(f"  branch {how} s{step}")
        if how == "slice":
            return nn.Sequential(Strided(self.rank, 0, step), one)
        if how == "pool":
            return nn.Sequential(_MAX[self.rank - 1](3, step, 1), one)
        if how == "average":
            pool = _AVG[self.rank - 1](
                step, step, ceil_mode=True, count_include_pad=self.rng.random() < 0.5
            )
            return nn.Sequential(pool, one)
        if how == "conv":
            return self._wide(self.channels, channels, 1, stride=step)
        kernel = 3 if self.plain else self.rng.randint(2, 4)
        rate = self.rng.randint(1, 2)
        extent = (kernel - 1) * rate + 1
        lo = extent // 2 if self.plain else self.rng.randint(0, extent - 1)
        conv = self._wide(self.channels, channels, kernel, stride=step, dilation=rate)
        if lo == extent - 1 - lo:
            conv = self._wide(
                self.channels, channels, kernel, stride=step, dilation=rate, padding=lo
            )
            return nn.Sequential(conv, _NORM[self.rank - 1](channels))
        pad = _ZERO[self.rank - 1](self._flat(lo, extent - 1 - lo), 0.0)
        return nn.Sequential(pad, conv)

    def _residual(self) -> nn.Module:
        step = self.rng.choice([1, 2, 2, 3]) if self.stride < 7 else 1
        channels = self.rng.randint(2, 4)
        self._say(f"residual s{step}")
        both = [self._branch(step, channels) for _ in range(2)]
        self.stride *= step
        self.channels = channels
        return Residual(*both)

    def _beside(self) -> nn.Module:
        step = self.rng.choice([1, 2]) if self.stride < 7 else 1
        self._say(f"beside s{step}")
        both = [self._branch(step, 2) for _ in range(2)]
        self.stride *= step
        self.channels = 4
        return Beside(both)


def drawn_model(
    seed: int, rank: int = 1, *, plain: bool = False, rates: bool = False, depth: int = 0
) -> Drawn:
    """A random model that runs at its shape and up to 3 positions more along each axis.

    `plain` ones have odd kernels and symmetric padding only. Those with `rates` have no stride.
    """
    rng = random.Random(1000 * seed + rank)
    for _ in range(200):
        maker = _Maker(rng, rank, plain=plain, rates=rates)
        channels = maker.channels
        if rates:
            maker.stride = 100
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = maker.made(depth or rng.randint(2, 5 if rank == 1 else 4)).eval()
        stride = maker.stride // 100 if rates else maker.stride
        longest = (40, 19, 13)[rank - 1]
        sizes = tuple(rng.randint(11 if rank < 3 else 8, longest) for _ in range(rank))
        found = Drawn(model, (1, channels, *sizes), stride, maker.resized, plain, maker.said)
        if (stride > 1 or rates) and _sound(found):
            return found
    raise AssertionError("no model that runs was drawn")


def _sound(found: Drawn) -> bool:
    for more in range(4):
        try:
            made = runs(found.model, found.at(more))
        except (RuntimeError, IndexError, ValueError):
            return False
        if min(made.shape[2:]) < (5 if made.dim() == 3 else 3) or not torch.isfinite(made).all():
            return False
    return True


def runs(model: nn.Module, shape: Sequence[int], seed: int = 3) -> torch.Tensor:
    """What the model makes, in float64 and evaluation mode, of one random input of that shape."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tuple(shape), generator=generator, dtype=torch.double)
    with torch.no_grad():
        return copy.deepcopy(model).double().eval()(x)


def with_random_weights(models: Sequence[nn.Module], seed: int = 5) -> None:
    """Gives all of them the same random parameters and statistics, none of them 0, key by key."""
    for key in models[0].state_dict():
        generator = torch.Generator().manual_seed(seed)
        seed += 1
        for model in models:
            value = model.state_dict()[key]
            if value.is_floating_point():
                generator.manual_seed(seed)
                fan = value[0].numel() if value.dim() > 1 else 1
                drawn = torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5
                value.copy_(drawn.abs() + 0.5 if "running_var" in key else drawn)
