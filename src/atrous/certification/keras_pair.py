"""Two Keras models as a pair that can be certified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atrous.certification.certify import Arrays, Weights
from atrous.errors import AtrousError, ReadError
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.folded_pools import pooled
from atrous.network.shapes import Shapes
from atrous.readers.keras.reader import read_keras_orders
from atrous.refusal import Refusal
from atrous.runners.keras import KerasRunner, draw_keras, drawn_inputs, share_keras

__all__ = ["KerasPair"]

_SIDES = "reference", "candidate"
_SEED, _OTHER_SEED = 7, 8


class KerasPair:
    """Two models with the same weights, run in float64 on the same random inputs.

    Models whose layers cannot be made in float64 are run in float32.
    """

    weights: tuple[Weights, ...] = ("own", "drawn")
    guessed: frozenset[Shapes] = frozenset()
    remarks: tuple[str, ...] = ()

    def __init__(self, reference: Any, candidate: Any) -> None:
        self.models = reference, candidate
        self.precision = "float64"
        self._read: dict[Shapes, tuple[Network, Network]] = {}
        self._orders: dict[Shapes, tuple[Any, Any]] = {}
        self._runners: tuple[Weights, tuple[KerasRunner, KerasRunner]] | None = None

    def networks(
        self,
        shapes: Shapes,
        *,
        guess: bool = False,  # noqa: ARG002 - a graph is read quickly
    ) -> tuple[Network, Network]:
        """Both as networks at these input shapes, paddings folded in."""
        if shapes not in self._read:
            found, orders = [], []
            for side, model in zip(_SIDES, self.models, strict=True):
                try:
                    network, order = read_keras_orders(model, shapes)
                except ReadError as error:
                    raise ReadError(f"the {side} is not read there: {error}") from error
                found.append(folded(pooled(network), around=True))
                orders.append(order)
            self._read[shapes] = found[0], found[1]
            self._orders[shapes] = orders[0], orders[1]
        return self._read[shapes]

    def refuses(self, shapes: Shapes) -> str:  # noqa: ARG002 - a protocol
        """Left to the reader: what it cannot read, it says."""
        return ""

    def may_vary(self) -> tuple[tuple[bool, ...], ...] | None:
        """The dimensions that both models leave open; all where one does not say."""
        one, two = (getattr(model, "inputs", None) for model in self.models)
        if not one or not two:
            return None
        return tuple(
            tuple(x is None and y is None for x, y in zip(a.shape, b.shape, strict=False))
            for a, b in zip(one, two, strict=False)
        )

    def arrays(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> Arrays | Refusal:
        """What both make of the same inputs, or what one of them raises."""
        made = [self._run(side, shapes, weights, _SEED, len(outputs)) for side in (0, 1)]
        one, two = made
        if isinstance(one, Refusal):
            return one
        return two if isinstance(two, Refusal) else (one, two)

    def moved(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> list[Any] | Refusal:
        """What the reference makes of other inputs."""
        return self._run(0, shapes, weights, _OTHER_SEED, len(outputs))

    def again(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> list[Any] | Refusal:
        """What the reference makes of the same inputs once more."""
        return self._run(0, shapes, weights, _SEED, len(outputs))

    def first_difference(self, *_: Any) -> None:
        """Left to the structure."""

    def _both(self, weights: Weights) -> tuple[KerasRunner, KerasRunner]:
        """Runners of both with the reference's weights, its own or drawn."""
        if self._runners is None or self._runners[0] != weights:
            one, two = (self._made(model) for model in self.models)
            if weights == "drawn":
                if not (one.double and two.double):
                    raise ReadError("weights are drawn in copies alone, and one cannot be copied")
                draw_keras(one.model)
            if one.double and two.double:
                why = share_keras(one.model, two.model)
                if why:
                    raise ReadError(f"the two have other weights: {why}")
            self._runners = weights, (one, two)
        return self._runners[1]

    def _made(self, model: Any) -> KerasRunner:
        try:
            return KerasRunner(model, double=True)
        except (TypeError, ValueError, NotImplementedError, AttributeError):
            return KerasRunner(model, double=False)

    def _run(
        self, side: int, shapes: Shapes, weights: Weights, seed: int, count: int
    ) -> list[Any] | Refusal:
        name = _SIDES[side]
        try:
            runner = self._both(weights)[side]
            dtype = "float64" if runner.double else "float32"
            found = runner.run(drawn_inputs(self.models[0], shapes, seed, dtype))
        except AtrousError as error:
            return Refusal("model", "", str(error))
        except Exception as error:
            line = " ".join(str(error).split())[:160]
            return Refusal("size", "", f"the {name} does not take it ({line})")
        if len(found) != count:
            return Refusal("outputs", "", f"the {name} makes {len(found)} tensors, not {count}")
        if runner.narrow:
            self.precision = "float32"
        self.networks(shapes)
        orders = self._orders[shapes][side]
        return [x.transpose(np.argsort(o)) for x, o in zip(found, orders, strict=True)]
