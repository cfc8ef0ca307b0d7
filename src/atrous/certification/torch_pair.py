"""Two PyTorch models as a pair that can be certified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from atrous.certification.certificate import agreeing
from atrous.certification.certify import Arrays, Found, Weights
from atrous.certification.match import matched
from atrous.certification.measured import compare_maps
from atrous.certification.places import laid
from atrous.certification.proof import prove
from atrous.certification.resized import resized
from atrous.certification.verdicts import Cause
from atrous.errors import AtrousError, ReadError
from atrous.geometry import Lockstep
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.shapes import Shapes
from atrous.network.walk import needed, pruned
from atrous.readers.torch.reader import read_torch
from atrous.refusal import Refusal
from atrous.runners.torch import Runner, draw_weights, random_inputs, share_weights
from atrous.shown import how_many, some

__all__ = ["TorchPair"]

_SIDES = "reference", "candidate"
_SEED, _OTHER_SEED = 7, 8


class TorchPair:
    """Two modules with the same parameters by name, run in float64 on the same random inputs.

    `like` has an example of each input, where inputs are other than floating-point numbers. Models
    that do not run in float64 are run in float32.
    """

    precision = "float64"
    weights: tuple[Weights, ...] = ("own", "drawn")
    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        reference: Any,
        candidate: Any,
        names: Sequence[str] | None = None,
        *,
        like: Sequence[Any] = (),
    ) -> None:
        self.models = reference, candidate
        self.names = names
        self.like = tuple(t if isinstance(t, torch.Tensor) else None for t in like)
        self.guessed: set[Shapes] = set()
        self._whole: dict[Shapes, tuple[Network, Network]] = {}
        self._made: tuple[Weights, tuple[Runner, Runner]] | None = None
        self._ran = False
        self._moved: dict[tuple[Shapes, Weights], list[Any] | Refusal] = {}

    def networks(self, shapes: Shapes, *, guess: bool = False) -> tuple[Network, Network]:
        """Both as networks at these input shapes, paddings folded in.

        With `guess` a network that was read at other shapes already may stand for one read here;
        `guessed` says where.
        """
        found = self._whole.get(shapes)
        if found is None and guess:
            for whole in self._whole.values():
                parts = (pruned(network, needed(network, self.names)) for network in whole)
                one, two = (resized(part, shapes) for part in parts)
                if one is not None and two is not None:
                    self.guessed.add(shapes)
                    return folded(one), folded(two)
                break
        if found is None:
            one, two = (
                self._network(side, model, shapes)
                for side, model in zip(_SIDES, self.models, strict=True)
            )
            found = self._whole[shapes] = one, two
        self.guessed.discard(shapes)
        return folded(found[0]), folded(found[1])

    def known(self, shapes: Shapes, networks: tuple[Network, Network]) -> None:
        """Networks that have been read already, paddings not folded in."""
        self._whole[shapes] = networks

    def refuses(self, shapes: Shapes) -> str:
        """What the reference raises at these shapes; empty where it runs."""
        try:
            runner = Runner(self.models[0], self.names, self._dtype)
            runner.run(self._inputs(shapes))
        except Exception as error:
            return _said(error)
        return ""

    def may_vary(self) -> None:
        """All dimensions that have positions may vary: what a module takes is found by running."""

    def runners(self, shapes: Shapes, weights: Weights) -> tuple[Runner, Runner]:
        """Both models with the reference's weights, its own or drawn."""
        if self._made is not None and self._made[0] == weights:
            return self._made[1]
        if self._made is not None and weights == "drawn":
            one, two = self._made[1]
        else:
            one, two = (Runner(model, self.names, self._dtype) for model in self.models)
        if weights == "drawn":
            draw_weights(one, shapes, like=self.like)
        given, kept = share_weights(one.model, two.model)
        if given and weights == "own":
            self._remark(
                f"{some(given, 2)}: other weights in the candidate, run with the reference's"
            )
        if kept:
            self._remark(f"{some(kept, 2)}: other values in the candidate, which keeps them")
        self._made = weights, (one, two)
        return one, two

    def _remark(self, text: str) -> None:
        self.remarks = tuple(dict.fromkeys((*self.remarks, text)))

    def arrays(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> Arrays | Refusal:
        """What both make of the same inputs, or what one of them raises."""
        made: list[list[Any]] = []
        try:
            runners = self.runners(shapes, weights)
        except (RuntimeError, TypeError) as error:
            return Refusal("copy", "", f"a model cannot be copied ({_said(error)})")
        inputs = self._inputs(shapes)
        for side, runner in zip(_SIDES, runners, strict=True):
            try:
                made.append(runner.run(inputs))
            except ReadError as error:
                return Refusal("layer", "", str(error))
            except Exception as error:
                if self._in_float32(shapes):
                    return self.arrays(shapes, weights, outputs)
                return Refusal("size", "", f"the {side} does not take it ({_said(error)})")
        for side, found in zip(_SIDES, made, strict=True):
            if len(found) != len(outputs):
                count = (
                    f"{how_many(len(found), 'tensor')}, and "
                    f"{how_many(len(outputs), 'output')} are known of it"
                )
                return Refusal("outputs", "", f"the {side} makes {count}")
        self._ran = True
        one, two = (repr(runner.said)[:80] for runner in runners)
        if one != two:
            both = f"{one} in the reference, {two} in the candidate"
            self._remark(f"what is no tensor among the outputs differs: {both}")
        return made[0], made[1]

    def moved(
        self,
        shapes: Shapes,
        weights: Weights,
        outputs: Sequence[tuple[str, str]],  # noqa: ARG002 - all outputs come of one run
    ) -> list[Any] | Refusal:
        """What the reference makes of other inputs."""
        key = shapes, weights
        if key not in self._moved:
            try:
                runner = self.runners(shapes, weights)[0]
                self._moved[key] = runner.run(self._inputs(shapes, _OTHER_SEED))
            except Exception as error:
                self._moved[key] = Refusal("size", "", _said(error))
        return self._moved[key]

    def again(
        self,
        shapes: Shapes,
        weights: Weights,
        outputs: Sequence[tuple[str, str]],  # noqa: ARG002 - all outputs come of one run
    ) -> list[Any] | Refusal:
        """What the reference makes of the same inputs once more."""
        try:
            return self.runners(shapes, weights)[0].run(self._inputs(shapes))
        except Exception as error:
            return Refusal("size", "", _said(error))

    def first_difference(
        self, shapes: Shapes, networks: tuple[Network, Network], output: tuple[str, str]
    ) -> Found | None:
        """The first module with parameters of its own whose map differs from what it should be.

        Maps that the structure itself calls approximate or broken are passed over.
        """
        here_wanted, there_wanted = (pruned(n, [o]) for n, o in zip(networks, output, strict=True))
        twins = prove(here_wanted, there_wanted, [])[1]
        pairs = matched(here_wanted, there_wanted)
        nodes = [
            node
            for node in here_wanted.nodes
            if node.params and node.name == node.module and node.name in pairs
        ]
        one, two = self.runners(shapes, self.weights[-1])
        inputs = self._inputs(shapes)
        names = [node.name for node in nodes]
        here, there = one.maps(inputs, names), two.maps(inputs, names)
        for node in nodes:
            twin = twins.get(node.output.name)
            if node.name not in here or node.name not in there or twin is None:
                continue
            proved = twin.verdict(node.output)
            margins = twin.margins(node.output)
            grid = node.output.grid
            if proved in ("approximate", "broken") or any(
                lo + hi >= n for (lo, hi), n in zip(margins, grid.values(), strict=True)
            ):
                continue
            first = laid(here[node.name], node.output, tuple(grid))
            second = laid(there[node.name], pairs[node.name].output, tuple(grid))
            if first is None or second is None:
                continue
            locks = [twin.locks.get(axis, Lockstep()) for axis in grid]
            found = compare_maps(first, second, range(len(grid)), locks, self.precision, margins)
            if not agreeing(proved, found.verdict):
                return Found(
                    Cause(
                        node.name,
                        f"the first layer whose map differs when both are run ({found.verdict}, "
                        f"relative error {found.relative_error:.2g})",
                    ),
                    proved,
                    found,
                )
        return None

    @property
    def _dtype(self) -> torch.dtype:
        return torch.double if self.precision == "float64" else torch.float

    def _network(self, side: str, model: Any, shapes: Shapes) -> Network:
        # An example of the right kind in place of a shape, where numbers are not floats.
        like = (*self.like, *(None for _ in shapes))
        given = [
            shape if one is None or one.is_floating_point() else torch.empty(shape, dtype=one.dtype)
            for shape, one in zip(shapes, like, strict=False)
        ]
        try:
            return read_torch(model, given, eager=False)
        except AtrousError as error:
            raise ReadError(f"the {side} is not read there: {error}") from error

    def _inputs(self, shapes: Shapes, seed: int = _SEED) -> list[torch.Tensor]:
        return random_inputs(shapes, seed, dtype=self._dtype, like=self.like)

    def _in_float32(self, shapes: Shapes) -> bool:
        """Whether both, which have not run yet, run in float32: from now on they do."""
        if self._ran or self.precision != "float64":
            return False
        inputs = random_inputs(shapes, _SEED, dtype=torch.float, like=self.like)
        try:
            for model in self.models:
                Runner(model, self.names, torch.float).run(inputs)
        except Exception:
            return False
        self.precision, self._made = "float32", None
        return True


def _said(error: BaseException) -> str:
    """The first line of what was raised."""
    line = (str(error).strip().splitlines() or [""])[0].strip()
    return f"{type(error).__name__}: {line[:160]}" if line else type(error).__name__
