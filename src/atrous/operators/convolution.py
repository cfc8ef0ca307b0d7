"""One convolution as a record: what every kernel, strategy and validation speaks of."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.geometry import Window, Windowed

__all__ = ["Convolution"]


@dataclass(frozen=True, slots=True)
class Convolution(Windowed):
    """The sizes of a convolution and, for each spatial axis, its window.

    `x` is `(batch, in_channels, *sizes)`, its result `(batch, out_channels, *outputs)`. The weight
    is `(out_channels, in_channels / groups, *kernel)`, of a transposed convolution
    `(in_channels, out_channels / groups, *kernel)`.

    >>> one = Convolution(1, 8, 8, (65,), (Window(3, 1, 4, 4, 4),), groups=8)
    >>> one.outputs, one.depthwise, one.dilation, one.padding
    ((65,), True, (4,), ((4, 4),))
    """

    batch: int
    in_channels: int
    out_channels: int
    sizes: tuple[int, ...]
    windows: tuple[Window, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.windows)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The result's sizes; `GeometryError` where there would be none."""
        axes = zip(self.windows, self.sizes, strict=True)
        if not self.transposed:
            return tuple(window.output_length(size) for window, size in axes)
        more = self.output_padding or (0,) * self.rank
        return tuple(
            window.transposed_length(size, extra)
            for (window, size), extra in zip(axes, more, strict=True)
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """The result's shape."""
        return (self.batch, self.out_channels, *self.outputs)

    @property
    def depthwise(self) -> bool:
        """Whether each channel is convolved by itself, and there is more than one."""
        return self.groups == self.in_channels > 1

    def reached(self, tap: tuple[int, ...]) -> tuple[range, ...]:
        """Along each axis, the outputs (of a transposed one: the inputs) whose `tap` is no padding.

        That is, the outputs at which that tap falls on a position of `x`. Transposed, the inputs
        from which that tap falls on a position of the result.

        >>> Convolution(1, 1, 1, (6,), (Window(3, 1, 4, 4, 4),)).reached((2,))
        (range(0, 2),)
        """
        if not self.transposed:
            axes = zip(self.windows, tap, self.sizes, strict=True)
            return tuple(window.reached(at, size) for window, at, size in axes)
        found = []
        for window, at, size, made in zip(self.windows, tap, self.sizes, self.outputs, strict=True):
            # Backwards there are as many windows as inputs, also where the last ones read nothing.
            first = -((window.dilation * at - window.pad_lo) // window.stride)
            stop = (made - 1 + window.pad_lo - window.dilation * at) // window.stride + 1
            found.append(range(max(first, 0), max(first, 0, min(stop, size))))
        return tuple(found)

    def read(self, tap: tuple[int, ...], reached: tuple[range, ...]) -> tuple[slice, ...]:
        """Along each axis, the positions on which `tap` falls for the `reached` outputs.

        >>> one = Convolution(1, 1, 1, (6,), (Window(3, 2, 4, 4, 4),))
        >>> one.read((1,), one.reached((1,)))
        (slice(0, 5, 2),)
        """
        found = []
        for window, at, outputs in zip(self.windows, tap, reached, strict=True):
            if not outputs:
                found.append(slice(0, 0))
                continue
            first = outputs.start * window.stride - window.pad_lo + window.dilation * at
            stop = first + (len(outputs) - 1) * window.stride + 1
            found.append(slice(first, stop, window.stride))
        return tuple(found)
