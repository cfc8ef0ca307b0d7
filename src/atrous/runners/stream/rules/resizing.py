"""Resizes by a factor: each output looks at a place in the input that depends on its own alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil, floor

import torch

from atrous.runners.stream.rules.base import Ends, Local, Rule, Step, Timed, rule
from atrous.runners.stream.rules.calling import called

__all__ = ["Resized"]

_REACH = {"nearest": (0, 0), "linear": (0, 1), "bilinear": (0, 1), "bicubic": (1, 2)}
_MOST = 1 << 10


class Resized(Rule):
    """Output `o` reads around `o / factor`; a stretch is resized with what lies around it.

    A stretch that begins at a multiple of the factor's denominator is resized as the whole is, but
    for its ends: there stand positions that no output of it reads, or the true ends.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        factor: Fraction,
        reach: tuple[int, int],
        shift: Fraction,
        dims: tuple[int, int],
        call: Callable[[torch.Tensor, int], torch.Tensor],
    ) -> None:
        super().__init__(inputs)
        self.factor, self.reach, self.shift, self.call = factor, reach, shift, call
        self.dim, self.out = dims

    def _place(self, output: int) -> int:
        """The input at an output's place, or the last one in front of it."""
        return floor((output + self.shift) / self.factor - self.shift)

    def sure(self, sure: Sequence[int]) -> int:
        """As many as so many make."""
        return floor(sure[self.inputs[0]] * self.factor)

    def ready(self, made: Sequence[int], sure: int) -> int:
        """The outputs that read nothing behind what is made."""
        count = made[self.inputs[0]]
        # o with floor((o + s) / f - s) + reach < count
        limit = (count - self.reach[1] + self.shift) * self.factor - self.shift
        return max(0, min(sure, ceil(limit)))

    def first(self, done: int) -> tuple[int, ...]:
        """The begin of the stretch that output `done` is made from."""
        return (self._begin(done),)

    def _begin(self, output: int) -> int:
        """The last multiple of the denominator at which a stretch for an output may begin."""
        period = self.factor.denominator
        place = self._place(output) - self.reach[0]
        # One more than is read: at a stretch's own begin places in front of it are cut off.
        return max(place - (1 if self.shift else 0), 0) // period * period

    def needs(self, outputs: range) -> tuple[range, ...]:
        """From there to the last that is read."""
        return (
            range(self._begin(outputs.start), self._place(outputs.stop - 1) + self.reach[1] + 1),
        )

    def settled(self, done: int) -> bool:
        """Where no place lies in front of the input."""
        return self._place(done) - self.reach[0] - 1 >= 0

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
        """Resizes the stretch, and cuts the outputs out."""
        (there,) = stretches
        skip = outputs.start - int(there.start * self.factor)
        count, call, dim, out = len(outputs), self.call, self.dim, self.out
        # Enough behind the stretch that the call makes all outputs; they read nothing of it.
        wanted = ceil(Fraction(skip + count) / self.factor)
        short = max(0, wanted - len(there))

        def run(x: torch.Tensor) -> torch.Tensor:
            if short:
                last = x.narrow(dim, x.shape[dim] - 1, 1)
                x = torch.cat([x, *[last] * short], dim)
            made = call(x, floor(x.shape[dim] * self.factor))
            return made.narrow(out, skip, count)

        return run


@rule("upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d")
@rule("upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact1d _upsample_nearest_exact2d")
@rule("upsample_trilinear3d")
def _resize(call: Timed) -> Rule:
    x, out = call.operand(), call.value
    rank = len(x.shape)
    place = x.dim - 2
    if place < 0:
        if x.dim == 0:
            return Local(*called(call))
        raise call.refusal("its resize has time among its channels")
    how = "nearest" if "nearest" in call.name else call.name.removeprefix("upsample_")[:-2]
    how = "linear" if how == "trilinear" else how
    factor = out.rate / x.rate
    if factor.denominator > _MOST or factor.numerator > _MOST:
        raise call.refusal(f"its resize is by {factor}, which repeats too seldom")
    if call["align_corners"] and how != "nearest" and factor != 1:
        raise call.refusal(
            "its resize aligns corners, so its places depend on how long the input is; resize with "
            "align_corners=False"
        )
    if any(floor(a * factor) != b for a, b in zip(x.lengths, out.lengths, strict=True)):
        raise call.refusal(
            "its resize is to a size that is no fixed multiple of its input's, so its places "
            "depend on how long the input is; give it a factor"
        )
    exact = "exact" in call.name or how != "nearest"
    shift = Fraction(1, 2) if exact else Fraction(0)
    # By one of an odd number every place is that of an input, and others weigh nothing.
    on_inputs = factor.numerator == 1 and factor.denominator % 2
    reach = (0, 0) if how == "nearest" or on_inputs else _REACH[how]
    mode = {
        "nearest": "nearest-exact" if "exact" in call.name else "nearest",
        "linear": ("linear", "bilinear", "trilinear")[rank - 3],
        "bilinear": "bilinear",
        "bicubic": "bicubic",
    }[how]
    factors = [float(Fraction(out.shape[d], x.shape[d])) for d in range(2, rank)]
    factors[place] = float(factor)
    if how == "nearest" and exact:
        # The place of the middle, rounded down.
        return _Middle(
            [x.index],
            factor,
            (0, 0),
            Fraction(1, 2),
            (x.dim, out.dim),
            _interpolating(mode, factors),
        )
    return Resized([x.index], factor, reach, shift, (x.dim, out.dim), _interpolating(mode, factors))


class _Middle(Resized):
    """Output `o` reads what lies at its middle."""

    def _place(self, output: int) -> int:
        return floor((output + self.shift) / self.factor)

    def ready(self, made: Sequence[int], sure: int) -> int:
        """The outputs whose middle lies in what is made."""
        limit = made[self.inputs[0]] * self.factor - self.shift
        return max(0, min(sure, ceil(limit)))


def _interpolating(mode: str, factors: list[float]) -> Callable[[torch.Tensor, int], torch.Tensor]:
    def call(x: torch.Tensor, length: int) -> torch.Tensor:  # noqa: ARG001
        made: torch.Tensor = torch.nn.functional.interpolate(
            x, scale_factor=factors, mode=mode, recompute_scale_factor=False,
            **({} if "nearest" in mode else {"align_corners": False}),
        )  # fmt: skip
        return made

    return call
