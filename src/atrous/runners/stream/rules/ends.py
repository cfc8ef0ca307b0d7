"""What pads and crops the ends of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from atrous.geometry import Window
from atrous.runners.stream.rules.base import Ends, Local, Peer, Rule, Step, Timed, most_sure, rule
from atrous.runners.stream.rules.calling import called, nodes_in
from atrous.runners.stream.rules.sliding import Sliding

__all__ = ["Cropped", "Padded", "Repeated"]


class Padded(Rule):
    """Output `o` reads input `o - low`; in front of the input and behind it stand constants.

    `high` is the least that is padded behind at any length; negative numbers crop.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        low: int,
        high: int,
        dim: int,
        value: float | tuple[torch.Tensor | None, torch.Tensor | None],
    ) -> None:
        super().__init__(inputs)
        self.low, self.high, self.dim, self.value = low, high, dim, value

    def sure(self, sure: Sequence[int]) -> int:
        """What is padded is there as soon as the input is."""
        return max(0, sure[self.inputs[0]] + self.low + self.high)

    def ready(self, made: Sequence[int], sure: int) -> int:
        """What is padded in front waits for nothing."""
        return max(0, min(sure, made[self.inputs[0]] + self.low))

    def first(self, done: int) -> tuple[int, ...]:
        """The input at the same place."""
        return (done - self.low,)

    def needs(self, outputs: range) -> tuple[range, ...]:
        """The inputs at the same places."""
        return (range(outputs.start - self.low, outputs.stop - self.low),)

    def settled(self, done: int) -> bool:
        """Behind what is padded in front."""
        return done >= max(self.low, 0)

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:
        """Puts the constants there."""
        (needed,), (there,) = self.needs(outputs), stretches
        low = min(max(there.start - needed.start, 0), len(needed))
        high = len(needed) - low - len(there)
        if not low and not high:
            return lambda x: x
        behind, value = self.dim, self.value
        if not isinstance(value, tuple):

            def run(x: torch.Tensor) -> torch.Tensor:
                return pad(x, [0, 0] * (x.dim() - 1 - behind) + [low, high], value=value)

            return run
        front, back = value
        before = None if not low or front is None else front.narrow(behind, outputs.start, low)
        length = 0 if ends is None else ends[0]
        begin = max(needed.start, length) - length
        after = None if not high or back is None else back.narrow(behind, begin, high)

        def join(x: torch.Tensor) -> torch.Tensor:
            parts = [part for part in (before, x, after) if part is not None]
            return torch.cat([part.to(x.dtype) for part in parts], behind)

        return join


class Repeated(Rule):
    """What is padded is the input itself, reflected at its ends or its last position repeated."""

    def __init__(
        self, inputs: Sequence[int], low: int, high: range, dim: int, *, reflected: bool
    ) -> None:
        super().__init__(inputs)
        self.low, self.dim, self.reflected = low, dim, reflected
        # What is padded behind may be one thing at one length and another at another.
        self.least, self.most = high.start, high.stop - 1

    def sure(self, sure: Sequence[int]) -> int:
        """What is padded is there as soon as the input is."""
        return max(0, sure[self.inputs[0]] + self.low + self.least)

    def ready(self, made: Sequence[int], sure: int) -> int:
        """Nothing before the first output, which reads farthest where it is reflected."""
        count = made[self.inputs[0]]
        wanted = (self.low + 1 if self.reflected else 1) if self.low > 0 else 0
        return 0 if count < wanted else max(0, min(sure, count + self.low))

    def first(self, done: int) -> tuple[int, ...]:
        """The input at the same place, and what will be repeated behind the last one."""
        kept = (self.most + 1 if self.reflected else 1) if self.most > 0 else 0
        return (done - self.low - kept,)

    def needs(self, outputs: range) -> tuple[range, ...]:
        """What is at the same places, and what is reflected there."""
        low, high = outputs.start - self.low, outputs.stop - self.low
        if low < 0:
            # The first positions are read as far as they are reflected, and the first at least.
            high = max(high, -low + 1 if self.reflected else 1)
            low = 0
        kept = (self.most + 1 if self.reflected else 1) if self.most > 0 else 0
        return (range(max(low - kept, 0), high),)

    def settled(self, done: int) -> bool:
        """Behind what is padded in front, where all that is kept lies in the input."""
        return self.first(done)[0] >= 0 and done >= max(self.low, 0)

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:
        """Picks the positions, or hands on where these follow one another."""
        (there,) = stretches
        length = there.stop if ends is None else ends[0]
        places = [self._read(o - self.low, length) - there.start for o in outputs]
        dim, count = self.dim, len(places)
        if places == list(range(places[0], places[0] + count)):
            start = places[0]
            if start == 0 and count == len(there):
                return lambda x: x
            return lambda x: x.narrow(dim, start, count)
        index = torch.tensor(places)
        return lambda x: x.index_select(dim, index.to(x.device))

    def _read(self, place: int, length: int) -> int:
        if 0 <= place < length:
            return place
        if not self.reflected:
            return min(max(place, 0), length - 1)
        return -place if place < 0 else 2 * (length - 1) - place


