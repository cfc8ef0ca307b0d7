"""What is certified of a conversion: what the structure proves, what was measured, the price."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import Any, Literal

from atrous.certification.verdicts import Cause, Verdict, worst
from atrous.shown import Shown, ShownWhole

__all__ = ["Certificate", "Checked", "OutputCertificate", "Price", "agreeing"]

Measured = Literal["exact", "interior", "shifted", "differs"]


@dataclass(frozen=True, slots=True)
class Checked(Shown):
    """One comparison: at one input size, with one set of weights.

    `proved` is what the structure says at that size and `measured` what two runs in `precision`
    show; None where they could not be run. `weights` are the model's own or drawn anew with
    calibrated norms; `alone` says that no others can be tried.
    """

    sizes: tuple[int, ...]
    weights: Literal["own", "drawn"]
    proved: Verdict
    measured: Measured | None = None
    max_error: float | None = None
    relative_error: float | None = None
    alone: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the two halves say the same, as far as a measurement can tell."""
        # A model's own weights can hide what it computes: a scale of 0 switches a branch off.
        hidden = self.weights == "own" and self.measured != "differs" and not self.alone
        return hidden or agreeing(self.proved, self.measured)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = {name: getattr(self, name) for name in self.__slots__}
        errors = {name: _finite(found[name]) for name in ("max_error", "relative_error")}
        return {**found, **errors, "sizes": list(self.sizes), "agrees": self.agrees}


def _finite(value: float | None) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if value is not None and isfinite(value) else None


def agreeing(proved: Verdict, measured: Measured | None) -> bool:
    """Whether a proof and a measurement can both be right.

    A measurement cannot tell `approximate` from `broken`, and a border that differs by structure
    may hold equal numbers.

    >>> agreeing("exact", "differs"), agreeing("broken", "differs"), agreeing("interior", "exact")
    (False, True, True)
    """
    if measured is None or proved == measured:
        return True
    if measured == "differs":
        return proved in ("approximate", "broken")
    return (proved, measured) == ("interior", "exact") or proved == "approximate"


@dataclass(frozen=True, slots=True)
class OutputCertificate(Shown):
    """What holds of one output.

    By spatial axis: `factor` is how many positions the candidate has for each one of the reference
    (below 1 where it has fewer), `phase` the first one that holds a value of the reference, and
    `margin` the positions of the reference, at the low and the high end, that differ.
    `max_error` and `relative_error` are the largest ones measured: absolute, and as root mean
    square against the standard deviation of the reference.
    """

    name: str
    factor: tuple[Fraction, ...]
    phase: tuple[int, ...]
    margin: tuple[tuple[int, int], ...]
    max_error: float | None
    relative_error: float | None
    verdict: Verdict
    shape_before: tuple[int, ...] = ()
    shape_after: tuple[int, ...] = ()
    checks: tuple[Checked, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether structure and measurement say the same in every check."""
        return all(check.agrees for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; factors as text, exactly."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "factor": [str(f) for f in self.factor],
            "phase": list(self.phase),
            "margin": [list(m) for m in self.margin],
            "max_error": _finite(self.max_error),
            "relative_error": _finite(self.relative_error),
            "shape_before": list(self.shape_before),
            "shape_after": list(self.shape_after),
            "agrees": self.agrees,
            "checks": [check.to_dict() for check in self.checks],
        }


@dataclass(frozen=True, slots=True)
class Price(Shown):
    """What one side costs at the given input: MACs, peak of activations, the coarsest stride."""

    macs: int
    peak_memory_bytes: int
    output_stride: tuple[Fraction, ...]
    uncounted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Which cost is only a lower bound (`macs`, `memory`), and the layers that it leaves out."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "macs": self.macs,
            "peak_memory_bytes": self.peak_memory_bytes,
            "output_stride": [str(s) for s in self.output_stride],
            "uncounted": {name: list(layers) for name, layers in self.uncounted},
        }


@dataclass(frozen=True, slots=True)
class Certificate(ShownWhole):
    """What holds between a reference and a candidate, by structure and by measurement.

    `verdict` is the worst of the outputs': `exact`, `interior`, `shifted`, `approximate` or
    `broken`. `causes` say which layer is why, the most important first. `precision` is what the
    two were run in, or why they were not.
    """

    outputs: tuple[OutputCertificate, ...]
    causes: tuple[Cause, ...]
    before: Price
    after: Price
    reference: str = "reference"
    candidate: str = "candidate"
    precision: str = "float64"
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the outputs."""
        return worst(tuple(output.verdict for output in self.outputs))

    @property
    def agrees(self) -> bool:
        """Whether structure and measurement say the same of every output."""
        return all(output.agrees for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema": "atrous.certificate/1",
            "verdict": self.verdict,
            "agrees": self.agrees,
            "reference": self.reference,
            "candidate": self.candidate,
            "precision": self.precision,
            "outputs": [output.to_dict() for output in self.outputs],
            "causes": [cause.to_dict() for cause in self.causes],
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "notes": list(self.notes),
        }
