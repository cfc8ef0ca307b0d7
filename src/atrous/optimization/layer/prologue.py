"""Layers on rows that make what they read by an element-wise pass, a block of rows at a time.

A norm, a gate or a sum before a layer of one tap, which could not be folded into what is before it,
is then neither written to memory nor read from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from atrous.operators.kernels.elementwise import ElementStep, elementwise_natively
from atrous.operators.kernels.strassen import multiplies_rows_natively
from atrous.operators.kernels.torch_elementwise import fits_lines
from atrous.operators.kernels.torch_strassen import prepare_rows_behind
from atrous.optimization.layer.activations import by_kernels
from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.choose import GAIN, Choice, difference, tolerance
from atrous.optimization.layer.rounding import Rounded
from atrous.optimization.layer.timing import Timer, twice_if_close
from atrous.optimization.layer.ways import Runs
from atrous.optimization.layer.with_strassen import LEVELS, row_product

__all__ = ["PROLOGUE", "Fed", "Prologue", "chosen_fed", "fed_by", "prepared_fed"]

PROLOGUE = "prologue, "
"""What the strategy of a layer that makes what it reads begins with; the product's name follows."""
_SEPARATE = "pass and layers"


@dataclass(frozen=True, slots=True)
class Prologue:
    """The call of a layer on rows, and the element-wise steps that make its input of others.

    `inputs` are their shapes, which broadcast to that of the layer's input (`ElementStep`).
    """

    inputs: tuple[tuple[int, ...], ...]
    steps: tuple[ElementStep, ...]
    scratch: int
    call: LayerCall

    @property
    def signature(self) -> str:
        """Everything that decides how fast they run, in one line."""
        shapes = " ".join("x".join(map(str, shape)) for shape in self.inputs)
        steps = " ".join(f"{s.left},{s.right}>{s.out} {s.combine} {s.function}" for s in self.steps)
        return f"{shapes} {steps} > {self.call.signature}"

    @property
    def title(self) -> str:
        """The ops as a table shows them."""
        return f"pass, {self.call.title}"

    @property
    def axis(self) -> int:
        """Along which channels lie."""
        return -1 if self.call.op == "linear" else 1

    @property
    def runs_as_one(self) -> bool:
        """Whether the kernel knows such a layer, whatever its strategy."""
        call = self.call
        product = row_product(0, call)
        if product is None or call.dtype != "float32" or not product.fits:
            return False
        if call.activation and not by_kernels(call.activation, call):
            return False
        natively = elementwise_natively() and multiplies_rows_natively()
        return natively and fits_lines(call.input, self.inputs, self.axis)


def fed_by(strategy: str) -> str | None:
    """The product of a layer that makes what it reads; None for other strategies.

    >>> fed_by("prologue, strassen 1"), fed_by("strassen 1")
    ('strassen 1', None)
    """
    return strategy.removeprefix(PROLOGUE) if strategy.startswith(PROLOGUE) else None


def prepared_fed(
    prologue: Prologue, strategy: str, weight: torch.Tensor, bias: torch.Tensor | None
) -> Runs:
    """`runs(inputs)`, or `runs(inputs, other)` where the call adds: the whole, by that product."""
    call = prologue.call
    product = row_product(LEVELS[strategy.removeprefix(PROLOGUE)], call)
    if product is None:
        raise ValueError("row kernel: this layer is no product on rows.")
    linear = call.op == "linear"
    made = (*call.input[:-1], product.filters) if linear else call.convolution.shape
    steps, scratch = prologue.steps, prologue.scratch
    return prepare_rows_behind(
        *(product, weight, bias, call.input, made),
        *(prologue.inputs, steps, scratch),
        axis=prologue.axis,
    )


