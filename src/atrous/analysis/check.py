"""Whether a report keeps rules: one record for each rule and place, with what was got."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from atrous.analysis.causality import scans_back
from atrous.analysis.ends import looks_at_ends
from atrous.analysis.field import Field
from atrous.analysis.findings import codes
from atrous.analysis.inspection import Inspection, Layer
from atrous.analysis.requirements import Rule
from atrous.analysis.resampled import resampled_strides
from atrous.analysis.scale import TIME_LIKE, Scale
from atrous.analysis.twins import twins
from atrous.errors import ReadError, unknown
from atrous.shown import Shown, ShownWhole, some, view

__all__ = ["Check", "Outcome", "check_report", "known_code"]


@dataclass(frozen=True, slots=True)
class Outcome(Shown):
    """One rule at one place: what was got there, and whether that keeps the rule.

    `layer` is empty for a rule on the whole network, `axis` where the rule is not on one axis.
    `got` is exact; None where it is not known or does not exist, which breaks the rule, and
    `reason` then says why. For a finding that must not be there, `reason` is its message.
    `at_least` says that `got` is a lower bound, which holds no upper limit; `reason` names what it
    leaves out. `limit` is what `got` is held against, worked out from the baseline where the rule
    counts from one; both are in `unit`, the rule's own, where that is a time or a length. Where it
    is in positions of an axis that has a scale, that is `scale`.
    """

    rule: str
    text: str
    layer: str
    axis: str
    got: Fraction | None
    holds: bool
    reason: str = ""
    at_least: bool = False
    limit: Fraction | None = None
    unit: str = ""
    scale: Scale | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain data, for JSON."""
        return {
            "rule": self.rule,
            "text": self.text,
            "layer": self.layer,
            "axis": self.axis,
            "got": None if self.got is None else float(self.got),
            "got_exact": None if self.got is None else str(self.got),
            "holds": self.holds,
            "reason": self.reason,
            "at_least": self.at_least,
            "limit": None if self.limit is None else float(self.limit),
            "unit": self.unit,
            **(
                {}
                if self.scale is None or self.got is None
                else {"scaled": {"unit": self.scale.unit, "got": float(self.scale.of(self.got))}}
            ),
        }

    def __str__(self) -> str:
        return view(self).text()


@dataclass(frozen=True, slots=True, repr=False)
class Check(ShownWhole):
    """What came of the rules on one network; True where all of them hold.

    >>> import atrous
    >>> from atrous.analysis.requirements import parse_rules
    >>> report = atrous.inspect("stack:k3d2 k3d2", (1, 4, 32))
    >>> check = check_report(report, parse_rules("coverage", "==1"), forbidden=("gridding",))
    >>> bool(check), [outcome.rule for outcome in check.broken]
    (False, ['coverage', 'gridding'])
    """

    network: str
    outcomes: tuple[Outcome, ...]

    @property
    def broken(self) -> tuple[Outcome, ...]:
        """The outcomes that break their rule."""
        return tuple(outcome for outcome in self.outcomes if not outcome.holds)

    def __bool__(self) -> bool:
        return not self.broken

    def to_dict(self) -> dict[str, object]:
        """Plain data, for JSON."""
        return {
            "network": self.network,
            "holds": bool(self),
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
        }

    __repr__ = ShownWhole.__str__


def known_code(code: str) -> str:
    """The code of a finding. Raises `UnknownNameError`, listing the near ones."""
    if code not in codes():
        raise unknown("finding", code, codes())
    return code


