"""A dilated window as undilated windows on the phases of its input, along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from atrous.geometry.window import Window

__all__ = ["Phased", "phased"]


@dataclass(frozen=True, slots=True)
class Phased:
    """What a window of stride `s` and dilation `d` is on the phases of its padded input.

    With `common = gcd(s, d)` the window reads only every `common`-th padded position. Of those,
    output `rate * u + v`, where `rate = d / common`, reads positions
    `v * step + rate * (u * step + j)` with `step = s / common`: phase `v` of the outputs is an
    undilated window of stride `step` on every `rate`-th position from `v * step` on.

    >>> phased(Window(3, stride=4, dilation=6))
    Phased(kernel=3, common=2, rate=3, step=2)
    """

    kernel: int
    common: int
    rate: int
    step: int

    def start(self, phase: int) -> int:
        """The first position that a phase of the outputs reads, among every `common`-th."""
        return phase * self.step

    def length(self, outputs: int) -> int:
        """The positions on which each phase makes its share of `outputs`, rounded up.

        >>> phased(Window(3, stride=4, dilation=6)).length(7)
        7
        """
        return (-(-outputs // self.rate) - 1) * self.step + self.kernel

    def reach(self, outputs: int) -> int:
        """The padded positions of which the phases are parts, once each has its full length.

        >>> phased(Window(3, stride=4, dilation=6)).reach(7)
        45
        """
        last = self.start(self.rate - 1) + self.rate * (self.length(outputs) - 1)
        return last * self.common + 1


def phased(window: Window) -> Phased:
    """How a window is split; a single tap has no dilation.

    >>> phased(Window(1, stride=2, dilation=6)), phased(Window(3, dilation=4))
    (Phased(kernel=1, common=2, rate=1, step=1), Phased(kernel=3, common=1, rate=4, step=1))
    """
    # What stride and a single tap read has no dilation, so one phase holds all of it.
    dilation = window.dilation if window.kernel > 1 else window.stride
    common = gcd(window.stride, dilation)
    return Phased(window.kernel, common, dilation // common, window.stride // common)
