"""What the laws are tried on: windows, multisets, and periodic reads beside their enumeration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from atrous.geometry import Reads, Taps, Window

Counts = dict[int, int]


def windows(stride: int = 5) -> st.SearchStrategy[Window]:
    """Windows of even and odd kernels, dilated, with different pads, some of them negative."""
    return st.builds(
        Window,
        kernel=st.integers(1, 5),
        stride=st.integers(1, stride),
        dilation=st.integers(1, 4),
        pad_lo=st.integers(-3, 6),
        pad_hi=st.integers(-3, 6),
    )


def multisets(least: int = 0) -> st.SearchStrategy[Counts]:
    """Positions with multiplicities."""
    return st.dictionaries(st.integers(-12, 12), st.integers(1, 3), min_size=least, max_size=5)


@dataclass(frozen=True)
class Drawn:
    """A rule and the enumeration that it must agree with."""

    reads: Reads
    period: int
    shift: int
    phases: tuple[Counts, ...]

    def enumerated(self, output: int) -> Counts:
        """What `output` reads, from the drawn phases alone."""
        turns = (output - output % self.period) // self.period
        found = self.phases[output % self.period]
        return {p + turns * self.shift: m for p, m in sorted(found.items())}


@st.composite
def rules(
    draw: st.DrawFn,
    stride: tuple[int, int] | None = None,
    phases: st.SearchStrategy[Counts] | None = None,
) -> Drawn:
    """Periodic reads, some phases of which are empty; of a given stride where one is given."""
    if stride is None:
        period, shift = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    else:
        turns = draw(st.integers(1, 3))
        period, shift = stride[0] * turns, stride[1] * turns
    found = tuple(draw(phases if phases is not None else multisets()) for _ in range(period))
    return Drawn(Reads(period, shift, tuple(map(Taps.of, found))), period, shift, found)


def assert_reads(reads: Reads, expected: Callable[[int], Counts], over: range) -> None:
    """`reads` says what `expected` enumerates, for every output in `over`."""
    for output in over:
        assert dict(reads.at(output).items()) == dict(sorted(expected(output).items())), output