def check_report(
    report: Inspection,
    rules: Sequence[Rule] = (),
    *,
    forbidden: Sequence[str] = (),
    layer: str | None = None,
    causal: bool = False,
    baseline: Inspection | None = None,
) -> Check:
    """Whether `report` keeps all rules, and has none of the forbidden findings.

    Receptive field, coverage, output stride, look-back and look-ahead are those of the network's
    outputs, or of `layer`; they must hold for each of these, for each of its parts and along each
    axis (the last two along time). MACs, FLOPs, parameters and peak memory are those of the whole
    network, findings those of all its layers. Behind an op that mixes all positions of an axis the
    field is the local one, which breaks an upper bound on it. Where an op on the way is not
    understood the field is not known, which breaks a rule on it. `causal` asks that no output reads
    ahead of its own time.

    Rules that count from a baseline are held against `baseline`, rules in ms
    or lengths need the scales of `report` (`Inspection.scaled`).
    Raises `ReadError` where one is missing.
    """
    asked = _Asked(report, baseline)
    places = report.outputs if layer is None else (report[layer],)
    outcomes: list[Outcome] = []
    for rule in rules:
        asked.check(rule)
        outcomes += asked.total(rule) if rule.quantity in _TOTALS else asked.along(rule, places)
    if causal:
        outcomes += [_causal(report, place) for place in places]
    for code in map(known_code, dict.fromkeys(forbidden)):
        kept = Outcome(code, f"no {code}", layer="", axis="", got=None, holds=True)
        found = [finding for finding in report.findings if finding.code == code]
        outcomes += [
            replace(kept, layer=finding.layer, holds=False, reason=finding.message)
            for finding in found
        ] or [kept]
    return Check(report.network.name, tuple(outcomes))


_TOTALS: Mapping[str, Callable[[Inspection], int]] = {
    "macs": lambda report: report.macs,
    "flops": lambda report: report.flops,
    "params": lambda report: report.params,
    "memory": lambda report: report.peak_memory_bytes,
    "training-memory": lambda report: report.training.peak_bytes if report.training else 0,
}
_LOOKS = ("look-back", "look-ahead")
_LENGTHS = ("receptive-field", "output-stride", *_LOOKS)