class Cropped(Sliding):
    """Output `o` is input `start + o * step`, up to an end that some values tell.

    `peers` are values as long as the outputs but for a number, and that.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        start: int,
        step: int,
        dim: int,
        peers: tuple[Peer, ...],
        *,
        whole: bool,
    ) -> None:
        super().__init__(inputs, Window(1, step, pad_lo=-start), dim, lambda x: x[_from(dim, step)])
        self.peers, self.whole = peers, whole
        if step == 1:
            self.call = lambda x: x

    def sure(self, sure: Sequence[int]) -> int:
        """As many as the best known of its peers is long, or as its input has."""
        own = super().sure(sure)
        return own if self.whole else most_sure(self.peers, sure)

    def ready(self, made: Sequence[int], sure: int) -> int:
        """What the input has by then."""
        return max(0, super().ready(made, sure))


def _from(dim: int, step: int) -> tuple[slice, ...]:
    return (*(slice(None) for _ in range(dim)), slice(None, None, step))


@rule("pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d")
def _pad(call: Timed) -> Rule:
    x, out = call.operand(), call.value
    amounts = call.each("pad") if call.name in ("pad", "constant_pad_nd") else call.each("padding")
    mode = {"c": "constant", "p": call["mode"] or "constant"}.get(call.name[0], call.name[:7])
    mode = {"reflect": "reflect", "replica": "replicate"}.get(mode, mode)
    rank = len(x.shape)
    place = 2 * (rank - 1 - x.dim)
    held = [found for found in amounts if found is not None]
    lows = {found[place] if len(found) > place else 0 for found in held}
    if len(held) < len(amounts):
        lows.add(0)  # Left out there: it would have padded nothing.
    others = {tuple(found[:place]) + tuple(found[place + 2 :]) for found in held}
    if len(others) > 1:
        raise call.refusal("how it pads dimensions other than time depends on the length")
    (rest,) = others
    highs = [b - a for a, b in zip(x.lengths, out.lengths, strict=True)]
    if len(lows) > 1:
        raise call.refusal(
            "how it pads in front depends on how long the input is (as `same` paddings of strided "
            "layers do), so the first output is known only at the end; pad by fixed numbers"
        )
    (low,) = lows
    highs = [both - low for both in highs]
    if any(rest):
        flat = list(held[0])
        flat[place : place + 2] = [0, 0]
        if len(flat) > place and (low or any(highs)) and mode != "constant":
            raise call.refusal(f"it pads time and another dimension by {mode} in one call")
        key = "pad" if call.name in ("pad", "constant_pad_nd") else "padding"
        function = called(call, change={key: flat})[1]
        if not low and not any(highs):
            return Local([x.index], function)
        return _both(x, low, highs, call, flat)
    if mode == "constant":
        return Padded([x.index], low, min(highs), x.dim, _number(call["value"]))
    if mode == "circular":
        raise call.refusal(
            "it pads in front with the end of the input (circular), which comes last"
        )
    if mode not in ("reflect", "replicate"):
        raise call.refusal(f"it pads by {mode!r}, which is not followed along time")
    slack = 0 if len(set(highs)) == 1 else int(call.known.period * x.rate)
    return Repeated(
        [x.index],
        low,
        range(min(highs), max(highs) + slack + 1),
        x.dim,
        reflected=mode == "reflect",
    )


def _number(value: Any) -> float:
    return 0.0 if value is None else float(value)


def _both(x: Any, low: int, highs: list[int], call: Timed, flat: list[int]) -> Rule:
    """Constants on time's ends and on other sides, in one call."""
    number = _number(call["value"])

    class Around(Padded):
        """Time's ends, and around them the other sides."""

        def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:
            """The sides behind the ends."""
            inner = super().step(outputs, stretches, ends)
            return lambda x: pad(inner(x), flat, value=number)

    return Around([x.index], low, min(highs), x.dim, number)


@rule("slice slice_copy narrow")
def _slice(call: Timed) -> Rule:
    x, out = call.operand("self"), call.value
    if int(call["dim"] or 0) % len(x.shape) != x.dim:
        call.same()
        return Local(*called(call))
    step = int(call["step"] or 1)
    starts = set()
    for found, length in zip(call.each("start"), x.lengths, strict=True):
        # Where it is left out, nothing is cut.
        start = int(found or 0)
        starts.add(max(start + length, 0) if start < 0 else start)
    if len(starts) > 1:
        raise call.refusal(
            "it takes the end of time, counted from behind, which is known only at the end"
        )
    (start,) = starts
    if out.rate * step != x.rate:
        raise call.refusal("it takes a share of all of time, however long that is")
    there = [len(range(start, length, step)) for length in x.lengths]
    whole = list(out.lengths) == there
    peers = call.known.peers(out.lengths, out.rate)
    return Cropped([x.index], start, step, x.dim, peers, whole=whole)


def _joined_along(call: Timed) -> Rule:
    """Constants in front of what goes along time, or behind it."""
    nodes = call["tensors"]
    timed = [i for i, node in enumerate(nodes) if call.known.value(node) is not None]
    if len(timed) != 1:
        raise call.refusal(
            "it puts one stretch of time behind another, so the second waits for the end"
        )
    x = call.known.value(nodes[timed[0]])
    assert x is not None
    parts = [call.known.constant(node) for i, node in enumerate(nodes) if i != timed[0]]
    dim = call.value.dim

    def side(found: list[Any]) -> torch.Tensor | None:
        return torch.cat(found, dim) if found else None

    front, back = side(parts[: timed[0]]), side(parts[timed[0] :])
    low = 0 if front is None else front.shape[dim]
    high = 0 if back is None else back.shape[dim]
    return Padded([x.index], low, high, dim, (front, back))


@rule("cat concat concatenate stack")
def _joined(call: Timed) -> Rule:
    rank = len(call.value.shape)
    if call.name == "stack" or int(call["dim"] or 0) % rank != call.value.dim:
        nodes = nodes_in(call["tensors"])
        for node in nodes:
            if call.known.value(node) is None:
                raise call.refusal("it joins what has time with what has not")
        return Local(*called(call))
    return _joined_along(call)