@dataclass(frozen=True, slots=True)
class Fed:
    """A layer behind a pass: its weights, what it adds, and the choice where it reads a map."""

    prologue: Prologue
    weight: torch.Tensor
    bias: torch.Tensor | None
    others: tuple[torch.Tensor, ...]
    choice: Choice

    def products(self, allowed: float) -> list[str]:
        """The products on rows that were tried and may round so, the fastest first."""
        known = [name for name, _ in self.choice.milliseconds if name in LEVELS]
        return [name for name in known if allowed or not LEVELS[name]]

    def again(self) -> tuple[torch.Tensor, ...]:
        """What it adds, which may be overwritten."""
        return tuple(one.clone() for one in self.others)


def chosen_fed(
    fed: Sequence[Fed],
    passed: Callable[..., torch.Tensor],
    inputs: tuple[torch.Tensor, ...],
    choices: Choices,
    timer: Timer,
    allowed: float,
) -> list[Choice] | None:
    """All layers that read a pass as ones that make it, where that takes less; else None.

    `passed(*inputs)` is the pass. They must give what they give behind it, and round off at most
    `allowed` times as much as PyTorch's sums. What `choices` holds of them is not measured again.
    """
    x = passed(*inputs)
    found: list[Choice] = []
    for one in fed:
        made = _checked(one, x, inputs, allowed)
        if made is None:
            return None
        found.append(made)
    own = [one.again() for one in fed]

    def separate() -> None:
        x = passed(*inputs)
        for one, others in zip(fed, own, strict=True):
            one.choice.runs(x, *others)

    def at_once() -> None:
        for one, others in zip(found, own, strict=True):
            one.runs(inputs, *others)

    signature = " & ".join(
        f"{made.strategy}: {one.prologue.signature} behind {one.choice.strategy}"
        for one, made in zip(fed, found, strict=True)
    )
    taken = choices.get(signature)
    if taken is None or not {_SEPARATE, PROLOGUE} <= taken.keys():
        both = twice_if_close(timer, {_SEPARATE: separate, found[0].strategy: at_once})
        taken = {_SEPARATE: both[_SEPARATE], PROLOGUE: both[found[0].strategy]}
        choices.put(signature, taken)
    if not taken[PROLOGUE] <= GAIN * taken.get(_SEPARATE, math.inf):
        return None
    gain = (taken[_SEPARATE] - taken[PROLOGUE]) / len(fed)
    made_so = [_beside_the_pass(gain, one, made) for one, made in zip(fed, found, strict=True)]
    for one, made in zip(fed, made_so, strict=True):
        choices.put(one.prologue.signature, dict(made.milliseconds))
    return made_so


def _beside_the_pass(gain: float, one: Fed, made: Choice) -> Choice:
    """The choice with what the layer takes beside the pass, as the times of other layers are."""
    before = one.choice.taken
    net = max(before - gain, 0.01 * before)
    listed = sorted([*one.choice.milliseconds, (made.strategy, net)], key=lambda pair: pair[1])
    why = one.choice.why
    return Choice(
        made.strategy, made.runs, made.difference, tuple(listed), why, made.error, made.direct_error
    )


def _checked(
    one: Fed, x: torch.Tensor, inputs: tuple[torch.Tensor, ...], allowed: float
) -> Choice | None:
    """The layer by the fastest product that gives the same and rounds as it may."""
    reference = one.choice.runs(x, *one.again())
    for product in one.products(allowed):
        try:
            runs = prepared_fed(one.prologue, product, one.weight, one.bias)
            made = runs(inputs, *one.again())
        except (RuntimeError, ValueError, MemoryError):
            continue
        far = difference(reference, made)
        if far > tolerance(one.prologue.call.dtype):
            continue
        error, direct = one.choice.error, one.choice.direct_error
        if LEVELS[product] and one.choice.strategy != product:
            # What is chosen where the layer reads a map sums up as the definition does, or rounds
            # otherwise itself: then what was measured of it says nothing of this product.
            rounded = Rounded(one.prologue.call, one.weight, one.bias, (x, *one.others))
            error, direct = rounded.error(made), direct or rounded.error(reference)
            if not (allowed == math.inf or error <= allowed * direct):
                continue
        elif not LEVELS[product]:
            error = direct = None
        far += one.choice.difference
        return Choice(PROLOGUE + product, runs, far, (), (), error, direct)
    return None