@dataclass(frozen=True, slots=True)
class _Asked:
    report: Inspection
    baseline: Inspection | None

    def check(self, rule: Rule) -> None:
        reports = [self.report, *([self.baseline] if self.baseline and rule.beside else [])]
        if rule.quantity == "training-memory" and any(one.training is None for one in reports):
            raise ReadError(
                "training-memory: the report has no training; inspect with an optimizer, such as "
                'training="adamw".'
            )
        if rule.beside and self.baseline is None:
            raise ReadError(
                f"{rule.quantity}: {rule.text} counts from a baseline; give one with --baseline."
            )
        if rule.unit and not any(map(rule.fits, self.report.scales.values())):
            what = "a time; give the sample rate with --rate"
            if rule.unit == "um":
                what = "a length; give the size of a position with --pixel"
            raise ReadError(f"{rule.quantity}: {rule.text} is {what}.")

    def total(self, rule: Rule) -> Iterator[Outcome]:
        """The outcome on a quantity of the whole network."""
        of, not_counted = _TOTALS[rule.quantity], _not_counted
        limit, reasons = rule.value, []
        by_graph = self._by_graph(rule)
        if by_graph:
            of, not_counted = _of_graph, _not_in_graph
        got, left_out = Fraction(of(self.report)), not_counted(self.report, rule)
        if rule.beside:
            assert self.baseline is not None
            limit = rule.limit(Fraction(of(self.baseline)))
            unknown_base = not_counted(self.baseline, rule)
            if unknown_base:
                reasons.append(f"the baseline's is not known: not counted: {some(unknown_base)}")
        holds = rule.holds(got, limit) and not reasons
        if left_out:
            # A lower bound can show that a lower limit is kept, and nothing else.
            holds = holds and rule.relation in (">", ">=")
            reasons.append(f"not counted: {some(left_out)}")
        elif rule.quantity == "training-memory" and self.report.training is not None:
            reasons.append(f"with {self.report.training.optimizer}")
        elif by_graph:
            reasons.append("both by the graph, as one of them is no module that runs eagerly")
        elif rule.quantity == "memory" and (by := _measured_by(self.report)):
            reasons.append(by)
        yield Outcome(
            rule.quantity,
            rule.text,
            layer="",
            axis="",
            got=got,
            holds=holds,
            reason="; ".join(reasons),
            at_least=bool(left_out),
            limit=limit,
        )

    def along(self, rule: Rule, places: Sequence[Layer]) -> Iterator[Outcome]:
        """The outcomes at each place, along each axis."""
        missing = Outcome(rule.quantity, rule.text, layer="", axis="", got=None, holds=False)
        held = [pair for whole in places for pair in twins(self.report, self.baseline, whole)]
        for place, twin in held:
            here = replace(missing, layer=place.name)
            axes = [f for f in place.field if rule.quantity not in _LOOKS or f.axis in TIME_LIKE]
            if rule.unit:
                axes = [f for f in axes if self._scale(rule, f.axis) is not None]
            if place.opaque:
                yield replace(here, reason=f"not known behind {', '.join(place.opaque[:3])}")
            elif not place.field:
                yield replace(here, reason="nothing: it does not depend on the input's positions")
            elif not axes:
                kind = "length" if rule.unit == "um" else "time"
                yield replace(here, reason=f"nothing: it has no axis of {kind}")
            for axis in axes:
                yield self._axis(rule, here, place, axis, twin)

    def _axis(
        self, rule: Rule, here: Outcome, place: Layer, axis: Field, twin: Layer | None
    ) -> Outcome:
        got, reason = _of_axis(rule, self.report, place, axis)
        scale, base = self._scale(rule, axis.axis), Fraction(0)
        if scale is not None:
            got = rule.length(scale, got)
            here = replace(here, unit=rule.written)
        elif rule.quantity in _LENGTHS:
            here = replace(here, scale=self.report.scales.get(axis.axis))
        if rule.beside:
            found = self._base(rule, axis, twin)
            if isinstance(found, str):
                return replace(here, axis=axis.axis, got=got, reason=found)
            base = found
        limit = rule.limit(base)
        holds = rule.holds(got, limit)
        before = "" if self.baseline is None else _mixed_by(rule, self.baseline, twin, axis.axis)
        if mixed := _mixed_by(rule, self.report, place, axis.axis):
            # The local field is no upper bound on what such an output sees.
            bounded = rule.quantity in ("receptive-field", *_LOOKS)
            holds = holds and not (bounded and rule.relation in ("<", "<="))
            reason = f"the local field; {mixed} sees all positions"
        elif rule.beside and before:
            # The baseline sees more than its local field, so less than that is less.
            holds = holds and rule.relation in ("<", "<=")
            reason = f"beside the baseline's local field; its {before} sees all positions"
        return replace(here, axis=axis.axis, got=got, holds=holds, reason=reason, limit=limit)

    def _base(self, rule: Rule, axis: Field, twin: Layer | None) -> Fraction | str:
        """What a rule counts from along an axis, or why that is not known."""
        assert self.baseline is not None
        if twin is not None and twin.opaque:
            return f"the baseline's is not known behind {', '.join(twin.opaque[:3])}"
        fields = () if twin is None else twin.field
        found = next((field for field in fields if field.axis == axis.axis), None)
        if found is None or twin is None:
            return "the baseline has no such output and axis"
        value, _ = _of_axis(rule, self.baseline, twin, found)
        scale = self._scale(rule, axis.axis)
        return value if scale is None else rule.length(scale, value)

    def _by_graph(self, rule: Rule) -> bool:
        """Whether peaks are those of graphs, as a run and a graph are no two states of a thing."""
        if rule.quantity != "memory" or not rule.beside or self.baseline is None:
            return False
        return (self.report.eager is None) != (self.baseline.eager is None)

    def _scale(self, rule: Rule, axis: str) -> Scale | None:
        """The scale in which a rule is held along an axis; None for positions."""
        scale = self.report.scales.get(axis)
        return scale if scale is not None and rule.fits(scale) else None


