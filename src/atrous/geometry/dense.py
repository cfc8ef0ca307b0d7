"""Stride for dilation along one axis: the window that keeps every phase, and its way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from atrous.errors import GeometryError
from atrous.geometry.padding import Dialect, pad
from atrous.geometry.window import Window

__all__ = ["Dense", "Tail", "sparse_window"]

Tail = Literal["crop", "keep"]
"""Where the original drops a tail: `crop` the map so that borders stay exact, or `keep` it."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A window run on the dense map, on which the positions of its own input lie `factor` apart.

    Of a map of `length` positions, every `factor`-th from 0 on is the input that `window` was made
    for: `m = ceil(length / factor)` positions. The dense window is

    `(kernel, stride, factor * dilation, factor * pad_lo, factor * pad_hi + more)`

    and makes every `factor * window.stride / stride`-th of its outputs equal to the original ones,
    borders included. With `more = 0` that holds at every length. `more` pads on the high side, so
    that the map keeps its size, up to the last length that adds no original position: past it the
    layers behind would read outputs where the original reads its padding (`tail="keep"` goes
    there nevertheless). `same` names a padding that the original works out anew at each length;
    `padded` says how many of the positions a padding before it has added, which are no part of the
    map's size.

    >>> patch = Dense(Window(2, stride=2), factor=2)
    >>> patch.at(28)
    Window(kernel=2, stride=1, dilation=2, pad_lo=0, pad_hi=2)
    >>> patch.at(28).output_length(28), patch.outputs(28)
    (28, 28)
    """

    window: Window
    factor: int = 1
    stride: int = 1
    ceil: bool = False
    same: Dialect | None = None
    tail: Tail = "crop"
    padded: int = 0

    def __post_init__(self) -> None:
        for name in ("factor", "stride"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise GeometryError(
                    f"{name} is {value!r}: a dense window needs a whole {name} of at least 1."
                )
        if self.factor * self.window.stride % self.stride:
            raise GeometryError(
                f"a stride of {self.window.stride} behind a factor of {self.factor} cannot be "
                f"lowered to {self.stride}; use a divisor of {self.factor * self.window.stride}."
            )

    @property
    def outward(self) -> int:
        """The factor of what comes out: `factor * window.stride / stride`."""
        return self.factor * self.window.stride // self.stride

    def original(self, length: int) -> Window:
        """The window of the original, at the length that it has where the dense map has `length`.

        >>> Dense(Window(3, stride=2), 2, same="same_upper").original(8)
        Window(kernel=3, stride=2, dilation=1, pad_lo=0, pad_hi=1)
        """
        if self.same is None:
            return self.window
        w = self.window
        lo, hi = pad(self.same, w.kernel, w.stride, w.dilation, -(-length // self.factor))
        return replace(w, pad_lo=lo, pad_hi=hi)

    def kept(self, length: int) -> int:
        """How many outputs the original makes: as many positions of the dense map are its own."""
        return self.original(length).output_length(-(-length // self.factor), self.ceil)

    def outputs(self, length: int) -> int:
        """How many outputs the dense window makes of `length` positions."""
        return self.at(length).output_length(length)

    def at(self, length: int) -> Window:
        """The dense window for a map of `length` positions."""
        dense = self._scaled(self.original(length))
        kept = self.kept(length)
        wanted = -(-(length - self.padded) // self.stride)
        if self.tail == "crop":
            wanted = min(wanted, self.outward * kept)
        # Where the original counts a partial window, as many dense outputs as reach the last one.
        wanted = max(wanted, self.outward * (kept - 1) + 1)
        room = length + dense.pad_lo + dense.pad_hi - dense.extent
        more = (wanted - 1) * self.stride - room
        return replace(dense, pad_hi=dense.pad_hi + more) if more > 0 else dense

    @property
    def fixed(self) -> Window | None:
        """The dense window where it is the same at every length; else None."""
        w = self.window
        shrinks = (w.extent - 1 - w.pad_lo - w.pad_hi) * self.factor > self.padded
        if self.same is not None or self.ceil or shrinks:
            return None
        return self._scaled(w)

    @property
    def unpadded(self) -> Window:
        """The dense window without its padding, which alone depends on the length."""
        return self._scaled(self.window).unpadded

    def _scaled(self, window: Window) -> Window:
        # The rate of a single tap says nothing, so it stays.
        rate = window.dilation * (self.factor if window.kernel > 1 else 1)
        lo, hi = self.factor * window.pad_lo, self.factor * window.pad_hi
        return Window(window.kernel, self.stride, rate, lo, hi)


def sparse_window(window: Window, factor: int, outward: int, length: int) -> Window | None:
    """The window that makes every `outward`-th output of `window` from every `factor`-th input.

    `length` is that of the dense input. `(kernel, stride * outward / factor, dilation / factor,
    pad_lo / factor, pad_hi)`, where `pad_hi` is a `factor`-th as well if that leaves the right
    number of outputs, and else the smallest that does. None where a division leaves a rest.

    >>> sparse_window(Window(3, dilation=2, pad_lo=2, pad_hi=2), 2, 4, 28)
    Window(kernel=3, stride=2, dilation=1, pad_lo=1, pad_hi=1)
    >>> sparse_window(Window(3, dilation=3), 2, 2, 28) is None
    True
    """
    if window.stride * outward % factor or window.pad_lo % factor:
        return None
    if window.kernel > 1 and window.dilation % factor:
        return None
    stride = window.stride * outward // factor
    rate = window.dilation // factor if window.kernel > 1 else 1
    lo = window.pad_lo // factor
    left, wanted = -(-length // factor), -(-window.output_length(length) // outward)
    span = (window.kernel - 1) * rate + 1  # no `Window` yet: its padding is what is looked for
    least = (wanted - 1) * stride + span - left - lo
    most = least + stride - 1
    divided = window.pad_hi // factor
    if window.pad_hi % factor == 0 and divided == lo and least <= divided <= most:
        hi = divided
    elif least <= 0 <= most:
        hi = 0
    elif least <= lo <= most:
        hi = lo
    else:
        hi = least if least > 0 else most
    return Window(window.kernel, stride, rate, lo, hi)
