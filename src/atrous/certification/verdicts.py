"""The words in which certificates speak."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from atrous.analysis.scale import Scale, in_units
from atrous.errors import clean

__all__ = ["ALONG", "Apart", "Cause", "Verdict", "severity", "worst"]

ALONG = re.compile(r" along (\w+)\b")
"""Where a reason names its axis."""
_ALONG_ALL = re.compile(r" along \w+(?:, \w+)*\b")

Verdict = Literal["exact", "interior", "shifted", "approximate", "broken"]
"""`exact`: equal, borders included. `interior`: equal beyond a margin. `shifted`: equal at another
phase. `approximate`: an operation that mixes all positions meets another number of them. `broken`:
something else is computed."""

_ORDER: tuple[Verdict, ...] = ("exact", "interior", "shifted", "approximate", "broken")


@dataclass(frozen=True, slots=True)
class Apart:
    """Lengths along an axis in positions of the input: one by which maps are apart, or margins."""

    axis: str
    positions: tuple[Fraction, ...]
    margins: bool = False

    def text(self, scales: Mapping[str, Scale]) -> str:
        """The lengths in the unit of the axis; empty where it has none.

        >>> from atrous.analysis.scale import pixels
        >>> scales = {"h": pixels("0.5um")}
        >>> Apart("h", (Fraction(3),)).text(scales)
        'off by 1.5 um'
        >>> Apart("h", (Fraction(2), Fraction(4)), margins=True).text(scales)
        '1 um and 2 um'
        """
        texts = [in_units({self.axis: n}, scales) for n in self.positions]
        return " and ".join(texts) if self.margins or not all(texts) else f"off by {texts[0]}"


@dataclass(frozen=True, slots=True)
class Cause:
    """A layer, and why what it computes is not what the reference computes.

    `apart` has the lengths along axes that `why` speaks of.
    """

    layer: str
    why: str
    apart: tuple[Apart, ...] = ()

    def said(self, scales: Mapping[str, Scale]) -> str:
        """The layer and why, with lengths in units behind the axes that have one."""
        texts = {one.axis: text for one in self.apart if (text := one.text(scales))}
        if len(set(texts.values())) > 1:
            units = ", ".join(f"{text} along {axis}" for axis, text in texts.items())
        else:
            units = next(iter(texts.values()), "")
        why = _ALONG_ALL.sub(lambda found: f"{found[0]} ({units})", self.why, count=1)
        return clean(f"{self.layer}: {why if units else self.why}")

    def scaled(self, scales: Mapping[str, Scale]) -> list[dict[str, object]]:
        """The lengths in the units of axes that have one, as plain data."""
        return [
            {
                "axis": one.axis,
                "unit": scales[one.axis].unit,
                "apart": [float(scales[one.axis].of(n)) for n in one.positions],
            }
            for one in self.apart
            if one.axis in scales
        ]

    def to_dict(self) -> dict[str, object]:
        """Plain data; lengths in positions of the input."""
        apart = [{"axis": a.axis, "positions": list(map(float, a.positions))} for a in self.apart]
        return {"layer": self.layer, "why": self.why, "apart": apart}

    def __str__(self) -> str:
        return clean(f"{self.layer}: {self.why}")


def severity(verdict: Verdict) -> int:
    """How little a verdict promises: 0 for `exact`, more for the others."""
    return _ORDER.index(verdict)


def worst(verdicts: tuple[Verdict, ...]) -> Verdict:
    """The one that promises least.

    >>> worst(("exact", "shifted", "interior"))
    'shifted'
    """
    return max(verdicts, key=_ORDER.index, default="exact")
