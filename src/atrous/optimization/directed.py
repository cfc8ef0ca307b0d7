"""The fastest way for each direction of a dense layer that trains, each checked against PyTorch's.

Gradients are measured on drawn gradients of the result: what the layers behind give is not known
before the loss is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from atrous.operators.convolution import Convolution
from atrous.operators.directions import (
    DIRECTIONS,
    PLAINLY,
    RUNS,
    Directions,
    reached_share,
    ways_of,
)
from atrous.operators.kernels.torch_winograd import backwards
from atrous.operators.strategies import is_channels_last, to_channels_last
from atrous.optimization.layer import with_winograd
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.choose import GAIN, difference, tolerance
from atrous.optimization.layer.rounding import Rounded, allowed_by
from atrous.optimization.layer.ways import PLAIN
from atrous.optimization.order import Order
from atrous.refusal import Refusal

__all__ = ["Directed", "chosen_directions"]

_FAR, _LONG = 2.0, 0.1
"""What takes so many times the best one's run, and so many seconds, is not measured further."""
_MOST_REACHED = 0.75
"""Products of taps by themselves are tried where at most this share of them reads the map."""
_SAMPLED = 16
"""Filters, and channels, whose weights' gradients are computed in float64."""

Run = Callable[[str], torch.Tensor]
"""What a direction makes, by the way that is named."""


@dataclass(slots=True)
class Directed:
    """The ways that were taken, and what they and PyTorch's own take: all directions together.

    `difference` is the largest from PyTorch's own, `error` and `direct` the roundings of the
    direction that rounds most beside PyTorch's, where one has other sums.
    """

    ways: Directions = PLAINLY
    before: float = 0.0
    after: float = 0.0
    difference: float = 0.0
    candidates: tuple[tuple[str, float], ...] = ()
    why: tuple[str, ...] = ()
    error: float | None = None
    direct: float | None = None


@dataclass(slots=True)
class _Way:
    """What one direction takes by each way, and what the ways differ and round off by."""

    taken: dict[str, float] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)

    @property
    def best(self) -> str:
        name = min(self.apart, key=lambda one: self.taken.get(one, math.inf))
        return name if self.taken[name] <= GAIN * self.taken[PLAIN] else PLAIN