def _not_counted(report: Inspection, rule: Rule) -> tuple[str, ...]:
    return report.uncounted.get("macs" if rule.quantity == "flops" else rule.quantity, ())


def _of_graph(report: Inspection) -> int:
    return report.memory.peak_bytes


def _not_in_graph(report: Inspection, rule: Rule) -> tuple[str, ...]:  # noqa: ARG001
    return report.network.unsized


def _mixed_by(rule: Rule, report: Inspection, place: Layer | None, axis: str) -> str:
    """The op through which a place sees all positions of an axis, where the rule is about that."""
    mixed = () if place is None else place.global_axes.get(axis, ())
    if not mixed or rule.quantity == "output-stride":
        return ""
    if rule.quantity == "look-ahead" and scans_back(report.network, mixed, axis):
        return ""
    return mixed[0]


def _causal(report: Inspection, place: Layer) -> Outcome:
    """Whether a place reads nothing ahead of its own time, and which layer does where it does."""
    here = Outcome("causal", "causal", layer=place.name, axis="", got=None, holds=False)
    axes = [axis for axis in place.field if axis.axis in TIME_LIKE]
    if place.opaque:
        return replace(here, reason=f"not known behind {', '.join(place.opaque[:3])}")
    if not axes:
        return replace(here, reason="not there: it has no axis of time")
    axis = axes[0]
    here = replace(here, axis=axis.axis, scale=report.scales.get(axis.axis))
    mixed = [
        name
        for name in place.global_axes.get(axis.axis, ())
        if not scans_back(report.network, [name], axis.axis)
    ]
    if mixed:
        return replace(here, reason=f"broken by {mixed[0]}, which reads every position")
    ahead = Fraction(axis.ahead)
    if ahead <= 0:
        ends = looks_at_ends(report.network, report.input, place, axis.axis)
        if ends is not None and ends.ahead > 0:
            return replace(here, got=Fraction(ends.ahead), reason=str(ends))
        return replace(here, got=ahead, holds=True)
    culprit = next(
        (finding.layer for finding in report.findings if finding.code == "leak"),
        next(
            layer.name
            for layer in report.layers
            if any(field.axis == axis.axis and field.ahead > 0 for field in layer.field)
        ),
    )
    return replace(here, got=ahead, reason=f"first by {culprit}")


def _measured_by(report: Inspection) -> str:
    """What a peak is the peak of, where there are two."""
    if report.eager is None:
        return ""
    return f"run eagerly; {report.memory.peak_bytes:,} B by the graph"


def _of_axis(rule: Rule, report: Inspection, place: Layer, axis: Field) -> tuple[Fraction, str]:
    """What a rule is about, exactly, and what is to be said of it.

    Of a map that was resampled to a size which its stride does not make, the output stride is the
    quotient of the sizes.
    """
    if rule.quantity == "receptive-field":
        return Fraction(axis.size), ""
    if rule.quantity == "output-stride":
        sized = resampled_strides(report, place).get(axis.axis)
        if sized is None:
            return axis.stride, ""
        return sized.by_sizes, (
            f"by sizes; positions lie {sized.stride} apart, as {sized.layer} resamples "
            f"{sized.inputs} to {sized.outputs}"
        )
    if rule.quantity in _LOOKS:
        ends = looks_at_ends(report.network, report.input, place, axis.axis)
        forward = rule.quantity == "look-ahead"
        inside = axis.ahead if forward else axis.back
        if ends is None or (most := ends.ahead if forward else ends.back) <= inside:
            return Fraction(inside), ""
        return Fraction(most), str(ends)
    # Not `coverage`, which is rounded: a share of 1 must be exact.
    worst = [Fraction(p.taps, p.size) for p in axis.phases if p.size]
    return min(worst, default=Fraction(1)), ""
