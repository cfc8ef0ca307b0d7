"""The axis beside time in rows of places: which of them windows across it meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Side"]


@dataclass(frozen=True, slots=True)
class Side:
    """The axis beside time: so many `places`, `jump` columns apart, of which `made` are made.

    Place `o` reads places `o * stride - pad + dilation * j` for `0 <= j < taps`, those that there
    are.
    """

    places: int
    made: int
    jump: int
    taps: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0

    def fields(self, channels: int) -> dict[str, Any]:
        """For the kernel, where places of so many channels are made."""
        return {
            "left_places": self.places,
            "out_places": self.made,
            "left_jump": self.jump,
            "out_jump": channels,
            "side_taps": self.taps,
            "side_stride": self.stride,
            "side_dilation": self.dilation,
            "side_pad": self.pad,
        }

    def phase(self, first: int) -> tuple[range, Side]:
        """The taps of places `first`, `first + stride` and so on, where these are transposed.

        They meet places as those of a plain window of stride 1 do, in this order.

        >>> across, part = Side(5, 10, 1, taps=4, stride=2, pad=1).phase(0)
        >>> list(across), part.made, part.pad
        ([3, 1], 5, 1)
        """
        made = -(-(self.made - first) // self.stride)
        if self.stride == 1:
            pad = (self.taps - 1) * self.dilation - self.pad
            across = range(self.taps - 1, -1, -1)
            return across, Side(self.places, made, self.jump, self.taps, 1, self.dilation, pad)
        base, lowest = divmod(first + self.pad, self.stride)
        across = range(lowest, self.taps, self.stride)[::-1]
        pad = len(across) - 1 - base
        return across, Side(self.places, made, self.jump, len(across), 1, 1, pad)
