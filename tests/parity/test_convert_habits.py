"""Habits of model code that hide a layer's padding or its place, each converted and measured."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous import ConversionError

SIZES = (48, 61, 64, 67)


def errors(model: nn.Module, dense: nn.Module, channels: int = 3) -> dict[int, float]:
    """By size, the largest difference of `dense[::D] == original` in float64."""
    found = {}
    one, two = (copy.deepcopy(m).double().eval() for m in (model, dense))
    for size in SIZES:
        generator = torch.Generator().manual_seed(size)
        x = torch.randn(1, channels, size, size, dtype=torch.double, generator=generator)
        with torch.no_grad():
            before, after = one(x), two(x)
        factor = -(-after.shape[-1] // before.shape[-1])
        kept = after[..., ::factor, ::factor]
        found[size] = float((kept - before).abs().max() / before.std())
    return found


def assert_exact(model: nn.Module, stride: int, size: int = 64) -> atrous.Conversion:
    made = atrous.convert(model, stride, input=(1, 3, size, size))
    assert made.certificate.verdict == "exact"
    assert made.certificate.state == "measured"
    assert max(errors(model, made.model).values()) < 1e-10
    assert list(made.model.state_dict()) == list(model.state_dict())
    return made


class Listed(nn.Module):
    """Children that the code reaches through a container of its own, besides."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        parts = [nn.Conv2d(8, 8, 3, padding=1), nn.AvgPool2d(2, 2), nn.Conv2d(8, 8, 3, padding=1)]
        for index, part in enumerate(parts):
            self.add_module(str(index), part)
        if how == "dict":
            self.parts = {"all": dict(enumerate(parts))}
        else:
            self.parts = {"list": parts, "nested": [parts[:1], parts[1:]], "tuple": tuple(parts)}[
                how
            ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(x)
        parts = self.parts["all"].values() if isinstance(self.parts, dict) else self.parts
        for part in parts:
            for layer in part if isinstance(part, list) else [part]:
                x = layer(x)
        return x


@pytest.mark.parametrize("how", ["list", "nested", "tuple", "dict"])
def test_children_in_a_plain_container_are_converted(how: str) -> None:
    torch.manual_seed(0)
    made = assert_exact(Listed(how).eval(), 1)
    assert type(made.model) is Listed


class Same(nn.Module):
    """A convolution for which its block pads as TensorFlow does, by numbers of its input's size."""

    def __init__(self, inward: int, outward: int, kernel: int, stride: int, how: str) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inward, outward, kernel, stride)
        self.norm, self.how = nn.BatchNorm2d(outward), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(functional.pad(x, self.pads(x)))).relu()

    def pads(self, x: torch.Tensor) -> tuple[int, ...]:
        found: list[int] = []
        for dim in (-1, -2):
            size = int(x.shape[dim]) if self.how == "int" else x.size(dim)
            stride = self.convolution.stride[dim]
            reach = (self.convolution.kernel_size[dim] - 1) * self.convolution.dilation[dim] + 1
            more = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            if self.how == "own rule" and size % 3 == 1:
                found += [more, 0]
            else:
                found += [more // 2, more - more // 2]
        return tuple(found)


def blocks(how: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Same(3, 8, 3, 2, how), Same(8, 8, 4, 2, how), Same(8, 8, 3, 1, how), Same(8, 8, 5, 2, how)
    ).eval()


@pytest.mark.parametrize("stride", [4, 2, 1])
@pytest.mark.parametrize("how", ["int", "size"])
def test_a_padding_by_a_function_of_the_size_follows_it(how: str, stride: int) -> None:
    made = assert_exact(blocks(how), stride)
    assert any(edit.attribute == "input padding" for edit in made.edits)
    assert "SAME" in " ".join(str(edit) for edit in made.edits)


def test_a_padding_by_a_rule_of_its_own_is_refused_with_the_code_that_pads() -> None:
    with pytest.raises(ConversionError) as raised:
        atrous.convert(blocks("own rule"), 4, input=(1, 3, 64, 64))
    assert "the code of Same around it pads for it" in str(raised.value)
    assert "rule of its own" in str(raised.value)


class Fixed(nn.Module):
    """A block that pads for its convolution by numbers that are always the same."""

    def __init__(self, inward: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inward, 8, 3, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.pad(x, (0, 1, 2, 1)))


def test_a_padding_by_numbers_in_the_code_around_a_layer_is_scaled() -> None:
    torch.manual_seed(0)
    assert_exact(nn.Sequential(Fixed(3, 2), Fixed(8, 2), Fixed(8, 1)).eval(), 1)


class Standardized(nn.Conv2d):
    """A convolution whose weights are standardized when it runs; at need padded inside."""

    pad: nn.Module | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        flat = functional.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6)
        weight = flat.reshape_as(self.weight)
        x = x if self.pad is None else self.pad(x)
        return functional.conv2d(
            x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class SamePad(nn.Module):
    """Pads as TensorFlow does for a window that it is told once."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for size in (x.shape[-1], x.shape[-2]):
            more = (math.ceil(size / self.stride) - 1) * self.stride + self.kernel - size
            pads += [max(more, 0) // 2, max(more, 0) - max(more, 0) // 2]
        return functional.pad(x, pads)


@pytest.mark.parametrize("pad", [None, nn.ZeroPad2d((0, 1, 0, 1)), SamePad(3, 2)])
def test_standardized_weights_with_a_padding_of_their_own_are_converted(pad) -> None:
    torch.manual_seed(0)
    inner = Standardized(8, 8, 3, 2, 1 if pad is None else 0)
    inner.pad = pad
    made = assert_exact(
        nn.Sequential(Standardized(3, 8, 3, 2, 1), inner, Standardized(8, 8, 3, 1, 1)).eval(), 2
    )
    assert type(made.model) is nn.Sequential
    assert type(made.model[1]) is Standardized
    assert made.model[1].stride == (1, 1)


class Causal(nn.Module):
    """A convolution of an audio codec: what it pads is worked out from numbers in buffers."""

    def __init__(self, inward: int, outward: int, kernel: int, stride: int, mode: str) -> None:
        super().__init__()
        self.conv, self.mode = nn.Conv1d(inward, outward, kernel, stride), mode
        for name, number in (("kernel", kernel), ("stride", stride), ("front", kernel - stride)):
            self.register_buffer(name, torch.tensor(number), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = (x.shape[-1] - self.kernel + self.front) / self.stride + 1
        whole = (torch.ceil(frames).to(torch.int64) - 1) * self.stride + self.kernel - self.front
        behind = whole - x.shape[-1]
        if self.mode == "reflect" and x.shape[-1] <= max(self.front, behind):
            x = functional.pad(x, (0, 1))
        return self.conv(functional.pad(x, (self.front, behind), mode=self.mode))


def codec(mode: str, *, last: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Causal(3, 6, 7, 1, mode),
        nn.ELU(),
        Causal(6, 6, 8, 4, mode),
        Causal(6, 6, 3, 1, mode),
        Causal(6, 6, 4, last, mode) if last > 1 else nn.ELU(),
        Causal(6, 4, 3, 1, mode),
    ).eval()


@pytest.mark.parametrize(
    ("mode", "last", "stride"),
    [("constant", 2, 4), ("constant", 2, 1), ("reflect", 2, 4), ("reflect", 1, 1)],
)
def test_a_padding_from_numbers_in_buffers_keeps_every_value(mode, last, stride) -> None:
    model = codec(mode, last=last)
    made = atrous.convert(model, stride, input=(1, 3, 96))
    assert made.certificate.verdict == "exact"
    assert made.certificate.state == "measured"
    one, two = (copy.deepcopy(m).double() for m in (model, made.model))
    for size in (96, 97, 98, 99, 103):
        x = torch.randn(1, 3, size, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            before, after = one(x), two(x)
        kept = after[..., :: -(-after.shape[-1] // before.shape[-1])]
        torch.testing.assert_close(kept, before, rtol=0, atol=1e-12)


def test_a_reflection_by_numbers_that_follow_the_size_is_refused_for_that() -> None:
    with pytest.raises(ConversionError, match="numbers that follow the size of its input"):
        atrous.convert(codec("reflect", last=2), 1, input=(1, 3, 96))
