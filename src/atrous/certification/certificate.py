"""What is certified of a conversion: what the structure proves, what was measured, the price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import isfinite
from typing import Any, Literal

from atrous.analysis import Field
from atrous.analysis.scale import Scale, scales_of
from atrous.certification.verdicts import Cause, Verdict, worst
from atrous.shown import Shown, ShownWhole, Tabular, plain

__all__ = ["Certificate", "Checked", "OutputCertificate", "Price", "State", "agreeing"]

Measured = Literal["exact", "interior", "shifted", "differs"]
State = Literal["measured", "not run", "disagrees"]
"""`measured`: both were run, which bears out the structure. `not run`: only the structure is known,
or a run told nothing. `disagrees`: a run shows something else than the structure says."""


@dataclass(frozen=True, slots=True)
class Checked(Shown):
    """One comparison: at one input size, with one set of weights.

    `proved` is what the structure says at that size and `measured` what two runs in `precision`
    show; None where nothing was measured, and `why`. `weights` are the model's own or drawn anew
    with calibrated norms; `alone` says that no others can be tried. `layer` is the one whose map
    was compared, where that is not the output's; `same` says that no map differs in size or border,
    though not all in between is understood, so that nothing but equal values agrees.
    """

    sizes: tuple[int, ...]
    weights: Literal["own", "drawn"]
    proved: Verdict
    measured: Measured | None = None
    max_error: float | None = None
    relative_error: float | None = None
    alone: bool = False
    why: str = ""
    layer: str = ""
    same: bool = False

    @property
    def agrees(self) -> bool | None:
        """Whether the halves say the same, as far as a measurement can tell; None without one."""
        if self.measured is None:
            return None
        # A model's own weights can hide what it computes: a scale of 0 switches a branch off.
        if self.weights == "own" and self.measured != "differs" and not self.alone:
            return True
        if self.same and self.proved == "approximate":
            return self.measured == "exact"
        return agreeing(self.proved, self.measured)

    @property
    def state(self) -> State:
        """Measured, not run, or at odds with the structure."""
        return _STATES[self.agrees]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = {name: getattr(self, name) for name in self.__slots__}
        errors = {name: _finite(found[name]) for name in ("max_error", "relative_error")}
        state = {"agrees": self.agrees, "state": self.state}
        return {**found, **errors, "sizes": list(self.sizes), **state}


_STATES: dict[bool | None, State] = {True: "measured", None: "not run", False: "disagrees"}


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
    square against the standard deviation of the reference. `axes` are those of `factor`, and
    `fields` what an output of the reference and of the candidate sees; empty where that is not
    known, and the local fields where some op `mixed` all positions.
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
    axes: tuple[str, ...] = ()
    fields: tuple[tuple[Field, ...], tuple[Field, ...]] = ((), ())
    mixed: bool = False

    @property
    def strides(self) -> tuple[dict[str, Fraction], dict[str, Fraction]]:
        """By axis: input positions from one output to the next, of reference and candidate."""
        before, after = ({f.axis: f.stride for f in side} for side in self.fields)
        return before, after

    @property
    def agrees(self) -> bool | None:
        """Whether structure and measurements say the same in every check; None without any."""
        found = {check.agrees for check in self.checks}
        return False if False in found else True if True in found else None

    @property
    def state(self) -> State:
        """Measured at some size, not run at any, or at odds with the structure."""
        return _STATES[self.agrees]

    @property
    def why(self) -> str:
        """Why nothing was measured; empty where something was."""
        if self.agrees is not None:
            return ""
        return next((check.why for check in self.checks if check.why), "there is nothing to run")

    def scaled(self, scales: Mapping[str, Scale]) -> list[dict[str, Any]]:
        """By axis that has a scale: margin, phase, strides and fields in its unit."""
        before, after = self.strides
        found: list[dict[str, Any]] = []
        for axis, margin, phase in zip(self.axes, self.margin, self.phase, strict=True):
            if axis in scales and axis in before and axis in after:
                of = scales[axis].of
                sizes = [f.size for side in self.fields for f in side if f.axis == axis]
                found.append(
                    {
                        "axis": axis,
                        "unit": scales[axis].unit,
                        "margin": [float(of(n * before[axis])) for n in margin],
                        "phase": float(of(phase * after[axis])),
                        "stride": [float(of(side[axis])) for side in (before, after)],
                        "field": [float(of(size)) for size in sizes],
                    }
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data; factors as text, exactly."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "factor": [str(f) for f in self.factor],
            "phase": list(self.phase),
            "margin": [list(m) for m in self.margin],
            "axes": list(self.axes),
            "fields": [[f.to_dict() for f in side] for side in self.fields],
            "mixed": self.mixed,
            "max_error": _finite(self.max_error),
            "relative_error": _finite(self.relative_error),
            "shape_before": list(self.shape_before),
            "shape_after": list(self.shape_after),
            "agrees": self.agrees,
            "state": self.state,
            "why": self.why,
            "checks": [check.to_dict() for check in self.checks],
        }


@dataclass(frozen=True, slots=True)
class Price(Shown):
    """What one side costs at the given input: MACs, peak of activations by the graph, strides."""

    macs: int
    peak_memory_bytes: int
    output_stride: tuple[Fraction, ...]
    uncounted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Which cost is only a lower bound (`macs`, `memory`), and the layers that it leaves out."""
    axes: tuple[str, ...] = ()
    """Those of `output_stride`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "macs": self.macs,
            "peak_memory_bytes": self.peak_memory_bytes,
            "output_stride": [str(s) for s in self.output_stride],
            "axes": list(self.axes),
            "uncounted": {name: list(layers) for name, layers in self.uncounted},
        }


@dataclass(frozen=True, slots=True)
class Certificate(ShownWhole, Tabular):
    """What holds between a reference and a candidate, by structure and by measurement.

    `verdict` is the worst of the outputs': `exact`, `interior`, `shifted`, `approximate` or
    `broken`. `causes` say which layer is why, the most important first. `precision` is what the
    two were run in, or why they were not. `state` says whether the verdict rests on runs. `axes`
    are those of the input, `scales` what `scaled` was given.
    """

    outputs: tuple[OutputCertificate, ...]
    causes: tuple[Cause, ...]
    before: Price
    after: Price
    reference: str = "reference"
    candidate: str = "candidate"
    precision: str = "float64"
    notes: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    scales: Mapping[str, Scale] = field(default_factory=dict, hash=False)

    def scaled(self, *, rate: Any = None, pixel: Any = None) -> Certificate:
        """The same certificate, whose positions are shown in ms and lengths as well.

        `rate` and `pixel` are those of `Inspection.scaled`; raises `ReadError` as that does.

        >>> import atrous
        >>> found = atrous.audit("stack:k3s2", "stack:k3", input=(1, 1, 64)).scaled(rate=1000)
        >>> [output["stride"] for output in found.outputs[0].scaled(found.scales)]
        [[2.0, 1.0]]
        """
        return replace(self, scales={**self.scales, **scales_of(self.axes, rate, pixel)})

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the outputs."""
        return worst(tuple(output.verdict for output in self.outputs))

    @property
    def agrees(self) -> bool | None:
        """Whether structure and measurement say the same of every output; None where one of them
        was not measured."""
        found = {output.agrees for output in self.outputs}
        return False if False in found else None if None in found else True

    @property
    def state(self) -> State:
        """Measured for every output, not run for one of them, or at odds with the structure."""
        return _STATES[self.agrees]

    @property
    def measured_at(self) -> tuple[tuple[int, ...], ...]:
        """The input sizes at which an output was measured."""
        checks = (check for output in self.outputs for check in output.checks)
        return tuple(dict.fromkeys(c.sizes for c in checks if c.measured is not None))

    @property
    def not_run(self) -> tuple[tuple[str, str], ...]:
        """The outputs that were measured at no size, and why."""
        return tuple((o.name, o.why) for o in self.outputs if o.state == "not run")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema": "atrous.certificate/1",
            "verdict": self.verdict,
            "agrees": self.agrees,
            "state": self.state,
            "measured_at": [list(sizes) for sizes in self.measured_at],
            "not_run": [{"output": name, "why": why} for name, why in self.not_run],
            "reference": self.reference,
            "candidate": self.candidate,
            "precision": self.precision,
            **({"scales": plain(self.scales)} if self.scales else {}),
            "outputs": [
                output.to_dict() | ({"scaled": output.scaled(self.scales)} if self.scales else {})
                for output in self.outputs
            ],
            "causes": [
                cause.to_dict() | ({"scaled": cause.scaled(self.scales)} if self.scales else {})
                for cause in self.causes
            ],
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "notes": list(self.notes),
        }
