"""Layers that follow one another and run as one: into many channels, depthwise, out of them.

Their maps between, far larger than those at either end, are then never stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from atrous.operators.kernels.bottleneck import Bottleneck, bottlenecks_natively
from atrous.operators.kernels.torch_bottleneck import prepare_bottleneck
from atrous.optimization.layer.activations import by_kernels
from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.choose import GAIN, Choice, difference, tolerance
from atrous.optimization.layer.timing import Timer, twice_if_close
from atrous.optimization.layer.ways import Runs

__all__ = ["CHAINED", "Chain", "chosen", "prepared_chain"]

CHAINED = "bottleneck kernel"
"""The strategy's name, where the layers of a chain run as one."""
_SEPARATE = "separate layers"
_LEAST_PRODUCTS = 1_000_000
"""Chains of fewer products take as long as their calls."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The calls of layers that follow one another, of which nobody else reads what lies between.

    `first` and `last` are convolutions of one tap, or linear maps; `middle` is depthwise.
    """

    first: LayerCall
    middle: LayerCall | None
    last: LayerCall

    @property
    def calls(self) -> tuple[LayerCall, ...]:
        """All of them, in order."""
        return (self.first, *([self.middle] if self.middle else []), self.last)

    @property
    def signature(self) -> str:
        """Everything that decides how fast they run, in one line."""
        return " > ".join(call.signature for call in self.calls)

    @property
    def title(self) -> str:
        """The ops as a table shows them."""
        return ", ".join(call.title for call in self.calls)

    @property
    def runs_as_one(self) -> bool:
        """Whether the kernel knows such layers."""
        first, middle, last = self.first, self.middle, self.last
        if any(call.dtype != "float32" or call.layout != first.layout for call in self.calls):
            return False
        if any(call.activation and not by_kernels(call.activation, call) for call in self.calls):
            return False
        if first.adds or first.op != last.op or first.rank > 2:
            return False
        if first.op == "linear":
            usual = middle is None
        else:
            ends = all(call.is_pointwise and set(call.stride) == {1} for call in (first, last))
            usual = ends and first.layout == "channels_last"
        if middle is not None:
            alone = not middle.adds and middle.weight[0] == first.weight[0]
            usual = usual and middle.is_depthwise and alone and middle.rank == first.rank
        products = prod(first.weight[:2]) * prod(first.input) // first.weight[1]
        return usual and products >= _LEAST_PRODUCTS and bottlenecks_natively()


def prepared_chain(chain: Chain, parts: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> Runs:
    """What computes the whole chain, of each layer's weight and bias."""
    first, middle, last = chain.first, chain.middle, chain.last
    hidden, channels = first.weight[:2]
    filters = last.weight[0]
    after = middle.activation if middle else None
    names = (first.activation.kernel, after.kernel if after else "none", last.activation.kernel)
    if first.op == "linear":
        made = (*last.input[:-1], filters)
    else:
        batch, _, *sizes = last.input
        made = (batch, filters, *sizes)
    if middle is None:
        # Positions are alike, wherever they lie.
        rows = prod(first.input) // channels
        layer = Bottleneck(1, channels, hidden, filters, (rows, 1), (rows, 1), activations=names)
        both = [parts[0], None, parts[1]]
    else:

        def two(values: tuple[int, ...], fill: int = 1) -> tuple[int, int]:
            # A line runs as a map of one column: its rows are cut into strips.
            height, width = values if len(values) == 2 else (values[0], fill)
            return height, width

        layer = Bottleneck(
            first.input[0],
            channels,
            hidden,
            filters,
            two(middle.input[2:]),
            two(middle.convolution.outputs),
            two(middle.kernel),
            two(middle.stride),
            two(middle.dilation),
            two(tuple(lo for lo, _ in middle.padding), 0),
            names,
        )
        both = list(parts)
    axis = -1 if first.op == "linear" else 1
    return prepare_bottleneck(layer, both, first.input, made, axis=axis)


def chosen(
    chain: Chain,
    parts: Sequence[tuple[torch.Tensor, torch.Tensor | None]],
    separate: Sequence[Choice],
    operands: tuple[torch.Tensor, ...],
    choices: Choices,
    timer: Timer,
) -> Choice | None:
    """The chain as one, where it gives what its layers give one by one and takes less; else None.

    `separate` are the choices for its layers; `operands` the chain's input, and where its last
    layer adds, what that adds. What `choices` holds of this chain is not measured again.
    """
    x, others = operands[0], operands[1:]

    def one_by_one() -> torch.Tensor:
        held = x
        for choice in separate[:-1]:
            held = choice.runs(held)
        return separate[-1].runs(held, *(other.clone() for other in others))

    try:
        runs = prepared_chain(chain, parts)
        far = difference(one_by_one(), runs(x, *others))
    except (RuntimeError, ValueError, MemoryError):
        return None
    if far > tolerance(chain.first.dtype):
        return None
    taken = choices.get(chain.signature)
    if taken is None or not {_SEPARATE, CHAINED} <= taken.keys():
        both = {_SEPARATE: one_by_one, CHAINED: lambda: runs(x, *others)}
        taken = twice_if_close(timer, both)
        choices.put(chain.signature, taken)
    if not taken[CHAINED] <= GAIN * taken.get(_SEPARATE, math.inf):
        return None
    listed = tuple(sorted(taken.items(), key=lambda pair: pair[1]))
    return Choice(CHAINED, runs, max(far, *(one.difference for one in separate)), listed, ())
