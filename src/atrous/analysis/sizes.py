"""Which input sizes a network takes, and what it makes of them: for every size, not for a few."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import lcm
from typing import Any, Literal, get_args

from atrous.analysis.scale import Scale, scales_of
from atrous.analysis.trials import Trial
from atrous.errors import ArgumentError, GeometryError, UnsupportedError
from atrous.shown import ShownWhole, Tabular, plain

__all__ = ["FARTHEST", "KEEPS", "AxisSizes", "Keep", "Sizes"]

Keep = Literal["runs", "lossless", "aligned", "same", "good"]
"""What a size is asked for: it runs; no position is dropped; every join lines up; the output is as
large as the input; as many of these as any size has."""
KEEPS: tuple[Keep, ...] = get_args(Keep)

FARTHEST = 1 << 20
"""Lengths up to this are looked through where one that is asked for may be far."""


Joint = Callable[[tuple[int, ...]], tuple[Trial, ...]]
"""What a shape, one length for each axis, gives along each of them."""


@dataclass(frozen=True)
class AxisSizes:
    """The sizes along axes that behave alike: what each length gives, and how that repeats.

    `trials` has lengths one by one from `first` on; nothing below it runs. From `settled` on what
    they give repeats every `period` lengths, outputs `rise` longer each time, up to `most`, or
    without end where that is None; 0 where no period was seen. `proved` says that layer by layer
    the same windows slide at a length and one period on; else it was seen in the trials alone.
    `further` reads the source at a length that follows from no trial; a pickle has it no more.
    """

    axes: tuple[str, ...]
    first: int
    trials: tuple[Trial, ...]
    settled: int
    period: int
    rise: tuple[int, ...]
    proved: bool
    most: int | None = None
    further: Callable[[int], Trial] | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "further": None}

    def at(self, length: int) -> Trial:
        """What a length gives; one that follows from no trial is read.

        Raises `UnsupportedError` where the source is not at hand for that.
        """
        if length < 1:
            return Trial(length, "a size is at least 1")
        if length < self.first:
            return Trial(
                length, f"sizes below {self.least} along {', '.join(self.axes)} are too small"
            )
        if length <= self.last:
            return self.trials[length - self.first]
        if not self.follows(length):
            if self.further is not None:
                return self.further(length)
            raise UnsupportedError(
                f"sizes above {self.most or self.last} along {', '.join(self.axes)} do not repeat "
                "what those below do; what they give is not known, call sizes again."
            )
        # The last period: what does not run there is least often too small for other reasons.
        start = self.last - self.period + 1
        turns, rest = divmod(length - start, self.period)
        like = self.trials[start + rest - self.first]
        pairs = zip(like.outputs, self.rise, strict=True) if like.runs else ()
        return like.moved(length, tuple(n + turns * r if n else 0 for n, r in pairs))

    def follows(self, length: int) -> bool:
        """Whether what a length gives is known from the trials."""
        if length <= self.last:
            return True
        return bool(self.period) and (self.most is None or length <= self.most)

    @property
    def last(self) -> int:
        """The last length of the trials."""
        return self.first + len(self.trials) - 1

    @property
    def least(self) -> int:
        """The least length that runs."""
        return next((t.length for t in self.trials if t.runs), self.last + 1)

    def holds(self, length: int, keep: Keep) -> bool:
        """Whether a length is what is asked for."""
        trial = self.at(length)
        if keep == "good":
            return all(getattr(trial, name) for name in self.attainable)
        return bool(getattr(trial, keep))

    @cached_property
    def attainable(self) -> tuple[Keep, ...]:
        """What one size can be at once, the more asked for first."""
        wanted: list[Keep] = ["runs"]
        for name in ("same", "aligned", "lossless"):
            tried: list[Keep] = [*wanted, name]
            if any(all(getattr(t, keep) for keep in tried) for t in self.repeating):
                wanted = tried
        return tuple(wanted)

    @property
    def repeating(self) -> Sequence[Trial]:
        """One period of trials, or all of them where none repeats."""
        if not self.period:
            return self.trials
        start = self.settled - self.first
        return self.trials[start : start + self.period]

    def lengths(self, keep: Keep, start: int = 1) -> Iterator[int]:
        """The lengths from `start` on that are what is asked for, in order, as far as is known."""
        end = (self.most or FARTHEST) if self.period else self.last
        if not any(self.holds(t.length, keep) for t in self.repeating):
            end = min(end, self.last)
        return (n for n in range(start, end + 1) if self.holds(n, keep))

    def near(self, length: int, keep: Keep) -> tuple[int | None, int | None]:
        """The largest such length up to `length`, and the least from it on; None where none is.

        Of those that follow from no trial, `length` alone is read.
        """
        if not self.follows(length) and self.holds(length, keep):
            return length, length
        top = length if self.follows(length) else self.most if self.period else self.last
        below = next((n for n in range(top or 0, 0, -1) if self.holds(n, keep)), None)
        return below, next(self.lengths(keep, length), None)


@dataclass(frozen=True, repr=False)
class Sizes(ShownWhole, Tabular):
    """Which input sizes a network takes, along each spatial axis.

    A size is a length, for all axes, or a shape with one length for each axis (batch and channels
    before them are passed over). `shape` is the input that was asked about, `refusal` why it does
    not run, if it does not, `scales` what `scaled` was given. Lengths along different axes say all
    about a shape unless `tied` says which one shows that they do not; such a shape is then read by
    `joint` when it is asked about.

    >>> import atrous
    >>> sizes = atrous.sizes("zoo:unet", (1, 1, 250, 250))
    >>> sizes.period, sizes.least, sizes.legal(250), sizes.legal(256)
    (16, 16, False, True)
    >>> sizes.nearest((250, 500)), sizes.pad, sizes.crop
    ((256, 496), (6, 6), (10, 10))
    """

    network: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    along: tuple[AxisSizes, ...]
    """One for each axis; the same one where axes are alike."""
    refusal: str = ""
    scales: Mapping[str, Scale] = field(default_factory=dict)
    tied: str = ""
    joint: Joint | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "joint": None}

    def scaled(self, *, rate: Any = None, pixel: Any = None) -> Sizes:
        """The same sizes, whose lengths are shown in ms and lengths as well.

        `rate` and `pixel` are those of `Inspection.scaled`, along the axes of these sizes; raises
        `ReadError` as that does.

        >>> import atrous
        >>> sizes = atrous.sizes("stack:k400s320valid", (1, 1, 16000)).scaled(rate=16000)
        >>> sizes.scales["t"].text(sizes.least), sizes.scales["t"].text(sizes.period)
        ('25 ms', '20 ms')
        """
        return replace(self, scales={**self.scales, **scales_of(self.axes, rate, pixel)})

    @property
    def period(self) -> int:
        """After how many positions all repeats, along every axis; 0 where it does not."""
        return lcm(*(one.period for one in self.along))

    @property
    def least(self) -> int | None:
        """The least length that runs along every axis.

        Raises `UnsupportedError` where axes that were tried one by one are tied.
        """
        self._untied((0,) * len(self.axes))
        return self._first("runs")

    @property
    def proved(self) -> bool:
        """Whether the period follows from the layers; else it was seen in the trials."""
        return all(one.proved for one in self.along)

    @property
    def attainable(self) -> tuple[Keep, ...]:
        """What sizes can be at once along every axis."""
        return tuple(k for k in KEEPS if all(k in one.attainable for one in self.along))

    def legal(self, size: int | Sequence[int]) -> bool:
        """Whether the network runs at this size."""
        return self._all(size, "runs")

    def lossless(self, size: int | Sequence[int]) -> bool:
        """Whether it runs, and no layer drops the last positions of what it is given."""
        return self._all(size, "lossless")

    def aligned(self, size: int | Sequence[int]) -> bool:
        """Whether it runs, and the branches of every join line up."""
        return self._all(size, "aligned")

    def same(self, size: int | Sequence[int]) -> bool:
        """Whether it runs, and the output is as large as the input."""
        return self._all(size, "same")

    def good(self, size: int | Sequence[int]) -> bool:
        """Whether it runs and is all that sizes of this network can be; see `attainable`."""
        return self._all(size, "good")

    def why(self, size: int | Sequence[int]) -> str:
        """Why a size does not run; empty where it does."""
        lengths = self._lengths(size)
        if self.refusal and lengths == self.shape:
            return self.refusal
        if not self._is_told(lengths):
            return next((t.refusal for t in self._read(lengths) if not t.runs), "")
        for one, n in zip(self.along, lengths, strict=True):
            trial = one.at(n)
            if not trial.runs and n > one.last and one.follows(n):
                turns = -(-(n - one.last) // one.period)
                return f"as {n - turns * one.period} does not: {trial.refusal}"
            if not trial.runs:
                return trial.refusal
        return ""

    def nearest(self, size: int | Sequence[int], keep: Keep = "runs") -> tuple[int, ...]:
        """The nearest size that runs, or is what `keep` asks for; the larger of two as near.

        Raises `ArgumentError` for another word, `UnsupportedError` where no size is that, and of
        several lengths where they are tied.
        """
        if keep not in KEEPS:
            raise ArgumentError(f"keep is {keep!r}; use {', '.join(KEEPS[:-1])} or {KEEPS[-1]}.")
        self._untied(self._lengths(size))
        found = []
        for one, length in zip(self.along, self._lengths(size), strict=True):
            below, above = one.near(length, keep)
            options = [n for n in (above, below) if n is not None]
            if not options:
                raise UnsupportedError(f"no size along {', '.join(one.axes)} is {keep}.")
            found.append(min(options, key=lambda n: abs(n - length)))
        return tuple(found)

    @property
    def pad(self) -> tuple[int, ...]:
        """How many positions to add along each axis so that the given size is good."""
        return self._apart(1)

    @property
    def crop(self) -> tuple[int, ...]:
        """How many positions to take away along each axis so that the given size is good."""
        return self._apart(-1)

    def dim(self, kind: Callable[..., Any]) -> dict[str, Any]:
        """For each axis the sizes that run, as dynamic dimensions of `kind`, `torch.export.Dim`.

        Raises `UnsupportedError` where the sizes that run are not the multiples of one number from
        some size up, which is all that a `Dim` can say, or axes are tied. `torch.export` may ask
        for larger ones: it takes a map of one position inside a model for a constant.

        >>> import atrous
        >>> from torch.export import Dim
        >>> atrous.sizes("zoo:unet").dim(Dim)["h"]
        16*_h
        """
        if self.tied:
            raise UnsupportedError(f"{self.tied}; a Dim is one axis alone.")
        found = {}
        for axis, one in zip(self.axes, self.along, strict=True):
            step, first = _multiples(one)
            # torch.export takes sizes of 0 and 1 for constants.
            most = {} if one.most is None else {"max": one.most // step}
            made = kind(f"_{axis}" if step > 1 else axis, min=max(first // step, 2), **most)
            found[axis] = step * made if step > 1 else made
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the rule of each axis, and every trial; with scales, in their units too."""
        return {
            "schema": "atrous.sizes/1",
            "network": self.network,
            "shape": list(self.shape),
            "refusal": self.refusal,
            "tied": self.tied,
            **({"scales": plain(self.scales)} if self.scales else {}),
            "axes": [
                {
                    "axis": axis,
                    "first": one.first,
                    **asked,
                    "period": one.period,
                    "settled": one.settled,
                    "rise": list(one.rise),
                    "proved": one.proved,
                    "most": one.most,
                    "attainable": list(one.attainable),
                    **self._in_unit(axis, {"length": n, "period": one.period or None, **asked}),
                    "trials": [trial.to_dict() for trial in one.trials],
                }
                for axis, one, n in zip(self.axes, self.along, self.shape, strict=True)
                for asked in (_asked_of(one, n),)
            ],
        }

    def _in_unit(self, axis: str, lengths: Mapping[str, int | None]) -> dict[str, Any]:
        scale = self.scales.get(axis)
        if scale is None:
            return {}
        values = {name: None if n is None else float(scale.of(n)) for name, n in lengths.items()}
        return {"scaled": {"unit": scale.unit, **values}}

    __repr__ = ShownWhole.__str__

    def _lengths(self, size: int | Sequence[int]) -> tuple[int, ...]:
        if isinstance(size, int):
            return (size,) * len(self.axes)
        lengths = tuple(size)[-len(self.axes) :]
        if len(lengths) != len(self.axes):
            raise GeometryError(
                f"size {tuple(size)} has no length for each of the axes {', '.join(self.axes)}; "
                "give one number, or one for each."
            )
        return lengths

    def _all(self, size: int | Sequence[int], keep: Keep) -> bool:
        lengths = self._lengths(size)
        if self._is_told(lengths):
            return all(one.holds(n, keep) for one, n in zip(self.along, lengths, strict=True))
        wanted = self.attainable if keep == "good" else (keep,)
        return all(getattr(trial, name) for trial in self._read(lengths) for name in wanted)

    def _is_told(self, lengths: Sequence[int]) -> bool:
        """Whether the lengths along each axis say all about this shape."""
        alike = all(one is self.along[0] for one in self.along)
        return not self.tied or (alike and len(set(lengths)) == 1)

    def _read(self, lengths: tuple[int, ...]) -> tuple[Trial, ...]:
        if self.joint is None:
            raise UnsupportedError(f"{self.tied}; call sizes again to read {lengths}.")
        return self.joint(lengths)

    def _untied(self, lengths: Sequence[int]) -> None:
        if not self._is_told(lengths):
            raise UnsupportedError(f"{self.tied}; ask legal(...) about one shape after the other.")

    def _first(self, keep: Keep) -> int | None:
        start = max(one.least for one in self.along)
        stop = max(one.last for one in self.along) + self.period + 1
        return next((n for n in range(start, stop) if self._all(n, keep)), None)

    def _apart(self, sign: int) -> tuple[int, ...]:
        if self.tied and self.good(self.shape):
            return (0,) * len(self.axes)
        self._untied(self.shape)
        found = []
        for one, n in zip(self.along, self._lengths(self.shape), strict=True):
            other = one.near(n, "good")[sign > 0]
            if other is None:
                raise UnsupportedError(
                    f"no {'larger' if sign > 0 else 'smaller'} size than {n} along "
                    f"{', '.join(one.axes)} is good."
                )
            found.append(abs(other - n))
        return tuple(found)


def _asked_of(one: AxisSizes, length: int) -> dict[str, int | None]:
    """The least length that runs, and how far a length is from one that is good; None for none."""
    try:
        below, above = one.near(length, "good")
    except UnsupportedError:
        below = above = None
    return {
        "least": one.least if one.least <= one.last else None,
        "pad": None if above is None else above - length,
        "crop": None if below is None else length - below,
    }


def _multiples(one: AxisSizes) -> tuple[int, int]:
    """The number of which all lengths that run are multiples, and the least of them."""
    runs = [trial.length for trial in one.repeating if trial.runs]
    step = one.period if len(runs) == 1 else 1
    if not one.period or not runs or (len(runs) > 1 and len(runs) != one.period):
        raise UnsupportedError(f"the sizes along {', '.join(one.axes)} that run are no Dim.")
    if runs[0] % step:
        raise UnsupportedError(
            f"the sizes along {', '.join(one.axes)} that run are {step} k + {runs[0] % step}, "
            "which a Dim is not."
        )
    first = next(one.lengths("runs"))
    # All below the first multiple that does not run are left out as well.
    for length in range(one.settled, 0, -step):
        if length % step == 0 and not one.at(length).runs:
            first = max(first, length + step)
            break
    return step, first
