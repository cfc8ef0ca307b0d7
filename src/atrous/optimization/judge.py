"""Whether something computes what the model computes: on the example and on drawn inputs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from atrous.errors import ArgumentError
from atrous.frameworks.exported import unfit
from atrous.frameworks.structures import leaves, parts_of
from atrous.frameworks.torch import (
    in_mode,
)
from atrous.optimization.layer.choose import difference, tolerance

__all__ = ["Inputs", "Judge", "Verdict", "called", "flat", "reference_of"]

Inputs = tuple[torch.Tensor, ...]

_WIDER = 5.0
"""Differences of layers add up over a model: the whole may differ by this many times a layer's."""
_AS_EXACT = 2.0
"""What differs by more may err by this many times the model's own error against float64."""
_AS_BEFORE = 1.5
"""What was judged before, or on another input, may differ by this many times as much."""
_EXCUSED = 10.0
"""But no model's rounding excuses more than this many times what the whole may differ by."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The largest difference from the model's outputs, and what there is to say about it."""

    same: bool
    difference: float
    note: str | None = None


def called(model: nn.Module, inputs: Sequence[torch.Tensor]) -> Any:
    """What the model makes of copies of the inputs, since it may write into them."""
    with in_mode(model, training=False):
        return model(*(x.clone() for x in inputs))


def flat(outputs: Any) -> list[Any]:
    """All leaves of a structure of outputs, those in records of the user's included."""
    found = []
    for leaf in leaves(outputs):
        parts = parts_of(leaf)
        found += [leaf] if parts is None else flat(list(parts.values()))
    return found


def reference_of(model: nn.Module, inputs: Inputs) -> list[Any]:
    """What the model makes of the example.

    Raises:
        ArgumentError: it cannot run on the example.
    """
    try:
        with torch.no_grad():
            return flat(called(model, inputs))
    except Exception as error:
        if refused := unfit(model, [tuple(x.shape) for x in inputs]):
            raise ArgumentError(f"model cannot run on example=...: {refused}.") from error
        reason = " ".join(str(error).split())[:200]
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise ArgumentError(
            f"model cannot run on example=...: {type(error).__name__}: {reason}; give what "
            f"{type(model).__name__} takes, not {shapes}."
        ) from error


class Judge:
    """Compares runs with those of the model.

    Sums in another order round otherwise, and a deep model magnifies that. So a run is the same
    where it differs by no more than layers may; or else, where float64 shows it to be about as
    close to the exact result as the model itself is.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, reference: list[Any]) -> None:
        self._model, self._example = model, _Probe(model, inputs, reference)

    @cached_property
    def _probes(self) -> list[_Probe]:
        return [self._example, *_drawn(self._model, self._example.inputs)]

    def draw(self) -> None:
        """Runs the model on drawn inputs, if it has not run on them yet."""
        _ = self._probes

    def __call__(self, run: Callable[[Inputs], Any]) -> Verdict:
        """Runs on every input and on the first again: what a run writes over shows in the next one.

        Or in the results of those before, which are looked at again.
        """
        far = 0.0
        excused: list[tuple[float, Verdict]] = []
        held: list[tuple[_Probe, list[Any], float]] = []
        for probe in (*self._probes, self._probes[0]):
            given = tuple(x.clone() for x in probe.inputs)
            with torch.no_grad():
                made = flat(run(given))
            if _furthest(probe.inputs, given) > 0:
                return Verdict(False, math.inf, "it writes into its input.")
            apart = _furthest(probe.wanted, made)
            held.append((probe, made, apart))
            far = max(far, apart)
            if apart <= probe.allowed:
                continue
            if excused and apart <= _AS_BEFORE * excused[0][0]:
                continue
            verdict = self._excused(probe, made, apart, far)
            if not verdict.same:
                return verdict
            excused.append((apart, verdict))
        for probe, made, apart in held:
            if _furthest(probe.wanted, made) != apart:
                return Verdict(False, math.inf, "a run writes over the result of the one before.")
        return Verdict(True, far, excused[0][1].note if excused else None)

    def again(self, run: Callable[[Inputs], Any], difference: float | None) -> Verdict:
        """Compares a program that was judged before, and differed so much then; on the example.

        What it gives for other inputs was looked at then, with these weights: the only question is
        whether it is that program, and what differs clearly more than it did is not.
        """
        if difference is None:
            return Verdict(False, math.inf)
        given = tuple(x.clone() for x in self._example.inputs)
        with torch.no_grad():
            far = _furthest(self._example.wanted, flat(run(given)))
        if _furthest(self._example.inputs, given) > 0:
            return Verdict(False, math.inf, "it writes into its input.")
        return Verdict(far <= max(_AS_BEFORE * difference, self._example.allowed), far)

    def _excused(self, probe: _Probe, made: list[Any], apart: float, far: float) -> Verdict:
        """Whether what differs is about as close to float64 as the model is."""
        said = f"the output differs by {apart:.1e}"
        if not apart <= _EXCUSED * probe.allowed or probe.exact is None:
            return Verdict(False, far, f"{said}.")
        own = _furthest(probe.exact, _double(probe.wanted))
        ours = _furthest(probe.exact, _double(made))
        said += f"; from float64 by {ours:.1e}, the original by {own:.1e}."
        return Verdict(ours <= _AS_EXACT * own, far, said)


class _Probe:
    """Inputs, and what the model makes of them: as it is, and in float64 where that is asked."""

    def __init__(self, model: nn.Module, inputs: Inputs, wanted: list[Any]) -> None:
        self.inputs, self.wanted, self._model = inputs, wanted, model
        kinds = [value.dtype for value in wanted if isinstance(value, torch.Tensor)]
        self.allowed = _WIDER * max((tolerance(kind) for kind in kinds), default=0.0)

    @cached_property
    def exact(self) -> list[Any] | None:
        """The outputs in float64; None for a model that does not run in it."""
        try:
            with torch.no_grad():
                return flat(called(copy.deepcopy(self._model).double(), _double(self.inputs)))
        except Exception:
            return None


def _drawn(model: nn.Module, inputs: Inputs) -> list[_Probe]:
    """Other inputs of the same shapes, where the model takes them."""
    if not all(x.is_floating_point() for x in inputs):
        return []
    generator = torch.Generator().manual_seed(0)
    drawn = tuple(torch.randn(x.shape, generator=generator).to(x.dtype) for x in inputs)
    try:
        with torch.no_grad():
            return [_Probe(model, drawn, flat(called(model, drawn)))]
    except Exception:  # in the model's own words
        return []


def _double(values: Sequence[Any]) -> list[Any]:
    return [
        value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for value in values
    ]


def _furthest(reference: Sequence[Any], made: Sequence[Any]) -> float:
    """The largest difference between outputs; infinite where they are not of one kind."""
    if len(reference) != len(made):
        return math.inf
    far = 0.0
    for one, two in zip(reference, made, strict=True):
        if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
            far = max(far, difference(one, two))
        elif isinstance(one, torch.Tensor) or isinstance(two, torch.Tensor) or one != two:
            return math.inf
    return far
