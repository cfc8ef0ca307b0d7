"""Views in which time is written in other digits: frames, pixels shuffled out of channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from atrous.geometry import Reads, Window
from atrous.runners.stream.rules.base import Ends, Local, Rule, Step, Timed, Value, rule

__all__ = ["Reshaped"]


class Reshaped(Rule):
    """Each output position is `merged` positions of the input, or each of those makes `split`."""

    def __init__(
        self,
        inputs: Sequence[int],
        merged: int,
        split: int,
        shape: tuple[int, ...],
        dims: tuple[int, int],
    ) -> None:
        super().__init__(inputs)
        self.merged, self.split, self.shape = merged, split, shape
        self.dim, self.out = dims
        self.reads = (
            Reads.window(Window(merged, merged))
            if merged > 1
            else Reads.transposed(Window(split, split))
        )

    def sure(self, sure: Sequence[int]) -> int:
        """As many as so many make."""
        return sure[self.inputs[0]] // self.merged * self.split

    def ready(self, made: Sequence[int], sure: int) -> int:
        """As many as so many make."""
        return min(sure, made[self.inputs[0]] // self.merged * self.split)

    def first(self, done: int) -> tuple[int, ...]:
        """The first position that is merged, or split."""
        return (self.reads.at(done).first,)

    def needs(self, outputs: range) -> tuple[range, ...]:
        """All that is merged, or split."""
        return (self.reads.needed(outputs),)

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
        """The view itself."""
        (there,) = stretches
        made = len(there) // self.merged * self.split
        shape = (*self.shape[: self.out], made, *self.shape[self.out + 1 :])
        skip = outputs.start - there.start // self.merged * self.split
        if skip == 0 and made == len(outputs):
            return lambda x: x.reshape(shape)
        out, count = self.out, len(outputs)
        return lambda x: x.reshape(shape).narrow(out, skip, count)


@rule("view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as ravel")
def _view(call: Timed) -> Rule:
    x, out = call.operand("self"), call.value
    return reshaped(call, x, out)


def reshaped(call: Timed, x: Value, out: Value) -> Rule:
    """The rule of what keeps all numbers in their order and changes sizes alone."""
    before, behind = prod(x.shape[: x.dim]), prod(x.shape[x.dim + 1 :])
    before_out, behind_out = prod(out.shape[: out.dim]), prod(out.shape[out.dim + 1 :])
    if before != before_out:
        if before_out < before:
            raise call.refusal(
                f"its {call.name} puts time behind the batch or the channels in one dimension; "
                "stream with a batch of 1, or with time in a dimension of its own"
            )
        raise call.refusal(f"its {call.name} cuts time into pieces as long as the input allows")
    dims = (x.dim, out.dim)
    if behind == behind_out:
        shape = list(out.shape)
        shape[out.dim] = -1
        return Local([x.index], _in_shape(tuple(shape)))
    if behind_out % behind == 0:
        return Reshaped([x.index], behind_out // behind, 1, out.shape, dims)
    if behind % behind_out == 0:
        return Reshaped([x.index], 1, behind // behind_out, out.shape, dims)
    raise call.refusal(f"its {call.name} groups {behind} numbers of a position by {behind_out}")


def _in_shape(shape: tuple[int, ...]) -> Step:
    at = shape.index(-1)

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.numel():
            return x.reshape(shape)
        return x.reshape(*shape[:at], 0, *shape[at + 1 :])

    return run


@rule("repeat_interleave")
def _repeated(call: Timed) -> Rule:
    x, out = call.operand("self"), call.value
    call.same("output_size")
    times = call["repeats"]
    if not isinstance(times, int) or call["dim"] is None:
        raise call.refusal("it repeats each position by numbers of its own")
    if int(call["dim"]) % len(x.shape) != x.dim:
        raise call.refusal("it repeats what is not time, in a way that is not followed")
    dim = x.dim

    class Doubled(Reshaped):
        """Each position several times."""

        def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
            """Each position several times, from the first that is asked on."""
            skip, count = outputs.start - stretches[0].start * times, len(outputs)
            return lambda x: x.repeat_interleave(times, dim).narrow(dim, skip, count)

    return Doubled([x.index], 1, times, out.shape, (dim, out.dim))
