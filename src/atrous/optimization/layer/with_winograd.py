"""Dense convolutions by minimal filtering in phase space, at three levels of rounding.

The algebra is exact and the sums are others, so they round otherwise: what that costs is measured
on the values of the layer (`rounding`), beside what PyTorch's own sums cost.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

import torch

from atrous.operators.convolution import Convolution
from atrous.operators.kernels import native
from atrous.operators.kernels.torch_volumes import in_slices, prepare_volumes
from atrous.operators.kernels.torch_winograd import prepare_winograd
from atrous.operators.kernels.winograd import Spread
from atrous.operators.tiles import LEVELS, Tiling, living, tiled
from atrous.optimization.layer.activations import by_kernels
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.ways import Runs, Way, register
from atrous.refusal import Refusal

__all__ = ["applies", "prepared"]

_LEAST_SAVED = 1.3
"""Fewer times fewer products are spent on transforms."""
_LEAST_PRODUCTS = 4_000_000
"""Layers of fewer products take microseconds, most of them for the call."""
_LEAST_FILLED = 8
"""Channels, times what is saved: with fewer, vectors are empty for the most part."""
_FINER = 1.02
"""A level that saves less than this beyond the one before only rounds more."""


def applies(level: int, call: LayerCall) -> bool | Refusal:
    """Whether tiles of that level run a call with fewer products, and fewer than those below."""
    if call.op != "conv" or call.groups != 1 or call.is_pointwise:
        return False
    batch, channels, filters = call.input[0], call.input[1], call.weight[0]
    whole = prod((batch, channels, filters, *call.kernel, *call.convolution.outputs))
    if whole < _LEAST_PRODUCTS:
        return False
    found = native()
    if not found.available:
        return _refused(f"{found.reason}.")
    if call.dtype != "float32":
        return _refused(f"it computes in float32, not in {call.dtype}.")
    here = _tiling(call, level)
    if here is None:
        kernel = "x".join(map(str, call.kernel))
        return _refused(f"it knows kernels of up to 64 taps along an axis, not {kernel}.")
    if here.saves < _LEAST_SAVED:
        return _refused(f"its tiles save {here.saves:.2f} times the products.")
    if here.saves * channels < _LEAST_FILLED:
        return _refused(f"{channels} channels leave most of each vector empty.")
    below = [_tiling(call, other) for other in LEVELS if other < level]
    return all(one is None or here.saves >= _FINER * one.saves for one in below)


def _refused(reason: str) -> Refusal:
    return Refusal("winograd", "", reason)


def _tiling(call: LayerCall, level: int) -> Tiling | None:
    alive = living(call.convolution)[1]
    found = tiled(_flat(alive), level)
    if found is None:
        return None
    # Of three axes the taps of the first one are channels, whose products all count.
    deep = call.rank == 3
    products = found.products * alive.kernel[0] if deep else found.products
    return replace(found, products=products, plain=prod(call.kernel) * prod(alive.outputs[deep:]))


def _flat(call: Convolution) -> Convolution:
    return in_slices(call) if call.rank == 3 else call


def prepared(
    level: int,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    call: LayerCall,
    spread: Spread | None = None,
) -> Runs:
    """What runs a call that `applies`; with `spread` its filters are phases, laid side by side."""
    taps, alive = living(call.convolution)
    tiling = tiled(_flat(alive), level)
    if tiling is None:
        raise ValueError("winograd does not apply to this layer.")
    weight = weight[(..., *(slice(one.start, one.stop) for one in taps))]
    if call.rank == 3:
        runs = prepare_volumes(weight, bias, alive, tiling, call.activation.kernel)
    else:
        runs = prepare_winograd(weight, bias, alive, tiling, call.activation.kernel, spread)
    if call.layout == "channels_last":
        return runs
    return lambda *operands: runs(*operands).contiguous()


for _level in LEVELS:
    register(
        Way(
            f"winograd {_level}",
            partial(applies, _level),
            partial(prepared, _level),
            by_kernels,
            adds=True,
            rounds=True,
        )
    )
