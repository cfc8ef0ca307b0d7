"""The fastest of the strategies that compute a layer, each checked against PyTorch's own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.rounding import ALLOWED, Rounded
from atrous.optimization.layer.timing import PAUSE, Timer
from atrous.optimization.layer.ways import PLAIN, Runs, Way, applying, runs_of

__all__ = ["GAIN", "Choice", "choose", "difference", "tolerance"]

GAIN = 0.98
"""A strategy is taken if it needs at most this share of the time of PyTorch's own."""
_FAR = 3.0
"""A first run that takes so many times the best one's is not repeated."""
_TOLERANCES = {"float64": 1e-11, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


@dataclass(frozen=True, slots=True)
class Choice:
    """The strategy for one call, its difference from PyTorch's, and what else was tried.

    Where it computes other sums, `error` is what they round off, and `direct_error` what PyTorch's
    own do: largest errors against float64, as shares of the largest output.
    """

    strategy: str
    runs: Runs
    difference: float
    milliseconds: tuple[tuple[str, float], ...]
    why: tuple[str, ...]
    error: float | None = None
    direct_error: float | None = None

    @property
    def taken(self) -> float:
        """The strategy's milliseconds; 0 where they were not measured."""
        return dict(self.milliseconds).get(self.strategy, 0.0)


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
    apart, largest = _largest(one - two), _largest(one)
    if math.isfinite(apart) and math.isfinite(largest):
        return _share(apart, largest)
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
    apart = _largest(one - two)
    return math.inf if math.isnan(apart) else _share(apart, _largest(one))


def _largest(values: torch.Tensor) -> float:
    """The largest magnitude, NaN where any value is none; in one pass over them."""
    # With channels last PyTorch would turn the map first, which takes a hundred times as long.
    along = sorted(range(values.dim()), key=lambda axis: -values.stride(axis))
    least, most = torch.aminmax(values.permute(along))
    return max(abs(float(least)), abs(float(most)))


def _share(apart: float, largest: float) -> float:
    return apart / largest if largest else (0.0 if apart == 0 else math.inf)


def choose(
    call: LayerCall,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    operands: tuple[torch.Tensor, ...],
    choices: Choices,
    timer: Timer,
    allowed: float = ALLOWED,
) -> Choice:
    """The strategy that took least on these operands, of those that give what PyTorch's gives.

    PyTorch's own stays unless another needs clearly less. What `choices` holds of this call is not
    measured again; the result is checked again all the same. Strategies that round otherwise may
    round off `allowed` times as much as PyTorch's sums, and are left out where that is 0.
    """
    found, refused = applying(call)
    if not allowed:
        found = [one for one in found if not one.rounds]
    why = [f"{one.rule}: {one.reason}" for one in dict.fromkeys(refused)]
    plain = runs_of(found[0], weight, bias, call)
    begin = time.perf_counter()
    reference = plain(*_own(operands))
    check = _Check(call, weight, bias, operands, reference, allowed)
    check.first[PLAIN] = time.perf_counter() - begin
    runs: dict[str, Runs] = {PLAIN: plain}
    known = choices.get(call.signature)
    if known is not None and {one.name for one in found} <= known.keys():
        # The first that still gives the same.
        by_time = sorted(found[1:], key=lambda one: known[one.name])
        for one in by_time:
            if _best({PLAIN: known[PLAIN], one.name: known[one.name]}) == PLAIN:
                break
            if (made := check(one)) is not None:
                runs[one.name] = made
                break
        taken = known
    else:
        for one in found[1:]:
            if (made := check(one)) is not None:
                runs[one.name] = made
        near = {name: runs[name] for name in check.not_far_behind(runs)}
        taken = {name: 1e3 * check.first[name] for name in runs} | _timed(near, operands, timer)
        choices.put(
            call.signature, {**dict.fromkeys((one.name for one in found), math.inf), **taken}
        )
    best = _best({name: taken[name] for name in runs})
    listed = tuple(
        sorted(
            (
                (name, ms)
                for name, ms in taken.items()
                if math.isfinite(ms) and name not in check.far
            ),
            key=lambda pair: pair[1],
        )
    )
    errors = check.errors.get(best, (None, None))
    return Choice(
        best, runs[best], check.apart[best], listed, (*why, *check.why), errors[0], errors[1]
    )


class _Check:
    """Tries strategies on the operands, and says what is wrong with those that are."""

    def __init__(
        self,
        call: LayerCall,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        operands: tuple[torch.Tensor, ...],
        reference: torch.Tensor,
        allowed: float,
    ) -> None:
        self._layer = (call, weight, bias, operands)
        self._reference, self._allowed = reference, allowed
        self._rounded: Rounded | None = None
        self.why: list[str] = []
        self.apart: dict[str, float] = {PLAIN: 0.0}
        self.errors: dict[str, tuple[float, float]] = {}
        self.far: set[str] = set()
        self.first: dict[str, float] = {}

    def __call__(self, one: Way) -> Runs | None:
        """What runs the layer by that strategy, where it gives the same."""
        call, weight, bias, operands = self._layer
        try:
            made = runs_of(one, weight, bias, call)
            begin = time.perf_counter()
            result = made(*_own(operands))
            self.first[one.name] = time.perf_counter() - begin
        except (RuntimeError, TypeError, ValueError, IndexError, MemoryError) as failed:
            self._refuse(one, (str(failed).splitlines() or [""])[0][:120])
            return None
        far = difference(self._reference, result)
        if far > tolerance(call.dtype):
            self._refuse(one, f"differs by {far:.1e}")
            return None
        if one.rounds and not self._rounds_little(one, result):
            return None
        self.apart[one.name] = far
        return made

    def not_far_behind(self, names: Iterable[str]) -> list[str]:
        """Those whose first run took no clear multiple of the best one's; PyTorch's own stays.

        Of runs shorter than a pause of the system the first says too little: all stay.
        """
        names = list(names)
        best = min(self.first[name] for name in names)
        limit = _FAR * best if best > PAUSE else math.inf
        return [name for name in names if name == PLAIN or self.first[name] <= limit]

    def _rounds_little(self, one: Way, result: torch.Tensor) -> bool:
        call, weight, bias, operands = self._layer
        if self._rounded is None:
            self._rounded = Rounded(call, weight, bias, operands)
        error, direct = self._rounded.error(result), self._rounded.error(self._reference)
        self.errors[one.name] = error, direct
        if self._allowed == math.inf or error <= self._allowed * direct:
            return True
        most = f"{self._allowed:g} times the direct {direct:.1e}"
        self._refuse(one, f"rounds off {error:.1e}, more than {most}")
        return False

    def _refuse(self, one: Way, reason: str) -> None:
        self.why.append(f"{one.name}: {reason}")
        self.far.add(one.name)


def _own(operands: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The operands, of which the second may be overwritten."""
    return (operands[0], *(one.clone() for one in operands[1:]))


def _timed(
    runs: dict[str, Runs], operands: tuple[torch.Tensor, ...], timer: Timer
) -> dict[str, float]:
    operands = _own(operands)

    def bound(run: Runs) -> Callable[[], object]:
        return lambda: run(*operands)

    return timer({name: bound(run) for name, run in runs.items()})


def _best(taken: dict[str, float]) -> str:
    best = min(taken, key=lambda name: taken[name])
    if best != PLAIN and not taken[best] <= GAIN * taken.get(PLAIN, math.inf):
        return PLAIN
    return best
