"""What came of rules: one line for each broken one, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from atrous.analysis.check import Check, Outcome
from atrous.draw.units import at_least, bytes_text, fraction_text, quantity, share_text
from atrous.report.lines import Line, Look, Span, line
from atrous.report.view import LinesView
from atrous.shown import how_many, view

__all__ = ["CheckView", "OutcomeView"]

_COUNTS = ("macs", "flops", "params")


@view.register(Check)
@dataclass(frozen=True, slots=True)
class CheckView(LinesView):
    """A line for each broken rule and place; one line of all rules that hold, with the values.

    The network is called `name` where its own name says less. Lines are never wrapped: they are
    for logs, and for tools that read logs.
    """

    record: Check
    name: str = ""

    def lines(self, look: Look) -> list[Line]:  # noqa: ARG002
        name = self.name or self.record.network or "network"
        out = []
        merged: dict[tuple[str, str, str, object, str], list[Outcome]] = {}
        for outcome in self.record.broken:
            got = (outcome.got, outcome.limit, outcome.scale)
            key = (outcome.rule, outcome.text, outcome.layer, got, outcome.reason)
            merged.setdefault(key, []).append(outcome)
        for group in merged.values():
            axes = ", ".join(outcome.axis for outcome in group if outcome.axis)
            out.append(line(Span(f"{name}: "), Span(_broken(group[0], axes), "red")))
        broken = {(outcome.rule, outcome.text) for outcome in self.record.broken}
        kept: dict[tuple[str, str], list[Outcome]] = {}
        for outcome in self.record.outcomes:
            if (outcome.rule, outcome.text) not in broken:
                kept.setdefault((outcome.rule, outcome.text), []).append(outcome)
        if kept or not out:
            count = f"{how_many(len(kept), 'rule')} {'holds' if len(kept) == 1 else 'hold'}"
            values = ", ".join(map(_kept, kept.values()))
            said = f"{count}: {values}".rstrip(": ")
            reasons = [outcome.reason for group in kept.values() for outcome in group]
            notes = "; ".join(dict.fromkeys(filter(None, reasons)))
            said += f" ({notes})" if notes else ""
            out.append(line(Span(f"{name}: "), Span(said, "cyan")))
        return out


@view.register(Outcome)
@dataclass(frozen=True, slots=True)
class OutcomeView(LinesView):
    """One outcome in words."""

    record: Outcome

    def lines(self, look: Look) -> list[Line]:  # noqa: ARG002
        outcome = self.record
        if outcome.holds:
            return [line(_kept([outcome]))]
        return [line(_broken(outcome, outcome.axis))]


def _kept(outcomes: Sequence[Outcome]) -> str:
    """A rule that holds, with the values beside the limit."""
    one = outcomes[0]
    if one.limit is None:
        return one.text
    known = [(outcome.got, outcome) for outcome in outcomes if outcome.got is not None]
    known.sort(key=lambda pair: (pair[0], 0 if pair[1].scale is None else pair[1].scale.step))
    texts = list(dict.fromkeys(_amount(outcome, value) for value, outcome in known))
    got = " to ".join(dict.fromkeys((texts[0], texts[-1])))
    limits = {outcome.limit for outcome in outcomes}
    return f"{one.rule} {at_least(got, one.at_least)} {_limit(one, counted=len(limits) == 1)}"


def _broken(outcome: Outcome, axes: str) -> str:
    where = f" at {outcome.layer}" if outcome.layer else ""
    along = f" along {axes}" if axes else ""
    if outcome.got is None and outcome.text.startswith("no "):
        return f"{outcome.rule}{where}, which must not be: {outcome.reason}"
    if outcome.rule == "causal":
        if outcome.got is None:
            return f"causal{where}{along} is {outcome.reason}"
        ahead = _amount(outcome, outcome.got)
        return f"causal{where}{along} is broken: looks {ahead} ahead, {outcome.reason}"
    if outcome.got is None:
        return f"{outcome.rule}{where} is {outcome.reason}, must be {outcome.text}"
    note = f" ({outcome.reason})" if outcome.reason else ""
    got = at_least(_got(outcome), outcome.at_least)
    return f"{outcome.rule}{where}{along} is {got}{note}, must be {_limit(outcome)}"


def _limit(outcome: Outcome, *, counted: bool = True) -> str:
    """The rule as it was written; where it counts from a baseline, with what that comes to."""
    relation = outcome.text[: len(outcome.text) - len(outcome.text.lstrip("<>=!"))]
    rest = outcome.text.removeprefix(relation).strip()
    if rest[:1] not in ("+", "-") or outcome.limit is None:
        return f"{relation} {rest}"
    if not counted:
        return f"{relation} baseline {rest}"
    if outcome.rule == "coverage":
        return f"{relation} {float(100 * outcome.limit):.6g}% (baseline {rest})"
    decimal = Fraction(f"{float(outcome.limit):.6g}")
    limit = _amount(outcome, outcome.limit, decimal == outcome.limit)
    if not outcome.holds and outcome.got is not None and limit == _amount(outcome, outcome.got):
        # Rounded, they are one; what is broken shows in all digits.
        return f"{relation} {_exact(outcome, outcome.limit)} (baseline {rest})"
    return f"{relation} {limit} (baseline {rest})"


def _exact(outcome: Outcome, limit: Fraction) -> str:
    digits = f"{int(limit):,}" if limit.denominator == 1 else f"{float(limit):,.12g}"
    return f"{digits} B" if outcome.rule in ("memory", "training-memory") else digits


def _amount(outcome: Outcome, value: Fraction, decimal: bool = False) -> str:
    """A value as a reader wants it; a quotient as a `decimal` number where that is asked for."""
    if outcome.unit:
        return f"{float(value):.6g} {outcome.unit}"
    if outcome.rule == "coverage":
        return share_text(float(value))
    if outcome.rule in ("memory", "training-memory"):
        # In the family of the limit's unit: MB beside MB, MiB beside MiB.
        return bytes_text(int(value), decimal=outcome.text.endswith(("kB", "MB", "GB", "TB")))
    if outcome.rule in _COUNTS:
        return quantity(int(value))
    text = f"{float(value):.6g}" if decimal else fraction_text(value)
    return text if outcome.scale is None else f"{text} ({outcome.scale.text(value)})"


def _got(outcome: Outcome) -> str:
    """The value that breaks a rule: as a reader wants it, and exactly."""
    got = outcome.got
    assert got is not None
    text = _amount(outcome, got)
    if outcome.rule == "coverage":
        return f"{text} ({got})"
    if outcome.rule in ("memory", "training-memory"):
        return f"{text} ({int(got):,} B)"
    if outcome.rule in _COUNTS and got >= 1000:
        return f"{text} ({int(got):,})"
    return text
