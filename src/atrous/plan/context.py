"""What a server without state gives the model around each chunk of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from atrous.errors import ArgumentError
from atrous.shown import Plain, ShownWhole

__all__ = ["Context", "ContextCut"]


@dataclass(frozen=True, slots=True)
class ContextCut(Plain):
    """One chunk of a clip: the model runs on `read`; `keep` of what it makes are outputs `made`.

    An end of None is that of the clip.
    """

    read: slice
    keep: tuple[slice, ...]
    made: tuple[slice, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: pairs of begin and end."""
        pairs = {
            name: [[part.start, part.stop] for part in getattr(self, name)]
            for name in ("keep", "made")
        }
        return {"read": [self.read.start, self.read.stop], **pairs}


@dataclass(frozen=True, slots=True)
class Context(ShownWhole):
    """What a server without state must give the model around each chunk, for the offline result.

    For the chunk at input positions `a` to `a + chunk` it runs the model on those from `a - left`
    to `a + chunk + right`, as far as the clip has them, and keeps of each output `keep` positions
    from `trim_left` on (from `a / stride` less what was clipped, in the first chunks); in the last
    chunk all that are left. `a` is a multiple of `chunk`. `trim_right` is what is then left over;
    None where the length of what the model makes is not known.
    """

    network: str
    axis: str
    chunk: int
    left: int
    right: int
    names: tuple[str, ...]
    strides: tuple[Fraction, ...]
    trim_left: tuple[int, ...]
    keep: tuple[int, ...]
    trim_right: tuple[int | None, ...]
    hop: int
    rate: Fraction | None = None

    @property
    def work(self) -> Fraction:
        """Input positions that are run for each one of the clip."""
        return Fraction(self.left + self.chunk + self.right, self.chunk)

    def cut(self, index: int, length: int | None = None) -> ContextCut:
        """Chunk `index`, from 0, of a clip of `length` positions; one that has no end if not given.

        >>> import atrous
        >>> context = atrous.plan_stream("stack:k7 k3d4", (1, 1, 500)).context(chunk=50)
        >>> cut = context.cut(2, 500)
        >>> cut.read, cut.keep[0], cut.made[0]
        (slice(93, 157, None), slice(7, 57, None), slice(100, 150, None))
        """
        start = index * self.chunk
        if index < 0 or (length is not None and index >= self.chunks(length)):
            raise ArgumentError(f"chunk {index} is none of a clip of {length} positions.")
        low, high = max(start - self.left, 0), start + self.chunk + self.right
        last = length is not None and index == self.chunks(length) - 1
        stop = high if length is None else length if last else min(high, length)
        keep, made = [], []
        for stride, count in zip(self.strides, self.keep, strict=True):
            before, begin = int((start - low) / stride), int(start / stride)
            keep.append(slice(before, None if last else before + count))
            made.append(slice(begin, None if last else begin + count))
        return ContextCut(slice(low, stop), tuple(keep), tuple(made))

    def cuts(self, length: int) -> Iterator[ContextCut]:
        """All chunks of a clip."""
        for index in range(self.chunks(length)):
            yield self.cut(index, length)

    def chunks(self, length: int) -> int:
        """How many runs a clip takes."""
        # What is left behind the last has room for the outputs of a hop, and else goes with it.
        return max(ceil((length - self.right - self.hop + 1) / self.chunk), 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        outputs = [
            {
                "name": name,
                "stride": str(stride),
                "trim_left": left,
                "keep": keep,
                "trim_right": right,
            }
            for name, stride, left, keep, right in zip(
                self.names, self.strides, self.trim_left, self.keep, self.trim_right, strict=True
            )
        ]
        return {
            "schema": "atrous.context/1",
            "network": self.network,
            "axis": self.axis,
            "chunk": self.chunk,
            "left": self.left,
            "right": self.right,
            "hop": self.hop,
            "work": float(self.work),
            "rate": None if self.rate is None else float(self.rate),
            "outputs": outputs,
        }
