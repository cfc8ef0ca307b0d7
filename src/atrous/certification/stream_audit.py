"""Somebody's chunking against the offline run: what differs first, what is lost, what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.certification.tile_audit import Looks, Seams, tiled_output
from atrous.certification.verdicts import Verdict, worst
from atrous.shown import Plain, ShownWhole, plain_fields

__all__ = ["Slip", "StreamAudit", "StreamedOutput", "changes", "streamed_output"]

_FARTHEST = 1024
"""Positions by which what goes on may be moved."""
_AHEAD = 4096
"""Positions within which it must go on."""
_SURE = 8
"""Positions in a row that must agree for it to go on."""
_MOST = 256
"""Slips that are followed."""


@dataclass(frozen=True, slots=True)
class Slip(Plain):
    """Where the chunked result goes on elsewhere: behind offline position `at`, `lost` are missing.

    Below 0, so many are there twice or were put in.
    """

    at: int
    lost: int


@dataclass(frozen=True, slots=True, eq=False)
class StreamedOutput(Plain):
    """One output: its lengths, the first position that differs, what is lost and what is lacking.

    `first` is a position of the offline result, `first_input` the input sample at its place; None
    where nothing differs. `slips` are inside, `lost_at_end` behind. `seams` are the edges of chunks
    around which positions differ, where lengths agree so far; see `Seams`. `stays` says that
    nothing agrees any more from `first` on: a state was lost, or has gone another way.
    """

    name: str
    verdict: Verdict
    lengths: tuple[int, int]
    """Of the offline run, and of the chunked one."""
    max_error: float
    relative_error: float
    first: int | None
    first_input: int | None
    slips: tuple[Slip, ...]
    lost_at_end: int
    stays: bool
    seams: Seams | None

    @property
    def lost(self) -> int:
        """Output positions that are missing inside and at the end."""
        return sum(max(one.lost, 0) for one in self.slips) + max(self.lost_at_end, 0)

    @property
    def doubled(self) -> int:
        """Output positions too many."""
        return sum(max(-one.lost, 0) for one in self.slips) + max(-self.lost_at_end, 0)

    @property
    def every(self) -> int | None:
        """Output positions from one slip to the next, where that is the same for most."""
        apart = [b.at - a.at for a, b in zip(self.slips, self.slips[1:], strict=False)]
        if not apart:
            return None
        usual = max(set(apart), key=apart.count)
        return usual if apart.count(usual) > 0.6 * len(apart) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        more = {"lost": self.lost, "doubled": self.doubled, "every": self.every}
        return {**plain_fields(self), **more}


@dataclass(frozen=True, eq=False, repr=False)
class StreamAudit(ShownWhole):
    """What a chunking makes of a clip, beside what the offline run gives.

    `verdict` is the worst of the outputs': `exact`; `interior`, equal but at the ends of the clip;
    `approximate`, another result around the edges of chunks; `broken`, samples lost or doubled, or
    another result nearly everywhere. `left` and `right` are what chunks need, in input samples;
    None where no context is long enough, or it is not known.
    """

    network: str
    axis: str
    outputs: tuple[StreamedOutput, ...]
    left: int | None
    right: int | None
    hop: int | None
    latency: Fraction | None
    carries: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the outputs."""
        return worst(tuple(output.verdict for output in self.outputs))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        latency = None if self.latency is None else str(self.latency)
        return {
            "schema": "atrous.stream-audit/1",
            "verdict": self.verdict,
            "network": self.network,
            "axis": self.axis,
            "outputs": [output.to_dict() for output in self.outputs],
            "needs": {"left": self.left, "right": self.right, "hop": self.hop},
            "latency": latency,
            "carries": list(self.carries),
            "notes": list(self.notes),
        }


Changed = Callable[[str, int, bool], int | None]
"""The first output that changes where inputs from a position on do; see `tile_audit`."""


def streamed_output(
    name: str,
    offline: NDArray[Any],
    chunked: NDArray[Any],
    time: int,
    looks: Looks,
    changed: Changed | None = None,
) -> StreamedOutput:
    """The comparison of one output along the dimension `time`."""
    lengths = (offline.shape[time], chunked.shape[time])
    same = min(lengths)
    slips, lost_at_end, first, stays = _followed(offline, chunked, time)
    one, other = (np.moveaxis(x, time, 0)[:same] for x in (offline, chunked))
    one, other = np.moveaxis(one, 0, time), np.moveaxis(other, 0, time)
    found = tiled_output(name, one, other, {time: looks}, None if slips else changed)
    seams = found.axes[0] if found.axes and not slips and not stays else None
    verdict: Verdict = found.verdict
    if slips or lost_at_end or stays:
        verdict = "broken"
    return StreamedOutput(
        name,
        verdict,
        lengths,
        found.max_error or 0.0,
        found.relative_error or 0.0,
        first,
        None if first is None else int(first * looks.stride),
        tuple(slips),
        lost_at_end,
        stays,
        seams,
    )


