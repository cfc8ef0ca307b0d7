"""Random stacks, and the layers of one run by PyTorch."""

from __future__ import annotations

from functools import partial

import torch
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

from atrous.network.stack import StackJoin, StackLayer, StackPart, stack_parts

__all__ = ["StackModule", "branched_stacks", "run_stack", "stacks"]

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def each(value: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return value * rank if len(value) == 1 else value


def run_layer(layer: StackLayer, x: torch.Tensor) -> torch.Tensor:
    """One layer, spelled with PyTorch's functions and the pads worked out by hand."""
    rank = x.dim() - 2
    if layer.kind == "global":
        return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)
    kernel, stride = each(layer.kernel, rank), each(layer.stride, rank)
    dilation = each(layer.dilation, rank)
    if layer.kind == "up":
        return F.interpolate(x, scale_factor=tuple(map(float, stride)), mode="nearest")
    held = x.shape[1]
    channels = held if layer.channels is None else layer.channels
    spans = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    if layer.kind == "tconv":
        # All that the windows make, cropped or lengthened to what the notation promises.
        y = TRANSPOSED[rank](
            x, torch.ones(held, channels, *kernel, dtype=x.dtype), stride=stride, dilation=dilation
        )
        pads: list[int] = []
        for axis in reversed(range(rank)):
            beyond = spans[axis] + 1 - stride[axis]
            if isinstance(layer.padding, tuple):
                lo, hi = layer.padding
            elif layer.padding == "valid":
                lo = hi = 0
            else:
                lo = max(beyond, 0) // 2 if layer.padding == "same" else 0
                hi = beyond - lo
            pads += [-lo, -hi]
        return F.pad(y, pads)
    pads = []
    for axis in reversed(range(rank)):
        span = spans[axis]
        by_word = {
            "same": (span // 2, span - span // 2),
            "valid": (0, 0),
            "causal": (span + 1 - stride[axis], stride[axis] - 1),
        }
        pads += layer.padding if isinstance(layer.padding, tuple) else by_word[layer.padding]
    x = F.pad(x, pads)
    if layer.kind == "max":
        return MAX[rank](x, kernel, stride, dilation=dilation)
    groups = held if layer.kind in ("dw", "avg") else 1
    weight = torch.ones(channels, held // groups, *kernel, dtype=x.dtype)
    return CONV[rank](x, weight, stride=stride, dilation=dilation, groups=groups)


def run_join(join: StackJoin, x: torch.Tensor) -> torch.Tensor:
    """Branches on one map; one whose last map is the single position of `global` is widened."""
    ends = [run_parts(branch, x) for branch in join.branches]
    wide = [e for e, b in zip(ends, join.branches, strict=True) if not averages(b)]
    if wide:
        ends = [
            end.expand(*end.shape[:2], *wide[0].shape[2:]) if averages(branch) else end
            for end, branch in zip(ends, join.branches, strict=True)
        ]
    # Unlike a plus sign, a stack of tensors does not broadcast.
    return torch.cat(ends, 1) if join.how == "concat" else torch.stack(ends).sum(0)


def averages(branch: tuple[StackPart, ...]) -> bool:
    return any(isinstance(part, StackLayer) and part.kind == "global" for part in branch)


def run_parts(parts: tuple[StackPart, ...], x: torch.Tensor) -> torch.Tensor:
    for part in parts:
        x = run_join(part, x) if isinstance(part, StackJoin) else run_layer(part, x)
    return x


def run_stack(text: str, x: torch.Tensor) -> torch.Tensor:
    return run_parts(stack_parts(text), x)


class StackModule(torch.nn.Module):
    """A stack as a module, to put NaN into."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return run_stack(self.text, x)


numbers = partial(st.integers, 1)


@st.composite
def stacks(draw, rank: int, kinds: tuple[str, ...]) -> str:
    """Up to four layers, of which the strides keep some length and the channels stay few."""
    words = []
    for _ in range(draw(numbers(4))):
        kind = draw(st.sampled_from(kinds))
        if kind == "up":
            words.append(f"ups{draw(numbers(3))}")
            continue
        per_axis = draw(st.booleans()) and rank > 1
        kernel = (
            "(" + ",".join(str(draw(numbers(4))) for _ in range(rank)) + ")"
            if per_axis
            else str(draw(numbers(5)))
        )
        word = f"{kind}k{kernel}s{draw(numbers(3))}d{draw(numbers(3))}"
        word += draw(st.sampled_from(["", "valid", "causal", "p(2,0)", "p(1,3)"]))
        if kind not in ("max", "avg", "dw"):
            word += draw(st.sampled_from(["", "x1", "x3"]))
        words.append(word)
    return " ".join(words)


@st.composite
def plain_layers(draw, rank: int) -> str:
    """A layer that keeps the size of its input."""
    kind = draw(st.sampled_from(["", "dw", "max", "avg"]))
    kernel = draw(st.sampled_from(["1", "2", "3", "5", "(1,3)" if rank == 2 else "4"]))
    padding = draw(st.sampled_from(["", "", "causal"]))
    channels = draw(st.sampled_from(["", "", "x2", "x3"])) if not kind else ""
    return f"{kind}k{kernel}d{draw(numbers(3))}{padding}{channels}"


@st.composite
def branched_stacks(draw, rank: int, depth: int = 2, averaged: bool = False) -> str:
    """Up to three parts: layers, a stride undone around a stack, joins, and repeats of these.

    Most fit together; sizes that the stride does not divide, and sums of other channels, do not.
    """
    parts = []
    for _ in range(draw(numbers(3))):
        shape = draw(st.sampled_from(["layer", "layer", "around", "join", "join"]))
        if shape == "layer" or not depth:
            part = draw(plain_layers(rank))
        elif shape == "around":
            down = draw(st.sampled_from(["maxk2s2", "k3s2", "avgk2s2valid"]))
            up = draw(st.sampled_from(["ups2", "tconvk2s2", "tconvk3s2"]))
            part = f"{down} {draw(branched_stacks(rank, depth - 1))} {up}"
            part = f"[{part}]" if draw(st.booleans()) else part
        else:
            inner = branched_stacks(rank, depth - 1)
            branches = [draw(inner) for _ in range(draw(st.integers(1, 2)))]
            if averaged and draw(st.booleans()):
                branches.append("global k1")
            branches.insert(draw(st.integers(0, 1)), draw(st.sampled_from(["", "k1"])))
            sign = draw(st.sampled_from(["|", "+", " | ", " + "]))
            part = f"[{sign.join(branches)}]{draw(st.sampled_from(['', '', '*2']))}"
        parts.append(part)
    return " ".join(parts)
