"""Random stacks, and the layers of one run by PyTorch."""

from __future__ import annotations

from functools import partial

import torch
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

from atrous.network.stack import StackLayer, parse_stack

__all__ = ["run_stack", "stacks"]

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def each(value: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return value * rank if len(value) == 1 else value


def run_layer(layer: StackLayer, x: torch.Tensor) -> torch.Tensor:
    """One layer, spelled with PyTorch's functions and the pads worked out by hand."""
    rank = x.dim() - 2
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


def run_stack(text: str, x: torch.Tensor) -> torch.Tensor:
    for layer in parse_stack(text):
        x = run_layer(layer, x)
    return x


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
