"""A convolution in one group that trains: its forward and its gradients, each by a way of its own.

What is fastest forwards need not be so backwards: the gradient by the weights sums over positions
where the others sum over channels. Second derivatives, and what no way is named for, are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from atrous.frameworks.torch import is_batched
from atrous.geometry import symmetric
from atrous.operators.convolution import Convolution
from atrous.operators.kernels import native
from atrous.operators.kernels.torch_winograd import (
    filtered_by_data,
    filtered_by_weight,
    filtered_forward,
)
from atrous.operators.strategies import STRATEGIES, is_channels_last, padded, to_channels_last
from atrous.operators.strategies.taps import multiplied
from atrous.operators.tiles import LEVELS, living, tiled

__all__ = [
    "DIRECTIONS",
    "OWN",
    "PLAINLY",
    "RUNS",
    "Directions",
    "conv_directed",
    "conv_filtered",
    "has_ways",
    "reached_share",
    "ways_of",
]

OWN = "torch"
"""PyTorch's own operation, which goes in every direction."""
DIRECTIONS = ("forward", "data gradient", "weight gradient")
_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)


@dataclass(frozen=True, slots=True)
class Directions:
    """The way of each direction: `"torch"`, `"taps"`, or `"winograd N"` of that level."""

    forward: str = OWN
    by_data: str = OWN
    by_weight: str = OWN

    def __str__(self) -> str:
        ways = (self.forward, self.by_data, self.by_weight)
        return ways[0] if len({*ways}) == 1 else " | ".join(ways)


PLAINLY = Directions()
"""All of it by PyTorch."""


def conv_directed(
    x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution, ways: Directions
) -> Tensor:
    """The convolution `call` of one group, not transposed, in the layout of `x`; differentiable.

    A way that is none for this call raises `ValueError`.
    """
    made: Tensor = _Directed.apply(x, weight, bias, call, ways)
    return made


def conv_filtered(
    x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution, level: int
) -> Tensor:
    """The convolution `call` by tiles of that level, in the layout of `x`; differentiable.

    Its gradients take as few products, each by tiles of the same level: by the data where the
    stride is 1, by the weights where they are in one part too. The others, and second derivatives,
    are PyTorch's own. Raises `ValueError` where there are no tiles for it.
    """
    name = f"winograd {level}"
    forward, *back = (name if name in ways_of(way, call) else OWN for way in DIRECTIONS)
    if forward != name:
        raise ValueError("winograd: there are no tiles for this convolution.")
    return conv_directed(x, weight, bias, call, Directions(forward, *back))


def ways_of(direction: str, call: Convolution) -> tuple[str, ...]:
    """The ways that compute a direction of a convolution of one group, fast or not.

    >>> from atrous.geometry import Window
    >>> call = Convolution(1, 8, 8, (17, 17), (Window(3, 2, 1, 1, 1),) * 2)
    >>> ways_of("forward", call), ways_of("data gradient", call)
    (('torch', 'winograd 4', 'winograd 5', 'winograd 6', 'taps'), ('torch', 'taps'))
    """
    if call.rank > 2 or (direction != "forward" and max(call.stride) > 1):
        levels = []
    else:
        alive = living(call)[1]
        tilings = [(level, tiled(alive, level)) for level in LEVELS]
        # The gradient by the weights is that of one part, of exactly the kernel's taps.
        whole = direction == "weight gradient"
        levels = [n for n, one in tilings if one and not (whole and one.taps != alive.kernel)]
    return (OWN, *(f"winograd {level}" for level in levels), "taps")


def has_ways(ways: Directions, call: Convolution) -> bool:
    """Whether each way computes its direction of this call, here: tiles are for the kernels."""
    each = (ways.forward, ways.by_data, ways.by_weight)
    if any(map(_level, each)) and not native().available:
        return False
    named = zip(each, DIRECTIONS, strict=True)
    return all(way == OWN or way in ways_of(direction, call) for way, direction in named)


def reached_share(call: Convolution) -> float:
    """The share of a convolution's products that read the map; the others meet its padding.

    >>> from atrous.geometry import Window
    >>> reached_share(Convolution(1, 1, 1, (4, 4), (Window(3, 1, 4, 4, 4),) * 2))
    0.1111111111111111
    """
    shares = [
        sum(len(window.reached(tap, size)) for tap in range(window.kernel)) / (window.kernel * made)
        for window, size, made in zip(call.windows, call.sizes, call.outputs, strict=True)
    ]
    return prod(shares)


def run_forward(
    way: str, x: Tensor, weight: Tensor, bias: Tensor | None, call: Convolution
) -> Tensor:
    """The convolution, in the layout of `x`."""
    if level := _level(way):
        return filtered_forward(x, weight, bias, call, level)
    if way == "taps":
        return STRATEGIES["taps"].run(x, weight, bias, call)
    both, rest = symmetric(call.padding)
    run = _CONVOLUTIONS[call.rank - 1]
    return run(padded(x, rest), weight, bias, call.stride, both, call.dilation)


