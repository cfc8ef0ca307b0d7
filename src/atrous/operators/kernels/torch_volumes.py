"""Dense layers along three axes by minimal filtering along two, on PyTorch tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch

from atrous.operators.convolution import Convolution
from atrous.operators.kernels import winograd
from atrous.operators.kernels.threads import on_threads
from atrous.operators.kernels.torch_layouts import in_channels_last
from atrous.operators.kernels.torch_winograd import packed_weights
from atrous.operators.kernels.winograd import dense_layer
from atrous.operators.tiles import Tiling

__all__ = ["in_slices", "prepare_volumes"]

_BLOCK = 4 << 20
"""Bytes of the slices that are laid side by side at a time, or one slice."""


def in_slices(call: Convolution) -> Convolution:
    """The convolution along two axes that one along three is: the taps of the first as channels.

    Its batch are slices of the result, and its channels those of as many slices of the input as the
    first axis has taps.

    >>> from atrous.geometry import Window
    >>> whole = Convolution(1, 8, 4, (5, 9, 9), (Window(3, 1, 2, 2, 2),) * 3)
    >>> flat = in_slices(whole)
    >>> flat.batch, flat.in_channels, flat.sizes
    (5, 24, (9, 9))
    """
    return replace(
        call,
        batch=call.batch * call.outputs[0],
        in_channels=call.in_channels * call.kernel[0],
        sizes=call.sizes[1:],
        windows=call.windows[1:],
    )


def prepare_volumes(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    call: Convolution,
    tiling: Tiling,
    activation: str = "none",
) -> Callable[..., torch.Tensor]:
    """`run(x)` or `run(x, other)`: `activation(bias + x * weight + other)`, channels last.

    For three spatial axes, one group, and the sizes of `call`; the tiling is that of `in_slices`.
    The slices that a few slices of the result read are copied side by side, so that one product
    sums over them. Neither input is written to; what has another layout is copied.
    """
    depth, channels, taps = call.outputs[0], call.in_channels, call.kernel[0]
    flat = in_slices(call)
    each = 4 * flat.in_channels * prod(flat.sizes)
    block = min(max(_BLOCK // max(each, 1), 1), depth)
    weight = weight.detach().resolve_neg().movedim(2, 1).reshape(-1, flat.in_channels, *flat.kernel)
    layers = {}
    for some in {block, depth % block or block}:
        layers[some] = on_threads(dense_layer(replace(flat, batch=some), tiling, activation))
    held, packed = packed_weights(layers[block](), weight.contiguous())
    bias = None if bias is None else bias.detach().resolve_neg().contiguous()
    at_bias = None if bias is None else bias.data_ptr()
    shapes = (call.batch, channels, *call.sizes), call.shape

    def run(x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        for one, shape in zip((x, other), shapes, strict=True):
            if one is not None and (one.shape != shape or one.dtype != torch.float32):
                raise ValueError(f"winograd: prepared for {shape} in float32, not for this input.")
        slices = in_channels_last(x.resolve_neg()).movedim(1, -1)
        added = None if other is None else in_channels_last(other.resolve_neg()).movedim(1, -1)
        out = torch.empty((call.batch, *call.outputs, call.out_channels), dtype=torch.float32)
        beside = torch.empty((block, *flat.sizes, taps, channels), dtype=torch.float32)
        for image in range(call.batch):
            for first in range(0, depth, block):
                some = min(block, depth - first)
                _lay_beside(call, slices[image], first, beside[:some])
                winograd.filtered(
                    layers[some](),
                    beside.data_ptr(),
                    packed,
                    at_bias,
                    None if added is None else added[image, first].data_ptr(),
                    out[image, first].data_ptr(),
                )
        return out.movedim(-1, 1)

    # The tensors behind the addresses live as long as the function.
    run.tensors = (held, bias)  # type: ignore[attr-defined]
    return run


def _lay_beside(call: Convolution, slices: torch.Tensor, first: int, to: torch.Tensor) -> None:
    """What the outputs from `first` on read: `to` is (outputs, high, wide, taps, channels)."""
    window, size = call.windows[0], call.sizes[0]
    for tap in range(window.kernel):
        at = first * window.stride - window.pad_lo + window.dilation * tap
        begin = min(max(-(at // window.stride), 0), len(to))
        end = min(max(-((at - size) // window.stride), begin), len(to))
        to[:begin, ..., tap, :].zero_()
        to[end:, ..., tap, :].zero_()
        if end > begin:
            read = slices[at + begin * window.stride : size : window.stride]
            to[begin:end, ..., tap, :].copy_(read[: end - begin])
