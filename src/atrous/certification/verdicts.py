"""The words in which certificates speak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atrous.errors import clean
from atrous.shown import Plain

__all__ = ["Cause", "Verdict", "severity", "worst"]

Verdict = Literal["exact", "interior", "shifted", "approximate", "broken"]
"""`exact`: equal, borders included. `interior`: equal beyond a margin. `shifted`: equal at another
phase. `approximate`: an operation that mixes all positions meets another number of them. `broken`:
something else is computed."""

_ORDER: tuple[Verdict, ...] = ("exact", "interior", "shifted", "approximate", "broken")


@dataclass(frozen=True, slots=True)
class Cause(Plain):
    """A layer, and why what it computes is not what the reference computes."""

    layer: str
    why: str

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
