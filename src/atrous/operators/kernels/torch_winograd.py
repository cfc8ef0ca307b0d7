"""Dense layers by minimal filtering on PyTorch tensors: weights packed once, float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch

from atrous.operators.convolution import Convolution
from atrous.operators.kernels import winograd
from atrous.operators.kernels.threads import share_threads
from atrous.operators.kernels.winograd import Winograd
from atrous.operators.strategies import to_channels_last
from atrous.operators.tiles import Tiling

__all__ = ["prepare_winograd"]

share_threads()

_ALIGNED = 64


def prepare_winograd(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    call: Convolution,
    tiling: Tiling,
    activation: str = "none",
) -> Callable[..., torch.Tensor]:
    """`run(x)` or `run(x, other)`: `activation(bias + x * weight + other)`, channels last.

    For one or two spatial axes, stride 1, one group, and the sizes of `call`. Neither input is
    written to; what has another layout is copied.
    """
    flat = call.rank == 1
    one = (1,) if flat else ()
    layer = Winograd(
        batch=call.batch,
        channels=call.in_channels,
        filters=call.out_channels,
        input=_two(one + call.sizes),
        output=_two(one + call.outputs),
        kernel=_two(one + call.kernel),
        dilation=_two(one + call.dilation),
        pad=_two((0,) * len(one) + tuple(lo for lo, _ in call.padding)),
        tile=_two(one + tiling.outputs),
        activation=activation,
        threads=torch.get_num_threads(),
    )
    weight = weight.detach().resolve_neg().contiguous()
    bias = None if bias is None else bias.detach().resolve_neg().contiguous()
    held = torch.empty(winograd.packed_size(layer) + _ALIGNED // 4, dtype=torch.float32)
    packed = held.data_ptr() + -held.data_ptr() % _ALIGNED
    winograd.pack(layer, weight.data_ptr(), packed)
    bias_at = None if bias is None else bias.data_ptr()
    shape = (call.batch, *call.outputs, call.out_channels)

    def run(x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        x = to_channels_last(x.resolve_neg())
        other = None if other is None else to_channels_last(other.resolve_neg())
        out = torch.empty(shape, dtype=torch.float32)
        other_at = None if other is None else other.data_ptr()
        winograd.filtered(layer, x.data_ptr(), packed, bias_at, other_at, out.data_ptr())
        return out.movedim(-1, 1)

    # The tensors behind the addresses live as long as the function.
    run.tensors = (held, bias)  # type: ignore[attr-defined]
    return run


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second
