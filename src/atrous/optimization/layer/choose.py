"""The fastest of the strategies that compute a layer, each checked against PyTorch's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.timing import Timer
from atrous.optimization.layer.ways import PLAIN, Runs, applying, runs_of

__all__ = ["Choice", "choose", "difference", "tolerance"]

_GAIN = 0.98
"""A strategy is taken if it needs at most this share of the time of PyTorch's own."""
_TOLERANCES = {"float64": 1e-11, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


@dataclass(frozen=True, slots=True)
class Choice:
    """The strategy for one call, its difference from PyTorch's, and what else was tried."""

    strategy: str
    runs: Runs
    difference: float
    milliseconds: tuple[tuple[str, float], ...]
    why: tuple[str, ...]


def tolerance(dtype: torch.dtype | str) -> float:
    """The share of the largest value by which sums in another order may differ."""
    return _TOLERANCES.get(str(dtype).removeprefix("torch."), 0.0)


def difference(reference: torch.Tensor, made: torch.Tensor) -> float:
    """The largest difference as a share of the largest value; infinite where they do not compare.

    Values that are not finite must be the same in both.
    """
    if reference.shape != made.shape or reference.dtype != made.dtype:
        return math.inf
    if not reference.numel():
        return 0.0
    if not (reference.is_floating_point() or reference.is_complex()):
        return 0.0 if torch.equal(reference, made) else math.inf
    one, two = reference.detach(), made.detach()
    if one.is_complex():
        one, two = torch.view_as_real(one), torch.view_as_real(two)
    finite = one.isfinite()
    if not bool(finite.all()):
        if not torch.equal(one.isnan(), two.isnan()):
            return math.inf
        rest = ~finite & ~one.isnan()
        if not torch.equal(one[rest], two[rest]):
            return math.inf
        one, two = one[finite], two[finite]
        if not one.numel():
            return 0.0
    largest = float(one.abs().max())
    apart = float((one - two).abs().max())
    if math.isnan(apart):
        return math.inf
    return apart / largest if largest else (0.0 if apart == 0 else math.inf)


def choose(
    call: LayerCall,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    operands: tuple[torch.Tensor, ...],
    choices: Choices,
    timer: Timer,
) -> Choice:
    """The strategy that took least on these operands, of those that give what PyTorch's gives.

    PyTorch's own stays unless another needs clearly less. What `choices` holds of this call is not
    measured again; the result is checked again all the same.
    """
    found, refused = applying(call)
    why = [f"{one.rule}: {one.reason}" for one in refused]
    plain = runs_of(found[0], weight, bias, call)
    reference = plain(*_own(operands))
    known = choices.get(call.signature)
    if known is not None and not {one.name for one in found} <= known.keys():
        known = None
    if known is not None:
        best = _best(known)
        found = [one for one in found if one.name in (PLAIN, best)]
    runs: dict[str, Runs] = {PLAIN: plain}
    apart: dict[str, float] = {PLAIN: 0.0}
    wrong: dict[str, float] = {}
    for one in found[1:]:
        try:
            made = runs_of(one, weight, bias, call)
            result = made(*_own(operands))
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            why.append(f"{one.name}: {(str(error).splitlines() or [''])[0][:120]}")
            wrong[one.name] = math.inf
            continue
        far = difference(reference, result)
        if far > tolerance(call.dtype):
            why.append(f"{one.name}: differs by {far:.1e}")
            wrong[one.name] = math.inf
            continue
        runs[one.name], apart[one.name] = made, far
    if known is None:
        taken = _timed(runs, operands, timer)
        choices.put(call.signature, {**taken, **wrong})
    else:
        taken = {name: ms for name, ms in known.items() if name not in wrong}
    best = _best({name: taken[name] for name in runs})
    listed = tuple(sorted((p for p in taken.items() if math.isfinite(p[1])), key=lambda p: p[1]))
    return Choice(best, runs[best], apart[best], listed, tuple(why))


def _own(operands: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The operands, of which the second may be overwritten."""
    return (operands[0], *(one.clone() for one in operands[1:]))


def _timed(
    runs: dict[str, Runs], operands: tuple[torch.Tensor, ...], timer: Timer
) -> dict[str, float]:
    operands = _own(operands)

    def bound(run: Runs) -> Callable[[], object]:
        return lambda: run(*operands)

    if len(runs) == 1:
        # Nothing to choose.
        return dict.fromkeys(runs, 0.0)
    return timer({name: bound(run) for name, run in runs.items()})


def _best(taken: dict[str, float]) -> str:
    best = min(taken, key=lambda name: taken[name])
    if best != PLAIN and not taken[best] <= _GAIN * taken.get(PLAIN, math.inf):
        return PLAIN
    return best
