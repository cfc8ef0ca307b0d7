"""Whether a report keeps rules: one record for each rule and place, with what was got."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from atrous.analysis.field import Field
from atrous.analysis.findings import codes
from atrous.analysis.inspection import Inspection, Layer
from atrous.analysis.requirements import Rule
from atrous.errors import unknown
from atrous.shown import Shown, ShownWhole, view

__all__ = ["Check", "Outcome", "check_report", "known_code"]


@dataclass(frozen=True, slots=True)
class Outcome(Shown):
    """One rule at one place: what was got there, and whether that keeps the rule.

    `layer` is empty for a rule on the whole network, `axis` where the rule is not on one axis.
    `got` is exact; None where it is not known or does not exist, which breaks the rule, and
    `reason` then says why. For a finding that must not be there, `reason` is its message.
    `at_least` says that `got` is a lower bound, which holds no upper limit; `reason` names what it
    leaves out.
    """

    rule: str
    text: str
    layer: str
    axis: str
    got: Fraction | None
    holds: bool
    reason: str = ""
    at_least: bool = False

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
) -> Check:
    """Whether `report` keeps all rules, and has none of the forbidden findings.

    Receptive field, coverage and output stride are those of the network's outputs, or of `layer`;
    they must hold for each of these and along each axis. MACs, parameters and peak memory are
    those of the whole network, findings those of all its layers. Behind an op that mixes all
    positions of an axis the field is the local one, which breaks an upper bound on it. Where an op
    on the way is not understood the field is not known, which breaks a rule on it.
    """
    places = report.outputs if layer is None else (report[layer],)
    outcomes: list[Outcome] = []
    for rule in rules:
        outcomes += _outcomes(report, rule, places)
    for code in map(known_code, dict.fromkeys(forbidden)):
        kept = Outcome(code, f"no {code}", layer="", axis="", got=None, holds=True)
        found = [finding for finding in report.findings if finding.code == code]
        outcomes += [
            replace(kept, layer=finding.layer, holds=False, reason=finding.message)
            for finding in found
        ] or [kept]
    return Check(report.network.name, tuple(outcomes))


def _outcomes(report: Inspection, rule: Rule, places: Sequence[Layer]) -> Iterator[Outcome]:
    missing = Outcome(rule.quantity, rule.text, layer="", axis="", got=None, holds=False)
    totals = {
        "macs": report.macs,
        "params": report.params,
        "memory": report.peak_memory_bytes,
    }
    if rule.quantity in totals:
        got = Fraction(totals[rule.quantity])
        left_out = report.uncounted.get(rule.quantity, ())
        if not left_out:
            reason = _measured_by(report) if rule.quantity == "memory" else ""
            yield replace(missing, got=got, holds=rule.holds(got), reason=reason)
            return
        # A lower bound can show that a lower limit is kept, and nothing else.
        holds = rule.relation in (">", ">=") and rule.holds(got)
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        reason = f"not counted: {', '.join(left_out[:3])}{more}"
        yield replace(missing, got=got, holds=holds, reason=reason, at_least=True)
        return
    for place in places:
        here = replace(missing, layer=place.name)
        if place.opaque:
            yield replace(here, reason=f"not known behind {', '.join(place.opaque[:3])}")
        elif not place.field:
            yield replace(here, reason="nothing: it does not depend on the input's positions")
        for axis in place.field:
            got = _of_axis(rule, axis)
            holds, reason = rule.holds(got), ""
            mixed = place.global_axes.get(axis.axis, ())
            if mixed:
                # The local field is no upper bound on what such an output sees.
                bounded = rule.quantity == "receptive-field" and rule.relation in ("<", "<=")
                holds = holds and not bounded
                reason = f"the local field; {mixed[0]} sees all positions"
            yield replace(here, axis=axis.axis, got=got, holds=holds, reason=reason)


def _measured_by(report: Inspection) -> str:
    """What a peak is the peak of, where there are two."""
    if report.eager is None:
        return ""
    return f"run eagerly; {report.memory.peak_bytes:,} B by the graph"


def _of_axis(rule: Rule, axis: Field) -> Fraction:
    if rule.quantity == "receptive-field":
        return Fraction(axis.size)
    if rule.quantity == "output-stride":
        return axis.stride
    # Not `coverage`, which is rounded: a share of 1 must be exact.
    worst = [Fraction(p.taps, p.size) for p in axis.phases if p.size]
    return min(worst, default=Fraction(1))
