"""What came of rules: one line for each broken one, in words."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.analysis.check import Check, Outcome
from atrous.draw.units import at_least, bytes_text, fraction_text, quantity, share_text
from atrous.report.lines import Line, Look, Span, line
from atrous.report.view import LinesView
from atrous.shown import view

__all__ = ["CheckView", "OutcomeView"]


@view.register(Check)
@dataclass(frozen=True, slots=True)
class CheckView(LinesView):
    """A line for each broken rule and place; one line in all where every rule holds.

    The network is called `name` where its own name says less. Lines are never wrapped: they are
    for logs, and for tools that read logs.
    """

    record: Check
    name: str = ""

    def lines(self, look: Look) -> list[Line]:  # noqa: ARG002
        check = self.record
        name = self.name or check.network or "network"
        merged: dict[tuple[str, str, str, object, str], list[Outcome]] = {}
        for outcome in check.broken:
            key = (outcome.rule, outcome.text, outcome.layer, outcome.got, outcome.reason)
            merged.setdefault(key, []).append(outcome)
        if not merged:
            count = len({(outcome.rule, outcome.text) for outcome in check.outcomes})
            rules = "1 rule holds" if count == 1 else f"{count} rules hold"
            notes = dict.fromkeys(outcome.reason for outcome in check.outcomes if outcome.reason)
            note = f" ({'; '.join(notes)})" if notes else ""
            return [line(Span(f"{name}: "), Span(rules + note, "cyan"))]
        out = []
        for group in merged.values():
            axes = ", ".join(outcome.axis for outcome in group if outcome.axis)
            out.append(line(Span(f"{name}: "), Span(_broken(group[0], axes), "red")))
        return out


@view.register(Outcome)
@dataclass(frozen=True, slots=True)
class OutcomeView(LinesView):
    """One outcome in words."""

    record: Outcome

    def lines(self, look: Look) -> list[Line]:  # noqa: ARG002
        outcome = self.record
        if outcome.holds:
            return [line(f"{outcome.text} holds")]
        return [line(_broken(outcome, outcome.axis))]


def _broken(outcome: Outcome, axes: str) -> str:
    where = f" at {outcome.layer}" if outcome.layer else ""
    along = f" along {axes}" if axes else ""
    if outcome.got is None and outcome.text.startswith("no "):
        return f"{outcome.rule}{where}, which must not be: {outcome.reason}"
    if outcome.got is None:
        return f"{outcome.rule}{where} is {outcome.reason}, must be {outcome.text}"
    note = f" ({outcome.reason})" if outcome.reason else ""
    got = at_least(_got(outcome), outcome.at_least)
    return f"{outcome.rule}{where}{along} is {got}{note}, must be {outcome.text}"


def _got(outcome: Outcome) -> str:
    got = outcome.got
    assert got is not None
    if outcome.rule == "coverage":
        return f"{share_text(float(got))} ({got})"
    if outcome.rule == "output-stride":
        return fraction_text(got)
    count = int(got)
    if outcome.rule == "memory":
        return f"{bytes_text(count)} ({count:,} B)"
    if outcome.rule in ("macs", "params") and count >= 1000:
        return f"{quantity(count)} ({count:,})"
    return str(count)
