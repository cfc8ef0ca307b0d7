"""A network run live along one axis: latency, what it keeps, and what each length yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

from atrous.errors import ArgumentError, UnsupportedError
from atrous.plan.arrivals import Cycle
from atrous.plan.context import Context
from atrous.shown import Plain, ShownWhole

__all__ = ["Join", "KeptState", "StreamInput", "StreamOutput", "StreamPlan"]


@dataclass(frozen=True, slots=True)
class StreamInput(Plain):
    """One input: its shape at the length that was read, and which dimension is time, if any."""

    name: str
    shape: tuple[int, ...]
    time: int | None


@dataclass(frozen=True, slots=True, eq=False)
class StreamOutput(Plain):
    """One output of a stream: one position every `stride` input samples.

    `latency` is the most by which a sample that an output waits for lies behind its own place,
    `o * stride`, in input samples; `usual` is the same once the beginning of the clip is past,
    where borders that reflect wait for more. `lookahead` is how much of it lies beyond the hop
    that the output is part of, 0 where the output waits for nothing later.
    """

    name: str
    shape: tuple[int, ...]
    time: int
    stride: Fraction
    latency: Fraction
    usual: Fraction
    lookahead: int
    begin: tuple[int, ...] = field(repr=False)
    """The samples after which the first outputs are there, where they are not as the others."""
    turn: tuple[int, ...] = field(repr=False)
    """The same of the outputs of one hop; each hop later it is as much more."""
    ends: tuple[int, ...] | None = field(repr=False)
    """The samples with which outputs exist, for one hop; None where lengths hang on more."""
    tried: Mapping[int, int] = field(repr=False)
    """Output lengths of clips that were read, by their length."""
    hop: int = field(repr=False)

    @property
    def each(self) -> int:
        """Outputs for each hop."""
        return len(self.turn)

    @property
    def first(self) -> int:
        """Samples that must be there for the first output."""
        return max((*self.begin, *self.turn)[0] + 1, 1)

    def after(self, samples: int) -> int:
        """How many outputs are known once so many samples of a clip are, and it goes on.

        >>> import atrous
        >>> plan = atrous.plan_stream("stack:k5s2x4 k3", (1, 1, 64))
        >>> [plan.outputs[0].after(n) for n in (0, 4, 5, 6, 100)]
        [0, 0, 1, 1, 48]
        """
        import numpy as np

        if samples <= 0:
            return 0
        early = sum(sample < samples for sample in self.begin)
        if early < len(self.begin):
            return early
        usual = Cycle(np.array(self.turn), self.hop).below(np.array([samples]))[0]
        return max(early, int(usual))

    def length(self, samples: int) -> int | None:
        """How many outputs a clip of so many samples has, its end flushed; None if not known.

        >>> import atrous
        >>> plan = atrous.plan_stream("stack:k10s5validx4 k3s2valid", (1, 1, 640))
        >>> [plan.outputs[0].length(n) for n in (19, 20, 29, 30, 640)]
        [0, 1, 1, 2, 63]
        """
        import numpy as np

        if samples in self.tried:
            return self.tried[samples]
        if self.ends is None:
            return None
        return max(int(Cycle(np.array(self.ends), self.hop).below(np.array([samples]))[0]), 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "time": self.time,
            "stride": str(self.stride),
            "outputs_per_hop": self.each,
            "latency": str(self.latency),
            "latency_in_outputs": floor(self.latency / self.stride),
            "usual_latency": str(self.usual),
            "lookahead": self.lookahead,
            "first_output_after": self.first,
        }


@dataclass(frozen=True, slots=True)
class KeptState(Plain):
    """What is kept for one layer between two samples: positions of `tensor`, or a hidden state.

    `positions` is the most over the phases of a hop; each is `channels` numbers.
    """

    layer: str
    tensor: str
    positions: int
    channels: int
    nbytes: int
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Join(Plain):
    """Where branches meet: by how many positions each must be delayed to be with the slowest."""

    layer: str
    delays: Mapping[str, int]


@dataclass(frozen=True, eq=False, repr=False)
class StreamPlan(ShownWhole):
    """A network along one axis, sample by sample, to the result of the whole clip.

    Lengths are in input samples. `hop` is after how many the pattern repeats: blocks that are a
    multiple of it yield as many outputs each time; every other length of blocks, also 1, gives the
    same result. `latency` and `lookahead` are the outputs' largest. `past` is how far before its
    own place an output reads; None where a layer carries all of the past on. `kept` says what must
    be kept between samples, `joins` by how much branches are delayed.
    """

    network: str
    axis: str
    length: int
    """Of the clip that was read."""
    inputs: tuple[StreamInput, ...]
    outputs: tuple[StreamOutput, ...]
    hop: int
    past: int | None
    looks_ahead: str
    """The first layer that waits for what lies beyond its hop; empty where all are causal."""
    at_start: str
    """The first layer that waits for more at the beginning of a clip; empty where none does."""
    carries: tuple[str, ...]
    """Layers that carry all of the past on."""
    kept: tuple[KeptState, ...]
    least_bytes: int
    """What would do, while the clip goes on, if activations and sums were made again."""
    joins: tuple[Join, ...]
    left: int
    """What a run without state needs before a chunk."""
    rate: Fraction | None = None

    @property
    def latency(self) -> Fraction:
        """The largest distance from an output's place to a sample that it waits for."""
        return max(one.latency for one in self.outputs)

    @property
    def lookahead(self) -> int:
        """How far beyond its hop an output waits, at the most: 0 is causal."""
        return max(one.lookahead for one in self.outputs)

    @property
    def causal(self) -> bool:
        """Whether whole hops of samples yield whole hops of outputs at once."""
        return not self.lookahead

    @property
    def state_bytes(self) -> int:
        """What all layers keep."""
        return sum(one.nbytes for one in self.kept)

    def ms(self, samples: Fraction | int) -> float | None:
        """So many input samples in milliseconds; None without a rate."""
        return None if self.rate is None else float(1000 * samples / self.rate)

    def at_rate(self, rate: float | Fraction) -> StreamPlan:
        """The same plan, whose lengths are also shown in ms at so many samples per second."""
        if not rate > 0:
            raise ArgumentError(
                f"rate={rate!r} is no sample rate; give samples per second above 0."
            )
        return replace(self, rate=Fraction(rate))

    def after(self, samples: int) -> tuple[int, ...]:
        """How many positions of each output are known after so many samples, before the end."""
        return tuple(one.after(samples) for one in self.outputs)

    def flushed(self, samples: int) -> tuple[int | None, ...]:
        """How many positions each output of a clip of so many samples has; None if not known."""
        return tuple(one.length(samples) for one in self.outputs)

    def blocks(self, at_least: int = 1) -> int:
        """The least length of blocks, from `at_least` on, that yields as much each time.

        >>> import atrous
        >>> atrous.plan_stream("stack:k5s2x4 k3s3", (1, 1, 60)).blocks(16)
        18
        """
        return max(ceil(at_least / self.hop), 1) * self.hop

    def context(self, chunk: int) -> Context:
        """What to give a model without state around each chunk of so many input positions.

        Raises `ArgumentError` for a chunk that is no multiple of `hop`, `UnsupportedError` where a
        layer carries all of the past on, so that no context is long enough.

        >>> import atrous
        >>> print(atrous.plan_stream("stack:k5x8 tconvk4s2 k3d2", (1, 1, 200)).context(chunk=25))
        k5x8 tconvk4s2 k3d2: chunks of 25 along t, without state
        left        4 before the chunk, less where the clip begins
        right       4 behind it, less where the clip ends
        runs on     33 positions, 32% more work
        keeps       outputs 8 to 58, 8 behind them are dropped
        last run    to the clip's end, with less than 5 left behind the chunk
        """
        if self.carries:
            error = UnsupportedError(
                "carries all of the past on, so no context is long enough; keep its state with "
                "atrous.stream."
            )
            error.subject = self.carries[0]
            raise error
        if chunk < 1 or chunk % self.hop:
            near = self.blocks(chunk)
            lower = f"{near - self.hop} or " if near > self.hop else ""
            raise ArgumentError(
                f"chunk={chunk} is no multiple of the hop, {self.hop}, so outputs fall between "
                f"chunks; give {lower}{near}."
            )
        slower = {one.shape[one.time] for one in self.inputs if one.time is not None}
        if len(slower) > 1:
            raise UnsupportedError(
                "its inputs have rates of their own; keep state with atrous.stream."
            )
        right = self.lookahead
        keep = tuple(int(chunk / one.stride) for one in self.outputs)
        trims = tuple(int(self.left / one.stride) for one in self.outputs)
        made = (one.length(self.left + chunk + right) for one in self.outputs)
        return Context(
            self.network,
            self.axis,
            chunk,
            self.left,
            right,
            tuple(one.name for one in self.outputs),
            tuple(one.stride for one in self.outputs),
            trims,
            keep,
            tuple(
                None if n is None else max(n - trim - held, 0)
                for n, trim, held in zip(made, trims, keep, strict=True)
            ),
            self.hop,
            self.rate,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema": "atrous.stream/1",
            "network": self.network,
            "axis": self.axis,
            "rate": None if self.rate is None else float(self.rate),
            "inputs": [one.to_dict() for one in self.inputs],
            "outputs": [one.to_dict() for one in self.outputs],
            "hop": self.hop,
            "past": self.past,
            "latency": str(self.latency),
            "latency_ms": self.ms(self.latency),
            "lookahead": self.lookahead,
            "causal": self.causal,
            "looks_ahead": self.looks_ahead,
            "at_start": self.at_start,
            "carries": list(self.carries),
            "state_bytes": self.state_bytes,
            "least_state_bytes": self.least_bytes,
            "kept": [one.to_dict() for one in self.kept],
            "joins": [one.to_dict() for one in self.joins],
        }