def _followed(
    offline: NDArray[Any], chunked: NDArray[Any], time: int
) -> tuple[list[Slip], int, int | None, bool]:
    """Where the chunked result goes on elsewhere, what is left at the end, and where it differs."""
    one, other, near = _as_lines(offline, chunked, time)
    here = there = 0
    slips: list[Slip] = []
    first: int | None = None
    while len(slips) < _MOST:
        count = min(len(one) - here, len(other) - there)
        differs = np.flatnonzero(~_agree(one[here : here + count], other[there:][:count], near))
        if not len(differs):
            break
        here, there = here + int(differs[0]), there + int(differs[0])
        first = here if first is None else first
        found = _goes_on(one[here:], other[there:], near)
        if found is None:
            left = (len(one) - here) - (len(other) - there)
            near_end = min(len(one) - here, len(other) - there) < 2 * _SURE
            return slips, left, first, not near_end
        over, moved = found
        if moved:
            slips.append(Slip(here + over, moved))
        here, there = here + over + max(moved, 0), there + over + max(-moved, 0)
    left = (len(one) - here) - (len(other) - there)
    if first is None and left:
        first = min(len(one), len(other))
    return slips, left, first, False


def _as_lines(
    offline: NDArray[Any], chunked: NDArray[Any], time: int
) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Each result as one number for each position, a random sum; and how near is the same."""
    lines = [
        np.moveaxis(x, time, 0).reshape(x.shape[time], -1).astype(np.float64)
        for x in (offline, chunked)
    ]
    width = min(line.shape[1] for line in lines)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, width)
    one, other = (line[:, :width] @ weights for line in lines)
    size = min(offline.dtype.itemsize, chunked.dtype.itemsize)
    scale = float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
    return one, other, {2: 1e-2, 4: 3e-5, 8: 1e-11}.get(size, 1e-11) * scale


def _agree(one: NDArray[Any], other: NDArray[Any], near: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        close = np.abs(one - other) <= near
    found: NDArray[np.bool_] = close | (np.isnan(one) & np.isnan(other)) | (one == other)
    return found


def _goes_on(one: NDArray[Any], other: NDArray[Any], near: float) -> tuple[int, int] | None:
    """After how many positions they agree again, and by how many the chunked one has lost then."""
    best: tuple[int, int] | None = None
    for apart in range(min(_FARTHEST, max(len(one), len(other))) + 1):
        for moved in dict.fromkeys((apart, -apart)):
            a, b = one[max(moved, 0) :], other[max(-moved, 0) :]
            # Only what agrees sooner than what is known so far, by more than it takes to be sure.
            room = _AHEAD if best is None else best[0] - _SURE
            count = min(len(a), len(b), room + _SURE)
            if count < min(_SURE, len(one), len(other)) or room < 0 or not count:
                continue
            start = _first_run(_agree(a[:count], b[:count], near))
            if start is not None and (best is None or start < best[0]):
                best = (start, moved)
        if best is not None and best[0] < _SURE:
            break
    return best


def _first_run(agrees: NDArray[np.bool_]) -> int | None:
    """Where the first positions in a row agree, so many that it is no chance."""
    need = min(_SURE, len(agrees))
    if not need:
        return None
    sums = np.convolve(agrees, np.ones(need, np.int64), "valid")
    places = np.flatnonzero(sums == need)
    return int(places[0]) if len(places) else None


def changes(
    run: Callable[..., Sequence[NDArray[Any]]],
    inputs: Sequence[Any],
    times: Mapping[int, int],
    output: int,
    time: int,
    change: Callable[..., Any],
) -> Changed:
    """Runs a chunking on inputs that are others from a sample on: which outputs change first?"""
    before = run(*inputs)[output]

    def found(axis: str, sample: int, before_it: bool) -> int | None:  # noqa: ARG001
        if sample < 1:
            return None
        made = run(
            *(
                change(one, times[i], sample, before_it=before_it) if i in times else one
                for i, one in enumerate(inputs)
            )
        )[output]
        if made.shape != before.shape:
            return None
        other = (made != before) & ~(np.isnan(made) & np.isnan(before))
        places = np.flatnonzero(np.moveaxis(other, time, 0).reshape(made.shape[time], -1).any(1))
        if not len(places):
            return None
        return int(places[-1]) + 1 if before_it else int(places[0])

    return found
