"""One axis of one windowed operation, and the windows of several axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from atrous.errors import GeometryError
from atrous.shown import Shown, how_many

__all__ = ["Window", "Windowed"]


@dataclass(frozen=True, slots=True)
class Window(Shown):
    """The taps that one output reads along one axis.

    Output `o` reads inputs `o * stride - pad_lo + dilation * j` for `0 <= j < kernel`.
    Negative padding crops. Raises `GeometryError` unless kernel, stride and dilation are
    integers of at least 1 and both pads are integers.

    >>> list(Window(kernel=3, stride=2, dilation=4).taps(5))
    [10, 14, 18]
    >>> Window(kernel=3, dilation=2, pad_lo=2, pad_hi=2).output_length(65)
    65
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    pad_lo: int = 0
    pad_hi: int = 0

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise GeometryError(
                    f"{name} is {value!r}: a window needs a whole {name} of at least 1; "
                    f"pass {name}=1 or more."
                )
        for name in ("pad_lo", "pad_hi"):
            value = getattr(self, name)
            if type(value) is not int:
                raise GeometryError(
                    f"{name} is {value!r}: padding is a whole number of positions "
                    "(negative padding crops)."
                )

    @classmethod
    def of_axes(
        cls,
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        padding: Sequence[int | tuple[int, int]],
    ) -> tuple[Window, ...]:
        """The windows of several axes: that of axis `i` has the `i`-th of each.

        Padding is `(lo, hi)`, or one number for both sides. Of what is `Windowed`, with its tuples,
        these are the windows.

        >>> Window.of_axes((3, 5), (2, 1), (1, 4), (1, (16, 0)))[1]
        Window(kernel=5, stride=1, dilation=4, pad_lo=16, pad_hi=0)
        """
        pads = ((both, both) if isinstance(both, int) else both for both in padding)
        axes = zip(kernel, stride, dilation, pads, strict=True)
        return tuple(cls(k, s, d, lo, hi) for k, s, d, (lo, hi) in axes)

    @property
    def padding(self) -> tuple[int, int]:
        """`(pad_lo, pad_hi)`."""
        return self.pad_lo, self.pad_hi

    @property
    def unpadded(self) -> Window:
        """The same window without padding."""
        return replace(self, pad_lo=0, pad_hi=0)

    def at_rate(self, rate: int) -> Window:
        """The window at another dilation that makes as many outputs, at any length.

        The padding grows by as much as the extent: in front alone where a causal window has
        `stride - 1` behind, behind alone where that is turned round, else on both sides alike.
        Negative padding, which crops, comes of a lower rate where there was less.

        >>> Window(3, 1, 2, 2, 2).at_rate(5).padding, Window(2, 1, 4, 4, 0).at_rate(8).padding
        ((5, 5), (8, 0))
        >>> Window(2, 1, 1, 0, 1).at_rate(2).padding
        (1, 1)
        """
        made = replace(self, dilation=rate)
        total = self.pad_lo + self.pad_hi + made.extent - self.extent
        apart = self.pad_hi - self.pad_lo
        if apart < 0 and self.pad_hi + 1 == self.stride:
            lo = total - self.pad_hi
        elif apart > 1 and self.pad_lo + 1 == self.stride:
            lo = self.pad_lo
        elif (total - apart) % 2 == 0:
            lo = (total - apart) // 2
        else:
            lo = (total - apart + (1 if apart > 0 else -1)) // 2
        return replace(made, pad_lo=lo, pad_hi=total - lo)

    @property
    def extent(self) -> int:
        """The distance from the first tap to the last, plus one: `(kernel - 1) * dilation + 1`.

        >>> Window(3, dilation=6).extent
        13
        """
        return (self.kernel - 1) * self.dilation + 1

    def to_dict(self) -> dict[str, int]:
        """Plain data."""
        return {name: getattr(self, name) for name in self.__slots__}

    def taps(self, output: int) -> range:
        """The input positions that output `output` reads, unclipped: padding counts as positions.

        >>> Window(3, stride=2, pad_lo=1).taps(0)
        range(-1, 2)
        """
        first = output * self.stride - self.pad_lo
        return range(first, first + self.extent, self.dilation)

    def reached(self, tap: int, length: int) -> range:
        """The outputs whose tap number `tap` falls on one of `length` inputs, not on padding.

        They follow one another; an empty range says that the tap lies in the padding everywhere.
        Raises `GeometryError` where no window is left.

        >>> [Window(3, dilation=4, pad_lo=4, pad_hi=4).reached(tap, 6) for tap in range(3)]
        [range(4, 6), range(0, 6), range(0, 2)]
        """
        shift = self.pad_lo - self.dilation * tap
        first = max(-(-shift // self.stride), 0)
        stop = min((length - 1 + shift) // self.stride + 1, self.output_length(length))
        return range(first, max(first, stop))

    def output_length(self, length: int, ceil: bool = False) -> int:
        """The number of outputs along an axis of `length` inputs.

        `floor((length + pad_lo + pad_hi - extent) / stride) + 1`. With `ceil` the last, partial
        window counts as well, unless it would start in the padding behind the input (PyTorch's
        rule for pools); it may be the only one. Raises `GeometryError` where no window is left.

        >>> Window(3, stride=2).output_length(8)
        3
        >>> Window(3, stride=2).output_length(8, ceil=True)
        4
        """
        room = length + self.pad_lo + self.pad_hi - self.extent
        outputs = (-(-room // self.stride) if ceil else room // self.stride) + 1
        if ceil and (outputs - 1) * self.stride >= length + self.pad_lo:
            outputs -= 1
        if length < 0 or outputs < 1:
            raise GeometryError(self._does_not_fit(length, -room))
        return outputs

    def transposed_length(self, length: int, output_padding: int = 0) -> int:
        """The number of outputs when this window is run backwards (transposed convolution).

        `(length - 1) * stride - pad_lo - pad_hi + extent + output_padding`.

        >>> Window(4, stride=2, pad_lo=1, pad_hi=1).transposed_length(16)
        32
        """
        outputs = (
            (length - 1) * self.stride - self.pad_lo - self.pad_hi + self.extent + output_padding
        )
        if length < 1 or outputs < 1:
            raise GeometryError(
                f"a transposed window of kernel {self.kernel}, stride {self.stride}, padding "
                f"{self.pad_lo}+{self.pad_hi} makes {outputs} outputs of "
                f"{how_many(length, 'input')}; "
                "lower the padding."
            )
        return outputs

    def _does_not_fit(self, length: int, missing: int) -> str:
        kind = f"kernel {self.kernel}"
        if self.dilation > 1:
            kind += f", dilation {self.dilation}"
        padding = (
            f"padding {self.pad_lo}"
            if self.pad_lo == self.pad_hi
            else f"padding {self.pad_lo}+{self.pad_hi}"
        )
        fix = f"pad by {missing}"
        if self.dilation > 1:
            fix += " or lower the dilation"
        return (
            f"a window of {kind} spans {how_many(self.extent, 'input')}, got {length} "
            f"with {padding}; {fix}."
        )


class Windowed:
    """What has a window along each of its axes, also as one tuple for each part of the windows."""

    __slots__ = ()

    windows: tuple[Window, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The taps along each axis."""
        return tuple(window.kernel for window in self.windows)

    @property
    def stride(self) -> tuple[int, ...]:
        """The stride along each axis."""
        return tuple(window.stride for window in self.windows)

    @property
    def dilation(self) -> tuple[int, ...]:
        """The dilation along each axis."""
        return tuple(window.dilation for window in self.windows)

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """`(lo, hi)` along each axis."""
        return tuple(window.padding for window in self.windows)