def run_by_data(way: str, grad: Tensor, x: Tensor, weight: Tensor, call: Convolution) -> Tensor:
    """The gradient by `x`, in the layout of `x` but for PyTorch's own."""
    if level := _level(way):
        return _laid_as(filtered_by_data(grad, weight, call, level), x)
    if way == "taps":
        return _by_data_of_taps(grad, x, weight, call)
    return _by_framework(grad, x, weight, call, (True, False, False))[0]


def run_by_weight(way: str, grad: Tensor, x: Tensor, weight: Tensor, call: Convolution) -> Tensor:
    """The gradient by `weight`."""
    if level := _level(way):
        return filtered_by_weight(x, grad, call, level)
    if way == "taps":
        return _by_weight_of_taps(grad, x, weight, call)
    return _by_framework(grad, x, weight, call, (False, True, False))[1]


RUNS = (run_forward, run_by_data, run_by_weight)


class _Directed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        call: Convolution,
        ways: Directions,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call, ctx.ways = call, ways
        bias = None if bias is None else bias.detach()
        # A view would refuse what is written into it, as `nn.ReLU(inplace=True)` does.
        return run_forward(ways.forward, x.detach(), weight.detach(), bias, call).detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        call, ways, wanted = ctx.call, ctx.ways, ctx.needs_input_grad[:3]
        # Somebody wants the derivative of this derivative, or many gradients at once.
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or is_batched(grad):
            return (*_by_framework(grad, x, weight, call, wanted), None, None)
        if is_channels_last(x):
            grad = to_channels_last(grad.resolve_neg())
        own = (wanted[0] and ways.by_data == OWN, wanted[1] and ways.by_weight == OWN)
        by_x, by_w, by_bias = None, None, None
        if any(own):
            by_x, by_w, by_bias = _by_framework(grad, x, weight, call, (*own, wanted[2]))
        elif wanted[2]:
            by_bias = grad.sum((0, *range(2, grad.dim())))
        if wanted[0] and not own[0]:
            by_x = run_by_data(ways.by_data, grad, x, weight, call)
        if wanted[1] and not own[1]:
            by_w = run_by_weight(ways.by_weight, grad, x, weight, call)
        return by_x, by_w, by_bias, None, None


def _level(way: str) -> int:
    """The level of minimal filtering that is named; 0 for another way."""
    name, _, level = way.partition(" ")
    return int(level) if name == "winograd" else 0


def _by_framework(
    grad: Tensor, x: Tensor, weight: Tensor, call: Convolution, wanted: Sequence[bool]
) -> tuple[Any, ...]:
    """PyTorch's gradients, which can be differentiated again where that is asked for."""
    both, rest = symmetric(call.padding)
    found = torch.ops.aten.convolution_backward(
        grad,
        padded(x, rest),
        weight,
        [call.out_channels],
        list(call.stride),
        list(both),
        list(call.dilation),
        False,
        [0] * call.rank,
        1,
        list(wanted),
    )
    by_x = None if found[0] is None else padded(found[0], [(-lo, -hi) for lo, hi in rest])
    return by_x, found[1] if wanted[1] else None, found[2] if wanted[2] else None


def _reaching(call: Convolution) -> list[tuple[tuple[int, ...], list[slice], tuple[slice, ...]]]:
    """The taps that fall on the map: which outputs each serves, and what it reads for them."""
    every = {tap: call.reached(tap) for tap in product(*map(range, call.kernel))}
    return [
        (tap, [slice(one.start, one.stop) for one in cut], call.read(tap, cut))
        for tap, cut in every.items()
        if all(cut)
    ]


def _by_data_of_taps(grad: Tensor, x: Tensor, weight: Tensor, call: Convolution) -> Tensor:
    """Of every tap one product of the gradients that it serves, added where it reads."""
    made = torch.zeros_like(x)
    for tap, served, read in _reaching(call):
        made[(..., *read)] += multiplied(grad[(..., *served)], weight[(..., *tap)].t(), 1)
    return made


def _by_weight_of_taps(grad: Tensor, x: Tensor, weight: Tensor, call: Convolution) -> Tensor:
    """Of every tap one product over all positions; zero where it only meets the padding."""
    made = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    last = is_channels_last(x)
    for tap, served, read in _reaching(call):
        one, two = grad[(..., *served)], x[(..., *read)]
        if last:
            rows = [part.movedim(1, -1).flatten(0, -2) for part in (one, two)]
            made[(..., *tap)] = rows[0].t() @ rows[1]
        else:
            pairs = torch.matmul(one.flatten(2), two.flatten(2).transpose(1, 2))
            made[(..., *tap)] = pairs.sum(0)
    return made


def _laid_as(made: Tensor, like: Tensor) -> Tensor:
    return to_channels_last(made) if is_channels_last(like) else made.contiguous()
