"""Which sizes a network takes, in words: one line for each thing that is asked of a size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atrous.analysis.scale import in_units
from atrous.analysis.sizes import AxisSizes, Keep, Sizes
from atrous.analysis.trials import Trial
from atrous.errors import UnsupportedError
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.shown import how_many, some, view

__all__ = ["SizesView"]

_INDENT = 17
_LABELS: dict[Keep, str] = {
    "runs": "runs at",
    "lossless": "drops nothing",
    "aligned": "joins line up",
    "same": "keeps its size",
}
_MOST_NAMED = 8


@view.register(Sizes)
@dataclass(frozen=True, slots=True)
class SizesView(LinesView):
    """The rule of each axis, and what the size that was asked about lacks."""

    record: Sizes

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        axes = ", ".join(found.axes)
        out = [line(Span(found.network, "bold"), f": input sizes along {axes}{_unit(found)}")]
        alike = _alike(found)
        for own in alike:
            one = found.along[found.axes.index(own[0])]
            if len(alike) > 1:
                out += [(), line(Span(f"along {', '.join(own)}", "bold"))]

            def said(n: int, own: Sequence[str] = own) -> str:
                return _length_said(found, n, own)

            for label, text in _rules(one, said):
                out += wrapped(Span(label, "bold"), text, _INDENT, look)
        if found.tied:
            how = "equal lengths" if len(set(found.along)) == 1 else "one axis at a time"
            text = f"{found.tied}; what is said above is of {how}"
            out += [(), *wrapped(Span("axes", "bold"), text, _INDENT, look)]
        out += [(), *_asked(found, look)]
        return out


Said = Callable[[int], str]


def _alike(found: Sizes) -> list[list[str]]:
    """The axes, those together of which the same is said."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for axis, one in zip(found.axes, found.along, strict=True):
        groups.setdefault(tuple(_rules(one, str)), []).append(axis)
    return list(groups.values())


def _rules(one: AxisSizes, said: Said) -> list[tuple[str, str]]:
    """What is said of one axis: a label and its text."""
    rules = [(label, _which(one, keep, said)) for keep, label in _LABELS.items()]
    return [*rules, ("repeats", _repeats(one, said))]


def _unit(found: Sizes) -> str:
    """What one position is in units."""
    text = in_units(dict.fromkeys(found.axes, 1), found.scales)
    return f"; a position is {text}" if text else ""


def _length_said(found: Sizes, length: int, axes: Sequence[str]) -> str:
    """A length along axes that behave alike, in units as well where they have scales."""
    texts = [in_units({axis: length}, found.scales) for axis in axes]
    text = " by ".join(dict.fromkeys(filter(None, texts)))
    return f"{length} ({text})" if text else str(length)


def _by_axis_said(found: Sizes, lengths: Sequence[int]) -> str:
    """One length for each axis, in units as well."""
    text = in_units(dict(zip(found.axes, lengths, strict=True)), found.scales)
    return "x".join(map(str, lengths)) + (f" ({text})" if text else "")


def _asked(found: Sizes, look: Look) -> list[Line]:
    """The size that was asked about: what it is, and what to add or take away."""
    size = "x".join(map(str, found.shape))
    if found.good(found.shape):
        return wrapped(Span(size, "bold"), _is(found), _INDENT, look)
    out = []
    why = found.why(found.shape)
    out += wrapped(Span(size, "bold"), f"does not run: {why}" if why else _is(found), _INDENT, look)
    for label, amounts, sign in (("pad by", "pad", 1), ("or crop by", "crop", -1)):
        try:
            by = getattr(found, amounts)
        except UnsupportedError:
            continue
        to = [n + sign * d for n, d in zip(found.shape, by, strict=True)]
        text = f"{_by_axis_said(found, by)}, to {_by_axis_said(found, to)}"
        out += wrapped(Span(label, "bold"), text, _INDENT, look)
    return out


