"""A network run live, in words: how late it is, what it keeps, what a server must give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from atrous.draw.units import bytes_text, fraction_text, ms_text, shape_text
from atrous.plan.context import Context
from atrous.plan.stream import KeptState, StreamOutput, StreamPlan
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.shown import how_many, some, view

__all__ = ["ContextView", "StreamPlanView"]

_INDENT = 12
_MOST = 12
"""Layers that are listed with what they keep; the others are counted."""


@view.register(StreamPlan)
@dataclass(frozen=True, slots=True)
class StreamPlanView(LinesView):
    """Latency, hop and causality, what each length yields, then what is kept, layer by layer."""

    record: StreamPlan

    def lines(self, look: Look) -> list[Line]:
        plan = self.record
        shapes = " and ".join(shape_text(one.shape) for one in plan.inputs)
        rows = [
            ("latency", _latency_said(plan)),
            ("hop", _hop_said(plan)),
            ("causal", _causal_said(plan)),
        ]
        if plan.at_start:
            rows.append(("at start", _start_said(plan)))
        rows += [
            ("past", _past_said(plan)),
            ("yields", _yields_said(plan)),
            ("blocks", _blocks_said(plan)),
        ]
        if plan.joins:
            rows.append(("delays", _delays_said(plan)))
        rows.append(("state", _state_said(plan)))
        head = f": {shapes} along {plan.axis}, live"
        out = [line(Span(plan.network or "network", "bold"), head)]
        for label, text in rows:
            out += wrapped(Span(label, "bold"), text, _INDENT, look)
        listed = sorted(plan.kept, key=lambda one: -one.nbytes)[:_MOST]
        named = [one for one in plan.kept if one in listed]
        width = max((len(one.layer) for one in named), default=0)
        for one in named:
            out.append(line(f"  {one.layer.ljust(width)}  {_kept_said(one)}"))
        left = len(plan.kept) - len(named)
        if left:
            out.append(line(f"  and {how_many(left, 'layer')} that keep less"))
        return out


@view.register(Context)
@dataclass(frozen=True, slots=True)
class ContextView(LinesView):
    """What is given around each chunk, and what of the result is kept."""

    record: Context

    def lines(self, look: Look) -> list[Line]:
        one = self.record
        out = [
            line(
                Span(one.network or "network", "bold"),
                f": chunks of {_samples(one.chunk, one.rate)} along {one.axis}, without state",
            )
        ]
        more = float(one.work) - 1
        rows = [
            (
                "left",
                f"{_samples(one.left, one.rate)} before the chunk, less where the clip begins",
            ),
            ("right", f"{_samples(one.right, one.rate)} behind it, less where the clip ends"),
            ("runs on", f"{one.left + one.chunk + one.right} positions, {more:.0%} more work"),
        ]
        for name, trim, keep, rest in zip(
            one.names, one.trim_left, one.keep, one.trim_right, strict=True
        ):
            label = "keeps" if len(one.names) == 1 else name
            behind = "" if rest is None else f", {rest} behind them are dropped"
            rows.append((label, f"outputs {trim} to {trim + keep}{behind}"))
        least = one.right + one.hop
        rows.append(
            ("last run", f"to the clip's end, with less than {least} left behind the chunk")
        )
        for label, text in rows:
            out += wrapped(Span(label, "bold"), text, _INDENT, look)
        return out


def _samples(count: Fraction | int, rate: Fraction | None) -> str:
    text = fraction_text(Fraction(count))
    return text if rate is None else f"{text} ({ms_text(float(1000 * count / rate))})"


def _said_of_each(plan: StreamPlan, said: Sequence[str]) -> str:
    """What is said of each output, once where all say the same."""
    if len(set(said)) == 1:
        return said[0]
    pairs = zip(plan.outputs, said, strict=True)
    return "; ".join(f"{output.name}: {text}" for output, text in pairs)


def _latency_said(plan: StreamPlan) -> str:
    def of(output: StreamOutput) -> str:
        text = f"{_samples(output.latency, plan.rate)} input samples"
        if output.stride < 1:
            text += f", {floor(output.latency / output.stride)} output samples"
        if output.latency != output.usual:
            text += f"; {_samples(output.usual, plan.rate)} once the clip has begun"
        return text

    return _said_of_each(plan, [of(output) for output in plan.outputs])


def _hop_said(plan: StreamPlan) -> str:
    made = _said_of_each(plan, [f"{how_many(one.each, 'output')} for each" for one in plan.outputs])
    return f"{_samples(plan.hop, plan.rate)}; {made}"


def _causal_said(plan: StreamPlan) -> str:
    if plan.causal:
        return "yes: whole hops yield whole hops at once"
    return f"no: {_samples(plan.lookahead, plan.rate)} ahead, first by {plan.looks_ahead}"


def _start_said(plan: StreamPlan) -> str:
    return f"{plan.at_start} waits for more there, since its border repeats what comes later"


def _past_said(plan: StreamPlan) -> str:
    if plan.past is None:
        return f"all of it, carried on by {some(list(plan.carries))}"
    return _samples(plan.past, plan.rate)


def _yields_said(plan: StreamPlan) -> str:
    def of(output: StreamOutput) -> str:
        whole = output.length(plan.length)
        return (
            f"the first output after {_samples(output.first, plan.rate)}; of {plan.length} samples "
            f"{output.after(plan.length)}, and {whole} once flushed"
        )

    return _said_of_each(plan, [of(output) for output in plan.outputs])


def _blocks_said(plan: StreamPlan) -> str:
    if plan.hop == 1:
        return "any; equal blocks yield as much each time"
    return f"any; multiples of {plan.hop} yield as much each time"


def _delays_said(plan: StreamPlan) -> str:
    said = []
    for join in plan.joins[:4]:
        most = max(join.delays.values())
        name = next(name for name, delay in join.delays.items() if delay == most)
        said.append(f"{join.layer} waits with {name} by {most}")
    left = len(plan.joins) - len(said)
    return "; ".join(said) + (f"; and at {how_many(left, 'join')} more" if left else "")


def _state_said(plan: StreamPlan) -> str:
    text = f"{bytes_text(plan.state_bytes)} in {how_many(len(plan.kept), 'layer')}"
    if plan.least_bytes < plan.state_bytes:
        text += f"; {bytes_text(plan.least_bytes)} would do, activations and sums made again"
    return text


def _kept_said(one: KeptState) -> str:
    what = "hidden state" if one.hidden else how_many(one.positions, "position")
    return f"{what} x {one.channels}, {bytes_text(one.nbytes)}"
