"""A stream over a sound: how much went in and came out, in which time, and how far it is off."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from atrous.shown import ShownWhole, plain_fields

__all__ = ["StreamRun"]


@dataclass(frozen=True, slots=True)
class StreamRun(ShownWhole):
    """A sound pushed block by block: its lengths, times, and the difference from the offline run.

    `seconds` is the time that pushing all blocks and the flush took, files left out; `first_ms` is
    that of the first block, which also makes plans, and `slowest_ms` the most of the others.
    """

    network: str
    samples: int
    outputs: int
    block: int
    blocks: int
    rate: Fraction | None
    latency: int | Fraction
    hop: int
    seconds: float
    first_ms: float
    slowest_ms: float
    error: float | None = None
    """The largest difference from the offline run, beside its largest value."""
    near: float | None = None
    """What another order of additions may change."""

    @property
    def real_time(self) -> float | None:
        """Seconds that a second of sound takes; None without a rate."""
        if self.rate is None or not self.samples:
            return None
        return self.seconds * float(self.rate) / self.samples

    @property
    def equal(self) -> bool | None:
        """Whether the offline run gives the same; None where it was not asked."""
        return None if self.error is None or self.near is None else self.error <= self.near

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = plain_fields(self)
        found["rate"] = None if self.rate is None else float(self.rate)
        return {
            "schema": "atrous.stream-run/1",
            **found,
            "real_time": self.real_time,
            "equal": self.equal,
        }