def _is(found: Sizes) -> str:
    words = {"same": "keeps its size", "aligned": "lines up at joins", "lossless": "drops nothing"}
    trials = [one.at(n) for one, n in zip(found.along, found.shape, strict=True)]
    held = [word for keep, word in words.items() if all(getattr(t, keep) for t in trials)]
    lacks = [_lack(keep, trials) for keep in words if keep in found.attainable]
    parts = ["runs", *held, *filter(None, lacks)]
    return ", ".join(parts)


def _lack(keep: str, trials: Sequence[Trial]) -> str:
    bad = next((trial for trial in trials if not getattr(trial, keep)), None)
    if bad is None:
        return ""
    if keep == "lossless":
        return f"but {some(bad.dropped, 2)} drops the last positions"
    if keep == "aligned":
        return f"but branches do not line up at {some(bad.shifted, 2)}"
    return f"but its output has {some([str(n) for n in bad.outputs if n], 2)}"


def _which(one: AxisSizes, keep: Keep, said: Said) -> str:
    """The lengths that are what is asked for: multiples, remainders, or a list."""
    if not one.period:
        held = [t.length for t in one.trials if one.holds(t.length, keep)]
        tried = f"{one.first} to {one.last}"
        return f"{_listed(held)}, of {tried}" if held else f"none of {tried}"
    good = [t.length for t in one.repeating if one.holds(t.length, keep)]
    early = [n for n in range(one.first, one.settled) if one.holds(n, keep)]
    if not good:
        size = "size" if len(early) == 1 else "sizes"
        return f"{size} {_listed(early)} alone" if early else "no size"
    period = _own_period(one, keep)
    rests = sorted({n % period for n in good})
    start = _from(one, keep, period, rests)
    alone = [n for n in early if n < start]
    beside = f"; also {_listed(alone)}" if alone else ""
    if period == 1:
        ends = f" {_ends(one, start, said)}" if start > 1 or one.most else ""
        return f"every size{ends}{beside}"
    if rests == [0]:
        which = f"multiples of {said(period)}"
    elif len(rests) == 1:
        which = f"{period} k + {rests[0]}"
    elif len(rests) > period - len(rests):
        which = f"all but {_remainders(period, [r for r in range(period) if r not in rests])}"
    else:
        which = _remainders(period, rests)
    return f"{which}, {_ends(one, start, said)}{beside}"


def _ends(one: AxisSizes, start: int, said: Said) -> str:
    """From which length on, and up to which where there is an end."""
    return f"from {said(start)} {'up' if one.most is None else f'to {said(one.most)}'}"


def _own_period(one: AxisSizes, keep: Keep) -> int:
    """The shortest period of this one property."""
    held = [one.holds(t.length, keep) for t in one.repeating]
    for period in range(1, one.period):
        if one.period % period == 0 and held == held[-period:] * (one.period // period):
            return period
    return one.period


def _from(one: AxisSizes, keep: Keep, period: int, rests: Sequence[int]) -> int:
    """From which length on exactly these remainders are it."""
    start = one.settled
    while start > one.first and one.holds(start - 1, keep) == ((start - 1) % period in rests):
        start -= 1
    return next(n for n in range(start, start + period) if n % period in rests)


def _remainders(period: int, rests: Sequence[int]) -> str:
    """Lengths by what they leave over: `4 k and 4 k + 3`."""
    if rests[0] == 0 and 1 not in rests:
        return f"{period} k and {_remainders(period, rests[1:])}" if rests[1:] else f"{period} k"
    return f"{period} k + {_listed(rests)}"


def _listed(values: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    texts = [str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs]
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return ", ".join(texts[:_MOST_NAMED]) + more


def _repeats(one: AxisSizes, said: Said) -> str:
    if not one.period:
        return f"not up to {said(one.last)}, the largest size that was tried"
    ways = "by its layers" if one.proved else "as far as was tried"
    period = said(one.period).replace(f"{one.period}", how_many(one.period, "position"), 1)
    size = "every size" if one.period == 1 else f"every {period}"
    ends = _ends(one, one.settled, said)
    return f"{size}, {ends}, {ways} ({how_many(len(one.trials), 'size')} read)"