def chosen_directions(
    call: LayerCall,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    x: torch.Tensor,
    order: Order,
) -> Directed:
    """The ways of a convolution of one group in float32 on `x`: forward, and both gradients.

    Without training the gradients are left to PyTorch.
    """
    whole = call.convolution
    grad = torch.randn(whole.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    if is_channels_last(x):
        grad = to_channels_last(grad)
    runs: list[Run] = [
        lambda way: RUNS[0](way, x, weight, bias, whole),
        lambda way: RUNS[1](way, grad, x, weight, whole),
        lambda way: RUNS[2](way, grad, x, weight, whole),
    ]
    exacts: list[Callable[[], Callable[[torch.Tensor], float]]] = [
        lambda: Rounded(call, weight, bias, (x,)).error,
        lambda: _data_error(call, weight, grad),
        lambda: _weight_error(whole, x, grad),
    ]
    found, ways = Directed(), []
    reasons: list[str] = []
    for at, direction in enumerate(DIRECTIONS[: 3 if order.training else 1]):
        with torch.no_grad():
            one = _measured(direction, call, runs[at], exacts[at], order)
        way = one.best
        ways.append(way)
        found.before += one.taken[PLAIN]
        found.after += one.taken[way]
        found.difference = max(found.difference, one.apart[way])
        for name, ms in sorted(one.taken.items(), key=lambda pair: pair[1]):
            if math.isfinite(ms):
                found.candidates += ((f"{direction}: {name}", ms),)
        reasons += [f"{direction}, {reason}" for reason in dict.fromkeys(one.why)]
        error, direct = one.errors.get(way, (None, None))
        if error is not None and (found.error is None or error > found.error):
            found.error, found.direct = error, direct
    found.ways, found.why = Directions(*ways), tuple(reasons)
    return found


def _measured(
    direction: str,
    call: LayerCall,
    run: Run,
    exact: Callable[[], Callable[[torch.Tensor], float]],
    order: Order,
) -> _Way:
    """Every way of a direction that gives what PyTorch's gives, and what it takes."""
    found = _Way(apart={PLAIN: 0.0})
    allowed = allowed_by(order.rounding)
    names = _applying(direction, call, allowed, found.why)
    first: dict[str, float] = {}

    def ran(name: str) -> torch.Tensor:
        begin = time.perf_counter()
        made = run(name)
        first[name] = time.perf_counter() - begin
        return made

    # What is refused is kept as taking forever, and any rounding refuses less.
    key = f"{direction} {call.signature}{' any rounding' if allowed == math.inf else ''}"
    known = order.choices.get(key)
    if known is not None and {PLAIN, *names} <= known.keys():
        # Only what is taken is looked at again: the first that still gives the same.
        quick = {name: known[name] for name in names if known[name] <= GAIN * known[PLAIN]}
        names = sorted(quick, key=lambda name: quick[name])
    else:
        known = None
    reference = ran(PLAIN) if names or known is None else None
    error: Callable[[torch.Tensor], float] | None = None
    for name in names:
        try:
            made = ran(name)
        except (RuntimeError, TypeError, ValueError, IndexError, MemoryError) as failed:
            found.why.append(f"{name}: {(str(failed).splitlines() or [''])[0][:120]}")
            continue
        assert reference is not None
        far = difference(reference, made)
        if far > tolerance(call.dtype):
            found.why.append(f"{name}: differs by {far:.1e}")
            continue
        if name.startswith("winograd"):
            error = exact() if error is None else error
            found.errors[name] = rounds = error(made), error(reference)
            if not rounds[0] <= allowed * rounds[1]:
                found.why.append(f"{name}: rounds off {rounds[0]:.1e}, the direct {rounds[1]:.1e}")
                continue
        found.apart[name] = far
        if known is not None:
            break
    if known is not None:
        found.taken = known
        return found
    best = min(first[name] for name in found.apart)
    limit = max(_FAR * best, _LONG)
    for name in found.apart:
        if limit < first[name] < 10 * limit:  # it may have been held up
            earlier = first[name]
            ran(name)
            first[name] = min(first[name], earlier)
    near = [name for name in found.apart if name == PLAIN or first[name] <= limit]
    found.taken = {name: 1e3 * first[name] for name in found.apart}
    if len(near) > 1:
        found.taken |= order.timer({name: partial(run, name) for name in near})
    order.choices.put(key, {**dict.fromkeys(names, math.inf), **found.taken})
    return found


def _applying(direction: str, call: LayerCall, allowed: float, why: list[str]) -> list[str]:
    """The ways beside PyTorch's that may be faster."""
    whole = call.convolution
    asked = (
        _call_backwards(call) if direction == "data gradient" and max(call.stride) == 1 else call
    )
    names = []
    for name in ways_of(direction, whole):
        kind, _, level = name.partition(" ")
        if kind == "winograd" and allowed:
            fits = with_winograd.applies(int(level), asked)
            if isinstance(fits, Refusal):
                why.append(f"{kind}: {fits.reason}")
            elif fits:
                names.append(name)
        elif kind == "taps" and reached_share(whole) <= _MOST_REACHED:
            names.append(name)
    return names


def _call_backwards(call: LayerCall) -> LayerCall:
    """The call whose result is the gradient by the input, for a stride of 1."""
    back = backwards(call.convolution)
    return replace(
        call,
        input=(back.batch, back.in_channels, *back.sizes),
        weight=(back.out_channels, back.in_channels, *back.kernel),
        bias=False,
        windows=back.windows,
    )


def _data_error(
    call: LayerCall, weight: torch.Tensor, grad: torch.Tensor
) -> Callable[[torch.Tensor], float]:
    turned = weight.transpose(0, 1).flip(tuple(range(2, weight.dim())))
    return Rounded(_call_backwards(call), turned, None, (grad,)).error


def _weight_error(
    call: Convolution, x: torch.Tensor, grad: torch.Tensor
) -> Callable[[torch.Tensor], float]:
    """How far gradients by some weights are from those in float64, tap by tap."""
    filters, channels = (
        torch.linspace(0, size - 1, min(size, _SAMPLED)).round().long().unique()
        for size in (call.out_channels, call.in_channels)
    )
    few = replace(call, in_channels=len(channels), out_channels=len(filters))
    empty = torch.empty((len(filters), len(channels), *call.kernel), dtype=torch.float64)
    exact = RUNS[2]("taps", grad[:, filters].double(), x[:, channels].double(), empty, few)
    largest = float(exact.abs().max())

    def error(made: torch.Tensor) -> float:
        far = float((made[filters][:, channels].double() - exact).abs().max())
        return far / largest if largest else (0.0 if far == 0 else math.inf)

    return error
